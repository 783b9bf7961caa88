"""Minari sets in both formats give back every episode as it was played: rows, endings, spaces, pixels."""

from __future__ import annotations

import socket
import time
import urllib.error
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gym
from omnitok_trajectory.environments import describe
from omnitok_trajectory.episode import Episode, tree_map
from omnitok_trajectory.flatten import stack
from omnitok_trajectory.minari import MinariEpisodes
from omnitok_trajectory.recording import FORMATS, digest, place, write_minari
from omnitok_trajectory.scripted import CartPoleMix, PendulumMix
from omnitok_trajectory.spaces import parse
from omnitok_trajectory.tokenizer import TrajectoryTokenizer

from omnitok.errors import ConfigError, InputError

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
pytest.importorskip("pyarrow")

SPACES = {
    "box": gym.Box(-np.inf, np.inf, (3,), np.float64),
    "number": gym.Box(-1, 1, (), np.float32),
    "discrete": gym.Discrete(7, start=-2),
    "multi-discrete": gym.MultiDiscrete([3, 2, 5]),
    "multi-binary": gym.MultiBinary(4),
    "words": gym.Dict({"said": gym.Text(9, min_length=0), "at": gym.Discrete(2)}),
    "picture": gym.Box(0, 255, (33, 40, 3), np.uint8),
    "stack": gym.Box(0, 255, (4, 36, 36), np.uint8),
    "dict": gym.Dict({"eye": gym.Box(0, 255, (32, 32, 3), np.uint8), "arm": gym.Box(-1, 1, (2,)), "mode": gym.Discrete(3)}),
    "tuple": gym.Tuple([gym.Discrete(4), gym.Box(-1, 1, (2, 2)), gym.MultiDiscrete([2, 3])]),
    "nested": gym.Dict({"b": gym.Tuple([gym.Discrete(2), gym.MultiBinary(3)]), "a": gym.Dict({"x": gym.Box(0, 1, (1,))})}),
}


class Drawn(gymnasium.Env):  # type: ignore[misc]
    """Draws observations and rewards; its episodes end in both ways, and after one step too."""

    def __init__(self, observed: gym.Space, acted: gym.Space) -> None:
        self.observation_space, self.action_space = observed, acted

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.left = 1 + (seed or 0) * 5 % 7
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        over, kind = self.left <= 0, self.np_random.integers(2)
        return self.observation_space.sample(), float(self.np_random.normal()), bool(over and kind), bool(over and not kind), {}


def played(env: gymnasium.Env, episodes: int = 12) -> list[Episode]:
    """Episodes noted step by step beside the environment, by nothing of ours but `Episode`."""
    found = []
    for seed in range(episodes):
        seen, done, kept, rewards, over = [env.reset(seed=seed)[0]], [], [], [], False
        env.action_space.seed(seed)
        while not over:
            done.append(env.action_space.sample())
            observation, reward, terminated, truncated, _ = env.step(done[-1])
            seen.append(observation)
            rewards.append(reward)
            kept, over = [terminated, truncated], terminated or truncated
        spaces = (parse(describe(s), "space") for s in (env.observation_space, env.action_space))
        observed, acted = (stack(rows, space) for rows, space in zip((seen, done), spaces, strict=True))
        found.append(Episode(observed, acted, np.array(rewards), *kept))
    assert {len(e) for e in found} == set(range(1, 8)) and {e.truncated for e in found} == {True, False}
    return found


def agree(read: Sequence[Episode], played: Sequence[Episode]) -> bool:
    """The law: every episode, every row, both endings."""
    return len(read) == len(played) and all(a == b for a, b in zip(read, played, strict=True))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", SPACES)
