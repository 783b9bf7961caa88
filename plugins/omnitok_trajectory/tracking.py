"""How far achieved returns follow asked ones: correlation, slope, saturation, normalised scores, and their intervals.

Shape letters: G targets, E episodes of each, B bootstrap draws. Numbers are functions of means [..., G].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEVEL, DRAWS = 0.95, 2000
GROWTH = 0.1
"""Growth per asked return below which achieved returns count as saturated."""


@dataclass(frozen=True)
class Tracking:
    """Achieved returns [G, E] for asked targets [G] in one environment."""

    env: str
    targets: tuple[float, ...]
    returns: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """[G] mean return of each target."""
        return self.returns.mean(1)

    @property
    def pearson(self) -> float:
        """Correlation of targets and mean returns; NaN where one of them is the same throughout."""
        return float(pearson(np.asarray(self.targets), self.means))

    @property
    def slope(self) -> float:
        """Growth of the mean return per asked return (least squares); NaN for a single target."""
        return float(slope(np.asarray(self.targets), self.means))

    @property
    def saturation(self) -> float:
        """The target from which asking for more achieves no more (see `saturation`)."""
        return float(saturation(np.asarray(self.targets), self.means))

    def normalised(self, low: float, high: float) -> np.ndarray:
        """[G] mean returns where `low` is 0 and `high` 100."""
        return 100 * (self.means - low) / (high - low)

    def interval(self, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
        """[G, 2] bootstrap interval of each mean, over episodes."""
        return interval(self.resampled(draws, seed), level).T

    def of(self, number: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[float, float]:
        """The bootstrap interval of `pearson`, `slope` or `saturation`."""
        low, high = interval(number(np.asarray(self.targets), self.resampled()), LEVEL)
        return float(low), float(high)

    def resampled(self, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
        """[B, G] means of episodes drawn with replacement; a start state is drawn for all targets together."""
        size = self.returns.shape[1]
        picked = np.random.default_rng(seed).integers(0, size, (draws, size))
        return self.returns[:, picked].mean(2).T

    def __str__(self) -> str:
        rows = [
            f"{target:>10g} {mean:>10.1f}   [{low:.1f}, {high:.1f}]"
            for target, mean, (low, high) in zip(self.targets, self.means, self.interval(), strict=True)
        ]
        return "\n".join(
            [
                f"{self.env}: {self.returns.shape[1]} episodes per target",
                f"{'asked':>10} {'achieved':>10}   95 % interval",
                *rows,
                f"Pearson {self.pearson:.3f}, slope {self.slope:.2f}",
            ]
        )


def pearson(targets: np.ndarray, means: np.ndarray) -> np.ndarray:
    """[..., G] -> [...] correlation; NaN where one side is the same throughout."""
    asked, got = targets - targets.mean(), means - means.mean(-1, keepdims=True)
    spread = targets.std() * means.std(-1)
    return np.where(spread > 0, (asked * got).mean(-1) / np.where(spread > 0, spread, 1.0), np.nan)


def slope(targets: np.ndarray, means: np.ndarray) -> np.ndarray:
    """[..., G] -> [...] least-squares slope; NaN for a single target."""
    asked = targets - targets.mean()
    square = float((asked**2).sum())
    return (asked * means).sum(-1) / square if square > 0 else np.full(means.shape[:-1], np.nan)


def saturation(targets: np.ndarray, means: np.ndarray) -> np.ndarray:
    """[..., G] -> [...] the smallest target g such that for every greater target h

        achieved(h) - achieved(g) < GROWTH * (h - g):

    from g on, asking for more adds less than a tenth of what it asks more. The greatest target where growth goes on.
    """
    order = np.argsort(targets)
    asked, got = targets[order], means[..., order]
    flat = got[..., None, :] - got[..., :, None] < GROWTH * (asked[None, :] - asked[:, None])
    flat |= asked[None, :] <= asked[:, None]
    return asked[flat.all(-1).argmax(-1)]  # the last one has none behind it, so there is always one


def interval(values: np.ndarray, level: float) -> np.ndarray:
    """[B, ...] -> [2, ...] borders of the middle share, NaN left aside."""
    with np.errstate(all="ignore"):
        known = np.isfinite(values).any(0)
        borders = np.nanquantile(np.where(known, values, 0.0), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.where(known, borders, np.nan)
