"""Mixing over the places of a document, as MLP-Mixer does (Tolstikhin et al. 2021, arXiv 2105.01601)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LengthError
from .context import Context
from .mixers import MLP, Mixer


class TokenMLP(Mixer, frozen=True):
    """An MLP along the tokens of each document, one column at a time; a shorter document is zero beyond its end."""

    length: int
    """tokens of the longest document"""
    mlp: MLP

    def ahead(self) -> bool:
        return True

    def build(self, dim: int) -> nn.Module:
        return TokenMLPModule(self)


class TokenMLPModule(nn.Module):
    """Shape letters: N flat tokens, S documents, L places, D columns."""

    def __init__(self, config: TokenMLP) -> None:
        super().__init__()
        self.length, self.mlp = config.length, config.mlp.build(config.length)

    def forward(self, x_ND: Tensor, ctx: Context) -> Tensor:
        assert ctx.layout is not None
        grid = ctx.layout.grid
        width = grid.index.shape[1]
        if width > self.length:
            raise LengthError(f"a document of {width} tokens for layers that mix {self.length}: crop it, or build longer ones")
        x_SDL = F.pad(grid.rows(x_ND).transpose(1, 2), (0, self.length - width))
        y_SDL = self.mlp(x_SDL, ctx)[..., :width]
        return grid.flat(y_SDL.transpose(1, 2))
