"""Layers that keep a state of the past: recurrent layers, linear attention, causal convolution."""

import pytest
import torch
import torch.nn.functional as F

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.generate import Session
from omnitok.layout import Layout
from omnitok.model import Model, Preset, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.conv import Conv, ConvModule
from omnitok.nn.linear_attention import LinearAttentionModule
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import Rope
from omnitok.nn.recurrent import Recurrent, RecurrentModule
from omnitok.nn.residual import Residual
from omnitok.sequence import TokenSequence
from tests.laws import worlds
from tests.laws.laws import (
    answers,
    cached_equals_full,
    close,
    neighbours_do_not_matter,
    packed_equals_alone,
    pieces,
)
from tests.laws.worlds import STATEFUL, TASKS, mixed, randomise, world_model

SCHEMA = world_model(worlds.DECODER).schema
MODELS = {name: world_model(preset) for name, preset in STATEFUL.items()}


def layout_of(*sequences: TokenSequence) -> Layout:
    return collate(sequences, SCHEMA, sort=False).streams["main"].layout


@pytest.mark.parametrize("name", STATEFUL)
def test_packed_equals_alone(name: str) -> None:
    packed_equals_alone(MODELS[name], mixed(tuple(TASKS)), TASKS)
    neighbours_do_not_matter(MODELS[name], mixed(tuple(TASKS)), mixed(tuple(TASKS), seed=1), TASKS)


@pytest.mark.parametrize("name", STATEFUL)
def test_empty_documents_disturb_nobody(name: str) -> None:
    empty = [Document({"main": TokenSequence()}, name=f"empty {i}") for i in range(3)]
    documents = [empty[0], worlds.document("mood", 3, 1), empty[1], worlds.document("write", 4, 2), empty[2]]
    packed_equals_alone(MODELS[name], documents, TASKS)
    assert MODELS[name].hidden(collate(empty, MODELS[name].schema))["main"].shape == (0, 16)


