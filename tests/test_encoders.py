"""Encoders of patches, frames and anything else: what they do beside equalling their references."""

import random
from pathlib import Path

import pytest
import torch

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError, LengthError
from omnitok.generate import Session
from omnitok.model import Model, Preset, Stream
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.nn.steps import Axis
from omnitok.nn.tokenmlp import TokenMLP
from omnitok.objectives import At, Classify, Ctc, Masked, Seq2Seq
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Channel
from omnitok.train import train
from tests.laws import worlds
from tests.laws.laws import cached_equals_full, close, neighbours_do_not_matter, packed_equals_alone
from tests.laws.worlds import CHANNELS, FULL_TASKS, TASKS, mixed, world_model

TOYS = Path(__file__).with_name("toys.py")
KIND = {"name": "kind", "data": {"name": "words/counting"}, "document": [{"waves": "wave"}]}
CONFORMER = {"dim": 16, "depth": 1, "heads": 2, "kernel": 3}


def learns(model, batch, objectives, steps=60) -> tuple[float, float]:
    """The loss before and after some updates on one batch."""
    optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(steps):
        out = model.train()(batch)
        loss = sum((objectives[t].loss(out[t], ask) * ask.weight).sum() / ask.weight.sum() for t, ask in batch.asks.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


class Mixing(Preset, frozen=True):
    """Blocks that mix places by an MLP alone."""

    attend: str | None = "full"

    def model(self, bound, channels):
        block = (Residual("tokens", TokenMLP(40, MLP(8)), pre=Norm()), Residual("columns", MLP(32), pre=Norm()))
        return Model({"main": Stream(16, (block, block), Norm(), attend=self.attend)})


def test_mixing_places_stays_inside_a_document():
    model = world_model(Mixing(), FULL_TASKS)
    packed_equals_alone(model, mixed(FULL_TASKS), TASKS)
    neighbours_do_not_matter(model, mixed(FULL_TASKS), mixed(FULL_TASKS, seed=1), TASKS)


def test_mixing_places_equals_its_definition():
    """Columns of zeros behind the end of a short document."""
    torch.manual_seed(0)
    module, x = TokenMLP(6, MLP(5, "relu")).build(3), torch.randn(4, 3)
    layout = collate([worlds.words(4, worlds.maker(0))], world_model(Mixing()).schema).streams["main"].layout
    row = torch.cat([x, torch.zeros(2, 3)])
    want = (torch.relu(row.T @ module.mlp.up.weight.T + module.mlp.up.bias) @ module.mlp.down.weight.T + module.mlp.down.bias).T
    close(module(x, worlds.Context(layout)), want[:4], "mixed places")


def test_mixing_places_knows_its_limits():
    with pytest.raises(ConfigError, match=r"holds TokenMLP, which looks at later tokens: set its `attend` to \"full\""):
        world_model(Mixing(None))
    model = world_model(Mixing())
    with pytest.raises(ConfigError, match="every token see the whole document"):
        Session(model)
    with pytest.raises(LengthError, match="a document of 41 tokens for layers that mix 40"):
        model.hidden(collate([worlds.words(41, worlds.maker(0))], model.schema))


@pytest.mark.parametrize("positions", ["relative", "rotary", "none"])
def test_a_conformer_learns_to_transcribe(positions):
    torch.manual_seed(0)
    model = build(presets.conformer(**CONFORMER, positions=positions), CHANNELS, TASKS["spell"].heads("spell", CHANNELS))
    documents = [worlds.document("spell", n, n) for n in (2, 3, 3)]
    first, last = learns(model, collate(documents, model.schema), TASKS)
    assert last < 0.5 * first


def spoken(n: int) -> Document:
    """Frames and their words, as the decoder is asked for them."""
    g = worlds.maker(n)
    document = Document({"encoder": worlds.sound(2 * n + 3, g), "decoder": worlds.words(n, g)}, name=f"spoken {n}")
    return Seq2Seq("words").mark(document, {}, At("write", CHANNELS, random.Random(0)))


def test_a_conformer_listens_for_a_decoder_that_writes():
    torch.manual_seed(0)
    objectives = {"write": Seq2Seq("words")}
    model = build(presets.conformer(**CONFORMER, decoder=1), CHANNELS, objectives["write"].heads("write", CHANNELS))
    documents = [spoken(n) for n in (2, 5, 3)]
    first, last = learns(model, collate(documents, model.schema), objectives)
    assert last < 0.5 * first
    packed_equals_alone(model.eval(), documents, objectives)
    parts = [[d.main[i : i + 1] for i in range(len(d.main))] for d in documents]
    cached_equals_full(model, parts, documents[0].attend, {"encoder": [d.streams["encoder"] for d in documents]})


PERCEIVER = {"dim": 16, "depth": 2, "heads": 2, "cross_heads": 2, "latents": 3, "inputs": 8, "attention_dropout": 0.0}


@pytest.fixture(scope="module")
def host():
    return load_plugins(only=[], files=[TOYS])


def test_a_perceiver_learns_by_a_recipe(host, tmp_path):
    """Its latents are not in the recipe: `prepare` adds them, and the objective reads their mean."""
    task = {**KIND, "objective": {"classify": {"label": "kind", "read": "mean"}}}
    plain = {"preset": "perceiver", **PERCEIVER, "repeats": 2}
    settings = {"steps": 60, "budget": 64, "lr": 0.003, "evaluate_every": 60, "eval_samples": 12}
    recipe = make_recipe({"tasks": [task], "model": plain, "train": settings})
    train(recipe, tmp_path, host, quiet=True)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert any('"accuracy": 1.0' in line for line in lines), lines[-1]


def test_latents_have_no_readout(host, tmp_path):
    task = {**KIND, "objective": {"classify": {"label": "kind"}}}
    with pytest.raises(ConfigError, match='set `read = "mean"` in the objective'):
        train(make_recipe({"tasks": [task], "model": {"preset": "perceiver", **PERCEIVER}}), tmp_path, host, quiet=True)


def test_a_perceiver_reads_inputs_of_any_length():
    """Features by their own steps and axes; packed = alone, and latents are as many as they were."""
    channels = {"patches": CHANNELS["patches"]}
    objective = {"mood": Classify("label", "mean", classes=3)}
    preset = presets.perceiver(**PERCEIVER)
    model = build(preset, channels, objective["mood"].heads("mood", channels)).eval()
    worlds.randomise(model)
    at = At("mood", channels, random.Random(0))
    documents = []
    for n in (1, 9, 4):
        bare = Document({"main": worlds.patches(n, worlds.maker(n))}, name=f"{n}")
        documents.append(objective["mood"].mark(preset.prepare(bare), {"label": 1}, at))
        assert {s: len(x) for s, x in documents[-1].streams.items()} == {"inputs": n, "latents": 3}
        assert preset.prepare(documents[-1]) is documents[-1]
    packed_equals_alone(model, documents, objective)
    with pytest.raises(ConfigError, match=r"as wide as its inputs just as they are"):
        preset.maps({"inputs": channels["patches"]})


def test_a_part_with_types_sees_them():
    """The axis `type` moves BERT's tokens; without it they are of the first type."""
    channels = {"words": CHANNELS["words"]}
    model = build(presets.bert(dim=16, depth=1, heads=2, positions=8), channels, {}).eval()
    (span,) = worlds.words(4, worlds.maker(0)).spans

    def hidden(kinds):
        axes = {} if kinds is None else {"type": torch.tensor(kinds)}
        batch = collate([TokenSequence((span.replace(axes=axes),))], model.schema)
        return model.hidden(batch)["main"]

    assert torch.equal(hidden(None), hidden([0, 0, 0, 0]))
    assert not torch.allclose(hidden(None), hidden([0, 0, 1, 1]))


@pytest.mark.parametrize("name", ["vit", "mixer", "bert", "perceiver", "conformer", "decision-transformer"])
def test_dropout_is_drawn_in_training_alone(name):
    """Every layer that the reference drops, by the preset's fields."""
    fields = {f: 0.5 for f in presets.get(name).__struct_fields__ if "drop" in f}
    sizes = {"vit": {"patch": (1, 2, 2), "patches": 6}, "mixer": {"patch": (1, 2, 2), "patches": 6}, "perceiver": PERCEIVER}
    own = {**sizes.get(name, {"dim": 16, "depth": 2, "heads": 2}), **fields}
    own |= {"dim": 16, "depth": 2} | ({"heads": 2} if name == "vit" else {})
    assert fields
    preset = presets.get(name)(**own)
    channels = {
        "vit": {"patches": CHANNELS["patches"]},
        "mixer": {"patches": CHANNELS["patches"]},
        "perceiver": {"patches": CHANNELS["patches"]},
        "conformer": {"sound": CHANNELS["sound"]},
        "bert": {"words": CHANNELS["words"]},
        "decision-transformer": {c: x for c, x in CHANNELS.items() if c.startswith("cart")},
    }[name]
    torch.manual_seed(0)
    roles = {"condition": "cart/return"} if name == "decision-transformer" else {}
    model = build(preset, channels, {}, roles=roles)
    made = {"words": worlds.words, "sound": worlds.sound, "patches": worlds.patches}
    sequence = worlds.cart(4, worlds.maker(0)) if roles else made[next(iter(channels))](4, worlds.maker(0))
    batch = collate([preset.prepare(Document({"main": sequence}))], model.schema)
    for training in (True, False):
        model.train(training)
        one, two = (model.hidden(batch)[model.main] for _ in range(2))
        assert torch.equal(one, two) is not training


def test_frames_of_the_width_of_the_stream_go_in_as_they_are():
    channels = {"frames": Channel(width=(16,), embed=(), axes=(Axis("time", 4),))}
    model = build(presets.conformer(**{**CONFORMER, "depth": 0}), channels)
    x = torch.randn(3, 16)
    sequence = TokenSequence((worlds.Span("frames", features=x),))
    assert torch.equal(model.hidden(collate([sequence], model.schema))["main"], x)


def test_masked_and_ctc_are_asked_of_a_conformer():
    """With the kinds of pairs that its channels declare."""
    model = world_model(presets.conformer(**CONFORMER, norm="segment"), FULL_TASKS)
    assert {type(TASKS[t]) for t in FULL_TASKS} >= {Masked, Ctc}
    assert any("weight" in n and ".shared." in n for n, _ in model.named_parameters())
    packed_equals_alone(model, mixed(FULL_TASKS), TASKS, backward=False)
