"""What a residual wraps: the base of all mixers, and the MLP."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Config
from .context import Context, activation


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
        hidden = F.dropout(hidden, self.dropout) if self.dropout and self.training else hidden
        return self.down(hidden)  # type: ignore[no-any-return]
