"""The embedding step of this plugin: a one beside the numbers of a patch. Shape letters: n tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnitok.nn.context import Context
from omnitok.nn.steps import Step


class Levelled(Step, frozen=True):
    """Features [n, *width] -> [n, size + 1]: a one is put in front, so that the level of a patch, and not only its shape,
    is a direction that the norm behind the next linear map keeps."""

    def out(self, width: int, dim: int) -> int:
        return width + 1

    def build(self, width: int, dim: int) -> nn.Module:
        return LevelledModule()


class LevelledModule(nn.Module):
    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        x = x.flatten(1)
        return torch.cat([torch.ones_like(x[:, :1]), x], 1)
