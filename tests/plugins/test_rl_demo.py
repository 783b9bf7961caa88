"""The demo's recipes are recipes, its settings fit them, and stretched actions are what the environment was played with."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omnitok_trajectory.environments import make
from omnitok_trajectory.files import EpisodeFile
from omnitok_trajectory.scripted import PendulumMix

from omnitok.errors import ConfigError
from omnitok.recipe import load_recipe

DEMOS = Path(__file__).parents[2] / "demos"
RECIPES = sorted((DEMOS / "decision_transformer").glob("*.toml"))


@pytest.fixture(scope="module")
def demo() -> dict[str, Any]:
    sys.path.insert(0, str(DEMOS))
    try:
        return runpy.run_path(str(DEMOS / "decision_transformer.py"), run_name="demo")
    finally:
        sys.path.remove(str(DEMOS))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_read_and_ask_for_actions(path: Path) -> None:
    recipe = load_recipe(path)
    (task,) = recipe.tasks
    ((_, instance, field),) = task.fields()
    assert (recipe.plugin(instance), field, task.objective.on) == ("trajectory", "episode", f"{instance}/action")  # type: ignore[attr-defined]


def test_every_setting_has_a_recipe_and_an_environment(demo: dict[str, Any]) -> None:
    for name, setting in demo["SETTINGS"].items():
        assert (DEMOS / "decision_transformer" / f"{name.replace('-', '_')}.toml").exists()
        make(setting.env).close()
        assert bool(setting.targets) != (setting.success is not None)


def test_episodes_are_asked_for_the_best_from_where_they_start(demo: dict[str, Any]) -> None:
    told: list[list[float]] = []

    class Listener:
        def reset(self, n: int) -> None: ...

        def act(self, rows: Any, returns_to_go: np.ndarray, observations: Any) -> list[int]:
            told.append(returns_to_go.tolist())
            return [0] * len(rows)

    policy = demo["BestFromHere"](Listener(), {np.int64(3).tobytes(): -2.0, np.int64(4).tobytes(): -7.0})
    policy.reset(3)
    policy.act([0, 1, 2], np.zeros(3), [np.int64(4), np.int64(3), np.int64(9)])
    policy.act([0, 2], np.array([1.0, 1.0]), [np.int64(3), np.int64(4)])  # the target of the start stays
    assert told == [[-7.0, -2.0, -2.0], [-6.0, -1.0]]


def test_unit_actions_are_stretched_to_the_space(tmp_path: Path) -> None:
    episodes = PendulumMix(count=3).episodes()
    parts = {
        "observations": np.concatenate([e.observations for e in episodes]),
        "rewards": np.concatenate([e.rewards for e in episodes]),
        "lengths": np.array([len(e) for e in episodes]),
    }
    np.savez(tmp_path / "half.npz", actions=np.concatenate([e.actions for e in episodes]) / 2, **parts)
    read = EpisodeFile(path=str(tmp_path / "half.npz"), env="Pendulum-v1", unit_actions=True).episodes()
    assert all(
        np.array_equal(a.actions, b.actions) and a.actions.dtype == np.float32 for a, b in zip(read, episodes, strict=True)
    )
    with pytest.raises(ConfigError, match="finite bounds"):
        EpisodeFile(path=str(tmp_path / "half.npz"), unit_actions=True).episodes()


def test_the_mix_of_pendulum_was_played_with_twice_its_numbers(data_folder: Path) -> None:
    """The file's rewards hold 0.001 of the squared torque: they tell which torque it was."""
    path = str(data_folder / "rl" / "pendulum_mix.npz")
    for unit_actions, fits in ((True, True), (False, False)):
        episode = EpisodeFile(path=path, env="Pendulum-v1", unit_actions=unit_actions).episodes()[100]
        cosine, sine, turn = np.asarray(episode.observations, np.float64)[:-1].T
        torque = np.asarray(episode.actions, np.float64)[:, 0]
        cost = np.arctan2(sine, cosine) ** 2 + 0.1 * turn**2 + 0.001 * torque**2
        assert np.allclose(-cost, episode.rewards, atol=1e-4) == fits
