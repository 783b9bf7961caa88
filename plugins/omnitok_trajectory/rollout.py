"""Rolling a policy out: every target and start state side by side, and how far achieved returns follow asked ones.

Shape letters: G targets, n episodes in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from omnitok.errors import ConfigError
from omnitok.sequence import TokenSequence

from .environments import make
from .tokenizer import TrajectoryTokenizer

FIRST_SEED = 1_000_000
"""Start states of evaluation; data sets stay below."""


class Policy(Protocol):
    """Acts in n episodes at once."""

    def reset(self, n: int) -> None:
        """Begin n episodes."""

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> Sequence[Any]:
        """One action for each of `rows`, the episodes that still run."""


class Session(Protocol):
    """What a policy needs of a generation session of n documents."""

    def feed(self, tokens: Sequence[TokenSequence | None]) -> Any:
        """Append tokens; None leaves a document as it is."""

    def ask(self, head: str) -> Tensor:
        """The head's answers [n, ...]."""


class ModelPolicy:
    """A trained model that is asked for the next action behind each observation.

    `session(n)` opens a session of n documents; `pick` turns logits [m, V] into ids [m]. Sample: the best answer hides
    what the return-to-go asks for, because it follows the most common action whatever the target.
    """

    def __init__(
        self, tokenizer: TrajectoryTokenizer, session: Callable[[int], Session], pick: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.tokenizer, self.open, self.pick = tokenizer, session, pick
        self.head = tokenizer.channel("action")
        self.channel = tokenizer.channels()[self.head]
        if self.channel.vocab is not None and pick is None:
            raise ConfigError("a policy over discrete actions needs `pick`, such as a seeded sampler")

    def reset(self, n: int) -> None:
        self.session, self.count, self.step = self.open(n), n, 0
        self.taken: dict[int, TokenSequence] = {}

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> list[Any]:
        parts: list[TokenSequence | None] = [None] * self.count
        for row, now in zip(rows, self.tokenizer.step_tokens(returns_to_go.tolist(), observations, self.step), strict=True):
            parts[row] = self.taken[row] + now if row in self.taken else now
        self.session.feed(parts)
        answers = self.session.ask(self.head)[list(rows)].cpu()
        chosen = self.channel.raw(answers) if self.channel.vocab is None or self.pick is None else self.pick(answers)
        actions = self.tokenizer.decode_actions(chosen)
        self.taken = dict(zip(rows, self.tokenizer.action_tokens(actions, self.step), strict=True))
        self.step += 1
        return actions


@dataclass(frozen=True)
class Tracking:
    """Achieved returns [G, episodes] for asked targets [G] in one environment."""

    env: str
    targets: tuple[float, ...]
    returns: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """[G] mean return of each target."""
        return self.returns.mean(1)

    @property
    def pearson(self) -> float:
        """Correlation of targets and mean returns; NaN where one of them is the same throughout."""
        spread = np.std(self.targets) * np.std(self.means)
        centred = np.asarray(self.targets) - np.mean(self.targets)
        return float((centred * (self.means - self.means.mean())).mean() / spread) if spread > 0 else float("nan")

    @property
    def slope(self) -> float:
        """Growth of the mean return per asked return (least squares); NaN for a single target."""
        centred = np.asarray(self.targets) - np.mean(self.targets)
        square = float((centred**2).sum())
        return float((centred * self.means).sum() / square) if square > 0 else float("nan")

    def interval(self, level: float = 0.95, draws: int = 2000, seed: int = 0) -> np.ndarray:
        """[G, 2] bootstrap interval of each mean, over episodes."""
        size = self.returns.shape[1]
        picked = np.random.default_rng(seed).integers(0, size, (draws, size))
        means = self.returns[:, picked].mean(2)
        return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=1).T

    def __str__(self) -> str:
        rows = [
            f"{target:>10g} {mean:>10.1f}   [{low:.1f}, {high:.1f}]"
            for target, mean, (low, high) in zip(self.targets, self.means, self.interval(), strict=True)
        ]
        head = f"{self.env}: {self.returns.shape[1]} episodes per target"
        return "\n".join(
            [
                head,
                f"{'asked':>10} {'achieved':>10}   95 % interval",
                *rows,
                f"Pearson {self.pearson:.3f}, slope {self.slope:.2f}",
            ]
        )


def rollout(
    policy: Policy, env: str, targets: Sequence[float], episodes: int, seed: int = FIRST_SEED, max_steps: int = 1000
) -> Tracking:
    """Run `episodes` episodes per target, all at once; every target meets the same start states.

    The return-to-go falls by each raw reward. An episode ends when the environment says so or after `max_steps`.
    """
    n = len(targets) * episodes
    if n == 0:
        raise ConfigError("a rollout needs at least one target and one episode")
    envs = [make(env, disable_env_checker=True) for _ in range(n)]
    try:
        observations = [made.reset(seed=seed + i % episodes)[0] for i, made in enumerate(envs)]
        asked = np.repeat(np.asarray(targets, np.float64), episodes)
        achieved = _run(policy, envs, observations, asked, max_steps)
    finally:
        for made in envs:
            made.close()
    return Tracking(env, tuple(map(float, targets)), achieved.reshape(len(targets), episodes))


def _run(policy: Policy, envs: list[Any], observations: list[Any], asked: np.ndarray, max_steps: int) -> np.ndarray:
    """[n] return of every episode."""
    achieved = np.zeros(len(envs))
    running = list(range(len(envs)))
    policy.reset(len(envs))
    for _ in range(max_steps):
        if not running:
            break
        actions = policy.act(running, (asked - achieved)[running], [observations[i] for i in running])
        still = []
        for i, action in zip(running, actions, strict=True):
            observations[i], reward, terminated, truncated, _ = envs[i].step(action)
            achieved[i] += float(reward)
            if not (terminated or truncated):
                still.append(i)
        running = still
    return achieved
