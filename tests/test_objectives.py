"""Objectives: what they ask, what a constant answer scores, what their scores add up to, and what they refuse."""

import itertools
import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitok.batch import MASKED, Ask, Document, collate
from omnitok.errors import ConfigError, InputError, SequenceError, UnknownNameError
from omnitok.objectives import BUILT_IN, At, Classify, Contrast, Corrupt, Ctc, Link, Masked, Next, Objective, Regress, Seq2Seq
from omnitok.objectives.transcribe import edit_distance
from omnitok.presets.generic import Encoder
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws import worlds
from tests.laws.worlds import CHANNELS, TASKS, mixed, world_model

MODEL = world_model(worlds.DECODER)


def mark(objective: Objective, sequence: TokenSequence, sample: Mapping[str, Any] | None = None, seed: int = 0) -> Document:
    at = At("task", CHANNELS, random.Random(seed))
    return objective.mark(Document({"main": sequence}, name="scan/7"), sample or {}, at)


def ask_of(objective: Objective, sequence: TokenSequence, sample: Mapping[str, Any] | None = None) -> Ask:
    return mark(objective, sequence, sample).asks["task"]


def plain(channel: str, values: list[int]) -> TokenSequence:
    return TokenSequence((Span(channel, ids=torch.tensor(values, dtype=torch.long)),))


# -- shapes


@pytest.mark.parametrize("task", TASKS)
def test_shapes_of_what_is_asked_and_answered(task):
    """One target, weight, loss and answer per group; one answer row per asked row, or per group where a head pools."""
    objective = TASKS[task]
    batch = collate([worlds.document(task, n, n) for n in (4, 1, 6)], MODEL.schema)
    ask, out = batch.asks[task], MODEL(batch)[task]
    groups = len(ask.weight)
    assert len(ask.target) == groups and groups > 0
    assert len(out) == (groups if task == "mood" else len(ask.rows))
    assert objective.loss(out, ask).shape == (groups,) and objective.loss(out, ask).isfinite().all()
    assert len(objective.answers(out, ask)) == groups
    assert set(objective.score(out, ask)) == set(objective.chance(ask.target))
    assert all(math.isfinite(v) for pair in objective.score(out, ask).values() for v in pair)


@pytest.mark.parametrize("task", TASKS)
def test_scores_of_batches_add_up(task):
    """Numerators and denominators over two batches are those over one batch of all documents."""
    documents = [worlds.document(task, n, n) for n in (4, 1, 6, 3)]

    def score(some: list[Document]) -> dict[str, tuple[float, float]]:
        batch = collate(some, MODEL.schema)
        return TASKS[task].score(MODEL(batch)[task], batch.asks[task])

    with torch.no_grad():
        whole, parts = score(documents), [score(documents[:1]), score(documents[1:])]
    for name, (numerator, denominator) in whole.items():
        assert sum(p[name][0] for p in parts) == pytest.approx(numerator, rel=1e-5, abs=1e-6)
        assert sum(p[name][1] for p in parts) == denominator


def test_every_objective_is_tried_here():
    """Those of two streams and of pairs are tried in tests/test_seq2seq.py, test_contrast.py and plugins/test_graph_link.py."""
    assert {type(o) for o in TASKS.values()} | {Seq2Seq, Corrupt, Contrast, Link} == set(BUILT_IN)


# -- chance


