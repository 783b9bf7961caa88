"""Layers that keep a state of the past: recurrent layers, linear attention, causal convolution, windows.

Shape letters: N flat tokens, H heads, F features, K head dim.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.generate import Session
from omnitok.layout import Layout
from omnitok.model import Model, Preset, Stream
from omnitok.nn import linear_attention
from omnitok.nn.attention import Attention
from omnitok.nn.bahdanau import Search
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from omnitok.nn.conv import Conv, ConvModule
from omnitok.nn.linear_attention import Elu, Favor, LinearAttention, LinearAttentionModule
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import Rope
from omnitok.nn.recurrent import Recurrent, RecurrentModule
from omnitok.nn.residual import Residual
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws import worlds
from tests.laws.laws import (
    answers,
    cached_equals_full,
    close,
    last_row,
    neighbours_do_not_matter,
    packed_equals_alone,
    pieces,
    uncut,
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


# -- linear attention


def quadratic(module: LinearAttentionModule, x: Tensor, layout: Layout) -> Tensor:
    """By its definition: every pair of tokens."""
    q, k, v = (m(x).unflatten(-1, (module.heads, -1)) for m in (module.q, module.k, module.v))
    share = torch.einsum("ihf,jhf->ijh", module.features(q), module.features(k)) * layout.visible()[..., None]
    return module.o((torch.einsum("ijh,jhk->ihk", share, v) / (share.sum(1)[..., None] + module.eps)).flatten(1))


KINDS: dict[str, Callable[[int, torch.Generator], TokenSequence]] = {
    "causal": lambda n, g: worlds.words(n, g),
    "full": lambda n, g: worlds.patches(n, g),
    "mixed": lambda n, g: worlds.words(2, g) + worlds.sound(n, g) + worlds.words(n, g) + worlds.nodes(1, g) + worlds.tags(3, g),
    "full first": lambda n, g: worlds.patches(n, g) + worlds.words(2, g),
    "nothing": lambda n, g: worlds.words(0, g),
}


def made(config: LinearAttention, dtype: torch.dtype) -> LinearAttentionModule:
    torch.manual_seed(0)
    module = config.build(12)
    randomise(module)
    return module.to(dtype)


@settings(max_examples=40, deadline=None)
@given(
    documents=st.lists(st.tuples(st.sampled_from(list(KINDS)), st.integers(1, 20)), min_size=1, max_size=5),
    chunk=st.integers(1, 9),
    double=st.booleans(),
    favor=st.booleans(),
)
def test_linear_attention_is_its_definition(documents, chunk, double, favor) -> None:
    """In pieces of any size, for causal, full and mixed documents, packed."""
    module = made(
        LinearAttention(2, features=Favor(8) if favor else Elu(), chunk=chunk), torch.float64 if double else torch.float32
    )
    layout = layout_of(*(KINDS[kind](n, worlds.maker(n)) for kind, n in documents))
    x = torch.randn(len(layout), 12, generator=worlds.maker(1), dtype=module.q.weight.dtype)
    with torch.no_grad():
        close(module(x, Context(layout)), quadratic(module, x, layout), "pieces", 1e-10 if double else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_linear_attention_token_by_token_is_its_definition(dtype: torch.dtype) -> None:
    """The recurrent form: one token at a time behind S and z."""
    module, cache = made(LinearAttention(2), dtype), Cache(1)
    x, whole = torch.randn(30, 12, generator=worlds.maker(1), dtype=dtype), layout_of(worlds.words(30, worlds.maker(0)))
    one = layout_of(worlds.words(1, worlds.maker(0)))
    with torch.no_grad():
        rows = [module(row[None], Context(cache.extend(one), cache=cache)) for row in x]
        close(torch.cat(rows), quadratic(module, x, whole), "recurrent", 1e-10 if dtype == torch.float64 else 1e-5)


def test_features_of_the_performer_approach_softmax() -> None:
    """More of them come nearer to exp(q . k / sqrt(K)); none is negative."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 200, 16, dtype=torch.float64) / 2
    want = (q @ k.T / 4).exp()
    errors = []
    for features in (32, 2048):
        phi = Favor(features).build(16)
        assert bool((phi(q) >= 0).all())
        errors.append(((phi(q) @ phi(k).T - want).abs().mean() / want.mean()).item())
    assert errors[1] < errors[0] / 4 and errors[1] < 0.1
    with pytest.raises(ConfigError, match="random features come in pairs: make 7 even"):
        Favor(7).build(16)


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


