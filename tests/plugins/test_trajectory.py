"""The trajectory tokenizer: every space there and back, alignment, windows, rollout steps."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces as gym
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_trajectory.codec import MAX_JOINT_IDS
from omnitok_trajectory.environments import describe
from omnitok_trajectory.episode import Episode, tree_row, tree_same
from omnitok_trajectory.examples import random_episodes, random_rows
from omnitok_trajectory.flatten import flatten, stack, unflatten
from omnitok_trajectory.scripted import CartPoleMix
from omnitok_trajectory.spaces import BOX_DTYPES, parse, width
from omnitok_trajectory.tokenizer import TrajectoryTokenizer, returns_to_go

from omnitok.batch import Schema, collate
from omnitok.checks import check_tokenizer
from omnitok.config import from_plain, to_plain
from omnitok.errors import ConfigError, InputError
from omnitok.nn.steps import Pipeline, Step
from omnitok.sequence import TokenSequence

PENDULUM = {"env": "Pendulum-v1"}
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def boxes(draw: Any) -> gym.Space:
    dtype = np.dtype(draw(st.sampled_from(BOX_DTYPES)))
    shape = draw(shapes)
    if dtype.kind == "f":
        low, high = draw(st.sampled_from([(-1.5, 2.0), (-np.inf, np.inf), (0.0, np.inf)]))
    else:
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return gym.Box(low, high, shape, dtype.type)


leaf_kinds = st.one_of(
    boxes(),
    st.builds(lambda n, start: gym.Discrete(n, start=start), st.integers(1, 6), st.integers(-3, 3)),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(gym.MultiDiscrete),
    st.integers(1, 4).map(gym.MultiBinary),
    st.builds(lambda n, few: gym.Text(n, min_length=few, charset="aZ7 \u00fc\u732b"), st.integers(1, 4), st.integers(0, 1)),
)
any_space = st.recursive(
    leaf_kinds,
    lambda below: st.one_of(
        st.lists(below, min_size=1, max_size=3).map(gym.Tuple),
        st.dictionaries(st.sampled_from("abcd"), below, min_size=1, max_size=3).map(gym.Dict),
    ),
    max_leaves=4,
)


def tokenizer_of(observed: gym.Space, acted: gym.Space, **more: Any) -> TrajectoryTokenizer:
    return TrajectoryTokenizer(observation_space=describe(observed), action_space=describe(acted), **more)


def episode(steps: int = 5, final: bool = True, **more: Any) -> Episode:
    rng = np.random.default_rng(steps)
    fields = {
        "observations": rng.normal(size=(steps + final, 4)).astype(np.float32),
        "actions": rng.integers(0, 2, steps),
        "rewards": rng.normal(size=steps),
    }
    return Episode(**{**fields, **more})


# -- there and back


@settings(deadline=None, max_examples=60)
@given(observed=any_space, acted=any_space, seed=st.integers(0, 99), returns=st.booleans())
def test_every_space_comes_back_exactly(observed: gym.Space, acted: gym.Space, seed: int, returns: bool) -> None:
    tokenizer = tokenizer_of(observed, acted, returns=returns)
    for raw in tokenizer.samples(seed):
        tokens = tokenizer.encode(raw)
        assert tokenizer.decode(tokens) == raw
        assert len(tokens) == tokenizer.count(raw)
        assert tokens == tokenizer.encode(pickle.loads(pickle.dumps(raw)))


@settings(deadline=None, max_examples=40)
@given(space=any_space)
def test_descriptions_agree_with_gymnasium(space: gym.Space) -> None:
    """Rows that we draw are members for gymnasium, rows that gymnasium draws come back from our matrix."""
    own = parse(describe(space), "observation_space")
    rows = random_rows(own, 3, np.random.default_rng(0))
    assert parse(describe(space), "x") == own
    matrix = flatten(own, rows, "rows")
    assert matrix.shape == (3, width(own)) and tree_same(unflatten(own, matrix), rows)
    first = tree_row(rows, 0)
    assert space.contains(_rekey(first, space)), (first, space)


def _rekey(row: Any, space: gym.Space) -> Any:
    """Discrete members must be scalars and Box members arrays for `contains`."""
    if isinstance(space, gym.Dict):
        return {key: _rekey(row[key], branch) for key, branch in space.spaces.items()}
    if isinstance(space, gym.Tuple):
        return tuple(_rekey(part, branch) for part, branch in zip(row, space.spaces, strict=True))
    return row if isinstance(space, gym.Discrete | gym.Text) else np.asarray(row)


def test_words_that_are_not_in_their_space_are_refused_and_predicted_ones_end() -> None:
    space = parse(describe(gym.Text(3, min_length=1, charset="ab")), "x")
    assert unflatten(space, np.array([[0, 1, 0, 1, 0, 0, 0, 1, 0.0]]))[0] == "a", "nothing stands behind the end"
    for rows in (["c"], [""], ["abab"]):
        with pytest.raises(InputError, match="at step 0 is not in the Text space"):
            flatten(space, np.array(rows), "rows")
    with pytest.raises(InputError, match="one string per step"):
        flatten(space, np.zeros(2), "rows")
    for wrong in (
        {"characters": "aa", "max_length": 2},
        {"characters": "a", "max_length": 0},
        {"characters": "", "max_length": 1},
    ):
        with pytest.raises(ConfigError, match="Text space"):
            parse({"type": "Text", **wrong}, "x")


def test_pictures_are_one_uint8_token_per_step() -> None:
    tokenizer = tokenizer_of(gym.Box(0, 255, (24, 20, 3), np.uint8), gym.Discrete(3))
    raw = tokenizer.samples()[2]
    tokens = tokenizer.encode(raw)
    seen = tokens.select("trajectory/observation").spans[0]
    assert seen.features is not None and seen.features.shape == (8, 24 * 20 * 3) and seen.features.dtype == torch.uint8
    channel = tokenizer.fit([raw]).channels()["trajectory/observation"]
    assert (channel.mean, channel.std) == (127.5, 127.5)
    assert all(from_plain(to_plain(step), Step) == step for step in channel.steps())
    embedded = Pipeline(channel.steps(), channel.size, 16)(seen.features, None)
    assert embedded.shape == (8, 16) and embedded.isfinite().all()


def test_many_joint_actions_become_features() -> None:
    few, many = gym.MultiDiscrete([4, 4]), gym.MultiDiscrete([17, 17, 17])
    assert MAX_JOINT_IDS < 17**3
    channels = [tokenizer_of(gym.Discrete(2), acted).channels()["trajectory/action"] for acted in (few, many)]
    assert channels[0].vocab == 16 and channels[1].vocab is None and channels[1].width == (51,)


@settings(deadline=None, max_examples=30)
@given(rewards=st.lists(st.floats(-1e6, 1e6, width=32), max_size=20), wide=st.booleans())
def test_rewards_come_back_bit_for_bit(rewards: list[float], wide: bool) -> None:
    tokenizer = TrajectoryTokenizer()
    raw = episode(len(rewards), rewards=np.array(rewards, np.float64 if wide else np.float32))
    assert np.array_equal(tokenizer.decode(tokenizer.encode(raw)).rewards, raw.rewards)


def test_whole_rewards_need_no_copy_in_the_meta() -> None:
    tokenizer = TrajectoryTokenizer()
    assert "rewards" not in tokenizer.encode(episode(rewards=np.ones(5))).spans[0].meta
    assert "rewards" in tokenizer.encode(episode(rewards=np.full(5, 0.1))).spans[0].meta


def test_endings_are_kept_apart() -> None:
    tokenizer = TrajectoryTokenizer()
    for terminated, truncated in ((False, False), (True, False), (False, True), (True, True)):
        raw = episode(terminated=terminated, truncated=truncated)
        back = tokenizer.decode(tokenizer.encode(raw))
        assert (back.terminated, back.truncated) == (terminated, truncated)
        assert back != replace(raw, terminated=not terminated)


def test_an_episode_of_no_steps_is_two_tokens() -> None:
    tokenizer = TrajectoryTokenizer()
    tokens = tokenizer.encode(episode(0))
    assert tokens.channels == ("trajectory/return_to_go", "trajectory/observation") and len(tokens) == 2
    assert tokenizer.decode(tokens) == episode(0, actions=np.zeros(0, np.int64))
    with pytest.raises(InputError, match="this one is empty"):
        tokenizer.encode(episode(0, final=False))


# -- where tokens stand


@settings(deadline=None, max_examples=25)
@given(steps=st.integers(0, 9), final=st.booleans(), returns=st.booleans())
def test_place_agrees_with_encode(steps: int, final: bool, returns: bool) -> None:
    if steps + final == 0:
        return
    tokenizer = TrajectoryTokenizer(returns=returns).named("cartpole")
    tokens = tokenizer.encode(episode(steps, final))
    for span, places in zip(tokens.spans, tokens.places, strict=True):
        for i, place in enumerate(places.tolist()):
            assert tokenizer.place(place, span.meta) == (span.channel, {"step": int(span.axes["step"][i])})
    assert tokenizer.place(len(tokens), tokens.spans[0].meta) is None
    at = 7 if returns else 4
    assert tokenizer.place(at, {"step": 10}) == ("cartpole/observation", {"step": 12})


def test_return_to_go_stands_before_its_observation_and_action() -> None:
    raw = episode(4, rewards=np.array([1.0, 2.0, 4.0, 8.0]))
    tokens = TrajectoryTokenizer().encode(raw)
    for t in range(4):
        r, o, a = (tokens[3 * t + j : 3 * t + j + 1].spans[0] for j in range(3))
        assert float(r.features) == raw.rewards[t:].sum()
        assert np.array_equal(o.features[0], raw.observations[t]) and int(a.ids) == raw.actions[t]
        assert [int(s.axes["step"]) for s in (r, o, a)] == [t, t, t]
    last = tokens[12:]
    assert float(last.spans[0].features) == 0 and np.array_equal(last.spans[1].features[0], raw.observations[4])


@settings(deadline=None, max_examples=25)
@given(start=st.integers(0, 9), window=st.integers(1, 10))
def test_a_window_keeps_the_return_of_the_whole_episode(start: int, window: int) -> None:
    tokenizer = TrajectoryTokenizer()
    raw = episode(12)
    cut = tokenizer.encode(raw)[tokenizer.unit * start : tokenizer.unit * (start + window)]
    first = cut[:1].spans[0]
    assert first.channel == "trajectory/return_to_go" and int(first.axes["step"]) == start
    assert float(first.features) == returns_to_go(raw)[start]
    with pytest.raises(InputError, match="cropped"):
        tokenizer.decode(cut)


def test_slicing_and_joining_is_the_identity() -> None:
    tokens = TrajectoryTokenizer().encode(episode(6))
    for cut in range(len(tokens) + 1):
        assert tokens[:cut] + tokens[cut:] == tokens


def test_environments_live_side_by_side() -> None:
    cart, swing = TrajectoryTokenizer().named("cartpole"), TrajectoryTokenizer(**PENDULUM).named("pendulum")
    both = cart.encode(cart.samples()[2]) + swing.encode(swing.samples()[3])
    assert cart.decode(both.select("cartpole")) == cart.samples()[2]
    assert swing.decode(both.select("pendulum")) == swing.samples()[3]
    channels = {**cart.channels(), **swing.channels()}
    assert len(channels) == 6
    batch = collate([both, both[:7]], Schema(dict.fromkeys(channels, "causal"), {"step": 0}))
    assert len(batch) == len(both) + 7 and batch.streams["main"].layout.axes["step"].min() == 0


def test_without_returns_a_step_is_its_observation_and_action() -> None:
    tokenizer, raw = TrajectoryTokenizer(returns=False), episode(4)
    assert (TrajectoryTokenizer.unit, TrajectoryTokenizer().unit, tokenizer.unit) == (3, 3, 2)
    tokens, full = tokenizer.encode(raw), TrajectoryTokenizer().encode(raw)
    assert tokens.channels == ("trajectory/observation", "trajectory/action") == tuple(tokenizer.channels())
    assert len(tokens) == 9 == tokenizer.count(raw) and len(full) == 14
    for t in range(4):
        both = [tokens[2 * t : 2 * t + 2], full[3 * t + 1 : 3 * t + 3]]
        assert [torch.equal(a.content, b.content) for a, b in zip(*(x.spans for x in both), strict=True)] == [True, True]
    fitted = tokenizer.fit([raw])
    assert fitted.channels() == {k: v for k, v in TrajectoryTokenizer().fit([raw]).channels().items() if "return" not in k}
    bare = TokenSequence(tuple(s.replace(meta={"steps": 4, "final": True}) for s in tokens.spans))
    with pytest.raises(InputError, match="the rewards are not known"):
        tokenizer.decode(bare)


def test_without_returns_the_laws_hold() -> None:
    found = check_tokenizer(TrajectoryTokenizer(returns=False))
    assert len(found) > 10 and [str(f) for f in found if not f.ok] == []


# -- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.array([0, np.nan, 0])}, "rewards: NaN or infinity at step 1"),
        ({"rewards": np.array([0, 3e38, 3e38])}, "too large for float32"),
        ({"observations": np.full((4, 4), [0, 0, np.inf, 0], np.float32)}, "observations: NaN or infinity at step 0"),
        ({"observations": np.zeros((4, 3), np.float32)}, r"rows of shape \(4,\).*got \(3,\)"),
        ({"observations": np.full((4, 4), 0.1)}, "does not fit the space's float32"),
        ({"observations": np.zeros((6, 4), np.float32)}, "3 or 4 observations, got 3 and 6"),
        ({"observations": {"a": np.zeros((4, 4))}}, "expected one array for a Box space"),
        ({"actions": np.array([0, 1, 2])}, "actions: 2 at step 2 is not in the Discrete space"),
        ({"actions": np.array([0, 0.5, 1])}, "step 1 does not fit the space's int64"),
        ({"actions": np.array([0, 1])}, "3 rewards need 3 actions"),
        ({"actions": np.array(["a", "b", "c"])}, "actions: expected numbers"),
    ],
)
def test_bad_episodes_are_refused_by_field_and_step(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrajectoryTokenizer().encode(episode(3, **change))


def test_other_objects_and_long_episodes_are_refused() -> None:
    with pytest.raises(InputError, match="takes an Episode, got a str"):
        TrajectoryTokenizer().encode("text")
    with pytest.raises(InputError, match=r"6 steps; the limit is 5 \(max_steps\)"):
        TrajectoryTokenizer(max_steps=5).encode(episode(6))
    with pytest.raises(InputError, match="rewards must be one number per step"):
        episode(3, rewards=np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"observation_space": {"type": "Bax", "shape": [3]}}, "observation_space: .*Box, Discrete"),
        ({"action_space": {"type": "Discrete", "n": 0}}, "action_space: 'n' of a Discrete space is 0"),
        ({"observation_space": {"type": "Box", "shape": [3], "lo": 1}}, "unknown field `lo`"),
        ({"observation_space": {"type": "Tuple", "spaces": []}}, "rows of 0 numbers"),
        ({"observation_space": {"type": "Box", "shape": [2000, 2000]}}, "rows of 4000000 numbers"),
    ],
)
def test_bad_configuration_is_refused_by_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrajectoryTokenizer(**fields)


def test_the_order_in_which_a_dict_is_described_does_not_matter() -> None:
    parts = {"b": {"type": "Discrete", "n": 2}, "a": {"type": "Box", "shape": [2]}}
    rows = {"b": np.array([1, 0, 1]), "a": np.arange(6, dtype=np.float32).reshape(3, 2)}
    matrices = [
        flatten(parse({"type": "Dict", "spaces": {key: parts[key] for key in order}}, "x"), rows, "rows")
        for order in ("ab", "ba")
    ]
    assert np.array_equal(*matrices) and matrices[0][1].tolist() == [2, 3, 1, 0]


def test_unknown_environments_are_refused() -> None:
    with pytest.raises(ConfigError, match="CartPol-v1"):
        TrajectoryTokenizer(env="CartPol-v1").channels()
    with pytest.raises(ConfigError, match="names a module"):
        TrajectoryTokenizer(env="os:CartPole-v1").channels()
    with pytest.raises(ConfigError, match="Sequence are not supported"):
        describe(gym.Dict(a=gym.Sequence(gym.Discrete(4))))


# -- fit and embedding


def test_fit_measures_observations_and_returns() -> None:
    tokenizer, many = TrajectoryTokenizer(), [episode(n) for n in range(1, 20)]
    fitted = tokenizer.fit(iter(many))
    assert fitted == pickle.loads(pickle.dumps(fitted)) and fitted.state != tokenizer.state
    observed = fitted.channels()["trajectory/observation"]
    rows = np.concatenate([e.observations for e in many])
    assert np.allclose(observed.mean, rows.mean(0)) and np.allclose(observed.std, rows.std(0))
    returned = fitted.channels()["trajectory/return_to_go"]
    everywhere = np.concatenate([returns_to_go(e) for e in many])
    assert np.isclose(returned.mean, everywhere.mean()) and np.isclose(returned.std, everywhere.std())
    assert fitted.decode(fitted.encode(many[3])) == many[3]


def test_one_hot_columns_and_bounded_actions_keep_their_scale() -> None:
    space = gym.Dict(number=gym.Box(-np.inf, np.inf, (1,)), choice=gym.Discrete(3))
    tokenizer = tokenizer_of(space, gym.Box(-2, 2, (1,)))
    own = parse(describe(space), "observation_space")
    samples = random_episodes(own, tokenizer.actions.space, 0)
    channels = tokenizer.fit(samples).channels()
    assert channels["trajectory/observation"].mean[:3] == (0, 0, 0)  # type: ignore[index]
    assert channels["trajectory/observation"].std[:3] == (1, 1, 1)  # type: ignore[index]
    assert (channels["trajectory/action"].mean, channels["trajectory/action"].std) == (0.0, 2.0)


# -- step by step


def test_steps_of_a_rollout_are_the_tokens_of_the_episode() -> None:
    for fields in ({}, PENDULUM, {"returns": False}, {**PENDULUM, "returns": False}):
        tokenizer = TrajectoryTokenizer(**fields)
        raw = tokenizer.samples()[2]
        whole, returns = tokenizer.encode(raw), returns_to_go(raw)
        for t in range(len(raw)):
            before = tokenizer.step_tokens(returns[t : t + 1], raw.observations[t : t + 1], t)[0]
            after = tokenizer.action_tokens(raw.actions[t : t + 1], t)[0]
            places = range(tokenizer.unit * t, tokenizer.unit * (t + 1))
            for span, place in zip((*before.spans, *after.spans), places, strict=True):
                same = whole[place : place + 1].spans[0]
                assert (span.channel, dict(span.axes)) == (same.channel, dict(same.axes))
                assert torch.equal(span.content, same.content)


def test_answers_become_actions_of_the_space() -> None:
    cart, swing = TrajectoryTokenizer(), TrajectoryTokenizer(**PENDULUM)
    assert cart.decode_actions(torch.tensor([1, 0])) == [1, 0]
    assert [a.tolist() for a in swing.decode_actions(torch.tensor([[7.5], [-0.5]]))] == [[2.0], [-0.5]]
    acted = gym.Dict(push=gym.Box(-1, 1, (2,)), pick=gym.Discrete(3, start=5), flag=gym.MultiBinary(1))
    several = tokenizer_of(gym.Discrete(2), acted)
    action = several.decode_actions(torch.tensor([[0.9, 1.4, 1.2, 1.3, -3.0, 0.25]]))[0]
    assert action["flag"].tolist() == [1] and action["pick"] == 5 and action["push"].tolist() == [-1.0, 0.25]
    pair = tokenizer_of(gym.Discrete(2), gym.MultiDiscrete([2, 3]))
    assert pair.decode_actions(torch.tensor([5]))[0].tolist() == [1, 2]


def test_observations_of_another_precision_are_cast_while_an_environment_runs() -> None:
    tokens = TrajectoryTokenizer().step_tokens([1.0], [np.full(4, 0.1)], 3)[0]
    assert tokens.spans[1].features is not None and tokens.spans[1].features.dtype == torch.float32


# -- real environments


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "FrozenLake-v1", "Blackjack-v1"])
def test_recorded_environments_come_back(env: str) -> None:
    made = gymnasium.make(env)
    made.action_space.seed(0)
    observation, _ = made.reset(seed=0)
    observations, actions, rewards, ended = [observation], [], [], False
    while not ended and len(actions) < 20:
        actions.append(made.action_space.sample())
        observation, reward, terminated, truncated, _ = made.step(actions[-1])
        observations.append(observation)
        rewards.append(float(reward))
        ended = terminated or truncated
    tokenizer = TrajectoryTokenizer(env=env)
    rows = stack(observations, tokenizer.observations.space), stack(actions, tokenizer.actions.space)
    raw = Episode(*rows, np.array(rewards), terminated, truncated)
    made.close()
    assert tokenizer.decode(tokenizer.encode(raw)) == raw


def test_the_strip_has_a_mark_for_every_token() -> None:
    tokenizer = TrajectoryTokenizer()
    raw = CartPoleMix(count=3).episodes()[2]
    tokens = tokenizer.encode(raw)
    picture = tokenizer.show(raw, tokens)
    assert picture.kind == "strip" and len(picture.marks) == len(tokens)
    assert picture.marks[:4] == [(0, 0), (1, 0), (2, 0), (0, 1)]
    assert [len(row) for row in picture.data] == [len(raw) + 1, len(raw) + 1, len(raw)]
