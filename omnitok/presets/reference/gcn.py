"""GCN (Kipf and Welling 2016, arXiv 1609.02907), as torch_geometric's GCN stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from ...nn.aggregate import Aggregate
from ...nn.initial import Constant, Initial, Xavier
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Rule, Size, rule
from ._neighbours import MessagePassing, size


class GCN(MessagePassing, frozen=True, kw_only=True):
    """A map of the sum over neighbours and oneself, each weighted by 1 / sqrt(d_i d_j).

    Every token is its own neighbour exactly once, whatever self-pairs are listed; parallel pairs count in the sum and in d.
    """

    name: ClassVar[str] = "gcn"
    source: ClassVar[str] = "arXiv 1609.02907; torch_geometric.nn.models.GCN"
    published: ClassVar[Mapping[str, Size]] = {"gcn-cora": size(dim=16, depth=2, dropout=0.5)}
    bias: Annotated[bool, Meta(description="behind the sum")] = True

    def layer(self) -> tuple[Residual, ...]:
        mixer = Aggregate(self.over, "sum", weight="symmetric", loops="once", own="none", bias=self.bias)
        return (Residual("aggregate", mixer, skip=False),)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (("*.mixer.o.weight", Xavier()), ("*.mixer.o.bias", Constant(0.0)))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs, depth = "streams.main.blocks.{i}.aggregate.mixer.o.", "convs.{i}.", self.depth
        return [
            *rule(ours + "weight", theirs + "lin.weight", None, depth),
            *(rule(ours + "bias", theirs + "bias", None, depth) if self.bias else []),
        ]
