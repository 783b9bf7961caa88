"""Packing: documents in the order drawn fill one token budget after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from .batch import Document, PackedBatch, Schema, collate
from .errors import ConfigError, DuplicateNameError, LengthError
from .sequence import TokenSequence
from .tokenizer import Channel, Tokenizer

WAITING = 8
"""Documents that may wait for a later batch before the open one is closed."""

Item = TypeVar("Item")


class Packer(Generic[Item]):
    """The batch being filled. Push items until `full`, then `take` the batch.

    An item that does not fit waits, keeping its turn: it is placed again, before anything new, when the batch is taken.
    `pending` are the items that are not yet in a taken batch; pushing them again, in that order, into a fresh packer
    restores this one exactly.
    """

    def __init__(self, budget: int, waiting: int = WAITING) -> None:
        """`budget` in tokens, `waiting` in items; raises ConfigError where either is below 1."""
        if budget < 1 or waiting < 1:
            raise ConfigError(
                f"a packer needs a budget and a number of waiting documents of at least 1, got {budget} and {waiting}"
            )
        self.budget, self.limit = budget, waiting
        self._room = budget
        self._open: list[tuple[Item, int]] = []
        self._waiting: list[tuple[Item, int]] = []
        self._pending: list[Item] = []

    @property
    def full(self) -> bool:
        """Whether the open batch must be taken before anything is pushed."""
        return self._room == 0 or len(self._waiting) >= self.limit

    @property
    def pending(self) -> list[Item]:
        """Items that are not yet in a taken batch, in the order in which they were pushed."""
        return list(self._pending)

    def push(self, item: Item, length: int, name: str = "") -> None:
        """Place an item of `length` tokens. Raises LengthError naming it where no batch could hold it."""
        if length > self.budget:
            raise LengthError(
                f"{name or 'a document'} has {length} tokens and the budget of a batch is {self.budget}; "
                "raise the budget, or crop or truncate it"
            )
        self._pending.append(item)
        self._place(item, length or 1)  # so that an endless run of empty documents closes batches too

    def _place(self, item: Item, length: int) -> None:
        if length > self._room:
            self._waiting.append((item, length))
        else:
            self._open.append((item, length))
            self._room -= length

    def take(self) -> list[Item]:
        """Close the open batch and begin the next one with those that waited."""
        batch, waited = self._open, self._waiting
        self._open, self._waiting, self._room = [], [], self.budget
        self._pending = [item for item, _ in waited]
        for item, length in waited:
            self._place(item, length)
        return [item for item, _ in batch]


def fill(documents: Iterable[Document], budget: int, waiting: int = WAITING) -> Iterator[list[Document]]:
    """Documents in the order drawn -> the documents of one batch after another, none of them over `budget` tokens.

    A batch is closed when it is exactly full, when `waiting` documents did not fit, or at the end of the stream.
    Raises LengthError naming the document that is longer than the budget.
    """
    packer = Packer[Document](budget, waiting)
    for document in documents:
        packer.push(document, len(document), document.name)
        while packer.full:
            yield packer.take()
    while packer.pending:
        yield packer.take()


def pack(
    documents: Iterable[Document | TokenSequence],
    budget: int,
    tokenizers: Schema | Mapping[str, Channel] | Iterable[Tokenizer] = (),
) -> list[PackedBatch]:
    """Documents -> packed batches of at most `budget` tokens, all streams counted.

    `tokenizers` say how the channels of the documents attend and what axes and pairs they carry; a model's `schema` or
    a mapping of channels does as well. Raises LengthError for a document over the budget, SequenceError for a channel
    that none of them has.
    """
    schema = tokenizers if isinstance(tokenizers, Schema) else schema_of(channels_of(tokenizers))
    stream = next(iter(schema.streams))
    named = (_named(d, i, stream) for i, d in enumerate(documents))
    return [collate(batch, schema) for batch in fill(named, budget)]


def _named(document: Document | TokenSequence, number: int, stream: str) -> Document:
    if isinstance(document, TokenSequence):
        return Document({stream: document}, name=f"document {number}")
    return document if document.name else document.replace(name=f"document {number}")


def channels_of(tokenizers: Mapping[str, Channel] | Iterable[Tokenizer]) -> dict[str, Channel]:
    """The channels of all tokenizers. Raises DuplicateNameError where two instances share a name."""
    if isinstance(tokenizers, Mapping):
        return dict(tokenizers)
    found: dict[str, Channel] = {}
    for tokenizer in tokenizers:
        for name, channel in tokenizer.channels().items():
            if found.setdefault(name, channel) != channel:
                raise DuplicateNameError(
                    f"channel {name!r} is claimed by two tokenizers; give one another name with `.named(...)`"
                )
    return found


def schema_of(channels: Mapping[str, Channel], streams: Mapping[str, str | None] | None = None) -> Schema:
    """What batches of these channels are filled up to; `streams` as in `Schema`.

    Raises ConfigError where two channels disagree on the columns of an axis.
    """
    axes: dict[str, int] = {}
    for name, channel in channels.items():
        for axis in channel.axes:
            width = axis.size if axis.kind == "linear" else 0
            if axes.setdefault(axis.axis, width) != width:
                raise ConfigError(
                    f"channel {name!r} reads axis {axis.axis!r} as {_columns(width)}, another as {_columns(axes[axis.axis])}"
                )
    return Schema(
        rules={name: channel.attend for name, channel in channels.items()},
        axes=axes,
        pairs=tuple(dict.fromkeys(pair for channel in channels.values() for pair in channel.pairs)),
        sets=frozenset(name for name, channel in channels.items() if not channel.ordered),
        streams=streams if streams is not None else {"main": None},
    )


def _columns(width: int) -> str:
    return f"{width} float columns" if width else "integers"
