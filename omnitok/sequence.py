"""Spans and token sequences: what a tokenizer makes of one object, and how sequences join and are cut.

Shape letters: n tokens of a span, N tokens of a sequence, E pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .errors import SequenceError, did_you_mean
from .record import Record, same

Pairs = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False, repr=False)
class Span(Record):
    """The tokens of one channel that one object contributes: ids or features, and where each token stands.

    Raises SequenceError where the parts do not fit together.
    """

    channel: str
    ids: Tensor | None = None
    """[n] or [n, c] integers, local to the channel; -1 = no content; columns are looked up and summed."""
    features: Tensor | None = None
    """[n, *width] in their raw dtype."""
    axes: Mapping[str, Tensor] = field(default_factory=dict)
    """axis name -> [n] integers or [n, k] floats; local to the object, never shifted."""
    index: Tensor | None = None
    """[n] increasing places in the sequence; None: in a row behind the spans before it."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that `decode` needs (image size, sample rate, action space)."""
    part: tuple[int, int] | None = None
    """(first token, tokens in all) where this is a piece of a cut span."""

    def __post_init__(self) -> None:
        if (self.ids is None) == (self.features is None):
            raise SequenceError(f"a span of {self.channel!r} needs ids or features, and not both")
        if self.ids is not None and (self.ids.is_floating_point() or self.ids.dim() not in (1, 2)):
            raise SequenceError(f"ids of {self.channel!r} must be integers [n] or [n, c], got {_kind(self.ids)}")
        for name, values in {**self.axes, **({} if self.index is None else {"index": self.index})}.items():
            if len(values) != len(self):
                raise SequenceError(f"{name!r} of {self.channel!r} has {len(values)} rows for {len(self)} tokens")

    @property
    def content(self) -> Tensor:
        """The ids or the features, whichever it holds."""
        return self.ids if self.ids is not None else self.features  # type: ignore[return-value]

    def __len__(self) -> int:
        return self.content.shape[0]

    def __repr__(self) -> str:
        cut = f" (tokens {self.part[0]}-{self.part[0] + len(self) - 1} of {self.part[1]})" if self.part else ""
        axes = f" axes {', '.join(self.axes)}" if self.axes else ""
        kind = "ids" if self.ids is not None else "features"
        return f"{self.channel}[{len(self)}] {kind} {_kind(self.content)}{axes}{cut}"

    def take(self, start: int, stop: int) -> Span:
        """Tokens start..stop-1 of this span, remembering which part of the whole they are; `index` is dropped."""
        if (start, stop) == (0, len(self)):
            return self.replace(index=None)
        first, total = self.part or (0, len(self))
        return Span(
            self.channel,
            None if self.ids is None else self.ids[start:stop],
            None if self.features is None else self.features[start:stop],
            {k: v[start:stop] for k, v in self.axes.items()},
            None,
            self.meta,
            (first + start, total),
        )

    def continued_by(self, other: Span) -> bool:
        """Whether `other` is the next piece of the same cut span."""
        if self.part is None or other.part is None or self.channel != other.channel:
            return False
        follows = self.part[0] + len(self) == other.part[0] and self.part[1] == other.part[1]
        return follows and self.axes.keys() == other.axes.keys() and same(self.meta, other.meta)


