"""Files of tables: read as they were written, or refused with file and line; never repaired, never guessed."""

from __future__ import annotations

import csv
import datetime as dt
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_tabular.tables import Csv, begins_with_time, read_table, rows_of
from omnitok_tabular.tokenizer import TabularTokenizer

from omnitok.errors import ConfigError, InputError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=5)


def saved(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(path: Path, **how: Any) -> list[dict[str, Any]]:
    return rows_of(read_table(path, Csv(**how)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), WORDS, st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_what_a_csv_writer_wrote_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, table: list) -> None:
    """Quotes, delimiters and line breaks inside words among it; numbers to the last bit; an empty word is missing."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["n", "word", "x"])
    writer.writerows(table)
    path = saved(tmp_path_factory.mktemp("csv"), stream.getvalue())
    got = rows_of(read_table(path, words=["word"]))
    assert [(r["n"], r["word"], r["x"]) for r in got] == [(n, w or None, x) for n, w, x in table]


@pytest.mark.parametrize(
    ("text", "how", "want"),
    [
        ("\ufeffa,b\n1,x\n", {}, [{"a": 1, "b": "x"}]),
        ("a;b\n1,5;-2,25\n", {"delimiter": ";", "decimal": ","}, [{"a": 1.5, "b": -2.25}]),
        ('a,b\n1,"x\ny, ""z"""\n', {}, [{"a": 1, "b": 'x\ny, "z"'}]),
        ("a,b\r\n1,x\r\n", {}, [{"a": 1, "b": "x"}]),
        ("1,x\n2,y\n", {"names": ("a", "b")}, [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        ("a,b\n,NA\nNaN,\n3,z\n", {}, [{"a": None, "b": "NA"}, {"a": None, "b": None}, {"a": 3, "b": "z"}]),
        ("a\n-\n3\n", {"missing": ("-",)}, [{"a": None}, {"a": 3}]),
        ("zip,n\n007,1\n100,2\n", {}, [{"zip": "007", "n": 1}, {"zip": "100", "n": 2}]),
        ("id,n\n12345678901234567890,1\n1,2\n", {}, [{"id": "12345678901234567890", "n": 1}, {"id": "1", "n": 2}]),
        ("d,t\n2024-02-29,08:30:00\n", {}, [{"d": dt.date(2024, 2, 29), "t": "08:30:00"}]),
        ("t\n2024-02-29 08:30:00.000001\n", {}, [{"t": dt.datetime(2024, 2, 29, 8, 30, 0, 1)}]),
        ("t\n2024-02-29T08:30:00Z\n", {}, [{"t": dt.datetime(2024, 2, 29, 8, 30, tzinfo=dt.UTC)}]),
        ("a,b\n", {}, []),
        ("x,5\" pipe\n1,6\"\n", {}, [{"x": 1, '5" pipe': '6"'}]),
    ],
)  # fmt: skip
def test_a_csv_is_read_as_it_is_written(tmp_path: Path, text: str, how: dict[str, Any], want: list) -> None:
    assert rows(saved(tmp_path, text), **how) == want


def test_other_encodings_and_tabs(tmp_path: Path) -> None:
    text = "größe\tname\n1,5\tÄhre\n"
    for encoding in ("latin-1", "utf-16", "cp1252"):
        path = saved(tmp_path, text.encode(encoding), "t.tsv")
        assert rows(path, encoding=encoding, decimal=",") == [{"größe": 1.5, "name": "Ähre"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells, the header 2"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 cells, the header 2"),
        ('a,b\n1,"x\ny"\n3\n', "line 4 has 1 cells, the header 2"),
        ("a,b\n1,2\n\n3,4\n", "line 3 is empty"),
        ("a,b\n1,2\n\n", "line 3 is empty"),
        ("a,b,a\n1,2,3\n", "columns 1 and 3 of the header are both 'a'"),
        ("a,\n1,2\n", "column 2 of the header has no name"),
        ('a,b\n1,2\n3,"cut off\nhere', "line 3: a quote is opened and never closed"),
        ("a;b\n1;2\n", "if ';' parts its cells, set csv.delimiter"),
        ("1.5,2\n3,4\n", "numbers where names are expected"),
        (b"a,b\n1,\xe4\n", "line 2: byte 0xe4 is not utf-8; set csv.encoding"),
        ("a,b\n1,2\n".encode("utf-16-le"), "zero byte"),
    ],
)
def test_a_csv_that_is_not_whole_is_refused_with_file_and_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(InputError, match=words) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path))


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "a,b\n1,2\n")
    with pytest.raises(ConfigError, match="both ','"):
        read_table(path, Csv(decimal=","))
    with pytest.raises(ConfigError, match="'utf-9'"):
        read_table(path, Csv(encoding="utf-9"))
    with pytest.raises(ConfigError, match="field 'csv'"):
        TabularTokenizer(csv=Csv(delimiter=";;"))


