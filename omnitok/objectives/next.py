"""Next-token prediction on one channel: language models, captions, actions, next features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..batch import Ask, Document
from ..nn.steps import Step
from ..tokenizer import Channel
from .base import At, Prediction, channel_of, joined, prediction, spans_with_places, stream_of, targets_of


class Next(Prediction, frozen=True):
    """Every token of channel `on` is read off the row before it, whatever channel that row has.

    With text this is a causal language model or a captioner, with actions a Decision Transformer (arXiv 2106.01345).
    """

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        return {self.on: prediction(self.on, channel_of(self.on, channels, self))}

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        channel = channel_of(self.on, at.channels, self)
        places, targets = [], []
        for span, place in spans_with_places(document.main):
            if span.channel == self.on:
                keep = place > 0
                if span.ids is not None and span.ids.dim() == 1:
                    keep = keep & (span.ids >= 0)
                places.append(place[keep])
                targets.append(targets_of(span, channel, keep))
        source = joined(places, torch.zeros(0, dtype=torch.long))
        empty = torch.zeros(0, dtype=torch.long) if channel.vocab is not None else torch.zeros(0, channel.size)
        ask = Ask(self.on, source - 1, joined(targets, empty), torch.ones(len(source)), None, source, stream_of(document))
        return document.replace(asks={**document.asks, at.task: ask}, attend={**document.attend, self.on: "causal"})
