"""Objectives of an encoder-decoder: what a decoder is asked, what span corruption takes out, and what both refuse."""

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok.batch import Document, collate
from omnitok.errors import ConfigError, SequenceError, UnknownNameError
from omnitok.model import CONTROL, START
from omnitok.objectives import At, Corrupt, Objective, Seq2Seq
from omnitok.sequence import Span, TokenSequence
from tests.laws import worlds
from tests.laws.laws import neighbours_do_not_matter, packed_equals_alone
from tests.translation import CHANNELS, MODEL, SENTINELS, TASKS, line


def mark(objective: Objective, streams, name: str = "scan/7", task: str = "task", seed: int = 0) -> Document:
    return objective.mark(Document(streams, name=name), {}, At(task, CHANNELS, random.Random(seed)))


def sample(task: str, n: int, seed: int) -> Document:
    """A marked document; equal task and n give equal structure."""
    g, objective, name = worlds.maker(seed), TASKS[task], f"{task}-{n}-{seed}"
    if isinstance(objective, Corrupt):
        ids = torch.randint(1, 39, (n,), generator=g)
        return mark(objective, {"main": line(objective.on, ids) + line(objective.on, [39])}, name, task, n)
    written = worlds.words(n, g) if objective.on == "words" else line("lines", torch.randint(40, (n,), generator=g))
    return mark(objective, {"encoder": worlds.sound(n + 1, g) + worlds.words(2, g), "decoder": written}, name, task)


def ids_of(sequence: TokenSequence) -> list[int]:
    return [i for s in sequence.spans for i in s.ids.tolist()]


# -- seq2seq


def test_the_decoder_starts_with_a_start_token_and_is_asked_for_every_token():
    source, target = worlds.sound(3, worlds.maker(0)), line("words", [4, 5]) + line("words", [10])
    document = mark(Seq2Seq("words"), {"encoder": source, "decoder": target})
    ask, written = document.asks["task"], document.streams["decoder"]
    assert document.streams["encoder"] == source
    assert written.spans[0].channel == CONTROL and ids_of(written) == [START, 4, 5, 10]
    assert ask.head == "words" and ask.stream == "decoder" and document.attend == {CONTROL: "causal", "words": "causal"}
    assert ask.rows.tolist() == [0, 1, 2] and ask.source.tolist() == [1, 2, 3]
    assert ask.target.tolist() == [[4, 5, 10]] and ask.weight.tolist() == [3.0]
    own = mark(Seq2Seq("begun"), {"encoder": source, "decoder": line("begun", [7])})
    assert own.main.channels == ("begun",) and ids_of(own.main) == [0, 7] and own.asks["task"].target.tolist() == [[7]]


def test_other_tokens_of_the_decoder_are_read_and_not_asked():
    g = worlds.maker(0)
    document = mark(Seq2Seq("words"), {"encoder": worlds.sound(3, g), "decoder": worlds.tags(2, g) + line("words", [4, -1, 6])})
    assert document.asks["task"].rows.tolist() == [2, 4] and document.asks["task"].target.tolist() == [[4, 6]]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5), smoothing=st.sampled_from([0.0, 0.1, 0.9]), seed=st.integers(0, 99)
)
def test_the_loss_is_the_mean_over_tokens_and_exact_counts_whole_answers(sizes, smoothing, seed):
    """Against torch's own loss and a loop over the documents."""
    g, objective = worlds.maker(seed), Seq2Seq("lines", smoothing)
    documents = [sample("smooth", n, seed + n).replace(name=str(i)) for i, n in enumerate(sizes)]
    documents = [d.replace(asks={"task": d.asks["smooth"]}) for d in documents]
    ask = collate(documents, MODEL.schema).asks["task"]
    out = torch.randn(len(ask.rows), 60, generator=g)
    wanted = [row for d in documents for row in d.asks["task"].target]
    flat = torch.cat([*wanted, torch.zeros(0, dtype=torch.long)])
    known = torch.rand(len(flat), generator=g) < 0.8
    out[known, flat[known]] += 99
    loss = objective.loss(out, ask)
    assert loss.shape == ask.weight.shape == (sum(n > 0 for n in sizes),)
    if not len(flat):
        assert objective.score(out, ask)["exact"] == (0, 0) and objective.answers(out, ask) == []
        return
    mean = F.cross_entropy(out, flat, label_smoothing=smoothing)
    assert (loss * ask.weight).sum() / ask.weight.sum() == pytest.approx(mean.item(), rel=1e-5)
    parts = out.argmax(-1).split([len(w) for w in wanted])
    right = [torch.equal(p, w) for p, w in zip(parts, wanted, strict=True)]
    score = objective.score(out, ask)
    assert score["exact"] == (sum(right), len(right)) and objective.answers(out, ask) == [p.tolist() for p in parts]
    assert score["accuracy"] == (sum(int((p == w).sum()) for p, w in zip(parts, wanted, strict=True)), len(flat))
    assert score["nats"][0] / score["nats"][1] == pytest.approx(F.cross_entropy(out, flat).item(), rel=1e-5)
    assert set(score) == set(objective.chance(ask.target))