# -- the search of RNNsearch

SENTENCES = {"english": Channel(vocab=9), "french": Channel(vocab=7, start=0)}


def search_model() -> nn.Module:
    torch.manual_seed(0)
    preset = presets.bahdanau(dim=6, hidden=8, align=5, maxout=4)
    model = build(preset, SENTENCES, roles={"source": "english", "target": "french"}).eval()
    randomise(model)
    return model.double()


def pair(n: int, m: int) -> dict[str, TokenSequence]:
    g = worlds.maker(n + m)
    return {
        "encoder": TokenSequence((Span("english", ids=torch.randint(9, (n,), generator=g)),)),
        "decoder": TokenSequence((Span("french", ids=torch.randint(7, (m,), generator=g)),)),
    }


def test_a_search_in_nothing_and_for_nothing() -> None:
    """Empty sources, empty targets and whole empty documents beside others, in a pass and in a session."""
    model, shapes = search_model(), ((4, 3), (0, 5), (2, 0), (0, 0), (6, 6))
    documents = [Document(pair(*shape), name=f"{i}") for i, shape in enumerate(shapes)]
    packed_equals_alone(model, documents, {}, tolerance=1e-10, backward=False)
    packed_equals_alone(model, [d for d in documents if len(d)], {}, tolerance=1e-10)
    some = [d.streams for d in documents if len(d.streams["decoder"])]
    parts = [list(pieces(s["decoder"], range(1, len(s["decoder"])))) for s in some]
    cached_equals_full(model, parts, memory={"encoder": [s["encoder"] for s in some]})
    only = [Document(pair(0, 0), name="nothing")]
    assert {n: x.shape for n, x in model.hidden(collate(only, model.schema)).items()} == {"encoder": (0, 16), "decoder": (0, 8)}


def test_one_vocabulary_may_serve_both_sides() -> None:
    model = build(presets.bahdanau(dim=6, hidden=8, align=5, maxout=4), {"words": Channel(vocab=9)}, roles={
        "source": "words", "target": "words"})  # fmt: skip
    sides = {s: TokenSequence((Span("words", ids=torch.arange(4)),)) for s in ("encoder", "decoder")}
    assert model.hidden(collate([Document(sides)], model.schema))["decoder"].shape == (4, 8)
    lonely = Stream(8, ((Residual("search", Search(8, 16, 5), skip=False),),), attend="causal")
    with pytest.raises(ConfigError, match="a search reads a memory: set the stream's `memory`"):
        world_model(Model({"main": lonely}), ()).hidden(collate([worlds.words(2, worlds.maker(0))], SCHEMA))
    with pytest.raises(ConfigError, match="role 'source' needs a channel of ids"):
        build(presets.bahdanau(), {"source": Channel(width=(2,)), "target": Channel(vocab=3)})


# -- windows: what no layer reaches any more is dropped


class Near(Preset, frozen=True):
    """Windows of different width, and a layer that sees everything where `far` says so."""

    far: bool = False

    def model(self, bound, channels):
        windows = (3, 5, None) if self.far else (3, 5)
        blocks = tuple((Residual("attention", Attention(2, window=w, positions=(Rope(),)), pre=Norm()),) for w in windows)
        return Model({"main": Stream(16, (*blocks, (Residual("state", Recurrent("gru")),)), Norm())})


