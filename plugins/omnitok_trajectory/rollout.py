"""Rolling a policy out: every target and start state side by side. Shape letters: n episodes in all, m of them running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from omnitok.errors import ConfigError
from omnitok.model import Transformer
from omnitok.sequence import TokenSequence

from .environments import make
from .episode import tree_row
from .flatten import stack
from .tokenizer import TrajectoryTokenizer
from .tracking import Tracking
from .window import Window

FIRST_SEED = 1_000_000
"""Start states of evaluation; data sets stay below."""


class Policy(Protocol):
    """Acts in n episodes at once."""

    def reset(self, n: int) -> None:
        """Begin n episodes."""

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> Sequence[Any]:
        """One action for each of `rows`, the episodes that still run."""


class ModelPolicy:
    """A trained model that is asked for the next action behind each observation.

    Actions of discrete spaces are drawn, each episode with numbers of its own: `greedy` takes the best, which hides
    what the return-to-go asks for, because it follows the most common action whatever the target. Continuous actions are
    what the model answers. `context`, `attend`, `prompt` and `banded` as in `Window`.
    """

    def __init__(
        self,
        tokenizer: TrajectoryTokenizer,
        model: Transformer,
        context: int | None = None,
        attend: Mapping[str, str] | None = None,
        seed: int = 0,
        greedy: bool = False,
        prompt: TokenSequence | None = None,
        banded: bool = False,
    ) -> None:
        self.tokenizer, self.seed, self.greedy = tokenizer, seed, greedy
        self.head = tokenizer.channel("action")
        self.asked = tokenizer.channel("return_to_go")
        self.channel = tokenizer.channels()[self.head]
        self.mean, self.std = torch.tensor(self.channel.mean), torch.tensor(self.channel.std)
        self.observed, self.actions = tokenizer.observed, tokenizer.actions
        before = tokenizer.step_tokens([0.0], [tree_row(tokenizer.samples()[0].observations, 0)], 0)[0]
        self.window = Window(model, before, self.head, context, attend, prompt, banded)

    def reset(self, n: int) -> None:
        self.window.begin(n)
        self.rows = list(range(n))
        self.taken: Tensor | None = None
        draws = self.channel.vocab is not None and not self.greedy
        self.draws = [np.random.default_rng((self.seed, row)) for row in range(n if draws else 0)]

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> list[Any]:
        if len(rows) < len(self.rows):
            place = {row: i for i, row in enumerate(self.rows)}
            kept = [place[row] for row in rows]
            self.window.select(kept)
            self.rows, self.taken = list(rows), None if self.taken is None else self.taken[kept]
        answers = self.window.answer(self._new(returns_to_go, observations)).cpu()
        found, self.taken = self.actions.settled(self._chosen(answers))
        return [tree_row(found, i) for i in range(len(self.rows))]

    def _new(self, returns_to_go: np.ndarray, observations: Sequence[Any]) -> dict[str, Tensor]:
        contents = self.observed.contents(stack(observations, self.observed.space), "observations", cast=True)
        new = {self.tokenizer.channel(part): content for part, content in contents.items()}
        if self.asked in self.window.before:
            new[self.asked] = torch.from_numpy(np.asarray(returns_to_go, np.float32)[:, None])
        return new if self.taken is None else {**new, self.head: self.taken}

    def _chosen(self, answers: Tensor) -> Tensor:
        """Raw features [m, C], or ids [m]: the best, or drawn by inverting the distribution function."""
        if self.channel.vocab is None:
            return torch.addcmul(self.mean, answers, self.std)
        if self.greedy:
            return answers.argmax(-1)
        drawn = torch.tensor([self.draws[row].random() for row in self.rows], dtype=torch.float64)
        mass = answers.double().softmax(-1).cumsum(-1)
        return torch.searchsorted(mass, drawn[:, None])[:, 0].clamp(max=answers.shape[-1] - 1)


def rollout(
    policy: Policy,
    env: str,
    targets: Sequence[float],
    episodes: int,
    seed: int = FIRST_SEED,
    max_steps: int = 1000,
    quiet: bool = True,
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
        achieved = _run(policy, envs, observations, asked, max_steps, quiet)
    finally:
        for made in envs:
            made.close()
    return Tracking(env, tuple(map(float, targets)), achieved.reshape(len(targets), episodes))


def _run(policy: Policy, envs: list[Any], observations: list[Any], asked: np.ndarray, max_steps: int, quiet: bool) -> np.ndarray:
    """[n] return of every episode."""
    achieved = np.zeros(len(envs))
    running = list(range(len(envs)))
    policy.reset(len(envs))
    bar = tqdm(total=len(envs), unit="episode", desc="playing", leave=False, disable=quiet or None)
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
        bar.update(len(running) - len(still))
        running = still
    bar.close()
    return achieved