def score_of_constant(objective: Objective, out: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """A constant answer [..., V] scored on these targets."""
    ask = Ask("", torch.arange(len(targets)), targets, torch.ones(len(targets)))
    found = objective.score(out.expand(len(targets), -1), ask)
    return {name: numerator / denominator for name, (numerator, denominator) in found.items()}


@settings(max_examples=30, deadline=None)
@given(targets=st.lists(st.integers(0, 3), min_size=1, max_size=12).map(torch.tensor), kind=st.sampled_from(["next", "classify"]))
def test_chance_of_ids_is_the_best_constant_answer(targets, kind):
    """Every constant class is tried for accuracy, and a grid of constant distributions for nats."""
    objective = Next("codes") if kind == "next" else Classify("label", classes=4)
    chance = objective.chance(targets)
    accuracies = [score_of_constant(objective, torch.eye(4)[i], targets)["accuracy"] for i in range(4)]
    assert chance["accuracy"] == pytest.approx(max(accuracies))
    grid = [torch.tensor(p, dtype=torch.float) for p in itertools.product(range(6), repeat=4) if sum(p) == 5]
    nats = [score_of_constant(objective, (p / 5 + 1e-9).log(), targets)["nats"] for p in grid]
    assert chance["nats"] <= min(nats) + 1e-5
    share = torch.bincount(targets, minlength=4) / len(targets)
    assert chance["nats"] == pytest.approx(score_of_constant(objective, (share + 1e-12).log(), targets)["nats"], abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    targets=st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=9).map(lambda v: torch.tensor(v)[:, None]),
    std=st.sampled_from([1.0, 2.0]),
)
def test_chance_of_numbers_is_the_best_constant_answer(targets, std):
    """A fine grid of constants never beats it, and comes close: squared error for features, absolute error too for labels."""
    grid = torch.linspace(-3, 3, 121)[:, None]
    objectives = [Next("cart/return"), Regress("number", mean=5.0, std=std)]
    for objective in objectives:
        scores = [score_of_constant(objective, value, targets) for value in grid]
        for name, chance in objective.chance(targets).items():
            best = min(s[name] for s in scores)
            assert chance <= best + 1e-4
            assert best - chance <= 0.03 * std**2


def test_chance_of_transcription_is_silence_or_the_commonest_answer():
    targets = torch.tensor([[1, 2, -1], [1, 2, -1], [3, -1, -1]])
    assert Ctc("words").chance(targets) == {"error_rate": 1.0, "exact": pytest.approx(2 / 3)}


def test_nothing_asked_has_a_chance_too():
    empty = torch.zeros(0, dtype=torch.long)
    assert Next("words").chance(empty) == {"accuracy": 0.0, "nats": 0.0}
    assert Classify("x", classes=2).chance(empty) == {"accuracy": 0.0, "nats": 0.0}
    assert Regress("x").chance(torch.zeros(0, 1)) == {"mse": 0.0, "mae": 0.0}
    assert Next("patches").chance(torch.zeros(0, 4)) == {"mse": 0.0}
    assert Ctc("words").chance(torch.zeros(0, 0, dtype=torch.long))["exact"] == 0


# -- what is asked of which rows


def test_next_asks_the_row_before_each_token_of_its_channel():
    g = worlds.maker(0)
    ask = ask_of(Next("words"), worlds.patches(2, g) + plain("words", [4, 5]) + worlds.tags(1, g) + plain("words", [6]))
    assert ask.rows.tolist() == [1, 2, 4] and ask.target.tolist() == [4, 5, 6] and ask.source.tolist() == [2, 3, 5]
    assert ask_of(Next("words"), plain("words", [4, 5])).target.tolist() == [5], "nothing stands before the first token"
    cart = worlds.cart(2, g)
    action = ask_of(Next("cart/action"), cart)
    assert action.rows.tolist() == [1, 4] and torch.equal(action.target, cart.spans[2].ids)


def test_features_are_predicted_normalised():
    cart = worlds.cart(3, worlds.maker(0))
    target = ask_of(Next("cart/observation"), cart).target
    channel = CHANNELS["cart/observation"]
    assert torch.allclose(channel.raw(target), cart.spans[1].features)
    assert target.shape == (3, 4) and not torch.allclose(target, cart.spans[1].features)


