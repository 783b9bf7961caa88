"""Linear attention: scores phi(q) . phi(k), so that the past is one matrix (Katharopoulos et al. 2020, arXiv 2006.16236).

One algorithm for every rule. A document is cut into pieces of at most `chunk` tokens, each wholly causal (every token sees
one more) or part of a run of tokens that see each other. A query reads the sum over everything before its piece, or over
everything up to the end of its run, and a causal piece adds its own lower triangle. Nothing loops over tokens; the sums
loop over the pieces of the longest document. Time and memory are linear in the number of tokens.

Shape letters: N flat tokens, S documents, P pieces, L tokens of the longest piece, H heads, K head dim, F features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Config
from ..errors import ConfigError
from ..layout import Grid, Layout, build_grid
from .context import Context
from .mixers import Mixer, linear
from .recurrent import Turns, make_turns


class FeatureMap(Config, frozen=True):
    """Base: what makes a query or a key [..., H, K] into features [..., H, F], none of them negative."""

    def size(self, head_dim: int) -> int:
        return head_dim

    def build(self, head_dim: int) -> nn.Module:
        raise NotImplementedError


class Elu(FeatureMap, frozen=True):
    """elu(x) + 1."""

    def build(self, head_dim: int) -> nn.Module:
        return EluModule()


class EluModule(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x) + 1


class Favor(FeatureMap, frozen=True):
    """Positive orthogonal random features, whose products approach exp(q . k / sqrt(K)) (Performer, arXiv 2009.14794).

    They are drawn once, when the model is built, and saved with it.
    """

    features: int

    def size(self, head_dim: int) -> int:
        return self.features

    def build(self, head_dim: int) -> nn.Module:
        return FavorModule(self.features, head_dim)


class FavorModule(nn.Module):
    omega: Tensor

    def __init__(self, features: int, head_dim: int) -> None:
        super().__init__()
        if features % 2:
            raise ConfigError(f"random features come in pairs: make {features} even")
        self.register_buffer("omega", orthogonal_directions(head_dim, features // 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x * x.shape[-1] ** -0.25
        u, offset = x @ self.omega.to(x), x.square().sum(-1, keepdim=True) / 2 + math.log(2 * self.omega.shape[1]) / 2
        return torch.cat([u - offset, -u - offset], -1).exp()


def orthogonal_directions(rows: int, columns: int) -> Tensor:
    """[rows, columns]: every `rows` columns are orthogonal to each other, and as long as normal vectors are."""
    blocks = [torch.linalg.qr(torch.randn(rows, rows))[0] for _ in range(-(-columns // rows))]
    return torch.cat(blocks, 1)[:, :columns] * torch.randn(rows, columns).norm(dim=0)


class LinearAttention(Mixer, frozen=True):
    """sum_j phi(q) . phi(k_j) v_j / sum_j phi(q) . phi(k_j) over what the visibility rule shows.

    A session keeps the sums of phi(k) v^T and phi(k) of every document: as much at the first token as at any other.
    """

    heads: int
    head_dim: int | None = None
    features: FeatureMap = Elu()
    bias: bool = True
    eps: float = 1e-6
    """added to the denominator"""
    chunk: int = 64
    """tokens of a piece: a matter of speed alone"""

    def build(self, dim: int) -> nn.Module:
        return LinearAttentionModule(self, dim)


class LinearAttentionModule(nn.Module):
    def __init__(self, config: LinearAttention, dim: int) -> None:
        super().__init__()
        if config.head_dim is None and dim % config.heads:
            raise ConfigError(f"a stream of dim {dim} does not split into {config.heads} heads: change one, or set head_dim")
        self.heads, self.head_dim = config.heads, config.head_dim or dim // config.heads
        self.eps, self.chunk = config.eps, config.chunk
        inner = self.heads * self.head_dim
        self.q, self.k, self.v = (linear(dim, inner, config.bias) for _ in range(3))
        self.o = linear(inner, dim, config.bias)
        self.features, self.size = config.features.build(self.head_dim), config.features.size(self.head_dim)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        q, k, v = (m(x).unflatten(-1, (self.heads, self.head_dim)) for m in (self.q, self.k, self.v))
        with torch.autocast(x.device.type, enabled=False):  # long sums need at least single precision
            q, k, v = (y.float() if y.dtype in (torch.bfloat16, torch.float16) else y for y in (q, k, v))
            out = self._attend(self.features(q), self.features(k), v, ctx)
        return self.o(out.flatten(1).to(x.dtype))  # type: ignore[no-any-return]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, ctx: Context) -> Tensor:
        """Features [N, H, F] and values [N, H, K] -> [N, H, K]."""
        assert ctx.layout is not None
        layout = ctx.layout
        cut: Pieces = ctx.once(("pieces", id(layout), self.chunk), lambda: pieces(layout, self.chunk))
        if not len(q):
            return v
        ones = v.new_ones(*v.shape[:-1], 1)  # a last column that sums up the denominator
        q, k, v = (cut.grid.rows(x).transpose(1, 2) for x in (q, k, torch.cat([v, ones], -1)))
        sums = k.transpose(-1, -2) @ v
        before = self._before(sums, cut.turns, ctx)
        if len(cut.full):
            before = before.index_copy(0, cut.full, (before + sums)[cut.last])
        out = q @ before
        if len(cut.causal):
            some = len(cut.full) > 0
            q, k, v = (x[cut.causal] if some else x for x in (q, k, v))
            own = (q @ k.transpose(-1, -2)).tril() @ v
            out = out.index_add(0, cut.causal, own) if some else out + own
        out = cut.grid.flat(out.transpose(1, 2))
        return out[..., :-1] / (out[..., -1:] + self.eps)

    def _before(self, sums: Tensor, turns: Turns, ctx: Context) -> Tensor:
        """[P, H, F, K + 1] what each piece adds -> the sum of all pieces of its document before it, and what is held."""
        documents = turns.documents
        if ctx.cache is None:
            state = sums.new_zeros(len(documents), *sums.shape[1:])
        else:
            if self not in ctx.cache.states:
                ctx.cache.states[self] = (sums.new_zeros(ctx.cache.documents, *sums.shape[1:]),)
            state = ctx.cache.states[self][0][documents]
        before, ends = [], []
        for part in sums[turns.rows].split(turns.sizes.tolist()):
            ends.append(state[len(part) :])
            before.append(state[: len(part)])
            state = state[: len(part)] + part
        if ctx.cache is not None:
            last = torch.cat([state, *reversed(ends)])
            ctx.cache.states[self] = (ctx.cache.states[self][0].index_copy(0, documents, last),)
        return torch.cat(before)[turns.back]


@dataclass(frozen=True, eq=False)
class Pieces:
    """How a stream is cut."""

    grid: Grid
    """one row per piece"""
    turns: Turns
    """the pieces of every document, one after the other"""
    causal: Tensor
    """pieces whose tokens see one more each"""
    full: Tensor
    """pieces of runs whose tokens see each other"""
    last: Tensor
    """for each of `full` the last piece of its run"""


def pieces(layout: Layout, chunk: int) -> Pieces:
    """Cut at documents, where runs of equal order begin and end, and after every `chunk` tokens."""
    device, n = layout.segment.device, torch.arange(len(layout))
    segment, order = layout.segment.cpu(), layout.order.cpu()
    new = torch.ones(len(n), dtype=torch.bool)
    new[1:] = (segment[1:] != segment[:-1]) | (order[1:] != order[:-1])
    run = new.cumsum(0) - 1
    joint = torch.bincount(run)[run] > 1 if len(n) else new
    starts = new.clone()  # of a block: a run, or neighbouring tokens that are each a run of their own
    starts[1:] &= (segment[1:] != segment[:-1]) | joint[1:] | joint[:-1]
    offset = n - torch.where(starts, n, 0).cummax(0).values if len(n) else n
    first = (offset % chunk == 0).nonzero()[:, 0]
    block = (starts.cumsum(0) - 1)[first]
    grid = build_grid(first.diff(append=torch.tensor([len(n)])).tolist())
    count = torch.bincount(segment[first], minlength=layout.segments).tolist()
    full = joint[first].nonzero()[:, 0]
    last = torch.bincount(block).cumsum(0)[block[full]] - 1 if len(full) else full
    turns = make_turns(count, build_grid(count).to(device))
    return Pieces(grid.to(device), turns, (~joint[first]).nonzero()[:, 0].to(device), full.to(device), last.to(device))
