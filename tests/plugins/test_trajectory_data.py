"""Episodes from scripted controllers, files, Minari and a robot arm, and rollouts of policies."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from omnitok_trajectory.bridge import Bridge
from omnitok_trajectory.controllers import balance
from omnitok_trajectory.datasets import best_of
from omnitok_trajectory.episode import Episode
from omnitok_trajectory.files import EpisodeFile, PendulumCheckpoints
from omnitok_trajectory.minari import aligned
from omnitok_trajectory.npz import read_arrays
from omnitok_trajectory.rollout import FIRST_SEED, rollout
from omnitok_trajectory.scripted import CartPoleMix, PendulumMix, scripted
from omnitok_trajectory.tokenizer import TrajectoryTokenizer
from omnitok_trajectory.tracking import Tracking

from omnitok import load_plugins
from omnitok.errors import ConfigError, InputError


def concatenated(episodes: Sequence[Episode]) -> dict[str, np.ndarray]:
    """The arrays of a file of these episodes."""
    return {
        "observations": np.concatenate([e.observations for e in episodes]),
        "actions": np.concatenate([e.actions for e in episodes]),
        "rewards": np.concatenate([e.rewards for e in episodes]),
        "lengths": np.array([len(e) for e in episodes]),
        "terminated": np.array([e.terminated for e in episodes]),
        "truncated": np.array([e.truncated for e in episodes]),
    }


def replayed(env: str, episode: Episode, first: int) -> bool:
    """Whether the observations follow from the actions in the environment, from `reset(seed=first)` on."""
    made = gymnasium.make(env, disable_env_checker=True)
    observation, _ = made.reset(seed=first)
    for t, action in enumerate(episode.actions):
        if not np.array_equal(observation, episode.observations[t]):
            return False
        observation, *_ = made.step(action)
    made.close()
    return np.array_equal(observation, episode.observations[len(episode)])


# -- scripted


@pytest.mark.parametrize("dataset", [CartPoleMix(count=20), PendulumMix(count=6)])
def test_scripted_episodes_are_aligned_every_one(dataset: Any) -> None:
    episodes = dataset.episodes()
    tokenizer = TrajectoryTokenizer(**{k: v for k, v in dataset.metadata().items() if k in TrajectoryTokenizer.config_fields()})
    for i, raw in enumerate(episodes):
        assert raw.terminated != raw.truncated
        assert tokenizer.decode(tokenizer.encode(raw)) == raw
        assert replayed(dataset.env, raw, i)


def test_scripted_episodes_are_deterministic_mixed_and_split_by_episode() -> None:
    dataset = CartPoleMix(count=60)
    again = scripted.__wrapped__("CartPole-v1", dataset.rates(), dataset.seed)
    assert all(a == b for a, b in zip(dataset.episodes(), again, strict=True))
    assert CartPoleMix(count=60, seed=1).episodes() != dataset.episodes()
    returns = [e.rewards.sum() for e in dataset.episodes()]
    assert min(returns) < 30 and max(returns) == 500 and np.std(returns) > 100
    train, held = dataset.split("train"), dataset.split("eval")
    assert len(train) == 54 and len(held) == 6
    assert not {id(s["episode"]) for s in train} & {id(s["episode"]) for s in held}
    assert dataset.weights("eval") == [len(s["episode"]) for s in held]
    with pytest.raises(ConfigError, match="no split 'test'"):
        dataset.split("test")


def test_the_best_share_is_taken_of_the_training_episodes_only() -> None:
    whole, best = CartPoleMix(count=60), CartPoleMix(count=60, best=0.1)
    train, kept = ([s["episode"] for s in d.split("train")] for d in (whole, best))
    assert len(kept) == 5 and kept == [e for e in train if any(e is k for k in kept)]
    assert min(e.rewards.sum() for e in kept) >= max(e.rewards.sum() for e in train if not any(e is k for k in kept))
    assert best.split("eval") == whole.split("eval")
    assert list(best.weights("train")) == [len(e) for e in kept]
    assert {k: v for k, v in best.metadata().items() if k not in whole.metadata()} == {
        "best": 0.1,
        "best_episodes": 5,
        "best_lowest_return": 500.0,
    }
    assert len(CartPoleMix(count=3, best=0.01).split("train")) == 1
    assert load_plugins(only=["trajectory"]).dataset("trajectory/cartpole-mix", count=60, best=0.1) == best
    with pytest.raises(ConfigError, match="best"):
        load_plugins(only=["trajectory"]).dataset("trajectory/cartpole-mix", best=0)


def test_of_equal_returns_the_first_episode_is_kept() -> None:
    rows = np.zeros((2, 4), np.float32), np.zeros(2, np.int64)
    samples = [{"episode": Episode(*rows, np.array([value, 0.0]))} for value in (1, 3, 3, 2)]
    assert [s is samples[1] for s in best_of(samples, 0.25)] == [True]
    assert [i for i, s in enumerate(samples) for k in best_of(samples, 0.75) if k is s] == [1, 2, 3]


# -- files


def test_a_file_gives_back_every_episode(tmp_path: Path) -> None:
    episodes = CartPoleMix(count=20).episodes()
    np.savez_compressed(tmp_path / "many.npz", **concatenated(episodes))
    dataset = EpisodeFile(path=str(tmp_path / "many.npz"), env="CartPole-v1")
    assert list(dataset.episodes()) == list(episodes)
    np.savez(tmp_path / "one.npz", **concatenated(episodes[5:6]))
    assert TrajectoryTokenizer().read(tmp_path / "one.npz") == episodes[5]
    with pytest.raises(InputError, match="holds 20 episodes; read it as the dataset"):
        TrajectoryTokenizer().read(tmp_path / "many.npz")


def test_spaces_are_read_off_arrays_and_parts_off_names(tmp_path: Path) -> None:
    steps = {"observations/arm": np.zeros((3, 2)), "observations/eye": np.ones((3, 4, 4, 1), np.uint8)}
    np.savez(tmp_path / "tree.npz", **steps, actions=np.array([[2], [4], [3]], np.int8), rewards=np.ones(3))
    dataset = EpisodeFile(path=str(tmp_path / "tree.npz"))
    spaces = dataset.metadata()
    assert spaces["action_space"] == {"type": "Discrete", "n": 5, "start": 0}
    tokenizer = TrajectoryTokenizer(observation_space=spaces["observation_space"], action_space=spaces["action_space"])
    (raw,) = dataset.episodes()
    assert raw.observations["eye"].dtype == np.uint8 and raw.actions.shape == (3,)
    assert tokenizer.decode(tokenizer.encode(raw)) == raw


def test_flags_per_step_and_starts_are_understood(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "starts.npz",
        obs=np.arange(5.0)[:, None],
        actions=np.zeros((5, 1), np.int8),
        rewards=np.ones(5),
        episode_starts=np.array([1, 0, 1, 0, 0], bool),
        terminations=np.array([0, 1, 0, 0, 0], bool),
        truncations=np.array([0, 0, 0, 0, 1], bool),
    )
    first, second = EpisodeFile(path=str(tmp_path / "starts.npz")).episodes()
    assert (len(first), first.terminated, first.truncated) == (2, True, False)
    assert (len(second), second.terminated, second.truncated) == (3, False, True)
    assert second.observations[:, 0].tolist() == [2, 3, 4]


def _bomb() -> bytes:
    """An array that says it holds 8 TB."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    return head.getvalue() + bytes(64)


