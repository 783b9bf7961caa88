"""Raw objects taken apart without knowing what they are: copies with one number, or all, replaced."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Place = tuple[Any, ...]
"""The way from an object to a number in it."""


def numbers(raw: Any, kinds: str = "f", most: int = 6) -> Iterator[tuple[Place, str]]:
    """Places of numbers in lists, tuples, mappings, dataclasses and arrays, and their kind: "f" or "i".

    Of an array the last number; of a sequence its first and last element; at most so many.
    """
    found = 0
    for place, kind in _numbers(raw, ()):
        if kind in kinds:
            yield place, kind
            found += 1
        if found == most:
            return


def _numbers(raw: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(raw, bool | str | bytes):
        return
    if isinstance(raw, float | int):
        yield place, "f" if isinstance(raw, float) else "i"
    elif isinstance(raw, np.ndarray | Tensor):
        kind = _kind(raw)
        if kind and raw.shape and 0 not in raw.shape:
            yield (*place, tuple(n - 1 for n in raw.shape)), kind
    elif isinstance(raw, Mapping):
        for key in raw:
            yield from _numbers(raw[key], (*place, key))
    elif isinstance(raw, list | tuple):
        for i in sorted({0, len(raw) - 1} if raw else ()):
            yield from _numbers(raw[i], (*place, i))
    elif dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        for f in dataclasses.fields(raw):
            yield from _numbers(getattr(raw, f.name), (*place, f.name))


def _kind(array: np.ndarray | Tensor) -> str:
    if isinstance(array, Tensor):
        return "f" if array.is_floating_point() else "" if array.dtype == torch.bool else "i"
    return {"f": "f", "i": "i", "u": "i"}.get(array.dtype.kind, "")


def put(raw: Any, place: Place, value: Any) -> Any:
    """A copy of an object with another number at one place. Raises what the object's own constructor raises."""
    if not place:
        return value
    key, rest = place[0], place[1:]
    if isinstance(raw, np.ndarray | Tensor):
        out: Any = copy.deepcopy(raw)
        out[key] = value
        return out
    if isinstance(raw, Mapping):
        return {k: put(v, rest, value) if k == key else v for k, v in raw.items()}
    if isinstance(raw, list):
        return [put(v, rest, value) if i == key else v for i, v in enumerate(raw)]
    if isinstance(raw, tuple):
        values = [put(v, rest, value) if i == key else v for i, v in enumerate(raw)]
        return type(raw)(*values) if hasattr(raw, "_fields") else tuple(values)
    return dataclasses.replace(raw, **{key: put(getattr(raw, key), rest, value)})


def at(raw: Any, place: Place) -> Any:
    """What stands at a place."""
    for key in place:
        attribute = dataclasses.is_dataclass(raw) and isinstance(key, str)
        raw = getattr(raw, key) if attribute else raw[key]
    return raw


def edges(raw: Any, place: Place, kind: str) -> list[Any]:
    """Numbers at the edges of what the type of a place can hold."""
    for step in range(len(place)):
        array = at(raw, place[:step])
        if isinstance(array, np.ndarray | Tensor):
            dtype = array.numpy().dtype if isinstance(array, Tensor) else array.dtype
            info: Any = np.finfo(dtype) if kind == "f" else np.iinfo(dtype)
            more = [info.tiny, -0.0, 0.5, -1.0] if kind == "f" else []
            return [0, info.max.item() if kind == "f" else info.max, info.min.item() if kind == "f" else info.min, *more]
    return [0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 5e-324] if kind == "f" else [0, -1]


def mapped(raw: Any, array: Callable[[Any], Any], other: Callable[[Any], Any] | None = None) -> Any:
    """A copy with every array and, where given, every text and list of numbers replaced; None where there is none."""
    if isinstance(raw, np.ndarray | Tensor):
        return array(raw) if raw.shape else None
    if isinstance(raw, str | bytes) or (isinstance(raw, list | tuple) and all(isinstance(x, int | float) for x in raw)):
        return other(raw) if other is not None else None
    if isinstance(raw, Mapping):
        parts = {k: mapped(v, array, other) for k, v in raw.items()}
        return None if all(v is None for v in parts.values()) else {k: raw[k] if v is None else v for k, v in parts.items()}
    if isinstance(raw, list | tuple):
        if other is None:
            return None
        return other(raw)
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        names = [f.name for f in dataclasses.fields(raw) if f.init]
        parts = {n: mapped(getattr(raw, n), array, other) for n in names if not isinstance(getattr(raw, n), str)}
        parts = {n: v for n, v in parts.items() if v is not None}
        return dataclasses.replace(raw, **parts) if parts else None
    return None


def emptied(raw: Any) -> Any:
    """The same kind of object with nothing in it; None where it is no container."""
    return mapped(raw, lambda x: x[:0], lambda x: x[:0])


def repeated(raw: Any, times: int) -> Any:
    """The object so many times over, along the first dimension; None where it is nothing that can be repeated."""
    return mapped(
        raw, lambda x: x.repeat(times, *(1,) * (x.dim() - 1)) if isinstance(x, Tensor) else _tile(x, times), lambda x: x * times
    )


def _tile(array: np.ndarray, times: int) -> np.ndarray:
    return np.tile(array, (times, *(1,) * (array.ndim - 1)))
