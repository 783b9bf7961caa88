"""GATv2 (Brody et al. 2021, arXiv 2105.14491), as torch_geometric's GAT with v2=True stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...errors import ConfigError
from ...nn.additive import AdditiveAttention
from ...nn.initial import Constant, FanIn, Initial, Xavier
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Rule, Shape, Size, affine, rule
from ._neighbours import MessagePassing, size


class GATv2(MessagePassing, frozen=True, kw_only=True):
    """Additive attention over neighbours and oneself, with leaky ReLU (slope 0.2); the keys are the values.

    Every token is its own neighbour exactly once, whatever self-pairs are listed; parallel pairs share the softmax.
    """

    name: ClassVar[str] = "gatv2"
    source: ClassVar[str] = "arXiv 2105.14491; torch_geometric.nn.models.GAT(v2=True)"
    published: ClassVar[Mapping[str, Size]] = {"gat-cora": size(dim=64, depth=2, heads=8, dropout=0.6)}
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 1
    concat: Annotated[
        bool, Meta(description="heads side by side, dim / heads wide each; else the mean of heads as wide as dim")
    ] = True
    bias: Annotated[bool, Meta(description="of every map and behind the heads")] = True

    def layer(self) -> tuple[Residual, ...]:
        if self.concat and self.dim % self.heads:
            raise ConfigError(f"gatv2: dim {self.dim} does not split into {self.heads} heads: change one, or set concat = false")
        join: Literal["concat", "mean"] = "concat" if self.concat else "mean"
        mixer = AdditiveAttention(
            self.heads,
            self.width,
            over=self.over,
            loops="once",
            act="leaky_relu",
            values="keys",
            join=join,
            out=False,
            bias=self.bias,
            out_bias=self.bias,
            dropout=self.dropout,
        )
        return (Residual("attention", mixer, skip=False),)

    @property
    def width(self) -> int:
        """Numbers per head."""
        return self.dim // self.heads if self.concat else self.dim

    def initial(self) -> Sequence[tuple[str, Initial]]:
        own = "*.attention.mixer."
        zero, fan = Constant(0.0), FanIn()
        weights = tuple((own + name, Xavier()) for name in ("q.weight", "k.weight", "energy"))
        return (*weights, (own + "q.bias", fan), (own + "k.bias", fan), (own + "bias", zero))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs, depth = "streams.main.blocks.{i}.attention.mixer.", "convs.{i}.", self.depth
        shape = (self.heads, self.width)
        both = affine if self.bias else lambda a, b, op, n: rule(a + ".weight", b + ".weight", op, n)
        return [
            *rule(ours + "energy", theirs + "att", Shape(shape, (1, *shape)), depth),
            *both(ours + "q", theirs + "lin_r", None, depth),
            *both(ours + "k", theirs + "lin_l", None, depth),
            *(rule(ours + "bias", theirs + "bias", None, depth) if self.bias else []),
        ]
