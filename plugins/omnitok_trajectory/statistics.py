"""Means and deviations of columns, added up episode by episode without holding the data."""

from __future__ import annotations

import numpy as np


class Moments:
    """Count, mean and sum of squared deviations of [n, C] rows (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(1)
        self.squares = np.zeros(1)

    def add(self, rows: np.ndarray) -> None:
        """Take in more rows."""
        if not len(rows):
            return
        rows = rows.astype(np.float64)
        mean, total = rows.mean(0), self.count + len(rows)
        shift = mean - self.mean
        self.squares = self.squares + ((rows - mean) ** 2).sum(0) + shift**2 * self.count * len(rows) / total
        self.mean = self.mean + shift * len(rows) / total
        self.count = total

    def plain(self) -> dict[str, list[float]]:
        """Mean and standard deviation, a column that never varies counting as 1."""
        std = np.sqrt(self.squares / max(self.count, 1))
        return {"mean": self.mean.tolist(), "std": np.where(std > 1e-6, std, 1.0).tolist()}
