"""Generative adversarial imitation (Ho and Ermon 2016, arXiv 1606.03476) with proximal policy updates, small, in one process.

It imitates the best episodes of a data set, but unlike every other baseline it acts in the environment while it learns:
`online_steps` counts that. Policy and discriminator are the library's Transformers over documents of one step.
Shape letters: n documents, E environments, T steps of each between two updates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from msgspec import structs
from torch import Tensor
from tqdm import tqdm

from omnitok.assemble import build
from omnitok.batch import Ask, Document, PackedBatch, collate
from omnitok.errors import ConfigError
from omnitok.model import Transformer
from omnitok.nn.steps import Linear
from omnitok.plugins import Host
from omnitok.presets.generic import Decoder
from omnitok.recipe import Recipe
from omnitok.sequence import Span, TokenSequence

from .baselines import SHARE, episodes_of
from .datasets import best_of
from .environments import environment_spaces, make
from .episode import Episode
from .flatten import stack
from .tokenizer import TrajectoryTokenizer

TRAIN_SEED = 900_000
"""Start states of training; rollouts that evaluate begin at a million."""


@dataclass(frozen=True)
class Settings:
    """What one training does."""

    updates: int = 40
    envs: int = 8
    steps: int = 256
    """between two updates, in every environment"""
    epochs: int = 5
    rows: int = 256
    """of a gradient step"""
    lr: float = 1e-3
    """of the policy's first update; it falls to 0 in a straight line"""
    discriminator_lr: float = 3e-4
    discount: float = 0.99
    trace: float = 0.95
    """lambda of generalised advantages (arXiv 1506.02438)"""
    clip: float = 0.2
    """of the ratio of probabilities (arXiv 1707.06347)"""
    entropy: float = 0.01
    dim: int = 64
    depth: int = 1


def experts(recipe: Recipe, host: Host) -> list[Episode]:
    """The best share of the recipe's training episodes: those that the 10 % baseline sees."""
    samples = [{"episode": episode} for episode in episodes_of(recipe, host)]
    return [sample["episode"] for sample in best_of(samples, SHARE)]


class Rows:
    """A model read on n equal documents of one step: their structure is made once for every n."""

    def __init__(self, model: Transformer, channels: Sequence[str]) -> None:
        self.model, self.channels = model, tuple(channels)
        self.made: dict[int, PackedBatch] = {}

    def __call__(self, *contents: Tensor) -> Tensor:
        """One content [n, ...] per channel -> [n, D], the last layer at the last token of every document."""
        n, width = len(contents[0]), len(self.channels)
        if n not in self.made:
            rows = [[x[i : i + 1] for x in contents] for i in range(n)]
            self.made[n] = collate([Document({"main": self._document(row)}) for row in rows], self.model.schema, sort=False)
        stream = self.made[n].streams["main"]
        content = dict(stream.content)
        for channel, x in zip(self.channels, contents, strict=True):
            content[channel] = content[channel].replace(**{"features" if x.is_floating_point() else "ids": x})
        batch = self.made[n].replace(streams={"main": stream.replace(content=content)})
        return self.model.hidden(batch)["main"][width - 1 :: width]

    def _document(self, row: Sequence[Tensor]) -> TokenSequence:
        kinds = [(None, x) if x.is_floating_point() else (x, None) for x in row]
        return TokenSequence(tuple(Span(c, *kind) for c, kind in zip(self.channels, kinds, strict=True)))

    def answer(self, head: str, hidden: Tensor) -> Tensor:
        """A head's answers [n, ...]."""
        every = torch.arange(len(hidden))
        return self.model.answer({"main": hidden}, Ask(head, every, every, torch.ones(len(hidden))))


@dataclass
class Batch:
    """What happened between two updates, flat [E * T]."""

    observations: Tensor
    actions: Tensor
    logs: Tensor
    """log probabilities of the actions when they were taken"""
    advantages: Tensor
    returns: Tensor


