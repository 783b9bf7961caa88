"""Series keep the contract; every value and time comes back; forecasts go on where the series ends; splits do not leak."""

from __future__ import annotations

import csv
import io
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from omnitok_tabular.tables import Csv
from omnitok_timeseries import clock
from omnitok_timeseries.datasets import PERIODS, SeriesFile, Tides
from omnitok_timeseries.forecast import write
from omnitok_timeseries.moments import Moments
from omnitok_timeseries.series import Series
from omnitok_timeseries.tokenizer import TimeSeriesTokenizer

import omnitok as ot
from omnitok.errors import ConfigError, InputError
from omnitok.testing import parametrize_with_checks

torch.set_num_threads(1)
JOINT = TimeSeriesTokenizer(patch_size=5, joint=True, gaps=True, clock="seen")


@parametrize_with_checks(["timeseries", JOINT])
def test_contract(tokenizer, check) -> None:
    check(tokenizer)


DTYPES = st.sampled_from([np.dtype(t) for t in ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8")])


@st.composite
def series(draw: st.DrawFn, names: tuple[str, ...] | None = None, most: float | None = None) -> Series:
    """Values of any dtype, with or without gaps, and times of any kind and spacing."""
    names = names or ("a", "b", "c")[: draw(st.integers(1, 3))]
    samples = draw(st.integers(0, 12))
    dtype = draw(DTYPES)
    numbers = st.integers(-(2**53), 2**53) if dtype == np.int64 else None
    if dtype.kind == "f":
        limit = None if most is None else float(np.float32(most))
        bounds = {"min_value": None if limit is None else -limit, "max_value": limit}
        numbers = st.floats(**bounds, allow_nan=False, allow_infinity=False, width=8 * dtype.itemsize)
    values = draw(hnp.arrays(dtype, (samples, len(names)), elements=numbers))
    observed = draw(st.none() | hnp.arrays(bool, values.shape))
    steps = draw(hnp.arrays(np.int64, samples, elements=st.integers(1, 10**6)))
    if draw(st.booleans()):
        steps[1:] = steps[:1]  # even
    kind = draw(st.sampled_from(["none", "i8", "f8", "datetime64[s]", "datetime64[us]", "datetime64[D]"]))
    time = None if kind == "none" else (steps.cumsum() * (0.1 if kind == "f8" else 1)).astype(kind)
    return Series(values, names, time, observed)


@settings(max_examples=150, deadline=None)
@given(series(), st.integers(1, 5), st.sampled_from(["ignored", "seen"]))
def test_every_value_and_time_comes_back(raw: Series, patch_size: int, how: Any) -> None:
    tokenizer = TimeSeriesTokenizer(patch_size=patch_size, gaps=True, clock=how)
    tokens = tokenizer.encode(raw)
    assert len(tokens) == tokenizer.count(raw) == -(-len(raw) // patch_size) * len(raw.names)
    back = tokenizer.decode(tokens)
    assert back == raw and back.values.dtype == raw.values.dtype


@given(hnp.arrays(np.float64, (12, 2), elements=st.floats(-1e9, 1e9)), hnp.arrays(bool, (12, 2)), st.integers(0, 12))
def test_moments_of_parts_are_those_of_the_whole(values: np.ndarray, there: np.ndarray, cut: int) -> None:
    moments = Moments()
    moments.add(values[:cut], there[:cut])
    moments.add(values[cut:], there[cut:])
    for column, (mean, std) in enumerate(zip(*moments.known(), strict=True)):
        seen = values[there[:, column], column]
        if len(seen):
            assert mean == pytest.approx(seen.mean(), rel=1e-9, abs=1e-6)
            if seen.std() > 1e-6 * max(1, abs(seen.mean())):
                assert std == pytest.approx(seen.std(), rel=1e-6)
    with pytest.raises(InputError, match="1e\\+38 is beyond"):
        moments.add(np.array([[1e38, 0]]), np.ones((1, 2), bool))


@settings(max_examples=50, deadline=None)
@given(st.lists(series(("x", "y"), 1e30), min_size=1, max_size=4), st.integers(1, 5))
def test_joint_tokens_hold_all_variables_and_their_own_scales(raws: list[Series], patch_size: int) -> None:
    tokenizer = TimeSeriesTokenizer(patch_size=patch_size, gaps=True, clock="ignored", joint=True).fit(raws)
    assert tokenizer.variables == ("x", "y") and tokenizer.channels()["timeseries"].width == (patch_size, 4)
    for raw in raws:
        tokens = tokenizer.encode(raw)
        assert len(tokens) == -(-len(raw) // patch_size) and tokenizer.decode(tokens) == raw


def test_fit_measures_what_was_observed() -> None:
    values = np.array([[1.0, 100.0], [3.0, 300.0], [5.0, 0.0]])
    raw = Series(values, ("x", "y"), None, np.array([[True, True], [True, True], [True, False]]))
    joint = TimeSeriesTokenizer(joint=True, gaps=True).fit([raw]).learned
    assert joint.mean == pytest.approx((3.0, 200.0)) and joint.std == pytest.approx((np.std([1, 3, 5]), 100.0))
    alike = TimeSeriesTokenizer(gaps=True).fit([raw]).learned
    there = [1, 3, 5, 100, 300]
    assert (
        alike.names == ("*",) and alike.mean == pytest.approx((np.mean(there),)) and alike.std == pytest.approx((np.std(there),))
    )
    flat = TimeSeriesTokenizer().fit([Series(np.full(4, 7.0))]).learned
    assert flat.mean == (7.0,) and flat.std == (1.0,)


def test_the_last_patch_ends_with_the_last_sample() -> None:
    raw = Series(np.arange(1.0, 8.0))
    (span,) = TimeSeriesTokenizer(patch_size=3).encode(raw).spans
    assert span.features.squeeze(-1).tolist() == [[1, 1, 1], [2, 3, 4], [5, 6, 7]]
    two = TimeSeriesTokenizer(patch_size=2).encode(Series(np.arange(8).reshape(4, 2), ("a", "b")))
    (span,) = two.spans
    assert span.axes["time"].tolist() == [0, 0, 1, 1] and span.axes["channel"].tolist() == [0, 1, 0, 1]
    assert span.features.squeeze(-1).tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("past", "ahead"), [(8, 4), (7, 4), (7, 5), (3, 9)])
def test_tokens_behind_a_series_are_its_next_samples(joint: bool, past: int, ahead: int) -> None:
    """What a model would add is taken from the series itself: decoding gives the whole series back."""
    hours = np.datetime64("2024-01-01T00", "h") + np.arange(40)
    whole = Series(np.random.default_rng(0).normal(size=(40, 2)), ("a", "b"), hours)
    tokenizer = TimeSeriesTokenizer(patch_size=4, joint=joint).fit([whole])
    prompt = tokenizer.encode(whole[:past])
    meta = {**prompt.spans[0].meta, "samples": past + ahead}
    patches, each = -(-ahead // 4), 1 if joint else 2
    made = tokenizer.encode(whole[past : past + 4 * patches]).spans[0]
    axes = [tokenizer.place(len(prompt) + k, meta) for k in range(len(made) + 1)]
    assert axes[-1] is None and [a[1]["time"] for a in axes[:-1]] == [(len(prompt) + k) // each for k in range(len(made))]
    back = tokenizer.decode(prompt + ot.TokenSequence((made.replace(meta=meta),)))
    assert back == whole[: past + ahead]
    with pytest.raises(InputError, match=f"{past} samples are here, and the series has {past + ahead}"):
        tokenizer.decode(prompt + ot.TokenSequence((made.take(0, 0).replace(meta=meta, part=None),)))


@pytest.mark.parametrize(
    ("config", "raw", "words"),
    [
        ({}, "text", "wants an omnitok_timeseries.series.Series, got str"),
        ({}, Series(np.zeros(3), observed=np.array([True, False, True])), "1 values are missing, 'value' at sample 1 first"),
        ({}, Series(np.zeros(4), time=np.array([0, 1, 2, 9])), "the step from sample 2 to the next is another one"),
        ({"max_values": 3}, Series(np.zeros((2, 2)), ("a", "b")), "2 samples of 2 variables are more than max_values = 3"),
    ],
)
def test_what_was_not_asked_for_is_refused(config: dict[str, Any], raw: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        TimeSeriesTokenizer(**config).encode(raw)


def test_a_joint_tokenizer_refuses_other_variables() -> None:
    tokenizer = TimeSeriesTokenizer(joint=True).fit([Series(np.zeros((2, 2)), ("a", "b"))])
    with pytest.raises(InputError, match="a series of b, a; this tokenizer has learned a, b"):
        tokenizer.encode(Series(np.zeros((2, 2)), ("b", "a")))
    with pytest.raises(InputError, match="the same variables everywhere"):
        tokenizer.fit([Series(np.zeros(2)), Series(np.zeros(2), ("other",))])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"values": np.array([1.0, np.nan])}, "'value' is nan at sample 1"),
        ({"values": np.array([np.inf, 0]), "observed": np.array([False, True])}, "'value' is inf at sample 0"),
        ({"values": np.array([2**53 + 1])}, r"within 2\*\*53"),
        ({"values": np.array(["a"])}, "values are numbers"),
        ({"values": np.zeros((2, 2))}, "2 variables need as many different names"),
        ({"values": np.zeros((2, 2)), "names": ("a", "a")}, "different names"),
        ({"values": np.zeros(2), "time": np.array([1, 1])}, "sample 1 is at 1, the one before at 1"),
        ({"values": np.zeros(2), "time": np.array([0.0, np.nan])}, "sample 1 has no time"),
        ({"values": np.zeros(2), "time": np.array(["2024-01-01", "NaT"], "M8[s]")}, "sample 1 has no time"),
        ({"values": np.zeros(2), "time": np.array([1])}, "2 samples need as many times"),
        ({"values": np.zeros(2), "observed": np.ones(3, bool)}, "observed is bool"),
    ],
)
def test_what_is_no_series_is_refused_by_sample(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Series(**fields)


def test_nan_is_a_gap_where_one_says_so() -> None:
    raw = Series.with_gaps([1.0, np.nan, 3.0])
    assert raw.observed.tolist() == [[True], [False], [True]] and raw.values.tolist() == [[1.0], [0.0], [3.0]]
    tokenizer = TimeSeriesTokenizer(gaps=True, patch_size=3)
    assert tokenizer.decode(tokenizer.encode(raw)) == raw


# -- times


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=20), st.sampled_from(["i8", "datetime64[us]"]))
def test_uneven_times_go_on_with_the_steps_that_are_given(steps: list[int], kind: str) -> None:
    time = np.cumsum(steps).astype(kind)
    facts = clock.describe(time[:-1])
    logs = clock.steps_of(time, len(time))
    assert np.array_equal(clock.restore(facts, len(time) - 1, logs[:-1]), time[:-1])
    ahead = clock.restore(facts, len(time), logs)
    if "start" not in facts:
        assert abs(int(ahead[-1].astype("i8")) - int(time[-1].astype("i8"))) <= max(1, steps[-1] * 1e-9)


def test_even_times_are_two_numbers() -> None:
    hours = np.datetime64("2024-01-01T00", "h") + np.arange(1000)
    assert clock.describe(hours) == {"dtype": "datetime64[h]", "start": 473352, "step": 1}
    months = np.array([f"2024-{m:02}-01" for m in range(1, 13)], "datetime64[D]")
    assert clock.uneven(months) == 1 and "stamps" in clock.describe(months)
    assert clock.uneven(np.arange(100) * 0.1) is None, "a double's rounding is no uneven step"


# -- files


def saved(folder: Path, text: str) -> Path:
    path = folder / "s.csv"
    path.write_text(text)
    return path


def test_a_file_is_a_series(tmp_path: Path) -> None:
    raw = TimeSeriesTokenizer().read(saved(tmp_path, "date,load,temp\n2024-01-01 00:00,1,0.5\n2024-01-01 01:00,2,\n"))
    hours = np.array(["2024-01-01T00:00", "2024-01-01T01:00"], "datetime64[s]")
    observed = np.array([[True, True], [True, False]])
    assert raw == Series(np.array([[1, 0.5], [2, 0]]), ("load", "temp"), hours, observed)
    some = TimeSeriesTokenizer(values=("load",)).read(tmp_path / "s.csv")
    assert some == Series(np.array([1, 2]), ("load",), hours) and some.values.dtype == np.int64
    plain = TimeSeriesTokenizer(csv=Csv(delimiter=";", decimal=",")).read(saved(tmp_path, "x;y\n1,5;2\n3;4\n"))
    assert plain == Series(np.array([[1.5, 2], [3, 4]]), ("x", "y"))


@pytest.mark.parametrize(
    ("text", "config", "error", "words"),
    [
        ("date,x,name\n2024-01-01,1,a\n", {}, InputError, "column 'name' holds string, not numbers"),
        ("date,x\n2024-01-02,1\n2024-01-01,2\n", {}, InputError, "times must increase: sample 1"),
        ("date,x\n2024-01-02,1\n,2\n", {}, InputError, "sample 1 has no 'date'"),
        ("date,x\nMonday,1\nTuesday,2\n", {}, InputError, "column 'date' says when, and holds string"),
        ("date\n2024-01-02\n", {}, InputError, "no column of numbers"),
        ("a,b\n1,2\n", {"time": "c"}, ConfigError, "no column 'c'"),
        ("a,b\n1,2\n3\n", {}, InputError, "line 3 has 1 cells"),
    ],
)
def test_a_file_that_is_no_series_is_refused(tmp_path: Path, text: str, config: dict, error: type, words: str) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(error, match=words) as caught:
        TimeSeriesTokenizer(**config).read(path)
    assert str(path) in str(caught.value)


def test_parquet_keeps_nanoseconds_out_and_microseconds_in(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"at": pa.array([1, 2], pa.timestamp("us")), "x": pa.array([1.5, 2.5], pa.float32())}), path)
    raw = TimeSeriesTokenizer().read(path)
    assert raw == Series(np.array([1.5, 2.5], np.float32), ("x",), np.array([1, 2], "datetime64[us]"))
    assert TimeSeriesTokenizer().sniff(path, path.read_bytes()[:4096])


