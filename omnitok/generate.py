"""Generation: how ids are drawn, the loop that extends documents on one channel, and what is put back where it was masked.

Shape letters: n documents that a step extends, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .batch import Ask
from .errors import ConfigError, did_you_mean
from .sequence import Span, TokenSequence
from .session import Session, Step, refuse_unsteppable
from .tokenizer import Channel, Tokenizer

Pick = Callable[[Tensor], Tensor]


class Sampler:
    """Logits [..., V] -> ids [...]: the best (temperature 0), or a draw from the `top_k` best or the `top_p` mass."""

    def __init__(
        self, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, seed: int | None = None
    ) -> None:
        if temperature < 0 or (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
            raise ConfigError("sampling needs temperature >= 0, top_k >= 1 and 0 < top_p <= 1")
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.generator = torch.Generator()
        if seed is not None:
            self.generator.manual_seed(seed)
        else:
            self.generator.seed()

    def __call__(self, logits: Tensor) -> Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        scores = logits.float().cpu() / self.temperature
        if self.top_k is not None and self.top_k < scores.shape[-1]:
            scores = scores.masked_fill(scores < scores.topk(self.top_k, -1).values[..., -1:], -torch.inf)
        if self.top_p is not None:
            ranked, order = scores.sort(-1, descending=True)
            mass = ranked.softmax(-1)
            drop = (mass.cumsum(-1) - mass) >= self.top_p  # the first always stays
            scores = torch.full_like(scores, -torch.inf).scatter(-1, order, ranked.masked_fill(drop, -torch.inf))
        shape = scores.shape[:-1]
        drawn = torch.multinomial(scores.softmax(-1).view(-1, scores.shape[-1]), 1, generator=self.generator)
        return drawn.view(shape).to(logits.device)


def generate(
    session: Session,
    tokenizer: Tokenizer,
    channel: str,
    max_tokens: int,
    pick: Pick | None = None,
    meta: Mapping[str, Any] | None = None,
) -> TokenSequence:
    """Extend the only document of a session on one channel; returns the new tokens (see `generate_all`)."""
    if session.documents != 1:
        raise ConfigError(f"generate extends one document, this session has {session.documents}: use generate_all")
    return generate_all(session, tokenizer, channel, max_tokens, pick, meta)[0]


def generate_all(
    session: Session,
    tokenizer: Tokenizer,
    channel: str,
    max_tokens: int,
    pick: Pick | None = None,
    meta: Mapping[str, Any] | None = None,
) -> list[TokenSequence]:
    """Extend every document of a session on one channel; returns the new tokens of each.

    A document stops at the channel's end, at `max_tokens`, when `tokenizer.place` says the object is complete, or where
    the next token belongs to another channel. A new span carries its prompt's `meta` (or the one given), so `decode`
    works. `pick` turns logits [n, V] into ids [n]. The decoder of an encoder-decoder is started first (`Session.start`).
    """
    info, pick = channel_info(tokenizer, channel), pick or Sampler(0.0)
    fields = [Field(held, tokenizer, channel, meta) for held in session.history]
    like = next((f.last for f in fields if f.last is not None), None)
    made: list[list[Tensor]] = [[] for _ in fields]
    rows = list(range(session.documents))
    for k in range(max_tokens):
        places = {i: axes for i in rows if (axes := fields[i].axes(k)) is not None}
        if not places:
            break
        answers = session.ask(channel)[list(places)]
        content = raw_features(answers.cpu(), info, like) if info.vocab is None else pick(answers).reshape(-1).cpu()
        going = torch.ones(len(places), dtype=torch.bool) if info.vocab is None or info.end is None else content != info.end
        rows, content = [i for i, goes in zip(places, going.tolist(), strict=True) if goes], content[going]
        if not rows:
            break
        for i, x in zip(rows, content, strict=True):
            made[i].append(x)
        axes = {name: torch.stack([places[i][name] for i in rows]) for name in places[rows[0]]}
        session.step(rows, Step(channel, content, axes, info.vocab is None))
    return [TokenSequence((f.span(torch.stack(m) if m else None),)) for f, m in zip(fields, made, strict=True)]


class Field:
    """The object that one document's new tokens belong to: where they stand, and the span that they make."""

    def __init__(self, held: TokenSequence, tokenizer: Tokenizer, channel: str, meta: Mapping[str, Any] | None) -> None:
        self.tokenizer, self.channel, self.info = tokenizer, channel, channel_info(tokenizer, channel)
        spans = [s for s in held.spans if not self._starts(s)]
        self.last = next((s for s in reversed(spans) if s.channel == channel), None)
        self.meta = dict(meta if meta is not None else self.last.meta if self.last is not None else {})
        own = set(tokenizer.channels())
        self.done = sum(len(s) + (s.part[0] if s.part else 0) for s in spans if s.channel in own)

    def _starts(self, span: Span) -> bool:
        own = span.channel == self.channel and self.info.start is not None and span.ids is not None
        return own and span.ids is not None and span.ids.tolist() == [self.info.start]

    def axes(self, k: int) -> dict[str, Tensor] | None:
        """Axes of the k-th new token; None where the object is complete, or the token belongs to another channel."""
        where = self.tokenizer.place(self.done + k, self.meta)
        if where is None or where[0] != self.channel:
            return None
        return {name: torch.as_tensor(value) for name, value in where[1].items()}

    def places(self, most: int) -> list[dict[str, Tensor]]:
        """Axes of all new tokens, as long as they go on, of at most so many."""
        return list(itertools.takewhile(lambda axes: axes is not None, map(self.axes, range(most))))  # type: ignore[arg-type]

    def span(self, content: Tensor | None) -> Span:
        """New tokens [n, ...] as one span: the next piece of the prompt's, where that one was cut."""
        if content is None:
            none = torch.zeros(0, dtype=torch.long) if self.info.vocab is not None else torch.zeros(0, *(self.info.width or ()))
            return self._span(none, {}, None)
        each = self.places(len(content))
        axes = {name: torch.stack([a[name] for a in each]) for name in each[0]}
        last = self.last
        part = None if last is None or last.part is None else (last.part[0] + len(last), last.part[1])
        return self._span(content, axes, part)

    def _span(self, content: Tensor, axes: dict[str, Tensor], part: tuple[int, int] | None) -> Span:
        ids, features = (content, None) if self.info.vocab is not None else (None, content)
        return Span(self.channel, ids, features, axes, None, self.meta, part)


