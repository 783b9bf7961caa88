"""Gymnasium's spaces as data: their JSON descriptions, and what one row of each looks like as columns of numbers.

Shape letters: n rows, C columns of the matrix. Discrete parts of a compound space are one-hot columns, so that every
column is a number that a linear map can read.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from omnitok.errors import ConfigError

from .episode import Path

MAX_COLUMNS = 1 << 20
"""Widest row that is accepted (one million numbers)."""
BOX_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64", "bool")
_HELD_AS = {"uint16": "int32", "uint32": "int64", "bool": "uint8"}  # torch has no full arithmetic for these


class _Space(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag=str):
    """Base of the descriptions."""


class Box(_Space, frozen=True):
    """Numbers of one shape. `low` and `high` are one number, one per element (flat), or null for unbounded."""

    shape: tuple[int, ...]
    low: float | tuple[float | None, ...] | None = None
    high: float | tuple[float | None, ...] | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in BOX_DTYPES:
            raise ValueError(f"dtype {self.dtype!r} of a Box is not one of {', '.join(BOX_DTYPES)}")
        if any(n < 1 for n in self.shape):
            raise ValueError(f"shape {self.shape} of a Box holds no number")
        for name in ("low", "high"):
            bound = getattr(self, name)
            if isinstance(bound, tuple) and len(bound) != self.size:
                raise ValueError(f"{name!r} of a Box has {len(bound)} numbers for {self.size} elements")

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def image(self) -> bool:
        """Whether this is a picture: uint8 [height, width, colours]."""
        return self.dtype == "uint8" and len(self.shape) == 3

    def columns(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), self.size)

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        x = np.rint(matrix) if matrix.dtype.kind == "f" and np.dtype(self.dtype).kind != "f" else matrix
        return x.astype(self.dtype).reshape(len(x), *self.shape)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """[C] lowest and [C] highest value of every column; infinite where there is none."""

        def expand(bound: Any, missing: float) -> np.ndarray:
            values = bound if isinstance(bound, tuple) else (bound,) * self.size
            return np.array([missing if v is None else v for v in values], np.float64)

        return expand(self.low, -np.inf), expand(self.high, np.inf)


class Discrete(_Space, frozen=True):
    """One of `n` integers from `start` on."""

    n: int
    start: int = 0
    dtype: str = "int64"

    shape = ()

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"'n' of a Discrete space is {self.n}; it must be 1 or more")

    @property
    def size(self) -> int:
        return self.n

    @property
    def digits(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(number of values, first value) of every choice."""
        return (self.n,), (self.start,)

    def columns(self, x: np.ndarray) -> np.ndarray:
        return one_hot(self, x)

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        return from_one_hot(self, matrix)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return _unbounded(self.size)


class MultiDiscrete(_Space, frozen=True):
    """Several integers, the i-th one of `nvec[i]` from `start[i]` on (flat; `shape` None: one row)."""

    nvec: tuple[int, ...]
    start: tuple[int, ...] | None = None
    dims: tuple[int, ...] | None = None
    dtype: str = "int64"

    def __post_init__(self) -> None:
        if not self.nvec or min(self.nvec) < 1:
            raise ValueError(f"'nvec' of a MultiDiscrete space is {self.nvec}; it needs numbers of 1 or more")
        if len(self.digits[1]) != len(self.nvec) or math.prod(self.shape) != len(self.nvec):
            raise ValueError(f"'start' or 'dims' of a MultiDiscrete space do not fit its {len(self.nvec)} numbers")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dims or (len(self.nvec),)

    @property
    def size(self) -> int:
        return sum(self.nvec)

    @property
    def digits(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.nvec, self.start or (0,) * len(self.nvec)

    def columns(self, x: np.ndarray) -> np.ndarray:
        return one_hot(self, x)

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        return from_one_hot(self, matrix)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return _unbounded(self.size)


class MultiBinary(_Space, frozen=True):
    """Zeros and ones of one shape."""

    shape: tuple[int, ...]
    dtype: str = "int8"

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.shape):
            raise ValueError(f"shape {self.shape} of a MultiBinary space holds no number")

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def columns(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), self.size)

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        return (matrix > 0.5).astype(self.dtype).reshape(len(matrix), *self.shape)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return _unbounded(self.size)


class Text(_Space, frozen=True):
    """Words of `min_length` to `max_length` of these `characters`; rows are a numpy array of strings."""

    characters: str
    max_length: int
    min_length: int = 1

    shape = ()

    def __post_init__(self) -> None:
        if not 0 <= self.min_length <= self.max_length or self.max_length < 1:
            raise ValueError(f"lengths from {self.min_length} to {self.max_length} of a Text space")
        if not self.characters or "\0" in self.characters or len(set(self.characters)) < len(self.characters):
            raise ValueError("'characters' of a Text space must be different ones, NUL not among them")

    @property
    def dtype(self) -> str:
        return f"<U{self.max_length}"

    @property
    def size(self) -> int:
        return self.max_length * (1 + len(self.characters))

    @property
    def places(self) -> MultiDiscrete:
        """One choice for every place: none, or the number of its character."""
        return MultiDiscrete((1 + len(self.characters),) * self.max_length)

    @property
    def points(self) -> np.ndarray:
        """Code points in order; 0 (no character) is first."""
        return np.array([0, *sorted(map(ord, self.characters))], np.uint32)

    def columns(self, x: np.ndarray) -> np.ndarray:
        points = np.ascontiguousarray(x).view(np.uint32).reshape(len(x), self.max_length)
        return one_hot(self.places, np.searchsorted(self.points, points))

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        chosen = from_one_hot(self.places, matrix)
        points = self.points[chosen * (np.cumprod(chosen > 0, 1))]  # nothing stands behind the end
        return np.ascontiguousarray(points).view(self.dtype).reshape(len(matrix))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return _unbounded(self.size)