def test_every_episode_comes_back_as_it_was_played(name: str, format: str, tmp_path: Path) -> None:
    acted = gym.Dict({"a": gym.Discrete(3), "b": gym.Box(-1, 1, (2,))}) if name == "dict" else gym.Discrete(3)
    acted = SPACES[name] if name in ("multi-discrete", "tuple", "box") else acted
    env = Drawn(SPACES[name], acted)
    episodes = played(env)
    write_minari(str(tmp_path / "set"), episodes, env, format)
    dataset = MinariEpisodes(dataset=str(tmp_path / "set"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = dataset.episodes()
    assert agree(read, episodes) and digest(read) == digest(episodes)
    spaces = {k: v for k, v in dataset.metadata().items() if k.endswith("_space")}
    tokenizer = TrajectoryTokenizer(**spaces)
    assert all(tokenizer.decode(tokenizer.encode(e)) == e for e in read)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("made", [CartPoleMix(count=20), PendulumMix(count=5)])
def test_sets_of_real_environments_replay(made: Any, format: str, tmp_path: Path) -> None:
    env = gymnasium.make(made.env)
    episodes = made.episodes()
    write_minari(str(tmp_path / "set"), episodes, env, format, seeds=range(len(episodes)))
    dataset = MinariEpisodes(dataset=str(tmp_path / "set"))
    assert agree(dataset.episodes(), episodes) and dataset.metadata()["env"] == made.env
    own = minari.MinariDataset(tmp_path / "set" / "data")
    assert own.recover_environment().spec.id == made.env
    for i, episode in enumerate(dataset.episodes()):
        assert np.array_equal(own[i].observations, episode.observations) and np.array_equal(own[i].rewards, episode.rewards)
        assert np.array_equal(episode.observations[0], env.reset(seed=i)[0])
        for t, action in enumerate(episode.actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            assert np.array_equal(observation, episode.observations[t + 1]) and reward == episode.rewards[t]
        assert (terminated, truncated) == (episode.terminated, episode.truncated)


def shifted(episodes: Sequence[Episode]) -> list[Episode]:
    """What reading T + 1 observations as if they were T does: episode k is shifted by k steps, with no error."""
    rows = np.concatenate([e.observations for e in episodes])
    starts = np.cumsum([0, *(len(e) for e in episodes)])
    return [
        Episode(rows[start : start + len(e) + 1], e.actions, e.rewards, e.terminated, e.truncated)
        for e, start in zip(episodes, starts, strict=False)
    ]


def test_the_law_sees_the_shift_and_every_other_episode_too() -> None:
    episodes = played(Drawn(SPACES["box"], gym.Discrete(3)))
    assert agree(shifted(episodes)[:1], episodes[:1]), "looking at the first episode alone sees nothing"
    assert not any(a == b for a, b in zip(shifted(episodes)[1:], episodes[1:], strict=True))
    for k, e in enumerate(episodes):
        wrong = [
            Episode(tree_map(lambda x: np.roll(x, 1, axis=0), e.observations), e.actions, e.rewards, e.terminated, e.truncated),
            Episode(e.observations, e.actions, e.rewards, e.terminated or e.truncated, False),
            Episode(e.observations[:-1], e.actions, e.rewards, e.terminated, e.truncated),
        ]
        for other in wrong[: 2 if e.truncated else 1] + wrong[2:]:
            assert not agree([*episodes[:k], other, *episodes[k + 1 :]], episodes)


@pytest.mark.parametrize("format", FORMATS)
def test_pictures_kept_as_jpeg_warn_once_by_name(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minari.data_collector.episode_buffer import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = Drawn(SPACES["dict"] if format == "hdf5" else SPACES["picture"], gym.Discrete(3))
    episodes = played(env)
    buffers = [
        EpisodeBuffer(
            observations=e.observations,
            actions=e.actions,
            rewards=e.rewards,
            terminations=np.zeros(len(e), bool),
            truncations=np.ones(len(e), bool),
        )
        for e in episodes
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari's advice to name an author
        minari.create_dataset_from_buffers(
            f"lossy/{format}-v0",
            buffers,
            data_format=format,
            observation_space=env.observation_space,
            action_space=env.action_space,
        )
    with pytest.warns(UserWarning, match=f"'lossy/{format}-v0' holds its pictures as JPEG"):
        read = MinariEpisodes(dataset=f"lossy/{format}-v0").episodes()
    assert not agree(read, episodes) and [len(e) for e in read] == [len(e) for e in episodes]
    assert not any(e.terminated for e in read) and all(e.truncated for e in read)
    MinariEpisodes(dataset=f"lossy/{format}-v0").episodes()  # a second warning would be an error here


@pytest.mark.parametrize("format", FORMATS)
def test_a_set_that_lost_a_step_or_an_episode_is_refused(format: str, tmp_path: Path) -> None:
    from minari.dataset.minari_storage import MinariStorage

    env = Drawn(SPACES["box"], gym.Discrete(3))
    folder = write_minari(str(tmp_path / "set"), played(env), env, format)
    storage = MinariStorage.read(folder / "data")
    storage.update_episode_metadata([{"total_steps": 99}], [4])
    with pytest.raises(InputError, match=r"episode 4: 99 steps were written, .* can be read"):
        MinariEpisodes(dataset=str(folder)).episodes()


def test_nothing_is_overwritten_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    env = Drawn(SPACES["box"], gym.Discrete(3))
    episodes = played(env)
    assert place("mine/drawn-v3") == ("mine/drawn-v3", tmp_path / "minari" / "mine" / "drawn-v3")
    assert place("here/it is")[0] == "it-is-v0"
    for out in ("mine/drawn-v3", str(tmp_path / "folder"), "./beside", "down/here"):
        folder = write_minari(out, episodes[:3], env)
        with pytest.raises(ConfigError, match="is there already; `--force` replaces it"):
            write_minari(out, episodes, env)
        assert len(minari.MinariDataset(folder / "data")) == 3
        write_minari(out, episodes, env, "arrow", force=True)
        assert agree(MinariEpisodes(dataset=out).episodes(), episodes)
        assert not [p for p in folder.parent.iterdir() if p.name.startswith(".omnitok")]
    assert minari.load_dataset("mine/drawn-v3").total_episodes == len(episodes)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letters.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is no Minari data set"):
        write_minari(str(tmp_path / "other"), episodes, env, force=True)
    with pytest.raises(ConfigError, match="no format 'csv'"):
        write_minari(str(tmp_path / "new"), episodes, env, "csv")


def test_an_unfinished_set_leaves_what_was_there(tmp_path: Path) -> None:
    env = Drawn(SPACES["box"], gym.Discrete(3))
    episodes = played(env)
    folder = write_minari(str(tmp_path / "set"), episodes, env)
    broken = [*episodes[:2], Episode(np.zeros((3, 9)), episodes[0].actions, episodes[0].rewards)]
    with pytest.raises(AssertionError):  # Minari's
        write_minari(str(folder), broken, env, "arrow", force=True)
    assert agree(MinariEpisodes(dataset=str(folder)).episodes(), episodes)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_set_that_is_not_here_says_so_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"none/there-v0 not found locally .* Set `download = true`"):
        MinariEpisodes(dataset="none/there-v0").episodes()

    def unreachable(*_: Any, **__: Any) -> Any:
        raise urllib.error.URLError(socket.gaierror("no address"))

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    begin = time.perf_counter()
    with pytest.raises(ConfigError, match=r"'none/there-v0' is not on this machine, and https://\S+ cannot be reached"):
        MinariEpisodes(dataset="none/there-v0", download=True).metadata()
    assert time.perf_counter() - begin < 5


@pytest.mark.net
def test_a_remote_set_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = MinariEpisodes(dataset="D4RL/pen/human-v2", download=True)
    assert len(dataset.episodes()) == 25 and all(len(e.observations) == len(e) + 1 for e in dataset.episodes())
