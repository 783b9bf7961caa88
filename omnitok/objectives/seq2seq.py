"""One sequence out of another: the decoder of an encoder-decoder writes its whole stream, from a start token on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from ..batch import Ask, Document
from ..errors import ConfigError, SequenceError
from ..model import start_of
from ..nn.steps import Step
from ..sequence import TokenSequence
from ..tokenizer import Channel
from .base import At, Objective, channel_of, joined, prediction, spans_with_places, stream_of, with_main


class Seq2Seq(Objective, frozen=True):
    """Every token of channel `on` in the last stream is read off the row before it, the first off a start token.

    One target is one document's whole answer, [G, T] ids padded with -1; its loss is the mean over its tokens and its
    weight their number, so a batch's loss is the mean over tokens. With `smoothing` the wanted distribution gives that
    share to all ids alike (Szegedy 2016, arXiv 1512.00567).
    """

    on: Annotated[str, Meta(description="channel that the decoder writes")]
    smoothing: Annotated[float, Meta(ge=0, lt=1, description="share of the target that is spread over all ids")] = 0.0

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        return {self.on: prediction(self.on, self.channel(channels))}

    def channel(self, channels: Mapping[str, Channel]) -> Channel:
        """The channel that is written. Raises ConfigError where it holds no ids."""
        channel = channel_of(self.on, channels, self)
        if channel.vocab is None:
            raise ConfigError(f"{type(self).__name__.lower()} needs a channel of ids; {self.on!r} holds features")
        return channel

    def added(self, tokens: int) -> int:
        return 1

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        if len(document.streams) < 2:
            raise SequenceError(
                f"{document.name}: seq2seq needs a stream to read and one to write: "
                "document = { encoder = [...], decoder = [...] }"
            )
        return self.write(document, start_of(self.on, self.channel(at.channels)) + document.main, at)

    def write(self, document: Document, answer: TokenSequence, at: At) -> Document:
        """The document with this last stream, whose tokens of channel `on` are asked for from its second one on."""
        places, ids = [], []
        for span, place in spans_with_places(answer):
            if span.channel == self.on and span.ids is not None:
                if span.ids.dim() > 1:
                    raise ConfigError(f"channel {self.on!r} has several ids per token: predict another channel")
                keep = (place > 0) & (span.ids >= 0)
                places.append(place[keep])
                ids.append(span.ids[keep])
        none = torch.zeros(0, dtype=torch.long)
        source, target = joined(places, none), joined(ids, none)
        asked = min(1, len(target))
        weight, group = torch.full((asked,), float(len(target))), torch.zeros(len(target), dtype=torch.long)
        ask = Ask(self.on, source - 1, target[None][:asked], weight, group, source, stream_of(document))
        return document.replace(
            streams=with_main(document, answer),
            asks={**document.asks, at.task: ask},
            attend={**document.attend, answer.spans[0].channel: "causal", self.on: "causal"},
        )

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        each = F.cross_entropy(out.float(), _wanted(ask.target), reduction="none", label_smoothing=self.smoothing)
        return _sums(each, ask) / _lengths(ask.target).clamp(min=1)

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        wanted = _wanted(ask.target)
        nats = F.cross_entropy(out.float(), wanted, reduction="sum").item()
        right = (out.argmax(-1) == wanted).float()
        whole = _sums(right, ask) == _lengths(ask.target)
        return {
            "accuracy": (right.sum().item(), len(wanted)),
            "nats": (nats, len(wanted)),
            "exact": (whole.sum().item(), len(whole)),
        }

    def chance(self, targets: Tensor) -> dict[str, float]:
        """The most frequent id everywhere, the frequencies as the distribution, and the most frequent answer."""
        ids = _wanted(targets)
        share = torch.bincount(ids).double() / max(1, len(ids))
        seen = share[share > 0]
        rows = [tuple(t[t >= 0].tolist()) for t in targets]
        exact = max((rows.count(r) for r in set(rows)), default=0) / max(1, len(rows))
        accuracy = share.max().item() if len(ids) else 0.0
        return {"accuracy": accuracy, "nats": -(seen * seen.log()).sum().item(), "exact": exact}

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        """The best id at every asked row, per document; what stands before a row is the target, not the answer."""
        return [row.tolist() for row in out.argmax(-1).split(_lengths(ask.target).tolist())]


def _wanted(target: Tensor) -> Tensor:
    """[G, T] padded with -1 -> [R]."""
    return target[target >= 0]


def _lengths(target: Tensor) -> Tensor:
    return (target >= 0).sum(-1)


def _sums(values: Tensor, ask: Ask) -> Tensor:
    """[R] -> [G] sums over the rows of every target."""
    assert ask.group is not None
    return values.new_zeros(len(ask.weight)).index_add(0, ask.group, values)
