"""Convolutional subsampling: the front end of a Conformer, as an embedding step that stays inside its span.

Shape letters: n tokens, S spans, F frames of a token, M mels, C channels of the convolutions, D dim.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from omnitok.errors import ConfigError
from omnitok.nn.steps import Linear, Step

if TYPE_CHECKING:
    from omnitok.nn.context import Context


class Subsample(Step, frozen=True):
    """Features [n, frames, mels] -> [n, dim]: convolutions of stride 2 over time and mels until each token is one
    vector, then a linear map (Gulati et al. 2020, "Conformer", section 2: two of them, four frames).

    `frames` is a power of two: one convolution for each doubling. Nothing of one span reaches another.
    """

    frames: int
    mels: int
    channels: int = 32

    def out(self, width: int, dim: int) -> int:
        return dim

    def build(self, width: int, dim: int) -> nn.Module:
        if self.frames < 2 or self.frames & (self.frames - 1):
            raise ConfigError(f"Subsample: frames must be a power of two from 2, got {self.frames}")
        if width != self.frames * self.mels:
            raise ConfigError(
                f"Subsample: {self.frames} frames of {self.mels} mels are {self.frames * self.mels} numbers, got {width}"
            )
        return SubsampleModule(self, dim)


class SubsampleModule(nn.Module):
    """One gap token of zeros goes in front of every span. A convolution of width 3 and stride 2 on an even length
    looks one frame back and none beyond the end, so clearing the gaps before each one keeps the spans apart.
    """

    def __init__(self, config: Subsample, dim: int) -> None:
        super().__init__()
        layers = config.frames.bit_length() - 1
        widths = [1] + [config.channels] * layers
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        mels = config.mels
        for _ in range(layers):
            mels = (mels + 1) // 2
        self.project = Linear().build(config.channels * mels, dim)

    def forward(self, x_nFM: Tensor, ctx: Context) -> Tensor:
        n = len(x_nFM)
        lengths = torch.tensor(ctx.lengths or (n,), device=x_nFM.device)
        span = torch.repeat_interleave(torch.arange(len(lengths), device=x_nFM.device), lengths, output_size=n)
        rows = torch.arange(n, device=x_nFM.device) + span + 1
        tokens = n + len(lengths)
        real = torch.zeros(tokens, device=x_nFM.device).index_fill(0, rows, 1.0)
        y = x_nFM.new_zeros(tokens, *x_nFM.shape[1:]).index_copy(0, rows, x_nFM)
        y = rearrange(y, "n f m -> 1 1 (n f) m").to(self.project.weight.dtype)
        for convolution in self.convolutions:
            keep = real.repeat_interleave(y.shape[2] // tokens)[:, None].to(y.dtype)
            y = torch.relu(convolution(y * keep))
        return self.project(rearrange(y, "1 c n m -> n (c m)")[rows], ctx)
