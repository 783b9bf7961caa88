"""Neighbourhood aggregation: every token sums up, by a fixed rule, the tokens that a pair connects it to.

Shape letters: N tokens, E pairs of a query and a key, D model dim.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from . import neighbours
from .context import Context, activation
from .mixers import Mixer, linear


class Aggregate(Mixer, frozen=True):
    """map(AGGREGATE of x_j over the keys j of i) + own(x_i), in time and memory linear in the number of pairs.

    Mean, sum or maximum with a map of its own for x_i is GraphSAGE (arXiv 1706.02216), the symmetrically weighted sum over
    keys and oneself is GCN (arXiv 1609.02907), and a bare sum plus (1 + eps) x_i is GIN (arXiv 1810.00826). Parallel pairs
    count as often as they are listed. A token without a key gets 0 from its neighbours.
    """

    over: str = "edge"
    """name of the pairs"""
    how: Literal["mean", "sum", "max"] = "mean"
    weight: Literal["one", "symmetric"] = "one"
    """of every pair: 1, or 1 / sqrt(d_i d_j), where d counts the pairs that a token is the query of"""
    loops: Literal["given", "once"] = "given"
    """self-pairs as they are listed, or exactly one for every token"""
    project: str | None = None
    """activation behind a linear map of every key, in front of the sum; None: keys as they are"""
    map: bool = True
    """a linear map behind the sum"""
    own: Literal["map", "eps", "none"] = "map"
    """what is added of the token itself: a linear map of it, (1 + eps) times it, or nothing"""
    eps: float = 0.0
    learn_eps: bool = False
    bias: bool = True

    def pairs(self) -> tuple[str, ...]:
        return (self.over,)

    def build(self, dim: int) -> nn.Module:
        return AggregateModule(self, dim)


class AggregateModule(nn.Module):
    def __init__(self, config: Aggregate, dim: int) -> None:
        super().__init__()
        self.config = config
        self.project = linear(dim, dim) if config.project is not None else None
        self.act = activation(config.project or "none")
        self.o = linear(dim, dim, config.bias) if config.map else None
        self.own = linear(dim, dim, bias=False) if config.own == "map" else None
        if config.own == "eps":
            eps = torch.tensor([config.eps])
            if config.learn_eps:
                self.eps = nn.Parameter(eps)
            else:
                self.register_buffer("eps", eps)

    def forward(self, x_ND: Tensor, ctx: Context) -> Tensor:
        y = x_ND if self.project is None else self.act(self.project(x_ND))
        y = self.gather(y, ctx)
        y = y if self.o is None else self.o(y)
        if self.config.own == "none":
            return y
        return y + (self.own(x_ND) if self.own is not None else (1 + self.eps) * x_ND)

    def gather(self, x_ND: Tensor, ctx: Context) -> Tensor:
        """[N, D] of the tokens -> [N, D] of their neighbourhoods."""
        config, rows = self.config, len(x_ND)
        i, j = neighbours.along_pairs(ctx, config.over, config.loops)
        y_ED = x_ND.index_select(0, j)
        if config.weight == "symmetric":
            weight = ctx.once(("symmetric", id(ctx.layout), config.over, config.loops), lambda: symmetric(i, j, rows))
            y_ED = y_ED * weight[:, None].to(y_ED)
        if config.how == "max":
            index = i[:, None].expand_as(y_ED)
            return torch.zeros_like(x_ND).scatter_reduce(0, index, y_ED, "amax", include_self=False)
        total = neighbours.total(y_ED, i, rows)
        return total if config.how == "sum" else total / neighbours.count(i, rows).clamp(min=1).to(total)[:, None]


def symmetric(i: Tensor, j: Tensor, rows: int) -> Tensor:
    """[E] 1 / sqrt(d_i d_j), 0 for a key that is never a query, in double precision."""
    degree = neighbours.count(i, rows).double()
    scale = torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0)
    return scale[i] * scale[j]


class Activate(Mixer, frozen=True):
    """A named activation by itself, between layers that have none; its residual has `skip` off."""

    act: str = "relu"

    def build(self, dim: int) -> nn.Module:
        return ActivateModule(self)


class ActivateModule(nn.Module):
    def __init__(self, config: Activate) -> None:
        super().__init__()
        self.act = activation(config.act)

    def forward(self, x_ND: Tensor, ctx: Context) -> Tensor:
        return self.act(x_ND)
