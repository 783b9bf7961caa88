"""Conformer (Gulati et al. 2020, arXiv 2005.08100)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...nn.attention import Attention
from ...nn.conv import Conv
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.positions import Position
from ...nn.residual import Residual
from ..generic import Decoder


class Conformer(Decoder, frozen=True):
    """Conformer blocks (arXiv 2005.08100): half MLP, attention, convolution, half MLP, norm."""

    name: ClassVar[str] = "conformer"
    attend: ClassVar[Literal["causal", "full"] | None] = "full"
    kernel: Annotated[int, Meta(ge=1, description="tokens that the convolution spans")] = 31
    norm: Annotated[
        Literal["batch", "segment", "layer"],
        Meta(description="of the convolution module; segment is group norm over one document"),
    ] = "batch"

    def block(self, positions: tuple[Position, ...]) -> tuple[Residual, ...]:
        norm, drop = Norm(), self.dropout
        mlp = MLP(self.hidden or 4 * self.dim, "silu")
        return (
            Residual("mlp1", mlp, pre=norm, scale=0.5, dropout=drop),
            Residual("attention", Attention(self.heads, positions=positions), pre=norm, dropout=drop),
            Residual("conv", Conv(self.kernel, Norm(self.norm)), pre=norm, dropout=drop),
            Residual("mlp2", mlp, pre=norm, post=norm, scale=0.5, dropout=drop),
        )
