"""Tables keep the contract; every cell comes back; what `fit` learns is what the training rows say."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_tabular.datasets import Cancer, Diabetes, Iris, TableFile, Wine
from omnitok_tabular.steps import Calendar, Piecewise
from omnitok_tabular.tokenizer import TabularTokenizer

import omnitok as ot
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError, InputError
from omnitok.generate import fill_in
from omnitok.testing import parametrize_with_checks

torch.set_num_threads(1)
LINEAR = TabularTokenizer(bins=0, unseen="refuse")


@parametrize_with_checks(["tabular", LINEAR])
def test_contract(tokenizer, check) -> None:
    check(tokenizer)


CELLS = {
    "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "word": st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    "flag": st.booleans(),
    "day": st.dates(),
    "moment": st.datetimes(),
    "instant": st.datetimes(timezones=st.just(dt.UTC)),
}
ROWS = st.fixed_dictionaries({name: cell | st.none() for name, cell in CELLS.items()})
EXAMPLE = {
    "number": 2.5, "word": "a", "flag": True, "day": dt.date(2024, 2, 29), "moment": dt.datetime(2024, 2, 29, 1, 2, 3, 4),
    "instant": dt.datetime(1, 1, 1, tzinfo=dt.UTC),
}  # fmt: skip
FITTED = TabularTokenizer().fit([EXAMPLE])


def equal(a: Any, b: Any) -> bool:
    """Equal in value and, but for whole numbers of a column of floats, in type; -0.0 is not 0.0."""
    if isinstance(a, int | float) and not isinstance(a, bool):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return type(a) is type(b) and a == b


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=4), st.booleans(), st.booleans())
def test_every_cell_comes_back(rows: list[dict[str, Any]], fitted: bool, single: bool) -> None:
    """Missing ones, words that `fit` never saw and moments to the microsecond among them."""
    tokenizer = FITTED if fitted else TabularTokenizer()
    raw = rows[0] if single and rows else rows
    tokens = tokenizer.encode(raw)
    assert len(tokens) == tokenizer.count(raw)
    back = tokenizer.decode(tokens)
    assert type(back) is type(raw)
    for want, got in zip([raw] if isinstance(raw, dict) else raw, [back] if isinstance(back, dict) else back, strict=True):
        assert got.keys() == want.keys() and all(equal(want[name], got[name]) for name in want)


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda n: n / 8), min_size=2, max_size=30), st.integers(0, 8))
def test_fit_learns_mean_deviation_and_quantiles_of_the_values_that_are_there(numbers: list[float], bins: int) -> None:
    (column,) = TabularTokenizer(bins=bins).fit([{"x": n} for n in [*numbers, None]]).learned
    mean, std = np.mean(numbers), np.std(numbers)
    assert column.mean[0] == pytest.approx(mean, rel=1e-6, abs=1e-6)
    if std > 1e-6 * max(1, abs(mean)):
        assert column.std[0] == pytest.approx(std, rel=1e-6)
        wanted = np.unique((np.quantile(numbers, np.linspace(0, 1, bins + 1)) - mean) / std) if bins else np.zeros(0)
        assert np.allclose(column.edges, wanted if len(wanted) > 1 else (), atol=1e-6)
    assert column.whole is False and column.std[0] > 0


def test_a_column_is_a_channel_and_a_missing_cell_names_its_column() -> None:
    rows = [{"Height (m)": 1.5, "kind": "oak"}, {"Height (m)": None, "kind": "lime"}]
    tokenizer = TabularTokenizer().fit(rows).named("trees")
    channels = tokenizer.channels()
    assert list(channels) == ["trees/height_m", "trees/kind", "trees/missing"]
    assert channels["trees/kind"].vocab == 3 and channels["trees/missing"].vocab == 2
    tokens = tokenizer.encode(rows)
    held = {span.channel: (span.content.tolist(), place.tolist()) for span, place in zip(tokens, tokens.places, strict=True)}
    assert held == {"trees/height_m": ([[1.5]], [0]), "trees/kind": ([2, 1], [1, 3]), "trees/missing": ([0], [2])}


def test_columns_whose_names_look_alike_are_different_channels() -> None:
    row = {"a b": 1, "A-B": 2, "missing": 3, "東": 4, "京": 5}
    tokenizer = TabularTokenizer().fit([row])
    parts = [column.part for column in tokenizer.learned]
    assert len(set(parts)) == 5 and not {"missing", "cell"} & set(parts)
    assert tokenizer.decode(tokenizer.encode(row)) == row


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"x": 1.0}, "row 0 has no column 'k'"),
        ({"x": 1.0, "k": "a", "y": 2}, "row 0 has an unknown column 'y'"),
        ({"x": "1", "k": "a"}, "column 'x' holds numbers, got '1'"),
        ({"x": True, "k": "a"}, "column 'x' holds numbers, got True"),
        ({"x": math.nan, "k": "a"}, "column 'x' holds nan; write None"),
        ({"x": -math.inf, "k": "a"}, "column 'x' holds -inf"),
        ({"x": 2**53 + 1, "k": "a"}, r"beyond 2\*\*53"),
        ({"x": 1.0, "k": dt.date(2024, 1, 1)}, "column 'k' holds categories"),
        ({"x": 1.0, "k": "new"}, "column 'k': unseen category 'new' in row 0"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_column(row: dict[str, Any], words: str) -> None:
    tokenizer = TabularTokenizer(unseen="refuse").fit([{"x": 0.5, "k": "a"}])
    with pytest.raises(InputError, match=words):
        tokenizer.encode(row)


@pytest.mark.parametrize(
    ("rows", "config", "words"),
    [
        ([], {}, "from no row"),
        ([{"x": None}], {}, "no value in the 1 training rows"),
        ([{"x": 1}, {"x": "a"}], {}, "mixes values of kinds category and number"),
        ([{"x": i} for i in range(5)], {"columns": {"x": "category"}, "max_categories": 4}, "5 different words"),
        ([{"x": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))}], {}, "not in UTC"),
        ([{"x": [1]}], {}, "holds a list"),
        ([{"x": -1e38}], {}, r"holds 1e\+38, beyond"),
        ([{"x": 1}, {"y": 1}], {}, "row 0 has no column 'x'"),
    ],
)
def test_fit_refuses_what_it_cannot_learn(rows: list[dict[str, Any]], config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TabularTokenizer(**config).fit(rows)


def test_a_kind_of_a_column_that_is_not_there_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="did you mean 'height'"):
        TabularTokenizer(columns={"heigth": "category"}).fit([{"height": 1}])


def test_true_one_and_the_word_one_are_three_categories() -> None:
    rows = [{"k": value} for value in (True, 1, "1")]
    tokenizer = TabularTokenizer(columns={"k": "category"}).fit(rows)
    assert sorted(i for row in rows for i in tokenizer.encode(row).spans[0].ids.tolist()) == [1, 2, 3]
    assert [equal(tokenizer.decode(tokenizer.encode(row))["k"], row["k"]) for row in rows] == [True] * 3


def test_an_unknown_category_that_a_model_makes_up_stands_for_no_word() -> None:
    tokenizer = TabularTokenizer().fit([{"k": "a"}])
    (span,) = tokenizer.encode({"k": "a"}).spans
    with pytest.raises(InputError, match="stands for no word"):
        tokenizer.decode(ot.TokenSequence((span.replace(ids=torch.tensor([0])),)))


def test_whole_numbers_come_back_as_int_where_the_column_was_whole() -> None:
    tokenizer = TabularTokenizer().fit([{"x": 3, "y": 3.0}])
    back = tokenizer.decode(tokenizer.encode({"x": 7, "y": 7.0}))
    assert (type(back["x"]), type(back["y"])) == (int, float)
    assert tokenizer.decode(tokenizer.encode({"x": 2.5, "y": 1.0}))["x"] == 2.5


# -- the embedding


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9, unique=True), st.floats(-9, 9))
def test_the_piecewise_encoding_is_that_of_its_paper(edges: list[float], x: float) -> None:
    """arXiv 2203.05556, equation 1: 0 before a bin, 1 behind it, the share of it inside; the outer two go on."""
    edges = sorted(edges)
    if min(np.diff(edges)) < 1e-3:
        return
    module = Piecewise(tuple(edges)).build(1, 8)
    one, same, *got = module(torch.tensor([[x]]))[0].tolist()
    share = [(x - a) / (b - a) for a, b in itertools.pairwise(edges)]
    last = len(share) - 1
    want = [
        min(s, math.inf if t == last else 1) if t == 0 else max(s, 0) if t == last else min(max(s, 0), 1)
        for t, s in enumerate(share)
    ]
    assert (one, same) == (1.0, pytest.approx(x, abs=1e-6)) and got == pytest.approx(want, rel=1e-3, abs=1e-3)


def test_a_moment_is_embedded_by_its_place_in_week_and_day() -> None:
    moments = [dt.datetime(2024, 1, 1, 6), dt.datetime(2024, 1, 8, 6), dt.datetime(2024, 1, 8, 18)]
    (column,) = TabularTokenizer().fit([{"t": m} for m in moments]).learned
    x = (column.content(moments) - torch.tensor(column.mean)) / torch.tensor(column.std)
    rows = Calendar(column.mean, column.std).build(2, 8)(x.float())
    week, day = rows[:, [3, 6]], rows[:, [4, 7]]
    assert torch.allclose(week[0], week[1], atol=1e-3) and torch.allclose(week[1], week[2], atol=1e-3)
    assert torch.allclose(day[0], day[1], atol=1e-3) and torch.allclose(day[1], -day[2], atol=1e-3)


# -- the model


def test_a_masked_cell_is_put_back_from_what_the_model_answers(tmp_path: Path) -> None:
    """`masked` on a column's channel asks for that cell of the row, and the answer is a row again."""
    rows = [{"x": float(i), "k": "ab"[i % 2]} for i in range(8)]
    tokenizer = TabularTokenizer().fit(rows)
    channels = tokenizer.channels()
    objective = ot.objectives.Masked("tabular/k", 1.0)
    model = ot.build(ot.presets.encoder(dim=16, depth=1, heads=2), channels, objective.heads("k", channels))
    at = ot.objectives.At("k", channels, __import__("random").Random(0))
    document = objective.mark(Document({"main": tokenizer.encode(rows[0])}), {}, at)
    batch = collate([document], model.schema)
    out = model(batch)["k"]
    back = tokenizer.decode(fill_in(document.main, document.asks["k"], torch.tensor([[0.0, 0.0, 9.0]]), channels))
    assert out.shape == (1, 3) and back == {"x": 0.0, "k": "b"}


