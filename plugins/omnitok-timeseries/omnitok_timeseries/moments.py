"""Means and deviations of values that come in parts, in one pass."""

from __future__ import annotations

import numpy as np

from omnitok.errors import InputError

LARGEST = 1e37
"""A model computes in float32."""


class Moments:
    """Count, mean and sum of squared distances of columns, joined part by part (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = self.mean = self.squares = np.zeros(1)

    def add(self, values: np.ndarray, there: np.ndarray) -> None:
        """Take in [n, C] float64 values where `there`. Raises InputError for what is too large to compute with."""
        if values.size and np.abs(values).max() > LARGEST:
            raise InputError(f"a value of {values.flat[np.abs(values).argmax()]:g} is beyond what a model computes with")
        count = there.sum(0)
        mean = (values * there).sum(0) / np.maximum(count, 1)
        squares = (there * (values - mean) ** 2).sum(0)
        total = np.maximum(self.count + count, 1)
        away = mean - self.mean
        self.squares = self.squares + squares + away**2 * self.count * count / total
        self.mean = self.mean + away * count / total
        self.count = self.count + count

    def known(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of every column; a column that does not vary has deviation 1."""
        std = np.sqrt(self.squares / np.maximum(self.count, 1))
        std = np.where(std > 1e-12 * np.maximum(1, np.abs(self.mean)), std, 1.0)
        return tuple(self.mean.tolist()), tuple(std.tolist())
