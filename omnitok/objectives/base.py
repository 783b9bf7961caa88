"""What every objective says: its heads, its marks on a document, its loss, score, chance and answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from ..batch import Ask, Document
from ..config import Config
from ..errors import ConfigError, unknown_name
from ..model import READOUT
from ..nn.steps import Linear, Logits, Step
from ..sequence import Span, TokenSequence
from ..tokenizer import Channel


@dataclass(frozen=True)
class At:
    """Where a document is marked."""

    task: str
    channels: Mapping[str, Channel]
    rng: random.Random
    """keyed by (seed, task, sample, purpose): equal wherever the document is made"""
    training: bool = True
    readout: int = READOUT
    """id of this task's readout in the control channel"""
    readout_first: bool = False
    """whether the preset reads its first token instead of its last"""


class Objective(Config, frozen=True):
    """Base. Loss and score work on one task's answers over a whole batch; shapes are those of `Ask`."""

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        """Head name -> steps. A head is named by what it predicts, so that tasks share it; a label's by its task."""
        raise NotImplementedError

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        """The document with what is asked of it. Raises SequenceError naming the document where it cannot be asked."""
        raise NotImplementedError

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        """[G] before weights."""
        raise NotImplementedError

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        """name -> (numerator, denominator); both are summed over batches and ranks, then divided."""
        raise NotImplementedError

    def chance(self, targets: Tensor) -> dict[str, float]:
        """The score of the best constant answer to these targets."""
        raise NotImplementedError

    def seen(self, ask: Ask) -> Tensor:
        """[G, ...] what `chance` shall know of one batch: its targets."""
        return ask.target

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        """One plain value per target: an id, a label, a list of numbers."""
        raise NotImplementedError

    def axes(self) -> Mapping[str, int]:
        """Axes that `mark` adds, for the schema."""
        return {}

    def reads_out(self) -> bool:
        """Whether it adds a readout token."""
        return False

    def added(self, tokens: int) -> int:
        """Most tokens that `mark` adds to a document of so many."""
        return int(self.reads_out())


def channel_of(name: str, channels: Mapping[str, Channel], objective: Objective) -> Channel:
    """The channel an objective is on, or the error that names the ones there are."""
    if name not in channels:
        raise unknown_name(f"channel in `on` of {type(objective).__name__.lower()}:", name, channels, "channels")
    return channels[name]


def prediction(name: str, channel: Channel) -> tuple[Step, ...]:
    """Head steps that give a channel's content back."""
    if channel.vocab is not None:
        return (Logits(name, channel.vocab),)
    if channel.width is None:
        raise ConfigError(f"channel {name!r} declares neither ids nor features, so nothing can be predicted on it")
    return (Linear(channel.size),)


def targets_of(span: Span, channel: Channel, keep: Tensor) -> Tensor:
    """ids [n], or normalised features [n, size], of the kept tokens."""
    if span.ids is not None:
        if span.ids.dim() > 1:
            raise ConfigError(f"channel {span.channel!r} has several ids per token: predict another channel")
        return span.ids[keep]
    assert span.features is not None
    return channel.normal(span.features[keep]).flatten(1)


def spans_with_places(sequence: TokenSequence) -> Iterator[tuple[Span, Tensor]]:
    return zip(sequence.spans, sequence.places, strict=True)


def with_main(document: Document, sequence: TokenSequence) -> dict[str, TokenSequence]:
    """The document's streams with the last one replaced."""
    return {**document.streams, stream_of(document): sequence}


def stream_of(document: Document) -> str:
    return list(document.streams)[-1]


def joined(parts: list[Tensor], like: Tensor) -> Tensor:
    """The concatenation, or an empty tensor of the kind of `like`."""
    return torch.cat(parts) if parts else like


class Prediction(Objective, frozen=True):
    """Base of the objectives that give a channel's content back: ids by cross-entropy, features by squared error."""

    on: Annotated[str, Meta(description="channel whose tokens are predicted")]

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        if not ask.target.is_floating_point():
            return F.cross_entropy(out.float(), ask.target, reduction="none")
        return (out.float() - ask.target).square().mean(-1)

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        if not ask.target.is_floating_point():
            loss = F.cross_entropy(out.float(), ask.target, reduction="sum").item()
            right = (out.argmax(-1) == ask.target).sum().item()
            return {"accuracy": (right, len(out)), "nats": (loss, len(out))}
        error = (out.float() - ask.target).square().mean(-1).sum().item()
        return {"mse": (error, len(out))}

    def chance(self, targets: Tensor) -> dict[str, float]:
        if not targets.is_floating_point():
            share = torch.bincount(targets).double() / max(1, len(targets))
            seen = share[share > 0]
            return {"accuracy": share.max().item() if len(targets) else 0.0, "nats": -(seen * seen.log()).sum().item()}
        return {"mse": (targets - targets.mean(0)).square().mean().item() if len(targets) else 0.0}

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        return (out if ask.target.is_floating_point() else out.argmax(-1)).tolist()  # type: ignore[no-any-return]
