"""Rows as one token per cell: numbers as features, categories as ids, each column a channel of its own."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from omnitok.errors import InputError
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .cells import Grid, read_cell, write_cell
from .columns import UNKNOWN, Column, Kind, learn
from .tables import BYTES, Csv, begins_with_time, read_table, rows_of

MISSING, CELL = "missing", "cell"
ROWS, COLUMNS = 64, 256
"""Rows of the tables of the axes; cells further out share the last."""
SHOWN = 40
"""Characters of a cell in the picture."""


class TabularTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A row `{column: value}`, or a table (a list of rows with the same columns), as one token per cell, row by row.

    Values are numbers, words, booleans, dates, moments (naive or UTC) and None. `fit` learns the columns: a number is a
    feature of the channel "<instance>/<column>" with that column's mean and deviation, embedded by quantile bins; a category
    is an id there. So a row is what an FT-Transformer reads (arXiv 2106.11959), and `masked` or `next` on a column's channel
    asks for it. A missing cell is a token of "<instance>/missing", whose id is its column. A category that `fit` did not see
    is id 0; its word travels in `meta` (or is refused, with `unseen = "refuse"`). A missing or unknown column is refused.

    Before `fit` a cell is the bytes of its JSON, in the channel "<instance>/cell". Exact either way: whole numbers come back
    as int where all of the column were; beyond 2**53, NaN and infinity are refused. A table without rows is no tokens.
    """

    name: ClassVar[str] = "tabular"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".parquet")
    round_trip: ClassVar[RoundTrip] = Exact()

    columns: Annotated[dict[str, Kind], Meta(description="kinds of columns that differ from what their values look like")] = {}
    bins: Annotated[int, Meta(ge=0, le=1024, description="quantile bins of a number's embedding; 0: linear, as published")] = 16
    max_categories: Annotated[int, Meta(ge=1, description="`fit` refuses a column of more different words")] = 1000
    unseen: Annotated[
        Literal["unknown", "refuse"], Meta(description="a category that `fit` did not see: the id 0, or an error")
    ] = "unknown"
    csv: Annotated[Csv, Meta(description="how .csv and .tsv files are written")] = Csv()
    max_bytes: Annotated[int, Meta(ge=1, description="longer files are refused")] = BYTES
    max_cells: Annotated[int, Meta(ge=0, description="larger tables are refused")] = 1 << 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state is not None:
            _columns(self.state)

    @property
    def learned(self) -> tuple[Column, ...] | None:
        """The columns, once `fit` has learned them."""
        return None if self.state is None else _columns(self.state)

    def channels(self) -> dict[str, Channel]:
        axes = (Axis("row", ROWS), Axis("column", COLUMNS))
        if self.learned is None:
            return {self.channel(CELL): Channel(vocab=256, attend="full", axes=axes)}
        found = {self.channel(c.part): c.channel(axes) for c in self.learned}
        return found | {self.channel(MISSING): Channel(vocab=len(self.learned), attend="full", axes=axes)}

    def encode(self, raw: Any) -> TokenSequence:
        """Raises InputError naming the row or column that does not fit."""
        if self.learned is None:
            return self._written(Grid.of(raw, None, self.max_cells))
        grid = Grid.of(raw, [c.name for c in self.learned], self.max_cells)
        width, parts, missing, unseen = len(self.learned), [], [], {}
        for j, column in enumerate(self.learned):
            values = grid.column(column.name)
            rows = torch.tensor([r for r, v in enumerate(values) if v is not None], dtype=torch.long)
            missing += [r * width + j for r, v in enumerate(values) if v is None]
            content = column.content([v for v in values if v is not None])
            if column.kind == "category":
                unseen |= self._unseen(column, j, rows[content == UNKNOWN].tolist(), values)
            parts.append((column.part, content, rows * width + j))
        missing.sort()
        parts.append((MISSING, torch.tensor(missing, dtype=torch.long) % max(1, width), torch.tensor(missing, dtype=torch.long)))
        meta = {"rows": len(grid.rows), "single": grid.single, "missing": missing, "unseen": unseen}
        spans = [_span(self.channel(part), content, at, width, meta) for part, content, at in parts if len(at)]
        return TokenSequence(tuple(spans) or (_empty(self.channel(MISSING), meta),))

    def _unseen(self, column: Column, j: int, rows: list[int], values: list[Any]) -> dict[str, Any]:
        """Place -> word of the categories that are new."""
        if rows and self.unseen == "refuse":
            raise InputError(
                f'column {column.name!r}: unseen category {values[rows[0]]!r} in row {rows[0]}; unseen = "unknown" takes it'
            )
        assert self.learned is not None
        return {str(r * len(self.learned) + j): values[r] for r in rows}

    def _written(self, grid: Grid) -> TokenSequence:
        """Cells as the bytes of their JSON."""
        names = grid.names
        columns = [[write_cell(v, name) for v in grid.column(name)] for name in names]
        cells = [(r, j, columns[j][r]) for r in range(len(grid.rows)) for j in range(len(names))]
        sizes = [len(data) for _, _, data in cells]
        meta = {"rows": len(grid.rows), "single": grid.single, "columns": names, "sizes": sizes}
        row, column = (
            np.repeat(np.array([c[i] for c in cells], dtype=np.int64), np.array(sizes, dtype=np.int64)) for i in (0, 1)
        )
        ids = np.frombuffer(b"".join(data for _, _, data in cells), np.uint8).astype(np.int64)
        axes = {"row": torch.from_numpy(row), "column": torch.from_numpy(column)}
        return TokenSequence((Span(self.channel(CELL), torch.from_numpy(ids), axes=axes, meta=meta),))

    def decode(self, tokens: TokenSequence) -> Any:
        """The row or table. Raises InputError where a cell is not there exactly once."""
        spans = self.whole(tokens)
        meta = next((span.meta for span in spans.values() if "rows" in span.meta), None)
        if meta is None:
            raise InputError(f"the tokens of {self.channel()!r} do not say which table they are (no rows in `meta`)")
        names = meta["columns"] if self.learned is None else [c.name for c in self.learned]
        cells = self._read(spans, names) if self.learned is None else self._values(spans, meta)
        if len(cells) != meta["rows"] * len(names):
            raise InputError(f"{len(cells)} cells for a table of {meta['rows']} rows and {len(names)} columns")
        rows = [{name: cells[r, j] for j, name in enumerate(names)} for r in range(meta["rows"])]
        return rows[0] if meta["single"] else rows

    def _values(self, spans: Mapping[str, Span], meta: Mapping[str, Any]) -> dict[tuple[int, int], Any]:
        """(row, column) -> value."""
        assert self.learned is not None
        cells: dict[tuple[int, int], Any] = {}
        for j, column in enumerate(self.learned):
            if column.part in spans:
                span = spans[column.part]
                rows = span.axes["row"].tolist()
                words = [meta["unseen"].get(str(r * len(self.learned) + j)) for r in rows]
                cells |= {(r, j): value for r, value in zip(rows, column.values(span.content, words), strict=True)}
        if MISSING in spans:
            rows = spans[MISSING].axes["row"].tolist()
            cells |= dict.fromkeys(zip(rows, spans[MISSING].content.tolist(), strict=True))
        return cells

    def _read(self, spans: Mapping[str, Span], names: list[str]) -> dict[tuple[int, int], Any]:
        found: dict[tuple[int, int], bytearray] = {}
        span = spans[CELL]
        for byte, r, j in zip(span.content.tolist(), span.axes["row"].tolist(), span.axes["column"].tolist(), strict=True):
            found.setdefault((r, j), bytearray()).append(byte)
        return {(r, j): read_cell(bytes(data), names[j]) for (r, j), data in found.items()}

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Raises InputError where `meta` is not that of a table."""
        if "rows" not in meta or (self.learned is None and "sizes" not in meta):
            raise InputError(f"a table's meta says how many rows it has{'' if self.learned else ' and how long its cells are'}")
        if self.learned is None:
            cell, width = bisect_right(list(accumulate(meta["sizes"])), k), len(meta["columns"])
            found = (cell // width, cell % width) if cell < len(meta["sizes"]) else None
            return None if found is None else (self.channel(CELL), {"row": found[0], "column": found[1]})
        width = len(self.learned)
        if k >= meta["rows"] * width:
            return None
        part = MISSING if k in meta["missing"] else self.learned[k % width].part
        return self.channel(part), {"row": k // width, "column": k % width}

    def count(self, raw: Any) -> int:
        if self.learned is None:
            return len(self.encode(raw))
        return len(Grid.of(raw, [c.name for c in self.learned], self.max_cells).rows) * len(self.learned)

    def fit(self, samples: Iterable[Any]) -> Self:
        """Learn the columns of these rows and tables: kinds, means, deviations, quantiles, categories."""
        rows: list[dict[str, Any]] = []
        for sample in samples:
            grid = Grid.of(sample, list(rows[0]) if rows else None, self.max_cells)
            columns = [grid.column(name) for name in grid.names]
            rows += [dict(zip(grid.names, cells, strict=True)) for cells in zip(*columns, strict=True)]
        if not rows:
            raise InputError("tokenizer 'tabular' cannot learn columns from no row")
        columns_ = learn(rows, self.columns, self.bins, self.max_categories)
        return msgspec.structs.replace(self, state=msgspec.json.encode(columns_))

    def read(self, path: Path) -> list[dict[str, Any]]:
        """All rows of a .csv, .tsv or .parquet file. Raises InputError naming file and line."""
        words = [name for name, kind in self.columns.items() if kind == "category"]
        return rows_of(read_table(Path(path), self.csv, words, self.max_bytes, self.max_cells))

    def sniff(self, path: Path, head: bytes) -> bool:
        """Not where the first column says when: that is a series."""
        return not begins_with_time(path, head)

    def samples(self, seed: int = 0) -> Iterable[Any]:
        rng = np.random.default_rng(seed)
        draw = _example if self.learned is None else self._drawn
        yield draw(rng)
        yield []
        yield [draw(rng) for _ in range(5)]
        yield dict.fromkeys(draw(rng))

    def _drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        """A row such as those that `fit` saw, now and then without a value or with a new word."""
        row: dict[str, Any] = {}
        for column in self.learned or ():
            if column.kind == "category":
                number = int(rng.integers(len(column.categories) + (self.unseen == "unknown")))
                row[column.name] = (*column.categories, "never seen")[number]
            else:
                features = rng.normal(column.mean, column.std)
                if column.kind != "number":
                    features = np.array(
                        [np.clip(round(features[0]), -700_000, 2_900_000), abs(round(features[1])) % 86_400_000_000]
                    )
                elif column.whole:
                    features = features.round()
                row[column.name] = column.values(torch.from_numpy(features)[None], [None])[0]
            if rng.random() < 0.1:
                row[column.name] = None
        return row

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        """The table, one cell for each token (before `fit`: for the tokens of its bytes)."""
        grid = Grid.of(raw, None, self.max_cells)
        names = grid.names if self.learned is None else [c.name for c in self.learned]
        data = [[_short(row[name]) for name in names] for row in grid.rows]
        at = torch.zeros(len(tokens), 2, dtype=torch.long)
        for span, places in zip(tokens.spans, tokens.places, strict=True):
            at[places] = torch.stack([span.axes["row"], span.axes["column"]], 1)
        title = f"{len(grid.rows)} rows, {len(tokens)} tokens: {', '.join(names)}"
        return Picture("strip", data, [tuple(place) for place in at.tolist()], title)


@lru_cache(maxsize=16)
def _columns(state: bytes) -> tuple[Column, ...]:
    try:
        return msgspec.json.decode(state, type=tuple[Column, ...])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError(f"state of tokenizer 'tabular': not what `fit` learned ({error})") from None


def _span(channel: str, content: Tensor, at: Tensor, width: int, meta: dict[str, Any]) -> Span:
    """Cells at places [n] of the object."""
    axes = {"row": at // width, "column": at % width}
    ids, features = (None, content) if content.is_floating_point() else (content, None)
    return Span(channel, ids, features, axes, at, meta)


def _empty(channel: str, meta: dict[str, Any]) -> Span:
    none = torch.zeros(0, dtype=torch.long)
    return Span(channel, none, axes={"row": none, "column": none}, meta=meta)


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)[:SHOWN]


def _example(rng: np.random.Generator) -> dict[str, Any]:
    """A row of an imaginary register of trees."""
    planted = dt.date(1950, 1, 1) + dt.timedelta(days=int(rng.integers(25_000)))
    seen = dt.datetime(2024, 5, 1, 6) + dt.timedelta(seconds=int(rng.integers(8_000_000)))
    return {
        "species": str(rng.choice(["oak", "lime", "Ähre", "東京桜"])),
        "height (m)": round(float(rng.gamma(4, 3)), 2),
        "rings": int(rng.integers(1, 300)),
        "protected": bool(rng.random() < 0.3),
        "planted": planted if rng.random() < 0.8 else None,
        "last seen": seen.replace(tzinfo=dt.UTC),
        "remark": None if rng.random() < 0.7 else 'leans, "a little"',
    }