def test_a_forecast_is_written_as_it_would_be_read(tmp_path: Path) -> None:
    raw = Series.with_gaps([[0.1, np.nan], [1 / 3, 2.0]], ("a", "b, c"), np.array(["2024-01-01T00", "2024-01-01T01"], "M8[s]"))
    stream = io.StringIO()
    write(raw, stream)
    assert next(csv.reader(io.StringIO(stream.getvalue()))) == ["time", "a", "b, c"]
    assert TimeSeriesTokenizer().read(saved(tmp_path, stream.getvalue())) == raw


# -- datasets


def test_windows_of_a_file_lie_on_one_side_of_the_border(tmp_path: Path) -> None:
    path = saved(tmp_path, "t,x\n" + "".join(f"{t},{t * t}\n" for t in range(100)))
    dataset = SeriesFile(path=str(path), window=8, stride=3, share=0.75)
    train, held_out = dataset.split("train"), dataset.split("eval")
    assert max(s["series"].time[-1] for s in train) < 75 <= min(s["series"].time[0] for s in held_out)
    assert {len(s["series"]) for part in (train, held_out) for s in part} == {8}
    assert all(s["series"].values[0, 0] == s["start"] ** 2 for s in train)
    with pytest.raises(ConfigError, match="25 samples for 'eval', fewer than window = 30"):
        SeriesFile(path=str(path), window=30, share=0.75).split("eval")


