"""The two recurrent layers of Bahdanau et al. 2014 (arXiv 1409.0473), appendix A, in the paper's letters.

A step needs the state before it, so both loop over time steps, each step over all documents that are long enough: as many
steps as the longest document has tokens. The gated unit is the paper's: its reset gate acts in front of the recurrent map
(torch's GRU lets it act behind). The paper omits the biases in its equations; here the maps of words (W, V_o) and of the
first state (W_s) have them.

Shape letters: N flat tokens, S documents, A documents that have tokens, M tokens of the longest memory, n hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .additive import AdditiveAttention, AdditiveAttentionModule
from .context import Context
from .mixers import Mixer, linear
from .recurrent import Turns, turns_of
from .steps import FunctionModule, Step


class GatedUnit(nn.Module):
    """The parameters of A.1.1: W, W_z, W_r over words of `width`, and U; U_z, U_r over states of n."""

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.words = linear(width, 3 * n)
        """W, W_z, W_r"""
        self.state, self.gates = linear(n, n, False), linear(n, 2 * n, False)
        """U; U_z and U_r"""


def gated(x: Tensor, s: Tensor, u: Tensor, u_zr: Tensor) -> Tensor:
    """What came in [..., 3 n] (for the candidate, z and r) and the state before [..., n] -> the state behind."""
    n = s.shape[-1]
    z, r = (x[..., n:] + s @ u_zr).sigmoid().chunk(2, -1)
    candidate = (x[..., :n] + (r * s) @ u).tanh()
    return (1 - z) * s + z * candidate


def by_step(x: Tensor, turns: Turns, dim: int = 0) -> Sequence[Tensor]:
    """Rows in the order of the time steps -> one part per time step."""
    return x.split(turns.sizes.tolist(), dim)


class Annotations(Mixer, frozen=True):
    """The encoder (A.2.1): gated units from both ends, side by side. `dim` is twice their width."""

    width: int | None = None
    """columns of what comes in; None: the stream's dim"""

    def ahead(self) -> bool:
        return True

    def build(self, dim: int) -> nn.Module:
        return AnnotationsModule(self, dim)


