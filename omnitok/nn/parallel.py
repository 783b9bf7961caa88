"""Several residual branches that read one input and are summed, as GPT-J and PaLM (arXiv 2204.02311) do."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .context import Context
from .mixers import Mixer
from .residual import Residual


class Parallel(Mixer, frozen=True):
    """The sum of what each branch would add to the stream; a branch may have norms, a scale and dropout of its own."""

    branches: tuple[Residual, ...]

    def parts(self) -> Iterator[Mixer]:
        yield self
        for branch in self.branches:
            yield from branch.mixer.parts()

    def build(self, dim: int) -> nn.Module:
        names = [b.name for b in self.branches]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"parallel branches need names of their own, got {', '.join(names) or 'no branch'}")
        for b in self.branches:
            if b.post is not None or not b.skip:
                raise ConfigError(f"parallel branch {b.name!r} is only added: move `post` and `skip` to the residual around it")
        return ParallelModule(self, dim)


class ParallelModule(nn.ModuleDict):
    """Branches by name."""

    def __init__(self, config: Parallel, dim: int) -> None:
        super().__init__({b.name: b.build(dim) for b in config.branches})

    def forward(self, x_ND: Tensor, ctx: Context) -> Tensor:
        """[N, D] -> [N, D]."""
        return functools.reduce(torch.add, (branch.delta(x_ND, ctx) for branch in self.values()))  # type: ignore[operator]
