"""Documents with their asks, and the packed batch: flat tokens of many documents, no padding."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .errors import SequenceError
from .layout import Grid, Layout, build_grid, build_runs, order_of
from .record import Record
from .sequence import Span, TokenSequence

MASKED = "masked"
"""The axis (0 or absent) that takes the content out of a row after embedding and leaves its position in."""

Placed = Sequence[tuple[Tensor, Span]]
"""Spans with the flat rows of their tokens."""


@dataclass(frozen=True, eq=False)
class Ask(Record):
    """What is asked of which rows of a document, or of a batch: R rows, G targets."""

    head: str
    """Name of the head that answers."""
    rows: Tensor
    """[R] places in the stream."""
    target: Tensor
    """[G, ...]; integer targets of different widths are padded with -1 when batched."""
    weight: Tensor
    """[G] what each target counts."""
    group: Tensor | None = None
    """[R] the target that a row belongs to; None: row r answers target r."""
    source: Tensor | None = None
    """[R] places whose content is the target: no row may see its own."""
    stream: str = "main"
    other: Ask | None = None
    """The other side of a comparison: as many targets, read in another stream or at other rows."""


@dataclass(frozen=True, eq=False)
class Document(Record):
    """One sample, ready to be packed: a sequence per stream, what is asked, and rules that an objective overrules."""

    streams: Mapping[str, TokenSequence]
    asks: Mapping[str, Ask] = field(default_factory=dict)
    attend: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def __len__(self) -> int:
        return sum(map(len, self.streams.values()))

    @property
    def main(self) -> TokenSequence:
        """The only stream, or the last one (the decoder of an encoder-decoder)."""
        return self.streams[list(self.streams)[-1]]


@dataclass(frozen=True, eq=False)
class Schema:
    """What a model knows of tokens; batches are filled up to it, so that any batch fits."""

    rules: Mapping[str, str] = field(default_factory=dict)
    """channel -> "causal" or "full"."""
    axes: Mapping[str, int] = field(default_factory=dict)
    """axis -> float columns, or 0 for one integer."""
    pairs: tuple[str, ...] = ()
    sets: frozenset[str] = frozenset()
    """channels whose tokens form a set and share one position per span."""
    streams: Mapping[str, str | None] = field(default_factory=lambda: {"main": None})
    """stream -> the rule it fixes for all its channels, or None."""


@dataclass(frozen=True, eq=False)
class Content(Record):
    """The tokens of one channel in a stream."""

    rows: Tensor
    """[n] flat rows."""
    ids: Tensor | None
    features: Tensor | None
    lengths: tuple[int, ...]
    """tokens of every span, in the order of `rows`: an embedding step never looks beyond its span."""

    @property
    def value(self) -> Tensor:
        return self.ids if self.ids is not None else self.features  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Stream(Record):
    """One packed stream: its structure and its content by channel."""

    layout: Layout
    content: Mapping[str, Content]
    back: Tensor | None = None
    """[N] where each row lies when the contents are laid end to end; None: they lie in the order of the stream."""

    def __len__(self) -> int:
        return len(self.layout)


@dataclass(frozen=True, eq=False, repr=False)
class PackedBatch(Record):
    """Documents of all tasks in flat streams, and what is asked of them by task."""

    streams: Mapping[str, Stream]
    asks: Mapping[str, Ask]
    names: tuple[str, ...] = ()
    """the document of every segment, for messages."""

    def __len__(self) -> int:
        """Tokens over all streams."""
        return sum(map(len, self.streams.values()))

    def __repr__(self) -> str:
        streams = "; ".join(
            f"{name} {len(s)} tokens of {', '.join(f'{c} {len(v.rows)}' for c, v in s.content.items())}"
            for name, s in self.streams.items()
        )
        return f"PackedBatch({len(self.names)} documents: {streams}; asks {', '.join(self.asks) or 'none'})"


def collate(documents: Sequence[Document | TokenSequence], schema: Schema, sort: bool = True) -> PackedBatch:
    """Pack these documents into one batch. Answers keep the order in which the documents are given.

    Documents of equal length and rule are laid side by side, unless `sort` is False (then segment i is document i).

    Raises SequenceError where an ask can see its own target, or a channel's rule is unknown.
    """
    docs = [d if isinstance(d, Document) else Document({next(iter(schema.streams)): d}) for d in documents]
    names = list(dict.fromkeys([*schema.streams, *(s for d in docs for s in d.streams)]))
    rules = [{s: _rule(d, s, schema) for s in d.streams} for d in docs]
    main = names[-1] if names else ""

    def place(i: int) -> tuple[Any, ...]:
        sequence = docs[i].streams.get(main, TokenSequence())
        return (rules[i].get(main, ""), tuple(sequence.pairs), len(sequence))

    turn = sorted(range(len(docs)), key=place) if sort else list(range(len(docs)))
    streams = {
        s: _stream(
            [docs[i].streams.get(s, TokenSequence()) for i in turn],
            [rules[i].get(s, "full") for i in turn],
            [docs[i].attend for i in turn],
            s,
            schema,
        )
        for s in names
    }
    starts = {s: dict(zip(turn, torch.tensor([0, *streams[s].layout.lengths]).cumsum(0).tolist(), strict=False)) for s in names}
    asks = _asks(docs, starts)
    _refuse_leaks(asks, streams, docs)
    return PackedBatch(streams, asks, tuple(docs[i].name for i in turn))


def _rule(document: Document, stream: str, schema: Schema) -> str:
    """ "causal", "full" or "order" for one document of one stream."""
    kinds = {channel_rule(c, stream, document.attend, schema) for c in document.streams[stream].channels}
    return kinds.pop() if len(kinds) == 1 else "order" if kinds else "full"


def channel_rule(channel: str, stream: str, attend: Mapping[str, str], schema: Schema) -> str:
    """A stream that fixes the rule wins, then the objective, then the channel's natural rule."""
    rule = schema.streams.get(stream) or attend.get(channel) or schema.rules.get(channel)
    if rule is None:
        raise SequenceError(f"no rule for channel {channel!r}: hand its tokenizer to `pack`, or name it in the schema")
    return rule