NEAR, FAR = world_model(Near()), world_model(Near(far=True))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(KINDS)[:4]), min_size=1, max_size=3), far=st.booleans())
def test_what_a_window_leaves_behind_may_be_dropped(data, kinds, far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ragged documents in pieces of any size, behind a cache that begins with two slots."""
    monkeypatch.setattr(Cache.__init__, "__defaults__", (2,))
    model, parts = FAR if far else NEAR, []
    for kind in kinds:
        n = data.draw(st.integers(1, 12))
        sequence = KINDS[kind](n, worlds.maker(n)) + worlds.words(9, worlds.maker(n + 1))
        allowed = uncut(sequence, model, {})
        parts.append(list(pieces(sequence, sorted(data.draw(st.sets(st.sampled_from(allowed)))) if allowed else ())))
    cached_equals_full(model, parts)


@pytest.mark.parametrize("select", [False, True])
def test_slots_are_as_many_as_the_longest_window_needs(select: bool) -> None:
    g, sessions = worlds.maker(0), [Session(model, 2) for model in (NEAR, FAR, MODELS["gru"])]
    for turn in range(150):
        token = worlds.words(1, g)
        for session in sessions:
            session.feed([token, token if turn % 3 else None])
            if select and turn % 40 == 7:
                session.select([1, 0])
    near, far, gru = (s.cache for s in sessions)
    assert near.capacity == gru.capacity == 64 and far.capacity >= 128
    assert {x.shape[1] for pair in near.layers.values() for x in pair} == {64}
    assert {x.shape[1] for c in (near, gru) for x in c.columns.values()} == {64}
    assert not bool(far.dropped.any()) and bool((near.dropped > 0).all())
    for session in sessions:
        for i, held in enumerate(session.history):
            close(session.last[i], last_row(session.model, held), "after 150 tokens")


# -- the laws can fail

SEQUENCE = worlds.words(2, worlds.maker(0)) + worlds.patches(4, worlds.maker(1)) + worlds.words(7, worlds.maker(2))


def decodes(name: str) -> None:
    cached_equals_full(
        MODELS[name], [list(pieces(SEQUENCE, (1, 2, 6, 7, 9))), list(pieces(worlds.cart(4, worlds.maker(3)), (5,)))]
    )


def packs(name: str) -> None:
    packed_equals_alone(MODELS[name], mixed(("write", "mood", "act")), TASKS, backward=False)


def defined(name: str) -> None:
    module = made(LinearAttention(2, chunk=3), torch.float64)
    layout = layout_of(SEQUENCE, worlds.sound(5, worlds.maker(0)))
    x = torch.randn(len(layout), 12, generator=worlds.maker(1), dtype=torch.float64)
    with torch.no_grad():
        close(module(x, Context(layout)), quadratic(module, x, layout), name, 1e-10)


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


def drop_one_more(self, lengths, keep):
    """The oldest key that the widest window still sees is dropped too."""
    DROP(self, lengths, keep - 1)


def windowed(name: str) -> None:
    session, g = Session(NEAR), worlds.maker(0)
    for _ in range(64):
        session.feed(worlds.words(1, g))
    close(session.feed(worlds.words(1, g)).last[0], last_row(NEAR, session.history[0]), name)


def all_causal(layout: Layout, chunk: int):
    return PIECES(layout.replace(order=torch.arange(len(layout))), chunk)


def run_cut_short(layout: Layout, chunk: int):
    found = PIECES(layout, chunk)
    found.last.copy_(found.full)
    return found


PIECES, DROP = linear_attention.pieces, Cache._drop
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
    "tokens that see each other taken as causal": (defined, "", linear_attention, "pieces", all_causal),
    "a key is dropped too early": (windowed, "", Cache, "_drop", drop_one_more),
    "a run ends with its first piece": (defined, "", linear_attention, "pieces", run_cut_short),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_turns_its_law_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, argument, *change = MUTANTS[name]
    law(argument)
    monkeypatch.setattr(*change)
    with pytest.raises(AssertionError):
        law(argument)
