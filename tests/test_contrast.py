"""The contrastive objective: its loss, scores and chance, whole training runs, and CLIP's own answers."""

import math
import random
from pathlib import Path

import pytest
import torch

from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError, SequenceError, UnknownNameError
from omnitok.evaluate import evaluate
from omnitok.model import Model, Preset, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.nn.steps import Axis, Linear, Pool, PoolModule, Table, TemperatureModule
from omnitok.objectives import At, Contrast
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.run import load_run
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.train import train
from tests.laws.laws import neighbours_do_not_matter, packed_equals_alone

TOYS = Path(__file__).with_name("toys.py")
CHANNELS = {"words": Channel(vocab=11), "sound": Channel(width=(3,), attend="full")}
TASK = {"pair": Contrast(("left", "right"), dim=6)}
BLOCK = (Residual("attention", Attention(2), pre=Norm()), Residual("mlp", MLP(16), pre=Norm()))


class GivenStreams(Preset, frozen=True):
    """Given streams, with two roles."""

    streams: dict[str, Stream]
    roles = ("words", "sound")

    def model(self, bound, channels):
        return Model(self.streams)


def model_of(**right):
    """Two streams of other widths, each with its free channel in it; `right` changes the second."""
    torch.manual_seed(0)
    left = Stream(8, (BLOCK,), Norm(), attend="full")
    heads = {n: s for o in TASK.values() for n, s in o.heads("pair", CHANNELS).items()}
    return build(Model({"left": left, "right": Stream(8, (BLOCK, BLOCK), Norm(), **right)}), CHANNELS, heads).eval()


def pair(n: int, m: int, seed: int) -> Document:
    g = torch.Generator().manual_seed(seed)
    left = TokenSequence((Span("words", torch.randint(11, (n,), generator=g)),))
    right = TokenSequence((Span("sound", features=torch.randn(m, 3, generator=g)),))
    document = Document({"left": left, "right": right}, name=f"pair {seed}")
    return TASK["pair"].mark(document, {}, At("pair", CHANNELS, random.Random(0)))


PAIRS = [pair(n, m, i) for i, (n, m) in enumerate(((3, 5), (1, 2), (7, 1), (3, 5)))]


def vectors(model, documents) -> torch.Tensor:
    with torch.no_grad():
        return model(collate(documents, model.schema))["pair"]


def test_a_documents_vectors_do_not_depend_on_the_batch() -> None:
    model = model_of()
    together = vectors(model, PAIRS)
    assert together.shape == (4, 2, 6)
    for document, got in zip(PAIRS, together, strict=True):
        torch.testing.assert_close(got, vectors(model, [document])[0])
    others = [pair(len(d.streams["left"]), len(d.streams["right"]), 50 + i) for i, d in enumerate(PAIRS)]
    neighbours_do_not_matter(model, PAIRS, others, TASK)


def test_packed_is_alone_for_vectors_with_gradients() -> None:
    """Not for the loss, whose negatives are the batch's: here each pair is asked for numbers of its own."""

    class Alone(Contrast, frozen=True):
        def loss(self, out, ask):
            return (out.square() * torch.arange(6)).sum((1, 2))

    packed_equals_alone(model_of(), PAIRS, {"pair": Alone(("left", "right"))})


def test_the_loss_is_the_mean_of_both_directions() -> None:
    model = model_of()
    batch = collate(PAIRS, model.schema)
    out = vectors(model, PAIRS)
    got = TASK["pair"].loss(out, batch.asks["pair"])
    for i in range(4):
        forth = [float(out[i, 0] @ out[j, 1]) for j in range(4)]
        back = [float(out[j, 0] @ out[i, 1]) for j in range(4)]
        want = sum(math.log(sum(map(math.exp, row))) - row[i] for row in (forth, back)) / 2
        assert float(got[i]) == pytest.approx(want, rel=1e-5)


