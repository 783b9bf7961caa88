"""Which sample comes next: tasks by share, samples by seeded chance; the whole state is some counters."""

from __future__ import annotations

import copy
import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class Source:
    """One task's samples: how many there are, and how often the task is drawn relative to the others."""

    task: str
    size: int
    share: float = 1.0
    weights: Sequence[float] | None = None
    """[size] how often each sample is drawn; None: each once per epoch, in a new order every epoch."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"task {self.task!r} has no samples")
        if not (self.share > 0 and math.isfinite(self.share)):
            raise ConfigError(f"task {self.task!r}: share must be a number above 0, got {self.share}")
        if self.weights is not None and len(self.weights) != self.size:
            raise ConfigError(f"task {self.task!r} has {self.size} samples and {len(self.weights)} weights")


class Draw(NamedTuple):
    """One choice of a sample: the `position`-th of its task."""

    task: str
    sample: int
    position: int


def chance(key: str, purpose: str) -> random.Random:
    """A generator of its own for one purpose at one draw, so that no choice depends on another or on a worker."""
    return random.Random(f"{key}/{purpose}")


class Draws:
    """Which sample comes next: tasks take turns by share, and each goes through its own samples by chance.

    The stream is the same for every number of ranks: of each `world` draws one belongs to each rank. Every choice follows
    from the seed and the counters, so the counters are the whole state.
    """

    def __init__(self, sources: Sequence[Source], seed: int = 0, rank: int = 0, world: int = 1) -> None:
        """Raises ConfigError for no task, a task named twice, or weights that nothing can be drawn by."""
        names = [s.task for s in sources]
        if not sources or len(set(names)) < len(names):
            raise ConfigError(f"a run needs tasks with names of their own, got {names}")
        if not 0 <= rank < world:
            raise ConfigError(f"rank must be in 0..{world - 1}, got {rank}")
        self.sources, self.seed, self.rank, self.world = tuple(sources), seed, rank, world
        self.number, self.positions = 0, [0] * len(sources)
        self._shares = [s.share for s in sources]
        self._phases = [_uniform(_hash(seed, "phase", name), 0) for name in names]
        self._weights = [None if s.weights is None else _cumulative(s) for s in sources]
        self._salt, self._salts = _hash(seed, "rank"), [_hash(seed, "sample", name) for name in names]
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def copy(self) -> Draws:
        """The same stream from here on, to run ahead with."""
        other = copy.copy(self)
        other.positions, other._orders = list(self.positions), dict(self._orders)
        return other

    def __iter__(self) -> Iterator[Draw]:
        return self

    def __next__(self) -> Draw:
        while True:
            number, self.number = self.number, self.number + 1
            k = self._task()
            position = self.positions[k]
            self.positions[k] = position + 1
            if self._mine(number):
                return Draw(self.sources[k].task, self._sample(k, position), position)

    def _task(self) -> int:
        """The task that is due first. Chance would give the same shares, but small batches would mix worse."""
        due = [(n + phase) / share for n, phase, share in zip(self.positions, self._phases, self._shares, strict=True)]
        return due.index(min(due))

    def _mine(self, number: int) -> bool:
        """Whether a draw is this rank's. Within each `world` draws the ranks begin by chance, or one could meet one task only."""
        turn = int(_uniform(self._salt, number // self.world) * self.world)
        return (number + turn) % self.world == self.rank

    def key(self, draw: Draw) -> str:
        """What all further chance at this draw is keyed by."""
        return f"{self.seed}/{draw.task}/{draw.position}"

    def _sample(self, k: int, position: int) -> int:
        """Sample number at a position of task k."""
        size, weights = self.sources[k].size, self._weights[k]
        if weights is not None:
            at = np.searchsorted(weights, _uniform(self._salts[k], position) * weights[-1], side="right")
            return min(int(at), size - 1)
        epoch, place = divmod(position, size)
        if self._orders.get(k, (-1,))[0] != epoch:
            seed = _hash(self.seed, "epoch", self.sources[k].task, epoch)
            # RandomState is the numpy generator whose numbers are promised never to change
            self._orders[k] = epoch, np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32]).permutation(size)
        return int(self._orders[k][1][place])

    def state(self) -> dict[str, Any]:
        """Counters as JSON values, beside the setting that they hold for."""
        setting = {"seed": self.seed, "rank": self.rank, "world": self.world}
        tasks = [[s.task, s.size, s.share] for s in self.sources]
        return {**setting, "tasks": tasks, "number": self.number, "positions": list(self.positions)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Raises CheckpointError where it belongs to other data or another setting."""
        for name, now in self.state().items():
            if name not in ("number", "positions") and state.get(name) != now:
                raise CheckpointError(f"the order of the data cannot go on: {name} was {state.get(name)} and now is {now}")
        self.number, self.positions = state["number"], list(state["positions"])


def _cumulative(source: Source) -> np.ndarray:
    weights = np.asarray(source.weights, dtype=np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ConfigError(f"task {source.task!r}: weights must be 0 or more, finite, and not all 0")
    return weights.cumsum()


def _hash(*parts: Any) -> int:
    """64 bits that differ for any other parts, on every machine alike."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def _uniform(salt: int, number: int) -> float:
    """The number-th value in [0, 1) of the sequence `salt` (splitmix64), without the ones before it."""
    z = (salt + number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53
