"""Rollouts of models: behind a cache or with the window computed anew, side by side as one by one, in every space."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from omnitok_trajectory.episode import Episode
from omnitok_trajectory.lastrow import LastRows
from omnitok_trajectory.rollout import ModelPolicy, rollout
from omnitok_trajectory.tokenizer import TrajectoryTokenizer

from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.model import Model, Preset, Stream, Transformer
from omnitok.nn.attention import Attention
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.objectives import Next
from omnitok.presets import get
from omnitok.sequence import Span, TokenSequence

EXACT = 1e-5


class Anything(gymnasium.Env):  # type: ignore[misc]
    """An environment of any spaces: random observations, a reward from 0 to 1, ends by chance or after 12 steps."""

    observation_space: spaces.Space = spaces.Dict(
        {"a": spaces.Box(-1, 1, (2,)), "b": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2)))}
    )
    action_space: spaces.Space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space = deepcopy(type(self).observation_space)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.steps += 1
        over = self.steps >= 4 and self.np_random.random() < 0.2
        return self.observation_space.sample(), float(self.np_random.random()), bool(over), self.steps >= 12, {}


ACTIONS = {
    "Box": spaces.Box(-1, 1, (2,)),
    "Discrete": spaces.Discrete(4),
    "MultiDiscrete": spaces.MultiDiscrete([3, 4]),
    "Large": spaces.MultiDiscrete([70, 70]),
    "Dict": spaces.Dict({"move": spaces.Discrete(3), "force": spaces.Box(0, 2, (2,))}),
    "Tuple": spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(2))),
}
for _name, _space in ACTIONS.items():
    _cls = type(f"{_name}World", (Anything,), {"action_space": _space})
    gymnasium.register(f"test/{_name}-v0", entry_point=_cls)


def model_of(tokenizer: TrajectoryTokenizer, **changes: Any) -> Transformer:
    torch.manual_seed(0)
    channels = tokenizer.channels()
    heads = Next(tokenizer.channel("action")).heads("", channels)
    preset = get("decoder")(**{"dim": 32, "depth": 2, "heads": 2, **changes})
    model = build(preset, channels, heads).double().eval()  # what is left of rounding is not asked about here
    for p in model.parameters():
        p.data.mul_(3.0)  # a fresh model answers much the same whatever it reads
    return model


class Kept:
    """A policy whose actions, and what it saw, are kept by row."""

    def __init__(self, policy: ModelPolicy) -> None:
        self.policy = policy

    def reset(self, n: int) -> None:
        self.policy.reset(n)
        self.seen: list[list[tuple[float, Any, Any]]] = [[] for _ in range(n)]

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> Sequence[Any]:
        actions = self.policy.act(rows, returns_to_go, observations)
        for row, r, o, a in zip(rows, returns_to_go, observations, actions, strict=True):
            self.seen[row].append((float(r), o, a))
        return actions


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(close(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return all(map(close, a, b))
    return bool(np.allclose(a, b, atol=EXACT))


@pytest.mark.parametrize("name", ACTIONS)
def test_side_by_side_is_one_by_one_and_finished_episodes_change_nothing(name: str) -> None:
    env = f"test/{name}-v0"
    tokenizer = TrajectoryTokenizer(env=env)
    model = model_of(tokenizer)
    policy = Kept(ModelPolicy(tokenizer, model, context=12, greedy=True))
    both = rollout(policy, env, [1.0, 8.0], 4, seed=5)
    together = policy.seen
    assert len({len(s) for s in together}) > 1, "no episode was dropped before another"
    for g, target in enumerate((1.0, 8.0)):
        for e in range(4):
            alone = rollout(policy, env, [target], 1, seed=5 + e)
            assert np.isclose(alone.returns[0, 0], both.returns[g, e])
            assert all(close(x, y) for x, y in zip(policy.seen[0], together[4 * g + e], strict=True))


@pytest.mark.parametrize("context", [None, 3, 6, 9, 12, 60])
def test_answers_are_those_of_the_last_steps_computed_anew(context: int | None) -> None:
    """Cached while the document fits, the window beyond: always what one pass over the last K steps gives."""
    env = "test/Box-v0"
    tokenizer = TrajectoryTokenizer(env=env)
    model = model_of(tokenizer)
    policy = Kept(ModelPolicy(tokenizer, model, context=context))
    rollout(policy, env, [3.0], 2, seed=1)
    head, keep = tokenizer.channel("action"), None if context is None else (context + 1) // 3
    for seen in policy.seen:
        for t in range(len(seen)):
            steps = range(0 if keep is None else max(0, t + 1 - keep), t + 1)
            tokens = TokenSequence()
            for i in steps:
                tokens += tokenizer.step_tokens([seen[i][0]], [seen[i][1]], i)[0]
                tokens += tokenizer.action_tokens([seen[i][2]], i)[0] if i < t else TokenSequence()
            batch = collate([Document({"main": tokens}, attend={head: "causal"})], model.schema)
            with torch.no_grad():
                last = model.head(head)(model.hidden(batch)["main"][-1:], None)
            want = tokenizer.decode_actions(tokenizer.channels()[head].raw(last))[0]
            assert close(seen[t][2], want)


def test_a_prompt_stands_in_front_and_changes_what_is_done() -> None:
    env = "test/Box-v0"
    tokenizer = TrajectoryTokenizer(env=env)
    model = model_of(tokenizer)
    prompt = TokenSequence((Span("control", torch.tensor([1])),))
    found = []
    for lead in (None, prompt):
        policy = Kept(ModelPolicy(tokenizer, model, context=13, prompt=lead))
        rollout(policy, env, [3.0], 1, seed=1)
        found.append(np.stack([a for _, _, a in policy.seen[0]]))
    assert np.abs(found[0] - found[1]).max() > 1e-4
    policy = Kept(ModelPolicy(tokenizer, model, context=3 * 40, prompt=prompt))
    rollout(policy, env, [3.0], 1, seed=1)
    assert np.allclose(found[1][:4], np.stack([a for _, _, a in policy.seen[0]])[:4], atol=EXACT)
    with pytest.raises(ConfigError, match="no room"):
        ModelPolicy(tokenizer, model, context=1, prompt=prompt)
    with pytest.raises(ConfigError, match="channels of its own"):
        ModelPolicy(tokenizer, model, context=40, prompt=tokenizer.encode(tokenizer.samples()[0]))


def test_drawn_actions_are_seeded_row_by_row() -> None:
    env = "test/Discrete-v0"
    tokenizer = TrajectoryTokenizer(env=env)
    model = model_of(tokenizer)
    first, again = (rollout(ModelPolicy(tokenizer, model, 12), env, [1.0, 5.0], 6).returns for _ in range(2))
    assert np.array_equal(first, again)
    policies = [Kept(ModelPolicy(tokenizer, model, 12, seed=s)) for s in (0, 1)]
    for p in policies:
        rollout(p, env, [1.0], 6)
    assert any(a[2] != b[2] for x, y in zip(policies[0].seen, policies[1].seen, strict=True) for a, b in zip(x, y, strict=False))


def test_an_evicted_cache_is_for_models_with_a_band_only() -> None:
    tokenizer = TrajectoryTokenizer(env="CartPole-v1")
    with pytest.raises(ConfigError, match="every attention has a window"):
        ModelPolicy(tokenizer, model_of(tokenizer), context=12, banded=True)


def test_the_return_to_go_falls_by_what_was_earned() -> None:
    tokenizer = TrajectoryTokenizer(env="CartPole-v1")
    policy = Kept(ModelPolicy(tokenizer, model_of(tokenizer), context=12))
    tracking = rollout(policy, "CartPole-v1", [20.0], 2)
    for row, seen in enumerate(policy.seen):
        assert [r for r, _, _ in seen] == [20.0 - i for i in range(int(tracking.returns[0, row]))]
    assert isinstance(tokenizer.samples()[0], Episode)


@pytest.mark.parametrize("changes", [{}, {"depth": 1}])
def test_the_last_block_for_the_last_rows_is_the_whole_pass(changes: dict[str, Any]) -> None:
    tokenizer = TrajectoryTokenizer(env="test/Box-v0")
    model = model_of(tokenizer, **changes)
    episodes = [tokenizer.encode(e) for e in tokenizer.samples()]
    batch = collate([Document({"main": e}, attend={tokenizer.channel("action"): "causal"}) for e in episodes], model.schema)
    last = batch.streams["main"].layout.offsets()[1:].long() - 1
    read = LastRows(model)
    assert read.block is not None, "the trimmed pass is not tried"
    with torch.no_grad():
        whole = model.hidden(batch)["main"][last]
        assert torch.allclose(read(batch, last), whole, atol=1e-9)
        assert torch.allclose(read(batch, last, cache=model.cache(len(last))), whole, atol=1e-9), "behind a cache"


class Banded(Preset, frozen=True):
    """A small decoder whose every layer sees the last eight tokens."""

    name: ClassVar[str] = "banded-for-rollouts"
    roles: ClassVar[tuple[str, ...]] = ()

    def model(self, bound: Any, channels: Any) -> Model:
        block = (Residual("mixer", Attention(2, window=8), pre=Norm()), Residual("mlp", MLP(64), pre=Norm()))
        return Model({"main": Stream(32, (block, block), Norm(), attend="causal")})


def test_a_band_is_read_from_the_cache_as_from_the_whole_episode() -> None:
    """Beyond the context too, where the exact window is another computation."""
    env = "test/Box-v0"
    tokenizer = TrajectoryTokenizer(env=env)
    torch.manual_seed(0)
    channels, head = tokenizer.channels(), tokenizer.channel("action")
    model = build(Banded(), channels, Next(head).heads("", channels)).double().eval()
    for p in model.parameters():
        p.data.mul_(3.0)
    found = []
    for context, banded in ((None, False), (9, True), (9, False)):
        policy = Kept(ModelPolicy(tokenizer, model, context=context, banded=banded))
        rollout(policy, env, [3.0], 2, seed=1)
        found.append([a for seen in policy.seen for _, _, a in seen])
    assert all(close(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not all(close(a, b) for a, b in zip(found[0], found[2], strict=True))
