"""Rows as a grid of cells: what any table is, and cells written out as JSON for a tokenizer that has learned nothing yet."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnitok.errors import InputError, did_you_mean

from .columns import kind_of


@dataclass(frozen=True)
class Grid:
    """The rows of one object; `single` where it is one row by itself and no table."""

    rows: Sequence[Mapping[str, Any]]
    single: bool

    @classmethod
    def of(cls, raw: Any, names: Sequence[str] | None, max_cells: int) -> Grid:
        """A row (a mapping) or a table (a list of rows), all with the same columns.

        Raises InputError for anything else, over the limit, and naming the row and column that are missing or too many.
        """
        single = isinstance(raw, Mapping)
        rows = [raw] if single else raw
        if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
            raise InputError(f"tokenizer 'tabular' wants a row {{column: value}} or a list of rows, got {type(raw).__name__}")
        if names is None:
            names = [] if not rows else list(rows[0])
        if len(rows) * len(names) > max_cells:
            raise InputError(f"{len(rows)} rows of {len(names)} columns are more than max_cells = {max_cells}")
        for i, row in enumerate(rows):
            for name in names:
                if name not in row:
                    raise InputError(f"row {i} has no column {name!r}; {did_you_mean(name, row, 'its columns')}; None: no value")
            if len(row) > len(names):
                other = next(name for name in row if name not in names)
                raise InputError(f"row {i} has an unknown column {other!r}; {did_you_mean(str(other), names, 'columns')}")
        return cls(rows, single)

    @property
    def names(self) -> list[str]:
        return list(self.rows[0]) if self.rows else []

    def column(self, name: str) -> list[Any]:
        """Its values, numpy's scalars as Python's."""
        values = [row[name] for row in self.rows]
        return [v.item() if isinstance(v, np.generic) else v for v in values]


def write_cell(value: Any, name: str) -> bytes:
    """One value as JSON. Raises InputError naming the column."""
    if value is None:
        return b"null"
    kind = kind_of(value, name)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"column {name!r} holds {value}; write None where there is no value")
    plain = {kind: value.isoformat()} if isinstance(value, dt.date) else value
    try:
        return json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"column {name!r} holds a lone surrogate, which is no character") from None


def read_cell(data: bytes, name: str) -> Any:
    """The inverse of `write_cell`."""
    try:
        plain = json.loads(data)
        if not isinstance(plain, dict):
            return plain
        ((kind, written),) = plain.items()
        return (dt.date if kind == "date" else dt.datetime).fromisoformat(written)
    except (ValueError, TypeError):
        raise InputError(f"column {name!r}: the bytes {data[:40]!r} are no cell") from None