def test_chance_is_the_best_constant():
    targets = torch.tensor([[1, 1, -1], [1, 1, -1], [2, 3, 1]])
    chance = Seq2Seq("words").chance(targets)
    share = torch.tensor([5, 1, 1]) / 7
    assert chance == {"accuracy": pytest.approx(5 / 7), "nats": pytest.approx(-(share * share.log()).sum().item()),
                      "exact": pytest.approx(2 / 3)}  # fmt: skip
    assert Seq2Seq("words").chance(torch.zeros(0, 0, dtype=torch.long)) == {"accuracy": 0.0, "nats": 0.0, "exact": 0.0}


# -- corrupt


def given_back(document: Document, on: str) -> list[int]:
    """The original ids, by a loop that follows the sentinels of encoder and decoder."""
    info, spans = CHANNELS[on], {}
    answer = ids_of(document.streams["decoder"])[1:]
    for i in answer:
        if i in info.sentinels:
            spans[i] = current = []
        elif i != info.end:
            current.append(i)
    read = ids_of(document.streams["encoder"])
    used = [i for i in read if i in info.sentinels]
    assert used == list(info.sentinels[: len(used)]), "sentinels are used in their order"
    if used:
        last = info.sentinels[len(used)]
        assert spans.pop(last) == [] and answer[-1] == (last if info.end is None else info.end)
    assert list(spans) == used and all(spans.values())
    return [i for token in read for i in spans.get(token, [token])]


@settings(max_examples=200, deadline=None)
@given(n=st.integers(0, 60), rate=st.sampled_from([0.02, 0.15, 0.3, 0.5, 0.8]), length=st.sampled_from([1.0, 3.0, 10.0]),
       on=st.sampled_from(["lines", "begun"]), seed=st.integers(0, 999))  # fmt: skip
def test_what_was_taken_out_fills_the_gaps(n, rate, length, on, seed):
    """Corrupted and filled back is the original, and as much is taken out, in as many spans, as T5 takes."""
    objective, end = Corrupt(on, rate=rate, length=length), CHANNELS[on].end
    ids = torch.randint(1, 39, (n,), generator=worlds.maker(seed))
    tail = [] if end is None else [end]
    noise = min(max(round(n * rate), 1), n - 1)
    spans = min(max(round(noise / length), 1), noise, n - noise)
    streams = {"main": line(on, ids) + line(on, tail)}
    if n > 1 and spans >= len(SENTINELS):
        with pytest.raises(ConfigError, match=f"{spans} spans of {n + len(tail)} tokens need {spans + 1} sentinels"):
            mark(objective, streams, seed=seed)
        return
    document = mark(objective, streams, seed=seed)
    assert list(document.streams) == ["encoder", "decoder"]
    assert given_back(document, on) == [*ids.tolist(), *tail]
    if n < 2:
        assert len(document.main) == 1 and not len(document.asks["task"].weight)
        return
    read, answer = (ids_of(document.streams[s]) for s in ("encoder", "decoder"))
    assert sum(i in SENTINELS for i in read) == spans and sum(i in SENTINELS for i in answer) == spans + 1
    assert len(answer) == 1 + noise + spans + 1 + len(tail) and document.asks["task"].target.tolist() == [answer[1:]]
    assert len(document) <= n + len(tail) + objective.added(n), "the packer counts on this"
    assert mark(objective, streams, seed=seed) == document


