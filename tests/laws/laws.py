"""The laws as functions that raise AssertionError, used by the tests and by the mutations that must break them.

Shape letters: N flat tokens, R asked rows, G targets.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omnitok.batch import Ask, Document, PackedBatch, collate
from omnitok.generate import Session
from omnitok.model import Transformer
from omnitok.objectives import Objective
from omnitok.sequence import TokenSequence

TOLERANCE = 1e-5


def close(got: Tensor, want: Tensor, what: str, tolerance: float = TOLERANCE, floor: float = 1e-3) -> None:
    """Largest difference <= tolerance x largest wanted value (or `floor`); NaN is never close."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)} is not {tuple(want.shape)}"
    if not want.numel():
        return
    difference = (got - want).abs().max().item()
    scale = max(want.abs().max().item(), floor, 1e-30)
    assert difference <= tolerance * scale, f"{what}: differs by {difference:.2e}, {difference / scale:.1e} of {scale:.2e}"


@dataclass
class Answer:
    """What a model answers to one document, by task."""

    out: dict[str, Tensor]
    loss: dict[str, Tensor]
    hidden: dict[str, Tensor]

    def total(self) -> Tensor:
        """All that was asked and all that was computed, as one number whose gradient reaches every used parameter."""
        return sum(v.sum() for v in self.loss.values()) + 1e-2 * sum(h.square().sum() for h in self.hidden.values())


def answers(
    model: Transformer, documents: Sequence[Document], objectives: Mapping[str, Objective], backend: str = "auto"
) -> list[Answer]:
    """One forward pass over all of these documents, taken apart again."""
    batch = collate(documents, model.schema)
    hidden = model.hidden(batch, backend=backend)
    assert len(set(batch.names)) == len(documents), "documents need names of their own"
    parts = {s: dict(zip(batch.names, h.split(list(batch.streams[s].layout.lengths)), strict=True)) for s, h in hidden.items()}
    out = {task: model.answer(hidden, ask) for task, ask in batch.asks.items()}
    loss = {task: objectives[task].loss(out[task], ask) for task, ask in batch.asks.items()}
    outs = {task: iter(_pieces(out[task], ask, documents, task)) for task, ask in batch.asks.items()}
    losses = {task: iter(loss[task].split([len(d.asks[task].weight) for d in documents if task in d.asks])) for task in loss}
    return [
        Answer({t: next(outs[t]) for t in d.asks}, {t: next(losses[t]) for t in d.asks}, {s: parts[s][d.name] for s in d.streams})
        for d in documents
    ]


def _pieces(out: Tensor, ask: Ask, documents: Sequence[Document], task: str) -> tuple[Tensor, ...]:
    """One task's answers by document: a head that pools answers per target, any other per row."""
    asks = [d.asks[task] for d in documents if task in d.asks]
    pooled = len(out) != len(ask.rows)
    return out.split([len(a.weight) if pooled else len(a.rows) for a in asks])


def gradients(model: Transformer, value: Tensor) -> dict[str, Tensor]:
    """Parameter name -> gradient; zeros where a parameter has no part in it."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}


def packed_equals_alone(
    model: Transformer,
    documents: Sequence[Document],
    objectives: Mapping[str, Objective],
    backend: str = "auto",
    tolerance: float = TOLERANCE,
    backward: bool = True,
) -> None:
    """Hidden rows, answers, losses and every parameter's gradient of a document are the same packed as by itself.

    A gradient that is zero by theory or almost so (key biases without rotation; one visible key) is measured against
    a hundredth of the largest gradient.
    """
    packed = answers(model, documents, objectives, backend)
    for document, got in zip(documents, packed, strict=True):
        (want,) = answers(model, [document], objectives, backend)
        for kind in ("hidden", "out", "loss"):
            for name, value in getattr(want, kind).items():
                close(getattr(got, kind)[name], value, f"{kind} of {name} in {document.name}", tolerance)
        if not backward:
            continue
        wanted = gradients(model, want.total())
        largest = max(g.abs().max().item() for g in wanted.values())
        for name, gradient in gradients(model, got.total()).items():
            close(gradient, wanted[name], f"gradient of {name} in {document.name}", tolerance, 1e-2 * largest)


def neighbours_do_not_matter(
    model: Transformer,
    documents: Sequence[Document],
    others: Sequence[Document],
    objectives: Mapping[str, Objective],
    backend: str = "auto",
) -> None:
    """A document's answers stay when the content of all its neighbours is replaced (`others`, of equal structure)."""
    with torch.no_grad():
        first = answers(model, documents, objectives, backend)
        for i, document in enumerate(documents):
            changed = [document if j == i else other for j, other in enumerate(others)]
            second = answers(model, changed, objectives, backend)[i]
            for name, value in first[i].hidden.items():
                close(second.hidden[name], value, f"{name} of {document.name} beside other neighbours", 1e-6)
            for name, value in first[i].out.items():
                close(second.out[name], value, f"{name} of {document.name} beside other neighbours", 1e-6)


