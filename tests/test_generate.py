"""Generation: how ids are drawn, where a loop stops, and what is put back into a masked sequence."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok.assemble import build
from omnitok.batch import Document
from omnitok.errors import ConfigError
from omnitok.generate import Sampler, Session, fill_in, generate
from omnitok.nn.steps import Axis
from omnitok.objectives import At, Masked, Next
from omnitok.presets.generic import Decoder
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Tokenizer
from tests.laws import worlds

logits = st.lists(st.integers(-40, 40), min_size=2, max_size=9).map(lambda eighths: torch.tensor(eighths) / 8)


@given(logits=logits)
def test_temperature_zero_and_one_candidate_give_the_best(logits):
    best = logits.max()
    assert logits[Sampler(0.0)(logits)] == best
    assert logits[Sampler(top_k=1, seed=0)(logits)] == best
    assert logits[Sampler(top_p=1e-6, seed=0)(logits)] == best


@given(logits=logits, k=st.integers(1, 9), seed=st.integers(0, 99))
def test_top_k_draws_from_the_k_best(logits, k, seed):
    drawn = Sampler(2.0, top_k=k, seed=seed)(logits.expand(50, -1))
    worst = logits.sort(descending=True).values[: min(k, len(logits))][-1]
    assert (logits[drawn] >= worst).all()


@given(logits=logits, p=st.floats(0.05, 1), seed=st.integers(0, 99))
def test_top_p_draws_from_the_smallest_set_that_holds_p(logits, p, seed):
    """The ids that are likelier than a drawn one hold less than p together."""
    share = logits.softmax(-1)
    for i in Sampler(top_p=p, seed=seed)(logits.expand(50, -1)).tolist():
        assert share[share > share[i]].sum() < p + 1e-5


def test_draws_follow_the_distribution_and_the_seed():
    logits = torch.tensor([2.0, 1.0, 0.0]).expand(20_000, -1)
    drawn = Sampler(0.5, seed=1)(logits)
    share = torch.bincount(drawn) / len(drawn)
    assert (share - (logits[0] / 0.5).softmax(-1)).abs().max() < 0.01
    assert torch.equal(drawn, Sampler(0.5, seed=1)(logits)) and not torch.equal(drawn, Sampler(0.5, seed=2)(logits))
    assert Sampler(0.5, seed=1)(torch.zeros(2, 3, 4)).shape == (2, 3)


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_a_sampler_refuses_what_cannot_be_drawn(wrong):
    with pytest.raises(ConfigError, match="temperature >= 0, top_k >= 1 and 0 < top_p <= 1"):
        Sampler(**wrong)


class Line(Tokenizer, frozen=True):
    """A line of ids that ends where it says, or is as long as its meta says."""

    name: ClassVar[str] = "line"

    def channels(self):
        return {"line": Channel(vocab=6, end=5)}

    def encode(self, raw):
        return TokenSequence((Span("line", ids=torch.tensor(raw, dtype=torch.long), meta={"length": 7}),))

    def place(self, k, meta):
        return None if k >= meta.get("length", 99) else ("line", {})

    def samples(self, seed=0):
        return [[1, 2]]


class Beats(Tokenizer, frozen=True):
    """Pairs of a level (features) and a mark (an id), in turns, that share a step."""

    name: ClassVar[str] = "beats"

    def channels(self):
        step = (Axis("step", 9),)
        level = Channel(width=(2,), mean=100.0, std=50.0, axes=step)
        return {"beats/level": level, "beats/mark": Channel(vocab=4, axes=step)}

    def encode(self, raw):
        n = torch.arange(len(raw))
        return TokenSequence(
            (
                Span("beats/level", features=torch.tensor(raw, dtype=torch.uint8), axes={"step": n}, index=2 * n),
                Span("beats/mark", ids=n % 4, axes={"step": n}, index=2 * n + 1),
            )
        )

    def place(self, k, meta):
        return f"beats/{('level', 'mark')[k % 2]}", {"step": k // 2}

    def samples(self, seed=0):
        return [[[1, 2]]]


def session(*tokenizers: Tokenizer, **options: Any) -> Session:
    channels = {c: info for t in tokenizers for c, info in t.channels().items()}
    heads = {name: steps for c in channels for name, steps in Next(c).heads("", channels).items()}
    torch.manual_seed(0)
    return Session(build(Decoder(16, 1, 2), channels, heads), **options)


def says(*ids: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A pick that does not care for logits."""
    turn = iter(ids)
    return lambda logits: torch.tensor(next(turn))


