"""Policies of stable-baselines3: trained with checkpoints, and played. Its extra is `sb3`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from omnitok.errors import ConfigError, InputError

from .controllers import Act, Controller
from .environments import make

ALGORITHMS = {
    "clip_range": "PPO",
    "target_entropy": "SAC",
    "exploration_fraction": "DQN",
    "policy_delay": "TD3",
    "gae_lambda": "A2C",
}
"""what files of this algorithm have -> its class; the first that is there decides"""


def library() -> Any:
    """The module stable_baselines3. Raises ConfigError where it is not installed."""
    try:
        import stable_baselines3
    except ImportError:
        raise ConfigError('this needs stable-baselines3: pip install "omnitok[sb3]"') from None
    return stable_baselines3


def load_policy(file: Path, best: bool = True) -> Controller:
    """The controller that a saved model is: its most likely actions (`best`) or drawn ones.

    Such a file holds pickles, which run code as they are opened: load only what you or someone you trust saved.
    """
    algorithms = library()
    try:
        with zipfile.ZipFile(file) as archive:
            kept = json.loads(archive.read("data"))
        name = next(name for sign, name in ALGORITHMS.items() if sign in kept)
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file") from None
    except (zipfile.BadZipFile, OSError, KeyError, ValueError, StopIteration):
        raise InputError(f"{file}: not a model that stable-baselines3's PPO, SAC, DQN, TD3 or A2C saved") from None
    model = getattr(algorithms, name).load(file, device="cpu")

    def controller(env: Any, rate: float, rng: np.random.Generator) -> Act:
        if model.observation_space != env.observation_space or model.action_space != env.action_space:
            raise ConfigError(f"{file} was trained with other spaces than this environment has")
        drawn = int(rng.integers(2**31))
        env.action_space.seed(drawn)
        if not best:
            model.set_random_seed(drawn)
        return lambda seen: env.action_space.sample() if rng.random() < rate else model.predict(seen, deterministic=best)[0]

    return controller


def train(env: str, steps: int, checkpoints: int, folder: Path, seed: int = 0, hidden: int = 64) -> list[tuple[int, Path]]:
    """Train a policy: PPO where actions are choices, SAC where they are numbers. Gives (steps taken, file) of its checkpoints.

    They are saved at even distances, the last at the end; `hidden` is the width of the two hidden layers.
    """
    algorithms = library()
    from gymnasium.spaces import Box
    from stable_baselines3.common.vec_env import DummyVecEnv

    probe = make(env)
    numbers, seen = isinstance(probe.action_space, Box), probe.observation_space
    probe.close()
    side_by_side = DummyVecEnv([lambda: _noted(env)] * (1 if numbers else 8))
    shared = {"seed": seed, "device": "cpu", "policy_kwargs": {"net_arch": [hidden, hidden]}}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if numbers:
            model = algorithms.SAC(_policy(seen), side_by_side, learning_starts=min(1000, steps // 4), **shared)
        else:
            model = algorithms.PPO(_policy(seen), side_by_side, n_steps=128, batch_size=256, **shared)
        saved: list[tuple[int, Path]] = []
        due = np.linspace(0, steps, checkpoints + 1)[1:].round().astype(int).tolist()

        def save(steps_taken: int) -> None:
            saved.append((steps_taken, folder / f"step-{steps_taken:08d}.zip"))
            model.save(saved[-1][1])

        with tqdm(total=steps, unit="step", disable=None) as bar:

            def after_step(seen_by: dict[str, Any], _: dict[str, Any]) -> bool:
                taken = model.num_timesteps
                bar.update(min(taken, steps) - bar.n)
                if due[len(saved)] <= taken and len(saved) < checkpoints - 1:
                    save(taken)
                return True

            model.learn(steps, callback=after_step)
        save(model.num_timesteps)
        return saved
    finally:
        side_by_side.close()


def _noted(env: str) -> Any:
    from stable_baselines3.common.monitor import Monitor

    return Monitor(make(env))


def _policy(seen: Any) -> str:
    from gymnasium.spaces import Dict
    from stable_baselines3.common.preprocessing import is_image_space

    return "MultiInputPolicy" if isinstance(seen, Dict) else "CnnPolicy" if is_image_space(seen) else "MlpPolicy"