def test_length_one_times_a_learned_temperature() -> None:
    model = model_of()
    out = vectors(model, PAIRS)
    scale = model.get_parameter("heads.left:contrast.3.log").detach().exp()
    torch.testing.assert_close(out.norm(dim=2), torch.stack([scale.expand(4), torch.ones(4)], 1))
    assert float(scale) == pytest.approx(1 / 0.07)
    assert sum(isinstance(m, TemperatureModule) for m in model.modules()) == 1
    batch = collate(PAIRS, model.schema)
    TASK["pair"].loss(model(batch)["pair"], batch.asks["pair"]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for n, p in model.named_parameters() if n.startswith("heads."))


def test_scores_count_what_is_found_and_chance_is_a_draw() -> None:
    model, objective = model_of(), TASK["pair"]
    ask = collate(PAIRS, model.schema).asks["pair"]
    found = torch.eye(4, 6)
    out = torch.stack([found, found[[0, 1, 3, 2]]], 1)
    scores = {name: up / down for name, (up, down) in objective.score(out, ask).items()}
    assert scores["left_to_right"] == scores["right_to_left"] == 0.5
    lopsided = torch.stack([torch.tensor([[2.0, 3.0], [0.0, 4.0]]), torch.eye(2)], 1)  # products [[2, 3], [0, 4]]
    found = {name: up / down for name, (up, down) in objective.score(lopsided, ask).items()}
    assert (found["left_to_right"], found["right_to_left"]) == (0.5, 1.0)
    chance = objective.chance(torch.cat([objective.seen(ask), objective.seen(ask.replace(weight=torch.ones(1)))]))
    assert set(chance) == set(scores)
    assert chance["left_to_right"] == pytest.approx((4 * 0.25 + 1) / 5), "two batches, of four pairs and of one"
    assert chance["nats"] == pytest.approx(4 * math.log(4) / 5)
    alike = objective.score(torch.zeros(4, 2, 6), ask)["nats"]
    assert alike[0] / alike[1] == pytest.approx(math.log(4)), "the chance of nats is that of equal products"
    assert objective.chance(torch.zeros(0)) == {"left_to_right": 0.0, "right_to_left": 0.0, "nats": 0.0}


@pytest.mark.parametrize("kind", ["mean", "first", "last"])
def test_pools_read_their_rows(kind) -> None:
    x = torch.randn(6, 2)
    group = torch.tensor([0, 0, 0, 2, 2, 3])
    rows = {"mean": lambda part: part.mean(0), "first": lambda part: part[0], "last": lambda part: part[-1]}[kind]
    want = torch.stack([rows(x[:3]), torch.zeros(2), rows(x[3:5]), rows(x[5:])])
    module = Pool(kind).build(2, 2)
    torch.testing.assert_close(module(x, Context(group=group, groups=4)), want)
    assert torch.equal(PoolModule(kind)(x, Context()), x)
    assert torch.equal(module(x[:0], Context(group=group[:0], groups=2)), torch.zeros(2, 2))


def test_mistakes_are_named() -> None:
    mark = TASK["pair"].mark
    at = At("pair", CHANNELS, random.Random(0))
    with pytest.raises(SequenceError, match="pair 0: the document has no stream 'right'; did you mean 'wright'"):
        mark(PAIRS[0].replace(streams={"left": PAIRS[0].streams["left"], "wright": TokenSequence()}), {}, at)
    with pytest.raises(SequenceError, match="stream 'right' is empty"):
        mark(PAIRS[0].replace(streams={**PAIRS[0].streams, "right": TokenSequence()}), {}, at)
    with pytest.raises(ConfigError, match="got 'left' twice"):
        Contrast(("left", "left")).heads("pair", CHANNELS)
    with pytest.raises(UnknownNameError, match="unknown stream 'left'"):
        build(Model({"main": Stream(8)}), CHANNELS, TASK["pair"].heads("pair", CHANNELS))
    with pytest.raises(ConfigError, match="of dim 6 is like 'left' of dim 8: make them equal"):
        build(Model({"left": Stream(8), "right": Stream(6, like="left")}), CHANNELS)


