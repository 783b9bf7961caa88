"""What several presets of published models have in common."""

from __future__ import annotations

from ...errors import ConfigError
from ...nn.attention import Attention
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Cat, Reference, Rule, T, affine, rule


def vocab_of(preset: Reference, channel: Channel) -> int:
    """The number of ids of the channel bound to `tokens`. Raises ConfigError where it holds features."""
    if channel.vocab is None:
        raise ConfigError(f"{preset.name}: role 'tokens' needs a channel of ids, and it is bound to one of features")  # type: ignore[attr-defined]
    return channel.vocab


def prenorm_block(
    heads: int, hidden: int, act: str, norm: Norm, dropout: float, attention_dropout: float = 0.0
) -> tuple[Residual, ...]:
    """Attention and MLP, each with its norm in front."""
    return (
        Residual("attention", Attention(heads, dropout=attention_dropout), pre=norm, dropout=dropout),
        Residual("mlp", MLP(hidden, act), pre=norm, dropout=dropout),
    )


def prenorm_rules(prefix: str, depth: int) -> list[Rule]:
    """The blocks and the last norm, under `prefix` of their names: q, k and v in one tensor, weights as [in, out]."""
    ours, theirs = "streams.main.blocks.{i}.", prefix + "h.{i}."
    qkv = [ours + f"attention.mixer.{x}." for x in "qkv"]
    return [
        *rule([k + "weight" for k in qkv], theirs + "attn.c_attn.weight", Cat(transposed=True), depth),
        *rule([k + "bias" for k in qkv], theirs + "attn.c_attn.bias", Cat(), depth),
        *affine(ours + "attention.mixer.o", theirs + "attn.c_proj", T(), depth),
        *affine(ours + "attention.pre", theirs + "ln_1", None, depth),
        *affine(ours + "mlp.mixer.up", theirs + "mlp.c_fc", T(), depth),
        *affine(ours + "mlp.mixer.down", theirs + "mlp.c_proj", T(), depth),
        *affine(ours + "mlp.pre", theirs + "ln_2", None, depth),
        *affine("streams.main.norm", prefix + "ln_f"),
    ]
