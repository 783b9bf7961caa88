"""What `omnitok rl eval` asks of a run: which task and environment, which returns its data support, and the two scores that
normalised ones lie between."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnitok.errors import ConfigError, OmnitokError, did_you_mean
from omnitok.run import Run
from omnitok.sequence import TokenSequence
from omnitok.tasks import Tasks

from .environments import make
from .episode import Episode, leaves
from .rollout import FIRST_SEED, ModelPolicy, rollout
from .tokenizer import TrajectoryTokenizer
from .tracking import Tracking

QUANTILES = (0.05, 0.23, 0.41, 0.59, 0.77, 0.95)
"""Of the training episodes' returns: the automatic targets."""
FLAT = 0.2
"""A slope below which a tracking curve is called flat."""


@dataclass(frozen=True)
class Subject:
    """A run's task of trajectories: its tokenizer, the environment and the training data."""

    run: Run
    task: str
    field: str
    tokenizer: TrajectoryTokenizer
    env: str
    tasks: Tasks
    """with their data"""

    @property
    def discrete(self) -> bool:
        """Whether actions are ids, which can be drawn."""
        return self.tokenizer.channels()[self.tokenizer.channel("action")].vocab is not None

    def episodes(self) -> list[Episode]:
        """The training split."""
        config = self.run.recipe.task(self.task)
        return [sample[self.field] for sample in self.tasks.split(config, config.split)]

    def policy(
        self, seed: int = 0, greedy: bool = False, prompt: TokenSequence | None = None, banded: bool = False
    ) -> ModelPolicy:
        """The run's model as a policy, seen through the task's context."""
        context = self.run.recipe.task(self.task).context
        return ModelPolicy(self.tokenizer, self.run.model, context, seed=seed, greedy=greedy, prompt=prompt, banded=banded)


def subject_of(run: Run, task: str | None = None, env: str | None = None) -> Subject:
    """The run's only task of trajectories, or the one that is named. Raises ConfigError where it is not clear which."""
    found = {
        config.name: (field, run.tokenizers[instance])
        for config in run.recipe.tasks
        for _, instance, field in config.fields()
        if isinstance(run.tokenizers[instance], TrajectoryTokenizer)
    }
    if not found:
        raise ConfigError(f"{run.folder}: none of its tasks has a trajectory in its document")
    if task is None and len(found) > 1:
        raise ConfigError(f"{run.folder} has several tasks of trajectories ({', '.join(found)}): name one with --task")
    if task is not None and task not in found:
        raise ConfigError(f"{run.folder} has no task {task!r} of trajectories; {did_you_mean(task, found, 'tasks')}")
    name = task or next(iter(found))
    field, tokenizer = found[name]
    tasks = run.tasks.opened(run.host)
    known = env or tokenizer.env or tasks.datasets[name].metadata().get("env")
    if known is None:
        raise ConfigError(f"{run.folder}: the data of task {name!r} do not say which environment they are of: give --env")
    return Subject(run, name, field, tokenizer, known, tasks)


def policy_of(run: Run, seed: int = 0, greedy: bool = False, task: str | None = None) -> ModelPolicy:
    """The run's model as a policy over its task of trajectories."""
    return subject_of(run, task).policy(seed, greedy)


def episode_returns(episodes: Sequence[Episode]) -> np.ndarray:
    """[episodes] sums of rewards."""
    return np.array([episode.rewards.sum(dtype=np.float64) for episode in episodes])


