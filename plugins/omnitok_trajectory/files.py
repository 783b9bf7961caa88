"""Episodes from one .npz file: trajectory/file reads yours, trajectory/pendulum-checkpoints the one beside this module."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from omnitok.errors import ConfigError

from .datasets import Episodes
from .environments import environment_spaces
from .episode import Episode, Tree, tree_map
from .npz import read_episodes
from .spaces import Box, Dict, Space, Tuple, parse


class EpisodeFile(Episodes, frozen=True, kw_only=True):
    """Episodes of an .npz file of plain arrays (`observations`, `actions`, `rewards`, and `lengths` or `episode_starts`).

    Spaces come from `env`; without it they are read off the arrays: whole numbers are one Discrete choice from 0 to the
    largest seen, everything else an unbounded Box.
    """

    name: ClassVar[str] = "trajectory/file"
    licence: ClassVar[str] = "as the file's"
    source: ClassVar[str] = "a file of yours"

    path: Annotated[str, msgspec.Meta(description="the .npz file; a relative one is also looked up below OMNITOK_DATA")]
    env: Annotated[str | None, msgspec.Meta(description="gymnasium id that the episodes were recorded in")] = None
    unit_actions: Annotated[
        bool, msgspec.Meta(description="actions of the file run from -1 to 1, whatever the bounds of the environment's space")
    ] = False
    max_bytes: Annotated[int, msgspec.Meta(description="largest file, unpacked, in bytes", ge=1)] = 1 << 30

    def episodes(self) -> Sequence[Episode]:
        return _load(str(find(self.path)), self.env, self.max_bytes, self.unit_actions)

    def metadata(self) -> dict[str, Any]:
        return self.about(self.env, *_spaces(self.env, str(find(self.path)), self.max_bytes))


class PendulumCheckpoints(Episodes, frozen=True, kw_only=True):
    """Pendulum-v1: 340 episodes of 200 steps by eight checkpoints of one SAC training and by a random policy; comes along.

    Mean return -680, the best checkpoints about -154. `omnitok rl mix` makes such sets.
    """

    name: ClassVar[str] = "trajectory/pendulum-checkpoints"
    licence: ClassVar[str] = "Apache-2.0 (made for this project)"
    source: ClassVar[str] = "played in gymnasium by policies trained with stable-baselines3"

    def episodes(self) -> Sequence[Episode]:
        return _load(str(Path(__file__).with_name("pendulum_checkpoints.npz")), "Pendulum-v1", 1 << 26, True)

    def metadata(self) -> dict[str, Any]:
        return self.about("Pendulum-v1", *environment_spaces("Pendulum-v1"))


def find(path: str) -> Path:
    """The file or folder as given, or below the folder that OMNITOK_DATA names. Raises ConfigError where neither is there."""
    own, data = Path(path), os.environ.get("OMNITOK_DATA")
    if own.exists() or own.is_absolute():
        places = [own]
    else:
        places = [own, *([Path(data) / own] if data else [])]
    for place in places:
        if place.exists():
            return place
    hint = "" if data or own.is_absolute() else "; set OMNITOK_DATA to the folder of the data sets"
    raise ConfigError(f"there is no {' and no '.join(map(str, places))}{hint}")


@functools.lru_cache(maxsize=4)
def _load(path: str, env: str | None, max_bytes: int, unit_actions: bool) -> tuple[Episode, ...]:
    episodes = read_episodes(Path(path), max_bytes)
    observed, acted = (
        parse(space, where) for space, where in zip(_spaces(env, path, max_bytes), ("observation", "action"), strict=True)
    )
    return tuple(
        Episode(
            shaped(observed, e.observations),
            _stretched(acted, shaped(acted, e.actions)) if unit_actions else shaped(acted, e.actions),
            e.rewards,
            e.terminated,
            e.truncated,
        )
        for e in episodes
    )


def _stretched(space: Space, actions: Tree) -> Tree:
    """Actions from [-1, 1] brought to the bounds of a Box. Raises ConfigError for another space, and for one without bounds."""
    low, high = space.bounds() if isinstance(space, Box) else (np.array([np.nan]),) * 2
    if not isinstance(actions, np.ndarray) or not np.isfinite([low, high]).all():
        raise ConfigError("unit_actions needs an `env` whose actions are a Box with finite bounds")
    rows = actions.reshape(len(actions), -1) * ((high - low) / 2) + (high + low) / 2
    return rows.reshape(actions.shape).astype(actions.dtype)


@functools.lru_cache(maxsize=4)
def _spaces(env: str | None, path: str, max_bytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    if env is not None:
        return environment_spaces(env)
    episodes = read_episodes(Path(path), max_bytes)
    return infer_space([e.observations for e in episodes]), infer_space([e.actions for e in episodes])


def infer_space(trees: Sequence[Tree]) -> dict[str, Any]:
    """The description of a space that holds all rows of these trees."""
    first = trees[0]
    if isinstance(first, dict):
        return {"type": "Dict", "spaces": {key: infer_space([tree[key] for tree in trees]) for key in first}}
    if isinstance(first, tuple):
        return {"type": "Tuple", "spaces": [infer_space([tree[i] for tree in trees]) for i in range(len(first))]}
    if first.dtype.kind in "iu" and first[:1].size <= 1:
        low, high = min(int(x.min(initial=0)) for x in trees), max(int(x.max(initial=0)) for x in trees)
        return {"type": "Discrete", "n": high - low + 1, "start": low}
    return {"type": "Box", "shape": list(first.shape[1:]), "dtype": str(first.dtype)}


def shaped(space: Space, tree: Tree) -> Tree:
    """Rows in the space's shape where the numbers agree ([T, 1] for a Discrete space), in its dtype where nothing is lost."""
    if isinstance(space, Dict) and isinstance(tree, dict) and space.spaces.keys() == tree.keys():
        return {key: shaped(branch, tree[key]) for key, branch in space.spaces.items()}
    if isinstance(space, Tuple) and isinstance(tree, tuple) and len(space.spaces) == len(tree):
        return tuple(shaped(branch, part) for branch, part in zip(space.spaces, tree, strict=True))
    if isinstance(space, Dict | Tuple) or isinstance(tree, dict | tuple):
        return tree  # the tokenizer says what does not fit

    def shape(x: np.ndarray) -> np.ndarray:
        if x.ndim and x[:1].size == np.prod(space.shape) * min(len(x), 1):
            x = x.reshape(len(x), *space.shape)
        cast = x.astype(space.dtype)
        return cast if np.array_equal(cast.astype(x.dtype), x) else x

    return tree_map(shape, tree)
