"""The laws of the plugin contract as functions: what every tokenizer must keep, for plugin authors and the test suite.

A law is a generator of complaints over the tokenizer and its example objects; no complaint means that it is kept.
"""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import torch

from .compare import round_trip
from .errors import InputError, OmnitokError
from .record import same
from .sequence import Span, TokenSequence
from .tokenizer import Channel, Picture, Tokenizer

PLACES = 300
"""tokens of a sample whose place is asked for one by one."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one law."""

    id: str
    ok: bool
    message: str = ""

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'FAILED'} {self.id}{': ' if self.message else ''}{self.message}"


@dataclass(frozen=True)
class Case:
    """One example object with its tokens."""

    raw: Any
    tokens: TokenSequence
    name: str


Law = Callable[[Tokenizer, Sequence[Case]], Iterator[str]]


def check_tokenizer(tokenizer: Tokenizer, samples: Sequence[Any] | None = None) -> list[Finding]:
    """Hold a tokenizer against every law, over its own `samples` or those given."""
    try:
        raws = list(tokenizer.samples(0) if samples is None else samples)
        cases = [Case(raw, tokenizer.encode(raw), f"sample {i}") for i, raw in enumerate(raws)]
    except Exception as error:
        return [Finding("encode", False, f"its own samples cannot be encoded: {_name(error)}")]
    if not cases:
        return [Finding("encode", False, "`samples` gives no object, so nothing can be checked")]
    wrong = [c for c in cases if not isinstance(c.tokens, TokenSequence)]
    if wrong:
        return [Finding("encode", False, f"encode must give a TokenSequence, and gave a {type(wrong[0].tokens).__name__}")]
    return [Finding("encode", True), *(_judge(law, tokenizer, cases) for law in LAWS)]


def check_plugin(tokenizer: Tokenizer) -> list[Finding]:
    """`check_tokenizer` for the tokenizer as configured, and for what `fit` makes of it on its own samples."""
    findings = check_tokenizer(tokenizer)
    try:
        fitted = tokenizer.fit(tokenizer.samples(1))
        again = tokenizer.fit(tokenizer.samples(1))
    except Exception as error:
        return [*findings, Finding("fit", False, f"fit on its own samples raised {_name(error)}")]
    if type(fitted) is not type(tokenizer) or fitted != again:
        return [*findings, Finding("fit", False, "fit must give the same class, and twice the same from the same samples")]
    findings.append(Finding("fit", True))
    if fitted != tokenizer:
        findings += [Finding(f"fitted {f.id}", f.ok, f.message) for f in check_tokenizer(fitted)]
    return findings


def _judge(law: Law, tokenizer: Tokenizer, cases: Sequence[Case]) -> Finding:
    name = law.__name__.removeprefix("_").replace("_", "-")
    try:
        complaint = next(law(tokenizer, cases), None)
    except Exception as error:
        complaint = f"raised {_name(error)}"
    return Finding(name, complaint is None, complaint or "")


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


# -- the laws


