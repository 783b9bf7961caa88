"""Additive attention: scores from a sum of query and key under an activation (Bahdanau 2014, GATv2).

Shape letters: N queries, M keys, E visible pairs of them, H heads, K head dim, D model dim.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..layout import Layout
from . import neighbours
from .context import Context, activation
from .mixers import Mixer, linear


class AdditiveAttention(Mixer, frozen=True):
    """softmax over j of energy . act(W x_i + U x_j), the alignment of Bahdanau et al. (arXiv 1409.0473).

    With `over` only pairs of that name are seen, and with leaky ReLU it is GATv2 (Brody et al., arXiv 2105.14491). Time and
    memory are linear in the number of visible pairs. A query that sees nothing gets 0 (and the last bias).
    """

    heads: int = 1
    head_dim: int | None = None
    """None: dim / heads"""
    source: Literal["self", "memory"] = "self"
    memory_dim: int | None = None
    """None: the stream's own"""
    over: str | None = None
    """only keys that a pair of this name connects; parallel pairs count as often as they are listed"""
    loops: Literal["given", "once"] = "given"
    """with `over`: self-pairs as they are listed, or exactly one for every token"""
    act: str = "tanh"
    values: Literal["own", "keys", "input"] = "own"
    """what the weights sum up: a map of their own, the keys, or the source itself"""
    join: Literal["concat", "mean"] = "concat"
    """of the heads"""
    out: bool = True
    """a linear map to the stream's dim behind the heads; False: they are that wide by themselves"""
    bias: bool = True
    """of queries, keys and values"""
    out_bias: bool = True
    dropout: float = 0.0
    """share of the attention weights that are dropped in training"""

    def pairs(self) -> tuple[str, ...]:
        return (self.over,) if self.over else ()

    def build(self, dim: int) -> nn.Module:
        return AdditiveAttentionModule(self, dim)


class AdditiveAttentionModule(nn.Module):
    def __init__(self, config: AdditiveAttention, dim: int) -> None:
        super().__init__()
        if config.head_dim is None and dim % config.heads:
            raise ConfigError(f"a stream of dim {dim} does not split into {config.heads} heads: change one, or set head_dim")
        if config.over is not None and config.source == "memory":
            raise ConfigError(f"pairs {config.over!r} connect tokens of one stream: set source to 'self', or leave `over` out")
        self.config, self.heads, self.act = config, config.heads, activation(config.act)
        self.head_dim = config.head_dim or dim // config.heads
        source = config.memory_dim or dim
        inner = self.heads * self.head_dim
        self.q, self.k = linear(dim, inner, config.bias), linear(source, inner, config.bias)
        self.v = linear(source, inner, config.bias) if config.values == "own" else None
        self.energy = nn.Parameter(torch.randn(self.heads, self.head_dim) * self.head_dim**-0.5)
        width = (source if config.values == "input" else self.head_dim) * (self.heads if config.join == "concat" else 1)
        if not config.out and config.source == "self" and width != dim:
            raise ConfigError(f"heads that give {width} numbers need `out` to fit a stream of dim {dim}")
        self.o = linear(width, dim, config.out_bias) if config.out else None
        self.bias = nn.Parameter(torch.zeros(width)) if config.out_bias and not config.out else None

    def forward(self, x_ND: Tensor, ctx: Context) -> Tensor:
        assert ctx.layout is not None
        source, layout = self._source(x_ND, ctx)
        q = self._heads(self.q(x_ND))
        k, v = self._held(source, layout, ctx)
        i, j = self._edges(layout, ctx)
        weight = neighbours.shares(self.score(q.index_select(0, i), k.index_select(0, j)), i, len(q))
        weight = F.dropout(weight, self.config.dropout, self.training)
        return self.joined(neighbours.total(weight[..., None] * v.index_select(0, j), i, len(q)).to(v.dtype))

    def score(self, q: Tensor, k: Tensor) -> Tensor:
        """Queries and keys [..., H, K], which broadcast -> scores [..., H], in at least single precision."""
        score = (self.act(q + k) * self.energy).sum(-1)
        return score.float() if score.dtype in (torch.bfloat16, torch.float16) else score

    def keys(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """[M, width] -> keys [M, H, K] and values [M, H or 1, ...]."""
        k = self._heads(self.k(source))
        if self.config.values == "input":
            return k, source[:, None]
        return k, k if self.v is None else self._heads(self.v(source))

    def joined(self, out_NHK: Tensor) -> Tensor:
        """What the heads found -> [N, D]."""
        out = out_NHK.flatten(1) if self.config.join == "concat" else out_NHK.mean(1)
        out = out if self.o is None else self.o(out)
        return out if self.bias is None else out + self.bias

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.heads, self.head_dim)

    def _source(self, x_ND: Tensor, ctx: Context) -> tuple[Tensor, Layout]:
        if self.config.source == "self":
            assert ctx.layout is not None
            return x_ND, ctx.layout
        if ctx.memory is None:
            raise ConfigError("additive attention over a memory: set the stream's `memory` to an earlier stream")
        return ctx.memory

    def _held(self, source: Tensor, layout: Layout, ctx: Context) -> tuple[Tensor, Tensor]:
        """Keys and values of all that can be seen; in a session also those of earlier tokens."""
        if ctx.cache is None or self.config.over is not None:
            return self.keys(source)
        if self.config.source == "memory":  # never changes
            k, v = ctx.cache.fixed(self, lambda: tuple(layout.grid.rows(x) for x in self.keys(source)))
            return layout.grid.flat(k), layout.grid.flat(v)
        k, v = ctx.cache.write(self, *self.keys(source))
        return k.flatten(0, 1), v.flatten(0, 1)

    def _edges(self, layout: Layout, ctx: Context) -> neighbours.Edges:
        assert ctx.layout is not None
        if self.config.source == "memory":
            return neighbours.visible(ctx, ctx.layout, layout, ordered=False)
        if self.config.over is not None:
            return neighbours.along_pairs(ctx, self.config.over, self.config.loops)
        return neighbours.held(ctx) if ctx.cache is not None else neighbours.visible(ctx, layout, layout, ordered=True)
