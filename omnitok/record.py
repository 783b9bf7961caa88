"""Records: frozen dataclasses of tensors that compare, move between devices, and are saved without pickle."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import InputError, SequenceError

_KINDS: dict[str, type[Record]] = {}


class Record:
    """Base of the frozen dataclasses that make up sequences and batches."""

    def __init_subclass__(cls) -> None:
        _KINDS[cls.__name__] = cls

    def map(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """The same record with `fn` applied to every tensor in it."""
        return _map(self, fn)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Every tensor moved as by `torch.Tensor.to`."""
        return self.map(lambda x: x.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """Every tensor in page-locked memory, for fast copies to a GPU."""
        return self.map(lambda x: x.pin_memory())

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        fields, held = self.__dataclass_fields__, self.__dict__  # type: ignore[attr-defined]
        if hasattr(self, "__post_init__") or not changes.keys() <= fields.keys():
            return dataclasses.replace(self, **changes)  # type: ignore[type-var]
        fresh = object.__new__(type(self))  # frozen fields are set one by one otherwise, and decoding copies every step
        kept = held if len(held) == len(fields) else {name: held[name] for name in fields}
        fresh.__dict__.update(kept, **changes)
        return fresh

    def __eq__(self, other: object) -> bool:
        return same(self, other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:  # workers hand over numpy arrays: one pipe write, no file descriptor per tensor
        return _rebuild, (type(self), [_to_numpy(v) for v in _values(self)])

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file; the structure is JSON in its header."""
        tensors: dict[str, Tensor] = {}
        plain = _to_json(self, tensors)
        save_file(tensors, str(path), metadata={"omnitok": json.dumps(plain)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises InputError naming the file."""
        try:
            with safe_open(str(path), "pt") as file:
                plain = json.loads((file.metadata() or {})["omnitok"])
                value = _from_json(plain, {k: file.get_tensor(k) for k in file.keys()})  # noqa: SIM118
        except (
            SafetensorError,
            SequenceError,
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
            RecursionError,
            OSError,
        ) as error:
            raise InputError(f"{path}: not a saved {cls.__name__} ({type(error).__name__}: {error})") from None
        if not isinstance(value, cls):
            raise InputError(f"{path}: holds a {type(value).__name__}, not a {cls.__name__}")
        return value


def same(a: Any, b: Any) -> bool:
    """Equality through records, mappings and tuples; tensors must agree in dtype, shape and every value."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, Record):
        return type(a) is type(b) and all(same(x, y) for x, y in zip(_values(a), _values(b), strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return type(a) is type(b) and bool(a == b)


def _values(record: Record) -> list[Any]:
    return [getattr(record, f.name) for f in dataclasses.fields(record)]  # type: ignore[arg-type]


def _map(value: Any, fn: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, Record):
        return type(value)(*(_map(v, fn) for v in _values(value)))
    if isinstance(value, Mapping):
        return {k: _map(v, fn) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_map(v, fn) for v in value)
    return value


def _to_numpy(value: Any) -> Any:
    """Tensors as arrays, through mappings and tuples; records inside do the same for themselves."""
    if isinstance(value, Tensor):
        plain = value.device.type == "cpu" and value.dtype is not torch.bfloat16 and not value.requires_grad
        return value.numpy() if plain else value
    if isinstance(value, Mapping):
        return {k: _to_numpy(v) for k, v in value.items()}
    return tuple(map(_to_numpy, value)) if isinstance(value, tuple) else value


def _from_numpy(value: Any) -> Any:
    kind = type(value)
    if kind is np.ndarray:
        return torch.from_numpy(value)
    if kind is dict:
        return {k: _from_numpy(v) for k, v in value.items()}
    return tuple(map(_from_numpy, value)) if kind is tuple else value


def _rebuild(cls: type[Record], values: list[Any]) -> Record:
    record = object.__new__(cls)  # what was a record once needs no second check
    names = (f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]
    record.__dict__.update(zip(names, map(_from_numpy, values), strict=True))
    return record


def _to_json(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Record):
        return {"record": type(value).__name__, "values": [_to_json(v, tensors) for v in _values(value)]}
    if isinstance(value, Mapping):
        return {"map": [[k, _to_json(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_to_json(v, tensors) for v in value]}
    return value


def _from_json(plain: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(plain, dict):
        return plain
    if "tensor" in plain:
        return tensors[plain["tensor"]]
    if "record" in plain:
        return _KINDS[plain["record"]](*(_from_json(v, tensors) for v in plain["values"]))
    if "map" in plain:
        return {k: _from_json(v, tensors) for k, v in plain["map"]}
    ((kind, values),) = plain.items()
    return (tuple if kind == "tuple" else list)(_from_json(v, tensors) for v in values)