# -- datasets


@pytest.mark.parametrize(
    ("dataset", "rows", "columns"), [(Iris, 150, 4), (Wine, 178, 13), (Cancer, 569, 30), (Diabetes, 442, 10)]
)
def test_bundled_tables_are_whole_and_their_splits_apart(dataset: type, rows: int, columns: int) -> None:
    parts = [dataset(seed=1).split(name) for name in ("train", "eval")]
    assert sum(map(len, parts)) == rows and len(parts[1]) == math.ceil(rows / 5)
    assert {len(s["row"]) for part in parts for s in part} == {columns}
    classes = dataset().metadata().get("classes")
    if classes is not None:
        assert all(s["class"] == classes[int(s["target"])] for part in parts for s in part)
    other = dataset(seed=2).split("eval")
    assert [s["row"] for s in parts[1]] != [s["row"] for s in other]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_file_is_rows_with_a_target(tmp_path: Path) -> None:
    lines = ["id,x,zip,good", *(f"{i},{i / 4},0{i % 7},{i % 3 == 0}" for i in range(40))]
    dataset = TableFile(path=write(tmp_path / "t.csv", "\n".join(lines) + "\n"), target="good", drop=("id",))
    assert dataset.metadata() == {"classes": ["False", "True"]}
    train, held_out = dataset.split("train"), dataset.split("eval")
    assert (len(train), len(held_out)) == (32, 8)
    assert train[0] == {"row": {"x": 0.0, "zip": "00"}, "target": True, "class": "True"} or train[0]["row"].keys() == {"x", "zip"}
    seen = sorted(s["row"]["x"] for part in (train, held_out) for s in part)
    assert seen == [i / 4 for i in range(40)]
    tokenizer = TabularTokenizer().fit(s["row"] for s in train)
    assert [c.kind for c in tokenizer.learned] == ["number", "category"], "leading zeros are no number"


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"target": "gool"}, ConfigError, "did you mean 'good'"),
        ({"target": "good", "drop": ("y",)}, ConfigError, "no column 'y'"),
        ({"target": "x"}, InputError, r"1 rows have no 'x', row 1 \(from 0\) the first"),
    ],
)
def test_a_file_without_the_columns_or_targets_is_refused(tmp_path: Path, fields: dict, error: type, words: str) -> None:
    path = write(tmp_path / "t.csv", "x,good\n1,a\n,b\n3,a\n")
    with pytest.raises(error, match=words):
        TableFile(path=path, **fields).split("train")


