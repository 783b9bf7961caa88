"""The stream of training batches: the same for every number of workers and every resume, and loud when it breaks."""

import itertools
import json
import os
import time
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnitok.batch import Document, Schema
from omnitok.draws import Draws, Source, chance
from omnitok.errors import CheckpointError, ConfigError, InputError, LengthError, OmnitokError
from omnitok.loader import Loader
from omnitok.sequence import Span, TokenSequence
from tests.strategies import quick

BUDGET = 64
SCHEMA = Schema(rules={"a": "causal", "b": "full", "c": "full"})
SOURCES = (Source("a", 9), Source("b", 40, share=2.0), Source("c", 5, weights=[1, 0, 2, 3, 4]))


def make(task: str, sample: int, key: str) -> Document:
    """A document whose length, content and order of summation depend on the draw."""
    rng = chance(key, "crop")
    ids = torch.tensor([sample] + [rng.randrange(100) for _ in range(rng.randrange(30))])
    wave = torch.randn(40_000, generator=torch.Generator().manual_seed(sample))
    return Document({"main": TokenSequence((Span(task, ids=ids, meta={"sum": float(wave.sum())}),))})


def loader(workers: int = 0, make=make, seed: int = 7, **settings) -> Loader:
    return Loader(make, Draws(SOURCES, seed), BUDGET, SCHEMA, workers, **settings)


def take(stream: Loader, count: int) -> list:
    return list(itertools.islice(stream, count))


@pytest.fixture(scope="module")
def inline() -> list:
    """The first batches, and the state behind each."""
    stream, found = loader(), []
    for batch in itertools.islice(stream, 60):
        found.append((batch, stream.state()))
    return found


@pytest.mark.parametrize(("workers", "chunk"), [(0, 3), (1, 1), (1, 8), (2, 3), (2, 8)])
def test_batches_and_states_are_the_same_for_any_number_of_workers(workers, chunk, inline):
    stream = loader(workers, chunk=chunk)
    for batch, state in inline[:25]:
        assert next(stream) == batch
        assert stream.state() == state
    stream.close()


@pytest.mark.parametrize("cut", [0, 1, 7, 31])
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact_twice_in_a_row(cut, workers, inline):
    stream = loader()
    take(stream, cut)
    for stop in (cut + 6, cut + 13):
        state = json.loads(json.dumps(stream.state()))
        stream.close()
        stream = loader(workers)
        stream.restore(state)
        assert stream.state() == state
        while cut < stop:
            assert next(stream) == inline[cut][0]
            assert stream.state() == inline[cut][1]
            cut += 1
    stream.close()


def test_a_closed_loader_goes_on_where_it_stood(inline):
    stream = loader(1)
    first = take(stream, 3)
    stream.close()
    assert first + take(stream, 3) == [batch for batch, _ in inline[:6]]
    stream.close()


def test_states_keep_their_values_while_the_stream_goes_on(inline):
    stream = loader()
    state = stream.state()
    before = json.dumps(state)
    take(stream, 5)
    assert json.dumps(state) == before


def test_another_seed_is_another_stream(inline):
    assert [b.names for b in take(loader(seed=8), 5)] != [b.names for b, _ in inline[:5]]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generator_belongs_to_the_model(workers):
    before = torch.get_rng_state()
    stream = loader(workers)
    take(stream, 3)
    stream.close()
    assert torch.equal(torch.get_rng_state(), before)


def test_documents_are_made_on_one_thread_and_the_model_keeps_its_own():
    seen = []

    def look(task: str, sample: int, key: str) -> Document:
        seen.append(torch.get_num_threads())
        return make(task, sample, key)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        take(loader(make=look), 2)
        assert set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_documents_without_a_name_are_named_by_task_and_sample(inline):
    assert set(inline[0][0].names) <= {f"{s.task}/{i}" for s in SOURCES for i in range(s.size)}


def refuse(task: str, sample: int, key: str) -> Document:
    if (task, sample) == ("b", 17):
        raise InputError("photo.png: not a picture")
    return make(task, sample, key)


def crash(task: str, sample: int, key: str) -> Document:
    return make(task, [sample][1] if task == "c" else sample, key)


class Panic(BaseException):
    """As native libraries raise it."""


def panic(task: str, sample: int, key: str) -> Document:
    raise Panic("index out of bounds")


def too_long(task: str, sample: int, key: str) -> Document:
    return Document({"main": TokenSequence((Span(task, ids=torch.zeros(BUDGET + 1, dtype=torch.long)),))})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        (refuse, InputError, r"^task 'b', sample 17: photo\.png: not a picture(\n|$)"),
        (crash, OmnitokError, r"^task 'c', sample \d: IndexError: list index out of range(\n|$)"),
        (panic, OmnitokError, r"^task '.', sample \d+: Panic: index out of bounds(\n|$)"),
        (too_long, LengthError, r"^task '.', sample \d+ has 65 tokens and the budget of a batch is 64"),
    ],
)
def test_a_sample_that_cannot_be_made_is_one_error_that_names_it(workers, broken, kind, message):
    stream = loader(workers, broken)
    with pytest.raises(kind, match=message) as first:
        take(stream, 200)
    state = stream.state()
    with pytest.raises(kind) as second:
        next(stream)
    stream.close()
    assert str(first.value) == str(second.value), "it stands where it stood, and nothing is skipped"
    assert stream.state() == state
    healthy = loader()
    healthy.restore(state)
    assert len(next(healthy)) > 0


