"""Generation: sessions that feed and ask growing documents behind a cache, and the loops over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .batch import Ask, Document, channel_rule, collate
from .errors import ConfigError, SequenceError, did_you_mean, unknown_name
from .layout import Layout
from .model import Transformer
from .nn.cache import Cache
from .sequence import Span, TokenSequence
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


class Session:
    """Growing documents behind one cache: `feed` tokens, given or generated, and `ask` a head at the last row.

    A document that would outgrow `context` tokens keeps its last half, cut at a multiple of `unit`, and is fed again.
    `attend` overrules channel rules as the objective of the task did. A stream that reads another one (the decoder of
    an encoder-decoder) is extended after `read` has been given that other one. Raises ConfigError where the model
    cannot be decoded token by token.
    """

    def __init__(
        self,
        model: Transformer,
        documents: int = 1,
        context: int | None = None,
        unit: int = 1,
        attend: Mapping[str, str] | None = None,
    ) -> None:
        refuse_unsteppable(model)
        self.model, self.documents, self.context, self.unit = model.eval(), documents, context, unit
        self.attend = dict(attend or {})
        self.history = [TokenSequence() for _ in range(documents)]
        self.device = next(model.parameters()).device
        self.memory: dict[str, tuple[Tensor, Layout]] = {}
        self._fresh()

    def _fresh(self) -> None:
        self.cache = Cache(self.documents)
        self.cache.lengths = self.cache.lengths.to(self.device)
        self.ends: list[str | None] = [None] * self.documents
        self.last = torch.zeros(self.documents, self.model.dim, device=self.device)

    def __len__(self) -> int:
        """Tokens of the longest document."""
        return max(map(len, self.history), default=0)

    @torch.no_grad()
    def read(self, streams: Mapping[str, TokenSequence | Sequence[TokenSequence]]) -> Session:
        """Compute the streams that the main one reads: stream -> one sequence per document. They are read whole, once."""
        given = {s: [x] if isinstance(x, TokenSequence) else list(x) for s, x in streams.items()}
        known = [s for s in self.model.config.streams if s != self.model.main]
        for stream, sequences in given.items():
            if stream not in known:
                raise unknown_name("stream", stream, known, "streams that can be read")
            if len(sequences) != self.documents:
                raise SequenceError(f"{len(sequences)} sequences of {stream!r} read by a session of {self.documents} documents")
        documents = [Document({s: x[i] for s, x in given.items()}, attend=self.attend) for i in range(self.documents)]
        batch = collate(documents, self.model.schema, sort=False).to(self.device)
        hidden = self.model.hidden(batch.replace(streams={s: batch.streams[s] for s in given}))
        self.memory |= {s: (x, batch.streams[s].layout) for s, x in hidden.items()}
        return self

    def select(self, documents: Sequence[int] | Tensor) -> Session:
        """Go on with these documents, in this order: some dropped, some twice (beams)."""
        chosen = torch.as_tensor(documents, dtype=torch.long)
        self.cache.select(chosen)
        self.documents, self.last = len(chosen), self.last[chosen.to(self.device)]
        self.history = [self.history[i] for i in chosen.tolist()]
        self.ends = [self.ends[i] for i in chosen.tolist()]
        for stream, (hidden, layout) in self.memory.items():
            kept, rows = layout.select(chosen)
            self.memory[stream] = (hidden[rows], kept)
        return self

    def feed(self, tokens: TokenSequence | Sequence[TokenSequence | None]) -> Session:
        """Append tokens to every document; None leaves one as it is.

        Raises SequenceError where tokens that see each other, or the tokens of a set, come in two parts: those before
        would have to be computed again.
        """
        parts = [tokens] if isinstance(tokens, TokenSequence) else list(tokens)
        if len(parts) != self.documents:
            raise SequenceError(f"{len(parts)} sequences fed to a session of {self.documents} documents")
        new = [p if p is not None else TokenSequence() for p in parts]
        if self.context is not None and any(len(h) + len(p) > self.context for h, p in zip(self.history, new, strict=True)):
            self.history = [self._tail(h, len(p)) for h, p in zip(self.history, new, strict=True)]
            held, self.history = self.history, [TokenSequence() for _ in new]
            self._fresh()
            self._run(held)
        self._run(new)
        return self

    def _tail(self, held: TokenSequence, coming: int) -> TokenSequence:
        """What is kept of a full document: its last half, from a multiple of `unit` on."""
        assert self.context is not None
        if coming > self.context:
            raise SequenceError(f"{coming} tokens fed at once to a session whose context is {self.context}")
        if len(held) + coming <= self.context:
            return held
        keep = min(self.context // 2, self.context - coming)
        start = -(-(len(held) - keep) // self.unit) * self.unit
        return held[start:]

    def _run(self, parts: Sequence[TokenSequence]) -> None:
        if any(map(len, parts)):
            self._extend(parts)
        self.history = [h + p for h, p in zip(self.history, parts, strict=True)]

    @torch.no_grad()
    def _extend(self, parts: Sequence[TokenSequence]) -> None:
        """One forward pass over the new tokens."""
        stream = self.model.main
        reads = self.model.config.streams[stream].memory
        if reads is not None and reads not in self.memory:
            raise SequenceError(f"stream {stream!r} reads stream {reads!r}: give it to the session first, with `read`")
        batch = collate([Document({stream: p}, attend=self.attend) for p in parts], self.model.schema, sort=False)
        batch = batch.to(self.device)
        layout = batch.streams[stream].layout
        fed = [i for i, n in enumerate(layout.lengths) if n]
        ends = layout.offsets().long()
        first, last = ends[:-1][fed], ends[1:][fed] - 1
        self._refuse_joined(fed, [layout.channels[c] for c in layout.channel[first].tolist()], stream)
        batch = batch.replace(streams={stream: batch.streams[stream]})
        hidden = self.model.hidden(batch, self.cache, memory=self.memory)[stream]
        self.last = self.last.index_copy(0, torch.tensor(fed, device=self.device), hidden[last].to(self.last.dtype))
        for i, channel in zip(fed, layout.channel[last].tolist(), strict=True):
            self.ends[i] = layout.channels[channel]

    def _refuse_joined(self, fed: Sequence[int], channels: Sequence[str], stream: str) -> None:
        schema = self.model.schema
        for i, coming in zip(fed, channels, strict=True):
            held = self.ends[i]
            both = {c: channel_rule(c, stream, self.attend, schema) for c in (held, coming) if c is not None}
            if held is not None and (set(both.values()) == {"full"} or (held == coming and held in schema.sets)):
                raise SequenceError(f"{coming!r} behind {held!r}: tokens that see each other must be fed to a session at once")

    @torch.no_grad()
    def ask(self, head: str) -> Tensor:
        """A head's answers [documents, ...] at the last row of every document."""
        rows = torch.arange(self.documents, device=self.device)
        stream = self.model.main
        return self.model.answer({stream: self.last}, Ask(head, rows, rows, torch.ones(self.documents), stream=stream))