@settings(deadline=None)
@given(
    n=st.integers(1, 40), rate=st.floats(0.01, 1), seed=st.integers(0, 99), kind=st.sampled_from(["codes", "words", "patches"])
)
def test_masking_takes_content_out_and_asks_for_it(n, rate, seed, kind):
    make = {"codes": worlds.codes, "words": worlds.words, "patches": worlds.patches}[kind]
    sequence = make(n, worlds.maker(seed)) + worlds.tags(2, worlds.maker(seed))
    document = mark(Masked(kind, rate=rate), sequence, seed=seed)
    ask, (span, tags) = document.asks["task"], document.main.spans
    hidden = torch.zeros(n, dtype=torch.bool)
    hidden[ask.rows] = True
    before = sequence.spans[0]
    assert hidden.any() and (rate < 1 or hidden.all())
    assert torch.equal(span.content[~hidden], before.content[~hidden]) and tags == sequence.spans[1]
    if kind == "codes":
        assert (span.ids[hidden] == 6).all() and MASKED not in span.axes
    else:
        assert torch.equal(span.axes[MASKED] >= 0, hidden)
    if kind == "words":
        assert (span.ids[hidden] == -1).all()
    if kind == "patches":
        assert (span.features[hidden] == 0.5).all(), "features become the channel's mean"
        assert all(torch.equal(span.axes[a], before.axes[a]) for a in before.axes)
    want = before.ids[hidden] if before.ids is not None else CHANNELS[kind].normal(before.features[hidden]).flatten(1)
    assert torch.equal(ask.target, want) and document.attend == {kind: "full"}
    again = mark(Masked(kind, rate=rate), sequence, seed=seed)
    assert again == document, "what is masked follows from the generator alone"


def test_the_end_and_empty_ids_are_never_masked():
    sequence = plain("words", [1, -1, 10, 3])
    for seed in range(5):
        assert set(mark(Masked("words", rate=1.0), sequence, seed=seed).asks["task"].rows.tolist()) <= {0, 3}


def test_labels_are_read_at_a_readout_by_mean_or_per_token():
    sequence = worlds.codes(4, worlds.maker(0))
    readout = mark(Classify("label", classes=3), sequence, {"label": 2})
    assert readout.main.spans[-1].channel == "control" and readout.asks["task"].rows.tolist() == [4]
    mean = mark(Classify("label", "mean", classes=3), sequence, {"label": 2}).asks["task"]
    assert mean.rows.tolist() == [0, 1, 2, 3] and mean.group.tolist() == [0] * 4 and mean.target.tolist() == [2]
    tokens = mark(Classify("labels", "tokens", classes=3), sequence, {"labels": [0, -1, 2, -1]}).asks["task"]
    assert tokens.rows.tolist() == [0, 2] and tokens.target.tolist() == [0, 2], "a label of -1 is not asked for"


def test_labels_have_names():
    objective = Classify("mood", names=("calm", "loud"))
    ask = ask_of(objective, worlds.codes(2, worlds.maker(0)), {"mood": "loud"})
    assert ask.target.tolist() == [1]
    assert objective.answers(torch.tensor([[0.0, 1.0]]), ask) == ["loud"]
    assert Classify("mood", classes=2).answers(torch.tensor([[0.0, 1.0]]), ask) == [1]


def test_numbers_come_back_in_their_own_units():
    one, two = Regress("x", mean=10.0, std=4.0), Regress("x", mean=10.0, std=4.0, columns=2)
    sequence = worlds.codes(2, worlds.maker(0))
    ask = ask_of(one, sequence, {"x": 14.0})
    assert ask.target.tolist() == [[1.0]] and one.answers(ask.target, ask) == [14.0]
    assert two.answers(*(ask_of(two, sequence, {"x": [14.0, 6.0]}).target,) * 2) == [[14.0, 6.0]]
    score = one.score(torch.tensor([[2.0]]), ask)
    assert score == {"mse": (16.0, 1), "mae": (4.0, 1)}, "scores are in the label's units"


# -- transcription


def peaked(path: list[int], vocab: int = 11) -> torch.Tensor:
    """Logits that are all but sure of this path."""
    return 30.0 * torch.nn.functional.one_hot(torch.tensor(path), vocab + 1).float()


