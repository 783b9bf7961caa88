"""GraphSAGE (Hamilton et al. 2017, arXiv 1706.02216), as torch_geometric's GraphSAGE stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...nn.aggregate import Aggregate
from ...nn.initial import FanIn, Initial
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Rule, Size, affine, rule
from ._neighbours import MessagePassing, size


class SAGE(MessagePassing, frozen=True, kw_only=True):
    """Simple neighbourhood aggregation: a map of the neighbours' mean plus a map of the token itself.

    Parallel pairs count twice in the mean, and a self-pair makes a token its own neighbour too.
    """

    name: ClassVar[str] = "sage"
    source: ClassVar[str] = "arXiv 1706.02216; torch_geometric.nn.models.GraphSAGE"
    published: ClassVar[Mapping[str, Size]] = {"sage-reddit": size(dim=256, depth=2)}
    aggregate: Annotated[Literal["mean", "sum", "max"], Meta(description="of the neighbours")] = "mean"
    project: Annotated[bool, Meta(description="neighbours pass a linear map and ReLU first (the paper's pooling)")] = False
    root: Annotated[bool, Meta(description="add a map of the token itself")] = True
    bias: Annotated[bool, Meta(description="of the neighbours' map")] = True

    def layer(self) -> tuple[Residual, ...]:
        own: Literal["map", "none"] = "map" if self.root else "none"
        project = "relu" if self.project else None
        mixer = Aggregate(self.over, self.aggregate, project=project, own=own, bias=self.bias)
        return (Residual("aggregate", mixer, skip=False),)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (("*.aggregate.mixer.*", FanIn()),)

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs, depth = "streams.main.blocks.{i}.aggregate.mixer.", "convs.{i}.", self.depth
        return [
            *rule(ours + "o.weight", theirs + "lin_l.weight", None, depth),
            *(rule(ours + "o.bias", theirs + "lin_l.bias", None, depth) if self.bias else []),
            *(rule(ours + "own.weight", theirs + "lin_r.weight", None, depth) if self.root else []),
            *(affine(ours + "project", theirs + "lin", None, depth) if self.project else []),
        ]
