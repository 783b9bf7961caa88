"""Observations as patches: exact, aligned, like the image plugin's, and a Decision Transformer over them that obeys the laws."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces as gym
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_image.tokenizer import ImageTokenizer
from omnitok_trajectory import gaze
from omnitok_trajectory.baselines import RECIPES, tokens_per_step
from omnitok_trajectory.episode import Episode
from omnitok_trajectory.npz import write_episodes
from omnitok_trajectory.rollout import ModelPolicy, rollout
from omnitok_trajectory.scripted import KeyToDoorPixelWalks, KeyToDoorWalks, ShortestPathPixelWalks, ShortestPathWalks
from omnitok_trajectory.tokenizer import TrajectoryTokenizer, returns_to_go
from test_rl_rollout import Anything, Kept, close, model_of
from test_trajectory import leaf_kinds, tokenizer_of

from omnitok import checkpoint, cli, load_plugins, load_run
from omnitok.batch import Document, collate
from omnitok.checks import check_tokenizer
from omnitok.errors import ConfigError, InputError
from omnitok.objectives import At, Next
from omnitok.recipe import Recipe, make_recipe
from omnitok.sequence import TokenSequence
from omnitok.tasks import prepare
from omnitok.train import Training, train
from tests.laws.laws import cached_equals_full, packed_equals_alone, pieces, uncut

HOST = load_plugins(only=["trajectory", "image"])
PICTURE = gym.Box(0, 255, (7, 10, 3), np.uint8)
SEEN: dict[str, gym.Space] = {
    "Picture": PICTURE,
    "Grey": gym.Box(0, 1, (6, 8), np.uint8),
    "Beside": gym.Dict(camera=gym.Dict(front=PICTURE), speed=gym.Box(-1, 1, (2,)), word=gym.Text(3, charset="ab")),
    "Pair": gym.Tuple((gym.Discrete(3), PICTURE)),
}
for _name, _space in SEEN.items():
    gymnasium.register(
        f"test/Seen{_name}-v0",
        entry_point=type(f"Seen{_name}", (Anything,), {"observation_space": _space, "action_space": gym.Box(-1, 1, (2,))}),
    )
PIXELS = "omnitok/ShortestPathPixels-v0"
PLAIN: dict[str, Any] = {
    "tokenizers": {"walk": {"plugin": "trajectory", "patch_size": 8, "max_steps": 10}},
    "tasks": [
        {
            "name": "go",
            "data": {"name": "trajectory/shortest-path-pixels", "count": 30},
            "document": [{"walk": "episode"}],
            "objective": {"next": {"on": "walk/action"}},
            "context": 44,
        }
    ],
    "model": {"preset": "decoder", "dim": 16, "depth": 2, "heads": 2},
    "train": {"steps": 4, "budget": 440, "threads": 1, "evaluate_every": 0, "checkpoint_every": 2, "log_every": 1},
}


def recipe(**changes: Any) -> Recipe:
    return make_recipe({**PLAIN, **changes})


def seen(name: str, **fields: Any) -> TrajectoryTokenizer:
    return TrajectoryTokenizer(env=f"test/Seen{name}-v0", **{"patch_size": 4, **fields})


# -- there and back


@st.composite
def with_one_picture(draw: Any) -> gym.Space:
    """A space that holds one picture, alone or among others that are none."""
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), *draw(st.sampled_from([(), (1,), (3,), (4,)])))
    low, high = draw(st.sampled_from([(0, 255), (0, 1), (16, 235)]))
    space: gym.Space = gym.Box(low, high, shape, np.uint8)
    for kind in draw(st.lists(st.sampled_from(["dict", "tuple"]), max_size=2)):
        others = [x for x in draw(st.lists(leaf_kinds, max_size=2)) if x.dtype != np.uint8]
        at = draw(st.integers(0, len(others)))
        below = [*others[:at], space, *others[at:]]
        space = gym.Dict(dict(zip("abc", below, strict=False))) if kind == "dict" else gym.Tuple(below)
    return space


@settings(deadline=None, max_examples=80)
@given(observed=with_one_picture(), size=st.integers(1, 6), returns=st.booleans(), seed=st.integers(0, 99))
def test_every_picture_comes_back_exactly(observed: gym.Space, size: int, returns: bool, seed: int) -> None:
    """Count is the length, and every token stands where `place` says, for sides that patches divide and others."""
    tokenizer = tokenizer_of(observed, gym.Discrete(3), patch_size=size, returns=returns)
    for raw in tokenizer.samples(seed):
        tokens = tokenizer.encode(raw)
        assert tokenizer.decode(tokens) == raw
        assert (
            len(tokens)
            == tokenizer.count(raw)
            == (tokenizer.unit - 1) * (len(raw) + bool(tokens.spans[0].meta["final"])) + len(raw)
        )
        for span, places in zip(tokens.spans, tokens.places, strict=True):
            for i, place in enumerate(places.tolist()):
                assert tokenizer.place(place, span.meta) == (span.channel, {k: int(v[i]) for k, v in span.axes.items()})
        assert tokenizer.place(len(tokens), tokens.spans[0].meta) is None
        assert sum(map(len, tokenizer.show(raw, tokens).marks)) == 4 * len(tokens)


def test_patches_are_those_of_the_image_plugin() -> None:
    tokenizer, image = tokenizer_of(PICTURE, gym.Discrete(2), patch_size=4), ImageTokenizer(patch_size=4)
    raw = tokenizer.samples()[2]
    tokens = tokenizer.encode(raw)
    assert tokenizer.unit == 2 * 3 + 2
    for t, picture in enumerate(raw.observations):
        (want,) = image.encode(picture).spans
        (got,) = tokens[8 * t + 1 : 8 * t + 7].spans
        assert torch.equal(got.features, want.features) and got.features.dtype == torch.uint8
        assert {k: v.tolist() for k, v in got.axes.items()} == {
            "step": [t] * 6,
            **{k: v.tolist() for k, v in want.axes.items()},
        }
    ours, theirs = tokenizer.channels()["trajectory/observation"], image.channels()["image"]
    assert (ours.width, ours.mean, ours.std, ours.attend, ours.embed) == (
        theirs.width,
        theirs.mean,
        theirs.std,
        "full",
        None,
    )
    assert [(a.axis, a.size) for a in ours.axes] == [("step", 1025), ("h", 64), ("w", 64)]


def test_what_lies_beside_the_picture_is_one_token_behind_it() -> None:
    tokenizer = seen("Beside")
    assert tokenizer.tokens_of == {"return_to_go": 1, "observation": 6, "state": 1, "action": 1} and tokenizer.unit == 9
    raw = tokenizer.samples()[2]
    tokens, returns = tokenizer.encode(raw), returns_to_go(raw)
    for t in range(len(raw)):
        step = tokens[9 * t : 9 * t + 9]
        assert [s.channel.partition("/")[2] for s in step.spans] == list(tokenizer.tokens_of)
        assert float(step.spans[0].features) == returns[t]
        assert torch.equal(
            step.spans[1].features[0].view(3, 4, 4), torch.tensor(raw.observations["camera"]["front"][t, :4, :4]).permute(2, 0, 1)
        )
        assert np.array_equal(step.spans[2].features[0, :2], raw.observations["speed"][t])
        assert np.array_equal(step.spans[3].features[0], raw.actions[t])
    fitted = tokenizer.fit([raw])
    state = fitted.channels()["trajectory/state"]
    assert np.allclose(state.mean[:2], raw.observations["speed"].mean(0))  # type: ignore[index]
    assert fitted.channels()["trajectory/observation"] == tokenizer.channels()["trajectory/observation"]


def test_pixels_are_scaled_by_the_bounds_of_their_colour() -> None:
    low = np.zeros((4, 4, 3), np.uint8)
    high = np.full((4, 4, 3), [255, 1, 0], np.uint8)
    channel = tokenizer_of(gym.Box(low, high, dtype=np.uint8), gym.Discrete(2), patch_size=2).channels()["trajectory/observation"]
    assert channel.mean == (127.5,) * 4 + (0.5,) * 4 + (0.0,) * 4
    assert channel.std == (127.5,) * 4 + (0.5,) * 4 + (1.0,) * 4


@pytest.mark.parametrize(("name", "returns"), [("Picture", True), ("Beside", False)])
def test_the_contract_of_plugins_holds(name: str, returns: bool) -> None:
    found = check_tokenizer(tokenizer_of(SEEN[name], gym.Discrete(3), patch_size=4, returns=returns))
    assert len(found) > 10 and [str(f) for f in found if not f.ok] == []


@pytest.mark.parametrize("name", SEEN)
def test_steps_of_a_rollout_are_the_tokens_of_the_episode(name: str) -> None:
    for returns in (True, False):
        tokenizer = seen(name, returns=returns)
        raw = tokenizer.samples()[2]
        whole, asked, unit = tokenizer.encode(raw), returns_to_go(raw), tokenizer.unit
        rows = [_row(raw.observations, t) for t in range(len(raw))]
        both = tokenizer.step_tokens(asked[3:5], rows[3:5], 4)
        got = both[1] + tokenizer.action_tokens(raw.actions[4:5], 4)[0]
        want = whole[4 * unit : 5 * unit]
        for a, b in zip(got.spans, want.spans, strict=True):
            assert a.channel == b.channel and torch.equal(a.content, b.content)
            assert {k: v.tolist() for k, v in a.axes.items()} == {k: v.tolist() for k, v in b.axes.items()}


def _row(tree: Any, t: int) -> Any:
    if isinstance(tree, dict):
        return {k: _row(v, t) for k, v in tree.items()}
    return tuple(_row(v, t) for v in tree) if isinstance(tree, tuple) else tree[t]


def test_generated_pixels_are_rounded_and_clipped() -> None:
    tokenizer = tokenizer_of(PICTURE, gym.Discrete(2), patch_size=4)
    raw = tokenizer.samples()[2]
    tokens = tokenizer.encode(raw)
    spans = [s.replace(features=s.features.float() + 0.4) if s.channel.endswith("observation") else s for s in tokens.spans]
    assert tokenizer.decode(TokenSequence(tuple(spans))) == raw
    far = [s.replace(features=s.features.float() * 1e9) if s.channel.endswith("observation") else s for s in tokens.spans]
    back = tokenizer.decode(TokenSequence(tuple(far))).observations
    assert np.array_equal(back, np.where(raw.observations > 0, 255, 0))


# -- what is refused


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (gym.Box(-1, 1, (4,)), "this space has none: leave patch_size out"),
        (gym.Box(0, 1, (8, 8, 3), np.float32), "this space has none"),
        (gym.Dict(left=PICTURE, right=PICTURE), r"this space has 2 \(\['left'\], \['right'\]\)"),
    ],
)
def test_a_space_without_one_picture_is_refused(space: gym.Space, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        tokenizer_of(space, gym.Discrete(2), patch_size=4)


def test_other_fields_and_rows_are_refused_by_name() -> None:
    for wrong in ({"patch_size": 0}, {"patch_size": 2000}, {"grid": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            TrajectoryTokenizer(**wrong)
    with pytest.raises(ConfigError, match="2 x 3 patches of 4 pixels, and grid = 2"):
        seen("Picture", grid=2).channels()
    with pytest.raises(ConfigError, match="patch_size = 4 needs observations with one picture"):
        TrajectoryTokenizer(env="CartPole-v1", patch_size=4).channels()
    tokenizer = seen("Beside")
    raw = tokenizer.samples()[2]
    short = {**raw.observations, "camera": {"front": raw.observations["camera"]["front"][:-1]}}
    for change, told in (
        ({"observations": raw.observations["camera"]["front"]}, "expected a dict with keys camera, speed, word"),
        ({"observations": short}, "8 observations, got 7 and 7|different numbers of rows"),
        (
            {"observations": {**raw.observations, "camera": {"front": np.zeros((8, 7, 9, 3))}}},
            r"\['camera'\]\['front'\]: expected rows",
        ),
        ({"observations": {**raw.observations, "speed": np.full((8, 2), np.nan)}}, r"\['speed'\]: NaN or infinity at step 0"),
    ):
        fields = {"observations": raw.observations, "actions": raw.actions, "rewards": raw.rewards, **change}
        with pytest.raises(InputError, match=told):
            tokenizer.encode(Episode(**fields))
    tokens = tokenizer.encode(raw)
    less = [
        s.replace(features=s.features[:-1], axes={k: v[:-1] for k, v in s.axes.items()}, index=None)
        if i == 1
        else s.replace(index=None)
        for i, s in enumerate(tokens.spans)
    ]
    with pytest.raises(InputError, match=r"47 observation tokens \(6 a step\), 8 state tokens \(1 a step\) are no whole"):
        tokenizer.decode(TokenSequence(tuple(less)))


def test_a_preset_without_rows_and_columns_refuses_patches() -> None:
    model = {"preset": "decision-transformer", "dim": 16, "depth": 1}
    with pytest.raises(ConfigError, match=r"role 'observation' has the axes h, w, .*preset = \"decoder\""):
        prepare(recipe(model=model), HOST).build()


# -- a model over patches


def windows(tokenizer: TrajectoryTokenizer, lengths: tuple[int, ...] = (1, 2, 4)) -> list[TokenSequence]:
    """Whole steps from the middle of an episode."""
    tokens, unit = tokenizer.encode(tokenizer.samples()[2]), tokenizer.unit
    return [tokens[unit : unit * (1 + n)] for n in lengths]


def asked(tokenizer: TrajectoryTokenizer, tokens: TokenSequence, name: str = "a") -> Document:
    """A document whose actions are asked."""
    at = At("task", tokenizer.channels(), random.Random(0))
    return Next(tokenizer.channel("action")).mark(Document({"main": tokens}, name=name), {}, at)


@pytest.mark.parametrize("returns", [True, False])
@pytest.mark.parametrize("name", ["Picture", "Beside"])
def test_packed_is_alone_and_cached_is_whole(name: str, returns: bool) -> None:
    tokenizer = seen(name, returns=returns)
    model, head = model_of(tokenizer), tokenizer.channel("action")
    documents = [asked(tokenizer, w, str(i)) for i, w in enumerate(windows(tokenizer))]
    documents = [d.replace(asks={k: a.replace(target=a.target.double()) for k, a in d.asks.items()}) for d in documents]
    packed_equals_alone(model, documents, {"task": Next(head)})
    for backend in ("dense", "rows"):
        packed_equals_alone(model, documents, {"task": Next(head)}, backend, backward=False)
    rule = {head: "causal"}
    parts = [list(pieces(w, uncut(w, model, rule))) for w in windows(tokenizer)]
    assert max(len(p) for parts_of_one in parts for p in parts_of_one) >= 6, "a picture comes at once"
    cached_equals_full(model, parts, attend=rule)


def test_patches_of_a_step_see_each_other_and_nothing_later() -> None:
    tokenizer = seen("Picture")
    model, tokens = model_of(tokenizer), windows(tokenizer)[2]
    unit = tokenizer.unit

    def hidden(k: int | None) -> torch.Tensor:
        """[N, D] where the pixels of token k are others."""
        changed = []
        for span, places in zip(tokens.spans, tokens.places, strict=True):
            features = span.features.clone()
            if span.channel.endswith("observation") and k is not None:
                features[places == k] = 255 - features[places == k]
            changed.append(span.replace(features=features))
        batch = collate([asked(tokenizer, TokenSequence(tuple(changed)))], model.schema)
        with torch.no_grad():
            return model.hidden(batch)["main"]

    before = hidden(None)
    for k in (unit + 1, unit + 3, 2 * unit - 2):
        moved = (hidden(k) - before).abs().amax(1) > 1e-9
        picture = slice(unit + 1, 2 * unit - 1)
        assert moved[picture].all() and moved[picture.stop :].any() and not moved[: picture.start].any()


def test_a_shuffled_or_shifted_picture_is_noticed() -> None:
    tokenizer = seen("Picture")
    model, (_, _, tokens) = model_of(tokenizer), windows(tokenizer)

    def answers(change: Any) -> torch.Tensor:
        spans = [
            s.replace(features=change(s.features.unflatten(0, (-1, 6))).flatten(0, 1)) if s.channel.endswith("observation") else s
            for s in tokens.spans
        ]
        batch = collate([asked(tokenizer, TokenSequence(tuple(spans)))], model.schema)
        with torch.no_grad():
            return model.answer(model.hidden(batch), batch.asks["task"])

    want = answers(lambda x: x)
    assert torch.equal(want, answers(lambda x: x.clone()))
    for change in (
        lambda x: x[:, [1, 0, 2, 3, 4, 5]],  # two patches of a row
        lambda x: x[:, [3, 4, 5, 0, 1, 2]],  # two rows
        lambda x: x.roll(1, 0),  # a step late
        lambda x: x.flatten(0, 1).roll(1, 0).unflatten(0, (-1, 6)),  # a token late
    ):
        assert ((answers(change) - want).abs().amax(1) > 1e-3).all()


def test_training_crops_start_at_a_step_and_the_action_is_read_off_the_last_token_before_it() -> None:
    tasks = prepare(recipe(), HOST)
    starts = set()
    for key in range(40):
        document = tasks("go", key % 5, str(key))
        main = document.main
        assert len(main) <= 44 and main[:1].channels == ("walk/return_to_go",)
        starts.add(int(main.spans[0].axes["step"][0]))
        rows, source = document.asks["go"].rows, document.asks["go"].source
        assert source.tolist() == list(range(10, len(main), 11)) and torch.equal(rows, source - 1)
        assert main[int(rows[0]) : int(source[0])].channels == ("walk/observation",)
    assert len(starts) > 3


@pytest.mark.parametrize("returns", [True, False])
@pytest.mark.parametrize("name", ["Picture", "Beside", "Pair"])
@pytest.mark.parametrize("steps", [None, 1, 3])
def test_rollouts_answer_as_the_last_steps_computed_anew(name: str, returns: bool, steps: int | None) -> None:
    """Cached while the document fits, the window beyond, finished episodes dropped: always one pass over the last K steps."""
    tokenizer = seen(name, returns=returns)
    unit, head, model = tokenizer.unit, tokenizer.channel("action"), model_of(tokenizer)
    policy = Kept(ModelPolicy(tokenizer, model, context=None if steps is None else unit * steps + 1))
    rollout(policy, f"test/Seen{name}-v0", [3.0], 3, seed=1)
    assert len({len(s) for s in policy.seen}) > 1 and max(map(len, policy.seen)) > 4
    for told in policy.seen:
        for t in range(len(told)):
            tokens = TokenSequence()
            for i in range(0 if steps is None else max(0, t + 1 - steps), t + 1):
                tokens += tokenizer.step_tokens([told[i][0]], [told[i][1]], i)[0]
                tokens += tokenizer.action_tokens([told[i][2]], i)[0] if i < t else TokenSequence()
            batch = collate([Document({"main": tokens}, attend={head: "causal"})], model.schema)
            with torch.no_grad():
                last = model.head(head)(model.hidden(batch)["main"][-1:], None)
            assert close(told[t][2], tokenizer.decode_actions(tokenizer.channels()[head].raw(last))[0])


def test_a_prompt_and_a_picture_that_see_each_other_come_together() -> None:
    """Without returns a picture in front is of one run with the first observation."""
    tokenizer, image = seen("Picture", returns=False), ImageTokenizer(patch_size=5)
    head = tokenizer.channel("action")
    model = model_of(SimpleNamespace(channel=tokenizer.channel, channels=lambda: {**image.channels(), **tokenizer.channels()}))
    prompt = image.encode(np.arange(210, dtype=np.uint8).reshape(7, 10, 3))
    policy = Kept(ModelPolicy(tokenizer, model, prompt=prompt))
    rollout(policy, "test/SeenPicture-v0", [3.0], 1, seed=1)
    tokens = prompt
    for t, (r, o, a) in enumerate(policy.seen[0]):
        tokens += tokenizer.step_tokens([r], [o], t)[0]
        batch = collate([Document({"main": tokens}, attend={head: "causal"})], model.schema)
        assert len(batch.streams["main"].layout.order[:10].unique()) == 1
        with torch.no_grad():
            last = model.head(head)(model.hidden(batch)["main"][-1:], None)
        assert close(a, tokenizer.decode_actions(tokenizer.channels()[head].raw(last))[0])
        tokens += tokenizer.action_tokens([a], t)[0]


# -- runs


class StopAt:
    """Stands in for the event that a signal sets."""

    def __init__(self, training: Training, step: int) -> None:
        self.training, self.step = training, step

    def is_set(self) -> bool:
        return self.training.updater.step >= self.step


def outcome(folder: Path) -> Any:
    saved = checkpoint.load(checkpoint.latest(folder))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    files = [saved.files[name] for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors")]
    return saved.step, files, [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pixels") / "run"
    train(recipe(), folder, HOST, quiet=True)
    return folder


def test_resume_is_exact(trained: Path, tmp_path: Path) -> None:
    training = Training(recipe(), tmp_path, HOST, None)
    assert training.run(StopAt(training, 3)).interrupted  # type: ignore[arg-type]
    training.close()
    torch.manual_seed(9)
    training = Training(recipe(), tmp_path, HOST, checkpoint.load(checkpoint.latest(tmp_path)))
    assert training.updater.step == 3
    training.run(threading.Event())
    training.close()
    assert outcome(tmp_path) == outcome(trained)


def test_baselines_see_the_same_steps() -> None:
    made = {name: derive(recipe()) for name, derive in RECIPES.items()}
    assert tokens_per_step(recipe()) == 11
    assert {n: r.tasks[0].context for n, r in made.items()} == {"dt": 44, "bc": 10, "best10": 10, "twin": 40}
    assert {n: r.train.budget for n, r in made.items()} == {"dt": 440, "bc": 400, "best10": 400, "twin": 400}
    document = prepare(made["bc"], HOST)("go", 0, "a")
    assert document.main.channels == ("walk/observation", "walk/action") and document.asks["go"].rows.tolist() == [8]


def test_a_run_is_evaluated_watched_and_drawn(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, looks, found = tmp_path / "a.gif", tmp_path / "a.png", tmp_path / "a.json"
    options = ["--targets=-4,-9", "--episodes", "2", "--reference=-20,-1", "--json", str(found)]
    assert cli.run(["rl", "eval", str(trained), *options]) == 0
    assert np.shape(json.loads(found.read_text())["achieved"]["returns"]) == (2, 2)
    assert cli.run(["rl", "watch", str(trained), "--target=-4", "-o", str(out), "--attention", str(looks)]) == 0
    assert out.stat().st_size > 1000 and looks.stat().st_size > 1000
    capsys.readouterr()
    policy = ModelPolicy(load_run(trained).tokenizers["walk"], load_run(trained).model, 44)
    rollout(policy, PIXELS, [-20.0], 1)
    document = policy.window.document()
    for weights in gaze.attention(load_run(trained).model, document):
        for t in range(0, len(weights), 11):
            assert (weights[t + 1 : t + 10, t + 1 : t + 10] > 0).all() and weights[t, t + 1 :].max() == 0
            assert weights[t + 1 : t + 10, t + 10 :].abs().sum() == 0


def test_a_recorded_set_of_pixels_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As .npz, and collected as a Minari set: the same episodes, pixel by pixel, one of them played on."""
    pytest.importorskip("minari")
    pytest.importorskip("h5py")
    assert cli.run(["rl", "collect", PIXELS, "--episodes", "12", "--quality", "0", "--out", str(tmp_path / "set")]) == 0
    episodes = ShortestPathPixelWalks(count=12).episodes()
    write_episodes(tmp_path / "walks.npz", episodes)
    data = {
        "minari": {"name": "trajectory/minari", "dataset": str(tmp_path / "set")},
        "npz": {"name": "trajectory/file", "path": str(tmp_path / "walks.npz"), "env": PIXELS},
    }
    for name, told in data.items():
        made = recipe(tasks=[{**PLAIN["tasks"][0], "data": told}], train={**PLAIN["train"], "steps": 2})
        tasks = prepare(made, HOST)
        (instance,) = tasks.tokenizers.values()
        read = tasks.datasets["go"].episodes()  # type: ignore[attr-defined]
        assert list(read) == list(episodes) and all(instance.decode(instance.encode(e)) == e for e in read)
        train(made, tmp_path / name, HOST, quiet=True)
        assert cli.run(["rl", "eval", str(tmp_path / name), "--targets=-5", "--episodes", "1", "--reference=-20,-1"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("numbers", "pixels"), [(ShortestPathWalks, ShortestPathPixelWalks), (KeyToDoorWalks, KeyToDoorPixelWalks)]
)
def test_pixel_walks_are_the_walks_and_pictures_tell_what_numbers_tell(numbers: Any, pixels: Any) -> None:
    told: dict[bytes, bytes] = {}
    for a, b in zip(numbers(count=60).episodes(), pixels(count=60).episodes(), strict=True):
        assert np.array_equal(a.actions, b.actions) and np.array_equal(a.rewards, b.rewards)
        assert (a.terminated, a.truncated, b.observations.shape[1:]) == (b.terminated, b.truncated, (24, 24, 3))
        for row, picture in zip(a.observations, b.observations, strict=True):
            assert told.setdefault(picture.tobytes(), row.tobytes()) == row.tobytes(), "two states look alike"
    assert len(told) == len(set(told.values())) >= 20


def test_the_plugin_explains_the_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plugins", "trajectory"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "patch_size" in told and "side in pixels of the patches" in told
