"""Cached decoding = full recomputation, for every rule that can decode; the others refuse by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok.batch import Ask
from omnitok.errors import ConfigError, SequenceError
from omnitok.generate import Session
from omnitok.model import Model, Preset, Stream
from omnitok.nn.attention import Attention
from omnitok.nn.conv import Conv
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.positions import PairTable, Rope
from omnitok.nn.residual import Residual
from omnitok.presets.generic import Encoder
from omnitok.presets.reference.conformer import Conformer
from omnitok.sequence import Span, TokenSequence
from tests.laws import worlds
from tests.laws.laws import cached_equals_full, close, last_row, pieces, uncut
from tests.laws.worlds import world_model


class Windowed(Preset, frozen=True):
    """Windows, grouped heads, norms of queries and keys, pair biases and rotation over several axes."""

    def model(self, bound, channels):
        rope = Rope((("step", 2), ("position", 0)))
        near = Attention(4, kv_heads=2, window=3, qk_norm=Norm("rms"), positions=(rope, PairTable("edge", 3)))
        step = Attention(4, window=2, window_axis="step", positions=(Rope(),))
        blocks = tuple((Residual("attention", a, pre=Norm()), Residual("mlp", MLP(32), pre=Norm())) for a in (near, step))
        return Model({"main": Stream(16, blocks, Norm())})


MODELS = {
    "decoder": world_model(worlds.DECODER),
    "windowed": world_model(Windowed()),
    **{name: world_model(preset) for name, preset in worlds.STATEFUL.items()},
}
KINDS = {
    "causal ids": lambda n, g: worlds.words(n, g),
    "full, then causal": lambda n, g: worlds.patches(n, g) + worlds.words(n, g),
    "causal, full, causal": lambda n, g: worlds.tags(2, g) + worlds.sound(n, g) + worlds.words(3, g),
    "interleaved": lambda n, g: worlds.cart(n, g),
    "a set with pairs": lambda n, g: worlds.words(2, g) + worlds.nodes(n, g) + worlds.words(n, g),
    "two sets apart": lambda n, g: worlds.nodes(3, g) + worlds.tags(1, g) + worlds.nodes(n, g) + worlds.cart(2, g),
}


@settings(max_examples=25, deadline=None)
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4), model=st.sampled_from(list(MODELS)))
def test_cached_equals_full(data, kinds, model):
    """Ragged documents, each fed in pieces of its own."""
    g, parts = worlds.maker(data.draw(st.integers(0, 99))), []
    for kind in kinds:
        sequence = KINDS[kind](data.draw(st.integers(1, 6)), g)
        allowed = uncut(sequence, MODELS[model], {})
        cuts = data.draw(st.sets(st.sampled_from(allowed))) if allowed else set()
        parts.append(list(pieces(sequence, sorted(cuts))))
    cached_equals_full(MODELS[model], parts)


@pytest.mark.parametrize("kind", KINDS)
def test_token_by_token_where_it_can_be(kind):
    for model in MODELS.values():
        sequence = KINDS[kind](5, worlds.maker(1))
        cached_equals_full(model, [list(pieces(sequence, uncut(sequence, model, {})))])


def test_the_objective_may_make_a_full_channel_causal():
    attend, sequence = {"patches": "causal"}, worlds.patches(6, worlds.maker(2))
    cached_equals_full(MODELS["decoder"], [list(pieces(sequence, range(1, 6)))], attend)


def test_tokens_that_see_each_other_are_fed_at_once():
    """In two parts they would be computed otherwise than together: refused by name, and the session stays usable."""
    g = worlds.maker(3)
    for held, coming in [(worlds.patches(2, g), worlds.sound(2, g)), (worlds.nodes(2, g), worlds.nodes(2, g))]:
        session = Session(MODELS["decoder"]).feed(held)
        with pytest.raises(SequenceError, match=f"'{coming.channels[0]}' behind '{held.channels[0]}'.* fed to a session at once"):
            session.feed(coming)
        words = worlds.words(2, g)
        close(session.feed(words).last[0], last_row(MODELS["decoder"], held + words), "after a refusal")
    session = Session(MODELS["decoder"], attend={"nodes": "causal"}).feed(worlds.nodes(2, g))
    with pytest.raises(SequenceError, match="fed to a session at once"):
        session.feed(worlds.nodes(1, g))


@settings(max_examples=12, deadline=None)
@given(unit=st.integers(1, 4), context=st.integers(6, 12), steps=st.integers(3, 6), batch=st.booleans())
def test_a_full_context_keeps_its_last_part_from_a_multiple_of_unit(unit, context, steps, batch):
    """Whatever was dropped, the answer is that of a full pass over what was kept, and the newest tokens are always kept."""
    g, model = worlds.maker(unit * context), MODELS["decoder"]
    sequences = [worlds.cart(steps, g), worlds.cart(2, g)] if batch else [worlds.cart(steps, g)]
    session = Session(model, len(sequences), context, unit)
    for k in range(3 * steps):
        session.feed([s[k : k + 1] if k < len(s) else None for s in sequences])
        assert len(session) <= context
        for i, sequence in enumerate(sequences):
            fed = sequence[: k + 1]
            dropped = len(fed) - len(session.history[i])
            assert dropped % unit == 0
            assert _contents(session.history[i]) == _contents(fed[dropped:])
            if dropped:
                close(session.last[i], last_row(model, session.history[i]), f"document {i} after {k + 1} tokens")
    assert len(sequences[0]) <= context or len(session.history[0]) < len(sequences[0])


def _contents(sequence: TokenSequence) -> list[tuple[str, list]]:
    found = {p: (s.channel, row) for s, places in zip(sequence.spans, sequence.places, strict=True)
             for p, row in zip(places.tolist(), s.content.tolist(), strict=True)}  # fmt: skip
    return [found[k] for k in range(len(sequence))]


def test_a_context_holds_what_it_says():
    session = Session(MODELS["decoder"], context=5)
    with pytest.raises(SequenceError, match="6 tokens fed at once to a session whose context is 5"):
        session.feed(worlds.words(6, worlds.maker(0)))
    assert len(session.feed(worlds.words(5, worlds.maker(0)))) == 5
    with pytest.raises(SequenceError, match="2 sequences fed to a session of 1 documents"):
        session.feed([None, None])


def test_a_document_that_is_fed_nothing_stays():
    g, model = worlds.maker(4), MODELS["decoder"]
    first, second = worlds.words(4, g), worlds.words(3, g)
    session = Session(model, 3).feed([first, None, second])
    before = session.last.clone()
    session.feed([None, None, worlds.words(2, g)]).feed([None, None, None])
    assert torch.equal(session.last[:2], before[:2]) and len(session.history[1]) == 0
    assert session.ask("words").shape == (3, 11)
    close(session.ask("words")[0], model.answer({"main": last_row(model, first)[None]}, _ask("words"))[0], "the head's answer")


def _ask(head: str) -> Ask:
    return Ask(head, torch.zeros(1, dtype=torch.long), torch.zeros(1), torch.ones(1))


def test_spans_without_tokens_keep_their_meta():
    """An empty field still says what its tokens will mean."""
    empty = TokenSequence((Span("words", ids=torch.zeros(0, dtype=torch.long), meta={"line": 1}),))
    assert Session(MODELS["decoder"]).feed(empty).history[0].spans[0].meta == {"line": 1}


class Segmented(Preset, frozen=True):
    """A norm over the whole document behind causal attention."""

    def model(self, bound, channels):
        return Model({"main": Stream(16, ((Residual("attention", Attention(2), pre=Norm("segment")),),))})


class Convolved(Preset, frozen=True):
    """A convolution that looks at later tokens, in a stream that fixes no rule."""

    def model(self, bound, channels):
        return Model({"main": Stream(16, ((Residual("conv", Conv(3)),),))})


class Again(Preset, frozen=True):
    """One block, run twice."""

    def model(self, bound, channels):
        return Model({"main": Stream(16, ((Residual("attention", Attention(2)),),), schedule=(0, 0))})


class Two(Preset, frozen=True):
    """Two towers."""

    def model(self, bound, channels):
        return Model({"encoder": Stream(16), "decoder": Stream(16)})


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        (Encoder(16, 1, 2), "stream 'main' lets every token see the whole document"),
        (Conformer(16, 1, 2), "stream 'main' lets every token see the whole document"),
        (Convolved(), "stream 'main' holds Conv, which looks at later tokens: set its `attend` to \"full\""),
        (Segmented(), "stream 'main' holds a \"segment\" norm, which looks at later tokens"),
        (Again(), "stream 'main' runs a block more than once"),
        (Two(), "the streams encoder, decoder do not read each other"),
    ],
)
def test_models_that_cannot_step_refuse_by_name(preset, message):
    with pytest.raises(ConfigError, match=message):
        Session(world_model(preset, ("write",)))