def test_the_traceback_of_a_worker_is_a_note():
    stream = loader(1, crash)
    with pytest.raises(OmnitokError) as error:
        take(stream, 50)
    stream.close()
    assert "in crash" in error.value.__notes__[0]


def die(task: str, sample: int, key: str) -> Document:
    if task == "c":
        os._exit(3)
    return make(task, sample, key)


def hang(task: str, sample: int, key: str) -> Document:
    if task == "c":
        time.sleep(60)
    return make(task, sample, key)


@pytest.mark.parametrize("broken", [die, pytest.param(hang, marks=pytest.mark.slow)])
def test_a_worker_that_dies_or_hangs_is_named_in_time(broken):
    stream, start = loader(1, broken, timeout=1.0, chunk=2), time.monotonic()
    with pytest.raises(OmnitokError, match=r"a data worker died or did not answer for 1 s, at one of .*task 'c', sample \d"):
        take(stream, 50)
    stream.close()
    assert time.monotonic() - start < 30


def test_ranks_share_one_stream_out_among_themselves():
    whole = list(itertools.islice(Draws(SOURCES, 3), 600))
    parts = [Draws(SOURCES, 3, rank, 4) for rank in range(4)]
    found = [list(itertools.islice(draws, 150)) for draws in parts]
    assert sorted(itertools.chain(*found)) == sorted(whole)
    shares = [Counter(draw.task for draw in part) for part in found]
    assert all(25 <= share["a"] <= 50 for share in shares), "no rank is left with some tasks only"


def test_tasks_take_turns_by_share():
    sources = [Source("rare", 3, 0.05), Source("often", 3, 2), Source("plain", 3, 1)]
    counts: Counter = Counter()
    for i, draw in enumerate(itertools.islice(Draws(sources, 5), 2000), 1):
        counts[draw.task] += 1
        assert all(abs(counts[s.task] - i * s.share / 3.05) < 2 for s in sources)


@quick
@given(st.integers(1, 20), st.integers(0, 99))
def test_every_epoch_holds_every_sample_once_in_an_order_of_its_own(size, seed):
    draws = [draw.sample for draw in itertools.islice(Draws([Source("a", size)], seed), 3 * size)]
    epochs = [draws[i : i + size] for i in range(0, 3 * size, size)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    if size > 12:
        assert len({tuple(epoch) for epoch in epochs}) == 3


def test_weighted_samples_are_drawn_by_weight():
    counts = Counter(draw.sample for draw in itertools.islice(Draws([SOURCES[2]], 1), 10_000))
    assert counts[1] == 0
    for sample, weight in enumerate(SOURCES[2].weights):
        assert abs(counts[sample] - 1000 * weight) < 150


def test_tasks_do_not_change_each_others_samples():
    def samples(*sources: Source) -> list[int]:
        return [draw.sample for draw in itertools.islice(Draws(sources, 2), 300) if draw.task == "b"][:90]

    assert samples(SOURCES[1]) == samples(*SOURCES)


def test_chance_is_its_own_for_every_draw_and_purpose():
    draws = Draws(SOURCES, 0)
    keys = [draws.key(next(draws)) for _ in range(50)]
    values = {chance(key, purpose).random() for key in keys for purpose in ("crop", "mask")}
    assert len(values) == 100
    assert chance(keys[0], "crop").random() == chance(keys[0], "crop").random()


def test_draws_are_the_same_on_every_machine():
    draws = Draws([Source("a", 7), Source("b", 10, 0.5, weights=range(10))], 11)
    assert [(d.task, d.sample) for d in itertools.islice(draws, 8)] == FROZEN


FROZEN = [("a", 2), ("b", 5), ("a", 3), ("a", 5), ("b", 2), ("a", 1), ("a", 6), ("b", 5)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed was 0 and now is 1"),
        ({"world": 2}, "world was 1 and now is 2"),
        ({"sources": SOURCES[:2]}, "tasks was"),
        ({"sources": (Source("a", 10), *SOURCES[1:])}, r"tasks was \[\['a', 9, 1.0\]"),
    ],
)
def test_a_state_of_other_data_is_refused(changed, message):
    state = Draws(SOURCES, 0).state()
    with pytest.raises(CheckpointError, match=message):
        Draws(**({"sources": SOURCES, "seed": 0} | changed)).restore(state)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Source("a", 0), "task 'a' has no samples"),
        (lambda: Source("a", 1, share=0.0), "share must be a number above 0"),
        (lambda: Source("a", 1, share=float("nan")), "share must be a number above 0"),
        (lambda: Source("a", 2, weights=[1.0]), "2 samples and 1 weights"),
        (lambda: Draws([Source("a", 2, weights=[0.0, 0.0])]), "not all 0"),
        (lambda: Draws([Source("a", 2, weights=[1.0, -1.0])]), "weights must be 0 or more"),
        (lambda: Draws([Source("a", 1), Source("a", 1)]), "names of their own"),
        (lambda: Draws([]), "names of their own"),
        (lambda: Draws([Source("a", 1)], rank=2, world=2), r"rank must be in 0\.\.1, got 2"),
        (lambda: loader(-1), "workers, chunk and timeout"),
        (lambda: loader(timeout=float("inf")), "workers, chunk and timeout"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
