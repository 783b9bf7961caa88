"""Biases that follow shortest paths, and one for tokens that lie on none (Graphormer, arXiv 2106.05234).

Shape letters: B rows of a block, Q queries and K keys per row, E pairs, H heads, M hops.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .block import Block
from .positions import Bias, Position


class PathTable(Position, frozen=True):
    """The mean over the hops n of a path from query to key of table[label of hop n] W_n, one number per head.

    Hop n of every path is a pair "<name>n", labelled with the kind of the connection that is taken there: "hop1" leaves
    the query. A path of one hop more than `hops` counts its first `hops` only; no hop, no bias. W_n [H, H] mixes heads,
    as the published code has it; the paper's own formula is a number per hop and feature.
    """

    count: int
    """labels"""
    hops: int
    name: str = "hop"
    rows: int | None = None
    """hops that W has room for; None: `hops`"""

    def pairs(self) -> tuple[str, ...]:
        return tuple(f"{self.name}{n + 1}" for n in range(self.hops))

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return PathTableModule(self, heads)


class PathTableModule(Bias):
    def __init__(self, config: PathTable, heads: int) -> None:
        super().__init__()
        rows = config.hops if config.rows is None else config.rows
        if rows < config.hops:
            raise ConfigError(f"a path of {config.hops} hops does not fit {rows} rows: have as many rows")
        self.names = config.pairs()
        self.weight = nn.Parameter(torch.randn(config.count, heads))
        self.mix = nn.Parameter(torch.randn(rows, heads, heads) * heads**-0.5)

    def bias(self, block: Block) -> Tensor | None:
        """[B, H, Q, K], or None where no path lies in the block."""
        found = [(n, *block.pairs[name]) for n, name in enumerate(self.names) if name in block.pairs]
        if not found:
            return None
        rows, queries, keys = block.shape
        total = self.weight.new_zeros(rows * queries * keys, self.weight.shape[1])
        count = self.weight.new_zeros(rows * queries * keys, 1)
        for n, cells, labels in found:
            total = total.index_add(0, cells, (self.weight @ self.mix[n])[labels].to(total.dtype))
            count = count.index_add(0, cells, count.new_ones(len(cells), 1))
        return (total / count.clamp(min=1)).view(rows, queries, keys, -1).permute(0, 3, 1, 2)


class Lacking(Position, frozen=True):
    """One learned number per head wherever the query or the key lacks an axis: the distance to a virtual token."""

    axis: str

    def axes(self) -> tuple[str, ...]:
        return (self.axis,)

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return LackingModule(self, heads)


class LackingModule(Bias):
    def __init__(self, config: Lacking, heads: int) -> None:
        super().__init__()
        self.axis = config.axis
        self.weight = nn.Parameter(torch.randn(heads))

    def bias(self, block: Block) -> Tensor:
        """[B, H, Q, K]"""
        lacking = (block.query_axis(self.axis) < 0)[:, :, None] | (block.key_axis(self.axis) < 0)[:, None, :]
        return lacking[:, None].to(self.weight.dtype) * self.weight[:, None, None]