@pytest.mark.parametrize("name", STATEFUL)
def test_half_precision_is_near_single(name: str) -> None:
    model, documents = world_model(STATEFUL[name]), mixed(tuple(TASKS))
    single = answers(model, documents, TASKS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = answers(model, documents, TASKS)
        sum(answer.total() for answer in half).backward()
    for a, b in zip(half, single, strict=True):
        close(a.hidden["main"].float(), b.hidden["main"], "hidden rows in half precision", 3e-2)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", STATEFUL)
def test_sessions_may_reorder_and_drop_documents(name: str) -> None:
    g, model = worlds.maker(0), MODELS[name]
    first, second, more = worlds.words(5, g), worlds.tags(3, g), worlds.words(2, g)
    session = Session(model, 2).feed([first, second]).select([1, 0, 1]).feed([more, more, None])
    want = [Session(model).feed(held).feed(more).last[0] for held in (second, first)]
    for got, wanted in zip(session.last, [*want, Session(model).feed(second).last[0]], strict=True):
        close(got, wanted, name)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_state_does_not_grow(name: str) -> None:
    session, g = Session(MODELS[name], 2), worlds.maker(0)
    sizes = []
    for _ in range(4):
        session.feed([worlds.words(9, g), worlds.words(2, g)])
        sizes.append({id(o): [x.shape for x in held] for o, held in session.cache.states.items()})
    assert len(sizes[0]) == 2 and all(s == sizes[0] for s in sizes), "one state per layer, always as large"
    assert not session.cache.layers, "and no keys or values"


# -- recurrent layers


def test_two_directions_want_a_stream_that_sees_everything() -> None:
    both = worlds.Stateful(Recurrent("gru", bidirectional=True))
    with pytest.raises(ConfigError, match='holds Recurrent, which looks at later tokens: set its `attend` to "full"'):
        world_model(both)
    with pytest.raises(ConfigError, match="two directions cannot share a stream of dim 15: make it even"):
        Recurrent("lstm", bidirectional=True).build(15)
    model = build(presets.gru(dim=16, depth=2, bidirectional=True), worlds.CHANNELS)
    with pytest.raises(ConfigError, match="lets every token see the whole document"):
        Session(model)


def test_what_is_embedded_may_have_another_width_than_the_stream() -> None:
    """Every channel, masked content, start and readout tokens among them; heads read the stream's own width."""
    model = world_model(presets.lstm(dim=16, depth=2, width=6))
    assert model.channels["words"][0].weight.shape == (11, 6) and model.heads["words"][0].weight.shape == (11, 16)
    packed_equals_alone(model, mixed(tuple(TASKS)), TASKS)
    cached_equals_full(model, [list(pieces(worlds.cart(3, worlds.maker(0)), range(1, 9)))])


# -- causal convolution


def test_causal_convolution_pads_on_the_left_alone() -> None:
    torch.manual_seed(0)
    module, lengths = Conv(4, Norm("batch"), causal=True).build(16).double().eval(), (3, 1, 6)
    randomise(module)
    layout = layout_of(*(worlds.words(n, worlds.maker(n)) for n in lengths))
    x = torch.randn(10, 16, generator=worlds.maker(0), dtype=torch.float64)
    with torch.no_grad():
        want = []
        for part in x.split(list(lengths)):
            y = F.pad(F.glu(module.inp(part), -1).T, (3, 0))
            y = F.conv1d(y[None], module.depth.weight, module.depth.bias, groups=16)[0].T
            want.append(module.out(F.silu(module.norm(y, Context(layout)))))
        close(module(x, Context(layout)), torch.cat(want), "causal convolution", 1e-10)


def test_a_norm_over_the_document_is_no_part_of_a_causal_convolution() -> None:
    with pytest.raises(ConfigError, match='causal convolution cannot take its "segment" norm over later tokens'):
        Conv(3, Norm("segment"), causal=True).build(16)


class CausalConformer(Preset, frozen=True):
    """Half MLP, attention, causal convolution, half MLP, norm: what streams a Conformer."""

    def model(self, bound, channels):
        norm, mlp = Norm(), MLP(24, "silu")
        block = (
            Residual("mlp1", mlp, pre=norm, scale=0.5),
            Residual("attention", Attention(2, positions=(Rope(),)), pre=norm),
            Residual("conv", Conv(5, causal=True), pre=norm),
            Residual("mlp2", mlp, pre=norm, post=norm, scale=0.5),
        )
        return Model({"main": Stream(16, (block, block), attend="causal")})


def test_a_causal_conformer_decodes() -> None:
    model, g = world_model(CausalConformer(), ("write", "spell")), worlds.maker(0)
    documents = [worlds.cart(3, g), worlds.words(3, g) + worlds.tags(4, g), worlds.patches(6, g)]
    cached_equals_full(model, [list(pieces(d, cuts)) for d, cuts in zip(documents, (range(1, 9), (2, 6), (1, 5)), strict=True)])
    packed_equals_alone(model, mixed(("write", "spell")), TASKS)


# -- the laws can fail

SEQUENCE = worlds.words(2, worlds.maker(0)) + worlds.patches(4, worlds.maker(1)) + worlds.words(7, worlds.maker(2))


def decodes(name: str) -> None:
    cached_equals_full(
        MODELS[name], [list(pieces(SEQUENCE, (1, 2, 6, 7, 9))), list(pieces(worlds.cart(4, worlds.maker(3)), (5,)))]
    )


def packs(name: str) -> None:
    packed_equals_alone(MODELS[name], mixed(("write", "mood", "act")), TASKS, backward=False)


def forgetful(forward):
    def run(self, x, ctx):
        if ctx.cache is not None:
            ctx.cache.states.pop(self, None)
        return forward(self, x, ctx)

    return run


def one_document(forward):
    def run(self, x, ctx):
        layout = ctx.layout
        if ctx.cache is None:
            layout = layout_of(worlds.words(len(x), worlds.maker(0)))
        return forward(self, x, Context(layout, cache=ctx.cache))

    return run


MUTANTS = {
    "a recurrent state is forgotten": (decodes, "lstm", RecurrentModule, "forward", forgetful(RecurrentModule.forward)),
    "a convolution's past is forgotten": (decodes, "causal convolution", ConvModule, "forward", forgetful(ConvModule.forward)),
    "S and z are forgotten": (
        decodes,
        "linear attention",
        LinearAttentionModule,
        "forward",
        forgetful(LinearAttentionModule.forward),
    ),
    "a state runs on into the next document": (packs, "gru", RecurrentModule, "forward", one_document(RecurrentModule.forward)),
    "a sum runs on into the next document": (
        packs,
        "linear attention",
        LinearAttentionModule,
        "forward",
        one_document(LinearAttentionModule.forward),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_turns_its_law_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, argument, *change = MUTANTS[name]
    law(argument)
    monkeypatch.setattr(*change)
    with pytest.raises(AssertionError):
        law(argument)