def test_a_stream_alike_embeds_and_answers_in_its_own_way() -> None:
    """Its blocks and norm are kept once, by the stream that it is like."""

    def stream(role, first, **more):
        heads = {"contrast": (Pool(), Linear(4))}
        return Stream(8, embed={role: (first,)}, steps=(Axis("position", 9),), heads=heads, attend="full", **more)

    streams = {"left": stream("words", Table(11), blocks=(BLOCK,), norm=Norm()), "right": stream("sound", Linear(), like="left")}
    model = build(GivenStreams(streams), CHANNELS, roles={"words": "words", "sound": "sound"}).eval()
    own = {n.split(".")[2] for n in model.state_dict() if n.startswith("streams.right.")}
    assert own == {"embed", "steps", "heads"}
    assert model.stream("right").blocks is model.stream("left").blocks
    batch = collate(PAIRS, model.schema)
    before = model.hidden(batch)
    with torch.no_grad():
        model.get_parameter("streams.left.blocks.0.mlp.mixer.up.weight").zero_()
    assert all(not torch.equal(x, before[s]) for s, x in model.hidden(batch).items())


def test_streams_of_different_widths_are_compared() -> None:
    left = Stream(12, (BLOCK,), Norm(), embed={"words": (Table(11),)}, attend="full")
    streams = {"left": left, "right": Stream(8, embed={"sound": (Linear(),)})}
    heads = TASK["pair"].heads("pair", CHANNELS)
    model = build(GivenStreams(streams), CHANNELS, heads, roles={"words": "words", "sound": "sound"})
    assert vectors(model, PAIRS).shape == (4, 2, 6)


# -- whole runs

SUNG = {
    "name": "sung",
    "data": {"name": "words/sung"},
    "document": {"tokens": [{"words": "list"}], "patches": [{"waves": "wave"}]},
    "objective": {"contrast": {"streams": ["tokens", "patches"]}},
}
ROLES = {"tokens": "words", "patches": "waves"}
SIDE = {"dim": 32, "heads": 2, "patch": [1, 2, 2], "patches": 3, "positions": 4, "embedding": 16}
TOWERS = {
    "limoe": {**SIDE, "depth": 2, "experts": 4},
    "clip": {**SIDE, "depth": 1, "tokens_dim": 24, "tokens_depth": 1, "tokens_heads": 2},
}


@pytest.mark.train
@pytest.mark.parametrize("preset", TOWERS)
def test_pairs_are_learned(preset, tmp_path) -> None:
    """Far above chance on held-out pairs, in both directions; a run that is loaded scores the same."""
    host = load_plugins(only=[], files=[TOYS])
    settings = {"steps": 400, "budget": 256, "warmup": 10, "lr": 0.01, "log_every": 50, "eval_samples": 64}
    model = {"preset": preset, "channels": ROLES, **TOWERS[preset]}
    result = train(make_recipe({"tasks": [SUNG], "model": model, "train": settings}), tmp_path, host, quiet=True)
    report = result.report["sung"]
    for name in ("tokens_to_patches", "patches_to_tokens"):
        assert report["chance"][name] < 0.05 and report[name] > 0.8, report
    run = load_run(tmp_path, [TOYS])
    assert evaluate(run.model, run.tasks.opened(host)) == result.report


@pytest.mark.slow
def test_clips_logits_and_loss_are_the_librarys() -> None:
    """All products of a packed batch, and the loss of its pairs."""
    from tests.laws.parity.case import quiet
    from tests.laws.parity.towers import clip

    case = clip()
    objective = Contrast(("tokens", "patches"))
    model = case.model(torch.float64)
    at = At("pair", model.channel_info, random.Random(0))
    documents = [objective.mark(d.replace(asks={}), {}, at) for d in case.documents()]
    batch = collate(documents, model.schema).map(lambda x: x.double() if x.is_floating_point() else x)
    out = model(batch)["pair"]
    reference, n = case.reference.double(), max(len(raw[0]) for raw in case.raw)
    padded = torch.stack([torch.nn.functional.pad(raw[0], (0, n - len(raw[0]))) for raw in case.raw])
    with quiet(), torch.no_grad():
        want = reference(input_ids=padded, pixel_values=torch.stack([raw[1] for raw in case.raw]), return_loss=True)
    torch.testing.assert_close(out[:, 0] @ out[:, 1].T, want.logits_per_text, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(objective.loss(out, batch.asks["pair"]).mean(), want.loss, atol=1e-9, rtol=1e-9)
