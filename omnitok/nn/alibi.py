"""ALiBi (Press et al. 2021, arXiv 2108.12409): a bias that falls with distance, at a fixed slope per head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .block import Block
from .positions import Bias, Position


class Alibi(Position, frozen=True):
    """Takes slope * |distance along the axis| from every score; a token without the axis gets no bias."""

    axis: str = "position"

    def axes(self) -> tuple[str, ...]:
        return (self.axis,)

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return AlibiModule(self, heads)


class AlibiModule(Bias):
    slope: Tensor

    def __init__(self, config: Alibi, heads: int) -> None:
        super().__init__()
        self.axis = config.axis
        self.register_buffer("slope", slopes(heads), persistent=False)

    def bias(self, block: Block) -> Tensor:
        """[B, H, Q, K]."""
        q, k = block.query_axis(self.axis)[:, :, None], block.key_axis(self.axis)[:, None]
        distance = (q - k).abs() * ((q >= 0) & (k >= 0))
        return -self.slope[:, None, None] * distance[:, None]


def slopes(heads: int) -> Tensor:
    """[heads]: 2 ** (-8 i / heads) for powers of two; other numbers add every second slope of twice as many heads."""
    power = 2 ** math.floor(math.log2(heads))
    first = torch.tensor(2 ** (-8 / power)) ** torch.arange(1, power + 1)
    rest = torch.tensor(2 ** (-4 / power)) ** torch.arange(1, 2 * (heads - power) + 1, 2)
    return torch.cat([first, rest])
