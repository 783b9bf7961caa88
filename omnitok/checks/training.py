"""Training: what is asked of the tokens has targets that a head can give, and a loss that moves."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch

from ..batch import Document, collate
from ..objectives import Masked, Next
from .base import Skip, Subject, check, checks_of
from .world import LONGEST, model_of, world

GROUP = "training"
STEPS = 2
BUDGET = 6 * LONGEST


@check(
    GROUP,
    "targets-fit",
    "Next-token prediction and masked modelling ask for ids of the vocabulary and for finite numbers",
    "keep ids inside `vocab`, and set `mean` and `std` so that (x - mean) / std is a number of ordinary size",
    fitted=True,
)
def targets_fit(subject: Subject) -> Iterator[str]:
    own = world(subject)
    for document in own.documents((Next, Masked)):
        for task, ask in document.asks.items():
            vocab = own.channels[own.tasks[task].on].vocab or 0  # type: ignore[attr-defined]
            if not len(ask.target):
                continue
            if ask.target.is_floating_point():
                if not bool(ask.target.isfinite().all()):
                    yield f"{document.name}: targets that are not finite"
                continue
            low, high = int(ask.target.min()), int(ask.target.max())
            if not 0 <= low <= high < vocab:
                yield f"{document.name}: targets {low}..{high} for a vocab of {vocab}"


@check(
    GROUP,
    "trains",
    "Two steps of training on the samples have finite losses, and change them",
    "set `mean` and `std` to those of the data, and keep numbers inside the steps of `embed` bounded",
    fitted=True,
)
def trains(subject: Subject) -> Iterator[str]:
    own = world(subject)
    model = copy.deepcopy(model_of(subject)).train()
    documents: list[Document] = []
    size = 0
    for document in sorted((d for d in own.documents() if any(len(a.weight) for a in d.asks.values())), key=len):
        if size + len(document) <= BUDGET or not documents:
            documents.append(document)
            size += len(document)
    if not documents:
        raise Skip("nothing can be asked of its channels")
    batch, optimizer = collate(documents, model.schema), torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses: list[dict[str, float]] = []
    for _ in range(STEPS + 1):
        hidden = model.hidden(batch)
        each = {t: own.tasks[t].loss(model.answer(hidden, ask), ask).mean() for t, ask in batch.asks.items() if len(ask.weight)}
        losses.append({task: loss.item() for task, loss in each.items()})
        optimizer.zero_grad()
        torch.stack(list(each.values())).sum().backward()
        optimizer.step()
    for task, first in losses[0].items():
        values = [loss[task] for loss in losses]
        if not all(map(math.isfinite, values)):
            yield f"{task}: losses {', '.join(f'{v:.3g}' for v in values)}"
        elif values[-1] == first and first != 0:
            yield f"{task}: the loss stays at {first:.3g}"


CHECKS = checks_of(globals())