def fingerprint(episodes: Sequence[Episode]) -> str:
    """sha256 over all that the episodes hold, in order."""
    digest = hashlib.sha256()
    for episode in episodes:
        for part in (*leaves(episode.observations), *leaves(episode.actions), episode.rewards):
            values = np.ascontiguousarray(part)
            digest.update(f"{values.dtype}{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def parse_targets(text: str, returns: np.ndarray) -> tuple[tuple[float, ...], list[str]]:
    """ "auto" or numbers with commas -> rising targets, and a warning for each that no training episode's return supports."""
    if text == "auto":
        found = {float(f"{value:.3g}") for value in np.quantile(returns, QUANTILES, method="nearest")}
        return tuple(sorted(found)), []
    try:
        targets = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise ConfigError(f"--targets {text!r}: write auto, or numbers with commas between them, such as 25,50,100") from None
    if not np.isfinite(targets).all():
        raise ConfigError(f"--targets {text!r}: they must be finite")
    low, high = returns.min(), returns.max()
    outside = [t for t in targets if not low <= t <= high]
    return targets, [f"target {t:g} is out of support: returns in the data go from {low:g} to {high:g}" for t in outside]


@dataclass(frozen=True)
class Reference:
    """The returns that count as 0 and 100, and where they are from."""

    low: float
    high: float
    low_from: str
    high_from: str


class RandomPolicy:
    """Samples the action space."""

    def __init__(self, env: str, seed: int = 0) -> None:
        made = make(env)
        self.space = made.action_space
        made.close()
        self.space.seed(seed)

    def reset(self, n: int) -> None:
        """Nothing is kept."""

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> list[Any]:
        return [self.space.sample() for _ in rows]


def reference_of(given: str | None, env: str, returns: np.ndarray, episodes: int, seed: int, longest: int) -> Reference:
    """The two numbers of "low,high"; else a random policy's mean return and the best training episode's."""
    if given is not None:
        parts = given.split(",")
        try:
            low, high = map(float, parts)
        except ValueError:
            raise ConfigError(f"--reference {given!r}: write two numbers, such as --reference=-1230,-154") from None
        found = Reference(low, high, "given", "given")
    else:
        played = rollout(RandomPolicy(env, seed), env, [0.0], episodes, start_of(seed), longest)
        where = f"random policy, {episodes} episodes of this evaluation"
        found = Reference(float(played.means[0]), float(returns.max()), where, "best return of a training episode")
    if not found.high > found.low:
        raise ConfigError(
            f"scores between {found.low:g} ({found.low_from}) and {found.high:g} ({found.high_from}): give --reference"
        )
    return found


def start_of(seed: int) -> int:
    """The first start state of an evaluation; data sets have others."""
    return FIRST_SEED + 10_000 * seed


def evaluate_run(
    subject: Subject,
    targets: Sequence[float],
    episodes: int,
    seed: int = 0,
    greedy: bool = False,
    prompt: TokenSequence | None = None,
    banded: bool = False,
) -> Tracking:
    """Every target on the same start states, which are none of the data's."""
    longest = subject.tokenizer.max_steps
    policy = subject.policy(seed, greedy, prompt, banded)
    return rollout(policy, subject.env, targets, episodes, start_of(seed), longest, quiet=False)


def flattened(tracking: Tracking, subject: Subject, greedy: bool) -> str | None:
    """What to say where the best action hides what was asked for."""
    if not greedy or not subject.discrete or len(tracking.targets) < 2 or tracking.slope >= FLAT:
        return None
    return f"the best action flattens the curve (slope {tracking.slope:.2f}): leave out --greedy, and actions are drawn"


def prompt_of(subject: Subject, texts: Sequence[str]) -> TokenSequence | None:
    """field=value for every field in front of the trajectory -> the tokens of the prompt."""
    given = dict(text.partition("=")[::2] for text in texts)
    lead: list[tuple[str, str]] = []
    for _, instance, field in subject.run.recipe.task(subject.task).fields():
        if field == subject.field:
            break
        lead.append((instance, field))
    if {f for _, f in lead} != set(given):
        names = ", ".join(f for _, f in lead) or "none"
        raise ConfigError(f"--prompt: give a value for every field in front of the trajectory ({names}), as field=value")
    found = TokenSequence()
    for instance, field in lead:
        try:
            found += subject.tasks.encode(instance, field, given)
        except OmnitokError as error:
            raise ConfigError(f"--prompt {field}: {error}") from None
    return found if lead else None
