"""Blocks of queries and keys: the one view of structure that masks, biases and backends share.

Shape letters: B rows of the block (documents), Q queries and K keys per row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..layout import Layout, Run

Labels = tuple[Tensor, Tensor]


@dataclass(eq=False)
class Block:
    """Some queries against some keys."""

    shape: tuple[int, int, int]
    """(B, Q, K)"""
    query_axis: Callable[[str], Tensor]
    """axis name -> [B, Q, ...]"""
    key_axis: Callable[[str], Tensor]
    pairs: Mapping[str, Labels]
    """name -> ([E] flat cells of [B, Q, K], [E] labels); absent where no pair lies in the block."""
    causal: bool = False
    """the rule is: key place <= query place, and Q == K."""
    allowed: Tensor | None = None
    """[B or 1, Q, K] bool; None: all (or `causal`)."""
    memo: dict[Any, Any] = field(default_factory=dict)
    """what depends on the block alone and is needed by several layers"""

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """`make()`, computed once per block."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def mask(self) -> Tensor | None:
        """[B or 1, Q, K] bool, the causal rule written out; None where everything is visible."""
        if not self.causal:
            return self.allowed
        _, queries, keys = self.shape
        device = self.query_axis("position").device
        return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()[None]

    def visible(self) -> Tensor:
        """[B, Q, K] bool, written out in any case."""
        mask = self.mask()
        if mask is not None:
            return mask.expand(self.shape)
        return torch.ones(self.shape, dtype=torch.bool, device=self.query_axis("position").device)


def run_blocks(layout: Layout) -> list[Block]:
    """One block per run of equal documents, in the order of the flat stream."""
    blocks, at = [], 0
    for run in layout.runs:
        blocks.append(_run_block(layout, run, at))
        at += run.count * run.length
    return blocks


def _run_block(layout: Layout, run: Run, start: int) -> Block:
    shape = (run.count, run.length)

    def axis(name: str) -> Tensor:
        values = layout.axis(name)[start : start + run.count * run.length]
        return values.view(*shape, *values.shape[1:])

    return Block((*shape, run.length), axis, axis, run.pairs, run.rule == "causal", run.mask)


def grid_block(queries: Layout, keys: Layout, ordered: bool) -> Block:
    """Every segment as one row, padded to the longest; padded queries see nothing."""
    q, k = queries.grid, keys.grid
    allowed = None
    if ordered or not (q.full and k.full):
        allowed = q.valid[:, :, None] & k.valid[:, None, :]
        if ordered:
            allowed = allowed & (keys.order[k.index][:, None, :] <= queries.order[q.index][:, :, None])
    shape = (*q.index.shape, k.index.shape[1])
    pairs = {}
    if queries is keys:
        for name, (ends, labels) in queries.pairs.items():
            if len(labels):
                cells = q.place[ends]
                pairs[name] = (cells[0] * shape[2] + cells[1] % shape[2], labels)
    return Block(shape, lambda a: queries.axis(a)[q.index], lambda a: keys.axis(a)[k.index], pairs, False, allowed)


def dense_block(queries: Layout, keys: Layout, ordered: bool) -> Block:
    """The whole stream as one row: the reference, quadratic in all tokens."""
    allowed = queries.segment[:, None] == keys.segment[None, :]
    if ordered:
        allowed = allowed & (keys.order[None, :] <= queries.order[:, None])
    pairs = {}
    if queries is keys:
        pairs = {n: (e[0] * len(keys) + e[1], v) for n, (e, v) in queries.pairs.items() if len(v)}
    return Block(
        (1, len(queries), len(keys)), lambda a: queries.axis(a)[None], lambda a: keys.axis(a)[None], pairs, False, allowed[None]
    )


def edge_block(layout: Layout, queries: Tensor, keys: Tensor) -> Block:
    """Every listed pair as a row of its own, with one query and one key; `queries` and `keys` are [E] flat rows, sorted."""
    cells, size = queries * len(layout) + keys, len(queries)
    pairs = {}
    for name, (ends, labels) in layout.pairs.items():
        found = ends[0] * len(layout) + ends[1]
        at = torch.searchsorted(cells, found).clamp(max=max(size - 1, 0))
        hit = cells[at] == found if size else torch.zeros_like(found, dtype=torch.bool)
        if len(labels):
            pairs[name] = (at[hit], labels[hit])
    return Block((size, 1, 1), lambda a: layout.axis(a)[queries][:, None], lambda a: layout.axis(a)[keys][:, None], pairs)