@pytest.mark.parametrize(
    ("path", "said"),
    [([11, 11], []), ([3, 3, 11], [3]), ([3, 11, 3], [3, 3]), ([1, 2, 2, 11, 2], [1, 2, 2]), ([11, 4, 11], [4])],
)
def test_a_path_is_read_by_merging_repeats_and_dropping_blanks(path, said):
    sequence = worlds.sound(len(path), worlds.maker(0)) + plain("words", said)
    ask = ask_of(Ctc("words"), sequence)
    assert Ctc("words").answers(peaked(path), ask) == [said]
    assert Ctc("words").score(peaked(path), ask)["error_rate"] == (0, len(said))
    assert Ctc("words").loss(peaked(path), ask).item() < 1e-3
    wrong = peaked([7] * len(path))
    assert Ctc("words").loss(wrong, ask).item() > 1 and Ctc("words").score(wrong, ask)["exact"] == (0, 1)


def test_transcription_takes_its_answer_out_of_the_document():
    document = mark(Ctc("words"), worlds.sound(5, worlds.maker(0)) + plain("words", [1, 2, 10]))
    assert document.main.channels == ("sound",) and len(document.main) == 5
    assert document.asks["task"].target.tolist() == [[1, 2]], "the id that closes a field is not spelled"


@pytest.mark.parametrize(("rows", "said", "need"), [(1, [1, 2], 2), (2, [3, 3], 3), (4, [5, 5, 5], 5), (0, [1], 1)])
def test_too_few_rows_are_refused_by_name(rows, said, need):
    """A repeated id needs a blank between."""
    message = rf"scan/7: {rows} rows cannot spell {len(said)} ids of 'words' \(needs {need}\)"
    with pytest.raises(SequenceError, match=message):
        mark(Ctc("words"), worlds.sound(rows, worlds.maker(0)) + plain("words", said))
    ask = ask_of(Ctc("words"), worlds.sound(need, worlds.maker(0)) + plain("words", said))
    assert Ctc("words").loss(torch.zeros(need, 12), ask).isfinite().all()


def test_targets_of_different_lengths_share_a_batch():
    """One empty, one short, one long: each loss is what it is alone."""
    g = worlds.maker(0)
    documents = [
        mark(Ctc("words"), worlds.sound(n, g) + plain("words", said)).replace(name=str(n))
        for n, said in [(3, []), (4, [1, 1]), (8, [1, 2, 3, 4])]
    ]
    model = world_model(Encoder(16, 1, 2), ("spell",))
    with torch.no_grad():
        batch = collate(documents, model.schema)
        together = TASKS["spell"].loss(model(batch)["task"], batch.asks["task"])
        for document, loss in zip(documents, together, strict=True):
            alone = collate([document], model.schema)
            assert torch.allclose(TASKS["spell"].loss(model(alone)["task"], alone.asks["task"])[0], loss, rtol=1e-5)


@given(a=st.lists(st.integers(0, 2), max_size=5), b=st.lists(st.integers(0, 2), max_size=5))
def test_edit_distance_is_the_shortest_way(a, b):
    """By definition: the cheapest of deleting, inserting and replacing, followed to the end."""

    def slow(x: list[int], y: list[int]) -> int:
        if not x or not y:
            return len(x) + len(y)
        return min(slow(x[1:], y) + 1, slow(x, y[1:]) + 1, slow(x[1:], y[1:]) + (x[0] != y[0]))

    assert edit_distance(a, b) == slow(a, b)


# -- what is refused, by name


def test_an_unknown_channel_is_named():
    for objective in (Next("wrods"), Masked("wrods"), Ctc("wrods")):
        with pytest.raises(UnknownNameError, match=r"in `on` of \w+: 'wrods'; did you mean 'words'"):
            objective.heads("task", CHANNELS)
        with pytest.raises(UnknownNameError, match="'wrods'; did you mean 'words'"):
            mark(objective, worlds.words(2, worlds.maker(0)))


