"""Results of a Decision Transformer beside its baselines: returns by model, seed and way to act; means, intervals, a table.

Shape letters: S seeds, G targets, E episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.table import Table

from .tracking import Tracking

WHOLE = {"dt": "Decision Transformer", "bc": "BC", "best10": "10% BC", "twin": "no returns", "gail": "GAIL"}


@dataclass(frozen=True)
class Scale:
    """Normalised returns: 0 is the first, 100 the second."""

    random: float
    expert: float

    def __call__(self, values: Any) -> Any:
        return 100 * (np.asarray(values) - self.random) / (self.expert - self.random)


@dataclass
class Entry:
    """One model's evaluations: way to act ("sampled", "greedy") -> seed -> what was achieved."""

    name: str
    asked: bool
    """whether the model is told a target; without it there is one mean return"""
    results: dict[str, dict[int, Tracking]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """what the result says of the model: parameters, steps, online steps of the environment"""

    def add(self, way: str, seed: int, tracking: Tracking) -> None:
        self.results.setdefault(way, {})[seed] = tracking


@dataclass(frozen=True)
class Comparison:
    """Entries on the same data in one environment."""

    env: str
    targets: tuple[float, ...]
    at: float
    """the target at which models are compared and returns normalised"""
    scale: Scale | None
    entries: tuple[Entry, ...]

    def returns(self, entry: Entry, tracking: Tracking) -> np.ndarray:
        """[E] returns at the named target."""
        return tracking.returns[self.targets.index(self.at) if entry.asked else 0]

    def row(self, entry: Entry, trackings: Sequence[Tracking]) -> dict[str, Any]:
        """Plain numbers of one seed, or of several together."""
        at = np.stack([self.returns(entry, t) for t in trackings])
        low, high = interval(at)
        out: dict[str, Any] = {"return": round(float(at.mean()), 3), "interval": [low, high]}
        if self.scale is not None:
            out["normalised"] = round(float(self.scale(at.mean())), 2)
            out["normalised_interval"] = [round(float(self.scale(x)), 2) for x in (low, high)]
        if entry.asked:
            every = np.stack([t.returns for t in trackings])
            out["achieved"] = every.mean((0, 2)).round(3).tolist()
            out["intervals"] = [interval(every[:, g]) for g in range(len(self.targets))]
            out["pearson"] = _median([t.pearson for t in trackings])
            out["slope"] = _median([t.slope for t in trackings])
        return out

    def plain(self) -> dict[str, Any]:
        """Everything, as JSON holds it. Pearson and slope over several seeds are the medians."""
        models: dict[str, Any] = {}
        for entry in self.entries:
            models[entry.name] = dict(entry.facts)
            for way, seeds in entry.results.items():
                each = {str(seed): self.row(entry, [t]) for seed, t in seeds.items()}
                models[entry.name][way] = {"seeds": each, "all": self.row(entry, list(seeds.values()))}
        scale = None if self.scale is None else {"random": self.scale.random, "expert": self.scale.expert}
        return {"env": self.env, "targets": list(self.targets), "at": self.at, "scale": scale, "models": models}

    def table(self) -> Table:
        """A line for every seed, and one for all of them together."""
        ends = ["normalised"] if self.scale is not None else []
        head = ["model", "actions", "seed", f"return at {self.at:g} [95 %]", *ends, *(f"{t:g}" for t in self.targets)]
        out = Table(*head, "Pearson", "slope", title=f"{self.env}: mean returns; columns of numbers are asked returns")
        for entry in self.entries:
            for way, seeds in entry.results.items():
                lines = {str(seed): [t] for seed, t in seeds.items()}
                if len(seeds) > 1:
                    lines["all"] = list(seeds.values())
                for label, trackings in lines.items():
                    out.add_row(WHOLE[entry.name], way, label, *self._cells(self.row(entry, trackings)))
            out.add_section()
        return out

    def _cells(self, row: dict[str, Any]) -> list[str]:
        low, high = row["interval"]
        cells = [f"{row['return']:.4g} [{low:.4g}, {high:.4g}]"]
        cells += [f"{row['normalised']:.1f}"] if self.scale is not None else []
        if "achieved" not in row:
            return cells
        numbers = ("-" if row[k] is None else f"{row[k]:.3f}" for k in ("pearson", "slope"))
        return [*cells, *(f"{x:.4g}" for x in row["achieved"]), *numbers]


def interval(returns: np.ndarray, level: float = 0.95, draws: int = 2000, seed: int = 0) -> list[float]:
    """Bootstrap interval of the mean of returns [S, E]: seeds are drawn, then episodes of each.

    Every seed plays the same start states, so these are drawn once for all seeds.
    """
    seeds, episodes = returns.shape
    rng = np.random.default_rng(seed)
    which, played = rng.integers(0, seeds, (draws, seeds)), rng.integers(0, episodes, (draws, episodes))
    means = returns[which[:, :, None], played[:, None, :]].mean((1, 2))
    return [round(float(q), 3) for q in np.quantile(means, [(1 - level) / 2, (1 + level) / 2])]


def _median(values: Sequence[float]) -> float | None:
    """None where one of them is not a number: JSON has no word for that."""
    return None if np.isnan(values).any() else round(float(np.median(values)), 4)