def test_spans_lie_everywhere_alike():
    """Segmentations are uniform: of 6 tokens, 2 taken out in 2 spans, each of the 3 masks comes a third of the time."""
    objective, rng = Corrupt("lines", rate=0.34, length=1.0), random.Random(0)
    assert objective.counts(6) == (2, 2)
    masks = [tuple(objective.noise(6, rng).tolist()) for _ in range(3000)]
    seen = {mask: masks.count(mask) / 3000 for mask in set(masks)}
    assert len(seen) == 3 and all(abs(share - 1 / 3) < 0.04 for share in seen.values())
    assert all(not mask[0] and mask[-1] for mask in masks)


def test_ends_inside_a_document_stay():
    """Two closed fields: nothing of `end` is taken out, and a span across it is two spans."""
    main = line("lines", range(1, 9)) + line("lines", [39]) + line("lines", range(9, 17)) + line("lines", [39])
    for seed in range(30):
        document = mark(Corrupt("lines", rate=0.6, length=4.0), {"main": main}, seed=seed)
        assert ids_of(document.streams["encoder"]).count(39) == 2
        assert given_back(document, "lines") == [*range(1, 9), 39, *range(9, 17), 39]


# -- laws


@pytest.mark.parametrize("backend", ["dense", "rows", "auto"])
def test_packed_equals_alone(backend):
    """Outputs, losses and gradients of every parameter; a document of which nothing is asked lies among them."""
    documents = [sample(task, n, 10 * n + i) for i, task in enumerate(TASKS) for n in (9, 4)]
    packed_equals_alone(MODEL, [*documents, sample("repair", 1, 0), sample("translate", 0, 1)], TASKS, backend)


def test_neighbours_do_not_matter():
    documents, others = ([sample(task, n, seed + n) for task in TASKS for n in (9, 4)] for seed in (0, 50))
    neighbours_do_not_matter(MODEL, documents, others, TASKS)


@settings(max_examples=40, deadline=None)
@given(task=st.sampled_from(list(TASKS)), n=st.integers(3, 12), seed=st.integers(0, 99), data=st.data())
def test_no_answer_sees_its_target(task, n, seed, data):
    """All tokens of the decoder from a place on are replaced: the rows before it answer the same."""
    document = sample(task, n, seed)
    ask, written = document.asks[task], document.main
    k = data.draw(st.integers(0, len(ask.source) - 1))
    at = int(ask.source[k])
    changed = line(TASKS[task].on, [(i + 1) % 10 for i in ids_of(written)[at:]])
    other = document.replace(streams={**document.streams, "decoder": written[:at] + changed})
    with torch.no_grad():
        one, two = (MODEL(collate([d], MODEL.schema))[task] for d in (document, other))
    torch.testing.assert_close(one[: k + 1], two[: k + 1], rtol=1e-6, atol=1e-6)
    assert k + 1 == len(one) or not torch.allclose(one[k + 1], two[k + 1]), "what comes later sees it"


def test_a_wrong_row_is_seen():
    """The law above bites: asked one row later, the answer sees its target."""
    document = sample("smooth", 6, 0)
    ask = document.asks["smooth"]
    late = document.replace(asks={"smooth": ask.replace(rows=ask.rows + 1)})
    with pytest.raises(SequenceError, match="already sees the answer"):
        collate([late], MODEL.schema)


# -- refusals


@pytest.mark.parametrize(
    ("objective", "streams", "error", "message"),
    [
        (Seq2Seq("words"), {"main": line("words", [1])}, SequenceError, "needs a stream to read and one to write"),
        (Seq2Seq("word"), {"a": line("words", [1]), "b": line("words", [1])}, UnknownNameError, "did you mean 'words'"),
        (Seq2Seq("sound"), {"a": line("words", [1]), "b": line("words", [1])}, ConfigError, "seq2seq needs a channel of ids"),
        (Corrupt("words"), {"main": line("words", [1, 2])}, ConfigError, "'words' has none: let its tokenizer reserve some"),
        (Corrupt("lines"), {"a": line("lines", [1]), "b": line("lines", [1])}, SequenceError, "takes one stream of channel"),
        (Corrupt("lines"), {"main": line("lines", [1]) + line("words", [1])}, SequenceError, "takes one stream of channel"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(objective, streams, error, message):
    with pytest.raises(error, match=message):
        mark(objective, streams)


def test_tokens_with_axes_are_not_taken_apart():
    span = Span("lines", torch.arange(4), axes={"step": torch.arange(4)})
    with pytest.raises(SequenceError, match="carry several ids, axes or pairs"):
        mark(Corrupt("lines"), {"main": TokenSequence((span,))})
