"""Tables out of files: CSV, TSV and Parquet by Arrow, refused with file and line where a part would be lost or guessed."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from msgspec import Meta

from omnitok.errors import ConfigError, InputError, OmnitokError

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
BYTES, CELLS = 1 << 28, 1 << 26
TIMES = re.compile(r"(time|date|datetime|timestamp|ds|year|month|day|hour|t)s?", re.IGNORECASE)
"""Headers of a first column that says when."""


class Csv(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a CSV file is written. Nothing of it is guessed."""

    delimiter: Annotated[str, Meta(max_length=1, description="between cells; empty: a tab in .tsv files, else a comma")] = ""
    decimal: Annotated[str, Meta(min_length=1, max_length=1, description="decimal sign of numbers")] = "."
    encoding: Annotated[str, Meta(description="of the characters; a byte-order mark is dropped")] = "utf-8"
    names: Annotated[tuple[str, ...], Meta(description="the columns, where the file has no header line")] = ()
    missing: Annotated[tuple[str, ...], Meta(description="cells without a value; among words only an empty cell is")] = MISSING


def read_table(
    path: Path,
    how: Csv | None = None,
    words: Collection[str] = (),
    max_bytes: int = BYTES,
    max_cells: int = CELLS,
) -> pa.Table:
    """The columns of a .csv, .tsv or .parquet file; of other suffixes what their first bytes say.

    Types are Arrow's: int64, double, bool, date32, timestamp, string; `words` are read as strings whatever they hold. A CSV
    column stays words where numbers would change it: leading zeros, or more digits than a double holds. Raises InputError
    naming file and line for what is over the limits, truncated, no text of that encoding, ragged, or has bad headers.
    """
    how = how or Csv()
    try:
        data = _bytes(path, max_bytes)
        if data[:4] == b"PAR1" or path.suffix.lower() == ".parquet":
            table = _parquet(data, max_cells)
        else:
            table = _csv(_text(data, how), how, path.suffix.lower() == ".tsv", words, max_cells)
        _check_names(table.column_names)
        return _plain(table, words)
    except OmnitokError as error:
        raise type(error)(f"{path}: {error}") from None
    except (pa.ArrowException, csv.Error, UnicodeError, ValueError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:300]}") from None


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A table as one dict per row, with Python's values and None where there is none."""
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def begins_with_time(path: Path, head: bytes) -> bool:
    """Whether the first column of a table says when: by its name, or, in Parquet, also by its type."""
    if head[:4] == b"PAR1":
        try:
            first = pyarrow.parquet.read_schema(path).field(0)
        except (pa.ArrowException, OSError, IndexError):
            return False
        return pa.types.is_temporal(first.type) or TIMES.fullmatch(first.name) is not None
    cell = re.split(rb"[,;\t|\r\n]", head.removeprefix(codecs.BOM_UTF8), maxsplit=1)[0]
    return TIMES.fullmatch(cell.decode(errors="replace").strip(' "')) is not None


def _bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{size} bytes, more than max_bytes = {limit}")
        with path.open("rb") as file:
            data = file.read(limit + 1)  # a device has size 0 and no end
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None
    if len(data) > limit:
        raise InputError(f"more than max_bytes = {limit}")
    return data


def _parquet(data: bytes, max_cells: int) -> pa.Table:
    try:
        file = pa.parquet.ParquetFile(pa.py_buffer(data))
        _check_size(file.metadata.num_rows, file.metadata.num_columns, max_cells)
        return file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a whole Parquet file ({' '.join(str(error).split())[:200]})") from None


def _text(data: bytes, how: Csv) -> str:
    try:
        codecs.lookup(how.encoding)
    except LookupError:
        raise ConfigError(f"csv.encoding: Python knows no {how.encoding!r}") from None
    try:
        text = data.decode(how.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"line {line}: byte {data[error.start]:#04x} is not {how.encoding}; set csv.encoding") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"line {line} holds a zero byte; is it a table in {how.encoding}? Set csv.encoding")
    return text


