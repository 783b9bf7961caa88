"""What the presets that pass messages along pairs have in common, as torch_geometric's BasicGNN puts it together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from ...errors import ConfigError, did_you_mean
from ...model import Model, Stream
from ...nn.aggregate import Activate
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Reference, Size

SUITS = ("classify", "regress", "link", "masked")
"""objectives of tokens, pairs of them, and whole documents"""


class MessagePassing(Reference, frozen=True, kw_only=True):
    """Base: `depth` layers without a residual, an activation and dropout between them and none behind the last.

    Tokens see exactly those that a pair `over` names for them, in one layer after the other, and nothing else of their
    document. Any channel goes in by its own steps; features as wide as the stream go in as they are with `embed = ()`.
    """

    roles: ClassVar[tuple[str, ...]] = ()
    suits: ClassVar[tuple[str, ...]] = SUITS
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 64
    depth: Annotated[int, Meta(ge=1, description="layers: a token sees as many hops")] = 2
    over: Annotated[str, Meta(description="name of the pairs along which tokens see each other")] = "edge"
    act: Annotated[str, Meta(description="activation between the layers")] = "relu"
    dropout: Annotated[float, Meta(ge=0, lt=1, description="behind every activation, in training")] = 0.0

    def layer(self) -> tuple[Residual, ...]:
        """One layer without its activation."""
        raise NotImplementedError

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        check_pairs(self.name, channels, self.over)  # type: ignore[attr-defined]
        between = (Residual("act", Activate(self.act), skip=False, dropout=self.dropout),)
        blocks = ((*self.layer(), *between),) * (self.depth - 1) + (self.layer(),)
        return Model({"main": Stream(self.dim, blocks, attend="full")})


def check_pairs(preset: str, channels: Mapping[str, Channel], *names: str) -> None:
    """ConfigError where no channel has pairs of a name that the preset reads."""
    known = {pair for channel in channels.values() for pair in channel.pairs}
    for name in names:
        if name not in known:
            raise ConfigError(f"{preset}: no channel has pairs {name!r}; {did_you_mean(name, known, 'pairs')}")


def size(**fields: Any) -> Size:
    """A published size of a preset without roles."""
    return Size(fields, {"nodes": Channel(width=(fields["dim"],), embed=(), attend="full", ordered=False, pairs={"edge": 1})})
