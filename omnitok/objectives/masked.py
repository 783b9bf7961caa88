"""Masked modelling on one channel: ids (BERT) and features (masked patches, masked frames)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor

from ..batch import MASKED, Ask, Document
from ..nn.steps import Step
from ..sequence import Span, TokenSequence
from ..tokenizer import Channel
from .base import At, Prediction, channel_of, joined, prediction, spans_with_places, stream_of, targets_of, with_main


class Masked(Prediction, frozen=True):
    """A share of the rows of channel `on` lose their content and must be given back; their positions stay.

    The channel's own mask id stands in where it has one (BERT, arXiv 1810.04805), the core's learned vector elsewhere.
    """

    rate: Annotated[float, Meta(gt=0, le=1, description="share of the tokens that lose their content")] = 0.5

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        return {f"{self.on}/masked": prediction(self.on, channel_of(self.on, channels, self))}

    def axes(self) -> Mapping[str, int]:
        return {MASKED: 0}

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        channel = channel_of(self.on, at.channels, self)
        generator = torch.Generator().manual_seed(at.rng.getrandbits(63))
        spans, rows, targets = [], [], []
        for span, place in spans_with_places(document.main):
            if span.channel == self.on and len(span):
                chosen = torch.rand(len(span), generator=generator) < self.rate
                chosen[int(torch.randint(len(span), (), generator=generator))] = True
                if span.ids is not None and span.ids.dim() == 1:
                    chosen &= (span.ids >= 0) & (span.ids != (-1 if channel.end is None else channel.end))
                rows.append(place[chosen])
                targets.append(targets_of(span, channel, chosen))
                span = _blank(span, channel, chosen)
            spans.append(span)
        where = joined(rows, torch.zeros(0, dtype=torch.long))
        empty = torch.zeros(0, dtype=torch.long) if channel.vocab is not None else torch.zeros(0, channel.size)
        source = where if channel.mask is None else None
        stream = stream_of(document)
        ask = Ask(f"{self.on}/masked", where, joined(targets, empty), torch.ones(len(where)), None, source, stream)
        return document.replace(
            streams=with_main(document, TokenSequence(tuple(spans), document.main.pairs)),
            asks={**document.asks, at.task: ask},
            attend={**document.attend, self.on: "full"},
        )


def _blank(span: Span, channel: Channel, chosen: Tensor) -> Span:
    """The span without the chosen content: nothing of it may reach a neighbour through an embedding step either."""
    if span.ids is not None:
        fill = -1 if channel.mask is None else channel.mask
        ids = span.ids.clone()
        ids[chosen] = fill
        return span.replace(ids=ids, axes=span.axes if channel.mask is not None else {**span.axes, MASKED: _axis(chosen)})
    assert span.features is not None
    features = span.features.clone()
    mean = torch.tensor(channel.mean).to(features.dtype)
    features[chosen] = mean.expand(features.shape[1:])
    return span.replace(features=features, axes={**span.axes, MASKED: _axis(chosen)})


def _axis(chosen: Tensor) -> Tensor:
    return torch.where(chosen, 0, -1)