def _archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return out.getvalue()


def _saved(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a readable .npz"),
        (b"PK\x03\x04rubbish", "not a readable .npz"),
        (_archive(actions=_bomb()), "says 8000000000000 bytes"),
        (_archive(actions=b"\x93NUMPY\x01\x00\xff\xff("), "not a readable .npz"),
        (_saved(actions=np.array([{}], object)), "Python objects"),
        (_saved(actions=np.zeros(1 << 20)), r"bytes unpacked; the limit is 1048576 \(max_bytes\)"),
        (_saved(actions=np.zeros(3)), "no array observations and no rewards; it holds actions"),
        (_saved(observations=np.zeros(5), actions=np.zeros(3), rewards=np.zeros(3)), "observations: 5 rows .* 3 or 4"),
        (_saved(observations=np.zeros(3), actions=np.zeros(3), rewards=np.zeros(3), lengths=np.array([-1, 4])), "`lengths`"),
        (_saved(observations=np.float64(0), actions=np.zeros(3), rewards=np.zeros(3)), "observations: no rows"),
        (_saved(observations=np.zeros(3), actions=np.zeros(3), rewards=np.zeros(3), truncated=np.zeros(2)), "`truncated` has 2"),
        (_saved(observations=np.zeros(3), actions=np.zeros(3), rewards=np.array(["a"] * 3)), "rewards must be one number"),
    ],
)
def test_bad_files_end_in_one_clear_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        TrajectoryTokenizer(max_bytes=1 << 20).read(path)
    assert "bad.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_cut_or_altered_never_gives_a_shorter_episode(tmp_path: Path) -> None:
    raw = CartPoleMix(count=20).episodes()[15]
    whole, path = _saved(**concatenated([raw])), tmp_path / "one.npz"
    rng, refused, kept = np.random.default_rng(0), 0, 0
    for _ in range(60):
        data = bytearray(whole)
        if rng.random() < 0.5:
            data = data[: rng.integers(len(data))]
        else:
            data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            read = TrajectoryTokenizer().read(path)
        except InputError as error:
            refused += "one.npz" in str(error)
        else:
            kept += 1
            assert len(read) == len(raw) and np.array_equal(read.observations, raw.observations)
    assert refused + kept == 60 and refused > 30


