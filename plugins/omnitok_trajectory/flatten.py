"""Trees of rows as one matrix and back, with every check that rows belong to their space.

Shape letters: n rows, C columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from omnitok.errors import InputError

from .episode import Tree
from .spaces import Box, Dict, Discrete, Leaf, MultiBinary, MultiDiscrete, Space, Text, Tuple, leaf_spaces, matrix_dtype

_EXACT = 2**53  # largest integer range that a float64 holds exactly


def flatten(space: Space, tree: Tree, what: str, cast: bool = False) -> np.ndarray:
    """A tree of n rows -> a new matrix [n, C]. `what` names the tree in messages; `cast` lets values lose precision.

    Raises InputError naming the part and the step that does not fit.
    """
    dtype, parts = matrix_dtype(space), []
    for label, leaf, rows in walk(space, tree, what):
        values = accept(leaf, rows, label, cast)
        if (
            dtype.kind == "f"
            and values.dtype.kind in "iu"
            and values.dtype.itemsize == 8
            and np.abs(values).max(initial=0) > _EXACT
        ):
            raise InputError(f"{label}: integers beyond 2**53 beside fractions cannot be kept exactly")
        parts.append(leaf.columns(values).astype(dtype))
    if len({len(part) for part in parts}) > 1:
        raise InputError(f"{what}: its parts have different numbers of rows ({', '.join(str(len(p)) for p in parts)})")
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def unflatten(space: Space, matrix: np.ndarray) -> Tree:
    """[n, C] -> a tree of n rows, the inverse of `flatten`."""
    if isinstance(space, Box):
        return space.rows(matrix)
    found, at = [], 0
    for _, leaf in leaf_spaces(space):
        found.append(leaf.rows(matrix[:, at : at + leaf.size]))
        at += leaf.size
    return _grow(space, iter(found))


def nearest(space: Space, matrix: np.ndarray, limits: tuple[np.ndarray, np.ndarray]) -> Tree:
    """[n, C] real numbers, as a model predicts them -> the rows of the space that lie nearest, between its `bounds`.

    Raises InputError where one is not finite.
    """
    low, high = limits
    inside = np.minimum(np.maximum(matrix, low), high)  # float64, as the bounds are
    if not math.isfinite(inside.sum()):
        raise InputError("the model's answers hold NaN or infinity where a row of a space is expected")
    return unflatten(space, inside)


def columns(space: Space, tree: Tree) -> np.ndarray:
    """`flatten` for a tree that is known to belong to the space."""
    if isinstance(space, Box):
        return np.array(space.columns(tree), matrix_dtype(space))
    dtype = matrix_dtype(space)
    return np.concatenate([leaf.columns(rows).astype(dtype) for _, leaf, rows in walk(space, tree, "")], axis=1)


def walk(space: Space, tree: Tree, label: str) -> Iterator[tuple[str, Leaf, np.ndarray]]:
    """(name, leaf of the space, its rows) of a whole tree. Raises InputError where it is built otherwise than the space."""
    if isinstance(space, Dict):
        if not isinstance(tree, dict) or tree.keys() != space.spaces.keys():
            got = f"keys {', '.join(map(str, tree))}" if isinstance(tree, dict) else type(tree).__name__
            raise InputError(f"{label}: expected a dict with keys {', '.join(sorted(space.spaces))}, got {got}")
        for key, branch in space.spaces.items():
            yield from walk(branch, tree[key], f"{label}[{key!r}]")
    elif isinstance(space, Tuple):
        if not isinstance(tree, tuple | list) or len(tree) != len(space.spaces):
            raise InputError(f"{label}: expected a tuple of {len(space.spaces)} parts, got {type(tree).__name__}")
        for i, branch in enumerate(space.spaces):
            yield from walk(branch, tree[i], f"{label}[{i}]")
    elif isinstance(tree, dict | tuple):
        raise InputError(f"{label}: expected one array for a {type(space).__name__} space, got a {type(tree).__name__}")
    else:
        yield label, space, np.asarray(tree)


def accept(leaf: Leaf, x: np.ndarray, label: str, cast: bool = False) -> np.ndarray:
    """The rows in the leaf's dtype. Raises InputError for another shape, kind of number or range, NaN and infinity."""
    if isinstance(leaf, Text):
        return _accept_words(leaf, x, label)
    if x.dtype.kind not in "fiub":
        raise InputError(f"{label}: expected numbers, got {x.dtype}")
    if x.ndim == 0 or x.shape[1:] != leaf.shape:
        raise InputError(
            f"{label}: expected rows of shape {leaf.shape} as the {type(leaf).__name__} space says, got {x.shape[1:]}; "
            "set the tokenizer's env or spaces to those of the data"
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(f"{label}: NaN or infinity at step {_first(~np.isfinite(x))}")
    values = x if x.dtype == leaf.dtype else _cast(leaf, x, label, cast)
    outside = _outside(leaf, values)
    if outside is not None and outside.any():
        step = _first(outside)
        raise InputError(f"{label}: {values[step]} at step {step} is not in the {type(leaf).__name__} space")
    return values


def _cast(leaf: Leaf, x: np.ndarray, label: str, cast: bool) -> np.ndarray:
    """The rows in the leaf's dtype, where they have another."""
    with np.errstate(all="ignore"):
        values = x.astype(leaf.dtype)
        wrong = values.astype(x.dtype) != x
    if not cast and wrong.any():
        raise InputError(
            f"{label}: the value at step {_first(wrong)} does not fit the space's {leaf.dtype}; "
            f"cast it first, or say dtype = {str(x.dtype)!r} in the space"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{label}: the value at step {_first(~np.isfinite(values))} is too large for {leaf.dtype}")
    return values


def _accept_words(leaf: Text, x: np.ndarray, label: str) -> np.ndarray:
    if x.dtype.kind != "U" or x.ndim != 1:
        raise InputError(f"{label}: expected one string per step for the Text space, got {x.dtype} of shape {x.shape}")
    for step, word in enumerate(x.tolist()):
        if not leaf.min_length <= len(word) <= leaf.max_length or not set(word) <= set(leaf.characters):
            raise InputError(f"{label}: {word!r} at step {step} is not in the Text space")
    return x.astype(leaf.dtype)


def _outside(leaf: Leaf, values: np.ndarray) -> np.ndarray | None:
    """Where discrete values leave their range; a Box may be exceeded, as environments do."""
    if isinstance(leaf, Discrete | MultiDiscrete):
        counts, start = (np.array(d, np.int64).reshape(leaf.shape) for d in leaf.digits)
        return (values < start) | (values >= start + counts)
    return (values != 0) & (values != 1) if isinstance(leaf, MultiBinary) else None


def _first(wrong: np.ndarray) -> int:
    return int(wrong.reshape(len(wrong), -1).any(1).argmax())


def _grow(space: Space, arrays: Iterator[np.ndarray]) -> Tree:
    if isinstance(space, Dict):
        return {key: _grow(branch, arrays) for key, branch in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(_grow(branch, arrays) for branch in space.spaces)
    return next(arrays)


def stack(rows: Sequence[Any], space: Space) -> Tree:
    """Single observations, as an environment gives them -> one tree of arrays in the dtypes of the space."""
    if isinstance(space, Dict):
        return {key: stack([row[key] for row in rows], branch) for key, branch in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(stack([row[i] for row in rows], branch) for i, branch in enumerate(space.spaces))
    return np.asarray(rows, dtype=space.dtype).reshape(len(rows), *space.shape)
