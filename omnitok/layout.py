"""The structure of a packed stream, without its content, and the one rule that says what sees what.

A query sees a key iff their segments are equal and `order[key] <= order[query]`. Shape letters: N flat tokens,
S segments (documents), L row length.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .record import Record


@dataclass(frozen=True, eq=False)
class Run(Record):
    """Documents of one length and one rule, side by side in the flat stream: one attention call."""

    count: int
    length: int
    rule: str
    """"causal" (order rises by one), "full" (one order throughout) or "order" (`mask` holds it)."""
    mask: Tensor | None = None
    """[count, length, length] bool, query by key, only for "order"."""
    pairs: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """name -> ([E] flat places in [count, length, length], [E] labels); names without a pair in this run are absent."""


@dataclass(frozen=True, eq=False)
class Grid(Record):
    """The flat stream seen as one row per segment."""

    index: Tensor
    """[S, L] flat row of every cell; 0 where not valid."""
    valid: Tensor
    """[S, L] bool."""
    place: Tensor
    """[N] cell of every flat row, the way back."""
    full: bool = False
    """every cell is valid: the rows lie end to end in the flat stream already."""

    def rows(self, x: Tensor) -> Tensor:
        """[N, ...] -> [S, L, ...], zeros where not valid."""
        if self.full:
            return x.view(*self.index.shape, *x.shape[1:])
        return x[self.index] * self.valid.view(*self.valid.shape, *[1] * (x.dim() - 1)).to(x.dtype)

    def flat(self, x: Tensor) -> Tensor:
        """[S, L, ...] -> [N, ...]."""
        return x.flatten(0, 1) if self.full else x.flatten(0, 1)[self.place]


@dataclass(frozen=True, eq=False, repr=False)
class Layout(Record):
    """Structure of one packed stream; built once per batch, in the loader, by `build_layout`."""

    segment: Tensor
    """[N] the document a token belongs to, rising along the stream."""
    order: Tensor
    """[N] what a token may see: keys of its segment whose order is not higher."""
    position: Tensor
    """[N] place in the composed document; the tokens of a set share one."""
    channel: Tensor
    """[N] number of the token's channel in `channels`."""
    span: Tensor
    """[N] number of the token's span in the stream."""
    axes: Mapping[str, Tensor]
    """name -> [N] integers (absent: -1) or [N, k] floats (absent: 0)."""
    pairs: Mapping[str, tuple[Tensor, Tensor]]
    """name -> ([2, E] flat rows of query and key, [E] labels)."""
    lengths: tuple[int, ...]
    """tokens of every segment."""
    runs: tuple[Run, ...]
    grid: Grid
    channels: tuple[str, ...] = ()

    @property
    def segments(self) -> int:
        return len(self.lengths)

    def __len__(self) -> int:
        return len(self.segment)

    def __repr__(self) -> str:
        rules = ", ".join(f"{r.count}x{r.length} {r.rule}" for r in self.runs)
        return f"Layout({len(self)} tokens in {self.segments} segments: {rules})"

    def axis(self, name: str) -> Tensor:
        """A named axis; "position" is the core's own."""
        return self.position if name == "position" else self.axes[name]

    def visible(self) -> Tensor:
        """[N, N] bool: the rule, written out (the reference; no fast path uses it)."""
        same = self.segment[:, None] == self.segment[None, :]
        return same & (self.order[None, :] <= self.order[:, None])

    def select(self, documents: Tensor) -> tuple[Layout, Tensor]:
        """The layout of these documents (one may come twice) and their rows in this one. Pairs and runs are left behind."""
        chosen = documents.tolist()
        ends = [0, *itertools.accumulate(self.lengths)]
        rows = torch.cat([torch.arange(ends[d], ends[d + 1]) for d in chosen] or [torch.arange(0)]).to(self.segment.device)
        lengths = tuple(self.lengths[d] for d in chosen)
        segment = torch.arange(len(chosen)).repeat_interleave(torch.tensor(lengths, dtype=torch.long)).to(rows)
        axes = {name: x[rows] for name, x in self.axes.items()}
        grid = build_grid(lengths).to(rows.device)
        order, position, channel, span = (x[rows] for x in (self.order, self.position, self.channel, self.span))
        return Layout(segment, order, position, channel, span, axes, {}, lengths, (), grid, self.channels), rows

    def offsets(self) -> Tensor:
        """[S + 1] int32 borders of the segments, as variable-length attention kernels want them."""
        return torch.tensor([0, *self.lengths]).cumsum(0).int().to(self.segment.device)


def order_of(full: Tensor, starts: Tensor) -> Tensor:
    """[N] order within each segment. A maximal run of adjacent full tokens shares the place of its first token."""
    n = torch.arange(len(full))
    first = starts.clone()
    if len(full) > 1:
        first[1:] |= ~(full[1:] & full[:-1])
    opened = torch.where(first, n, 0)
    begin = torch.where(starts, n, 0)
    return _cummax(opened) - _cummax(begin)


def build_grid(lengths: Sequence[int]) -> Grid:
    """Rows for segments of these lengths."""
    count = torch.tensor(lengths, dtype=torch.long)
    width = max(lengths, default=0)
    column = torch.arange(width)
    valid = column[None] < count[:, None]
    start = count.cumsum(0) - count
    index = torch.where(valid, start[:, None] + column[None], 0)
    return Grid(index, valid, valid.flatten().nonzero()[:, 0], len(set(lengths)) <= 1)


def build_runs(
    lengths: Sequence[int], rules: Sequence[str], order: Tensor, pairs: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Run, ...]:
    """Group neighbouring segments of equal length, rule and use of pairs; pairs come in the order of their segments."""
    ends = [0, *itertools.accumulate(lengths)]
    borders = {name: _borders(ends, rows[0]) for name, (rows, labels) in pairs.items() if len(labels)}
    paired = [tuple(n for n, b in borders.items() if b[i] < b[i + 1]) for i in range(len(lengths))]
    runs, at = [], 0
    while at < len(lengths):
        key, stop = (lengths[at], rules[at], paired[at]), at
        while stop < len(lengths) and (lengths[stop], rules[stop], paired[stop]) == key:
            stop += 1
        if lengths[at]:
            parts = {k: (pairs[k], slice(borders[k][at], borders[k][stop])) for k in paired[at]}
            inside = {k: (rows[:, part] - ends[at], labels[part]) for k, ((rows, labels), part) in parts.items()}
            runs.append(_run(stop - at, lengths[at], rules[at], ends[at], order, inside))
        at = stop
    return tuple(runs)


def _borders(ends: Sequence[int], rows: Tensor) -> list[int]:
    """For each segment the first of its pairs, and the number of pairs at last."""
    segment = torch.searchsorted(torch.tensor(ends[1:]), rows, right=True)
    return [0, *torch.bincount(segment, minlength=len(ends) - 1).cumsum(0).tolist()]


def _run(count: int, length: int, rule: str, start: int, order: Tensor, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> Run:
    """`pairs` count from the first row of the run."""
    mask = None
    if rule == "order":
        o = order[start : start + count * length].view(count, length)
        mask = o[:, None, :] <= o[:, :, None]
    return Run(count, length, rule, mask, {k: (q * length + v % length, label) for k, ((q, v), label) in pairs.items()})


def _cummax(x: Tensor) -> Tensor:
    return x.cummax(0).values if len(x) else x
