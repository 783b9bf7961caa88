"""Episodes in .npz files: plain arrays only, every size checked from its header before anything is unpacked."""

from __future__ import annotations

import math
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omnitok.errors import InputError

from .episode import Episode, Tree, leaves, tree_len, tree_map

_ALIASES = {"obs": "observations", "terminations": "terminated", "truncations": "truncated"}
_BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError, NotImplementedError, KeyError, IndexError)


def is_npz(path: Path) -> bool:
    """Whether the file is a zip that holds observations and actions."""
    try:
        with zipfile.ZipFile(path) as file:
            names = {name.removesuffix(".npy").split("/")[0] for name in file.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    return "actions" in names and bool(names & {"observations", "obs"})


def read_arrays(path: Path, max_bytes: int) -> dict[str, np.ndarray]:
    """Every array of the file by name. Raises InputError naming the file, the array and what is wrong."""
    try:
        with zipfile.ZipFile(path) as file:
            total = sum(info.file_size for info in file.infolist())
            if total > max_bytes:
                raise InputError(f"{path}: {total} bytes unpacked; the limit is {max_bytes} (max_bytes)")
            return {info.filename.removesuffix(".npy"): _read_array(file, info, path) for info in file.infolist()}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except _BROKEN as error:
        raise InputError(f"{path}: not a readable .npz file ({error})") from None


def _read_array(file: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One member, its header checked against its size first."""
    with file.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise InputError(f"{path}: array {info.filename!r} is in a format of version {version}, which is not read")
        shape, fortran, dtype = read(member)
        if dtype.hasobject or dtype.names:
            raise InputError(f"{path}: array {info.filename!r} holds Python objects or records; only plain arrays are read")
        size = math.prod(shape) * dtype.itemsize
        if size != info.file_size - member.tell():
            raise InputError(f"{path}: array {info.filename!r} says {size} bytes and has {info.file_size - member.tell()}")
        values = np.frombuffer(member.read(), dtype)
    return values.reshape(shape, order="F" if fortran else "C").copy()


def read_episodes(path: Path, max_bytes: int) -> list[Episode]:
    """All episodes of a file.

    `observations` (or `obs`), `actions`, `rewards` are concatenated over episodes; `lengths` (steps of each) or
    `episode_starts` (one flag per step) say where one ends; neither: one episode. Observations of T or T + 1 rows per
    episode. `observations/camera` is one part of a Dict, `observations/0` of a Tuple. `terminated` and `truncated`
    hold one flag per episode or per step. Raises InputError naming the file.
    """
    found = read_arrays(path, max_bytes)
    arrays = {_alias(name): values for name, values in found.items()}
    trees = {part: _tree(arrays, part) for part in ("observations", "actions")}
    missing = [part for part, tree in (*trees.items(), ("rewards", arrays.get("rewards"))) if tree is None]
    if missing:
        raise InputError(f"{path}: no array {' and no '.join(missing)}; it holds {', '.join(sorted(found)) or 'nothing'}")
    try:
        return split_episodes(trees["observations"], trees["actions"], arrays["rewards"], _lengths(arrays), arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _alias(name: str) -> str:
    head, slash, rest = name.partition("/")
    return _ALIASES.get(head, head) + slash + rest


def _tree(arrays: dict[str, np.ndarray], part: str) -> Tree:
    """The array of that name, or the tree of those below it; None where there is neither."""
    if part in arrays:
        return arrays[part]
    below = {name.removeprefix(f"{part}/") for name in arrays if name.startswith(f"{part}/")}
    heads = sorted({name.partition("/")[0] for name in below})
    if not heads:
        return None
    branches = {head: _tree(arrays, f"{part}/{head}") for head in heads}
    if all(head.isdigit() for head in heads):
        return tuple(branches[head] for head in sorted(heads, key=int))
    return branches


def _lengths(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """[episodes] steps of each."""
    steps = len(arrays["rewards"]) if arrays["rewards"].ndim else 0
    if "lengths" in arrays:
        lengths = np.atleast_1d(arrays["lengths"])
        if lengths.dtype.kind not in "iu" or lengths.ndim != 1 or (lengths < 0).any():
            raise InputError("`lengths` must be one whole number of steps per episode")
        return lengths.astype(np.int64)
    if "episode_starts" in arrays:
        starts = np.flatnonzero(arrays["episode_starts"])
        if not len(starts) or starts[0] != 0:
            raise InputError("`episode_starts` must be true at the first step")
        return np.diff(np.append(starts, steps))
    return np.array([steps])


def split_episodes(
    observations: Tree, actions: Tree, rewards: np.ndarray, lengths: np.ndarray, flags: dict[str, Any]
) -> list[Episode]:
    """Concatenated arrays -> episodes. Raises InputError where numbers of rows do not fit the lengths."""
    steps, count = int(lengths.sum()), len(lengths)
    final = _rows(observations, "observations", (steps, steps + count)) == steps + count and count > 0
    for tree, what in ((actions, "actions"), (rewards, "rewards")):
        _rows(tree, what, (steps,))
    ends = np.cumsum(lengths)
    terminated, truncated = (_flags(flags.get(name), name, ends, steps) for name in ("terminated", "truncated"))
    made = []
    for i, (stop, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
        own = slice(stop - length, stop)
        seen = slice(own.start + i, stop + i + 1) if final else own
        parts = _cut(observations, seen), _cut(actions, own), rewards[own]
        made.append(Episode(*parts, terminated[i], truncated[i]))
    return made


def _cut(tree: Tree, rows: slice) -> Tree:
    return tree_map(lambda values: values[rows], tree)


def _rows(tree: Tree, what: str, allowed: tuple[int, ...]) -> int:
    for values in leaves(tree):
        if (len(values) if values.ndim else 0) not in allowed:
            wanted = " or ".join(map(str, dict.fromkeys(allowed)))
            raise InputError(f"{what}: {len(values) if values.ndim else 'no'} rows where the lengths say {wanted}")
    return tree_len(tree)


def _flags(values: Any, name: str, ends: np.ndarray, steps: int) -> np.ndarray:
    """[episodes] bool, from one flag per episode or per step (the last one counts)."""
    if values is None:
        return np.zeros(len(ends), bool)
    flat = np.atleast_1d(values).reshape(-1).astype(bool)
    if len(flat) == len(ends):
        return flat
    if len(flat) != steps:
        raise InputError(f"`{name}` has {len(flat)} flags for {len(ends)} episodes of {steps} steps")
    last = np.maximum(ends - 1, 0)
    return flat[last] & (np.diff(np.append(0, ends)) > 0) if steps else np.zeros(len(ends), bool)


def write_episodes(path: Path, episodes: Sequence[Episode], **more: np.ndarray) -> None:
    """Write a file that `read_episodes` reads, whole or not at all; `more` arrays lie beside, one row per episode."""
    arrays: dict[str, np.ndarray] = {}
    for part in ("observations", "actions", "rewards"):
        for name in _names(getattr(episodes[0], part), part):
            arrays[name] = np.concatenate([_below(getattr(e, part), name) for e in episodes])
    arrays |= {"lengths": np.array([len(e) for e in episodes])}
    arrays |= {flag: np.array([getattr(e, flag) for e in episodes]) for flag in ("terminated", "truncated")}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".omnitok-") as unfinished:
        np.savez_compressed(Path(unfinished) / "whole.npz", **arrays, **more)
        (Path(unfinished) / "whole.npz").replace(path)


def _names(tree: Tree, name: str) -> list[str]:
    """`observations/camera` and so on, one for every array."""
    if isinstance(tree, np.ndarray):
        return [name]
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [below for key, branch in branches for below in _names(branch, f"{name}/{key}")]


def _below(tree: Tree, name: str) -> np.ndarray:
    for key in name.split("/")[1:]:
        tree = tree[int(key) if isinstance(tree, tuple) else key]
    return tree
