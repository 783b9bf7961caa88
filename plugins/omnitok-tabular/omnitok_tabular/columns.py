"""Columns: what `fit` learns of each, and how its values become ids or features and come back."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from omnitok.errors import ConfigError, InputError, did_you_mean
from omnitok.nn.steps import Axis, Linear
from omnitok.tokenizer import Channel

from .steps import Calendar, Piecewise

Kind = Literal["number", "category", "date", "datetime", "instant"]
Word = bool | int | float | str

UNKNOWN = 0
"""The id of a category that `fit` did not see."""
MOST = 1 << 53
"""Whole numbers beyond are not all doubles."""
LARGEST = 1e37
"""A model computes in float32."""
EPOCH = dt.datetime(1970, 1, 1)
DAY = dt.timedelta(days=1)
MICROSECOND = dt.timedelta(microseconds=1)
TAKEN = ("missing", "cell")


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column as learned. Numbers are float64 [n, 1], moments float64 [n, 2] (days since 1970, microseconds), categories
    ids with 0 for one that was not seen."""

    name: str
    part: str
    kind: Kind
    whole: bool = False
    """whether all its numbers were whole, so that whole numbers come back as int"""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    categories: tuple[Word, ...] = ()

    def channel(self, axes: tuple[Axis, ...]) -> Channel:
        """Its cells as a channel; all cells of a row see each other."""
        if self.kind == "category":
            return Channel(vocab=len(self.categories) + 1, attend="full", axes=axes)
        moment = self.kind != "number"
        first = Calendar(self.mean, self.std) if moment else Piecewise(self.edges)  # type: ignore[arg-type]
        mean, std = (self.mean, self.std) if moment else (self.mean[0], self.std[0])
        return Channel(width=(1 + moment,), mean=mean, std=std, attend="full", embed=(first, Linear()), axes=axes)

    def content(self, values: Sequence[Any]) -> Tensor:
        """Values that are there -> ids [n] or features [n, 1 or 2]. Raises InputError naming the column."""
        if self.kind == "category":
            places = {_key(c): i + 1 for i, c in enumerate(self.categories)}
            for value in values:
                if not isinstance(value, bool | int | float | str) or value != value:
                    raise InputError(f"column {self.name!r} holds categories, got {value!r}")
            return torch.tensor([places.get(_key(v), UNKNOWN) for v in values], dtype=torch.long)
        read, width = (self._number, 1) if self.kind == "number" else (self._moment, 2)
        return torch.tensor([read(v) for v in values], dtype=torch.float64).view(len(values), width)

    def _number(self, value: Any) -> list[float]:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError(f"column {self.name!r} holds numbers, got {value!r}")
        if isinstance(value, int) and abs(value) > MOST:
            raise InputError(
                f"column {self.name!r}: {value} is beyond 2**53, which numbers cannot hold exactly; make it a category"
            )
        if not math.isfinite(value):
            raise InputError(f"column {self.name!r} holds {value}; write None where there is no value")
        return [float(value)]

    def _moment(self, value: Any) -> list[float]:
        if kind_of(value, self.name) != self.kind:
            raise InputError(f"column {self.name!r} holds values of kind {self.kind!r}, got {value!r}")
        moment = value if isinstance(value, dt.datetime) else dt.datetime(value.year, value.month, value.day)
        since = moment.replace(tzinfo=None) - EPOCH
        return [float(since.days), float((since - since.days * DAY) / MICROSECOND)]

    def values(self, content: Tensor, unseen: Sequence[Any]) -> list[Any]:
        """The inverse of `content`; `unseen[i]` is the word behind an unknown id. Raises InputError."""
        if self.kind == "category":
            return [self._category(i, word) for i, word in zip(content.tolist(), unseen, strict=True)]
        if self.kind == "number":
            numbers = content.double().flatten().tolist()
            return [int(x) if self.whole and x.is_integer() else x for x in numbers]
        return [self._date(*row) for row in content.double().tolist()]

    def _category(self, number: int, word: Any) -> Any:
        if number == UNKNOWN:
            if word is None:
                raise InputError(f"column {self.name!r}: the unknown category stands for no word")
            return word
        if not 0 < number <= len(self.categories):
            raise InputError(f"column {self.name!r}: id {number} is none of its {len(self.categories)} categories")
        return self.categories[number - 1]

    def _date(self, days: float, microseconds: float) -> dt.date:
        try:
            moment = EPOCH + round(days) * DAY + round(microseconds) * MICROSECOND
        except (OverflowError, ValueError):
            raise InputError(f"column {self.name!r}: day {days:g} since 1970 is in no year from 1 to 9999") from None
        if self.kind == "date":
            return moment.date()
        return moment.replace(tzinfo=dt.UTC) if self.kind == "instant" else moment