def _stream(
    sequences: list[TokenSequence], rules: list[str], attends: list[Mapping[str, str]], name: str, schema: Schema
) -> Stream:
    """One stream's documents, laid end to end."""
    spans = [span for sequence in sequences for span in sequence.spans]
    lengths, sizes = tuple(map(len, sequences)), list(map(len, spans))
    rows = _rows(sequences, sum(lengths))
    channels = {c: i for i, c in enumerate(dict.fromkeys(s.channel for s in spans))}
    full = [
        channel_rule(span.channel, name, attend, schema) == "full"
        for sequence, attend in zip(sequences, attends, strict=True)
        for span in sequence.spans
    ]
    of_span = torch.tensor([[channels[s.channel] for s in spans], list(range(len(spans))), full], dtype=torch.long)
    of_row = torch.empty(3, len(rows), dtype=torch.long)
    of_row[:, rows] = of_span.repeat_interleave(torch.tensor(sizes, dtype=torch.long), 1)
    count = torch.tensor(lengths, dtype=torch.long)
    begin, segment = count.cumsum(0) - count, torch.arange(len(lengths)).repeat_interleave(count)
    starts = torch.zeros(len(rows), dtype=torch.bool)
    starts[begin[count > 0]] = True
    order = order_of(of_row[2].bool(), starts)
    placed = list(zip(rows.split(sizes), spans, strict=True))
    pairs = _join_pairs(sequences, begin.tolist(), schema)
    layout = Layout(
        segment,
        order,
        _positions(placed, schema, len(rows)) - begin[segment],
        of_row[0],
        of_row[1],
        _fill_axes(placed, schema, len(rows)),
        pairs,
        lengths,
        build_runs(lengths, rules, order, pairs),
        build_grid(lengths),
        tuple(channels),
    )
    content = {c: _content(c, [p for p in placed if p[1].channel == c]) for c in channels}
    return Stream(layout, content, _back([c.rows for c in content.values()]))


def _back(rows: list[Tensor]) -> Tensor | None:
    """The inverse of these rows laid end to end; None where they simply count up."""
    place = torch.cat(rows or [torch.arange(0)])
    count = torch.arange(len(place))
    return None if torch.equal(place, count) else torch.empty_like(place).index_copy_(0, place, count)


def _rows(sequences: list[TokenSequence], total: int) -> Tensor:
    """[total] flat row of every token, span by span; only an interleaved span does not simply follow the one before."""
    rows, at = torch.arange(total), 0
    for sequence in sequences:
        base = at
        for span in sequence.spans:
            if span.index is not None:
                rows[at : at + len(span)] = span.index + base
            at += len(span)
    return rows


def _positions(placed: Placed, schema: Schema, total: int) -> Tensor:
    """[total] flat places; the tokens of a set share the place of the first."""
    position = torch.arange(total)
    for rows, span in placed:
        if span.channel in schema.sets and len(span):
            position[rows] = rows[0]
    return position


def _content(channel: str, placed: Placed) -> Content:
    rows, spans = zip(*placed, strict=True)
    if len({s.ids is None for s in spans}) > 1:
        raise SequenceError(f"channel {channel!r} holds ids in one place and features in another: use one configuration")
    value = _join(f"channel {channel!r}", [s.content for s in spans])
    ids = spans[0].ids is not None
    return Content(torch.cat(rows), value if ids else None, None if ids else value, tuple(map(len, spans)))


