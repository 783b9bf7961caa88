"""GIN (Xu et al. 2018, arXiv 1810.00826), as torch_geometric's GIN stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from ...nn.aggregate import Aggregate
from ...nn.initial import FanIn, Initial
from ...nn.mixers import MLP
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Rule, Size, affine, rule
from ._neighbours import MessagePassing, size


class GIN(MessagePassing, frozen=True, kw_only=True):
    """An MLP of (1 + eps) times the token plus the sum of its neighbours: as strong as the Weisfeiler-Leman test.

    Parallel pairs count twice in the sum, and a self-pair adds the token once more.
    """

    name: ClassVar[str] = "gin"
    source: ClassVar[str] = "arXiv 1810.00826; torch_geometric.nn.models.GIN"
    published: ClassVar[Mapping[str, Size]] = {"gin-0": size(dim=32, depth=5, dropout=0.5)}
    eps: Annotated[float, Meta(description="the token itself counts 1 + eps times")] = 0.0
    learn_eps: Annotated[bool, Meta(description="eps is learned, by layer")] = False

    def layer(self) -> tuple[Residual, ...]:
        mixer = Aggregate(self.over, "sum", map=False, own="eps", eps=self.eps, learn_eps=self.learn_eps)
        return (Residual("aggregate", mixer, skip=False), Residual("mlp", MLP(self.dim, self.act), skip=False))

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (("*.mlp.mixer.*", FanIn()),)

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs, depth = "streams.main.blocks.{i}.", "convs.{i}.", self.depth
        return [
            *rule(ours + "aggregate.mixer.eps", theirs + "eps", None, depth),
            *affine(ours + "mlp.mixer.up", theirs + "nn.lins.0", None, depth),
            *affine(ours + "mlp.mixer.down", theirs + "nn.lins.1", None, depth),
        ]