class AnnotationsModule(nn.Module):
    def __init__(self, config: Annotations, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise ConfigError(f"two directions cannot share a stream of dim {dim}: make it even")
        self.n = dim // 2
        self.ways = nn.ModuleList(GatedUnit(config.width or dim, self.n) for _ in range(2))

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        if not len(x):
            return x.new_zeros(0, 2 * self.n)
        turns = turns_of(ctx)
        mirrored, back = ctx.once(("mirrored", id(ctx.layout)), lambda: _mirrored(turns, ctx))
        units = [cast(GatedUnit, unit) for unit in self.ways]
        inputs = torch.stack([unit.words(x)[rows] for unit, rows in zip(units, (turns.rows, mirrored), strict=True)])
        u, u_zr = (torch.stack([getattr(unit, name).weight.T for unit in units]) for name in ("state", "gates"))
        h, out = inputs.new_zeros(2, len(turns.documents), self.n), []
        for x_t in by_step(inputs, turns, 1):
            h = gated(x_t, h[:, : x_t.shape[1]], u, u_zr)
            out.append(h)
        first, second = torch.cat(out, 1)
        return torch.cat([first[turns.back], second[back]], -1)


def _mirrored(turns: Turns, ctx: Context) -> tuple[Tensor, Tensor]:
    """[N] the rows of `turns` with every document turned round, and the way back."""
    assert ctx.layout is not None
    ends, segment = ctx.layout.offsets().long(), ctx.layout.segment[turns.rows]
    rows = ends[segment] + ends[segment + 1] - 1 - turns.rows
    back = torch.empty_like(rows)
    back[rows] = torch.arange(len(rows), device=rows.device)
    return rows, back


class Search(Mixer, frozen=True):
    """The decoder (A.2.2): a gated unit that, before every step, looks for what it needs in the memory.

    Its output is the deep output before maxout, t~_i = U_o s_{i-1} + V_o E y_{i-1} + C_o c_i. A session keeps the state.
    """

    hidden: int
    memory_dim: int
    align: int
    """units of the alignment model"""
    width: int | None = None
    """columns of what comes in; None: the stream's dim"""

    def build(self, dim: int) -> nn.Module:
        return SearchModule(self, dim)


class SearchModule(nn.Module):
    def __init__(self, config: Search, dim: int) -> None:
        super().__init__()
        n, width, memory = config.hidden, config.width or dim, config.memory_dim
        self.dim, self.n = dim, n
        self.unit = GatedUnit(width, n)
        self.context = linear(memory, 3 * n, False)
        """C, C_z, C_r"""
        alignment = AdditiveAttention(
            head_dim=config.align, source="memory", memory_dim=memory, values="input", out=False, bias=False, out_bias=False
        )
        self.alignment: AdditiveAttentionModule = alignment.build(n)  # type: ignore[assignment]
        """W_a, U_a, v_a"""
        self.first = linear(memory // 2, n)
        """W_s"""
        self.out_state, self.out_word, self.out_context = linear(n, dim, False), linear(width, dim), linear(memory, dim, False)
        """U_o, V_o, C_o"""

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        if not len(x):
            return x.new_zeros(0, self.dim)
        turns, cache = turns_of(ctx), ctx.cache
        held = cache.fixed(self, lambda: self._memory(ctx)) if cache is not None else self._memory(ctx)
        h, keys, valid, first = (part[turns.documents] for part in held)
        s = first if cache is None or self not in cache.states else cache.states[self][0][turns.documents]
        before, found, after = [], [], []
        for x_t in by_step(self.unit.words(x)[turns.rows], turns):
            if len(x_t) < len(s):  # the shortest documents have ended
                s, h, keys, valid = (part[: len(x_t)] for part in (s, h, keys, valid))
            before.append(s)
            c, s = self.step(x_t, s, h, keys, valid)
            found.append(c)
            after.append(s)
        if cache is not None:
            self._keep(torch.cat(after)[turns.back], held[3], ctx)
        deep = self.out_state(torch.cat(before)) + self.out_context(torch.cat(found))
        return deep[turns.back] + self.out_word(x)  # type: ignore[no-any-return]

    def step(self, x: Tensor, s: Tensor, h: Tensor, keys: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """What words give [A, 3 n] and the state before -> the context c_i [A, 2 n] and the state behind."""
        c = self.search(s, h, keys, valid)
        return c, gated(x + self.context(c), s, self.unit.state.weight.T, self.unit.gates.weight.T)

    def search(self, s: Tensor, h: Tensor, keys: Tensor, valid: Tensor) -> Tensor:
        """The annotations weighted by their alignment with a state; 0 where the source is empty."""
        energy = self.alignment.score(self.alignment.q(s)[:, None, None], keys)[..., 0]
        weight = energy.masked_fill(~valid, torch.finfo(energy.dtype).min).softmax(-1).to(h.dtype)
        return (weight[:, None] @ h)[:, 0]

    def _memory(self, ctx: Context) -> tuple[Tensor, ...]:
        """By document: annotations [S, M, 2 n], what alignment makes of them [S, M, 1, a], which are real, and s_0."""
        if ctx.memory is None:
            raise ConfigError("a search reads a memory: set the stream's `memory` to an earlier stream")
        annotations, layout = ctx.memory
        keys, _ = self.alignment.keys(annotations)
        begin = annotations.new_zeros(layout.segments, annotations.shape[1] // 2)  # where the source is empty
        some = torch.tensor(layout.lengths, device=begin.device).nonzero()[:, 0]
        backward = annotations[layout.offsets().long()[some], begin.shape[1] :]
        first = self.first(begin.index_copy(0, some, backward)).tanh()
        return layout.grid.rows(annotations), layout.grid.rows(keys), layout.grid.valid, first

    def _keep(self, after: Tensor, first: Tensor, ctx: Context) -> None:
        """The state behind the last new token of every document that has one."""
        assert ctx.cache is not None and ctx.layout is not None
        state = ctx.cache.states.get(self, (first,))[0]
        fed = torch.tensor(ctx.layout.lengths, device=state.device).nonzero()[:, 0]
        last = ctx.layout.offsets().long()[1:][fed] - 1
        ctx.cache.states[self] = (state.index_copy(0, fed, after[last]),)


class Maxout(Step, frozen=True):
    """The larger of every two neighbouring columns (Goodfellow et al. 2013, arXiv 1302.4389)."""

    def out(self, width: int, dim: int) -> int:
        return width // 2

    def build(self, width: int, dim: int) -> nn.Module:
        return FunctionModule(lambda x: x.unflatten(-1, (-1, 2)).amax(-1))
