"""Start values of parameters, for presets that follow a reference's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Initial:
    """Base: how a parameter starts."""

    def fill(self, parameter: Tensor, module: nn.Module) -> None:
        """Overwrite the parameter, which belongs to this module."""
        raise NotImplementedError


@dataclass(frozen=True)
class Normal(Initial):
    """Normal with this spread; `cut`: values beyond that many spreads are drawn again."""

    std: float
    cut: float | None = None

    def fill(self, parameter: Tensor, module: nn.Module) -> None:
        if self.cut is None:
            nn.init.normal_(parameter, std=self.std)
        else:
            nn.init.trunc_normal_(parameter, std=self.std, a=-self.cut * self.std, b=self.cut * self.std)


@dataclass(frozen=True)
class Uniform(Initial):
    """Uniform in [-bound, bound]."""

    bound: float

    def fill(self, parameter: Tensor, module: nn.Module) -> None:
        nn.init.uniform_(parameter, -self.bound, self.bound)


@dataclass(frozen=True)
class Xavier(Initial):
    """Uniform by fan in and fan out (Glorot and Bengio 2010); `parts`: the reference fuses that many of ours into one."""

    parts: int = 1

    def fill(self, parameter: Tensor, module: nn.Module) -> None:
        rows, columns = parameter.shape
        bound = math.sqrt(6 / (rows * self.parts + columns))
        nn.init.uniform_(parameter, -bound, bound)


@dataclass(frozen=True)
class Constant(Initial):
    """One number."""

    value: float = 0.0

    def fill(self, parameter: Tensor, module: nn.Module) -> None:
        nn.init.constant_(parameter, self.value)


@dataclass(frozen=True)
class FanIn(Initial):
    """Uniform in 1 / sqrt(fan in), weights and biases alike: what torch's own linear and convolution layers start with."""

    def fill(self, parameter: Tensor, module: nn.Module) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        with torch.no_grad():
            bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(parameter, -bound, bound)


@dataclass(frozen=True)
class Orthogonal(Initial):
    """A random orthogonal matrix (Saxe et al. 2013, arXiv 1312.6120); `parts`: that many, one under the other."""

    parts: int = 1

    def fill(self, parameter: Tensor, module: nn.Module) -> None:
        with torch.no_grad():
            for block in parameter.chunk(self.parts):
                nn.init.orthogonal_(block)