def uncut(sequence: TokenSequence, model: Transformer, attend: Mapping[str, str]) -> list[int]:
    """Places where a sequence may be cut for a session: nowhere between two tokens that see each other."""
    rules = {**model.schema.rules, **attend}
    full = torch.zeros(len(sequence), dtype=torch.bool)
    for span, place in zip(sequence.spans, sequence.places, strict=True):
        full[place] = rules[span.channel] == "full"
    return [k for k in range(1, len(sequence)) if not (full[k - 1] and full[k])]


def pieces(sequence: TokenSequence, cuts: Sequence[int]) -> Iterator[TokenSequence]:
    """The parts between the cuts."""
    borders = [0, *cuts, len(sequence)]
    return (sequence[a:b] for a, b in itertools.pairwise(borders))


def cached_equals_full(
    model: Transformer,
    parts: Sequence[Sequence[TokenSequence]],
    attend: Mapping[str, str] | None = None,
    memory: Mapping[str, Sequence[TokenSequence]] | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Documents fed piece by piece to one session give the last rows that a full pass over the same tokens gives.

    `memory` holds the streams that are read first, one sequence per document.
    """
    session, memory = Session(model, len(parts), attend=attend), memory or {}
    if memory:
        session.read(memory)
    so_far = [TokenSequence() for _ in parts]
    for turn in range(max(map(len, parts))):
        fed = [p[turn] if turn < len(p) else None for p in parts]
        session.feed(fed)
        so_far = [s if f is None else s + f for s, f in zip(so_far, fed, strict=True)]
        for i, sequence in enumerate(so_far):
            if len(sequence):
                others = {name: sequences[i] for name, sequences in memory.items()}
                close(
                    session.last[i], last_row(model, sequence, attend, others), f"document {i} after {turn + 1} pieces", tolerance
                )


@torch.no_grad()
def last_row(
    model: Transformer,
    sequence: TokenSequence,
    attend: Mapping[str, str] | None = None,
    memory: Mapping[str, TokenSequence] | None = None,
) -> Tensor:
    """[D] the last hidden row of a full pass over one document; `memory` holds its other streams."""
    document = Document({**(memory or {}), model.main: sequence}, attend=attend or {})
    return model.hidden(floats(collate([document], model.schema), model))[model.main][-1]


def floats(batch: PackedBatch, model: Transformer) -> PackedBatch:
    """The batch with its numbers in the model's precision."""
    dtype = next(model.parameters()).dtype
    return batch.map(lambda x: x.to(dtype) if x.is_floating_point() else x)


def answers_do_not_see_targets(
    model: Transformer, document: Document, changed: Document, objectives: Mapping[str, Objective], backend: str = "auto"
) -> None:
    """The first asked row answers the same where the content of its target and of all later tokens is another (`changed`)."""
    with torch.no_grad():
        (first,), (second,) = (answers(model, [d], objectives, backend) for d in (document, changed))
    for task, ask in document.asks.items():
        assert ask.source is not None, f"task {task!r} does not say where its answers stand"
        begin = int(ask.source.min())
        unlike = [name for name, s in document.streams.items() if s[begin:] == changed.streams[name][begin:]]
        assert not unlike, f"{document.name}: nothing was changed behind the first target"
        close(
            second.out[task][:1], first.out[task][:1], f"{task} of {document.name} with other tokens behind its first row", 1e-6
        )
