"""The law of masks can fail: each of these mistakes in the rule turns it red."""

from dataclasses import replace

import pytest
import torch

from omnitok import batch as batch_module
from omnitok import layout as layout_module
from omnitok.batch import Document
from omnitok.layout import Layout
from omnitok.sequence import Span, TokenSequence
from tests.laws.masks import check_masks
from tests.strategies import SCHEMA

VISIBLE, COLLATE, ORDER_OF, RUN = Layout.visible, batch_module.collate, batch_module.order_of, layout_module._run


def some_documents() -> list[Document]:
    """A causal, a full and a mixed document, and two of equal length."""
    letters = TokenSequence((Span("letter", ids=torch.arange(4)),))
    tiles = TokenSequence((Span("tile", features=torch.zeros(3, 3)),))
    mixed, lonely = letters + tiles + letters, letters + tiles[:1] + letters
    found = [letters, tiles, tiles + letters, mixed, mixed, lonely]
    return [Document({"main": s}, name=f"d{i}") for i, s in enumerate(found)]


def with_layout(change):
    """`collate` with every layout changed."""

    def mutant(documents, schema):
        batch = COLLATE(documents, schema)
        return batch.replace(streams={k: s.replace(layout=change(s.layout)) for k, s in batch.streams.items()})

    return mutant


def full_runs_begin_late(full, starts):
    return ORDER_OF(full, starts) + full.long()


def spans_close_runs(full, starts):
    """Every full token opens a run of its own."""
    return ORDER_OF(torch.zeros_like(full), starts)


def run_without_order(count, length, rule, start, order, pairs):
    return RUN(count, length, "full" if rule == "order" else rule, start, order, pairs)


def run_shifted(count, length, rule, start, order, pairs):
    run = RUN(count, length, rule, start, order, pairs)
    return run if run.mask is None else run.replace(mask=run.mask.roll(1, -1))


def neighbour_leaked(layout):
    """The last token of a document is counted to the next one."""
    segment = layout.segment.clone()
    segment[layout.offsets()[1:-1].long() - 1] += 1
    return layout.replace(segment=segment)


MUTANTS = {
    "mask inverted": (Layout, "visible", lambda self: ~VISIBLE(self)),
    "mask transposed": (Layout, "visible", lambda self: VISIBLE(self).T),
    "mask shifted by one key": (Layout, "visible", lambda self: VISIBLE(self).roll(1, 1)),
    "mask shifted by one query": (Layout, "visible", lambda self: VISIBLE(self).roll(1, 0)),
    "own token hidden": (Layout, "visible", lambda self: VISIBLE(self) & ~torch.eye(len(self), dtype=torch.bool)),
    "segment dropped": (Layout, "visible", lambda self: self.order[None, :] <= self.order[:, None]),
    "order dropped": (Layout, "visible", lambda self: self.segment[None, :] == self.segment[:, None]),
    "packing neighbour leaked": (batch_module, "collate", with_layout(neighbour_leaked)),
    "all documents in one segment": (batch_module, "collate", with_layout(lambda x: x.replace(segment=x.segment * 0))),
    "order of full runs off by one": (batch_module, "order_of", full_runs_begin_late),
    "order of causal tokens off by one": (
        batch_module,
        "order_of",
        lambda full, starts: (ORDER_OF(full, starts) - 1).clamp(min=0),
    ),
    "order starts at the stream, not the document": (
        batch_module,
        "order_of",
        lambda full, starts: ORDER_OF(full, starts & (starts.cumsum(0) == 1)),
    ),
    "full runs are causal": (batch_module, "order_of", spans_close_runs),
    "run forgets its order": (layout_module, "_run", run_without_order),
    "run's mask shifted by one": (layout_module, "_run", run_shifted),
    "a document's rule taken for full": (batch_module, "_rule", lambda document, stream, schema: "full"),
    "a document's rule taken for causal": (batch_module, "_rule", lambda document, stream, schema: "causal"),
    "fixed rule of the stream ignored": (
        batch_module,
        "channel_rule",
        lambda channel, stream, attend, schema: attend.get(channel) or schema.rules[channel],
    ),
}


def all_checks() -> None:
    documents = some_documents()
    check_masks(documents, SCHEMA)
    check_masks(documents, replace(SCHEMA, streams={"main": "full"}))


def test_the_law_holds_without_a_mutant():
    all_checks()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_turns_the_law_red(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    with pytest.raises(AssertionError):
        all_checks()
