"""Contrastive learning: the two streams of a document belong together, and those of other documents do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from ..batch import Ask, Document
from ..errors import ConfigError, SequenceError, did_you_mean
from ..nn.steps import Linear, Pool, Step, Temperature, Unit
from ..tokenizer import Channel
from .base import At, Objective


class Contrast(Objective, frozen=True):
    """Each stream is one vector; a pair's product shall be larger than that of either with the rest of the batch.

    Symmetric InfoNCE (CLIP, arXiv 2103.00020): the mean of two cross-entropies, of the right second among all seconds
    and of the right first among all firsts. Negatives are the other pairs of the packed batch, so loss and scores
    depend on how many there are (`train.budget`), while a document's vectors do not. A preset's own head "contrast"
    of a stream is used where there is one; any other stream gets the mean of its rows, a projection and length 1, and
    the first one a learned temperature. A stream that several tasks compare is named first in each of them.
    """

    streams: Annotated[tuple[str, str], Meta(description="the two streams of a document that belong together")]
    dim: Annotated[int, Meta(ge=1, description="width of the vectors, where the preset does not say it")] = 256

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        first, second = self.streams
        if first == second:
            raise ConfigError(f"contrast compares two streams, and got {first!r} twice")
        vector = (Pool(), Linear(self.dim, bias=False), Unit())
        return {head_of(first): (*vector, Temperature()), head_of(second): vector}

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        for stream in self.streams:
            if stream not in document.streams:
                hint = did_you_mean(stream, document.streams, "streams")
                raise SequenceError(f"{document.name}: the document has no stream {stream!r}; {hint}")
            if not len(document.streams[stream]):
                raise SequenceError(f"{document.name}: nothing to compare, stream {stream!r} is empty")
        first, second = (self._side(document, stream) for stream in self.streams)
        return document.replace(asks={**document.asks, at.task: first.replace(other=second)})

    def _side(self, document: Document, stream: str) -> Ask:
        rows = torch.arange(len(document.streams[stream]))
        return Ask(head_of(stream), rows, torch.zeros(1), torch.ones(1), torch.zeros_like(rows), None, stream)

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        """[G, 2, E] -> [G]."""
        logits, right = products(out)
        forth, back = (F.cross_entropy(x, right, reduction="none") for x in (logits, logits.T))
        return (forth + back) / 2

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        """How often the right one is found among those of the batch, in both directions."""
        logits, right = products(out)
        first, second = self.streams
        found = {f"{first}_to_{second}": logits, f"{second}_to_{first}": logits.T}
        return {
            **{name: (float((x.argmax(1) == right).sum()), len(x)) for name, x in found.items()},
            "nats": (float(self.loss(out, ask).sum()), len(out)),
        }

    def seen(self, ask: Ask) -> Tensor:
        """[G] how many there are to choose from."""
        return torch.full((len(ask.weight),), len(ask.weight))

    def chance(self, targets: Tensor) -> dict[str, float]:
        """Of a draw among those of the batch: 1 / G for a batch of G pairs."""
        first, second = self.streams
        count = targets.double()
        share = count.reciprocal().mean().item() if len(targets) else 0.0
        nats = count.log().mean().item() if len(targets) else 0.0
        return {f"{first}_to_{second}": share, f"{second}_to_{first}": share, "nats": nats}

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        """Both vectors of each pair."""
        return out.tolist()  # type: ignore[no-any-return]


def head_of(stream: str) -> str:
    """The head that makes one vector of a stream."""
    return f"{stream}:contrast"


def products(out: Tensor) -> tuple[Tensor, Tensor]:
    """[G, 2, E] vectors -> [G, G] products of firsts and seconds, and [G] which second belongs to each first."""
    first, second = out.to(torch.promote_types(out.dtype, torch.float32)).unbind(1)
    return first @ second.T, torch.arange(len(out), device=out.device)
