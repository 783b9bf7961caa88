"""The blocks of "Attention Is All You Need", which several models of an encoder and a decoder share."""

from __future__ import annotations

from ...nn.attention import Attention
from ...nn.mixers import MLP, Mixer
from ...nn.norms import Norm
from ...nn.residual import Residual


def encdec_block(attention: Attention, mlp: MLP, norm: Norm, first: bool, cross: bool, dropout: float) -> tuple[Residual, ...]:
    """Attention, attention to the memory where `cross` says so, MLP; each norm `first`, or behind the sum."""
    mixers: dict[str, Mixer] = {"attention": attention}
    if cross:
        mixers["cross"] = attention.replace(source="memory")
    mixers["mlp"] = mlp
    place = {"pre": norm} if first else {"post": norm}
    return tuple(Residual(name, mixer, dropout=dropout, **place) for name, mixer in mixers.items())