def test_generation_stops_at_the_end_id():
    made = generate(session(Line()).feed(Line().encode([0, 1])), Line(), "line", 9, says(3, 2, 5, 4))
    assert made.spans[0].ids.tolist() == [3, 2] and made.spans[0].meta == {"length": 7}


def test_generation_stops_at_max_tokens():
    running = session(Line()).feed(Line().encode([0]))
    made = generate(running, Line(), "line", 3, says(1, 1, 1, 1))
    assert len(made) == 3 and len(running) == 4
    assert len(generate(running, Line(), "line", 0)) == 0


def test_generation_stops_when_the_object_is_complete():
    """Seven tokens make a whole line; the prompt holds three of them. The caller's meta wins over the prompt's."""
    prompt = Line().encode([0, 1, 2])
    assert len(generate(session(Line()).feed(prompt), Line(), "line", 99, says(*[1] * 9))) == 4
    assert len(generate(session(Line()).feed(prompt), Line(), "line", 99, says(*[1] * 9), {"length": 4})) == 1


def test_generation_stops_where_another_channel_is_next():
    beats = Beats()
    prompt = beats.encode([[1, 2], [3, 4]])
    running = session(beats).feed(prompt[:3])
    made = generate(running, beats, "beats/mark", 9, says(3, 3))
    assert made.spans[0].ids.tolist() == [3] and made.spans[0].axes["step"].tolist() == [1]
    assert len(generate(running, beats, "beats/mark", 9, says(3))) == 0
    level = generate(running, beats, "beats/level", 9)
    assert level.spans[0].features.dtype == torch.uint8 and level.spans[0].features.shape == (1, 2)
    assert level.spans[0].axes["step"].tolist() == [2] and len(running) == 5


def test_generated_tokens_are_those_of_a_full_pass():
    """Greedy generation behind the cache picks what a fresh session over all tokens so far would pick."""
    running, prompt = session(Line()), Line().encode([0, 1])
    made = generate(running.feed(prompt), Line(), "line", 5, meta={})
    assert len(made)
    for k in range(len(made)):
        again = session(Line()).feed(prompt + made[:k]).ask("line")[0].argmax()
        assert again == made.spans[0].ids[k]


def test_an_unknown_channel_is_refused_by_name():
    with pytest.raises(ConfigError, match="tokenizer 'line' has no channel 'lime'; did you mean 'line'"):
        generate(session(Line()), Line(), "lime", 1)


@settings(deadline=None)
@given(n=st.integers(1, 8), seed=st.integers(0, 99), kind=st.sampled_from(["codes", "words", "patches", "sound"]))
def test_filling_in_the_right_answers_gives_the_sequence_back(n, seed, kind):
    """Two masked spans of a channel with other tokens between them; answers that are right leave no trace of the mask."""
    g, make = worlds.maker(seed), {"codes": worlds.codes, "words": worlds.words, "patches": worlds.patches, "sound": worlds.sound}
    sequence = make[kind](n, g) + worlds.tags(2, g) + make[kind](n + 1, g)
    at = At("task", worlds.CHANNELS, random.Random(seed))
    marked = Masked(kind).mark(Document({"main": sequence}), {}, at)
    ask, vocab = marked.asks["task"], worlds.CHANNELS[kind].vocab
    assert len(ask.rows) >= 2
    answers = ask.target if vocab is None else torch.nn.functional.one_hot(ask.target, vocab).float()
    filled = fill_in(marked.main, ask, answers, worlds.CHANNELS)
    for got, want in zip(filled.spans, sequence.spans, strict=True):
        assert got.axes.keys() == want.axes.keys() and torch.allclose(got.content, want.content, atol=1e-6)


def test_filling_in_touches_only_what_was_masked():
    sequence = worlds.codes(20, worlds.maker(1))
    marked = Masked("codes").mark(Document({"main": sequence}), {}, At("task", worlds.CHANNELS, random.Random(0)))
    ask = marked.asks["task"]
    filled = fill_in(marked.main, ask, torch.nn.functional.one_hot(torch.full((len(ask.rows),), 5), 7), worlds.CHANNELS)
    changed = Counter((filled.spans[0].ids != sequence.spans[0].ids).tolist())
    assert set(filled.spans[0].ids[ask.rows].tolist()) == {5} and changed[True] <= len(ask.rows)
