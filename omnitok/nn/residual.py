"""The residual that wraps every mixer: its norms, scale and the random layers of training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Config
from .context import Context
from .mixers import Mixer
from .norms import Norm


class Residual(Config, frozen=True):
    """One mixer with optional norms before it, on its branch and after the sum."""

    name: str
    mixer: Mixer
    pre: Norm | None = None
    branch: Norm | None = None
    post: Norm | None = None
    scale: float = 1.0
    gain: float | None = None
    """start value of a learned factor per column (LayerScale, arXiv 2103.17239)"""
    skip: bool = True
    """False: the branch replaces the stream"""
    dropout: float = 0.0
    drop_path: float = 0.0
    """share of the documents whose branch is left out in training (stochastic depth, arXiv 1603.09382)"""

    def build(self, dim: int) -> nn.Module:
        return ResidualModule(self, dim)


class ResidualModule(nn.Module):
    def __init__(self, config: Residual, dim: int) -> None:
        super().__init__()
        self.mixer = config.mixer.build(dim)
        self.pre, self.branch, self.post = (n.build(dim, dim) if n else None for n in (config.pre, config.branch, config.post))
        self.gain = nn.Parameter(torch.full((dim,), config.gain)) if config.gain is not None else None
        self.scale, self.skip = config.scale, config.skip
        self.dropout, self.drop_path = config.dropout, config.drop_path

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        y = self.delta(x, ctx)
        y = x + y if self.skip else y
        return self.post(y, ctx) if self.post else y

    def delta(self, x: Tensor, ctx: Context) -> Tensor:
        """The branch by itself: what is added to the stream."""
        y = self.mixer(self.pre(x, ctx) if self.pre else x, ctx)
        y = self.branch(y, ctx) if self.branch else y
        y = F.dropout(y, self.dropout) if self.dropout and self.training else y
        y = y if self.gain is None else y * self.gain
        y = y if self.scale == 1.0 else y * self.scale
        return self._dropped(y, ctx) if self.training and self.drop_path else y

    def _dropped(self, y: Tensor, ctx: Context) -> Tensor:
        """Whole documents drop, not tokens; what stays is scaled up."""
        assert ctx.layout is not None
        keep = torch.rand(ctx.layout.segments, device=y.device) >= self.drop_path
        return y * (keep.to(y) / (1 - self.drop_path))[ctx.layout.segment, None]


Blocks = tuple[Residual, ...]
