"""How the rows of one space become the content of tokens: one id, columns of ids, or a feature vector."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from omnitok.nn.steps import Axis
from omnitok.tokenizer import Channel

from .episode import Tree
from .flatten import accept, columns, flatten, nearest, unflatten
from .spaces import Box, Discrete, MultiDiscrete, Space, bounds, leaf_spaces, width
from .steps import ObservationConv

MAX_JOINT_IDS = 4096
"""Largest number of combinations of a MultiDiscrete action that becomes one id; more are features."""
LOOSE = 1e6
"""A bound this far away says nothing of the scale."""


@dataclass(frozen=True)
class Codec:
    """One space's rows as content and back. `kind` says which content."""

    space: Space
    kind: Literal["id", "columns", "features"]
    bounds_first: bool = False
    """whether finite bounds say more of the scale than what `fit` measures"""

    tokens: ClassVar[int] = 1
    """of a row"""

    @functools.cached_property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """[C] lowest and [C] highest value of every column."""
        return bounds(self.space)

    def content(self, tree: Tree, what: str, cast: bool = False) -> Tensor:
        """n rows -> ids [n], ids [n, c] or features [n, C]. Raises InputError naming the part and step that does not fit."""
        if self.kind == "features":
            return torch.from_numpy(flatten(self.space, tree, what, cast))
        assert isinstance(self.space, Discrete | MultiDiscrete)
        counts, start = self.space.digits
        digits = accept(self.space, np.asarray(tree), what, cast).astype(np.int64).reshape(-1, len(counts)) - start
        if self.kind == "columns":
            return torch.from_numpy(digits + np.cumsum((0, *counts[:-1])))
        return torch.from_numpy(np.asarray(np.ravel_multi_index(tuple(digits.T), counts), np.int64))

    def tree(self, content: Tensor) -> Tree:
        """Content -> n rows, the inverse of `content`."""
        values = content.cpu().numpy()
        if self.kind == "features":
            return unflatten(self.space, np.array(values))
        assert isinstance(self.space, Discrete | MultiDiscrete)
        counts, start = self.space.digits
        if self.kind == "columns":
            digits = values - np.cumsum((0, *counts[:-1]))
        else:
            digits = np.stack(np.unravel_index(values, counts), 1)
        return (digits + start).astype(self.space.dtype).reshape(len(values), *self.space.shape)

    def nearest(self, content: Tensor) -> Tree:
        """Content as a model gives it (features may be any real numbers) -> the nearest rows of the space."""
        if self.kind == "features":
            return nearest(self.space, content.detach().cpu().numpy(), self.limits)
        return self.tree(content)

    def settled(self, content: Tensor) -> tuple[Tree, Tensor]:
        """The nearest rows of the space, and their own content."""
        tree = self.nearest(content)
        return tree, torch.from_numpy(columns(self.space, tree)) if self.kind == "features" else content

    def numbers(self, tree: Tree, what: str) -> np.ndarray | None:
        """[n, C] what `fit` measures; None where ids say it all."""
        return flatten(self.space, tree, what) if self.kind == "features" else None

    def channel(self, statistics: Mapping[str, Any] | None, axes: tuple[Axis, ...]) -> Channel:
        """Its tokens as a channel; `statistics` are what `fit` measured of the features."""
        if self.kind != "features":
            assert isinstance(self.space, Discrete | MultiDiscrete)
            counts = self.space.digits[0]
            return Channel(vocab=sum(counts) if self.kind == "columns" else math.prod(counts), axes=axes)
        mean, std = scale(self, statistics)
        image = isinstance(self.space, Box) and self.space.image
        embed = (ObservationConv(shape=self.space.shape),) if image else None  # type: ignore[arg-type,union-attr]
        return Channel(width=(width(self.space),), mean=_short(mean), std=_short(std), embed=embed, axes=axes)

    def axes(self, rows: int) -> dict[str, Tensor]:
        """Axes of the tokens of n rows beside the step: none."""
        return {}

    def place(self, k: int) -> dict[str, int]:
        """The same of token k of a row."""
        return {}


def observation_codec(space: Space) -> Codec:
    """Discrete -> one id, MultiDiscrete -> summed columns of ids, everything else -> one feature vector per step."""
    kind: Any = {Discrete: "id", MultiDiscrete: "columns"}.get(type(space), "features")
    return Codec(space, kind)


def action_codec(space: Space) -> Codec:
    """Discrete, and MultiDiscrete of few combinations -> one id; everything else -> one feature vector per step."""
    joint = isinstance(space, Discrete) or (isinstance(space, MultiDiscrete) and math.prod(space.nvec) <= MAX_JOINT_IDS)
    return Codec(space, "id" if joint else "features", bounds_first=True)


def scale(codec: Codec, statistics: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """[C] mean and [C] std of the features. One-hot columns and flags keep 0 and 1, pictures their bounds.

    Other numbers: actions by their bounds, or else as measured by `fit`; observations as measured, or else by their bounds.
    """
    size, at = width(codec.space), 0
    mean, std = np.zeros(size), np.ones(size)
    for _, leaf in leaf_spaces(codec.space):
        part = slice(at, at + leaf.size)
        at += leaf.size
        if not isinstance(leaf, Box):
            continue
        low, high = leaf.bounds()
        bounded = (np.abs(low) < LOOSE) & (np.abs(high) < LOOSE)
        if statistics is not None and not leaf.image:
            mean[part], std[part] = statistics["mean"][part], statistics["std"][part]
            bounded &= codec.bounds_first
        mean[part][bounded] = (low[bounded] + high[bounded]) / 2
        std[part][bounded] = (high[bounded] - low[bounded]) / 2
    return mean, np.where(std > 1e-6, std, 1.0)


def _short(values: np.ndarray) -> float | tuple[float, ...]:
    plain = tuple(values.tolist())
    return plain[0] if len(set(plain)) == 1 else plain