class Dict(_Space, frozen=True):
    """Named spaces; `parse` sorts them by name."""

    spaces: dict[str, Space]


class Tuple(_Space, frozen=True):
    """Spaces in order."""

    spaces: tuple[Space, ...]


NOTHING = Dict({})
"""Stands where a leaf was taken out."""

Leaf = Box | Discrete | MultiDiscrete | MultiBinary | Text
Space = Box | Discrete | MultiDiscrete | MultiBinary | Text | Dict | Tuple


def one_hot(space: Discrete | MultiDiscrete, x: np.ndarray) -> np.ndarray:
    """[n, ...] integers -> [n, C] uint8."""
    counts, start = space.digits
    digits = x.reshape(len(x), len(counts)).astype(np.int64) - start
    out = np.zeros((len(x), sum(counts)), np.uint8)
    np.put_along_axis(out, digits + np.cumsum((0, *counts[:-1])), 1, axis=1)
    return out


def from_one_hot(space: Discrete | MultiDiscrete, matrix: np.ndarray) -> np.ndarray:
    """[n, C] -> integers; of each choice the largest column wins."""
    counts, start = space.digits
    parts = np.split(matrix, np.cumsum(counts)[:-1], axis=1)
    digits = np.stack([part.argmax(1) for part in parts], 1) + start
    return digits.astype(space.dtype).reshape(len(matrix), *space.shape)


def _unbounded(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(size, -np.inf), np.full(size, np.inf)


def leaf_spaces(space: Space, label: str = "") -> Iterator[tuple[str, Leaf]]:
    """The leaves of a space with their names."""
    if isinstance(space, Dict):
        for key, branch in space.spaces.items():
            yield from leaf_spaces(branch, f"{label}[{key!r}]")
    elif isinstance(space, Tuple):
        for i, branch in enumerate(space.spaces):
            yield from leaf_spaces(branch, f"{label}[{i}]")
    else:
        yield label, space


def picture_leaves(space: Space) -> Iterator[tuple[Path, Box]]:
    """Where pictures lie: uint8 Boxes [height, width] or [height, width, colours]."""
    branches: Any = ()
    if isinstance(space, Dict):
        branches = space.spaces.items()
    elif isinstance(space, Tuple):
        branches = enumerate(space.spaces)
    elif isinstance(space, Box) and space.dtype == "uint8" and len(space.shape) in (2, 3):
        yield (), space
    for key, branch in branches:
        for path, leaf in picture_leaves(branch):
            yield (key, *path), leaf


def space_with(space: Space, path: Path, other: Space) -> Space:
    """The same space with another one at that path."""
    if not path:
        return other
    assert isinstance(space, Dict | Tuple)
    if isinstance(space, Dict):
        key = str(path[0])
        return Dict({**space.spaces, key: space_with(space.spaces[key], path[1:], other)})
    spaces = tuple(space_with(s, path[1:], other) if i == path[0] else s for i, s in enumerate(space.spaces))
    return Tuple(spaces)


def width(space: Space) -> int:
    """C, the columns of a row."""
    return sum(leaf.size for _, leaf in leaf_spaces(space))


def matrix_dtype(space: Space) -> np.dtype:
    """The smallest dtype that holds every leaf exactly (64-bit integers beside floats: up to 2**53)."""
    if isinstance(space, Box):
        return np.dtype(_HELD_AS.get(space.dtype, space.dtype))
    kinds = [_HELD_AS.get(leaf.dtype, leaf.dtype) if isinstance(leaf, Box) else "uint8" for _, leaf in leaf_spaces(space)]
    return np.result_type(*kinds)


def bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """[C] lowest and [C] highest value of every column; infinite for one-hot columns."""
    pairs = [leaf.bounds() for _, leaf in leaf_spaces(space)]
    return np.concatenate([low for low, _ in pairs]), np.concatenate([high for _, high in pairs])


def parse(description: dict[str, Any], where: str) -> Space:
    """A JSON description -> the space. Raises ConfigError naming the field `where` and the place in it."""
    try:
        return _parse(json.dumps(description, sort_keys=True), where)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not a description of a space ({error})") from None


@functools.lru_cache(maxsize=64)
def _parse(text: str, where: str) -> Space:
    try:
        space = msgspec.json.decode(text, type=Space)
    except msgspec.ValidationError as error:
        kinds = "Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict, Tuple"
        raise ConfigError(f"{where}: {error}; a space is a table with type = one of {kinds}") from None
    columns = width(space)
    if not 1 <= columns <= MAX_COLUMNS:
        raise ConfigError(f"{where}: rows of {columns} numbers; from 1 to {MAX_COLUMNS} are accepted")
    return space
