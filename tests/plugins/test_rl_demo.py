"""The demo's recipes are recipes, its settings fit them, and stretched actions are what the environment was played with."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omnitok_trajectory.environments import make
from omnitok_trajectory.files import EpisodeFile
from omnitok_trajectory.prompted import PROMPTS, PromptedEpisodes
from omnitok_trajectory.rollout import ModelPolicy
from omnitok_trajectory.scripted import PendulumMix
from PIL import Image

from omnitok import load_plugins
from omnitok.batch import collate
from omnitok.errors import ConfigError
from omnitok.recipe import load_recipe, make_recipe
from omnitok.tasks import prepare

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


def test_prompted_episodes_are_played_as_the_words_say() -> None:
    for env in ("CartPole-v1", "Pendulum-v1"):
        dataset = PromptedEpisodes(env=env, count=40)  # type: ignore[arg-type]
        returns: dict[str, list[float]] = {}
        for sample in [*dataset.split("train"), *dataset.split("eval")]:
            returns.setdefault(sample["prompt"], []).append(float(sample["episode"].rewards.sum()))
        assert set(returns) == set(PROMPTS) and all(len(found) == 20 for found in returns.values())
        assert np.mean(returns["an expert player"]) > np.mean(returns["a beginner"]) + 200
        assert dataset.weights("train") == [1.0] * len(dataset.split("train"))
        assert len(dataset.episodes()) == 40


def test_words_in_front_of_an_episode_reach_its_actions() -> None:
    """The prompt is part of the document, the model's answers follow it, and a rollout feeds it first."""
    tasks = prepare(load_recipe(DEMOS / "prompt.toml"), load_plugins())
    sample = tasks.split(tasks.recipe.task("balance"), "train")[0]
    documents = [tasks.document("balance", {**sample, "prompt": prompt}) for prompt in PROMPTS]
    assert documents[0].main.spans[0].channel == "text"
    assert "cartpole/return_to_go" not in {s.channel for s in documents[0].main.spans}
    torch.manual_seed(0)
    model = tasks.build().eval()
    first, second = (model(collate([d], tasks.schema(model)))["balance"] for d in documents)
    assert not torch.allclose(first, second, atol=1e-6)
    words = tasks.encode("text", "prompt", {"prompt": next(iter(PROMPTS))})
    policy = ModelPolicy(tasks.tokenizers["cartpole"], model, prompt=words, greedy=True)  # type: ignore[arg-type]
    policy.reset(1)
    observation = sample["episode"].observations[0]
    (action,) = policy.act([0], np.zeros(1), [observation])
    asked = next(iter(documents[0].asks.values()))
    assert action == int(first[0].argmax()) and asked.rows[0] == len(words)  # the row of the first observation


def test_a_picture_stands_in_front_of_an_episode() -> None:
    """The image plugin's patches and a trajectory in one document: another picture, other answers."""
    plain = {
        "tokenizers": {"image": {}, "cartpole": {"plugin": "trajectory", "max_steps": 500}},
        "tasks": [
            {
                "name": "balance",
                "data": {"name": "trajectory/cartpole-mix", "count": 10},
                "document": [{"image": "goal"}, {"cartpole": "episode"}],
                "objective": {"next": {"on": "cartpole/action"}},
            }
        ],
        "model": {"preset": "decoder", "dim": 32, "depth": 1, "heads": 2},
    }
    tasks = prepare(make_recipe(plain), load_plugins())
    sample = tasks.split(tasks.recipe.task("balance"), "train")[0]
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green")]
    documents = [tasks.document("balance", {**sample, "goal": picture}) for picture in (pictures[0], pictures[0], pictures[1])]
    torch.manual_seed(0)
    model = tasks.build().eval()
    first, same, other = (model(collate([d], tasks.schema(model)))["balance"] for d in documents)
    assert first.shape == other.shape == (len(sample["episode"]), 2)
    assert torch.equal(first, same) and not torch.allclose(first, other, atol=1e-6)
