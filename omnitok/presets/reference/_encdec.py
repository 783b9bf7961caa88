"""What several models of an encoder and a decoder share: the blocks of "Attention Is All You Need", and how published
configurations say where a written sequence starts and ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError
from ...nn.attention import Attention
from ...nn.mixers import MLP, Mixer
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...tokenizer import Channel


def encdec_block(attention: Attention, mlp: MLP, norm: Norm, first: bool, cross: bool, dropout: float) -> tuple[Residual, ...]:
    """Attention, attention to the memory where `cross` says so, MLP; each norm `first`, or behind the sum."""
    mixers: dict[str, Mixer] = {"attention": attention}
    if cross:
        mixers["cross"] = attention.replace(source="memory")
    mixers["mlp"] = mlp
    pre, post = (norm, None) if first else (None, norm)
    return tuple(Residual(name, mixer, pre, None, post, dropout=dropout) for name, mixer in mixers.items())


def start_and_end(config: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    """`start` and `end` of the written channel, with what the library takes where nothing is said."""
    given = (config.get("decoder_start_token_id"), config.get("pad_token_id"), start)
    ends = config.get("eos_token_id", end)
    return {"start": next(i for i in given if i is not None), "end": ends[0] if isinstance(ends, list) else ends}


def start_and_end_settings(preset: str, channel: Channel) -> dict[str, Any]:
    """The settings that `start_and_end` reads. Raises ConfigError for a channel without a start of its own."""
    if channel.start is None:
        raise ConfigError(
            f"{preset}: the channel of role 'tokens' has no `start`, so the decoder began with the core's own vector, which "
            "the reference has no place for: give the tokenizer a start token and train with it"
        )
    return {"decoder_start_token_id": channel.start, "pad_token_id": channel.start, "eos_token_id": channel.end}
