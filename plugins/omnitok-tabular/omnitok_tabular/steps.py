"""Embedding steps of cells: a number by where it lies among those of its column, a moment by day and calendar.

Shape letters: n tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from omnitok.nn.context import Context
from omnitok.nn.steps import Step

YEAR, WEEK, DAY = 365.2425, 7.0, 86_400e6
"""In days, days and microseconds."""


class Piecewise(Step, frozen=True):
    """A normalised number [n, 1] -> [n, 2 + bins]: a one, the number, and how far it has come through each bin.

    The piecewise linear encoding of Gorishniy et al. 2022 (arXiv 2203.05556, section 3.2), whose first and last bin go on
    beyond their edges. `edges` are in normalised units and ascend; none: only the one and the number, which a linear map
    makes the numerical token of an FT-Transformer (arXiv 2106.11959, section 3.3).
    """

    edges: tuple[float, ...] = ()

    def out(self, width: int, dim: int) -> int:
        return 2 + max(0, len(self.edges) - 1)

    def build(self, width: int, dim: int) -> nn.Module:
        return PiecewiseModule(self)


class PiecewiseModule(nn.Module):
    left: Tensor
    size: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, config: Piecewise) -> None:
        super().__init__()
        edges = torch.tensor(config.edges, dtype=torch.float64)
        bins = max(0, len(edges) - 1)
        least, most = torch.zeros(bins), torch.ones(bins)
        if bins:
            least[0], most[-1] = -math.inf, math.inf
        for name, values in {"left": edges[:bins], "size": edges.diff(), "least": least, "most": most}.items():
            self.register_buffer(name, values.float(), persistent=False)

    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        x = x.flatten(1)
        through = ((x - self.left) / self.size).clamp(self.least, self.most)
        return torch.cat([torch.ones_like(x), x, through], 1)


class Calendar(Step, frozen=True):
    """A normalised moment [n, 2] (day, microsecond of the day) -> [n, 8]: a one, the day, and sine and cosine of the
    places in the year, the week and the day. `mean` and `std` undo the normalisation."""

    mean: tuple[float, float]
    std: tuple[float, float]

    def out(self, width: int, dim: int) -> int:
        return 8

    def build(self, width: int, dim: int) -> nn.Module:
        return CalendarModule(self)


class CalendarModule(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, config: Calendar) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.std), persistent=False)

    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        day, clock = (x.flatten(1) * self.std + self.mean).unbind(1)
        turns = torch.stack([day / YEAR, day.round() / WEEK, clock / DAY], 1) * (2 * math.pi)
        return torch.cat([torch.ones_like(x[:, :1]), x[:, :1], turns.sin(), turns.cos()], 1)
