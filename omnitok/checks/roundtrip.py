"""Round trip: what is given back, of whole objects, of pieces, and at the edges of what numbers can hold."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..compare import difference, round_trip
from ..errors import InputError, OmnitokError
from ..record import same
from ..sequence import Span, TokenSequence
from .base import Case, Skip, Subject, check, checks_of, told
from .objects import edges, numbers, put

GROUP = "round trip"
ONE_WAY = "nothing is given back (one-way)"


@check(
    GROUP,
    "round-trip",
    "`decode(encode(x))` is x, as exactly as `round_trip` declares",
    "put into `meta` what the tokens do not say, or declare Bounded(error) or OneWay()",
    fitted=True,
)
def gives_back(subject: Subject) -> Iterator[str]:
    for case in subject.cases:
        verdict = round_trip(subject.tokenizer, case.raw, case.tokens)
        if not verdict.ok:
            yield f"{case.name}: {verdict.detail}"


@check(
    GROUP,
    "range-edges",
    "Numbers at the edges of their type come back as declared, or are refused: none is silently clipped or wrapped",
    "refuse what the tokens cannot hold with InputError, before it is rounded or cast",
)
def range_edges(subject: Subject) -> Iterator[str]:
    tried = 0
    for i, raw in enumerate(subject.samples):
        for place, kind in numbers(raw, "fi"):
            for value in edges(raw, place, kind):
                try:
                    changed = put(raw, place, value)
                except Exception:
                    continue  # the object itself refuses it
                tried += 1
                yield from _at_edge(subject, changed, f"sample {i} with {value} at {_way(place)}")
    if not tried:
        raise Skip("its objects hold no numbers that can be replaced")


def _at_edge(subject: Subject, raw: Any, where: str) -> Iterator[str]:
    try:
        tokens = subject.tokenizer.encode(raw)
    except OmnitokError:
        return
    except Exception as error:
        yield f"{where}: encode raised {told(error)}"
        return
    if any(s.features is not None and s.features.is_floating_point() and not bool(s.features.isfinite().all()) for s in tokens):
        yield f"{where}: the tokens hold numbers that are not finite"
    verdict = round_trip(subject.tokenizer, raw, tokens)
    if not verdict.ok:
        yield f"{where}: {verdict.detail}"


def _way(place: tuple[Any, ...]) -> str:
    return ".".join(map(str, place)) or "its place"


@check(
    GROUP,
    "other-instance",
    "A tokenizer under another name gives the same tokens on its own channels, and gives them back",
    "use `self.channel(...)` and `self.whole(tokens)` in `encode`, `decode` and `place`; never the class's name",
)
def other_instance(subject: Subject) -> Iterator[str]:
    other = subject.tokenizer.named("another-name")
    for case in subject.cases:
        tokens = other.encode(case.raw)
        if not same([s.content for s in tokens], [s.content for s in case.tokens]):
            yield f"{case.name}: other tokens under another name"
        verdict = round_trip(other, case.raw, tokens)
        if not verdict.ok:
            yield f"{case.name}: under another name, {verdict.detail}"


@check(
    GROUP,
    "cropped",
    "`decode` of a piece gives something or refuses with InputError: training and generation see pieces",
    "begin `decode` with `self.whole(tokens)`, which refuses a cropped sequence by name",
    fitted=True,
)
def cropped(subject: Subject) -> Iterator[str]:
    for case in subject.cases:
        n = len(case.tokens)
        for a, b in {(0, n // 2), (n // 2, n), (n // 3, n - n // 3), (0, 0), (0, 1)}:
            yield from _decodes(subject, case.tokens[a:b], f"{case.name}, tokens {a} to {b - 1} of {n}")


@check(
    GROUP,
    "two-objects",
    "`decode` of two objects at once gives something or refuses with InputError, and never only one of them",
    "begin `decode` with `self.whole(tokens)`, which refuses a channel that occurs twice",
)
def two_objects(subject: Subject) -> Iterator[str]:
    if not subject.gives_back:
        raise Skip(ONE_WAY)
    whole = [c for c in subject.cases if len(c.tokens)]
    for left, right in itertools.pairwise([*whole, *whole[:1]]):
        both = left.tokens + right.tokens
        yield from _decodes(subject, both, f"{left.name} and {right.name} joined")
        try:
            back = subject.tokenizer.decode(both)
        except Exception:
            continue
        for case in (left, right):
            alone = difference(back, subject.tokenizer.decode(case.tokens))
            if alone == 0 and same(subject.tokenizer.encode(back), case.tokens):
                yield f"{left.name} and {right.name} joined: decode gives only {case.name} back"


@check(
    GROUP,
    "foreign-tokens",
    "`decode` refuses tokens of another tokenizer, and none at all, with InputError, and never crashes",
    "begin `decode` with `self.whole(tokens)`, and refuse where a channel that is needed is not in it",
)
def foreign_tokens(subject: Subject) -> Iterator[str]:
    strange = TokenSequence((Span("nobodys-channel", torch.zeros(3, dtype=torch.long)),))
    yield from _decodes(subject, TokenSequence(), "no tokens")
    try:
        subject.tokenizer.decode(strange)
        yield "tokens of the channel 'nobodys-channel' are decoded"
    except InputError:
        pass
    except Exception as error:
        yield f"tokens of the channel 'nobodys-channel': decode raised {told(error)} instead of InputError"


@check(
    GROUP,
    "decode-drops-end",
    "`decode` drops the `end` that a template appends",
    "leave the channel's `end` out before the ids are given back",
    fitted=True,
)
def decode_drops_end(subject: Subject) -> Iterator[str]:
    if not subject.gives_back:
        raise Skip(ONE_WAY)
    channels = subject.tokenizer.channels()
    if all(channel.end is None for channel in channels.values()):
        raise Skip("no channel has an `end`")
    for case in subject.cases:
        last = case.tokens.spans[-1].channel if case.tokens.spans else next(iter(channels))
        end = channels[last].end
        if end is not None:
            closed = case.tokens + TokenSequence((Span(last, torch.tensor([end])),))
            verdict = round_trip(subject.tokenizer, case.raw, closed)
            if not verdict.ok:
                yield f"{case.name} with `end` behind it: {verdict.detail}"


@check(
    GROUP,
    "cut-and-join",
    "A sequence that is cut anywhere and joined again is itself",
    "give spans that tile their places: `index` only where channels are interleaved, increasing, from 0 on",
)
def cut_and_join(subject: Subject) -> Iterator[str]:
    for case in subject.cases:
        plain, n = TokenSequence(case.tokens.spans), len(case.tokens)
        for k in {0, 1, n // 3, max(0, n - 1), n}:
            if n and not same(plain[:k] + plain[k:], plain):
                yield f"{case.name}: cut at {k} and joined again, it is another sequence"


@check(
    GROUP,
    "join-and-cut",
    "Objects that were joined into one document can be taken out again, with their axes and pairs",
    "keep axes and pairs local to the object: joining shifts pairs and `index`, and nothing else",
)
def join_and_cut(subject: Subject) -> Iterator[str]:
    for left, right in itertools.pairwise([*subject.cases, *subject.cases[:1]]):
        both, n = left.tokens + right.tokens, len(left.tokens)
        for case, part in ((left, both[:n]), (right, both[n:])):
            if len(part) != len(case.tokens) or not same(_content(part), _content(case.tokens)):
                yield f"{case.name}: it changes when {left.name} and {right.name} are joined and cut apart"


def _content(tokens: TokenSequence) -> tuple[Any, ...]:
    """All that a sequence says of its tokens, apart from how many pieces and empty spans it is stored in."""
    spans = [s for s in tokens.spans if len(s)]
    pairs = {k: v for k, v in tokens.pairs.items() if len(v[1])}
    return tuple((s.channel, s.content, s.axes) for s in spans), pairs


@check(
    GROUP,
    "saved-tokens",
    "Tokens that were saved to a file come back equal, and are given back by a tokenizer made anew",
    "keep in the span (ids, features, axes, meta) all that `decode` needs, and nothing in the tokenizer or a global",
)
def saved_tokens(subject: Subject) -> Iterator[str]:
    fresh = type(subject.tokenizer)(**{f: getattr(subject.tokenizer, f) for f in subject.tokenizer.__struct_fields__})
    with tempfile.TemporaryDirectory() as folder:
        for case in subject.cases:
            path = Path(folder) / "tokens.safetensors"
            case.tokens.save(path)
            loaded = TokenSequence.load(path)
            if not same(loaded, case.tokens):
                yield f"{case.name}: its tokens come back from a file as others"
            yield from _again(fresh, Case(case.raw, loaded, case.name))


def _again(tokenizer: Any, case: Case) -> Iterator[str]:
    verdict = round_trip(tokenizer, case.raw, case.tokens)
    if not verdict.ok:
        yield f"{case.name}: from saved tokens, {verdict.detail}"


def _decodes(subject: Subject, tokens: TokenSequence, where: str) -> Iterator[str]:
    """A complaint where decode neither gives something nor refuses."""
    try:
        subject.tokenizer.decode(tokens)
    except InputError as error:
        if len(str(error).split()) < 3:
            yield f"{where}: decode refuses with {str(error)!r}, which says nothing"
    except Exception as error:
        yield f"{where}: decode raised {told(error)} instead of InputError"


CHECKS = checks_of(globals())