def test_a_recipe_trains_and_its_run_is_loaded_again(tmp_path: Path) -> None:
    from omnitok.plugins import load_plugins
    from omnitok.recipe import make_recipe
    from omnitok.run import load_run
    from omnitok.train import train

    objective = {"classify": {"label": "class"}}
    task = {"name": "t", "data": {"name": "tabular/iris"}, "document": [{"tabular": "row"}], "objective": objective}
    settings_ = {"steps": 2, "budget": 256, "threads": 1, "evaluate_every": 0, "checkpoint_every": 0}
    recipe = make_recipe({"tasks": [task], "tokenizers": {"tabular": {}}, "model": {"dim": 16, "depth": 1}, "train": settings_})
    train(recipe, tmp_path, load_plugins(), quiet=True)
    run = load_run(tmp_path)
    sample = Iris().split("eval")[0]
    assert run.answers("t", sample)[0] in Iris().metadata()["classes"]
    assert run.tokenizers["tabular"].learned is not None
    assert msgspec.json.decode(run.tokenizers["tabular"].state)[0]["name"] == "sepal length (cm)"


# -- README

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def trained(text: str, out: Path) -> None:
    """Two small steps of a recipe."""
    from omnitok.plugins import load_plugins
    from omnitok.recipe import make_recipe
    from omnitok.train import train

    plain = tomllib.loads(text)
    plain["train"] |= {"steps": 2, "threads": 1, "evaluate_every": 0, "checkpoint_every": 0}
    plain["model"] |= {"dim": 16, "depth": 1}
    assert train(make_recipe(plain), out, load_plugins(), quiet=True).report is not None


def test_the_recipe_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path / "trees.csv", "id,species,height\n" + "".join(f"{i},{'oak' if i % 2 else 'lime'},{i / 3}\n" for i in range(20))
    )
    (text,) = blocks("toml")
    trained(text, tmp_path / "run")


def test_the_readme_tells_the_tokens(tmp_path: Path) -> None:
    (code,) = blocks("python")
    (tmp_path / "code.py").write_text(code)
    tokens = runpy.run_path(str(tmp_path / "code.py"))["tokens"]
    for span, places in zip(tokens, tokens.places, strict=True):
        for place, content, row, column in zip(
            places.tolist(), span.content.tolist(), span.axes["row"].tolist(), span.axes["column"].tolist(), strict=True
        ):
            values = content if isinstance(content, int) else [int(x) if x.is_integer() else x for x in content]
            assert f"| {place} | {span.channel} | {values} | {row}, {column} |" in README