def channel_info(tokenizer: Tokenizer, name: str) -> Channel:
    """A tokenizer's channel. Raises ConfigError naming those it has."""
    channels = tokenizer.channels()
    if name not in channels:
        raise ConfigError(f"tokenizer {tokenizer.channel()!r} has no channel {name!r}; {did_you_mean(name, channels)}")
    return channels[name]


def raw_features(values: Tensor, info: Channel, like: Span | None) -> Tensor:
    """Normalised answers [n, size] -> features [n, *width] in the dtype of the span they continue."""
    features = info.raw(values.float())
    dtype = like.features.dtype if like is not None and like.features is not None else torch.float32
    if not dtype.is_floating_point:
        features = features.round().clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return features.to(dtype)


def fill_in(sequence: TokenSequence, ask: Ask, out: Tensor, channels: Mapping[str, Channel]) -> TokenSequence:
    """Put a masked objective's answers (`out` at `ask.rows` of this one document) back into its sequence."""
    spans = []
    for span, place in zip(sequence.spans, sequence.places, strict=True):
        at = torch.isin(place, ask.rows)
        if ask.head == f"{span.channel}/masked" and bool(at.any()):
            values = out[torch.searchsorted(ask.rows, place[at])].cpu()
            info = channels[span.channel]
            content = span.content.clone()
            content[at] = values.argmax(-1) if span.ids is not None else raw_features(values, info, span)
            axes = {a: v for a, v in span.axes.items() if a != "masked"}
            kind = {"ids": content} if span.ids is not None else {"features": content}
            span = span.replace(**kind, axes=axes)
        spans.append(span)
    return TokenSequence(tuple(spans), sequence.pairs)


__all__ = [
    "Field",
    "Pick",
    "Sampler",
    "Session",
    "channel_info",
    "fill_in",
    "generate",
    "generate_all",
    "raw_features",
    "refuse_unsteppable",
]
