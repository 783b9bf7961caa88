"""Lists of who sees whom, as flat rows, and sums along them: all of it linear in the length of the list.

Shape letters: N queries, M keys, E pairs of a query and a key, H heads.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..layout import Layout
from .block import Block, grid_block
from .context import Context

Edges = tuple[Tensor, Tensor]
"""[E] rows of the queries and [E] rows of the keys"""


def along_pairs(ctx: Context, name: str, loops: Literal["given", "once"] = "given") -> Edges:
    """The pairs of a name that the visibility rule allows. Parallel pairs count as often as they are listed, and so do
    pairs of a token with itself; "once": every token sees itself exactly once, whatever is listed. In a session too these
    are pairs among the new tokens: a pair never joins two parts that were fed apart.
    """
    layout = ctx.layout
    assert layout is not None
    return ctx.once(("pairs", id(layout), name, loops), lambda: _listed(layout, name, loops))  # type: ignore[no-any-return]


def _listed(layout: Layout, name: str, loops: str) -> Edges:
    i, j = layout.pairs[name][0]
    keep = (layout.segment[i] == layout.segment[j]) & (layout.order[j] <= layout.order[i])
    if loops == "given":
        return i[keep], j[keep]
    keep &= i != j
    own = torch.arange(len(layout), device=i.device)
    return torch.cat([i[keep], own]), torch.cat([j[keep], own])


def visible(ctx: Context, queries: Layout, keys: Layout, ordered: bool) -> Edges:
    """All that the rule allows: keys of the same document, and where `ordered` none that comes later."""
    return ctx.once(("visible", id(queries), id(keys), ordered), lambda: _visible(queries, keys, ordered))  # type: ignore[no-any-return]


def _visible(queries: Layout, keys: Layout, ordered: bool) -> Edges:
    row, i, j = grid_block(queries, keys, ordered).visible().nonzero().unbind(1)
    return queries.grid.index[row, i], keys.grid.index[row, j]


def held(ctx: Context) -> Edges:
    """In a session: new queries, and all that they may see as rows of the flattened slots [documents * width]."""
    assert ctx.cache is not None and ctx.layout is not None
    block: Block = ctx.once("cache", ctx.cache.block)
    grid, (_, length, width) = ctx.layout.grid, block.shape
    cells = block.visible().flatten().nonzero()[:, 0]
    row = cells // width
    return grid.index.flatten()[row], row // length * width + cells % width


def total(x: Tensor, at: Tensor, rows: int) -> Tensor:
    """[E, ...] summed by row: [rows, ...]."""
    return x.new_zeros(rows, *x.shape[1:]).index_add(0, at, x)


def count(at: Tensor, rows: int) -> Tensor:
    """[rows] how many of `at` are each row."""
    return torch.bincount(at, minlength=rows)


def shares(score: Tensor, at: Tensor, rows: int) -> Tensor:
    """The softmax of scores [E, H] over all that belong to one row."""
    index = at[:, None].expand_as(score)
    top = score.detach().new_full((rows, score.shape[1]), -torch.inf).scatter_reduce(0, index, score.detach(), "amax")
    weight = (score - top[at]).exp()
    return weight / total(weight, at, rows)[at]