def refuse_unsteppable(model: Transformer) -> None:
    """ConfigError naming what cannot be computed token by token."""
    stream = model.config.streams[model.main]
    if stream.attend == "full":
        raise ConfigError(f"stream {model.main!r} lets every token see the whole document: it cannot be decoded token by token")
    if len(model.streams) > 1 and stream.memory is None:
        raise ConfigError(f"the streams {', '.join(model.config.streams)} do not read each other: none is decoded behind another")


def generate(
    session: Session,
    tokenizer: Tokenizer,
    channel: str,
    max_tokens: int,
    pick: Pick | None = None,
    meta: Mapping[str, Any] | None = None,
) -> TokenSequence:
    """Extend the session's first document on one channel; returns the new tokens.

    Stops at the channel's end, at `max_tokens`, when `tokenizer.place` says the object is complete, or where the next
    token belongs to another channel. The new span carries the prompt's `meta` (or the one given), so `decode` works.
    """
    info, pick = _channel(tokenizer, channel), pick or Sampler(0.0)
    last = next((s for s in reversed(session.history[0].spans) if s.channel == channel), None)
    meta = dict(meta if meta is not None else last.meta if last is not None else {})
    own = set(tokenizer.channels())
    done = sum(len(s) + (s.part[0] if s.part else 0) for s in session.history[0].spans if s.channel in own)
    made: list[Span] = []
    for k in range(done, done + max_tokens):
        where = tokenizer.place(k, meta)
        if where is None or where[0] != channel:
            break
        axes = {a: torch.as_tensor(v)[None] for a, v in where[1].items()}
        span = _token(session.ask(channel)[0], info, channel, axes, pick, last)
        if span.ids is not None and int(span.ids[0]) == info.end:
            break
        made.append(span)
        session.feed(TokenSequence((span,)))
    return TokenSequence((_join(made, channel, info, meta, last),))


def _channel(tokenizer: Tokenizer, name: str) -> Channel:
    channels = tokenizer.channels()
    if name not in channels:
        raise ConfigError(f"tokenizer {tokenizer.channel()!r} has no channel {name!r}; {did_you_mean(name, channels)}")
    return channels[name]


def _token(answer: Tensor, info: Channel, channel: str, axes: dict[str, Tensor], pick: Pick, like: Span | None) -> Span:
    if info.vocab is not None:
        return Span(channel, ids=pick(answer)[None].cpu(), axes=axes)
    return Span(channel, features=raw_features(answer[None].cpu(), info, like), axes=axes)


def raw_features(values: Tensor, info: Channel, like: Span | None) -> Tensor:
    """Normalised answers [n, size] -> features [n, *width] in the dtype of the span they continue."""
    features = info.raw(values.float())
    dtype = like.features.dtype if like is not None and like.features is not None else torch.float32
    if not dtype.is_floating_point:
        features = features.round().clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return features.to(dtype)


def _join(made: list[Span], channel: str, info: Channel, meta: dict[str, Any], last: Span | None) -> Span:
    """The generated tokens as one span: the next piece of the prompt's, where that one was cut."""
    cut = None if last is None or last.part is None else (last.part[0] + len(last), last.part[1])
    part = cut if cut is not None and made else None
    if not made:
        empty = torch.zeros(0, dtype=torch.long) if info.vocab is not None else torch.zeros(0, *(info.width or ()))
        ids, features = (empty, None) if info.vocab is not None else (None, empty)
        return Span(channel, ids, features, meta=meta)
    axes = {a: torch.cat([s.axes[a] for s in made]) for a in made[0].axes}
    if made[0].ids is not None:
        return Span(channel, torch.cat([s.ids for s in made if s.ids is not None]), None, axes, None, meta, part)
    return Span(channel, None, torch.cat([s.features for s in made if s.features is not None]), axes, None, meta, part)


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
