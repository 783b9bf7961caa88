"""Packing: nothing lost, nothing over the budget, in order, well filled and well mixed."""

import itertools
import math
import random
import statistics
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnitok.batch import Document, Schema
from omnitok.draws import Draws, Source
from omnitok.errors import ConfigError, DuplicateNameError, LengthError, SequenceError
from omnitok.nn.steps import Axis
from omnitok.packing import Packer, channels_of, fill, pack, schema_of
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.strategies import quick
from tests.toys import Words

BUDGET = 20
lengths_of_documents = st.lists(st.integers(0, BUDGET), max_size=60)


def document(length: int, name: str) -> Document:
    return Document({"main": TokenSequence((Span("words", ids=torch.zeros(length, dtype=torch.long)),))}, name=name)


def drain(packer: Packer, items) -> list[list]:
    """All batches of these (name, length) items."""
    batches = []
    for item in items:
        packer.push(item, item[1])
        while packer.full:
            batches.append(packer.take())
    while packer.pending:
        batches.append(packer.take())
    return batches


@quick
@given(lengths_of_documents, st.integers(1, 8))
def test_every_document_is_in_one_batch_and_no_batch_over_the_budget(lengths, waiting):
    documents = [document(n, str(i)) for i, n in enumerate(lengths)]
    batches = list(fill(documents, BUDGET, waiting))
    assert sorted(int(d.name) for batch in batches for d in batch) == list(range(len(lengths)))
    assert all(batch and sum(map(len, batch)) <= BUDGET for batch in batches)


@quick
@given(lengths_of_documents)
def test_a_batch_takes_documents_in_the_order_drawn_and_the_longest_waiting_always_goes_next(lengths):
    batches = drain(Packer(BUDGET), list(enumerate(lengths)))
    assert all([n for n, _ in batch] == sorted(n for n, _ in batch) for batch in batches)
    left = set(range(len(lengths)))
    for batch in batches:
        assert min(left) == batch[0][0], "nobody waits for ever"
        left -= {n for n, _ in batch}


@quick
@given(lengths_of_documents, st.integers(1, 8))
def test_a_batch_is_closed_early_only_when_enough_wait_or_the_stream_ends(lengths, waiting):
    packer = Packer(BUDGET, waiting)
    for n, length in enumerate(lengths):
        packer.push((n, length), length)
        while packer.full:
            room = BUDGET - sum(max(1, size) for _, size in packer.take())
            assert room == 0 or len(packer.pending) >= waiting
        assert len(packer._waiting) < waiting


@quick
@given(lengths_of_documents, st.integers(0, 10))
def test_pushing_what_is_pending_restores_a_packer(lengths, cut):
    items = list(enumerate(lengths))
    whole = drain(Packer(BUDGET), items)
    packer, batches, source = Packer(BUDGET), [], iter(items)
    while len(batches) < min(cut, len(whole)):
        if packer.full or (item := next(source, None)) is None:
            batches.append(packer.take())
        else:
            packer.push(item, item[1])
    again = Packer(BUDGET)
    assert batches + drain(again, [*packer.pending, *source]) == whole


def test_a_document_over_the_budget_is_named_with_its_length():
    with pytest.raises(LengthError, match="long one has 21 tokens and the budget of a batch is 20"):
        list(fill([document(20, "fits"), document(21, "long one")], BUDGET))


def test_an_endless_run_of_empty_documents_still_closes_batches():
    batches = fill((document(0, str(i)) for i in itertools.count()), 5)
    assert [len(next(batches)) for _ in range(3)] == [5, 5, 5]


@pytest.mark.parametrize("settings", [(0, 8), (8, 0), (-1, 8)])
def test_a_budget_of_nothing_is_refused(settings):
    with pytest.raises(ConfigError, match="at least 1"):
        Packer(*settings)


LENGTHS = {
    "prose": lambda r: min(500, max(20, int(r.lognormvariate(math.log(130), 0.8)))),
    "picture": lambda r: r.choice([64, 100, 144, 196, 256]),
    "sound": lambda r: r.randint(50, 400),
    "episode": lambda r: 60,
    "network": lambda r: r.randint(10, 100),
}
"""The lengths of the mix that packing is measured on: five tasks in equal shares."""


def entropy(counts) -> float:
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts if n)


@pytest.mark.parametrize("budget", [1024, 2048, 4096, 8192])
def test_batches_of_the_mix_are_full_and_mixed(budget):
    draws, r = Draws([Source(task, 1000) for task in LENGTHS], seed=1), random.Random(1)
    items = [(d.task, LENGTHS[d.task](r)) for d in itertools.islice(draws, 8000)]
    batches = drain(Packer(budget), items)[1:-2]
    filled = statistics.mean(sum(n for _, n in batch) / budget for batch in batches)
    mixed = statistics.mean(entropy(Counter(task for task, _ in batch).values()) for batch in batches) / math.log(len(LENGTHS))
    assert filled >= 0.98
    assert mixed >= 0.9


def test_pack_makes_batches_of_sequences_and_names_them():
    words = Words()
    sequences = [words.encode([1] * n) for n in (4, 5, 4)]
    first, second = pack(sequences, 8, [words])
    assert (len(first), len(second)) == (8, 5)
    assert sorted(first.names) == ["document 0", "document 2"] and second.names == ("document 1",)
    assert pack(sequences, 8, words.channels()) == [first, second] == pack(sequences, 8, schema_of(words.channels()))
    with pytest.raises(LengthError, match="document 0 has 4 tokens"):
        pack(sequences, 3, [words])
    with pytest.raises(SequenceError, match="no rule for channel 'words': hand its tokenizer to `pack`"):
        pack(sequences, 8)


def test_two_instances_need_two_names():
    with pytest.raises(DuplicateNameError, match="channel 'words' is claimed by two tokenizers"):
        channels_of([Words(), OtherWords()])
    assert set(channels_of([Words(), Words(), OtherWords().named("more")])) == {"words", "more"}


class OtherWords(Words, frozen=True):
    """The same name for other tokens."""

    def channels(self) -> dict[str, Channel]:
        return {self.channel(): Channel(vocab=3)}


def test_a_schema_says_all_that_its_channels_say():
    channels = {
        "a": Channel(vocab=3, axes=(Axis("step", 10), Axis("wave", 7, "sinusoid"))),
        "b": Channel(width=(2,), attend="full", ordered=False, axes=(Axis("place", 2, "linear"),), pairs={"edge": 4}),
        "c": Channel(vocab=3, axes=(Axis("step", 20),), pairs={"edge": 4}),
    }
    schema = schema_of(channels, {"one": "full", "two": None})
    assert schema.rules == {"a": "causal", "b": "full", "c": "causal"}
    assert schema.axes == {"step": 0, "wave": 0, "place": 2}
    assert (schema.pairs, schema.sets, dict(schema.streams)) == (("edge",), frozenset("b"), {"one": "full", "two": None})
    assert schema_of({}).streams == Schema().streams
    with pytest.raises(ConfigError, match=r"channel 'd' reads axis 'step' as 3 float columns, another as integers"):
        schema_of(channels | {"d": Channel(vocab=1, axes=(Axis("step", 3, "linear"),))})
