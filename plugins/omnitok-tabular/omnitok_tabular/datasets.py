"""Tables to learn from: a file with a target column, and four that scikit-learn ships."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from omnitok.data import Dataset, Sample, check_split, hold_out
from omnitok.errors import ConfigError, InputError, did_you_mean

from .tables import Csv, read_table

CLASSES = 1000
"""A target of more different values has no classes."""

Every = Annotated[int, Meta(ge=2, description="one row of so many is held out")]
Seed = Annotated[int, Meta(ge=0, description="chooses the rows that are held out")]


class TableFile(Dataset, frozen=True):
    """The rows of a .csv, .tsv or .parquet file; every `every`-th row of a seeded shuffle is held out.

    Samples: `row` (the columns but `target` and those in `drop`), `target` (its value) and `class` (the value as a word, for
    `classify`). A target without a value is an error that names its row. Rows are made when they are asked for.
    """

    name: ClassVar[str] = "tabular/file"
    licence: ClassVar[str] = "as the file"
    source: ClassVar[str] = "a local file"

    path: Annotated[str, Meta(description="a .csv, .tsv or .parquet file")]
    target: Annotated[str, Meta(description="column that is asked for; empty: none is")] = ""
    drop: Annotated[tuple[str, ...], Meta(description="columns that are left out")] = ()
    words: Annotated[tuple[str, ...], Meta(description="columns that are words, even where they look like numbers")] = ()
    csv: Annotated[Csv, Meta(description="how a .csv or .tsv file is written")] = Csv()
    every: Every = 5
    seed: Seed = 0

    def split(self, name: str) -> Sequence[Sample]:
        check_split(self, name)
        table = self._table()
        return Rows(table, sorted(hold_out(range(table.num_rows), name, self.every, self.seed)), self.target, self.drop)

    def metadata(self) -> dict[str, Any]:
        """`classes`: the target's different values as words, where there are at most 1,000."""
        if not self.target:
            return {}
        column = self._table().column(self.target)
        different = pc.unique(column).to_pylist() if pc.count_distinct(column).as_py() <= CLASSES else []
        return {"classes": sorted(map(str, different))} if different else {}

    def _table(self) -> pa.Table:
        table = _table(str(Path(self.path).absolute()), self.csv, self.words)
        for name in (*((self.target,) if self.target else ()), *self.drop, *self.words):
            if name not in table.column_names:
                raise ConfigError(f"{self.path}: no column {name!r}; {did_you_mean(name, table.column_names, 'columns')}")
        if self.target and (missing := table.column(self.target).null_count):
            row = table.column(self.target).to_pylist().index(None)
            raise InputError(f"{self.path}: {missing} rows have no {self.target!r}, row {row} (from 0) the first: remove them")
        if table.num_rows < 2:
            raise InputError(f"{self.path}: {table.num_rows} rows; training and evaluation need one each")
        return table


class Rows(Sequence[Sample]):
    """Rows of a table in memory, made into Python's values when asked for."""

    def __init__(self, table: pa.Table, rows: Sequence[int], target: str = "", drop: Sequence[str] = ()) -> None:
        self.table, self.rows, self.target, self.drop = table, rows, target, drop

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        cells = self.table.slice(self.rows[i], 1).to_pylist()[0]
        row = {name: value for name, value in cells.items() if name != self.target and name not in self.drop}
        return {"row": row, "target": cells[self.target], "class": str(cells[self.target])} if self.target else {"row": row}


class Bundled(Dataset, frozen=True):
    """Base: a table of scikit-learn. Samples: `row`, `target` (a number), and `class` (a word) where it has classes."""

    every: Every = 5
    seed: Seed = 0

    def load(self) -> tuple[list[dict[str, float]], list[float], list[str]]:
        """Rows, targets, and the words of the classes."""
        return _bundled(self.name.partition("/")[2])

    def split(self, name: str) -> Sequence[Sample]:
        rows, targets, words = self.load()
        picked = sorted(hold_out(range(len(rows)), check_split(self, name), self.every, self.seed))
        samples = [{"row": rows[i], "target": targets[i]} for i in picked]
        return [{**s, "class": words[int(s["target"])]} for s in samples] if words else samples  # type: ignore[call-overload]

    def metadata(self) -> dict[str, Any]:
        words = self.load()[2]
        return {"classes": words} if words else {}


class Iris(Bundled, frozen=True):
    """150 irises: 4 measures in cm, 3 species (Fisher 1936)."""

    name: ClassVar[str] = "tabular/iris"
    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "https://archive.ics.uci.edu/dataset/53, from scikit-learn"


class Wine(Bundled, frozen=True):
    """178 wines of one region: 13 chemical measures, 3 growers."""

    name: ClassVar[str] = "tabular/wine"
    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "https://archive.ics.uci.edu/dataset/109, from scikit-learn"


class Cancer(Bundled, frozen=True):
    """569 fine needle aspirates: 30 measures of cell nuclei, malignant or benign (Wisconsin diagnostic)."""

    name: ClassVar[str] = "tabular/cancer"
    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "https://archive.ics.uci.edu/dataset/17, from scikit-learn"


class Diabetes(Bundled, frozen=True):
    """442 patients: 10 baseline values in their own units, and a measure of the disease a year later (mean 152, deviation 77)."""

    name: ClassVar[str] = "tabular/diabetes"
    licence: ClassVar[str] = "stated by none of its sources"
    source: ClassVar[str] = "https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html (Efron et al. 2004), from scikit-learn"


@functools.lru_cache(maxsize=4)
def _table(path: str, how: Csv, words: tuple[str, ...]) -> pa.Table:
    return read_table(Path(path), how, words)


@functools.cache
def _bundled(name: str) -> tuple[list[dict[str, float]], list[float], list[str]]:
    from sklearn import datasets

    load = {
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
        "cancer": datasets.load_breast_cancer,
        "diabetes": functools.partial(datasets.load_diabetes, scaled=False),
    }[name]
    found = load()
    rows = [dict(zip(map(str, found.feature_names), row, strict=True)) for row in found.data.tolist()]
    return rows, found.target.tolist(), [str(word) for word in found.get("target_names", ())]
