"""Whether an object that was given back is the one that was tokenized, for objects of any type."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from .errors import InputError
from .record import same
from .sequence import TokenSequence
from .tokenizer import Bounded, OneWay, Tokenizer

TINY = 5e-324
"""The distance of numbers that differ by less than a float can say."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one round trip."""

    kind: Literal["exact", "within bound", "one-way", "failed"]
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.kind != "failed"

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def round_trip(tokenizer: Tokenizer, raw: Any, tokens: TokenSequence) -> Verdict:
    """Decode `tokens` and hold the result against what the tokenizer declares."""
    rule = tokenizer.round_trip
    if isinstance(rule, OneWay):
        return _refuses(tokenizer, tokens)
    try:
        back = tokenizer.decode(tokens)
        distance = difference(raw, back)
        if distance is None:  # objects that cannot be compared: their tokens can
            distance = 0.0 if same(tokenizer.encode(back), tokens) else math.inf
    except Exception as error:
        return Verdict("failed", f"decode raised {type(error).__name__}: {error}")
    if distance == 0:
        return Verdict("exact")
    if isinstance(rule, Bounded):
        kind: Literal["within bound", "failed"] = "within bound" if distance <= rule.error else "failed"
        return Verdict(kind, f"differs by {distance:.3g}, declared {rule.error:g}")
    return Verdict("failed", "what is given back is not what was tokenized" + _by(distance))


def _by(distance: float) -> str:
    return f" (differs by {distance:.3g})" if math.isfinite(distance) else ""


def _refuses(tokenizer: Tokenizer, tokens: TokenSequence) -> Verdict:
    try:
        tokenizer.decode(tokens)
    except InputError:
        return Verdict("one-way")
    except Exception as error:
        return Verdict("failed", f"a one-way decode must raise InputError, and raised {type(error).__name__}: {error}")
    return Verdict("failed", "declared one-way, and decode gives something back")


def difference(a: Any, b: Any) -> float | None:
    """0 where equal, the largest absolute difference of numbers, infinity for any other difference.

    None where the objects define no equality.
    """
    if a is b:
        return 0.0
    if _is_array(a) or _is_array(b):
        return _array_difference(np.asarray(a), np.asarray(b))
    if type(a) is not type(b):
        return _number_difference(a, b) if isinstance(a, int | float) and isinstance(b, int | float) else math.inf
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a)]
        return _worst((getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, Mapping):
        return _worst((a[k], b[k]) for k in a) if a.keys() == b.keys() else math.inf
    if isinstance(a, list | tuple):
        return _worst(zip(a, b, strict=True)) if len(a) == len(b) else math.inf
    if isinstance(a, int | float):
        return _number_difference(a, b)
    if getattr(type(a), "__eq__", None) is object.__eq__:
        return None
    return 0.0 if bool(a == b) else math.inf


def _worst(pairs: Iterable[tuple[Any, Any]]) -> float | None:
    """The largest difference; None where one pair cannot be compared and no other pair differs."""
    found = [difference(a, b) for a, b in pairs]
    known = max((d for d in found if d is not None), default=0.0)
    return None if None in found and known == 0 else known


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array_interface__") or hasattr(value, "__array__")


def _number_difference(a: float, b: float) -> float:
    return 0.0 if a == b else max(float(abs(a - b)), TINY)


def _array_difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return math.inf
    if bool((a == b).all()):
        return 0.0
    if a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
        return math.inf
    return max(float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()), TINY)
