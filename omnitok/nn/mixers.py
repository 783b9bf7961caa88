"""What a residual wraps: the base of all mixers, the MLP and the convolution."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Config
from .context import Context, activation
from .norms import Norm


class Mixer(Config, frozen=True):
    """What a residual wraps: [N, dim] -> [N, dim]."""

    def ahead(self) -> bool:
        """Whether it looks at later tokens beside the visibility rule: then no cache of the past can replace them."""
        return False

    def axes(self) -> tuple[str, ...]:
        """Named axes that it reads."""
        return ()

    def pairs(self) -> tuple[str, ...]:
        """Names of the pairs that it reads."""
        return ()

    def parts(self) -> Iterator[Mixer]:
        """Itself, and the mixers inside it."""
        yield self

    def build(self, dim: int) -> nn.Module:
        raise NotImplementedError


def linear(width: int, out: int, bias: bool = True) -> nn.Linear:
    """A linear map with the start values of "small init" (std = sqrt(2 / (5 width)), arXiv 1910.05895), bias 0."""
    layer = nn.Linear(width, out, bias)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (5 * width)))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class MLP(Mixer, frozen=True):
    """up, activation, down; `gated` multiplies by a second map (GLU variants, arXiv 2002.05202)."""

    hidden: int
    act: str = "gelu"
    gated: bool = False
    bias: bool = True
    dropout: float = 0.0
    """share of the hidden numbers that are dropped in training"""

    def build(self, dim: int) -> nn.Module:
        return MLPModule(self, dim)


class MLPModule(nn.Module):
    def __init__(self, config: MLP, dim: int) -> None:
        super().__init__()
        self.act, self.dropout = activation(config.act), config.dropout
        self.up, self.down = linear(dim, config.hidden, config.bias), linear(config.hidden, dim, config.bias)
        self.gate = linear(dim, config.hidden, config.bias) if config.gated else None

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        up = self.up(x)
        hidden = self.act(up) if self.gate is None else self.act(self.gate(x)) * up
        hidden = F.dropout(hidden, self.dropout, self.training) if self.dropout else hidden
        return self.down(hidden)  # type: ignore[no-any-return]


class Conv(Mixer, frozen=True):
    """The convolution module of Conformer (arXiv 2005.08100): pointwise-GLU, depthwise, norm, activation, pointwise."""

    kernel: int = 31
    norm: Norm = Norm("batch")
    act: str = "silu"
    bias: bool = True

    def ahead(self) -> bool:
        return True

    def build(self, dim: int) -> nn.Module:
        return ConvModule(self, dim)


class ConvModule(nn.Module):
    """Documents lie in one row with `kernel // 2` zeros between them: no document sees another, and nothing is padded."""

    def __init__(self, config: Conv, dim: int) -> None:
        super().__init__()
        self.kernel, self.act = config.kernel, activation(config.act)
        self.inp, self.out = linear(dim, 2 * dim, config.bias), linear(dim, dim, config.bias)
        self.depth = nn.Conv1d(dim, dim, config.kernel, groups=dim, bias=config.bias)
        self.norm = config.norm.build(dim, dim)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        layout = ctx.layout
        assert layout is not None
        gap = self.kernel // 2
        rows = max(len(x) + (layout.segments + 1) * gap, self.kernel)
        place = ctx.once(("conv", gap), lambda: torch.arange(len(x), device=x.device) + (layout.segment + 1) * gap)
        y = F.glu(self.inp(x), -1)
        y = y.new_zeros(rows, y.shape[1]).index_copy(0, place, y)
        # a [1, dim, rows, 1] view in channels-last memory: the fast depthwise kernel on CPU
        grid = y.view(1, rows, 1, -1).permute(0, 3, 1, 2)
        z = F.conv2d(grid, self.depth.weight[..., None], self.depth.bias, groups=x.shape[1])
        z = z.permute(0, 2, 3, 1).flatten(0, 2)[place - gap]
        return self.out(self.act(self.norm(z, ctx)))  # type: ignore[no-any-return]