@dataclass(frozen=True, eq=False, repr=False)
class TokenSequence(Record):
    """Spans that tile the places 0..N-1, and labelled pairs of places; `a + b` joins, `s[a:b]` cuts.

    `pairs` maps a name to ([2, E] places of query and key, [E] labels). Raises SequenceError where spans overlap
    or leave a gap, or a pair points outside.
    """

    spans: tuple[Span, ...] = ()
    pairs: Pairs = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spans", tuple(self.spans))
        if any(s.index is not None for s in self.spans):
            slots = torch.cat(self.places)
            if not torch.equal(slots.sort().values, torch.arange(len(self), device=slots.device)):
                raise SequenceError(f"the spans of {self!r} do not tile its places 0..{len(self) - 1}")
            if any(len(p) > 1 and not bool((p.diff() > 0).all()) for p in self.places):
                raise SequenceError(f"`index` must increase inside every span of {self!r}")
        for name, (ends, labels) in self.pairs.items():
            if ends.shape != (2, len(labels)) or (len(labels) and not 0 <= int(ends.min()) <= int(ends.max()) < len(self)):
                raise SequenceError(f"pairs {name!r} must be [2, E] places inside the {len(self)} tokens and [E] labels")

    @cached_property
    def _length(self) -> int:
        return sum(map(len, self.spans))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    @cached_property
    def places(self) -> tuple[Tensor, ...]:
        """For each span the [n] places of its tokens in this sequence."""
        at, out = 0, []
        for span in self.spans:
            out.append(span.index if span.index is not None else torch.arange(at, at + len(span), device=span.content.device))
            at += len(span)
        return tuple(out)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels in order of first appearance."""
        return tuple(dict.fromkeys(s.channel for s in self.spans))

    def __repr__(self) -> str:
        pairs = "".join(f"; pairs {k}[{len(v[1])}]" for k, v in self.pairs.items())
        return f"TokenSequence({len(self)} tokens: {', '.join(map(repr, self.spans)) or 'none'}{pairs})"

    def __add__(self, other: TokenSequence) -> TokenSequence:
        if not isinstance(other, TokenSequence):
            return NotImplemented
        if not self.spans or not other.spans:
            return other if not self.spans else self
        base, spans = len(self), list(self.spans)
        for span, place in zip(other.spans, other.places, strict=True):
            i = next((i for i, s in enumerate(spans) if s.continued_by(span) and _touch(spans, i, place, self, span)), None)
            if i is None:
                spans.append(span if span.index is None else span.replace(index=place + base))
            else:
                spans[i] = _rejoin(spans[i], span, place + base)
        pairs = dict(self.pairs)
        for name, (ends, labels) in other.pairs.items():
            old = pairs.get(name)
            moved = ends + base
            pairs[name] = (moved, labels) if old is None else (torch.cat([old[0], moved], 1), torch.cat([old[1], labels]))
        return TokenSequence(tuple(spans), pairs)

    def __getitem__(self, cut: slice) -> TokenSequence:
        if not isinstance(cut, slice) or cut.step not in (None, 1):
            raise SequenceError("cut a sequence with a slice of step 1, such as s[3:9]")
        start, stop, _ = cut.indices(len(self))
        stop = max(start, stop)
        if (start, stop) == (0, len(self)):
            return self
        at, spans = 0, []
        for span, place in zip(self.spans, self.places, strict=True):
            a, b = torch.searchsorted(place, torch.tensor([start, stop], device=place.device)).tolist()
            # an empty span goes with the token behind it, or at the very end with the one before it
            empty_here = len(span) == 0 and (start <= at < stop or start < at == stop == len(self))
            at += len(span)
            if b > a or empty_here:
                piece = span.take(a, b)
                spans.append(piece if span.index is None else piece.replace(index=place[a:b] - start))
        pairs = {}
        for name, (ends, labels) in self.pairs.items():
            keep = ((ends >= start) & (ends < stop)).all(0)
            pairs[name] = (ends[:, keep] - start, labels[keep])
        return TokenSequence(tuple(spans), pairs)

    def select(self, *names: str) -> TokenSequence:
        """The tokens of these channels, or of every channel of these instances, in their order.

        Raises SequenceError naming the channels that exist.
        """
        known = {*self.channels, *(c.split("/")[0] for c in self.channels)}
        for name in names:
            if name not in known:
                raise SequenceError(f"no channel {name!r} here; {did_you_mean(name, self.channels)}")
        wanted = [s.channel in names or s.channel.split("/")[0] in names for s in self.spans]
        picked = [(s, p) for s, p, take in zip(self.spans, self.places, wanted, strict=True) if take]
        if not picked:
            return TokenSequence()
        kept = torch.cat([p for _, p in picked]).sort().values
        rank = torch.full((len(self),), -1, device=kept.device)
        rank[kept] = torch.arange(len(kept), device=kept.device)
        spans = tuple(s if s.index is None else s.replace(index=rank[p]) for s, p in picked)
        inside = {k: (rank[ends] >= 0).all(0) for k, (ends, _) in self.pairs.items()}
        pairs = {k: (rank[ends[:, inside[k]]], labels[inside[k]]) for k, (ends, labels) in self.pairs.items()}
        return TokenSequence(spans, {k: v for k, v in pairs.items() if len(v[1])})


def _touch(spans: list[Span], i: int, place: Tensor, left: TokenSequence, right: Span) -> bool:
    """A contiguous span only rejoins across the very seam; an interleaved one wherever its next piece is."""
    if spans[i].index is None:
        return i == len(left.spans) - 1 and right.index is None and (len(place) == 0 or int(place[0]) == 0)
    return right.index is not None


def _rejoin(left: Span, right: Span, place: Tensor) -> Span:
    assert left.part is not None
    first, total = left.part
    whole = first == 0 and len(left) + len(right) == total
    return Span(
        left.channel,
        None if left.ids is None or right.ids is None else torch.cat([left.ids, right.ids]),
        None if left.features is None or right.features is None else torch.cat([left.features, right.features]),
        {k: torch.cat([v, right.axes[k]]) for k, v in left.axes.items()},
        None if left.index is None else torch.cat([left.index, place]),
        left.meta,
        None if whole else (first, total),
    )


def _kind(x: Tensor) -> str:
    return f"{'x'.join(map(str, x.shape[1:])) + ' ' if x.dim() > 1 else ''}{str(x.dtype).removeprefix('torch.')}"
