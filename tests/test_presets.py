"""Presets: they build on any channels, train, say their configuration, and have the published sizes."""

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Ask, Document, collate
from omnitok.config import from_plain, to_plain
from omnitok.errors import ConfigError, LengthError, UnknownNameError
from omnitok.generate import Session
from omnitok.model import CONTROL, Model, Preset, Transformer
from omnitok.nn.steps import Axis, Linear, Logits
from omnitok.recipe import make_recipe
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.toml import to_toml
from omnitok.weights import Reference, export_weights, import_weights

SIZES = {"dim": 16, "depth": 2, "heads": 2}
FIELDS: dict[str, dict[str, Any]] = {
    "vit": {"patch": (2, 2, 3), "patches": 9, "classes": 4},
    "decision-transformer": {"steps": 8, "positions": 5},
    "gpt2": {"positions": 16},
    "bert": {"positions": 16},
    "conformer": {"kernel": 3, "positions": "none"},
}
RECIPE = {
    "tasks": [{"name": "any", "data": {"name": "x/y"}, "document": [{"words": "list"}], "objective": {"next": {"on": "words"}}}]
}
ROLES = {
    "gpt2": ("words",),
    "bert": ("words",),
    "vit": ("tiles",),
    "decision-transformer": ("goal",) * 3,
    "decoder": (),
    "encoder": (),
    "conformer": (),
}
PUBLISHED = {"gpt2": (50257, 124_439_808), "bert": (30522, 109_514_298), "vit": (None, 86_567_656)}


def small(name: str, **changes: Any) -> Preset:
    return presets.get(name)(**SIZES | FIELDS.get(name, {}) | changes)


@st.composite
def kinds(draw: st.DrawFn) -> Channel:
    """A channel of ids or features that counts steps."""
    if draw(st.booleans()):
        return Channel(vocab=draw(st.integers(2, 9)), axes=(Axis("step", 8),))
    return Channel(width=(draw(st.integers(1, 5)),), mean=0.5, std=2.0, axes=(Axis("step", 8),))


def channels_for(name: str, draw: Callable[[Any], Any]) -> dict[str, Channel]:
    if name == "vit":
        return {"tiles": Channel(width=(12,), mean=0.5, std=2.0, attend="full")}
    if name == "decision-transformer":
        return {f"robot/{part}": draw(kinds()) for part in ("goal", "observation", "action")}
    if name in ("gpt2", "bert"):
        return {"words": Channel(vocab=draw(st.integers(2, 9)))}
    return {"words": draw(kinds()), "other": draw(kinds())}


def filled(channel: Channel, n: int, g: torch.Generator) -> dict[str, Tensor]:
    if channel.vocab is not None:
        return {"ids": torch.randint(0, channel.vocab, (n,), generator=g)}
    return {"features": torch.randn(n, *(channel.width or ()), generator=g)}


def document(channels: Mapping[str, Channel], heads: Mapping[str, Any], n: int, g: torch.Generator) -> Document:
    """n tokens of every channel, with every head asked at every row."""
    axes = {"step": torch.arange(n)}
    spans = [Span(c, **filled(info, n, g), axes=axes if info.axes else {}) for c, info in channels.items()]
    if CONTROL in heads:
        spans.insert(0, Span(CONTROL, torch.tensor([1])))
    sequence = TokenSequence(tuple(spans))
    rows = torch.arange(len(sequence))
    return Document({"main": sequence}, {h: Ask(h, rows, torch.zeros(len(rows)), torch.ones(len(rows))) for h in heads})


def heads_for(name: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Any, ...]]:
    if name == "vit":
        return {CONTROL: (Linear(4),)}
    end = "/masked" if name == "bert" else ""
    return {f"{c}{end}": (Logits(c, i.vocab) if i.vocab is not None else Linear(i.size),) for c, i in channels.items()}


