"""The law of masks as a function: what a packed batch lets each token see, against an oracle written from the prose alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from omnitok import batch as batch_module
from omnitok.batch import Document, PackedBatch, Schema
from omnitok.layout import Layout
from omnitok.sequence import TokenSequence


def rules_of(sequence: TokenSequence, document: Document, stream: str, schema: Schema) -> list[str]:
    """The rule of every token in place order: what the stream fixes wins, then the objective's, then the channel's own."""
    rules = [""] * len(sequence)
    for span, places in zip(sequence.spans, sequence.places, strict=True):
        for place in places.tolist():
            rules[place] = schema.streams.get(stream) or document.attend.get(span.channel) or schema.rules[span.channel]
    return rules


def oracle(rules: Sequence[str]) -> Tensor:
    """[n, n] query by key inside one document: the past, itself, and all of the run of full tokens that the query stands in."""
    n = len(rules)
    seen = torch.zeros(n, n, dtype=torch.bool)
    for q in range(n):
        for k in range(n):
            between = rules[min(q, k) : max(q, k) + 1]
            seen[q, k] = k <= q or all(rule == "full" for rule in between)
    return seen


def places_of(rules: Sequence[str]) -> list[int]:
    """The order inside one document: a token's place, or the place where its run of full tokens begins."""
    order: list[int] = []
    for place, rule in enumerate(rules):
        joins = place > 0 and rule == "full" == rules[place - 1]
        order.append(order[-1] if joins else place)
    return order


def check_masks(documents: Sequence[Document], schema: Schema) -> None:
    """Raise AssertionError where a packed batch of these documents lets a token see more or less than the oracle.

    Checked are the written-out rule, the runs that fast backends use, the segments and the order. Names must be unique.
    """
    batch: PackedBatch = batch_module.collate(documents, schema)
    by_name = {d.name: d for d in documents}
    assert sorted(batch.names) == sorted(by_name), "every document is packed once"
    for stream, packed in batch.streams.items():
        docs = [by_name[name] for name in batch.names]
        rules = [rules_of(d.streams.get(stream, TokenSequence()), d, stream, schema) for d in docs]
        want, layout = [oracle(r) for r in rules], packed.layout
        expected = torch.block_diag(*want).bool() if want else torch.zeros(0, 0, dtype=torch.bool)
        _equal(layout.visible(), expected, "visible()")
        _equal(mask_of_runs(layout), expected, "the mask of the runs")
        assert layout.lengths == tuple(map(len, want)), "lengths are those of the documents"
        assert layout.offsets().tolist() == [sum(layout.lengths[:i]) for i in range(len(want) + 1)], (
            "offsets border the documents"
        )
        assert layout.order.tolist() == [place for r in rules for place in places_of(r)], (
            "order counts from each document's start"
        )
        assert layout.segment.tolist() == [i for i, w in enumerate(want) for _ in w], "segments number the documents"


def mask_of_runs(layout: Layout) -> Tensor:
    """[N, N] what the runs let each token see, laid end to end."""
    blocks: list[Tensor] = []
    for run in layout.runs:
        whole = torch.ones(run.length, run.length, dtype=torch.bool)
        for i in range(run.count):
            if run.rule == "order":
                assert run.mask is not None, "a run by order carries its mask"
                blocks.append(run.mask[i])
            else:
                blocks.append(whole.tril() if run.rule == "causal" else whole)
    return torch.block_diag(*blocks).bool() if blocks else torch.zeros(0, 0, dtype=torch.bool)


def _equal(got: Tensor, want: Tensor, what: str) -> None:
    assert got.shape == want.shape, f"{what} has shape {tuple(got.shape)}, the oracle {tuple(want.shape)}"
    wrong = (got != want).nonzero().tolist()
    assert not wrong, f"{what} differs from the oracle at (query, key) {wrong[:5]} and {max(0, len(wrong) - 5)} more"
