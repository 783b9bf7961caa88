"""A small real model over a tokenizer's own channels, and its samples as documents with everything asked that can be."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..assemble import build
from ..batch import Document, collate
from ..model import Transformer
from ..nn.context import Context
from ..objectives import At, Masked, Next, Objective
from ..presets.generic import Decoder
from ..sequence import TokenSequence
from ..tokenizer import Channel
from .base import Skip, Subject

LONGEST = 96
"""Tokens of a sample that the model sees."""
DIM = 16
TOLERANCE = 1e-5


@dataclass
class World:
    """A tokenizer's channels, its samples as sequences, and a task for everything that can be asked of a channel."""

    channels: dict[str, Channel]
    sequences: list[TokenSequence]
    tasks: dict[str, Objective]

    def model(self) -> Transformer:
        """Two blocks of width 16 with fresh weights, none of them at a start value that hides something."""
        heads = {name: steps for task, o in self.tasks.items() for name, steps in o.heads(task, self.channels).items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(Decoder(DIM, 2, 2), self.channels, heads)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn(parameter.shape))
        return model.eval()

    def mark(self, task: str, sequence: TokenSequence, name: str) -> Document:
        """The document of one sample with one task."""
        at = At(task, self.channels, random.Random(0))
        return self.tasks[task].mark(Document({"main": sequence}, name=name), {}, at)

    def documents(self, kinds: tuple[type[Objective], ...] = (Objective,)) -> list[Document]:
        """Every task of every sample."""
        return [
            self.mark(task, sequence, f"{task} of sample {i}")
            for task, objective in self.tasks.items()
            for i, sequence in enumerate(self.sequences)
            if isinstance(objective, kinds)
        ]


def world(subject: Subject) -> World:
    """The world of a subject, made once. Raises Skip where no sample has a token."""
    return subject.once("world", lambda: _world(subject))


def _world(subject: Subject) -> World:
    channels, unit = subject.tokenizer.channels(), max(1, subject.tokenizer.unit)
    sequences = [c.tokens[: max(unit, LONGEST // unit * unit)] for c in subject.cases]
    if not any(map(len, sequences)):
        raise Skip("no sample has a token: see the check samples")
    single = {s.channel for x in sequences for s in x.spans if s.ids is None or s.ids.dim() == 1}
    tasks: dict[str, Objective] = {}
    for channel in channels:
        if channel in single:
            tasks |= {f"next-{channel}": Next(channel), f"masked-{channel}": Masked(channel)}
    return World(channels, sequences, tasks)


def model_of(subject: Subject) -> Transformer:
    """The model of a subject's world, made once. Raises Skip where it cannot be built."""
    own = world(subject)

    def make() -> Transformer | Exception:
        try:
            return own.model()
        except Exception as error:
            return error

    found = subject.once("model", make)
    if isinstance(found, Exception):
        raise Skip("no model can be built of its channels: see the check model-builds") from found
    return found


def embedded(model: Transformer, sequence: TokenSequence) -> Tensor:
    """[N, dim] the rows in front of the first block."""
    stream = collate([sequence], model.schema).streams["main"]
    return model.embed(stream, "main", stream.layout, Context(stream.layout, tables=model.tables()))


@dataclass
class Answer:
    """What a model answers to one document: hidden rows and losses."""

    hidden: Tensor
    losses: Tensor

    def total(self) -> Tensor:
        """One number whose gradient reaches every parameter that was used."""
        return self.losses.sum() + 1e-2 * self.hidden.square().sum()


def answers(model: Transformer, documents: Sequence[Document], tasks: Mapping[str, Objective]) -> list[Answer]:
    """One forward pass over all of these documents, taken apart again."""
    batch = collate(documents, model.schema)
    hidden = model.hidden(batch)
    lengths = list(batch.streams["main"].layout.lengths)
    parts = dict(zip(batch.names, hidden["main"].split(lengths), strict=True))
    losses = {
        task: iter(
            tasks[task]
            .loss(model.answer(hidden, ask), ask)
            .split([len(d.asks[task].weight) for d in documents if task in d.asks])
        )
        for task, ask in batch.asks.items()
    }
    return [Answer(parts[d.name], torch.cat([next(losses[t]) for t in d.asks])) for d in documents]


def gradients(model: Transformer, value: Tensor) -> dict[str, Tensor]:
    """Parameter name -> gradient; zeros where a parameter has no part in it."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}


def apart(got: Tensor, want: Tensor, floor: float = 1e-3, tolerance: float = TOLERANCE) -> str | None:
    """How far two tensors are from each other, in words; None where they are close. NaN is never close."""
    if got.shape != want.shape:
        return f"have shape {tuple(got.shape)} instead of {tuple(want.shape)}"
    if not want.numel():
        return None
    difference, scale = (got - want).abs().max().item(), max(want.abs().max().item(), floor)
    return None if difference <= tolerance * scale else f"differ by {difference:.1e}, at a scale of {scale:.1e}"


def other_content(sequence: TokenSequence, channels: Mapping[str, Channel], begin: int = 0) -> TokenSequence:
    """The same structure with other content in all places from `begin` on."""
    spans = []
    for span, place in zip(sequence.spans, sequence.places, strict=True):
        late, content = place >= begin, span.content.clone()
        if span.ids is not None:
            content[late] = (content[late] + 1) % max(1, channels[span.channel].vocab or 1)
            spans.append(span.replace(ids=content))
        else:
            content[late] = ~content[late] if content.dtype == torch.bool else content[late] + 1
            spans.append(span.replace(features=content))
    return TokenSequence(tuple(spans), sequence.pairs)