class Gail:
    """A policy that learns to do what a discriminator cannot tell from the experts; discrete actions only."""

    def __init__(self, env: str, shown: Sequence[Episode], settings: Settings | None = None, seed: int = 0) -> None:
        spaces = environment_spaces(env)
        self.tokenizer = TrajectoryTokenizer(observation_space=spaces[0], action_space=spaces[1], returns=False).fit(shown)
        self.observations, self.actions = self.tokenizer.observations, self.tokenizer.actions
        if self.actions.kind != "id" or self.observations.kind != "features":
            raise ConfigError(f"GAIL is here for numbers as observations and discrete actions; {env} has others")
        self.env, self.settings, self.seed, self.online_steps = env, settings or Settings(), seed, 0
        torch.manual_seed(seed)
        config = self.settings
        names = [self.tokenizer.channel(part) for part in self.tokenizer.parts]
        channels = {n: structs.replace(c, axes=()) for n, c in self.tokenizer.channels().items()}  # a step has no number
        preset = Decoder(dim=config.dim, depth=config.depth, heads=2)
        count = channels[names[1]].vocab or 0
        heads = {"act": (Linear(count),), "value": (Linear(1),)}
        self.actor = Rows(build(preset, channels, heads), names[:1])
        self.judge = Rows(build(preset, channels, {"expert": (Linear(1),)}), names)
        self.acting = torch.optim.Adam(self.actor.model.parameters(), config.lr)
        self.judging = torch.optim.Adam(self.judge.model.parameters(), config.discriminator_lr, weight_decay=1e-4)
        self.generator = torch.Generator().manual_seed(seed)
        seen = [self.observations.content(e.observations, "observations").float()[: len(e)] for e in shown]
        self.shown = torch.cat(seen), torch.cat([self.actions.content(e.actions, "actions") for e in shown])

    @property
    def parameters(self) -> int:
        """Of policy and discriminator together."""
        return sum(p.numel() for rows in (self.actor, self.judge) for p in rows.model.parameters())

    def run(self, quiet: bool = False) -> list[float]:
        """All updates; mean return of the episodes that ended before each (NaN where none did)."""
        envs = [make(self.env, disable_env_checker=True) for _ in range(self.settings.envs)]
        try:
            now = [made.reset(seed=TRAIN_SEED + 1000 * self.seed + i)[0] for i, made in enumerate(envs)]
            running, means = np.zeros(len(envs)), []
            with tqdm(total=self.settings.updates, unit="update", disable=quiet, mininterval=5) as bar:
                for update in range(self.settings.updates):
                    for group in self.acting.param_groups:
                        group["lr"] = self.settings.lr * (1 - update / self.settings.updates)
                    batch, ended = self._collect(envs, now, running)
                    self._update(batch)
                    means.append(float(np.mean(ended)) if ended else math.nan)
                    bar.update()
                    bar.set_postfix(ended=f"{means[-1]:.0f}", online=self.online_steps, refresh=False)
        finally:
            for made in envs:
                made.close()
        return means

    def policy(self, sampled: bool) -> GailPolicy:
        """What was learned, for rollouts."""
        return GailPolicy(self, sampled)

    def choose(self, observations: Sequence[Any], generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Observations [n, C], ids [n] (the best without a generator), their log probabilities [n], values [n]."""
        codec = self.observations
        seen = codec.content(stack(observations, codec.space), "observations", cast=True).float()
        with torch.no_grad():
            hidden = self.actor(seen)
            logs = self.actor.answer("act", hidden).log_softmax(-1)
            value = self.actor.answer("value", hidden)[:, 0]
        best = logs.argmax(-1) if generator is None else torch.multinomial(logs.exp(), 1, generator=generator)[:, 0]
        return seen, best, logs.gather(1, best[:, None])[:, 0], value

    def _collect(self, envs: list[Any], now: list[Any], running: np.ndarray) -> tuple[Batch, list[float]]:
        """T steps of every environment, and the returns of the episodes that ended; `now` and `running` go on."""
        kept: list[tuple[Tensor, ...]] = []
        stops, ended = [], []
        for _ in range(self.settings.steps):
            seen, ids, logs, values = self.choose(now, self.generator)
            stop = torch.zeros(len(envs), 2)
            for i, action in enumerate(self.tokenizer.decode_actions(ids)):
                now[i], reward, terminated, truncated, _ = envs[i].step(action)
                running[i] += float(reward)
                if terminated or truncated:
                    stop[i] = torch.tensor([1.0, float(truncated and not terminated)])
                    if stop[i, 1]:  # the time limit is no failure: what would have come is valued
                        stop[i, 1] = self.choose([now[i]], None)[3][0]
                    ended.append(float(running[i]))
                    running[i], now[i] = 0.0, envs[i].reset()[0]
            stops.append(stop)
            kept.append((seen, ids, logs, values))
        self.online_steps += self.settings.steps * len(envs)
        seen, ids, logs, values = (torch.stack(x) for x in zip(*kept, strict=True))
        with torch.no_grad():
            rewards = F.softplus(self.score(seen.flatten(0, 1), ids.flatten())).view_as(values)  # -log(1 - D)
        advantages = self._advantages(rewards, values, torch.stack(stops), self.choose(now, None)[3])
        flat = (seen, ids, logs, advantages, advantages + values)
        return Batch(*(x.flatten(0, 1) for x in flat)), ended

    def score(self, observations: Tensor, actions: Tensor) -> Tensor:
        """[n] logits of the discriminator: how much more like an expert's than the policy's."""
        return self.judge.answer("expert", self.judge(observations, actions))[:, 0]

    def _advantages(self, rewards: Tensor, values: Tensor, stops: Tensor, last: Tensor) -> Tensor:
        """[T, E] generalised advantages; `stops` [T, E, 2] holds whether an episode ended and the value behind a time limit."""
        config, out, ahead, coming = self.settings, torch.zeros_like(rewards), torch.zeros(rewards.shape[1]), last
        for t in reversed(range(len(rewards))):
            goes = 1 - stops[t, :, 0]
            error = rewards[t] + config.discount * (goes * coming + stops[t, :, 1]) - values[t]
            ahead = error + config.discount * config.trace * goes * ahead
            out[t], coming = ahead, values[t]
        return out

    def _update(self, batch: Batch) -> None:
        """The discriminator once over the batch beside as many expert steps, then the policy."""
        for rows in self._parts(len(batch.actions), 1):
            shown = torch.randint(len(self.shown[1]), (len(rows),), generator=self.generator)
            real, made = self.score(*(x[shown] for x in self.shown)), self.score(batch.observations[rows], batch.actions[rows])
            _step(self.judging, F.softplus(-real).mean() + F.softplus(made).mean())
        for rows in self._parts(len(batch.actions), self.settings.epochs):
            _step(self.acting, self._loss(batch, rows))

    def _parts(self, total: int, epochs: int) -> list[Tensor]:
        size = min(self.settings.rows, total)
        return [x for _ in range(epochs) for x in torch.randperm(total, generator=self.generator).split(size) if len(x) == size]

    def _loss(self, batch: Batch, rows: Tensor) -> Tensor:
        """Clipped ratio, squared error of the value, entropy."""
        hidden = self.actor(batch.observations[rows])
        every = self.actor.answer("act", hidden).log_softmax(-1)
        ratio = (every.gather(1, batch.actions[rows][:, None])[:, 0] - batch.logs[rows]).exp()
        gain = batch.advantages[rows]
        gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        clip = self.settings.clip
        policy = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
        value = (self.actor.answer("value", hidden)[:, 0] - batch.returns[rows]).square().mean()
        return 0.5 * value - policy + self.settings.entropy * (every.exp() * every).sum(-1).mean()


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], 0.5)
    optimizer.step()


class GailPolicy:
    """What was learned, as rollouts ask for it."""

    def __init__(self, gail: Gail, sampled: bool) -> None:
        self.gail, self.sampled = gail, sampled

    def reset(self, n: int) -> None:
        self.generator = torch.Generator().manual_seed(self.gail.seed) if self.sampled else None

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> list[Any]:
        return self.gail.tokenizer.decode_actions(self.gail.choose(observations, self.generator)[1])
