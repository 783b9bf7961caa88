"""The trajectory tokenizer: tokens of each step (return-to-go where wanted, observation, action) that share the axis `step`.

Shape letters: T steps, M = T or T + 1 observations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from omnitok.errors import InputError
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .codec import Codec, action_codec, observation_codec
from .drawing import film_strip, strip
from .environments import environment_spaces
from .episode import Episode, Tree, tree_len, tree_row
from .examples import random_episodes
from .flatten import stack
from .npz import is_npz, read_episodes
from .observed import Observed, PatchCodec, observed
from .returns import differences, returns_to_go, rewards_of
from .spaces import Space, parse
from .statistics import Moments

DEFAULT_ENV = "CartPole-v1"


class _Unit:
    """Tokens per step: of a tokenizer, or of one with every field at its default."""

    def __get__(self, tokenizer: TrajectoryTokenizer | None, cls: type | None = None) -> int:
        return 3 if tokenizer is None else sum(tokenizer.tokens_of.values())


class TrajectoryTokenizer(Tokenizer, frozen=True, kw_only=True):
    """Episodes of one environment as return-to-go, observation and action tokens, three per step, interleaved.

    The return-to-go of step t is the undiscounted sum of the rewards from t on. T + 1 known observations close with a
    return-to-go of 0 and the last observation, so an episode has 3 T or 3 T + 2 tokens; one of 0 steps has 2. Without
    `returns` a step is two tokens and an episode 2 T or 2 T + 1.
    With a `patch_size` the picture of an observation is P patch tokens, uint8 as the image plugin cuts them, that see each
    other and have the axes h and w too; what a Dict or Tuple holds beside it is one token of the part `state` behind them.
    Spaces come from the fields, else from the dataset, else from `env`.
    """

    name: ClassVar[str] = "trajectory"
    round_trip: ClassVar[RoundTrip] = Exact()
    unit: ClassVar[int] = cast(int, _Unit())

    env: Annotated[str | None, msgspec.Meta(description=f"gymnasium id whose spaces are used (none: {DEFAULT_ENV})")] = None
    observation_space: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(description='observation space, such as { type = "Box", shape = [4] }; goes before env'),
    ] = None
    action_space: Annotated[
        dict[str, Any] | None, msgspec.Meta(description='action space, such as { type = "Discrete", n = 2 }; goes before env')
    ] = None
    patch_size: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1024)] | None,
        msgspec.Meta(description="side in pixels of the patches that an observation's picture becomes; unset: one token for all"),
    ] = None
    grid: Annotated[
        int, msgspec.Meta(description="rows of the tables of the patches' axes h and w, as the image plugin's", ge=1)
    ] = 64
    returns: Annotated[bool, msgspec.Meta(description="whether returns-to-go are tokens; without them a step has one less")] = (
        True
    )
    max_steps: Annotated[int, msgspec.Meta(description="longest episode, and rows of the step table", ge=1)] = 1024
    max_bytes: Annotated[int, msgspec.Meta(description="largest .npz file, unpacked, in bytes", ge=1)] = 1 << 28

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("observation_space", "action_space"):
            if getattr(self, field) is not None:
                parse(getattr(self, field), field)
        if self.patch_size is not None and self.observation_space is not None:
            _ = self.observed  # has a picture

    # -- what the tokens hold

    @property
    def parts(self) -> tuple[str, ...]:
        """What the tokens of a step hold, in order."""
        return tuple(self.tokens_of)

    @property
    def tokens_of(self) -> dict[str, int]:
        """Part -> its tokens in a step, in order."""
        asked = {"return_to_go": 1} if self.returns else {}
        seen = {"observation": 1}
        if self.patch_size is not None:
            seen = {part: codec.tokens for part, codec in self.observed.parts.items()}
        return {**asked, **seen, "action": 1}

    @property
    def observed(self) -> Observed:
        """How observations become tokens."""
        return observed(self._space("observation_space", 0), self.patch_size, self.grid)

    @property
    def observations(self) -> Codec:
        """An observation as one content, whatever the patches: what models of single rows read."""
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
        channels = {"return_to_go": Channel(width=(1,), mean=returns["mean"][0], std=returns["std"][0], axes=axes)}
        for part, codec in {**self.observed.parts, "action": self.actions}.items():
            channels[part] = codec.channel(known.get(part), axes)
        return {self.channel(part): channels[part] for part in self.parts}

    def fit(self, samples: Iterable[Episode]) -> Self:
        """Means and deviations of the returns-to-go and of numbers in observations and actions."""
        moments = {part: Moments() for part in self.parts}
        for episode in samples:
            if self.returns:
                moments["return_to_go"].add(returns_to_go(episode)[:, None])
            for part, codec, tree, what in self._trees(episode):
                numbers = codec.numbers(tree, what)
                if numbers is not None:
                    moments[part].add(numbers)
        state = {part: m.plain() for part, m in moments.items() if m.count}
        return msgspec.structs.replace(self, state=json.dumps(state).encode()) if state else self

    def _trees(self, episode: Episode) -> Iterator[tuple[str, Codec | PatchCodec, Tree, str]]:
        """(part, codec, its rows, what they are called) of observations and actions."""
        yield from self.observed.split(episode.observations, "observations")
        yield "action", self.actions, episode.actions, "actions"

    # -- one episode there and back

    def encode(self, raw: Episode) -> TokenSequence:
        """One episode -> its tokens. Raises InputError naming the field and the step that does not fit."""
        steps, seen = self._lengths(raw)
        returns = returns_to_go(raw)[:seen]
        meta: dict[str, Any] = {"steps": steps, "final": seen > steps, "terminated": raw.terminated, "truncated": raw.truncated}
        meta["reward_dtype"] = str(raw.rewards.dtype)
        told = self.returns and np.array_equal(differences(returns, steps).astype(raw.rewards.dtype), raw.rewards)
        if not told:
            meta["rewards"] = raw.rewards.tolist()
        step = torch.arange(seen)
        spans = {"return_to_go": self._span("return_to_go", None, torch.from_numpy(returns)[:, None], step, meta)}
        for part, codec, tree, what in self._trees(raw):
            if tree_len(tree):
                rows = step[:steps] if part == "action" else step
                spans[part] = self._span(part, codec, codec.content(tree, what), rows, meta)
        return TokenSequence(tuple(spans[part].replace(index=index) for part, index in self._places(spans)))

    def _places(self, spans: Mapping[str, Span]) -> Iterator[tuple[str, Tensor]]:
        """Every part that is there, in order, with the places of its tokens."""
        first, unit = 0, self.unit
        for part, tokens in self.tokens_of.items():
            if part in spans:
                yield part, unit * spans[part].axes["step"] + first + torch.arange(len(spans[part])) % tokens
            first += tokens

    def _span(self, part: str, codec: Codec | PatchCodec | None, content: Tensor, step: Tensor, meta: Mapping[str, Any]) -> Span:
        """The content of one part in these steps."""
        if codec is None:
            return Span(self.channel(part), None, content, {"step": step}, None, meta)
        ids, features = (content, None) if codec.kind != "features" else (None, content)
        axes = {"step": step.repeat_interleave(codec.tokens), **codec.axes(len(step))}
        return Span(self.channel(part), ids, features, axes, None, meta)

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
        for part in self.parts[:-1]:
            if part not in spans:
                raise InputError(f"no {part} tokens: an episode needs them")
        contents, meta = {part: spans[part].content for part in self.observed.parts}, spans["observation"].meta
        steps, seen = len(spans["action"]) if "action" in spans else 0, self.observed.rows(contents)
        returns = spans["return_to_go"].content if self.returns else None
        if seen not in (steps, steps + 1) or (returns is not None and len(returns) != seen):
            counted = "" if returns is None else f"{len(returns)} returns-to-go, "
            raise InputError(f"{counted}{seen} observations and {steps} actions are no episode")
        actions = spans["action"].content if steps else self._no_actions()
        return Episode(
            self.observed.tree(contents),
            self.actions.tree(actions),
            rewards_of(returns, steps, meta),
            meta.get("terminated", False),
            meta.get("truncated", False),
        )

    def _no_actions(self) -> Tensor:
        codec, size = self.actions, self.channels()[self.channel("action")].size
        return torch.zeros(0, size) if codec.kind == "features" else torch.zeros(0, dtype=torch.long)

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Channel and step of token k, of a patch its row and column too.

        `meta` may say the number of `steps` and the `step` at which it begins.
        """
        sizes = self.tokens_of
        step, within = divmod(k, unit := sum(sizes.values()))
        if "steps" in meta and k >= unit * meta["steps"] + (unit - 1) * bool(meta.get("final")):
            return None
        parts = iter(sizes)
        while within >= sizes[part := next(parts)]:
            within -= sizes[part]
        grid = self.observed.parts["observation"].place(within) if part == "observation" and self.patch_size else {}
        return self.channel(part), {"step": meta.get("step", 0) + step, **grid}

    def count(self, raw: Episode) -> int:
        steps, seen = self._lengths(raw)
        return (self.unit - 1) * seen + steps

    # -- one step at a time, while environments run

    def step_tokens(self, returns_to_go: Sequence[float], observations: Sequence[Any], step: int) -> list[TokenSequence]:
        """What each episode knows before its action of `step`: all tokens of a step but the last.

        Observations are rows as environments give them.
        """
        how, at = self.observed, torch.tensor([step])
        contents = how.contents(stack(observations, how.space), "observations", cast=True)
        columns = [
            [self._span(part, how.parts[part], x, at, {}) for x in content.split(how.parts[part].tokens)]
            for part, content in contents.items()
        ]
        if self.returns:
            returns = torch.tensor(returns_to_go, dtype=torch.float32)[:, None]
            columns.insert(0, [self._span("return_to_go", None, r, at, {}) for r in returns.split(1)])
        return [TokenSequence(spans) for spans in zip(*columns, strict=True)]

    def action_tokens(self, actions: Sequence[Any], step: int) -> list[TokenSequence]:
        """The action that each episode took at `step`: one token."""
        codec, at = self.actions, torch.tensor([step])
        content = codec.content(stack(actions, codec.space), "actions", cast=True)
        return [TokenSequence((self._span("action", codec, a, at, {}),)) for a in content.split(1)]

    def decode_actions(self, answers: Tensor) -> list[Any]:
        """Answers [n] ids, or [n, C] raw feature values -> actions for environments, brought into the space."""
        rows = self.actions.nearest(answers)
        return [tree_row(rows, i) for i in range(len(answers))]

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
        """A row of each part, one column per step; pictures as a film strip with their patches."""
        contents = {part: span.content for part, span in self.whole(tokens).items()}
        codec = self.observed.parts["observation"]
        if isinstance(codec, PatchCodec):
            pictures, side = codec.pictures(contents["observation"]), codec.patches.side
            return film_strip(tokens, contents, pictures, side, repr(raw))
        return strip(tokens, {part: contents.get(part, ()) for part in self.parts}, repr(raw))