def test_tides_are_what_their_equation_says() -> None:
    """Least squares of the five periods leaves only weather; amplitudes give the regime; the splits share no station."""
    dataset = Tides(stations=50, hours=1000)
    parts = {name: dataset.split(name) for name in ("train", "eval")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 40, "eval": 10}
    firsts = [{s["series"].values[0, 0] for s in part} for part in parts.values()]
    assert not firsts[0] & firsts[1]
    angle = np.arange(1000)[:, None] * 2 * np.pi / np.array(list(PERIODS.values()))
    waves = np.concatenate([np.cos(angle), np.sin(angle)], 1)
    for sample in parts["train"][:20]:
        height = sample["series"].values[:, 0].astype(np.float64)
        found = np.linalg.lstsq(waves, height, rcond=None)[0]
        size = dict(zip(PERIODS, np.hypot(found[:5], found[5:]), strict=True))
        assert (height - waves @ found).std() < 0.2, "surge of about 10 cm"
        form = (size["K1"] + size["O1"]) / (size["M2"] + size["S2"])
        assert form == pytest.approx(sample["form"], rel=0.6, abs=0.1)
        assert sample["label"] == np.searchsorted((0.25, 1.5, 3.0), sample["form"])


def test_a_recipe_trains_and_forecasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from omnitok_timeseries.forecast import forecast

    from omnitok.plugins import load_plugins
    from omnitok.recipe import make_recipe
    from omnitok.train import train

    path = saved(tmp_path, "time,x,y\n" + "".join(f"2024-01-01T{h:02}:00:00,{h},{h * h}\n" for h in range(24)))
    data = {"name": "timeseries/file", "path": str(path), "window": 8, "stride": 1, "share": 0.6}
    for joint in (True, False):
        tokenizers = {"meter": {"plugin": "timeseries", "patch_size": 4, "joint": joint}}
        objective = {"next": {"on": "meter"}}
        task = {"name": "next", "data": data, "document": [{"meter": "series"}], "objective": objective}
        settings_ = {"steps": 2, "budget": 64, "threads": 1, "evaluate_every": 0, "checkpoint_every": 0}
        recipe = make_recipe({"tokenizers": tokenizers, "tasks": [task], "model": {"dim": 16, "depth": 1}, "train": settings_})
        train(recipe, tmp_path / f"run-{joint}", load_plugins(), quiet=True)
        assert forecast(tmp_path / f"run-{joint}", path, samples=6, history=12) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "time,x,y" and [line.split(",")[0] for line in lines[1:]] == [
            f"2024-01-02T{h:02}:00:00" for h in range(6)
        ]
    with pytest.raises(ConfigError, match="other"):
        forecast(tmp_path / "run-True", path, tokenizer="other")


