"""Random episodes of any spaces: what `samples` gives, without running an environment."""

from __future__ import annotations

import numpy as np

from .episode import Episode, Tree
from .spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Text, Tuple


def random_rows(space: Space, n: int, rng: np.random.Generator) -> Tree:
    """n random members of a space, bounds among them."""
    match space:
        case Dict():
            return {key: random_rows(branch, n, rng) for key, branch in space.spaces.items()}
        case Tuple():
            return tuple(random_rows(branch, n, rng) for branch in space.spaces)
        case Discrete() | MultiDiscrete():
            counts, start = (np.array(d).reshape(space.shape) for d in space.digits)
            return (rng.integers(0, counts, (n, *space.shape)) + start).astype(space.dtype)
        case MultiBinary():
            return rng.integers(0, 2, (n, *space.shape)).astype(space.dtype)
        case Text():
            lengths = rng.integers(space.min_length, space.max_length + 1, n)
            words = ["".join(rng.choice(list(space.characters), length)) for length in lengths]
            return np.array(words, space.dtype)
        case Box():
            return _random_box(space, n, rng)


def _random_box(space: Box, n: int, rng: np.random.Generator) -> np.ndarray:
    floating = np.dtype(space.dtype).kind == "f"
    least, most = (
        (-1e4, 1e4) if floating else (0, 1) if space.dtype == "bool" else (np.iinfo(space.dtype).min, np.iinfo(space.dtype).max)
    )
    low, high = (np.clip(bound, least, most) for bound in space.bounds())
    share = np.round(rng.random((n, space.size)), 2)  # 0 and 1 occur
    values = low * (1 - share) + high * share
    if floating:
        return values.astype(space.dtype).reshape(n, *space.shape)
    info = np.clip(np.rint(values), max(least, -(2**53)), min(most, 2**53))
    return info.astype(space.dtype).reshape(n, *space.shape)


def random_episodes(observations: Space, actions: Space, seed: int) -> list[Episode]:
    """Episodes of 0, 1 and more steps, with and without the last observation, ended in each way."""
    rng = np.random.default_rng(seed)
    made = []
    for steps, final, terminated, truncated in (
        (0, 1, False, False),
        (1, 0, False, True),
        (7, 1, True, False),
        (4, 1, False, False),
    ):
        rewards = rng.normal(0, 10, steps) if steps != 7 else np.ones(steps, np.float32)
        rows = random_rows(observations, steps + final, rng), random_rows(actions, steps, rng)
        made.append(Episode(*rows, rewards, terminated, truncated))
    return made
