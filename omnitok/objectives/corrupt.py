"""Span corruption: short spans are taken out of a sequence, and a decoder gives them back (T5, arXiv 1910.10683)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor

from ..batch import Document
from ..errors import ConfigError, SequenceError
from ..model import start_of
from ..sequence import Span, TokenSequence
from ..tokenizer import Channel
from .base import At
from .seq2seq import Seq2Seq


class Corrupt(Seq2Seq, frozen=True):
    """Spans of channel `on` are replaced by a sentinel each, and asked for behind it.

    "a b c d e f" becomes "a <0> d e <1>" in stream `encoder` and "start <0> b c <1> f <2>" in stream `decoder`, closed
    by the channel's `end` where it has one. An `end` that stands in the document stays where it is. A document of
    fewer than two tokens is not asked.
    """

    rate: Annotated[float, Meta(gt=0, lt=1, description="share of the tokens that are taken out")] = 0.15
    length: Annotated[float, Meta(ge=1, description="mean length of a span that is taken out")] = 3.0

    def channel(self, channels: Mapping[str, Channel]) -> Channel:
        channel = super().channel(channels)
        if not channel.sentinels:
            raise ConfigError(
                f"corrupt needs ids that stand for spans, and channel {self.on!r} has none: "
                "let its tokenizer reserve some (such as sentinels = 100)"
            )
        return channel

    def added(self, tokens: int) -> int:
        return 2 * self.counts(tokens)[1] + 3

    def counts(self, tokens: int) -> tuple[int, int]:
        """(tokens taken out, spans) of a document of so many tokens, as in T5's `random_spans_noise_mask`."""
        noise = min(max(round(tokens * self.rate), 1), tokens - 1)
        return noise, min(max(round(noise / self.length), 1), noise, tokens - noise)

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        channel = self.channel(at.channels)
        ids = self._ids(document)
        noise = torch.zeros(len(ids), dtype=torch.bool)
        inside = ids >= 0 if channel.end is None else (ids >= 0) & (ids != channel.end)
        noise[inside] = self.noise(int(inside.sum()), at.rng)
        first = noise & ~torch.cat([noise[:1] & False, noise[:-1]])
        spans = int(first.sum())
        if spans >= len(channel.sentinels):
            raise ConfigError(
                f"{document.name}: {spans} spans of {len(ids)} tokens need {spans + 1} sentinels, and channel {self.on!r} has "
                f"{len(channel.sentinels)}: reserve more, crop the document (`context`), or take out fewer, longer spans"
            )
        sentinels = torch.tensor(channel.sentinels)
        kept = torch.where(first, sentinels[(first.cumsum(0) - 1).clamp(min=0)], ids)[~noise | first]
        answer = start_of(self.on, channel)
        if spans:
            answer = answer + self._span(_given_back(ids[noise], first[noise], sentinels[: spans + 1]))
            answer = answer if channel.end is None else answer + self._span(torch.tensor([channel.end]))
        streams = {"encoder": self._span(kept), "decoder": answer}
        return self.write(document.replace(streams=streams), answer, at)

    def noise(self, tokens: int, rng: random.Random) -> Tensor:
        """[tokens] bool: what is taken out. It begins with a kept token and ends with one that is not, as T5's mask."""
        if tokens < 2:
            return torch.zeros(tokens, dtype=torch.bool)
        noise, spans = self.counts(tokens)
        lengths = [_segments(tokens - noise, spans, rng), _segments(noise, spans, rng)]
        taken = torch.tensor([False, True]).repeat(spans)
        return taken.repeat_interleave(torch.stack(lengths, 1).flatten())

    def _ids(self, document: Document) -> Tensor:
        """[n] the ids of the document's only stream. Raises SequenceError where it holds more than plain ids."""
        if len(document.streams) != 1 or set(document.main.channels) - {self.on}:
            held = {s: list(x.channels) for s, x in document.streams.items()}
            raise SequenceError(f"{document.name}: corrupt takes one stream of channel {self.on!r} apart, got {held}")
        parts = [s.ids for s in document.main.spans if s.ids is not None]
        if any(p.dim() > 1 for p in parts) or any(s.axes for s in document.main.spans) or document.main.pairs:
            raise SequenceError(
                f"{document.name}: tokens of {self.on!r} carry several ids, axes or pairs, which do not fit where spans are gone"
            )
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)

    def _span(self, ids: Tensor) -> TokenSequence:
        return TokenSequence((Span(self.on, ids),))


def _segments(items: int, segments: int, rng: random.Random) -> Tensor:
    """[segments] lengths above 0 that add up to `items`; every such choice is equally likely."""
    borders = sorted(rng.sample(range(1, items), segments - 1))
    return torch.tensor([0, *borders, items]).diff()


def _given_back(taken: Tensor, first: Tensor, sentinels: Tensor) -> Tensor:
    """The taken ids with a sentinel before each span (`first` marks its first id), and the last sentinel behind all."""
    out = torch.empty(len(taken) + len(sentinels), dtype=torch.long)
    place = torch.arange(len(taken)) + first.cumsum(0)
    out[place] = taken
    out[place[first] - 1] = sentinels[:-1]
    out[-1] = sentinels[-1]
    return out