def _csv(text: str, how: Csv, tabs: bool, words: Collection[str], max_cells: int) -> pa.Table:
    delimiter = how.delimiter or ("\t" if tabs else ",")
    if delimiter == how.decimal:
        raise ConfigError(f"csv.delimiter and csv.decimal are both {delimiter!r}: set csv.delimiter")
    header = list(how.names) or next(_lines(text, delimiter), (1, []))[1]
    _check_header(header, bool(how.names), delimiter)
    _check_size(text.count("\n"), len(header), max_cells)
    if text.count('"') % 2:
        _check_quotes(text, delimiter)

    whole = max(1 << 20, len(text) * 4)  # one block, so that types follow from all rows and quoted line breaks are safe

    def parse(strings: Collection[str]) -> pa.Table:
        return pyarrow.csv.read_csv(
            io.BytesIO(text.encode()),
            pyarrow.csv.ReadOptions(use_threads=False, column_names=how.names or None, block_size=whole),
            pyarrow.csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(
                decimal_point=how.decimal, null_values=list(how.missing), column_types=dict.fromkeys(strings, pa.string())
            ),
        )

    try:
        table = parse(words)
    except pa.ArrowInvalid:
        _check_width(text, delimiter, len(header))
        raise
    if len(header) > 1 and _empty_row(table):
        _check_width(text, delimiter, len(header))
    changed = _changed_by_numbers(text, table, parse)
    return parse({*words, *changed}) if changed else table


def _check_header(header: list[str], given: bool, delimiter: str) -> None:
    if not header:
        raise InputError("the file is empty")
    if not given and len(header) == 1:
        other = next((c for c in ";\t|," if c != delimiter and c in header[0]), None)
        if other:
            raise InputError(f"line 1 is one column {header[0][:60]!r}; if {other!r} parts its cells, set csv.delimiter")
    if not given and all(re.fullmatch(r"\s*[-+]?[\d.,]+(e[-+]?\d+)?\s*", cell, re.IGNORECASE) for cell in header):
        raise InputError("line 1 holds numbers where names are expected; without a header line, set csv.names")


def _check_names(names: list[str]) -> None:
    for i, name in enumerate(names):
        if not name.strip():
            raise InputError(f"column {i + 1} of the header has no name")
        if names.index(name) != i:
            raise InputError(f"columns {names.index(name) + 1} and {i + 1} of the header are both {name!r}")


def _check_size(rows: int, columns: int, limit: int) -> None:
    if rows * columns > limit:
        raise InputError(f"{rows} rows of {columns} columns are more than max_cells = {limit}")


def _lines(text: str, delimiter: str, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The first line of every row, and its cells: the header, and to say where something is wrong."""
    reader, first = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict), 1
    before = csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # of the whole process
    try:
        for row in reader:
            yield first, row
            first = reader.line_num + 1
    finally:
        csv.field_size_limit(before)


def _check_quotes(text: str, delimiter: str) -> None:
    last = 1
    try:
        for last, row in _lines(text, delimiter, strict=True):
            last += sum(cell.count("\n") for cell in row) + 1
    except csv.Error:
        raise InputError(f"line {last}: a quote is opened and never closed; is the file cut short?") from None


def _check_width(text: str, delimiter: str, width: int) -> None:
    for line, row in _lines(text, delimiter):
        if not row and width > 1:
            raise InputError(f"line {line} is empty")
        if row and len(row) != width:
            raise InputError(f"line {line} has {len(row)} cells, the header {width}")


def _empty_row(table: pa.Table) -> bool:
    empty: Any = None
    for column in table.columns:
        words = pa.types.is_string(column.type)
        none = pc.equal(column, "") if words else pc.is_null(column)
        empty = none if empty is None else pc.and_(empty, none)
    return bool(pc.any(empty).as_py())


def _changed_by_numbers(text: str, table: pa.Table, parse: Any) -> list[str]:
    """Columns whose numbers are not what was written (007, twenty digits), or are times of day."""
    types = dict(zip(table.column_names, table.schema.types, strict=True))
    found = [name for name, kind in types.items() if pa.types.is_time(kind)]
    patterns = {"int64": r"^[-+]?0\d", "double": r"^[-+]?(0\d|\d{16,}$)"}
    if re.search(r"(?<![\d.])(0\d|\d{16})", text):
        suspects = [name for name, kind in types.items() if str(kind) in patterns]
        written = parse(suspects)
        found += [
            name for name in suspects if pc.any(pc.match_substring_regex(written[name], patterns[str(types[name])])).as_py()
        ]
    return found


def _plain(table: pa.Table, words: Collection[str]) -> pa.Table:
    """Columns of types that Python's values can hold exactly; empty words become missing."""
    for i, (name, kind) in enumerate(zip(table.column_names, table.schema.types, strict=True)):
        column = table.column(i)
        if pa.types.is_dictionary(kind) or pa.types.is_time(kind) or pa.types.is_large_string(kind):
            column = column.cast(pa.string())
        elif pa.types.is_timestamp(kind) and kind.unit == "ns":
            try:
                column = column.cast(pa.timestamp("us", kind.tz))
            except pa.ArrowInvalid:
                raise InputError(f"column {name!r} has moments finer than a microsecond") from None
        if pa.types.is_string(column.type):
            column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        elif name in words:
            column = column.cast(pa.string())
        table = table.set_column(i, name, column)
    return table