def test_a_missing_file_names_the_folder_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMNITOK_DATA", raising=False)
    with pytest.raises(ConfigError, match="set OMNITOK_DATA"):
        EpisodeFile(path="rl/nowhere.npz").episodes()


def pendulum_law(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """Every next observation and reward, from Pendulum's equations of motion."""
    cosine, sine, turn = episode.observations[:-1].astype(np.float64).T
    angle, torque = np.arctan2(sine, cosine), np.clip(episode.actions[:, 0], -2, 2)
    turned = np.clip(turn + (15 * np.sin(angle) + 3 * torque) * 0.05, -8, 8)
    moved = angle + turned * 0.05
    return np.stack([np.cos(moved), np.sin(moved), turned], 1), -(angle**2 + 0.1 * turn**2 + 0.001 * torque**2)


def test_every_step_of_the_checkpoints_obeys_pendulum() -> None:
    dataset = load_plugins(only=["trajectory"]).dataset("trajectory/pendulum-checkpoints")
    episodes = dataset.episodes()
    assert isinstance(dataset, PendulumCheckpoints) and [len(e) for e in episodes] == [200] * 340
    for episode in episodes:
        seen, rewards = pendulum_law(episode)
        assert np.allclose(seen, episode.observations[1:], atol=2e-6) and np.allclose(rewards, episode.rewards, atol=2e-6)
    returns = [e.rewards.sum() for e in episodes]
    assert abs(np.mean(returns) + 680) < 1 and max(returns) > -5 and min(returns) < -1600
    facts = dataset.metadata()
    assert facts["licence"].startswith("Apache-2.0") and facts["env"] == "Pendulum-v1" and "stable-baselines3" in facts["source"]
    shifted = Episode(episodes[1].observations[1:], episodes[1].actions[1:], episodes[1].rewards[:-1])
    assert not np.allclose(pendulum_law(shifted)[1], shifted.rewards, atol=0.1), "the law sees a shift"


def test_the_shipped_checkpoints_are_the_file_of_the_data_folder(data_folder: Path) -> None:
    path = str(data_folder / "rl" / "pendulum_mix.npz")
    assert PendulumCheckpoints().episodes() == EpisodeFile(path=path, env="Pendulum-v1", unit_actions=True).episodes()


def test_every_step_of_the_cartpole_mix_obeys_cartpole(data_folder: Path) -> None:
    made = gymnasium.make("CartPole-v1").unwrapped
    for episode in EpisodeFile(path=str(data_folder / "rl" / "cartpole_mix.npz"), env="CartPole-v1").episodes():
        made.reset(seed=0)
        for t in range(0, len(episode), 7):
            made.state, made.steps_beyond_terminated = episode.observations[t].astype(float), None
            assert np.allclose(made.step(int(episode.actions[t]))[0], episode.observations[t + 1], atol=1e-5)


# -- Minari


def test_minari_episodes_that_are_out_of_step_are_refused() -> None:
    flags = np.zeros(3, bool)
    data = SimpleNamespace(
        id=7, observations=np.zeros((4, 2)), actions=np.zeros(3), rewards=np.zeros(3), terminations=flags, truncations=flags
    )
    assert len(aligned("set", data)) == 3
    for change in ({"observations": np.zeros((3, 2))}, {"actions": {"a": np.zeros(3), "b": np.zeros(4)}}):
        with pytest.raises(InputError, match="'set', episode 7: 3 rewards need 4 observations"):
            aligned("set", SimpleNamespace(**{**vars(data), **change}))


# -- rolling out


class Scripted:
    """Balances for as many steps as the return-to-go asks, then falls."""

    def reset(self, n: int) -> None:
        self.left = np.full(n, -1.0)

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> list[int]:
        return [balance(o) if r > 9 else int(o[2] < 0) for r, o in zip(returns_to_go, observations, strict=True)]


def test_a_rollout_follows_a_policy_that_obeys() -> None:
    tracking = rollout(Scripted(), "CartPole-v1", [50, 100, 200], 4)
    assert tracking.returns.shape == (3, 4)
    assert tracking.pearson > 0.99 and 0.9 < tracking.slope < 1.1
    assert np.abs(tracking.means - tracking.targets).max() < 20
    assert "Pearson" in str(tracking) and "200" in str(tracking)


class Constant:
    """Always the same action, whatever is asked."""

    def reset(self, n: int) -> None:
        self.most = n

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> list[int]:
        assert len(rows) == len(returns_to_go) == len(observations) <= self.most
        return [0] * len(rows)


def test_every_target_meets_the_same_start_states_and_none_of_the_data() -> None:
    tracking = rollout(Constant(), "CartPole-v1", [10, 400], 5)
    assert np.array_equal(tracking.returns[0], tracking.returns[1])
    assert np.isnan(tracking.pearson) and tracking.slope == 0
    assert CartPoleMix(seed=9).seed * 100_000 + 99_999 < FIRST_SEED
    assert rollout(Constant(), "CartPole-v1", [10], 2, max_steps=3).returns.tolist() == [[3, 3]]


def test_pearson_and_slope_are_those_of_numpy() -> None:
    returns = np.random.default_rng(0).normal(size=(5, 7))
    tracking = Tracking("x", (1, 2, 4, 8, 16), returns)
    assert np.isclose(tracking.pearson, np.corrcoef(tracking.targets, returns.mean(1))[0, 1])
    assert np.isclose(tracking.slope, np.polyfit(tracking.targets, returns.mean(1), 1)[0])
    low, high = tracking.interval().T
    assert (low < tracking.means).all() and (tracking.means < high).all()


# -- the data folder


def test_files_of_the_data_folder_load(data_folder: Path) -> None:
    cases = {
        "cartpole_mix.npz": ("CartPole-v1", 275, 43_470, 158),
        "pendulum_mix.npz": ("Pendulum-v1", 340, 68_000, -680),
        "expert_cartpole.npz": ("CartPole-v1", 100, 49_527, 495.3),
        "expert_pendulum.npz": ("Pendulum-v1", 100, 20_000, -149.9),
    }
    for name, (env, count, steps, mean) in cases.items():
        dataset = EpisodeFile(path=str(data_folder / "rl" / name), env=env)
        episodes = dataset.episodes()
        assert (len(episodes), sum(map(len, episodes))) == (count, steps)
        assert abs(np.mean([e.rewards.sum() for e in episodes]) - mean) < 1
        tokenizer = TrajectoryTokenizer(env=env).fit(e for e in episodes)
        for raw in episodes[:: max(1, count // 25)]:
            assert tokenizer.decode(tokenizer.encode(raw)) == raw
        archive = read_arrays(data_folder / "rl" / name, 1 << 28)
        if "episode_returns" in archive:
            assert np.allclose([e.rewards.sum() for e in episodes], archive["episode_returns"], rtol=1e-4)


def test_the_robot_arm_loads(data_folder: Path) -> None:
    path = str(data_folder / "rl" / "bridge_debug.zip")
    arm, eye = Bridge(path=path), Bridge(path=path, camera=1)
    assert len(arm.split("train")) + len(arm.split("eval")) == 21
    for dataset in (arm, eye):
        spaces = {k: v for k, v in dataset.metadata().items() if k.endswith("_space")}
        tokenizer = TrajectoryTokenizer(**spaces)
        for sample in dataset.split("eval"):
            raw = sample["episode"]
            assert len(raw) == 10 and not raw.truncated and isinstance(sample["instruction"], str)
            assert sample["picture"].shape == (64, 64, 3) and tokenizer.decode(tokenizer.encode(raw)) == raw
