"""Evaluation of runs: numbers and intervals, supported targets, the report, films, attention, and the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omnitok_trajectory import film, gaze, scenes
from omnitok_trajectory.environments import make
from omnitok_trajectory.evaluation import Reference, episode_returns, fingerprint, flattened, parse_targets, policy_of, subject_of
from omnitok_trajectory.report import draw, numbers, table
from omnitok_trajectory.rollout import rollout
from omnitok_trajectory.tracking import Tracking, pearson, saturation, slope
from PIL import Image
from rich.console import Console

from omnitok import load_plugins, load_run
from omnitok.cli import run as command
from omnitok.errors import ConfigError
from omnitok.recipe import make_recipe
from omnitok.run import Run
from omnitok.train import train

WORLD = "omnitok/ShortestPath-v0"


def recorded(path: Path) -> Path:
    """Random walks through the small world, as a file."""
    env, rng, parts = make(WORLD), np.random.default_rng(0), {"observations": [], "actions": [], "rewards": [], "lengths": []}
    for i in range(30):
        observation, _ = env.reset(seed=i)
        parts["observations"].append(observation)
        steps, over = 0, False
        while not over:
            action = int(rng.choice(env.unwrapped.neighbours()))
            observation, reward, terminated, truncated, _ = env.step(action)
            parts["observations"].append(observation)
            parts["actions"].append(action)
            parts["rewards"].append(reward)
            steps, over = steps + 1, terminated or truncated
        parts["lengths"].append(steps)
    np.savez(path, **{k: np.array(v) for k, v in parts.items()})
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rl")
    plain = {
        "tokenizers": {"walk": {"plugin": "trajectory"}},
        "tasks": [
            {
                "name": "go",
                "data": {"name": "trajectory/file", "path": str(recorded(folder / "walks.npz")), "env": WORLD},
                "document": [{"walk": "episode"}],
                "objective": {"next": {"on": "walk/action"}},
                "context": 12,
            }
        ],
        "model": {"preset": "decoder", "dim": 16, "depth": 2, "heads": 2},
        "train": {"steps": 3, "budget": 240, "threads": 1, "evaluate_every": 0, "checkpoint_every": 0},
    }
    train(make_recipe(plain), folder / "run", load_plugins(), quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def run(trained: Path) -> Run:
    return load_run(trained)


def opened(path: Path) -> tuple[int, int]:
    """Width and frames of a picture."""
    with Image.open(path) as picture:
        return picture.width, getattr(picture, "n_frames", 1)


# -- numbers


@pytest.mark.parametrize(
    ("means", "where"),
    [
        ([10, 20, 30, 40], 40),  # goes on to the end
        ([10, 20, 20, 20], 20),
        ([10, 20, 20.5, 20.9], 20),  # less than a tenth of what is asked more
        ([10, 20, 15, 40], 40),  # a dip is no end
        ([7, 7, 7, 7], 10),
        ([40, 30, 20, 10], 10),
    ],
)
def test_saturation_is_where_asking_for_more_adds_nothing(means: list[float], where: float) -> None:
    targets, got = np.array([10.0, 20, 30, 40]), np.array(means, float)
    assert saturation(targets, got) == where
    assert saturation(targets[::-1], got[::-1]) == where, "the order of the targets is of no account"
    assert saturation(targets, np.stack([got, targets])).tolist() == [where, 40]


def test_numbers_of_many_curves_are_those_of_each() -> None:
    targets, means = np.array([1.0, 2, 5]), np.random.default_rng(0).normal(size=(7, 3))
    assert np.allclose(pearson(targets, means), [np.corrcoef(targets, m)[0, 1] for m in means])
    assert np.allclose(slope(targets, means), [np.polyfit(targets, m, 1)[0] for m in means])
    assert np.isnan(pearson(targets, np.ones(3)))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        tracking = Tracking("x", (1.0, 2.0, 3.0), np.array([1.0, 2, 3])[:, None] + rng.normal(size=(3, 24)))
        low, high = tracking.of(slope)
        hits += low <= 1.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_report_names_every_number_with_its_interval(tmp_path: Path) -> None:
    tracking = Tracking("x", (10.0, 20.0, 30.0), np.array([[9.0, 11], [19, 23], [21, 21]]))
    found = json.loads(json.dumps(numbers(tracking, Reference(0, 50, "given", "given")), allow_nan=False))
    assert found["targets"] == [10, 20, 30] and found["achieved"]["mean"] == [10, 21, 21]
    assert found["normalised"]["mean"] == [20, 42, 42]
    for name in ("pearson", "slope", "saturation"):
        assert found[name]["interval"][0] <= found[name]["value"] <= found[name]["interval"][1]
    assert found["saturation"]["value"] == 20 and found["saturation"]["reached"]
    single = numbers(Tracking("x", (10.0,), np.array([[9.0, 11]])), Reference(0, 50, "given", "given"))
    assert single["pearson"] == {"value": None, "interval": [None, None]}
    console = Console(width=120, record=True, quiet=True)
    console.print(table(tracking, Reference(0, 50, "a", "b"), (9, 25)))
    draw(tmp_path / "a.png", {"one": tracking}, (9, 25), [9, 25])
    assert opened(tmp_path / "a.png")[0] > 300


# -- targets and the run


def test_targets_are_supported_or_warned_about() -> None:
    returns = np.arange(101.0)
    assert parse_targets("auto", returns) == ((5, 23, 41, 59, 77, 95), [])
    assert parse_targets("auto", np.zeros(9))[0] == (0,)
    asked, warnings = parse_targets("50, -3,200", returns)
    assert asked == (-3, 50, 200) and len(warnings) == 2 and "out of support" in warnings[0]
    for wrong in ("x", "1,", "nan"):
        with pytest.raises(ConfigError, match="--targets"):
            parse_targets(wrong, returns)


def test_a_run_tells_its_environment_and_data(run: Run) -> None:
    subject = subject_of(run)
    assert subject.env == WORLD and subject.task == "go" and subject.discrete
    returns = episode_returns(subject.episodes())
    assert len(returns) == 27 and returns.min() == -20
    other = [*subject.episodes()[1:], subject.episodes()[0]]
    assert fingerprint(subject.episodes()) == fingerprint(subject_of(run).episodes()) != fingerprint(other)
    with pytest.raises(ConfigError, match="did you mean 'go'"):
        subject_of(run, "goo")
    drawn = [rollout(policy_of(run, seed), WORLD, [-3.0], 3).returns for seed in (0, 0)]
    assert np.array_equal(*drawn)


def test_a_flat_curve_is_warned_about_only_where_actions_could_be_drawn(run: Run) -> None:
    flat, steep = (Tracking("x", (0.0, 10.0), np.array([[0.0], [by]])) for by in (1.0, 9.0))
    subject = subject_of(run)
    assert "leave out --greedy" in (flattened(flat, subject, True) or "")
    assert flattened(flat, subject, False) is None and flattened(steep, subject, True) is None


# -- looking


def test_our_worlds_draw_what_changes() -> None:
    for world in (WORLD, "omnitok/KeyToDoor-v0"):
        env = make(world, render_mode="rgb_array")
        env.reset(seed=1)
        first = env.render()
        assert first.shape == (scenes.SIDE, scenes.SIDE, 3) and first.dtype == np.uint8
        env.step(int(env.unwrapped.neighbours()[0]) if world == WORLD else 0)
        assert (env.render() != first).any()


def test_a_film_shows_what_was_asked(run: Run, tmp_path: Path) -> None:
    shown = film.filmed(policy_of(run), WORLD, -4.0, 1_000_000, 50)
    assert shown.earned[0] == 0 and len(shown.frames) == len(shown.earned) == len(set(shown.earned))
    path = film.save(tmp_path / "a.gif", film.drawn(shown, -4.0), shown.rate)
    assert opened(path)[1] == len(shown.frames)
    assert all(np.ptp(np.asarray(f)[: film.BAND]) > 0 for f in film.drawn(shown, -4.0))
    with pytest.raises(ConfigError, match=r"\.gif or an \.mp4"):
        film.save(tmp_path / "a.avi", [], 3)


def test_mp4_without_its_library_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match=r"omnitok\[film\]"):
        film.save(tmp_path / "a.mp4", [Image.new("RGB", (4, 4))], 3)


def test_attention_is_a_causal_distribution_and_follows_the_window(run: Run, tmp_path: Path) -> None:
    policy = policy_of(run)
    rollout(policy, WORLD, [-20.0], 1)
    document = policy.window.document()
    tokens = document.main
    assert len(tokens) <= 12 and sorted(set(tokens.spans[0].axes["step"].tolist()))[-1] == policy.window.step - 1
    layers = gaze.attention(run.model, document)
    assert len(layers) == 2
    for weights in layers:
        assert torch.allclose(weights.sum(1), torch.ones(len(tokens)), atol=1e-5)
        assert weights.triu(1).abs().max() < 1e-7
    gaze.draw(tmp_path / "a.png", layers, tokens, 3)
    assert opened(tmp_path / "a.png")[0] > 300


# -- commands


def test_eval_writes_table_numbers_and_picture(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [str(tmp_path / name) for name in ("a.json", "a.png")]
    options = ["--targets=-4,-9", "--episodes", "3", "--json", where[0], "--picture", where[1], "--reference=-20,-1"]
    assert command(["rl", "eval", str(trained), *options]) == 0
    printed, found = capsys.readouterr().out, json.loads(Path(where[0]).read_text())
    assert "Pearson" in printed and "step 3" in printed and "given" in printed
    assert {"targets", "achieved", "pearson", "slope", "saturation", "normalised"} <= set(found)
    assert found["targets"] == [-9, -4] and np.shape(found["achieved"]["returns"]) == (2, 3)
    assert found["checkpoint"] == {"step": 3, "which": "last"} and len(found["data_sha256"]) == 64
    assert found["actions"] == "drawn" and set(found["versions"]) >= {"omnitok", "torch", "gymnasium"}
    assert command(["rl", "eval", str(trained), *options]) == 0
    again: dict[str, Any] = json.loads(Path(where[0]).read_text())
    assert again["achieved"] == found["achieved"]
    assert command(["rl", "eval", str(trained), "--targets=5", "--episodes", "2", "--greedy"]) == 0
    assert "out of support" in capsys.readouterr().out


def test_watch_writes_a_film_and_attention(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, looks = tmp_path / "a.gif", tmp_path / "a.png"
    assert command(["rl", "watch", str(trained), "--target=-4", "-o", str(out), "--attention", str(looks)]) == 0
    assert out.stat().st_size > 1000 and looks.stat().st_size > 1000
    assert "asked -4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--targets", "many"], "write auto"),
        (["eval", "--episodes", "0"], "at least one"),
        (["eval", "--json", "/nowhere/a.json"], "no folder"),
        (["eval", "--reference", "1"], "two numbers"),
        (["eval", "--reference=-20,-1", "--banded"], "every attention has a window"),
        (["eval", "--prompt", "a=b"], "every field in front"),
        (["watch", "--target", "1", "-o", "a.txt"], ".gif or an .mp4"),
        (["watch", "--target", "1", "--env", "None-v0"], "None"),
    ],
)
def test_errors_are_one_line(trained: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["rl", arguments[0], str(trained), *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
