"""Rotary positions whose long wavelengths are stretched, for documents longer than those of the first training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..config import Config
from .positions import Rope, RopeModule


class Stretch(Config, frozen=True):
    """How Llama 3.1 reaches further (arXiv 2407.21783, section 3.4.1, with the constants of its code).

    Wavelengths above `length / low` grow by `factor`, those below `length / high` stay, and between them the change
    is gradual.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    length: int = 8192
    """tokens of the longest document in the first training"""


class StretchedRope(Rope, frozen=True):
    """A rotary embedding with a stretch."""

    stretch: Stretch = Stretch()

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return StretchedRopeModule(self, head_dim)


class StretchedRopeModule(RopeModule):
    config: StretchedRope

    def rate(self, dims: int, device: torch.device) -> Tensor:
        rate, c = super().rate(dims, device), self.config.stretch
        turns = c.length / (2 * math.pi / rate)
        share = ((turns - c.low) / (c.high - c.low)).clamp(0, 1)
        return (1 - share) * rate / c.factor + share * rate
