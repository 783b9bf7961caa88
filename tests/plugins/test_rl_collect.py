"""`omnitok rl collect` and `omnitok rl mix`: what is played, what is written, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gym
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_trajectory.collecting import policy_of, rates_of
from omnitok_trajectory.environments import describe, make
from omnitok_trajectory.episode import Episode
from omnitok_trajectory.examples import random_rows
from omnitok_trajectory.files import EpisodeFile
from omnitok_trajectory.minari import MinariEpisodes
from omnitok_trajectory.npz import read_arrays, read_episodes, write_episodes
from omnitok_trajectory.recording import digest
from omnitok_trajectory.rollout import FIRST_SEED
from omnitok_trajectory.scripted import CartPoleMix
from omnitok_trajectory.spaces import parse

from omnitok import cli
from omnitok.errors import ConfigError, InputError

COLLECTED = ("CartPole-v1", "Pendulum-v1", "omnitok/ShortestPath-v0", "omnitok/KeyToDoor-v0")


def rl(*arguments: Any) -> int:
    return cli.run(["rl", *map(str, arguments)])


def collect(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    assert rl("collect", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
pytest.importorskip("pyarrow")


@pytest.mark.parametrize("format", ["hdf5", "arrow"])
@pytest.mark.parametrize("env", COLLECTED)
def test_what_is_collected_is_read_back(env: str, format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = collect(capsys, env, "--episodes", 6, "--mix", "--out", tmp_path / "set", "--format", format)
    dataset = MinariEpisodes(dataset=str(tmp_path / "set"))
    episodes = dataset.episodes()
    returns = [e.rewards.sum() for e in episodes]
    assert said["sha256"] == digest(episodes) and said["env"] == env == dataset.metadata()["env"]
    assert (said["episodes"], said["steps"]) == (6, sum(map(len, episodes)))
    assert [said[f"return_{k}"] for k in ("min", "mean", "max")] == [min(returns), np.mean(returns), max(returns)]
    assert said["terminated"] == sum(e.terminated for e in episodes) and said["truncated"] == sum(e.truncated for e in episodes)
    own, made = minari.MinariDataset(tmp_path / "set" / "data"), make(env)
    assert own.storage.metadata["data_format"] == format and not own.storage.jpeg_encoding
    for episode, noted in zip(episodes, own.storage.get_episode_metadata(range(6)), strict=True):
        assert noted["seed"] < FIRST_SEED and np.array_equal(made.reset(seed=noted["seed"])[0], episode.observations[0])


def test_the_scripted_mix_is_the_data_set_of_that_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = collect(capsys, "CartPole-v1", "--episodes", 20, "--mix", "--seed", 3, "--out", tmp_path / "set")
    assert said["sha256"] == digest(CartPoleMix(count=20, seed=3).episodes())
    again = collect(capsys, "CartPole-v1", "--episodes", 20, "--mix", "--seed", 3, "--out", tmp_path / "other")
    other = collect(capsys, "CartPole-v1", "--episodes", 20, "--mix", "--seed", 4, "--out", tmp_path / "third")
    assert again["sha256"] == said["sha256"] != other["sha256"]


def test_quality_decides_and_random_is_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"best": (), "half": ("--quality", 0.5), "none": ("--quality", 0), "random": ("--policy", "random")}
    means = {
        name: collect(capsys, "CartPole-v1", "--episodes", 20, *more, "--out", tmp_path / name)["return_mean"]
        for name, more in options.items()
    }
    assert means["best"] == 500 > means["half"] > 2 * means["none"] and abs(means["random"] - means["none"]) < 15


def test_any_environment_is_collected_at_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, env in enumerate(("Blackjack-v1", "FrozenLake-v1", "Acrobot-v1", "MountainCarContinuous-v0")):
        said = collect(capsys, env, "--policy", "random", "--episodes", 2, "--out", tmp_path / str(i))
        assert said["sha256"] == digest(MinariEpisodes(dataset=str(tmp_path / str(i))).episodes())


def test_the_table_says_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rl("collect", COLLECTED[3], "--episodes", 3, "--out", tmp_path / "set") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("written", str(tmp_path / "set"), "episodes", "return mean", "sha256"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CartPole-v1", "--policy", "best"), "no policy 'best'; there are scripted, random and sb3:FILE"),
        (("Acrobot-v1",), "no scripted controller for 'Acrobot-v1'"),
        (("CartPole-v7",), "no scripted controller for 'CartPole-v7'"),
        (("CartPole-v7", "--policy", "random"), "env 'CartPole-v7'"),
        (("os:CartPole-v1", "--policy", "random"), "names a module"),
        (("CartPole-v1", "--mix", "--quality", 1), "leave --quality out"),
        (("CartPole-v1", "--policy", "random", "--mix"), "a random policy has no quality"),
        (("CartPole-v1", "--quality", 1.5), "Must be <= 1"),
        (("CartPole-v1", "--seed", 10), "Must be <= 9"),
        (("CartPole-v1", "--episodes", 100_001), "at most 100000 episodes"),
    ],
)
def test_what_cannot_be_collected_is_one_line(
    arguments: tuple[Any, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rl("collect", *arguments, "--out", tmp_path / "set") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


def test_an_environment_behind_an_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise gymnasium.error.DependencyNotInstalled("MuJoCo is not installed")

    monkeypatch.setattr(gymnasium, "make", missing)
    with pytest.raises(ConfigError, match=r"'Hopper-v5' needs more than is installed: pip install \"omnitok\[rl\]\""):
        make("Hopper-v5")


def test_nothing_is_overwritten_and_nothing_is_played_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = collect(capsys, COLLECTED[2], "--episodes", 3, "--out", tmp_path / "set")
    assert rl("collect", COLLECTED[2], "--episodes", 3, "--out", tmp_path / "set", "--seed", 1) == 2
    assert "`--force` replaces it" in capsys.readouterr().err
    assert digest(MinariEpisodes(dataset=str(tmp_path / "set")).episodes()) == first["sha256"]
    assert collect(capsys, COLLECTED[2], "--seed", 1, "--out", tmp_path / "set", "--force")["sha256"] != first["sha256"]


# -- .npz

LEAVES = [
    gym.Box(-1, 1, (2,), np.float32),
    gym.Box(0, 255, (5, 4, 3), np.uint8),
    gym.Discrete(5),
    gym.MultiDiscrete([2, 3]),
    gym.MultiBinary(2),
]
trees = st.recursive(
    st.sampled_from(LEAVES),
    lambda below: st.one_of(
        st.lists(below, min_size=1, max_size=3).map(gym.Tuple),
        st.dictionaries(st.sampled_from("abc"), below, min_size=1, max_size=2).map(gym.Dict),
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=30)
@given(observed=trees, acted=trees, seed=st.integers(0, 99))
def test_episodes_of_every_space_survive_a_file(tmp_path_factory: Any, observed: Any, acted: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, done = (parse(describe(space), "space") for space in (observed, acted))
    episodes = [
        Episode(random_rows(seen, n + 1, rng), random_rows(done, n, rng), rng.normal(size=n), bool(n % 2), n % 2 == 0)
        for n in rng.integers(1, 6, 7).tolist()
    ]
    path = tmp_path_factory.mktemp("npz") / "episodes.npz"
    write_episodes(path, episodes, mark=np.arange(7))
    assert read_episodes(path, 1 << 28) == episodes
    assert read_arrays(path, 1 << 28)["mark"].tolist() == list(range(7))
    assert [p.name for p in path.parent.iterdir()] == ["episodes.npz"]


# -- stable-baselines3

has_sb3 = pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is None, reason="needs the extra sb3")


def test_without_the_extra_its_name_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    for arguments in (
        ("mix", "CartPole-v1", "--out", tmp_path / "a.npz"),
        ("collect", "CartPole-v1", "--policy", "sb3:a", "--out", tmp_path / "a"),
    ):
        assert rl(*arguments) == 2
        assert 'pip install "omnitok[sb3]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_mixes_that_cannot_be_written_are_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.npz").write_bytes(b"mine")
    for more, message in {
        ("--out", tmp_path / "a.npz"): "`--force` replaces it",
        ("--out", tmp_path / "a.txt"): "ends in .npz",
        ("--out", tmp_path / "b.npz", "--steps", 3): "8 checkpoints need as many steps, got 3",
    }.items():
        assert rl("mix", "CartPole-v1", *more) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "a.npz").read_bytes() == b"mine"


def test_quality_and_policies_by_name() -> None:
    assert rates_of("scripted", 3, None, False) == (0.0,) * 3 and rates_of("scripted", 2, 0.25, False) == (0.75,) * 2
    mixed = rates_of("scripted", 9, None, True)
    assert mixed[0] == 0 and mixed[-1] == 1 and list(mixed) == sorted(mixed)
    with pytest.raises(ConfigError, match="no policy 'sb3:'"):
        policy_of("sb3:", "CartPole-v1")


@has_sb3
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "omnitok/KeyToDoor-v0"])
def test_a_mix_is_played_by_its_checkpoints(env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mix.npz"
    steps = 600 if env == "Pendulum-v1" else 3000
    assert rl("mix", env, "--out", out, "--steps", steps, "--checkpoints", 2, "--episodes", 3, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    episodes = EpisodeFile(path=str(out), env=env).episodes()
    assert digest(episodes) == said["sha256"] and len(episodes) == said["episodes"] == 9
    arrays = read_arrays(out, 1 << 28)
    assert len(arrays["observations"]) == len(arrays["rewards"]) + 9 and len(set(arrays["checkpoint"].tolist())) == 3
    made = make(env)
    for i, episode in enumerate(episodes):
        seen = [made.reset(seed=i)[0], *(made.step(action)[0] for action in episode.actions)]
        assert np.array_equal(seen, episode.observations)
    saved = sorted((tmp_path / "mix.checkpoints").iterdir())
    assert len(saved) == 2
    pytest.importorskip("minari")
    best = collect(capsys, env, "--policy", f"sb3:{saved[-1]}", "--episodes", 2, "--out", tmp_path / "set")
    assert best["sha256"] == digest(MinariEpisodes(dataset=str(tmp_path / "set")).episodes())
    other = "Pendulum-v1" if env != "Pendulum-v1" else "CartPole-v1"
    with pytest.raises(ConfigError, match="was trained with other spaces"):
        policy_of(f"sb3:{saved[-1]}", other)(make(other), 0.0, np.random.default_rng(0))


@has_sb3
def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.zip", data=np.zeros(3))
    for name, message in {"a.zip.npz": "not a model that", "none.zip": "there is no such file"}.items():
        with pytest.raises(InputError, match=message):
            policy_of(f"sb3:{tmp_path / name}", "CartPole-v1")