def test_limits_are_checked_before_the_table_is_made(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="more than max_bytes"):
        read_table(path)
    with pytest.raises(InputError, match="more than max_cells = 5"):
        read_table(saved(tmp_path, "a,b\n1,2\n3,4\n5,6\n"), max_cells=5)
    pq.write_table(pa.table({"a": range(6)}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="6 rows of 1 columns are more than max_cells = 5"):
        read_table(tmp_path / "t.parquet", max_cells=5)


def test_parquet_comes_back_and_a_truncated_file_does_not(tmp_path: Path) -> None:
    want = {
        "x": [1.5, None], "k": ["a", None], "n": [1, 2], "ok": [True, False], "day": [dt.date(2024, 1, 1), None],
        "at": [dt.datetime(2024, 1, 1, 12, 0, 0, 5), None],
    }  # fmt: skip
    path = tmp_path / "t.parquet"
    table = pa.table({**want, "k": pa.array(want["k"]).dictionary_encode()})
    pq.write_table(table, path)
    assert rows(path) == [{name: values[i] for name, values in want.items()} for i in (0, 1)]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read_table(path)
    with pytest.raises(InputError, match="No such file"):
        read_table(tmp_path / "absent.csv")


def test_moments_finer_than_python_holds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"at": pa.array([1], pa.timestamp("ns"))}), path)
    with pytest.raises(InputError, match="finer than a microsecond"):
        read_table(path)


def test_a_tokenizer_reads_what_it_was_told_to_as_words(tmp_path: Path) -> None:
    path = saved(tmp_path, "plot,height\n1,2.5\n2,3.5\n")
    table = TabularTokenizer(columns={"plot": "category"}).read(path)
    assert table == [{"plot": "1", "height": 2.5}, {"plot": "2", "height": 3.5}]


@pytest.mark.parametrize(("header", "timed"), [("time,x", True), ("Date;x", True), ('"timestamp",x', True), ("x,time", False)])
def test_a_table_that_begins_with_time_is_left_to_series(tmp_path: Path, header: str, timed: bool) -> None:
    path = saved(tmp_path, header + "\n")
    assert begins_with_time(path, path.read_bytes()) is timed
    assert TabularTokenizer().sniff(path, path.read_bytes()) is not timed


def test_long_cells_are_read_and_the_limit_of_the_csv_module_stays(tmp_path: Path) -> None:
    before, long = csv.field_size_limit(), "a" * 200_000
    assert rows(saved(tmp_path, f"{long},b\n{long},2\n")) == [{long: long, "b": 2}]
    with pytest.raises(InputError, match="line 3 has 1 cells"):
        read_table(saved(tmp_path, f"{long},b\n{long},2\n3\n"))
    assert csv.field_size_limit() == before


def test_types_follow_from_all_rows_and_line_breaks_in_words_may_lie_anywhere(tmp_path: Path) -> None:
    """Arrow's own first block is a megabyte: what stands behind it counts as much."""
    many = 150_000
    table = read_table(saved(tmp_path, "a,b\n" + '1,"x\ny"\n' * many + "word,z\n"))
    assert table["a"][0].as_py() == "1" and table["a"][many].as_py() == "word"
    assert table.num_rows == many + 1 and table["b"][many - 1].as_py() == "x\ny"