@pytest.mark.parametrize("name", ROLES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_preset_builds_on_its_channels_and_learns(name: str, data: st.DataObject) -> None:
    channels = channels_for(name, data.draw)
    heads = heads_for(name, channels)
    model = build(small(name), channels, heads, ("label",))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    docs = [document(channels, heads, data.draw(st.integers(1, 4)), g) for _ in range(3)]
    answers = model(collate(docs, model.schema))
    assert answers.keys() == heads.keys()
    sum(a.square().mean() for a in answers.values()).backward()
    grads = {n: p.grad for n, p in model.streams.named_parameters()}
    assert all(bool(a.isfinite().all()) for a in answers.values())
    assert [n for n, x in grads.items() if x is None and ".heads." not in n] == []
    assert all(bool(x.isfinite().all()) for x in grads.values() if x is not None)


@pytest.mark.parametrize("name", ROLES)
def test_configuration_is_data(name: str) -> None:
    preset = small(name, dropout=0.25)
    plain = to_plain(preset)
    assert from_plain(plain, Preset) == preset
    fields = {k: v for k, v in plain.items() if k != "type"}
    recipe = make_recipe({**RECIPE, "model": {"preset": name, **fields}})
    assert recipe.preset() == preset
    assert make_recipe(tomllib.loads(to_toml(recipe))).preset() == preset
    channels = {"words": Channel(vocab=9), "tiles": Channel(width=(12,)), "goal": Channel(width=(1,), axes=(Axis("step", 8),))}
    roles = dict(zip(preset.roles[-1:] if name == "vit" else preset.roles, ROLES[name], strict=False))
    model = preset.model({r: channels[c] for r, c in roles.items()}, channels)
    assert from_plain(to_plain(model), Model) == model


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_default_sizes_are_the_published_ones(name: str) -> None:
    vocab, count = PUBLISHED[name]
    channel = Channel(vocab=vocab) if vocab else Channel(width=(768,))
    with torch.device("meta"):
        model = build(presets.get(name)(), {"content": channel})
    assert sum(p.numel() for p in model.streams.parameters()) == count


def reference(name: str) -> tuple[Transformer, dict[str, Channel]]:
    if name == "decision-transformer":
        axes = (Axis("step", 8),)
        widths = {"goal": 1, "observation": 5, "action": 3}
        channels = {f"robot/{c}": Channel(width=(w,), axes=axes) for c, w in widths.items()}
    else:
        channels = {"content": Channel(width=(12,)) if name == "vit" else Channel(vocab=9)}
    heads = {CONTROL if name == "vit" else f"{c}/masked" if name == "bert" else c: (Linear(1),) for c in channels}
    return build(small(name), channels, heads, ("label",)).eval(), channels


@pytest.mark.parametrize("name", [n for n in FIELDS if presets.get(n).roles])
def test_weights_go_there_and_back(name: str) -> None:
    (model, channels), (other, _) = reference(name), reference(name)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    import_weights(other, export_weights(model))
    mine, theirs = model.streams.state_dict(), other.streams.state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    heads = dict.fromkeys(model.preset_heads)
    batch = collate([document(channels, heads, n, torch.Generator().manual_seed(n)) for n in (4, 2)], model.schema)
    want, got = model(batch), other(batch)
    assert got.keys() == heads.keys() and all(torch.equal(got[t], want[t]) for t in want)


def test_roles_bind_themselves_where_one_channel_is_left() -> None:
    axes = (Axis("step", 8),)
    robot = {f"robot/{c}": Channel(width=(2,), axes=axes) for c in ("goal", "observation", "action")}
    roles = build(small("decision-transformer"), robot).roles
    assert roles == {"condition": "robot/goal", "observation": "robot/observation", "action": "robot/action"}
    assert build(small("vit"), {"tiles": Channel(width=(12,))}).roles == {"class": CONTROL, "patches": "tiles"}
    words = {"words": Channel(vocab=5), "more": Channel(vocab=5)}
    assert build(small("gpt2"), words, roles={"tokens": "more"}).roles == {"tokens": "more"}
    with pytest.raises(ConfigError, match=r"channel for role 'tokens': set model\.channels\.tokens \(more, words\)"):
        build(small("gpt2"), words)
    with pytest.raises(UnknownNameError, match="did you mean 'words'"):
        build(small("gpt2"), words, roles={"tokens": "word"})
    with pytest.raises(ConfigError, match=r"no role 'token'; did you mean 'tokens'"):
        build(small("gpt2"), words, roles={"token": "words"})


def test_channels_that_do_not_suit_a_role_are_refused() -> None:
    tiles = {"tiles": Channel(width=(13,))}
    with pytest.raises(ConfigError, match="2 x 2 x 3 has 12 numbers, the channel's have 13"):
        build(small("vit"), tiles)
    for name in ("gpt2", "bert"):
        with pytest.raises(ConfigError, match=f"{name}: role 'tokens' needs a channel of ids"):
            build(small(name), tiles)
    robot = {f"robot/{c}": Channel(width=(2,)) for c in ("goal", "observation", "action")}
    with pytest.raises(ConfigError, match="no axis 'step'"):
        build(small("decision-transformer"), robot)
    long = {name: Channel(width=(2,), axes=(Axis("step", 9),)) for name in robot}
    with pytest.raises(ConfigError, match=r"counts 9 steps, the table holds 8; set model\.steps = 9"):
        build(small("decision-transformer"), long)
    ids = {name: Channel(vocab=2, axes=(Axis("step", 8),)) for name in robot}
    with pytest.raises(ConfigError, match="the reference has no ids, and role 'condition'"):
        export_weights(build(small("decision-transformer"), ids))


def words(n: int) -> TokenSequence:
    return TokenSequence((Span("words", torch.zeros(n, dtype=torch.long)),))


def test_a_document_behind_the_last_position_is_refused() -> None:
    model = build(small("gpt2"), {"words": Channel(vocab=5)}, {"words": (Logits("words", 5),)})
    model.hidden(collate([words(16), words(3)], model.schema))
    with pytest.raises(LengthError, match="17 tokens in stream 'main', whose positions end at 16"):
        model.hidden(collate([words(17), words(3)], model.schema))
    session = Session(model)
    session.feed(words(16))
    with pytest.raises(LengthError, match="17 tokens"):
        session.feed(words(1))


def test_references_know_their_maps() -> None:
    assert {n for n in ROLES if issubclass(presets.get(n), Reference)} == set(FIELDS)
    assert presets.gpt2 is presets.get("gpt2") and presets.decision_transformer is presets.get("decision-transformer")
    with pytest.raises(UnknownNameError, match="did you mean 'gpt2'"):
        presets.get("gpt22")
