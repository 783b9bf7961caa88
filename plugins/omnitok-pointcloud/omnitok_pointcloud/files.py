"""Point cloud files: PLY by `plyfile`, XYZ and PTS text, NumPy arrays. Sizes are checked before anything is built."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from omnitok.errors import InputError
from omnitok.files import read_bytes

from .cloud import AXES, PointCloud

HEADER = 1 << 16
"""Bytes within which the header of a PLY file ends."""

PTS = {3: (), 4: ("intensity",), 6: ("red", "green", "blue"), 7: ("intensity", "red", "green", "blue")}
"""Columns of a PTS file -> names of those behind x, y and z."""


def read_cloud(path: Path, max_points: int, max_bytes: int) -> PointCloud:
    """One file -> PointCloud with every value it has, by its suffix. Raises InputError naming the file and the line."""
    data = read_bytes(path, max_bytes)
    read = {".ply": _ply, ".npy": _npy, ".pts": _pts}.get(path.suffix.lower(), _xyz)
    try:
        return read(data, max_points)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # parsers raise whatever the malformed part runs into
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: damaged or cut short ({len(data)} bytes): {reason}") from None


def sniff_cloud(path: Path, head: bytes) -> bool:
    """Whether a file that others claim too looks like a cloud."""
    suffix = path.suffix.lower()
    if suffix == ".ply":
        return head.startswith(b"ply")
    if suffix == ".npy":
        return re.search(rb"'descr': '[<>|=]?[fiu]\d'.*'shape': \(\d+, ([3-9]|\d\d+)\)", head[:256]) is not None
    lines = [line.split() for line in head.decode("utf-8", "replace").replace(",", " ").splitlines()[:3]]
    return any(len(words) >= 3 and all(_number(w) is not None for w in words) for words in lines)


def _check(points: int, limit: int) -> None:
    if points > limit:
        raise InputError(f"{points} points, more than max_points = {limit}")


def _ply(data: bytes, max_points: int) -> PointCloud:
    """The vertices of a PLY file, ascii or binary of either byte order."""
    from plyfile import PlyData, PlyListProperty

    end = data.find(b"end_header", 0, HEADER)
    if not data.startswith(b"ply") or end < 0:
        raise InputError("no PLY file: it begins with 'ply', and its header ends with 'end_header'")
    for element, count in re.findall(rb"^element\s+(\S+)\s+(\d+)\s*$", data[:end], re.MULTILINE):
        if element == b"vertex":
            _check(int(count), max_points)
        if int(count) > len(data):  # a row is a byte at least
            raise InputError(f"cut short: {int(count)} rows of {element.decode(errors='replace')!r} in {len(data)} bytes")
    file = PlyData.read(io.BytesIO(data), mmap=False)
    if "vertex" not in file:
        raise InputError(f"the PLY has no element 'vertex', but {', '.join(e.name for e in file) or 'none'}")
    vertex = file["vertex"]
    columns = {p.name: np.asarray(vertex[p.name]) for p in vertex.properties if not isinstance(p, PlyListProperty)}
    missing = [axis for axis in AXES if axis not in columns]
    if missing:
        raise InputError(f"its vertices have no {' and '.join(missing)}, but {', '.join(columns) or 'nothing'}")
    points = _points(np.stack([columns.pop(axis) for axis in AXES], axis=1))
    return PointCloud(points, columns)


def _points(array: np.ndarray) -> np.ndarray:
    """Coordinates as floats; whole numbers become float64."""
    return array.astype(np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64)


def _npy(data: bytes, max_points: int) -> PointCloud:
    """An array [n, 3 or more] of numbers, never a pickle; the columns from the fourth on are `column3`, `column4`, ..."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if len(shape) != 2 or shape[1] < 3 or dtype.kind not in "fiu":
        raise InputError(f"a cloud is an array [n, 3 or more] of numbers, not {dtype} {list(shape)}")
    _check(shape[0], max_points)
    if len(data) - file.tell() != shape[0] * shape[1] * dtype.itemsize:
        raise InputError(
            f"{list(shape)} {dtype} are not the {len(data) - file.tell()} bytes behind the header: cut short or damaged"
        )
    file.seek(0)
    array = np.load(file, allow_pickle=False)
    return PointCloud(_points(array[:, :3]), {f"column{k}": array[:, k] for k in range(3, array.shape[1])})


def _xyz(data: bytes, max_points: int) -> PointCloud:
    """Lines of x, y, z and more numbers (`column3`, ...), between spaces or commas; lines that begin with # are passed over."""
    table = _table(_lines(data), 1, max_points)
    return PointCloud(np.ascontiguousarray(table[:, :3]), {f"column{k}": table[:, k] for k in range(3, table.shape[1])})


def _pts(data: bytes, max_points: int) -> PointCloud:
    """The number of points, and as many lines of x y z, x y z intensity, x y z r g b or x y z intensity r g b."""
    lines = _lines(data)
    try:
        announced = int(lines[0])
    except (ValueError, IndexError):
        raise InputError(
            f"line 1: {(lines or [''])[0][:40]!r} is not the number of points, which a PTS file begins with"
        ) from None
    _check(announced, max_points)
    table = _table(lines[1:], 2, max_points)
    if len(table) != announced:
        raise InputError(f"line 1 announces {announced} points, and {len(table)} follow")
    if table.shape[1] not in PTS:
        raise InputError(f"{table.shape[1]} columns; a PTS file has {', '.join(map(str, PTS))}")
    return PointCloud(np.ascontiguousarray(table[:, :3]), {name: table[:, 3 + k] for k, name in enumerate(PTS[table.shape[1]])})


def _lines(data: bytes) -> list[str]:
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is no text") from None


def _table(lines: list[str], first: int, max_points: int) -> np.ndarray:
    """[n, columns] float64. Raises InputError naming the line, counted from `first`."""
    rows: list[list[float]] = []
    for number, line in enumerate(lines, first):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        row: list[Any] = [_number(word) for word in words]
        if None in row:
            raise InputError(f"line {number}: {words[row.index(None)][:40]!r} is no number")
        if len(row) < 3 or (rows and len(row) != len(rows[0])):
            wanted = f"{len(rows[0])}, as in the first line" if rows else "at least x, y and z"
            raise InputError(f"line {number}: {len(row)} numbers; wanted {wanted}")
        if not np.isfinite(row).all():
            raise InputError(f"line {number}: {line.strip()[:60]!r} holds NaN or infinity")
        _check(len(rows) + 1, max_points)
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else 3)


def _number(word: str) -> float | None:
    try:
        return float(word) if "_" not in word else None
    except ValueError:
        return None
