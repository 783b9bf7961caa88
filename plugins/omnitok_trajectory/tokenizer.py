"""The trajectory tokenizer: three tokens per step (return-to-go, observation, action) that share the axis `step`.

Shape letters: T steps, M = T or T + 1 observations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import msgspec
import numpy as np
import torch
from torch import Tensor

from omnitok.errors import ConfigError, InputError
from omnitok.nn.steps import Axis, Linear
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .codec import Codec, action_codec, observation_codec
from .environments import environment_spaces
from .episode import Episode, Tree, tree_len, tree_map
from .examples import random_episodes
from .flatten import flatten, stack
from .npz import is_npz, read_episodes
from .spaces import Space, parse
from .statistics import Moments
from .steps import ReturnWaves

PARTS = ("return_to_go", "observation", "action")
DEFAULT_ENV = "CartPole-v1"


class TrajectoryTokenizer(Tokenizer, frozen=True, kw_only=True):
    """Episodes of one environment as return-to-go, observation and action tokens, three per step, interleaved.

    The return-to-go of step t is the undiscounted sum of the rewards from t on. T + 1 known observations close with a
    return-to-go of 0 and the last observation, so an episode has 3 T or 3 T + 2 tokens; one of 0 steps has 2.
    Spaces come from the fields, else from the dataset, else from `env`.
    """

    name: ClassVar[str] = "trajectory"
    round_trip: ClassVar[RoundTrip] = Exact()
    unit: ClassVar[int] = 3

    env: Annotated[str | None, msgspec.Meta(description=f"gymnasium id whose spaces are used (none: {DEFAULT_ENV})")] = None
    observation_space: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(description='observation space, such as { type = "Box", shape = [4] }; goes before env'),
    ] = None
    action_space: Annotated[
        dict[str, Any] | None, msgspec.Meta(description='action space, such as { type = "Discrete", n = 2 }; goes before env')
    ] = None
    max_steps: Annotated[int, msgspec.Meta(description="longest episode, and rows of the step table", ge=1)] = 1024
    max_bytes: Annotated[int, msgspec.Meta(description="largest .npz file, unpacked, in bytes", ge=1)] = 1 << 28

    def __post_init__(self) -> None:
        for field in ("max_steps", "max_bytes"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} is {getattr(self, field)}; it must be 1 or more")
        for field in ("observation_space", "action_space"):
            if getattr(self, field) is not None:
                parse(getattr(self, field), field)

    # -- what the tokens hold

    @property
    def observations(self) -> Codec:
        """How observations become tokens."""
        return observation_codec(self._space("observation_space", 0))

    @property
    def actions(self) -> Codec:
        """How actions become tokens."""
        return action_codec(self._space("action_space", 1))

    def _space(self, field: str, which: int) -> Space:
        own = getattr(self, field)
        return parse(environment_spaces(self.env or DEFAULT_ENV)[which] if own is None else own, field)

    def channels(self) -> dict[str, Channel]:
        known = json.loads(self.state) if self.state else {}
        returns = known.get("return_to_go", {"mean": [0.0], "std": [1.0]})
        axes = (Axis("step", self.max_steps + 1),)
        waves = (ReturnWaves(), Linear())
        return {
            self.channel("return_to_go"): Channel(
                width=(1,), mean=returns["mean"][0], std=returns["std"][0], embed=waves, axes=axes
            ),
            self.channel("observation"): Channel(**self.observations.channel(known.get("observation")), axes=axes),
            self.channel("action"): Channel(**self.actions.channel(known.get("action")), axes=axes),
        }

    def fit(self, samples: Iterable[Episode]) -> Self:
        """Means and deviations of the returns-to-go and of numbers in observations and actions."""
        moments = {part: Moments() for part in PARTS}
        for episode in samples:
            moments["return_to_go"].add(returns_to_go(episode)[:, None])
            for part, codec, tree in self._trees(episode):
                if codec.kind == "features":
                    moments[part].add(flatten(codec.space, tree, part))
        state = {part: m.plain() for part, m in moments.items() if m.count}
        return msgspec.structs.replace(self, state=json.dumps(state).encode()) if state else self

    def _trees(self, episode: Episode) -> tuple[tuple[str, Codec, Tree], ...]:
        return ("observation", self.observations, episode.observations), ("action", self.actions, episode.actions)

    # -- one episode there and back

    def encode(self, raw: Episode) -> TokenSequence:
        """One episode -> its tokens. Raises InputError naming the field and the step that does not fit."""
        steps, seen = self._lengths(raw)
        (_, codec, observations), (_, action, actions) = self._trees(raw)
        returns = returns_to_go(raw)[:seen]
        content: list[Tensor] = [
            torch.from_numpy(returns)[:, None],
            codec.content(observations, "observations"),
            action.content(actions, "actions") if steps else torch.zeros(0),
        ]
        meta: dict[str, Any] = {"steps": steps, "final": seen > steps, "terminated": raw.terminated, "truncated": raw.truncated}
        meta["reward_dtype"] = str(raw.rewards.dtype)
        if not np.array_equal(_differences(returns, steps).astype(raw.rewards.dtype), raw.rewards):
            meta["rewards"] = raw.rewards.tolist()
        spans = [self._span(part, x, j, meta) for j, (part, x) in enumerate(zip(PARTS, content, strict=True)) if len(x)]
        return TokenSequence(tuple(spans))

    def _span(self, part: str, content: Tensor, first: int, meta: Mapping[str, Any]) -> Span:
        step = torch.arange(len(content))
        kind = "ids" if part != "return_to_go" and self._codec(part).kind != "features" else "features"
        return Span(self.channel(part), **{kind: content}, axes={"step": step}, index=first + 3 * step, meta=meta)  # type: ignore[arg-type]

    def _codec(self, part: str) -> Codec:
        return self.observations if part == "observation" else self.actions

    def _lengths(self, raw: Any) -> tuple[int, int]:
        """(T, M) of an episode whose parts agree. Raises InputError otherwise, and over `max_steps`."""
        if not isinstance(raw, Episode):
            raise InputError(f"the trajectory tokenizer takes an Episode, got a {type(raw).__name__}")
        steps, seen, acted = len(raw), tree_len(raw.observations), tree_len(raw.actions)
        if steps > self.max_steps:
            raise InputError(f"the episode has {steps} steps; the limit is {self.max_steps} (max_steps)")
        if acted != steps or seen not in (steps, steps + 1):
            raise InputError(
                f"{steps} rewards need {steps} actions and {steps} or {steps + 1} observations, got {acted} and {seen}"
            )
        if not seen:
            raise InputError("an episode holds at least the observation that reset gave; this one is empty")
        return steps, seen

    def decode(self, tokens: TokenSequence) -> Episode:
        """Tokens -> the episode. Raises InputError for a cropped sequence and for parts that do not fit together."""
        spans = self.whole(tokens)
        for part in ("return_to_go", "observation"):
            if part not in spans:
                raise InputError(f"no {part} tokens: an episode needs them")
        observed, meta = spans["observation"], spans["observation"].meta
        steps = len(spans["action"]) if "action" in spans else 0
        if len(spans["return_to_go"]) != len(observed) or len(observed) not in (steps, steps + 1):
            raise InputError(
                f"{len(spans['return_to_go'])} returns-to-go, {len(observed)} observations and {steps} actions are no episode"
            )
        actions = spans["action"].content if steps else self._no_actions()
        return Episode(
            self.observations.tree(observed.content),
            self.actions.tree(actions),
            _rewards(spans["return_to_go"].content, steps, meta),
            meta.get("terminated", False),
            meta.get("truncated", False),
        )

    def _no_actions(self) -> Tensor:
        codec, size = self.actions, self.channels()[self.channel("action")].size
        return torch.zeros(0, size) if codec.kind == "features" else torch.zeros(0, dtype=torch.long)

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Channel and step of token k; `meta` may say the number of `steps` and the `step` at which it begins."""
        if "steps" in meta and k >= 3 * meta["steps"] + 2 * bool(meta.get("final")):
            return None
        return self.channel(PARTS[k % 3]), {"step": meta.get("step", 0) + k // 3}

    def count(self, raw: Episode) -> int:
        steps, seen = self._lengths(raw)
        return 2 * seen + steps

    # -- one step at a time, while an environment runs

    def step_tokens(self, return_to_go: float, observation: Any, step: int) -> TokenSequence:
        """What is known before the action of `step`: two tokens. The observation is one row as the environment gave it."""
        rows = stack([observation], self.observations.space)
        content = self.observations.content(rows, "observation", cast=True)
        returns = torch.tensor([[return_to_go]], dtype=torch.float32)
        return TokenSequence((self._at("return_to_go", returns, step), self._at("observation", content, step)))

    def action_tokens(self, action: Any, step: int) -> TokenSequence:
        """The action that was taken at `step`: one token."""
        rows = stack([action], self.actions.space)
        return TokenSequence((self._at("action", self.actions.content(rows, "action", cast=True), step),))

    def _at(self, part: str, content: Tensor, step: int) -> Span:
        span = self._span(part, content, 0, {"step": step})
        return span.replace(index=None, axes={"step": torch.tensor([min(step, self.max_steps)])})

    def decode_action(self, answer: Tensor) -> Any:
        """One answer -> one action for the environment: an id, or raw feature values, which are brought into the space."""
        rows = self.actions.nearest(answer.reshape(1) if self.actions.kind == "id" else answer.reshape(1, -1))
        return tree_map(lambda x: x[0], rows)

    # -- files, examples, pictures

    def read(self, path: Path) -> Episode:
        """One episode from an .npz file with `observations`, `actions`, `rewards`. Raises InputError naming the file."""
        episodes = read_episodes(Path(path), self.max_bytes)
        if len(episodes) != 1:
            raise InputError(f"{path}: holds {len(episodes)} episodes; read it as the dataset trajectory/file")
        return episodes[0]

    def sniff(self, path: Path, head: bytes) -> bool:
        return is_npz(Path(path))

    def samples(self, seed: int = 0) -> list[Episode]:
        return random_episodes(self.observations.space, self.actions.space, seed)

    def show(self, raw: Episode, tokens: TokenSequence) -> Picture:
        """Three rows (return-to-go, observation, action), one column per step."""
        rows: list[list[str]] = [[], [], []]
        marks: list[Any] = [None] * len(tokens)
        for span, places in zip(tokens.spans, tokens.places, strict=True):
            row = PARTS.index(span.channel.partition("/")[2])
            rows[row] = [_label(x) for x in span.content]
            for column, place in enumerate(places.tolist()):
                marks[place] = (row, column)
        return Picture("strip", rows, marks, repr(raw))


def returns_to_go(episode: Episode) -> np.ndarray:
    """[T + 1] float32: the sum of the rewards from each step on, 0 behind the last.

    Raises InputError where a reward, or a sum of them, is not finite.
    """
    if not np.isfinite(episode.rewards).all():
        raise InputError(f"rewards: NaN or infinity at step {int((~np.isfinite(episode.rewards)).argmax())}")
    with np.errstate(over="ignore"):
        returns = np.append(episode.rewards.astype(np.float64)[::-1].cumsum()[::-1], 0.0).astype(np.float32)
    if not np.isfinite(returns).all():
        raise InputError("rewards: their sum is too large for float32; scale them first")
    return returns


def _differences(returns: np.ndarray, steps: int) -> np.ndarray:
    """[steps] rewards as far as float32 returns-to-go tell them."""
    return -np.diff(np.append(returns.astype(np.float64), 0.0))[:steps]


def _rewards(returns: Tensor, steps: int, meta: Mapping[str, Any]) -> np.ndarray:
    """[steps] rewards: those kept in the meta where differences of returns-to-go do not give them back."""
    rewards = meta.get("rewards")
    kept = _differences(returns[:, 0].cpu().numpy(), steps) if rewards is None else np.array(rewards)
    return kept.astype(meta.get("reward_dtype", "float32"))


def _label(x: Tensor) -> str:
    """A few numbers of a token."""
    values = x.reshape(-1).tolist()
    return " ".join(f"{v:.3g}" for v in values[:4]) + (" ..." if len(values) > 4 else "")