def test_what_a_channel_cannot_answer_is_named():
    g = worlds.maker(0)
    with pytest.raises(ConfigError, match="'tags' has several ids per token"):
        mark(Next("tags"), worlds.tags(3, g))
    with pytest.raises(ConfigError, match="ctc needs a channel of ids; 'sound' holds features"):
        Ctc("sound").heads("task", CHANNELS)
    with pytest.raises(ConfigError, match="'bare' declares neither ids nor features"):
        Next("bare").heads("task", {"bare": Channel()})
    with pytest.raises(ConfigError, match="classify 'label': set `classes`"):
        Classify("label").heads("task", CHANNELS)


def test_labels_that_cannot_be_used_are_named():
    sequence = worlds.codes(3, worlds.maker(0))
    with pytest.raises(SequenceError, match="scan/7: the sample has no field 'label'; did you mean 'labels'"):
        mark(Classify("label", classes=2), sequence, {"labels": 1})
    with pytest.raises(InputError, match="scan/7: unseen label 'lout'; did you mean 'loud'"):
        mark(Classify("mood", names=("calm", "loud")), sequence, {"mood": "lout"})
    for label in (2, -1):
        with pytest.raises(InputError, match=rf"scan/7: label \[{label}\] is outside the 2 classes of 'label'"):
            mark(Classify("label", classes=2), sequence, {"label": label})
    with pytest.raises(SequenceError, match="scan/7: 2 labels in 'labels' for 3 tokens"):
        mark(Classify("labels", "tokens", classes=2), sequence, {"labels": [0, 1]})
    for value in (math.nan, math.inf):
        with pytest.raises(InputError, match="scan/7: 'x' holds NaN or infinity"):
            mark(Regress("x"), sequence, {"x": value})


def test_an_ask_that_sees_its_answer_is_refused_by_task_and_channel():
    """Where a stream fixes that all is seen, the next token cannot be asked for."""
    model = world_model(Encoder(16, 1, 2), ("write",))
    with pytest.raises(SequenceError, match="task 'task' asks for 'words' at a row that already sees the answer"):
        collate([mark(Next("words"), worlds.words(4, worlds.maker(0)))], model.schema)
    seen = mark(Masked("words"), worlds.words(4, worlds.maker(0)))
    span = seen.main.spans[0].replace(axes={})
    with pytest.raises(SequenceError, match="must attend causally there, or be masked"):
        collate([seen.replace(streams={"main": TokenSequence((span,))})], model.schema)


def test_documents_without_asked_rows_count_nothing():
    """Alone and beside others: no rows, no targets, no loss, and scores out of 0."""
    g = worlds.maker(0)
    silent = {
        "write": mark(Next("words"), worlds.patches(3, g)),
        "act": mark(Next("cart/action"), TokenSequence()),
        "spell": mark(Ctc("words"), TokenSequence()),
        "unmask-patches": mark(Masked("patches"), worlds.words(2, g)),
        "parts": mark(Classify("labels", "tokens", classes=3), worlds.nodes(2, g), {"labels": [-1, -1]}),
    }
    for task, document in silent.items():
        asks = {task: document.asks["task"].replace(head=task if task == "parts" else document.asks["task"].head)}
        batch = collate([document.replace(asks=asks)], MODEL.schema)
        out, ask = MODEL(batch)[task], batch.asks[task]
        assert len(ask.rows) == len(ask.weight) == len(out) == len(TASKS[task].loss(out, ask)) == 0
        assert all(pair == (0, 0) for pair in TASKS[task].score(out, ask).values())
        assert TASKS[task].answers(out, ask) == []
        beside = collate([document.replace(asks=asks), worlds.document(task, 3, 1)], MODEL.schema)
        assert len(beside.asks[task].rows) == len(worlds.document(task, 3, 1).asks[task].rows)


def test_tasks_share_a_head_by_what_it_predicts_and_keep_labels_apart():
    heads = [o.heads("one", CHANNELS) | o.heads("two", CHANNELS) for o in TASKS.values()]
    for objective, found in zip(TASKS.values(), heads, strict=True):
        assert len(found) == (2 if isinstance(objective, Classify | Regress) else 1)
    assert len(mixed(tuple(TASKS))) > len(TASKS)