def _join(what: str, values: Sequence[Tensor]) -> Tensor:
    """One column of all values. Raises SequenceError where their widths differ."""
    if len({v.shape[1:] for v in values}) > 1:
        widths = sorted({tuple(v.shape[1:]) for v in values})
        raise SequenceError(f"{what} holds tokens of different widths {widths}: use one configuration")
    return torch.cat(list(values))


def _join_pairs(sequences: list[TokenSequence], begin: list[int], schema: Schema) -> dict[str, tuple[Tensor, Tensor]]:
    """Every pair that is present or known, as flat rows, in the order of the segments."""
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {p: [] for p in schema.pairs}
    for sequence, base in zip(sequences, begin, strict=True):
        for name, (ends, labels) in sequence.pairs.items():
            parts.setdefault(name, []).append((ends + base, labels))
    none = torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    return {k: (torch.cat([e for e, _ in v], 1), torch.cat([n for _, n in v])) if v else none for k, v in parts.items()}


def _fill_axes(placed: Placed, schema: Schema, total: int) -> dict[str, Tensor]:
    """Every axis that is present or known, as one column; absent is -1 for integers and 0 for floats."""
    out = {
        n: torch.zeros(total, width) if width else torch.full((total,), -1) for n, width in schema.axes.items() if n != "position"
    }
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for rows, span in placed:
        for name, values in span.axes.items():
            parts.setdefault(name, []).append((rows, values))
    for name, found in parts.items():
        values = _join(f"axis {name!r}", [v for _, v in found])
        if name not in out:
            absent = 0 if values.is_floating_point() else -1
            out[name] = torch.full((total, *values.shape[1:]), absent, dtype=values.dtype)
        column = out[name]
        if column.shape[1:] != values.shape[1:] or column.is_floating_point() != values.is_floating_point():
            raise SequenceError(f"axis {name!r} holds {_kind(values)}, and the model reads it as {_kind(column)}")
        column[torch.cat([r for r, _ in found])] = values.to(column.dtype)
    return out


def _kind(x: Tensor) -> str:
    return f"{'floats' if x.is_floating_point() else 'integers'} {['n', *x.shape[1:]]}".replace("'", "")


def _asks(docs: Sequence[Document], starts: Mapping[str, Mapping[int, int]]) -> dict[str, Ask]:
    """Asks of equal task, joined in the order of the documents, with rows moved to the flat stream."""
    found: dict[str, list[tuple[Ask, int]]] = {}
    for i, doc in enumerate(docs):
        for task, ask in doc.asks.items():
            found.setdefault(task, []).append((ask, i))
    return {task: _join_asks([a for a, _ in parts], [i for _, i in parts], starts) for task, parts in found.items()}


def _join_asks(asks: list[Ask], documents: list[int], starts: Mapping[str, Mapping[int, int]]) -> Ask:
    bases = [starts[a.stream][i] for a, i in zip(asks, documents, strict=True)]

    def join(name: str, shifts: list[int]) -> Tensor | None:
        values = [getattr(a, name) for a in asks]
        if values[0] is None:
            return None
        return torch.cat(values) + torch.tensor(shifts).repeat_interleave(torch.tensor(list(map(len, values))))

    targets = [a.target for a in asks]
    if targets[0].dim() == 2 and not targets[0].is_floating_point():
        width = max(t.shape[1] for t in targets)
        targets = [torch.nn.functional.pad(t, (0, width - t.shape[1]), value=-1) for t in targets]
    first, done = asks[0], [0, *itertools.accumulate(len(a.weight) for a in asks)][:-1]
    rows, weight = join("rows", bases), torch.cat([a.weight for a in asks])
    assert rows is not None
    others = [a.other for a in asks if a.other is not None]
    other = _join_asks(others, documents, starts) if others else None
    source = join("source", bases)
    return Ask(first.head, rows, torch.cat(targets), weight, join("group", done), source, first.stream, other)


def _refuse_leaks(asks: Mapping[str, Ask], streams: Mapping[str, Stream], docs: Iterable[Document]) -> None:
    for task, ask in asks.items():
        if ask.source is None or not len(ask.source):
            continue
        layout = streams[ask.stream].layout
        seen = layout.order[ask.source] <= layout.order[ask.rows]
        if MASKED in layout.axes:
            seen &= layout.axes[MASKED][ask.source] < 0
        if bool(seen.any()):
            channel = layout.channels[int(layout.channel[ask.source[seen][0]])]
            raise SequenceError(
                f"task {task!r} asks for {channel!r} at a row that already sees the answer: "
                f"{channel!r} must attend causally there, or be masked"
            )


__all__ = ["MASKED", "Ask", "Content", "Document", "Grid", "PackedBatch", "Schema", "Stream", "channel_rule", "collate"]
