"""Packing: a document computed among others is the document computed alone, through a small real model."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..batch import Document
from .base import Skip, Subject, check, checks_of
from .world import World, answers, apart, gradients, model_of, other_content, world

GROUP = "packing"
MOST = 8
"""Documents of a batch."""
DIFFERENTIATED = 4
"""Documents whose gradients are compared."""


def _documents(own: World) -> list[Document]:
    found = sorted((d for d in own.documents() if len(d)), key=len)
    if len(found) < 2:
        raise Skip("there are no two documents to pack: no channel can be predicted")
    return found[:: max(1, len(found) // MOST)][:MOST]


@check(
    GROUP,
    "packed-outputs",
    "Hidden rows and losses of a document are the same packed with others as by itself (1e-5)",
    "a step of `embed` must treat rows one by one, or look only inside its span (`ctx.lengths`)",
    fitted=True,
)
def packed_outputs(subject: Subject) -> Iterator[str]:
    own, model = world(subject), model_of(subject)
    documents = _documents(own)
    with torch.no_grad():
        packed = answers(model, documents, own.tasks)
        for document, got in zip(documents, packed, strict=True):
            (want,) = answers(model, [document], own.tasks)
            for what, a, b in (("hidden rows", got.hidden, want.hidden), ("losses", got.losses, want.losses)):
                words = apart(a, b)
                if words:
                    yield f"{document.name}: {what} {words} when it is packed with others"


@check(
    GROUP,
    "packed-gradients",
    "The gradients of a document are the same packed with others as by itself (1e-5)",
    "let no statistic of the whole batch into a step of `embed`, in its backward pass either",
)
def packed_gradients(subject: Subject) -> Iterator[str]:
    own, model = world(subject), model_of(subject)
    documents = _documents(own)
    packed = answers(model, documents, own.tasks)
    for document, got in list(zip(documents, packed, strict=True))[-DIFFERENTIATED:]:
        (want,) = answers(model, [document], own.tasks)
        wanted = gradients(model, want.total())
        largest = max(g.abs().max().item() for g in wanted.values())
        for name, gradient in gradients(model, got.total()).items():
            words = apart(gradient, wanted[name], 1e-2 * largest)
            if words:
                yield f"{document.name}: gradients of {name} {words} when it is packed with others"


@check(
    GROUP,
    "neighbours",
    "What a document's neighbours in a batch hold has no influence on it",
    "let no row of another span into a step of `embed`: cut at `ctx.lengths`",
)
def neighbours(subject: Subject) -> Iterator[str]:
    own, model = world(subject), model_of(subject)
    documents = _documents(own)
    others = [d.replace(streams={"main": other_content(d.main, own.channels)}) for d in documents]
    with torch.no_grad():
        first = answers(model, documents, own.tasks)
        for i in {0, len(documents) // 2, len(documents) - 1}:
            changed = [d if j == i else other for j, (d, other) in enumerate(zip(documents, others, strict=True))]
            words = apart(answers(model, changed, own.tasks)[i].hidden, first[i].hidden, tolerance=1e-6)
            if words:
                yield f"{documents[i].name}: hidden rows {words} when its neighbours hold something else"


CHECKS = checks_of(globals())
