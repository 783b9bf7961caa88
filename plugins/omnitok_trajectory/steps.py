"""The embedding step of this plugin: a picture as one vector. Shape letters: n tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from omnitok.nn.context import Context
from omnitok.nn.steps import Step


class ObservationConv(Step, frozen=True):
    """Pictures [n, h * w * c] -> [n, dim]: two strided convolutions, then one linear map over their grid."""

    shape: tuple[int, int, int]
    size: int = 32

    def out(self, width: int, dim: int) -> int:
        return dim

    def build(self, width: int, dim: int) -> nn.Module:
        return ObservationConvModule(self, dim)


class ObservationConvModule(nn.Module):
    def __init__(self, config: ObservationConv, dim: int) -> None:
        super().__init__()
        self.shape = config.shape
        height, width, colours = config.shape
        self.first = nn.Conv2d(colours, config.size, 4, stride=4, padding=2)
        self.second = nn.Conv2d(config.size, config.size, 3, stride=2, padding=1)
        grid = [(side // 4 + 1 + 1) // 2 for side in (height, width)]
        self.last = nn.Linear(config.size * grid[0] * grid[1], dim)

    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        pixels = x.unflatten(1, self.shape).permute(0, 3, 1, 2).to(self.last.weight.dtype)
        grid = F.gelu(self.second(F.gelu(self.first(pixels))))
        return self.last(grid.flatten(1))
