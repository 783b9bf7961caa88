"""The embedding of a patch of points: blind to their order, to where the patch lies and to how large it is drawn.

Shape letters: n patches, K points of a patch, F numbers of a point (3 coordinates and its values), W width, D dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnitok.nn.context import Context
from omnitok.nn.steps import Linear, Step

TINY = 1e-30
"""Half the longest side of a box of one point."""


class PointPatch(Step, frozen=True):
    """Features [n, points, 3 + values] -> [n, dim]: a small PointNet (Qi et al., arXiv 1612.00593) as in Point-BERT
    (arXiv 2111.14819, section 3.1): the points relative to the middle of their box, in units of half its longest side,
    through a shared MLP, the largest over the points beside each of them, another MLP, and the largest again.

    A point that is there twice changes nothing, so a patch is filled up by repeating one.
    """

    points: int
    values: int = 0
    width: int = 64

    def out(self, width: int, dim: int) -> int:
        return dim

    def build(self, width: int, dim: int) -> nn.Module:
        return PointPatchModule(self, dim)


class PointPatchModule(nn.Module):
    def __init__(self, config: PointPatch, dim: int) -> None:
        super().__init__()
        wide = config.width
        self.first = nn.Sequential(nn.Linear(3 + config.values, wide), nn.GELU(), nn.Linear(wide, wide))
        self.second = nn.Sequential(nn.Linear(2 * wide, wide), nn.GELU(), nn.Linear(wide, 2 * wide))
        self.project = Linear().build(2 * wide, dim)

    def forward(self, x_nKF: Tensor, ctx: Context | None = None) -> Tensor:
        x_nKF = x_nKF.to(self.project.weight.dtype)
        places, values = x_nKF[..., :3], x_nKF[..., 3:]
        low, high = places.amin(1, keepdim=True), places.amax(1, keepdim=True)
        half = ((high - low) / 2).amax(-1, keepdim=True).clamp(min=TINY)
        h_nKW = self.first(torch.cat([(places - (low + high) / 2) / half, values], -1))
        all_nKW = h_nKW.amax(1, keepdim=True).expand_as(h_nKW)
        return self.project(self.second(torch.cat([h_nKW, all_nKW], -1)).amax(1))
