"""An episode as plain arrays, and the trees of arrays that Dict and Tuple spaces make of it.

Shape letters: T steps. A tree is an array, a dict of trees or a tuple of trees; its arrays share their first dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnitok.errors import InputError

Tree = Any
Path = tuple[str | int, ...]
"""Keys and numbers that lead from a tree to one below it."""


def leaves(tree: Tree) -> Iterator[np.ndarray]:
    """The arrays of a tree, dict keys sorted."""
    if isinstance(tree, dict):
        for key in sorted(tree):
            yield from leaves(tree[key])
    elif isinstance(tree, tuple | list):
        for branch in tree:
            yield from leaves(branch)
    else:
        yield tree


def tree_map(fn: Callable[[Any], Any], tree: Tree) -> Tree:
    """The same tree with `fn` applied to every array."""
    if isinstance(tree, dict):
        return {key: tree_map(fn, branch) for key, branch in tree.items()}
    if isinstance(tree, tuple):
        return tuple(tree_map(fn, branch) for branch in tree)
    return fn(tree)


def tree_same(a: Tree, b: Tree) -> bool:
    """Same structure, dtypes, shapes and values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(tree_same(branch, b[key]) for key, branch in a.items())
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(tree_same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return False


def tree_len(tree: Tree) -> int:
    """Rows of the first array of a tree; 0 where there is none."""
    return next((len(x) if np.ndim(x) else 0 for x in leaves(tree)), 0)


def tree_row(tree: Tree, i: int) -> Tree:
    """Row i of every array of a tree."""
    return tree_map(lambda rows: rows[i], tree)


def tree_at(tree: Tree, path: Path) -> Tree:
    """What lies at that path."""
    return tree_at(tree[path[0]], path[1:]) if path else tree


def tree_with(tree: Tree, path: Path, value: Tree) -> Tree:
    """The same tree with another value at that path."""
    if not path:
        return value
    below = tree_with(tree[path[0]], path[1:], value)
    if isinstance(tree, dict):
        return {**tree, path[0]: below}
    return tuple(below if i == path[0] else branch for i, branch in enumerate(tree))


@dataclass(frozen=True, eq=False, repr=False)
class Episode:
    """One episode, from `reset` to its end or to where the recording stops.

    `terminated` (the task ended) and `truncated` (time ran out) are kept apart; both False: the recording just stops,
    or does not say. Raises InputError where rewards are no numbers.
    """

    observations: Tree
    """[T + 1, ...] rows, or [T, ...] where the observation behind the last action is not known."""
    actions: Tree
    """[T, ...] rows."""
    rewards: np.ndarray
    """[T] float32 or float64; other numbers become float64."""
    terminated: bool = False
    truncated: bool = False

    def __post_init__(self) -> None:
        rewards = np.asarray(self.rewards)
        if rewards.dtype.kind not in "fiub" or rewards.ndim != 1:
            raise InputError(f"rewards must be one number per step, got {rewards.dtype} of shape {rewards.shape}")
        wanted = rewards.dtype if rewards.dtype in (np.float32, np.float64) else np.dtype(np.float64)
        object.__setattr__(self, "rewards", rewards.astype(wanted))
        object.__setattr__(self, "observations", tree_map(np.asarray, self.observations))
        object.__setattr__(self, "actions", tree_map(np.asarray, self.actions))
        object.__setattr__(self, "terminated", bool(self.terminated))
        object.__setattr__(self, "truncated", bool(self.truncated))

    def __len__(self) -> int:
        """Steps."""
        return len(self.rewards)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Episode):
            return NotImplemented
        mine, theirs = (self.observations, self.actions, self.rewards), (other.observations, other.actions, other.rewards)
        return tree_same(mine, theirs) and (self.terminated, self.truncated) == (other.terminated, other.truncated)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        ending = "terminated" if self.terminated else "truncated" if self.truncated else "open"
        return f"Episode({len(self)} steps, return {self.rewards.sum():g}, {ending})"