def test_a_folder_of_series_is_told_apart_by_subfolder(tmp_path: Path) -> None:
    for kind, slope in (("up", 1), ("down", -1)):
        (tmp_path / "series" / kind).mkdir(parents=True)
        for i in range(4):
            path = saved(tmp_path, "t,x\n" + "".join(f"{t},{slope * t + i}\n" for t in range(20)))
            path.rename(tmp_path / "series" / kind / f"{i}.csv")
    recipe = """
        tokenizers.timeseries.patch_size = 5
        train.budget = 64
        model.heads = 2

        [[tasks]]
        name = "way"
        data.folder = "FOLDER"
        document = [{ timeseries = "file" }]
        objective.classify.label = "folder"
    """
    trained(recipe.replace("FOLDER", str(tmp_path / "series")), tmp_path / "run")


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
    hours = np.datetime64("2024-01-01T00") + np.arange(1000) * np.timedelta64(1, "h")
    saved(tmp_path, "time,load,temp\n" + "".join(f"{t},{i % 24},{i}\n" for i, t in enumerate(hours))).rename(
        tmp_path / "load.csv"
    )
    (text,) = blocks("toml")
    trained(text, tmp_path / "runs" / "load")
    (command,) = [block for block in blocks("bash") if "forecast" in block]
    _, _, run, file, *options = command.split()
    made = [int(n) if n.isdigit() else n for n in options]
    assert made[::2] == ["--samples", "--history", "--out"]
    from omnitok_timeseries.forecast import forecast

    forecast(Path(run), Path(file), samples=made[1], history=made[3], out=Path(made[5]))
    assert len(Path(made[5]).read_text().splitlines()) == 49


def test_the_code_and_the_table_of_the_readme_are_right(tmp_path: Path) -> None:
    (code,) = blocks("python")
    (tmp_path / "code.py").write_text(code)
    series = runpy.run_path(str(tmp_path / "code.py"))["series"]
    shapes = [
        list(TimeSeriesTokenizer(patch_size=24, joint=joint).fit([series]).encode(series).spans[0].features.shape)
        for joint in (False, True)
    ]
    assert shapes == [[8, 24, 1], [4, 24, 2]]
