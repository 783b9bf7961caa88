"""Refusal: what is no object of this kind is refused in words, never by a crash, and never taken for something else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from ..errors import InputError, OmnitokError
from ..record import same
from ..sequence import TokenSequence
from .base import Skip, Subject, check, checks_of, told
from .objects import emptied, numbers, put

GROUP = "refusal"
SAYS = 3
"""Words that an error has at least, to say something."""
STRANGERS: tuple[Any, ...] = (
    None,
    True,
    7,
    2.5,
    "a word",
    b"bytes",
    [],
    {},
    (),
    {"a": 1},
    [None],
    ["x", 1],
    {1, 2},
    1j,
    range(3),
    len,
)
TYPED = ("", " ", "hello, world", "0.5 -1 2e3", "[1, 2]", "nan inf", "\0\ud800", "naïve 東京 🙂", "x" * 1000)
"""What people may type."""


@check(
    GROUP,
    "wrong-object",
    "What is no object of this kind is refused with an InputError that says what was given and what is wanted",
    'begin `encode` with a test of the type: `raise InputError(f"... wants ..., got {type(raw).__name__}")`',
)
def wrong_object(subject: Subject) -> Iterator[str]:
    try:
        subject.tokenizer.encode(object())
        yield "encode takes any object whatever"
    except OmnitokError as error:
        if len(str(error).split()) < SAYS:
            yield f"encode refuses an object() with {str(error)!r}, which says nothing"
    except Exception as error:
        yield f"encode of an object() raised {told(error)} instead of InputError"


@check(
    GROUP,
    "wrong-types",
    "None, numbers, strings, bytes and containers are tokens or an InputError, and never a crash",
    "test the types of what you read before you use it, down to the elements of containers",
)
def wrong_types(subject: Subject) -> Iterator[str]:
    for stranger in STRANGERS:
        try:
            tokens = subject.tokenizer.encode(stranger)
            if not isinstance(tokens, TokenSequence):
                yield f"encode of {stranger!r} gives {type(tokens).__name__}"
        except OmnitokError:
            continue
        except Exception as error:
            yield f"encode of {stranger!r} raised {told(error)} instead of InputError"


def _not_finite(subject: Subject, value: float) -> Iterator[str]:
    tried = 0
    for i, raw in enumerate(subject.samples):
        for place, _ in numbers(raw):
            try:
                changed = put(raw, place, value)
            except Exception:
                continue  # the object itself refuses it
            tried += 1
            where = f"sample {i} with {value} at {'.'.join(map(str, place)) or 'its place'}"
            try:
                subject.tokenizer.encode(changed)
                yield f"{where} is tokenized"
            except OmnitokError:
                continue
            except Exception as error:
                yield f"{where}: encode raised {told(error)} instead of InputError"
    if not tried:
        raise Skip("its objects hold no floating-point numbers that can be replaced")


@check(
    GROUP,
    "nan",
    "NaN anywhere in an object is refused: one in a batch of thousands makes every weight NaN",
    "test with isfinite before tokenizing, and say where it is",
)
def nan(subject: Subject) -> Iterator[str]:
    yield from _not_finite(subject, math.nan)


@check(
    GROUP,
    "infinity",
    "Infinity anywhere in an object is refused, of either sign",
    "test with isfinite before tokenizing, and say where it is",
)
def infinity(subject: Subject) -> Iterator[str]:
    yield from _not_finite(subject, math.inf)
    yield from _not_finite(subject, -math.inf)


@check(
    GROUP,
    "empty",
    "An object with nothing in it is no tokens, or refused with InputError; it never crashes",
    "handle zero samples, rows, characters: an empty span, or an error that says so",
)
def empty(subject: Subject) -> Iterator[str]:
    tried = 0
    for i, raw in enumerate(subject.samples):
        try:
            nothing = emptied(raw)
        except Exception:
            continue  # the object itself refuses it
        if nothing is None:
            continue
        tried += 1
        try:
            subject.tokenizer.encode(nothing)
        except OmnitokError:
            continue
        except Exception as error:
            yield f"sample {i} with nothing in it: encode raised {told(error)} instead of InputError"
    if not tried:
        raise Skip("its objects are no containers that can be emptied")


def limits(subject: Subject) -> dict[str, Any]:
    """Fields that are limits (`max_...`), each with the tokenizer whose limit is the least that it allows."""
    found = {}
    for name, field in subject.tokenizer.config_fields().items():
        if not name.startswith("max_"):
            continue
        for least in (1, 1e-6):
            try:
                msgspec.convert(least, field.type)
                found[name] = msgspec.structs.replace(subject.tokenizer, **{name: least})
                break
            except (msgspec.ValidationError, OmnitokError):
                continue
    if not found:
        raise Skip("it has no limits (fields `max_...`)")
    return found


@check(
    GROUP,
    "limits-refuse",
    "An object over a limit (`max_...`) is refused; it is never cut or made smaller in silence",
    "compare with the limit before tokenizing, and raise InputError that names both numbers",
)
def limits_refuse(subject: Subject) -> Iterator[str]:
    for name, limited in limits(subject).items():
        for case in subject.cases:
            try:
                tokens = limited.encode(case.raw)
            except OmnitokError:
                continue
            except Exception as error:
                yield f"{case.name} over {name}: encode raised {told(error)} instead of InputError"
                continue
            if not same([s.content for s in tokens], [s.content for s in case.tokens]):
                least = getattr(limited, name)
                yield f"{case.name}: with {name} = {least} it has {len(tokens)} other tokens instead of {len(case.tokens)}"


@check(
    GROUP,
    "limits-named",
    "A refusal over a limit names the field, so that its reader knows what to raise",
    "write the name of the field into the message: `... more than max_... = ...`",
)
def limits_named(subject: Subject) -> Iterator[str]:
    refused = 0
    for name, limited in limits(subject).items():
        for case in subject.cases:
            try:
                limited.encode(case.raw)
            except OmnitokError as error:
                refused += 1
                if name not in str(error):
                    yield f'{case.name} over {name}: "{error}"'
            except Exception:
                continue
    if not refused:
        raise Skip("no sample is over any limit of `encode`")


@check(
    GROUP,
    "words",
    "Words on a command line stand for an object that can be tokenized, or are refused with InputError",
    'let `words` test what was typed: `raise InputError(f"... wants ..., got {typed!r}")`',
)
def words(subject: Subject) -> Iterator[str]:
    for typed in TYPED:
        try:
            raw = subject.tokenizer.words(typed)
        except InputError as error:
            if len(str(error).split()) < SAYS:
                yield f"words({typed!r}) refuses with {str(error)!r}, which says nothing"
            continue
        except Exception as error:
            yield f"words({typed!r}) raised {told(error)} instead of InputError"
            continue
        try:
            subject.tokenizer.encode(raw)
        except InputError:
            continue
        except Exception as error:
            yield f"words({typed!r}) gives {type(raw).__name__}, and encode of it raised {told(error)}"


CHECKS = checks_of(globals())
