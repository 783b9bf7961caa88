"""What the presets of stacked recurrent layers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...model import Model, Stream
from ...nn.initial import Initial, Uniform
from ...nn.recurrent import Recurrent
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Reference, Rule, rule


class Stacked(Reference, frozen=True, kw_only=True):
    """Recurrent layers one behind the other, without residuals or norms; every channel is embedded by its own steps.

    Bidirectional layers give both directions side by side: `dim` is twice the hidden width of the reference.
    """

    cell: ClassVar[Literal["lstm", "gru"]]
    roles: ClassVar[tuple[str, ...]] = ()
    suits: ClassVar[tuple[str, ...]] = ("next", "classify", "regress", "ctc")
    dim: Annotated[int, Meta(ge=1, description="width of the stream")]
    depth: Annotated[int, Meta(ge=1, description="layers")]
    width: Annotated[int, Meta(ge=1, description="columns of what comes in; unset: dim")] | None = None
    bidirectional: Annotated[bool, Meta(description="read from both ends; then nothing is decoded")] = False
    dropout: Annotated[float, Meta(ge=0, lt=1, description="between layers, in training")] = 0.0

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        blocks = tuple(
            (
                Residual(
                    "recurrent",
                    Recurrent(self.cell, self.bidirectional, None if i else self.width),
                    skip=False,
                    dropout=self.dropout if i < self.depth - 1 else 0.0,
                ),
            )
            for i in range(self.depth)
        )
        attend: Literal["full", "causal"] = "full" if self.bidirectional else "causal"
        return Model({"main": Stream(self.dim, blocks, attend=attend, width=self.width)})

    def initial(self) -> Sequence[tuple[str, Initial]]:
        hidden = self.dim // 2 if self.bidirectional else self.dim
        return (("*.mixer.rnn.*", Uniform(hidden**-0.5)),)

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        names = [f"{x}_{y}" for x in ("weight", "bias") for y in ("ih", "hh")]
        ways = ("", "_reverse") if self.bidirectional else ("",)
        ours = "streams.main.blocks.{i}.recurrent.mixer.rnn."
        return [r for n in names for w in ways for r in rule(f"{ours}{n}_l0{w}", n + "_l{i}" + w, None, self.depth)]
