"""Every mask of a packed batch equals the brute-force oracle."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given

from omnitok.batch import Document, collate
from omnitok.sequence import Span, TokenSequence
from tests.laws.masks import check_masks
from tests.strategies import SCHEMA, batches, quick


def ids(channel: str, n: int) -> TokenSequence:
    return TokenSequence((Span(channel, ids=torch.zeros(n, dtype=torch.long)),))


def tiles(n: int) -> TokenSequence:
    return TokenSequence((Span("tile", features=torch.zeros(n, 3)),))


@quick
@given(batches())
def test_masks_equal_the_oracle(documents):
    check_masks(documents, SCHEMA)


@quick
@given(batches(("left", "right")))
def test_masks_of_two_streams_equal_the_oracle(documents):
    check_masks(documents, replace(SCHEMA, streams={"left": "full", "right": None}))
    check_masks(documents, replace(SCHEMA, streams={"left": None, "right": "causal"}))


@pytest.mark.parametrize(
    ("sequence", "order"),
    [
        (ids("letter", 4), [0, 1, 2, 3]),
        (tiles(4), [0, 0, 0, 0]),
        (tiles(3) + ids("letter", 2), [0, 0, 0, 3, 4]),
        (ids("letter", 3) + tiles(4) + ids("letter", 2), [0, 1, 2, 3, 3, 3, 3, 7, 8]),
        (ids("letter", 3) + ids("point", 1), [0, 1, 2, 3]),
        (tiles(3) + ids("point", 1), [0, 0, 0, 0]),
        (tiles(2) + ids("point", 2) + tiles(1), [0, 0, 0, 0, 0]),
        (ids("letter", 1), [0]),
        (TokenSequence(), []),
    ],
    ids=[
        "causal",
        "full",
        "prefix",
        "causal-full-causal",
        "readout-behind-causal",
        "readout-joins-full",
        "runs-across-spans",
        "one",
        "none",
    ],
)
def test_order_of_documented_examples(sequence, order):
    neighbour = tiles(2)
    for documents in ([sequence], [neighbour, sequence], [sequence, neighbour]):
        named = [Document({"main": d}, name="it" if d is sequence else "other") for d in documents]
        batch = collate(named, SCHEMA)
        layout = batch.streams["main"].layout
        assert layout.order[layout.segment == batch.names.index("it")].tolist() == order


def test_a_readout_sees_all_and_is_seen_by_its_run_only():
    behind_causal = collate([ids("letter", 3) + ids("point", 1)], SCHEMA).streams["main"].layout.visible()
    assert behind_causal[3].all() and not behind_causal[:3, 3].any()
    behind_full = collate([tiles(3) + ids("point", 1)], SCHEMA).streams["main"].layout.visible()
    assert behind_full.all()


def test_an_objective_overrules_a_channel_and_a_stream_overrules_both():
    def order(document: Document, schema) -> list[int]:
        return collate([document], schema).streams["main"].layout.order.tolist()

    natural, asked = Document({"main": tiles(3)}), Document({"main": tiles(3)}, attend={"tile": "causal"})
    assert order(natural, SCHEMA) == [0, 0, 0]
    assert order(asked, SCHEMA) == [0, 1, 2]
    assert order(asked, replace(SCHEMA, streams={"main": "full"})) == [0, 0, 0]
