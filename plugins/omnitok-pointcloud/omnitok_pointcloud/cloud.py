"""A set of points in memory, and choosing some of them.

Shape letters: n points, f values of a point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from omnitok.errors import InputError

AXES = ("x", "y", "z")
LARGEST = 1e30
"""Larger numbers are refused: their distances would be none that float32 can hold."""


@dataclass(frozen=True, eq=False, repr=False)
class PointCloud:
    """A set of points: float32 or float64 [n, 3], and values of each by name (`red`, `nx`, `intensity`): [n] numbers.

    A set has no order, so the rows are put in one: sorted by x, then y, z and the values. Two clouds are equal where their
    sorted rows are; a point that is there twice counts twice. -0.0 becomes 0.0. Raises InputError for NaN, infinity and
    parts that do not fit together.
    """

    points: np.ndarray
    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        points = self.points
        if not isinstance(points, np.ndarray) or points.dtype not in (np.float32, np.float64) or points.shape[1:] != (3,):
            found = f"{points.dtype} {list(points.shape)}" if isinstance(points, np.ndarray) else type(points).__name__
            raise InputError(f"points of a cloud are float32 or float64 [n, 3], not {found}")
        columns = {name: np.asarray(v) for name, v in sorted(self.values.items())}
        for name, column in columns.items():
            if column.shape != (len(points),) or column.dtype.kind not in "iuf" or name in AXES:
                raise InputError(f"value {name!r} has {column.dtype} {list(column.shape)} for {len(points)} points")
        for name, column in {**dict(zip(AXES, points.T, strict=True)), **columns}.items():
            bad = ~(np.abs(column.astype(np.float64)) <= LARGEST)
            if bad.any():
                where = int(bad.argmax())
                raise InputError(f"{name!r} of point {where} is {column[where]}; numbers must be finite, and at most {LARGEST:g}")
        columns = {name: column.astype(column.dtype.newbyteorder("=")) for name, column in columns.items()}
        points = points + points.dtype.type(0)
        order = np.lexsort((*reversed(columns.values()), *points.T[::-1]))
        object.__setattr__(self, "points", np.ascontiguousarray(points[order]))
        object.__setattr__(self, "values", {name: column[order] for name, column in columns.items()})

    def __len__(self) -> int:
        return len(self.points)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointCloud) or self.values.keys() != other.values.keys():
            return False if isinstance(other, PointCloud) else NotImplemented
        return np.array_equal(self.points, other.points) and all(
            np.array_equal(v, other.values[k]) for k, v in self.values.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PointCloud({len(self)} points{''.join(f', {name}' for name in self.values)})"

    def take(self, rows: np.ndarray, names: tuple[str, ...] | None = None) -> PointCloud:
        """Some points, with the values of those names (None: all)."""
        values = {name: self.values[name] for name in (self.values if names is None else names)}
        return PointCloud(self.points[rows], {name: v[rows] for name, v in values.items()})


def farthest(points: np.ndarray, count: int) -> np.ndarray:
    """[count] rows by farthest point sampling: the first is the one farthest from the middle, each next the one farthest
    from all before it (of equals the first row). As rows of a sorted cloud, they depend on the set alone.
    """
    centred = points.astype(np.float64) - middle(points)
    rows = np.empty(count, dtype=np.int64)
    far = (centred**2).sum(1)
    near = np.full(len(points), np.inf)
    for i in range(count):
        rows[i] = far.argmax()
        np.minimum(near, ((centred - centred[rows[i]]) ** 2).sum(1), out=near)
        far = near
    return rows


def middle(points: np.ndarray) -> np.ndarray:
    """[3] float64 the middle of the box around the points; 0 for none."""
    if not len(points):
        return np.zeros(3)
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    return low + (high - low) / 2


def cells(points: np.ndarray, size: int) -> np.ndarray:
    """[n] rows in the order of the patches: cells of a k-d tree of exactly `size` points each, the last one of the rest.

    The longest side of a cell's box is cut (of equals the first), at the multiple of `size` nearest to its middle; points
    that are equal there stay in the order of the rows (k-d trees over points as in Klokov and Lempitsky, arXiv 1704.01222).
    """
    out: list[np.ndarray] = []
    stack = [np.arange(len(points))]
    while stack:
        rows = stack.pop()
        patches = -(-len(rows) // size)
        if patches <= 1:
            out.append(rows)
            continue
        inside = points[rows]
        longest = int(np.argmax(inside.max(0).astype(np.float64) - inside.min(0)))
        rows = rows[np.argsort(inside[:, longest], kind="stable")]
        cut = patches // 2 * size
        stack += [rows[cut:], rows[:cut]]  # the left one is popped first
    return np.concatenate(out) if out else np.zeros(0, dtype=np.int64)
