"""A series: values of some variables, when they were measured, and which of them are there.

Shape letters: T samples, C variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from omnitok_tabular.tables import TIMES, Csv, read_table

from omnitok.errors import ConfigError, InputError, did_you_mean

MOST = 1 << 53
"""Whole numbers beyond are not all doubles."""


@dataclass(frozen=True, eq=False)
class Series:
    """Values of variables at increasing times. Raises InputError naming the variable and sample that does not fit."""

    values: np.ndarray
    """[T, C] float32, float64 or integers, finite; [T] is one variable. What was not observed becomes 0."""
    names: tuple[str, ...] = ("value",)
    time: np.ndarray | None = None
    """[T] datetime64 (in UTC), integers or floats, increasing; None: the number of the sample."""
    observed: np.ndarray | None = None
    """[T, C] bool; None: all values are there."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.dtype.kind not in "iuf" or values.dtype.itemsize > 8 or values.dtype == np.float16:
            raise InputError(f"values are numbers [samples, variables], got {values.dtype} {list(values.shape)}")
        names = tuple(self.names)
        if len(names) != values.shape[1] or len(set(names)) != len(names) or not names:
            raise InputError(f"{values.shape[1]} variables need as many different names, got {list(names)}")
        wrong = ~np.isfinite(values) if values.dtype.kind == "f" else (values > MOST) | (values < -MOST)
        if wrong.any():
            sample, variable = np.argwhere(wrong)[0]
            what = f"{names[variable]!r} is {values[sample, variable]} at sample {sample}"
            raise InputError(f"{what}; mark what is missing in `observed`, and keep whole numbers within 2**53")
        if self.observed is not None:
            observed = np.asarray(self.observed)
            observed = observed[:, None] if observed.ndim == 1 else observed
            if observed.dtype != bool or observed.shape != values.shape:
                raise InputError(f"observed is bool {list(values.shape)}, got {observed.dtype} {list(observed.shape)}")
            values = np.where(observed, values, np.zeros((), values.dtype))
            object.__setattr__(self, "observed", observed)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "names", names)
        if self.time is not None:
            object.__setattr__(self, "time", _times(np.asarray(self.time), len(values)))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, cut: slice) -> Series:
        """The samples of a slice."""
        time = None if self.time is None else self.time[cut]
        return Series(self.values[cut], self.names, time, None if self.observed is None else self.observed[cut])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        pairs = [(self.values, other.values), (self.time, other.time), (self.observed, other.observed)]
        return self.names == other.names and all(_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def with_gaps(cls, values: Any, names: Sequence[str] = ("value",), time: Any = None) -> Series:
        """A series whose NaNs are values that are not there."""
        values = np.asarray(values, dtype=np.float64)
        there = ~np.isnan(values)
        return cls(np.where(there, values, 0), tuple(names), time, there)


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and np.array_equal(a, b)


def _times(time: np.ndarray, samples: int) -> np.ndarray:
    if time.shape != (samples,) or time.dtype.kind not in "Mif":
        raise InputError(f"{samples} samples need as many times (datetime64 or numbers), got {time.dtype} {list(time.shape)}")
    if time.dtype.kind == "M" and np.datetime_data(time.dtype)[0] == "generic":
        raise InputError("times are datetime64 of some unit, such as datetime64[us]")
    bad = np.isnat(time) if time.dtype.kind == "M" else ~np.isfinite(time) if time.dtype.kind == "f" else np.zeros(samples, bool)
    if bad.any():
        raise InputError(f"sample {int(np.argmax(bad))} has no time")
    back = np.flatnonzero(time[1:] <= time[:-1])
    if len(back):
        i = int(back[0]) + 1
        raise InputError(f"times must increase: sample {i} is at {time[i]}, the one before at {time[i - 1]}")
    return time


def read_series(path: Path, how: Csv, time: str, values: Sequence[str], max_bytes: int, max_cells: int) -> Series:
    """Columns of a .csv, .tsv or .parquet file as a series.

    `time` names the column that says when; empty: the first one, where it holds moments or is called time, date and the
    like. `values` are the columns to take; empty: all others. Raises InputError naming file and column.
    """
    table = read_table(path, how, (), max_bytes, max_cells)
    try:
        return _series(table, time, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _series(table: pa.Table, time: str, values: Sequence[str]) -> Series:
    columns = table.column_names
    for name in (*([time] if time else []), *values):
        if name not in columns:
            raise ConfigError(f"no column {name!r}; {did_you_mean(name, columns, 'columns')}")
    if not time and columns and (pa.types.is_temporal(table.schema.field(0).type) or TIMES.fullmatch(columns[0])):
        time = columns[0]
    names = tuple(values) or tuple(name for name in columns if name != time)
    found, observed = [], []
    for name in names:
        column = table.column(name)
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
            raise InputError(f"column {name!r} holds {column.type}, not numbers; choose columns with `values`")
        observed.append(pc.is_valid(column).to_numpy())
        filled = column.cast(pa.float64()) if pa.types.is_null(column.type) else column
        found.append(pc.fill_null(filled, 0).to_numpy())
    if not names:
        raise InputError("no column of numbers")
    there = np.stack(observed, 1) if observed else None
    dtype = np.result_type(*found)
    stacked = np.stack(found, 1).astype(dtype, copy=False)
    return Series(stacked, names, _clock(table, time) if time else None, None if there is None or there.all() else there)


def _clock(table: pa.Table, name: str) -> np.ndarray:
    column = table.column(name)
    if column.null_count:
        raise InputError(f"sample {column.to_pylist().index(None)} has no {name!r}")
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()).to_numpy().astype("datetime64[D]")
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_numpy().astype(f"datetime64[{kind.unit}]")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy()
    raise InputError(f"column {name!r} says when, and holds {kind}: write moments as 2024-05-01 06:00:00, or numbers")
