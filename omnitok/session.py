"""Sessions: growing documents behind a cache, fed with tokens and asked at their last rows.

Shape letters: S documents, n those of them that a step extends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .batch import Ask, Document, PackedBatch, channel_rule, collate
from .errors import ConfigError, SequenceError, unknown_name
from .layout import Layout
from .model import Transformer, start_of
from .nn.inline import Functions
from .sequence import Span, TokenSequence
from .tokenizer import Channel


@dataclass(frozen=True)
class Step:
    """One token on one channel for each of n documents."""

    channel: str
    content: Tensor
    """[n] ids or [n, *width] features"""
    axes: Mapping[str, Tensor]
    """name -> [n, ...]"""
    features: bool = False

    def tokens(self, row: int) -> TokenSequence:
        """The token of one of the documents."""
        here = slice(row, row + 1)
        ids, features = (None, self.content[here]) if self.features else (self.content[here], None)
        axes = {name: values[here] for name, values in self.axes.items()}
        return TokenSequence((Span(self.channel, ids, features, axes),))


@dataclass(frozen=True)
class Part:
    """New tokens of every document, and what their structure says of them."""

    batch: PackedBatch
    fed: Sequence[int]
    """documents that are given tokens"""
    where: Tensor
    """the same as a tensor"""
    last: Tensor
    """row of the last token of each"""
    starts: Sequence[str]
    ends: Sequence[str]
    """channel of the first and of the last token of each"""


class History:
    """What one document holds, joined when somebody looks."""

    def __init__(self, parts: Sequence[TokenSequence | tuple[Step, int]] = (), size: int = 0) -> None:
        self.parts, self.size = list(parts), size

    def __len__(self) -> int:
        return self.size

    def add(self, part: TokenSequence | tuple[Step, int]) -> None:
        self.parts.append(part)
        self.size += len(part) if isinstance(part, TokenSequence) else 1

    def copy(self) -> History:
        return History(self.parts, self.size)

    def sequence(self) -> TokenSequence:
        """All of it. Neighbours are joined first, so that a long history is not copied for every token."""
        found = [p if isinstance(p, TokenSequence) else p[0].tokens(p[1]) for p in self.parts]
        while len(found) > 1:
            found = [sum(found[i + 1 : i + 2], found[i]) for i in range(0, len(found), 2)]
        self.parts = list(found)
        return found[0] if found else TokenSequence()


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
        self._held = [History() for _ in range(documents)]
        self._packed: dict[Any, Part] = {}
        self.device = next(model.parameters()).device
        self.memory: dict[str, tuple[Tensor, Layout]] = {}
        self._fresh()

    def _fresh(self) -> None:
        self.cache, self.functions = self.model.cache(self.documents), Functions()
        self.ends: list[str | None] = [None] * self.documents
        dtype = next(self.model.parameters()).dtype
        self.last = torch.zeros(self.documents, self.model.dim, dtype=dtype, device=self.device)

    def __len__(self) -> int:
        """Tokens of the longest document."""
        return max(map(len, self._held), default=0)

    @property
    def history(self) -> list[TokenSequence]:
        """What was fed to every document, and is still held."""
        return [held.sequence() for held in self._held]

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
        self.cache.reader = torch.arange(self.documents)
        return self

    def select(self, documents: Sequence[int] | Tensor) -> Session:
        """Go on with these documents, in this order: some dropped, some twice (beams)."""
        chosen = torch.as_tensor(documents, dtype=torch.long)
        readers = self.cache.reader
        self.cache.select(chosen)
        self.documents, self.last = len(chosen), self.last[chosen.to(self.device)]
        self._held = [self._held[i].copy() for i in chosen.tolist()]
        self.ends = [self.ends[i] for i in chosen.tolist()]
        if torch.equal(readers, self.cache.reader):
            return self
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
        if self.context is not None and any(len(h) + len(p) > self.context for h, p in zip(self._held, new, strict=True)):
            kept = [self._tail(h.sequence(), len(p)) for h, p in zip(self._held, new, strict=True)]
            self._held = [History() for _ in new]
            self._fresh()
            self._run(kept)
        self._run(new)
        return self

    def start(self, name: str, channel: Channel) -> Session:
        """Feed every document the token that a decoder of this channel begins with."""
        return self.feed([start_of(name, channel)] * self.documents)

    def step(self, documents: Sequence[int], step: Step) -> Session:
        """Append one token to each of these documents, named in rising order: `feed`, but its structure is made once."""
        if self.context is not None and any(len(self._held[i]) >= self.context for i in documents):
            tokens = {i: step.tokens(row) for row, i in enumerate(documents)}
            return self.feed([tokens.get(i) for i in range(self.documents)])
        key = (self.documents, tuple(documents), step.channel, tuple(step.axes))
        if key not in self._packed:
            tokens = {i: step.tokens(row) for row, i in enumerate(documents)}
            self._packed[key] = self._pack([tokens.get(i, TokenSequence()) for i in range(self.documents)])
        part, stream = self._packed[key], self.model.main
        packed = part.batch.streams[stream]
        layout, content = packed.layout, packed.content[step.channel]
        axes = {n: x.to(layout.axes[n]) for n, x in step.axes.items()}
        kind = "ids" if content.ids is not None else "features"
        fresh = {step.channel: content.replace(**{kind: step.content.to(content.value)})}
        moved = packed.replace(layout=layout.replace(axes={**layout.axes, **axes}), content=fresh)
        self._extend(part, part.batch.replace(streams={stream: moved}))
        for row, i in enumerate(documents):
            self._held[i].add((step, row))
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
            packed = self._pack(parts)
            self._extend(packed, packed.batch)
        for held, part in zip(self._held, parts, strict=True):
            if part.spans:
                held.add(part)

    def _pack(self, parts: Sequence[TokenSequence]) -> Part:
        """New tokens of every document, where the session is; those of the stream that grows and no other."""
        stream = self.model.main
        batch = collate([Document({stream: p}, attend=self.attend) for p in parts], self.model.schema, sort=False)
        layout = batch.streams[stream].layout
        where = torch.tensor([i for i, n in enumerate(layout.lengths) if n], dtype=torch.long)
        ends = layout.offsets().long()
        first, last = ends[where], ends[where + 1] - 1
        named = [[layout.channels[c] for c in layout.channel[rows].tolist()] for rows in (first, last)]
        batch = batch.replace(streams={stream: batch.streams[stream]}).to(self.device)
        return Part(batch, where.tolist(), where.to(self.device), last.to(self.device), *named)

    @torch.no_grad()
    def _extend(self, part: Part, batch: PackedBatch) -> None:
        """One forward pass over the new tokens: those of the part, or others in their places."""
        stream = self.model.main
        reads = self.model.config.streams[stream].memory
        if reads is not None and reads not in self.memory:
            raise SequenceError(f"stream {stream!r} reads stream {reads!r}: give it to the session first, with `read`")
        self._refuse_joined(part.fed, part.starts, stream)
        hidden = self.model.hidden(batch, self.cache, memory=self.memory, functions=self.functions)[stream]
        self.last = self.last.index_copy(0, part.where, hidden[part.last].to(self.last.dtype))
        for i, channel in zip(part.fed, part.ends, strict=True):
            self.ends[i] = channel

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
        ask = Ask(head, rows, rows, torch.ones(self.documents), stream=stream)
        return self.model.answer({stream: self.last}, ask, self.functions)


def refuse_unsteppable(model: Transformer) -> None:
    """ConfigError naming what cannot be computed token by token."""
    stream = model.config.streams[model.main]
    if stream.attend == "full":
        raise ConfigError(f"stream {model.main!r} lets every token see the whole document: it cannot be decoded token by token")
    order = model.stream(model.main).config.schedule or ()
    if len(set(order)) < len(order):
        raise ConfigError(f"stream {model.main!r} runs a block more than once, and what is kept of the past is kept by block")
    if len(model.streams) > 1 and stream.memory is None:
        raise ConfigError(f"the streams {', '.join(model.config.streams)} do not read each other: none is decoded behind another")
