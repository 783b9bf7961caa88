"""Collecting episodes: which policy acts, how well, and a summary of what it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from omnitok.errors import ConfigError

from .controllers import SEEDS_APART, Controller, at_random, controller_of, env_seed, play, spread
from .episode import Episode
from .recording import digest


def policy_of(policy: str, env: str) -> Controller:
    """`scripted`, `random`, or `sb3:FILE`, a model that stable-baselines3 saved. Raises ConfigError for anything else."""
    kind, _, file = policy.partition(":")
    if policy == "scripted":
        return controller_of(env)
    if policy == "random":
        return at_random
    if kind == "sb3" and file:
        from .sb3 import load_policy

        return load_policy(Path(file))
    raise ConfigError(f"no policy {policy!r}; there are scripted, random and sb3:FILE")


def rates_of(policy: str, episodes: int, quality: float | None, mix: bool) -> tuple[float, ...]:
    """[episodes] rates of random actions. Raises ConfigError where the options contradict each other."""
    if mix and quality is not None:
        raise ConfigError("--mix spreads the quality over the episodes: leave --quality out")
    if policy == "random" and (mix or quality is not None):
        raise ConfigError("a random policy has no quality: leave --quality and --mix out")
    return spread(episodes) if mix else (1.0 - (1.0 if quality is None else quality),) * episodes


def collected(env: Any, controller: Controller, rates: Sequence[float], seed: int, first: int = 0) -> list[Episode]:
    """One episode of the made environment for each rate of random actions; they are number `first` and on of the seed."""
    if first + len(rates) > SEEDS_APART:
        raise ConfigError(f"at most {SEEDS_APART} episodes for one seed: start states further on belong to other seeds")
    bar = tqdm(enumerate(rates, first), total=len(rates), unit="episode", disable=None)
    return [play(env, controller(env, rate, np.random.default_rng((seed, i))), env_seed(seed, i)) for i, rate in bar]


def summary(env: str, episodes: Sequence[Episode]) -> dict[str, Any]:
    """What was collected, in plain numbers."""
    returns = [float(e.rewards.sum()) for e in episodes]
    return {
        "env": env,
        "episodes": len(episodes),
        "steps": sum(map(len, episodes)),
        "terminated": sum(e.terminated for e in episodes),
        "truncated": sum(e.truncated for e in episodes),
        "return_min": min(returns),
        "return_mean": float(np.mean(returns)),
        "return_max": max(returns),
        "sha256": digest(episodes),
    }