def _key(value: Word) -> tuple[str, Word]:
    """True, 1 and 1.0 are different categories."""
    return type(value).__name__, value


def kind_of(value: Any, name: str) -> Kind:
    """What a value is. Raises InputError for what no column holds."""
    if isinstance(value, bool | str):
        return "category"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return "datetime"
        if value.utcoffset() == dt.timedelta(0):
            return "instant"
        raise InputError(f"column {name!r}: {value} is not in UTC; convert it first")
    if isinstance(value, dt.date):
        return "date"
    raise InputError(
        f"column {name!r} holds a {type(value).__name__}; numbers, words, booleans, dates and None are known: convert it first"
    )


def learn(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind], bins: int, max_categories: int) -> tuple[Column, ...]:
    """What the rows of training data say of their columns; `kinds` overrule what their values look like.

    Raises InputError for a column that mixes kinds, holds no value at all or too many categories, ConfigError for a kind of
    a column that is not there.
    """
    names = list(rows[0])
    for name in kinds:
        if name not in names:
            raise ConfigError(f"columns: there is no column {name!r}; {did_you_mean(name, names, 'columns')}")
    taken: list[str] = list(TAKEN)
    found = []
    for name in names:
        values = [row[name] for row in rows if row[name] is not None]
        if not values:
            raise InputError(f"column {name!r} has no value in the {len(rows)} training rows; drop it")
        kind = kinds.get(name) or _common(name, values)
        taken.append(_part(name, taken))
        column = Column(name=name, part=taken[-1], kind=kind)
        found.append(_learned(column, values, bins, max_categories))
    return tuple(found)


def _common(name: str, values: Iterable[Any]) -> Kind:
    kinds = {kind_of(value, name) for value in values}
    if len(kinds) > 1:
        raise InputError(f"column {name!r} mixes values of kinds {' and '.join(sorted(kinds))}; set its kind in `columns`")
    return kinds.pop()


def _part(name: str, taken: Sequence[str]) -> str:
    """The column's name as a part of a channel's name: lower case, with `_` for all but letters and digits."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "column"
    part, number = plain, 1
    while part in taken:
        number += 1
        part = f"{plain}_{number}"
    return part


def _learned(column: Column, values: list[Any], bins: int, max_categories: int) -> Column:
    if column.kind == "category":
        column.content(values)  # refuses what is no category
        words = {_key(v): v for v in values}
        if len(words) > max_categories:
            raise InputError(
                f"column {column.name!r} has {len(words)} different words, more than max_categories = {max_categories}; drop it?"
            )
        return msgspec.structs.replace(column, categories=tuple(words[k] for k in sorted(words, key=lambda k: (k[0], k[1]))))
    numbers = column.content(values).numpy()
    if np.abs(numbers).max() > LARGEST:
        raise InputError(f"column {column.name!r} holds {np.abs(numbers).max():g}, beyond what a model computes with")
    mean, std = numbers.mean(0), numbers.std(0)
    std = np.where(std > 1e-12 * np.maximum(1, np.abs(mean)), std, 1.0)
    edges: tuple[float, ...] = ()
    if column.kind == "number" and bins:
        edges = tuple(np.unique(np.quantile((numbers[:, 0] - mean[0]) / std[0], np.linspace(0, 1, bins + 1))).tolist())
        edges = edges if len(edges) > 1 else ()
    whole = column.kind == "number" and all(isinstance(v, int) for v in values)
    return msgspec.structs.replace(column, whole=whole, mean=tuple(mean.tolist()), std=tuple(std.tolist()), edges=edges)
