"""Recurrent layers on torch's own kernels, over ragged documents without padding.

Shape letters: N flat tokens, S documents, A documents that have tokens, T time steps, D model dim, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..errors import ConfigError
from ..layout import Grid
from .cache import Cache
from .context import Context
from .mixers import Mixer


@dataclass(frozen=True, eq=False)
class Turns:
    """The tokens of a stream by time step: the first of every document, then the second of those that have one."""

    documents: Tensor
    """[A] the longest first"""
    rows: Tensor
    """[N] flat row of every token, by time step and then by document"""
    back: Tensor
    """[N] the way back"""
    sizes: Tensor
    """[T] documents at every time step, on the CPU"""


def turns_of(ctx: Context) -> Turns:
    """The time steps of the stream, made once per forward pass."""
    assert ctx.layout is not None
    layout = ctx.layout
    return ctx.once(("turns", id(layout)), lambda: make_turns(layout.lengths, layout.grid))  # type: ignore[no-any-return]


def make_turns(lengths: Sequence[int], grid: Grid) -> Turns:
    """For documents of these lengths and the grid of their rows."""
    length = torch.tensor(lengths, dtype=torch.long)
    longest = length.argsort(descending=True, stable=True)
    longest = longest[: int((length > 0).sum())]
    sizes = (length[:, None] > torch.arange(max(lengths, default=0))).sum(0)
    documents = longest.to(grid.index.device)
    rows = grid.index[documents].T[grid.valid[documents].T]
    back = torch.empty_like(rows)
    back[rows] = torch.arange(len(rows), device=rows.device)
    return Turns(documents, rows, back, sizes)


class Recurrent(Mixer, frozen=True):
    """One recurrent layer, torch.nn.LSTM's or torch.nn.GRU's: it sees what comes before a token, in the order of the document.

    `bidirectional` joins a second one from the end, each of half the width. A session keeps the last state.
    """

    cell: Literal["lstm", "gru"]
    bidirectional: bool = False
    width: int | None = None
    """columns of what comes in; None: the stream's dim"""

    def ahead(self) -> bool:
        return self.bidirectional

    def build(self, dim: int) -> nn.Module:
        return RecurrentModule(self, dim)


class RecurrentModule(nn.Module):
    def __init__(self, config: Recurrent, dim: int) -> None:
        super().__init__()
        if config.bidirectional and dim % 2:
            raise ConfigError(f"two directions cannot share a stream of dim {dim}: make it even")
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        self.dim, hidden = dim, dim // 2 if config.bidirectional else dim
        self.rnn = kind(config.width or dim, hidden, bidirectional=config.bidirectional)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        if not len(x):
            return x.new_zeros(0, self.dim)
        turns = turns_of(ctx)
        state = self._held(turns, ctx.cache, x) if ctx.cache is not None else None
        out, last = self.rnn(PackedSequence(x[turns.rows], turns.sizes), state)
        if ctx.cache is not None:
            self._keep(turns, ctx.cache, last)
        return out.data[turns.back]  # type: ignore[no-any-return]

    def _held(self, turns: Turns, cache: Cache, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The states [1, A, H] that these documents go on from."""
        if self not in cache.states:
            count = 2 if isinstance(self.rnn, nn.LSTM) else 1
            cache.states[self] = tuple(x.new_zeros(cache.documents, self.dim) for _ in range(count))
        states = tuple(s[turns.documents][None] for s in cache.states[self])
        return states if len(states) > 1 else states[0]

    def _keep(self, turns: Turns, cache: Cache, last: Tensor | tuple[Tensor, ...]) -> None:
        ends = last if isinstance(last, tuple) else (last,)
        cache.states[self] = tuple(
            s.index_copy(0, turns.documents, e[0].to(s.dtype)) for s, e in zip(cache.states[self], ends, strict=True)
        )
