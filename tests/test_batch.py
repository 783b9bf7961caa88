"""Packed batches: every token, axis, pair and ask where it belongs, and no answer in sight of its question."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnitok.batch import MASKED, Ask, Document, Schema, collate
from omnitok.errors import SequenceError
from omnitok.layout import build_grid
from omnitok.sequence import Span, TokenSequence
from tests.strategies import SCHEMA, batches, quick


def letters(*values: int, **parts) -> TokenSequence:
    return TokenSequence((Span("letter", ids=torch.tensor(values, dtype=torch.long), **parts),))


def tiles(n: int, **parts) -> TokenSequence:
    return TokenSequence((Span("tile", features=torch.arange(3.0 * n).view(n, 3), **parts),))


def at(batch, documents):
    """Every (document, span, place in the document, flat row) of the main stream."""
    bases = dict(zip(batch.names, batch.streams["main"].layout.offsets().tolist(), strict=False))
    for document in documents:
        for span, places in zip(document.main.spans, document.main.places, strict=True):
            for i, place in enumerate(places.tolist()):
                yield document, span, i, place, bases[document.name] + place


@quick
@given(batches())
def test_every_token_keeps_its_channel_content_axes_and_position(documents):
    batch = collate(documents, SCHEMA)
    if not documents:
        assert len(batch) == 0
        return
    stream = batch.streams["main"]
    layout, rows_seen = stream.layout, []
    row_of = {c: dict(zip(v.rows.tolist(), range(len(v.rows)), strict=True)) for c, v in stream.content.items()}
    for document, span, i, place, row in at(batch, documents):
        rows_seen.append(row)
        assert layout.channels[layout.channel[row]] == span.channel
        assert torch.equal(stream.content[span.channel].value[row_of[span.channel][row]], span.content[i])
        first = document.main.places[[s is span for s in document.main.spans].index(True)][0]
        assert layout.position[row] == (first if span.channel in SCHEMA.sets else place)
        for name, width in SCHEMA.axes.items():
            absent = torch.zeros(width) if width else torch.tensor(-1)
            assert torch.equal(layout.axes[name][row], span.axes[name][i] if name in span.axes else absent)
    assert sorted(rows_seen) == list(range(len(batch)))
    assert layout.axes.keys() == SCHEMA.axes.keys()


@quick
@given(batches())
def test_spans_are_numbered_and_counted(documents):
    batch = collate(documents, SCHEMA)
    by_name = {d.name: d for d in documents}
    for name, stream in batch.streams.items():
        spans = [s for d in batch.names for s in by_name[d].streams[name].spans]
        for channel, content in stream.content.items():
            assert content.lengths == tuple(len(s) for s in spans if s.channel == channel)
        counts = torch.bincount(stream.layout.span, minlength=len(spans)).tolist()
        assert counts == [len(s) for s in spans]


@quick
@given(batches())
def test_pairs_move_with_their_document(documents):
    batch = collate(documents, SCHEMA)
    if not documents:
        return
    layout = batch.streams["main"].layout
    assert layout.pairs.keys() == set(SCHEMA.pairs)
    want = []
    for document in documents:
        base = layout.offsets()[batch.names.index(document.name)]
        for ends, labels in document.main.pairs.values():
            want += zip((ends[0] + base).tolist(), (ends[1] + base).tolist(), labels.tolist(), strict=True)
    ends, labels = layout.pairs["edge"]
    assert sorted(zip(*ends.tolist(), labels.tolist(), strict=True)) == sorted(want)
    assert layout.pairs["never"][0].shape == (2, 0)
    assert (layout.segment[ends[0]] == layout.segment[ends[1]]).all()


@quick
@given(batches())
def test_pairs_of_the_runs_are_the_pairs_of_the_layout(documents):
    batch = collate(documents, SCHEMA)
    for stream in batch.streams.values():
        found, start = [], 0
        for run in stream.layout.runs:
            for cells, labels in run.pairs.values():
                segment, rest = cells // run.length**2, cells % run.length**2
                query, key = rest // run.length, rest % run.length
                base = start + segment * run.length
                found += zip((base + query).tolist(), (base + key).tolist(), labels.tolist(), strict=True)
            start += run.count * run.length
        ends, labels = stream.layout.pairs["edge"]
        assert sorted(found) == sorted(zip(*ends.tolist(), labels.tolist(), strict=True))
        assert start == len(stream)


@quick
@given(st.lists(st.integers(0, 6), max_size=6))
def test_grid_rows_and_flat_are_inverse(lengths):
    grid, x = build_grid(lengths), torch.randn(sum(lengths), 2)
    rows = grid.rows(x)
    assert rows.shape == (len(lengths), max(lengths, default=0), 2)
    assert torch.equal(grid.flat(rows), x)
    for row, part in zip(rows, x.split(lengths), strict=True):
        assert torch.equal(row[: len(part)], part) and not row[len(part) :].any()


@quick
@given(batches(("left", "right")))
def test_streams_agree_on_their_segments(documents):
    batch = collate(documents, replace(SCHEMA, streams={"left": None, "right": None}))
    for name, stream in batch.streams.items():
        by_name = {d.name: len(d.streams[name]) for d in documents}
        assert stream.layout.lengths == tuple(by_name[n] for n in batch.names)
    assert len(batch) == sum(map(len, documents))


def next_ask(n: int, first: int, **parts) -> Ask:
    """Ask the row before each token of a causal document of n tokens."""
    rows = torch.arange(n - 1)
    return Ask("letters", rows, rows + first, torch.ones(n - 1), source=rows + 1, **parts)


@quick
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_asks_keep_the_order_of_the_documents_and_point_at_their_tokens(lengths):
    documents = []
    for i, n in enumerate(lengths):
        ids = torch.arange(n) + 100 * i
        sequence = TokenSequence((Span("letter", ids=ids),))
        documents.append(Document({"main": sequence}, {"t": next_ask(n, 100 * i + 1)}, name=f"d{i}"))
    batch = collate(documents, SCHEMA)
    ask, content = batch.asks["t"], batch.streams["main"].content["letter"]
    flat = torch.zeros(len(batch), dtype=torch.long)
    flat[content.rows] = content.ids
    assert ask.target.tolist() == [100 * i + k + 1 for i, n in enumerate(lengths) for k in range(n - 1)]
    assert torch.equal(flat[ask.source], ask.target)
    assert torch.equal(flat[ask.rows], ask.target - 1)


def test_groups_are_numbered_through_and_tasks_kept_apart():
    def pooled(n: int) -> Ask:
        return Ask("pool", torch.arange(n), torch.tensor([n]), torch.ones(1), group=torch.zeros(n, dtype=torch.long))

    lengths = (3, 1, 2)
    documents = [Document({"main": tiles(n)}, {"size": pooled(n)}, name=str(n)) for n in lengths]
    batch = collate([*documents, Document({"main": letters(1, 2)}, {"next": next_ask(2, 2)})], SCHEMA)
    ask = batch.asks["size"]
    assert ask.target.tolist() == [3, 1, 2]
    assert ask.group.tolist() == [0, 0, 0, 1, 2, 2]
    layout = batch.streams["main"].layout
    for group, n in enumerate(lengths):
        assert layout.segment[ask.rows[ask.group == group]].unique().tolist() == [batch.names.index(str(n))]
    assert batch.asks["next"].target.tolist() == [2]


def test_targets_of_different_widths_are_padded():
    def ask(*values: int) -> Ask:
        return Ask("list", torch.tensor([0]), torch.tensor([values]), torch.ones(1))

    batch = collate([Document({"main": letters(1)}, {"t": ask(1, 2, 3)}), Document({"main": letters(1)}, {"t": ask(7)})], SCHEMA)
    assert batch.asks["t"].target.tolist() == [[1, 2, 3], [7, -1, -1]]


def test_an_ask_that_sees_its_answer_is_refused_by_name():
    sees = Ask("tiles", torch.tensor([0]), torch.tensor([1.0]), torch.ones(1), source=torch.tensor([1]))
    document = Document({"main": tiles(2)}, {"guess": sees})
    with pytest.raises(SequenceError, match=r"task 'guess' asks for 'tile'.*'tile' must attend causally there, or be masked"):
        collate([Document({"main": letters(1)}), document], SCHEMA)
    causal = replace(document, attend={"tile": "causal"})
    assert collate([causal], SCHEMA).asks["guess"].source.tolist() == [1]
    masked = replace(document, streams={"main": tiles(2, axes={MASKED: torch.tensor([-1, 0])})})
    assert collate([masked], SCHEMA).asks["guess"].rows.tolist() == [0]
    itself = replace(causal, asks={"guess": replace(sees, source=torch.tensor([0]))})
    with pytest.raises(SequenceError, match="guess"):
        collate([itself], SCHEMA)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([TokenSequence((Span("stranger", ids=torch.tensor([1])),))], "no rule for channel 'stranger'"),
        (
            [letters(1), TokenSequence((Span("letter", features=torch.zeros(1, 2)),))],
            "holds ids in one place and features in another",
        ),
        ([tiles(1), TokenSequence((Span("tile", features=torch.zeros(1, 4)),))], "different widths"),
    ],
)
def test_channels_that_do_not_fit_are_refused_by_name(documents, message):
    with pytest.raises(SequenceError, match=message):
        collate(documents, SCHEMA)


def test_axes_that_no_schema_knows_are_filled_too():
    batch = collate([letters(1, 2), tiles(2, axes={"when": torch.tensor([5, 6])})], Schema(rules=SCHEMA.rules))
    layout = batch.streams["main"].layout
    assert sorted(layout.axes["when"].tolist()) == [-1, -1, 5, 6]


def test_documents_of_one_length_and_rule_form_one_run():
    batch = collate([letters(1, 2), tiles(2), letters(3, 4), tiles(2), tiles(1) + letters(1)], SCHEMA)
    runs = {(r.count, r.length, r.rule) for r in batch.streams["main"].layout.runs}
    assert runs == {(2, 2, "causal"), (2, 2, "full"), (1, 2, "order")}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.tensor([0.5, 1.5]), r"axis 'step' holds floats \[n\], and the model reads it as integers \[n\]"),
        (torch.zeros(2, 3), r"axis 'step' holds floats \[n, 3\]"),
    ],
)
def test_an_axis_is_never_rounded_or_stretched_silently(values, message):
    with pytest.raises(SequenceError, match=message):
        collate([letters(1, 2, axes={"step": values})], SCHEMA)


def test_an_axis_of_two_widths_is_refused_by_name():
    one, two = tiles(1, axes={"place": torch.zeros(1, 2)}), tiles(1, axes={"place": torch.zeros(1, 3)})
    with pytest.raises(SequenceError, match="axis 'place' holds tokens of different widths"):
        collate([one, two], SCHEMA)
