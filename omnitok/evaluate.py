"""Evaluation on held-out samples: every score beside that of the best constant answer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .batch import Ask, Document, PackedBatch, collate
from .errors import OmnitokError
from .model import Transformer
from .objectives import Objective
from .packing import fill
from .tasks import Tasks, was_cut

if TYPE_CHECKING:
    from rich.table import Table


@dataclass
class Scores:
    """One task's sums over an evaluation."""

    documents: int = 0
    unasked: int = 0
    cut: int = 0
    weight: float = 0.0
    loss: float = 0.0
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    targets: list[Tensor] = field(default_factory=list)

    def add(self, objective: Objective, batch: PackedBatch, out: Tensor, ask: Ask) -> None:
        """One batch that holds this task only."""
        self.documents += len(batch.names)
        self.unasked += unasked(batch)
        self.cut += sum(map(was_cut, batch.names))
        if len(ask.weight):
            self.loss += float((objective.loss(out, ask) * ask.weight).sum())
            self.weight += float(ask.weight.sum())
            for name, (up, down) in objective.score(out, ask).items():
                old = self.sums.get(name, (0.0, 0.0))
                self.sums[name] = (old[0] + up, old[1] + down)
            self.targets.append(objective.seen(ask).cpu())

    def report(self, objective: Objective) -> dict[str, Any]:
        """`loss`, the scores, `chance` for each of them, and what was counted."""
        scores = {name: up / down if down else float("nan") for name, (up, down) in self.sums.items()}
        chance = objective.chance(_joined(self.targets)) if self.targets else {}
        loss = self.loss / self.weight if self.weight else float("nan")
        counts = {"samples": self.documents, "unasked": self.unasked, "cut": self.cut}
        return {"loss": loss, **scores, "chance": chance, **counts}


def unasked(batch: PackedBatch) -> int:
    """Documents of a batch of which nothing is asked."""
    asked: set[int] = set()
    for ask in batch.asks.values():
        asked |= set(batch.streams[ask.stream].layout.segment[ask.rows].tolist())
    return len(batch.names) - len(asked)


def _joined(targets: list[Tensor]) -> Tensor:
    """All targets; integer rows of different widths are padded with -1."""
    if targets[0].dim() == 2 and not targets[0].is_floating_point():
        width = max(t.shape[1] for t in targets)
        targets = [F.pad(t, (0, width - t.shape[1]), value=-1) for t in targets]
    return torch.cat(targets)


def evaluate(
    model: Transformer,
    tasks: Tasks,
    split: str | None = None,
    limit: int | None = None,
    cast: AbstractContextManager | None = None,
) -> dict[str, dict[str, Any]]:
    """task -> {"loss", its scores, "chance": {score: the best constant answer's}, "samples", "unasked", "cut"}.

    `split` overrules the tasks' own, `limit` is the most samples per task (`train.eval_samples` by default) and `cast`
    the precision to compute in. Draws nothing from the global generators.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), cast or nullcontext():
            return {task.name: _evaluate(model, tasks, task.name, split, limit) for task in tasks.recipe.tasks}
    finally:
        model.train(training)


def _evaluate(model: Transformer, tasks: Tasks, task: str, split: str | None, limit: int | None) -> dict[str, Any]:
    objective, scores = tasks.objectives[task], Scores()
    device, schema = next(model.parameters()).device, tasks.schema(model)
    documents = _documents(tasks, task, split, limit or tasks.recipe.train.eval_samples)
    for batch in fill(documents, tasks.recipe.train.budget):
        packed = collate(batch, schema)
        moved = packed.to(device)
        scores.add(objective, packed, model(moved)[task], moved.asks[task])
    return scores.report(objective)


def _documents(tasks: Tasks, task: str, split: str | None, limit: int) -> Iterator[Document]:
    """The held-out samples in order; of more than `limit`, a seeded choice."""
    config, seed = tasks.recipe.task(task), tasks.recipe.train.seed
    name = split or config.eval_split
    samples = tasks.split(config, name)
    rows = range(len(samples))
    chosen = rows if len(rows) <= limit else sorted(random.Random(f"{seed}/{task}/{name}").sample(rows, limit))
    for i in chosen:
        try:
            yield tasks.document(task, samples[i], f"{task}/{name}/{i}")
        except OmnitokError as error:
            raise type(error)(f"task {task!r}, sample {i} of {name!r}: {error}") from None


def table(report: Mapping[str, Mapping[str, Any]]) -> Table:
    """The report as people read it: one row per score."""
    from rich.table import Table

    out = Table("task", "score", "value", "chance", "samples", "nothing asked", "cut")
    for task, row in report.items():
        scores = [name for name in row if name not in ("loss", "chance", "samples", "unasked", "cut")] or ["loss"]
        for i, name in enumerate(scores):
            counts = [str(row[c]) for c in ("samples", "unasked", "cut")] if i == 0 else []
            chance = row["chance"].get(name)
            out.add_row("" if i else task, name, f"{row[name]:.4g}", "" if chance is None else f"{chance:.4g}", *counts)
    return out
