"""Documents with their asks, and the packed batch: flat tokens of many documents, no padding."""

from __future__ import annotations

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
        return self.streams[next(reversed(self.streams))]


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
    lengths = tuple(map(len, sequences))
    total, base, number = sum(lengths), 0, 0
    channels: dict[str, int] = {}
    parts: dict[str, list[tuple[Tensor, Span]]] = {}
    axes: dict[str, list[tuple[Tensor, Tensor]]] = {}
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {p: [] for p in schema.pairs}
    column, spans = torch.zeros(total, dtype=torch.long), torch.zeros(total, dtype=torch.long)
    full, position = torch.zeros(total, dtype=torch.bool), torch.arange(total)
    for sequence, attend in zip(sequences, attends, strict=True):
        for span, place in zip(sequence.spans, sequence.places, strict=True):
            rows = place + base
            column[rows] = channels.setdefault(span.channel, len(channels))
            spans[rows] = number
            full[rows] = channel_rule(span.channel, name, attend, schema) == "full"
            if span.channel in schema.sets and len(rows):
                position[rows] = rows[0]
            parts.setdefault(span.channel, []).append((rows, span))
            for axis, values in span.axes.items():
                axes.setdefault(axis, []).append((rows, values))
            number += 1
        for pair, (ends, labels) in sequence.pairs.items():
            pairs.setdefault(pair, []).append((ends + base, labels))
        base += len(sequence)
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths, dtype=torch.long))
    begin = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    starts = torch.zeros(total, dtype=torch.bool)
    starts[begin[torch.tensor(lengths) > 0]] = True
    order = order_of(full, starts)
    joined = {k: _join_pairs(v) for k, v in pairs.items()}
    layout = Layout(
        segment,
        order,
        position - begin[segment],
        column,
        spans,
        _fill_axes(axes, schema, total),
        joined,
        lengths,
        build_runs(lengths, rules, order, {k: v for k, v in joined.items() if len(v[1])}),
        build_grid(lengths),
        tuple(channels),
    )
    return Stream(layout, {c: _content(c, p) for c, p in parts.items()})


def _content(channel: str, parts: list[tuple[Tensor, Span]]) -> Content:
    rows, spans = zip(*parts, strict=True)
    if len({s.ids is None for s in spans}) > 1:
        raise SequenceError(f"channel {channel!r} holds ids in one place and features in another: use one configuration")
    try:
        value = torch.cat([s.content for s in spans])
    except RuntimeError:
        shapes = sorted({tuple(s.content.shape[1:]) for s in spans})
        raise SequenceError(f"channel {channel!r} holds tokens of different widths {shapes}: use one configuration") from None
    ids = spans[0].ids is not None
    return Content(torch.cat(rows), value if ids else None, None if ids else value, tuple(map(len, rows)))


def _join_pairs(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if not parts:
        return torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    return torch.cat([e for e, _ in parts], 1), torch.cat([v for _, v in parts])


def _fill_axes(axes: Mapping[str, list[tuple[Tensor, Tensor]]], schema: Schema, total: int) -> dict[str, Tensor]:
    """Every axis that is present or known, as one column; absent is -1 for integers and 0 for floats."""
    out = {
        name: torch.zeros(total, width) if width else torch.full((total,), -1)
        for name, width in schema.axes.items()
        if name != "position"
    }
    for name, parts in axes.items():
        rows, values = torch.cat([r for r, _ in parts]), torch.cat([v for _, v in parts])
        if name not in out:
            absent = 0 if values.is_floating_point() else -1
            out[name] = torch.full((total, *values.shape[1:]), absent, dtype=values.dtype)
        out[name][rows] = values.to(out[name].dtype)
    return out


def _asks(docs: Sequence[Document], starts: Mapping[str, Mapping[int, int]]) -> dict[str, Ask]:
    """Asks of equal task, joined in the order of the documents, with rows moved to the flat stream."""
    found: dict[str, list[Ask]] = {}
    groups: dict[str, int] = {}
    for i, doc in enumerate(docs):
        for task, ask in doc.asks.items():
            base, done = starts[ask.stream][i], groups.get(task, 0)
            moved = ask.replace(
                rows=ask.rows + base,
                group=None if ask.group is None else ask.group + done,
                source=None if ask.source is None else ask.source + base,
            )
            found.setdefault(task, []).append(moved)
            groups[task] = done + len(ask.weight)
    return {task: _join_asks(asks) for task, asks in found.items()}


def _join_asks(asks: list[Ask]) -> Ask:
    def join(name: str) -> Tensor | None:
        values = [getattr(a, name) for a in asks]
        return None if values[0] is None else torch.cat(values)

    targets = [a.target for a in asks]
    if targets[0].dim() == 2 and not targets[0].is_floating_point():
        width = max(t.shape[1] for t in targets)
        targets = [torch.nn.functional.pad(t, (0, width - t.shape[1]), value=-1) for t in targets]
    first = asks[0]
    rows, weight = join("rows"), join("weight")
    assert rows is not None and weight is not None
    return Ask(first.head, rows, torch.cat(targets), weight, join("group"), join("source"), first.stream)


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
