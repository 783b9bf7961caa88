"""Times of samples as JSON holds them: exact, short where they are regular, and carried on beyond the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omnitok.errors import InputError


def describe(time: np.ndarray | None) -> dict[str, Any] | None:
    """`{"dtype", "start", "step"}` where start + k * step gives every time exactly, else `{"dtype", "stamps"}`."""
    if time is None:
        return None
    facts: dict[str, Any] = {"dtype": _dtype(time)}
    numbers = _numbers(time)
    if len(numbers) > 1 and np.array_equal(_regular(numbers[0], numbers[1] - numbers[0], len(numbers)), numbers):
        return facts | {"start": numbers[0].item(), "step": (numbers[1] - numbers[0]).item()}
    return facts | {"stamps": numbers.tolist()}


def restore(facts: Mapping[str, Any] | None, samples: int, steps: np.ndarray | None) -> np.ndarray | None:
    """The inverse of `describe`. Samples beyond the ones that were described follow at the regular step, or at those of
    `steps` [samples] (as `steps_of` writes them, and as a model gives them), or at the median step.

    Raises InputError where fewer samples are asked for than were described, and where one sample has no step.
    """
    if facts is None:
        return None
    dtype = np.dtype(facts["dtype"])
    if "start" in facts:
        return _regular(np.array(facts["start"]), np.array(facts["step"]), samples).astype(dtype)
    known = np.array(facts["stamps"], dtype=np.float64 if dtype.kind == "f" else np.int64)
    more = samples - len(known)
    if more < 0:
        raise InputError(f"{samples} samples for {len(known)} times: the tokens were cut")
    if more and len(known) < 2 and steps is None:
        raise InputError("one sample has no step, so what follows it has no time")
    usual = float(np.median(np.diff(known))) if len(known) > 1 else 1.0
    ahead = np.full(more, usual)
    if steps is not None:
        ahead = np.exp(np.clip(np.asarray(steps, np.float64)[len(known) :], -40, 40)) / _unit(dtype)
    ahead = np.maximum(np.round(ahead), 1) if dtype.kind != "f" else np.maximum(ahead, usual * 1e-6)
    last = known[-1] if len(known) else np.zeros((), known.dtype)
    with np.errstate(invalid="ignore"):
        stamps = np.concatenate([known, (last + np.cumsum(ahead)).astype(known.dtype)])
    if (np.diff(stamps) <= 0).any():
        raise InputError("the steps between samples lead beyond what their times can hold")
    return stamps.astype(dtype)


def steps_of(time: np.ndarray | None, samples: int) -> np.ndarray:
    """[T] float64: the logarithm of the time since the sample before, in seconds where it has a unit; the first sample
    has the step of the second."""
    numbers = np.arange(samples) if time is None else _numbers(time)
    if len(numbers) < 2:
        return np.zeros(len(numbers))
    steps = np.log(np.diff(numbers).astype(np.float64) * (1.0 if time is None else _unit(time.dtype)))
    return np.concatenate([steps[:1], steps])


def _unit(dtype: np.dtype) -> float:
    """Seconds of a step of 1; 1 for numbers."""
    if dtype.kind != "M":
        return 1.0
    unit, count = np.datetime_data(dtype)
    return float(np.timedelta64(count, unit).astype("timedelta64[ns]").astype(np.int64)) * 1e-9


def uneven(time: np.ndarray | None) -> int | None:
    """The first sample whose step to the next is not the first step; floats may differ by a millionth of it."""
    if time is None or len(time) < 3:
        return None
    steps = np.diff(_numbers(time)).astype(np.float64)
    loose = 1e-6 * abs(steps[0]) if time.dtype.kind == "f" else 0.0
    wrong = np.flatnonzero(np.abs(steps - steps[0]) > loose)
    return int(wrong[0]) if len(wrong) else None


def _dtype(time: np.ndarray) -> str:
    return str(time.dtype)


def _numbers(time: np.ndarray) -> np.ndarray:
    return time.astype(np.float64) if time.dtype.kind == "f" else time.astype(np.int64)


def _regular(start: Any, step: Any, samples: int) -> np.ndarray:
    return start + step * np.arange(samples)