def _fields(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """Every configuration field has a default and says what it means."""
    for name, field in tokenizer.config_fields().items():
        meta = [m for m in getattr(field.type, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
        if not any(m.description for m in meta):
            yield f"field {name!r} has no description: write Annotated[..., msgspec.Meta(description=...)]"


def _channels(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """Channels carry the instance's name and hold ids or features."""
    for instance in (tokenizer, tokenizer.named("other-name")):
        for name, channel in instance.channels().items():
            if name.partition("/")[0] != (instance.instance or instance.name):
                yield f"channel {name!r} of instance {instance.instance or instance.name!r}: use self.channel(...)"
            if (channel.vocab is None) == (channel.width is None):
                yield f"channel {name!r} must declare `vocab` or `width`, and not both"
            for special in (channel.end, channel.mask):
                if special is not None and not 0 <= special < (channel.vocab or 0):
                    yield f"channel {name!r}: special id {special} lies outside its vocab {channel.vocab}"


def _content(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """Spans hold what their channel declares, finite numbers, axes of the right type, and meta that JSON can hold."""
    channels = tokenizer.channels()
    for case in cases:
        for span in case.tokens.spans:
            if span.channel not in channels:
                yield f"{case.name}: channel {span.channel!r} is not declared by channels()"
                continue
            yield from (f"{case.name}: {span.channel!r} {what}" for what in _span(span, channels[span.channel]))
        for pair, (_, labels) in case.tokens.pairs.items():
            count = max((c.pairs.get(pair, 0) for c in channels.values()), default=0)
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < count:
                yield f"{case.name}: labels of pairs {pair!r} lie outside the {count} that its channels declare"


def _span(span: Span, channel: Channel) -> Iterator[str]:
    if span.ids is not None:
        if channel.vocab is None:
            yield "declares features and holds ids"
        elif len(span.ids) and not -1 <= int(span.ids.min()) <= int(span.ids.max()) < channel.vocab:
            yield f"holds ids {int(span.ids.min())}..{int(span.ids.max())} outside [0, {channel.vocab})"
    elif span.features is not None:
        if span.features.shape[1:] != torch.Size(channel.width or ()):
            yield f"declares features {channel.width} and holds {tuple(span.features.shape[1:])}"
        if span.features.is_floating_point() and not bool(span.features.isfinite().all()):
            yield "holds numbers that are not finite"
    for name, values in span.axes.items():
        kinds = (torch.float32,) if values.dim() == 2 else (torch.int64,)
        if values.dtype not in kinds:
            yield f"axis {name!r} must be int64 [n] or float32 [n, k], and is {values.dtype} with {values.dim()} dimensions"
    for step in channel.axes:
        if step.axis in span.axes and (span.axes[step.axis].dim() == 2) != (step.kind == "linear"):
            yield f"axis {step.axis!r} is declared {step.kind!r}, which does not fit its values"
    if json.loads(json.dumps(span.meta)) != dict(span.meta):
        yield "has meta that JSON changes (tuples, keys that are no strings)"


def _deterministic(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """The same object gives the same tokens, by the same tokenizer and by one made anew."""
    again = type(tokenizer)(**msgspec.structs.asdict(tokenizer))
    for case in cases:
        if not (same(tokenizer.encode(case.raw), case.tokens) and same(again.encode(case.raw), case.tokens)):
            yield f"{case.name}: encoding it twice gives different tokens"
    twice = [tokenizer.encode(raw) for raw in tokenizer.samples(3)], [tokenizer.encode(raw) for raw in tokenizer.samples(3)]
    if not same(*twice):
        yield "samples(3) gives different objects when asked twice: draw them from the seed"


def _pickle(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """Tokenizers and tokens travel to loader workers."""
    other = pickle.loads(pickle.dumps(tokenizer))
    if other != tokenizer:
        yield "the tokenizer changes when it is pickled"
    for case in cases:
        if not same(pickle.loads(pickle.dumps(case.tokens)), case.tokens) or not same(other.encode(case.raw), case.tokens):
            yield f"{case.name}: tokens change when they or the tokenizer are pickled"


def _round_trip(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """`decode` gives back what `round_trip` declares."""
    for case in cases:
        verdict = round_trip(tokenizer, case.raw, case.tokens)
        if not verdict.ok:
            yield f"{case.name}: {verdict.detail}"


def _cropped(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """`decode` of a piece gives something or refuses with InputError; nothing else."""
    for case in cases:
        for piece in (case.tokens[: len(case.tokens) // 2], case.tokens[len(case.tokens) // 2 :]):
            try:
                tokenizer.decode(piece)
            except InputError:
                continue
            except Exception as error:
                yield f"{case.name}: decoding a cropped sequence raised {_name(error)} instead of InputError"


def _place(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """`place` says of every token what `encode` does, and None or a place behind the last one."""
    cases = [c for c in cases if c.tokens.spans]
    if not all(_places(tokenizer, case) for case in cases):
        return  # it says of none where it goes, so it does not generate
    for case in cases:
        tokens, meta = case.tokens, _meta(case)
        slots = {int(p): (s, i) for s, place in zip(tokens.spans, tokens.places, strict=True) for i, p in enumerate(place)}
        for k in sorted({*range(min(len(tokens), PLACES)), *range(max(0, len(tokens) - 10), len(tokens))}):
            span, i = slots[k]
            found = tokenizer.place(k, meta)
            here = (span.channel, {name: values[i].tolist() for name, values in span.axes.items()})
            if found is None or (found[0], {name: torch.as_tensor(v).tolist() for name, v in found[1].items()}) != here:
                yield f"{case.name}: encode puts token {k} at {here}, place at {found}"
        closed = tokenizer.place(len(tokens) + 10**6, meta) is None  # whether objects of this kind are ever complete
        if closed and tokenizer.place(len(tokens), meta) is not None:
            yield f"{case.name}: place must be None behind the last of {len(tokens)} tokens"


def _meta(case: Case) -> dict[str, Any]:
    return {k: v for span in case.tokens.spans for k, v in span.meta.items()}


def _places(tokenizer: Tokenizer, case: Case) -> bool:
    try:
        tokenizer.place(0, _meta(case))
    except InputError:
        return False
    return True


def _count(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """`count` is the number of tokens."""
    for case in cases:
        if tokenizer.count(case.raw) != len(case.tokens):
            yield f"{case.name}: count says {tokenizer.count(case.raw)}, encode gives {len(case.tokens)}"


def _slices(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """A sequence cut anywhere and joined again is itself; pairs that the cut goes through are dropped."""
    for case in cases:
        plain = TokenSequence(case.tokens.spans)
        for k in {0, 1, len(plain) // 3, len(plain) - 1, len(plain)}:
            if not same(plain[:k] + plain[k:], plain) and len(plain):
                yield f"{case.name}: cut at {k} and joined again, it is another sequence"


def _joins(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """Joined sequences can be taken apart again."""
    for left, right in itertools.pairwise(cases):
        both = left.tokens + right.tokens
        for name, part, whole in (
            (left.name, both[: len(left.tokens)], left.tokens),
            (right.name, both[len(left.tokens) :], right.tokens),
        ):
            if len(part) != len(whole) or not same(_content_of(part), _content_of(whole)):
                yield f"{name}: it changes when it is joined to another sequence and cut out again"


def _content_of(tokens: TokenSequence) -> tuple[Any, ...]:
    """All that a sequence says of its tokens, apart from how many pieces and empty spans it is stored in."""
    spans = [s for s in tokens.spans if len(s)]
    pairs = {k: v for k, v in tokens.pairs.items() if len(v[1])}
    return tuple((s.channel, s.content, s.axes) for s in spans), pairs


def _show(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """A picture marks every token once."""
    for case in cases:
        picture = tokenizer.show(case.raw, case.tokens)
        if picture is not None and not (isinstance(picture, Picture) and len(picture.marks) == len(case.tokens)):
            yield f"{case.name}: show must give a Picture with one mark for each of the {len(case.tokens)} tokens"


def _refuses(tokenizer: Tokenizer, cases: Sequence[Case]) -> Iterator[str]:
    """What is no object of this kind is refused by an error for people."""
    try:
        tokenizer.encode(object())
        yield "encode takes any object whatever; refuse what is not yours with InputError"
    except OmnitokError:
        return


LAWS: tuple[Law, ...] = (
    _fields,
    _channels,
    _content,
    _deterministic,
    _pickle,
    _round_trip,
    _cropped,
    _place,
    _count,
    _slices,
    _joins,
    _show,
    _refuses,
)
