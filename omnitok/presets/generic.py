"""Presets that follow no one reference: what to start from when the tokens are your own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ..model import Model, Preset, Stream
from ..nn.attention import Attention
from ..nn.mixers import MLP
from ..nn.norms import Norm
from ..nn.positions import PairTable, Position, Rope
from ..nn.residual import Residual
from ..tokenizer import Channel


def positions_of(channels: Mapping[str, Channel]) -> tuple[Position, ...]:
    """Rotary position, and a bias table for every kind of pair that a channel declares."""
    pairs: dict[str, int] = {}
    for channel in channels.values():
        for name, count in channel.pairs.items():
            pairs[name] = max(count, pairs.get(name, 0))
    return (Rope(), *(PairTable(name, count) for name, count in sorted(pairs.items())))


class Decoder(Preset, frozen=True):
    """Pre-norm blocks with rotary positions and pair biases; tokens attend as their channels and objectives say."""

    name: ClassVar[str] = "decoder"
    roles: ClassVar[tuple[str, ...]] = ()
    attend: ClassVar[Literal["causal", "full"] | None] = None
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 128
    depth: Annotated[int, Meta(ge=0, description="blocks")] = 4
    heads: Annotated[int, Meta(ge=1, description="attention heads; dim is a multiple of them")] = 4
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on every residual branch")] = 0.0
    tie: Annotated[bool, Meta(description="next-token heads share the embedding table")] = False

    def block(self, positions: tuple[Position, ...]) -> tuple[Residual, ...]:
        norm, drop = Norm(), self.dropout
        return (
            Residual("attention", Attention(self.heads, positions=positions), pre=norm, dropout=drop),
            Residual("mlp", MLP(self.hidden or 4 * self.dim), pre=norm, dropout=drop),
        )

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        blocks = (self.block(positions_of(channels)),) * self.depth
        return Model({"main": Stream(self.dim, blocks, Norm(), attend=self.attend)}, self.tie)


class Encoder(Decoder, frozen=True):
    """The same blocks, every token sees its whole document."""

    name: ClassVar[str] = "encoder"
    attend: ClassVar[Literal["causal", "full"] | None] = "full"
