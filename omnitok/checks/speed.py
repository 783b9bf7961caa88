"""Speed and memory: limits that a slow machine keeps, and that a square of the object's size does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import OmnitokError
from .base import Skip, Subject, check, checks_of
from .clock import peak_bytes, seconds
from .elsewhere import elsewhere
from .objects import repeated

GROUP = "speed and memory"
SECONDS_PER_TOKEN = 5e-3
SECONDS_PER_OBJECT = 0.25
IMPORT_SECONDS = 5.0
"""Seconds of computing that importing the plugin takes, beside torch and omnitok."""
TIMES = 8
"""How much larger the larger object is."""
SLOWER, HEAVIER = 5.0, 3.0
"""How much more than proportional seconds and bytes may be: caches make large objects slower; a square would be 8."""
TIMED, WEIGHED = 2000, 1500
"""Tokens of the smaller object, for seconds and for bytes: as many as give a square away."""
QUICK = 0.3
"""Seconds below which nothing is slow."""
SMALL = 32 << 20
"""Bytes below which nothing is large."""


@check(
    GROUP,
    "import-time",
    "Importing the plugin takes seconds at most, beside torch: every command that names it waits for that",
    "import heavy libraries inside the functions that need them",
)
def import_time(subject: Subject) -> Iterator[str]:
    taken, _ = elsewhere(subject, "import")
    if taken > IMPORT_SECONDS:
        yield f"importing {type(subject.tokenizer).__module__} takes {taken:.1f} s"


@check(
    GROUP,
    "import-quiet",
    "Importing the plugin prints nothing: what commands print is read by programs",
    "delete prints at the top of the module",
)
def import_quiet(subject: Subject) -> Iterator[str]:
    _, printed = elsewhere(subject, "import")
    if printed:
        yield f"importing {type(subject.tokenizer).__module__} prints {printed.splitlines()[0][:80]!r}"


@check(
    GROUP,
    "encode-speed",
    "Encoding keeps up with training: some hundred tokens a second on one slow core, and far more as a rule",
    "use array operations instead of loops over tokens; cache what does not depend on the object",
)
def encode_speed(subject: Subject) -> Iterator[str]:
    for case in subject.cases:
        allowed = SECONDS_PER_OBJECT + SECONDS_PER_TOKEN * len(case.tokens)
        taken = seconds(lambda c=case: subject.tokenizer.encode(c.raw))  # type: ignore[misc]
        if taken > allowed:
            yield f"{case.name}: {taken:.2f} s for {len(case.tokens)} tokens, allowed are {allowed:.2f} s"


def _small_and_large(subject: Subject, tokens: int) -> tuple[Any, Any]:
    """An object and one that is larger, made by repeating a sample. Raises Skip where that makes no objects."""

    def make() -> tuple[Any, Any] | None:
        for case in sorted(subject.cases, key=lambda c: -len(c.tokens)):
            times = -(-tokens // len(case.tokens)) if len(case.tokens) else 0
            while times:
                try:
                    pair = repeated(case.raw, times), repeated(case.raw, times * TIMES)
                    if pair[0] is not None and len(subject.tokenizer.encode(pair[0])) > len(case.tokens) * (times > 1):
                        subject.tokenizer.encode(pair[1])
                        return pair
                    break
                except OmnitokError:
                    times //= 2  # over a limit
                except Exception:
                    break
        return None

    found = subject.once(("large objects", tokens), make)
    if found is None:
        raise Skip("its objects cannot be made larger by repeating them")
    return found  # type: ignore[no-any-return]


@check(
    GROUP,
    "encode-linear",
    "Encoding an object eight times as large takes about eight times as long, not its square",
    "look for loops inside loops, joining in a loop, and searches from the beginning",
)
def encode_linear(subject: Subject) -> Iterator[str]:
    small, large = _small_and_large(subject, TIMED)
    first = seconds(lambda: subject.tokenizer.encode(small), 3)
    second = seconds(lambda: subject.tokenizer.encode(large), 1)
    if second > QUICK and second > SLOWER * TIMES * first:
        second = min(second, seconds(lambda: subject.tokenizer.encode(large), 1))
        if second > SLOWER * TIMES * first:
            more = f"{second / max(first, 1e-9):.0f} times as long ({first:.3f} s, {second:.2f} s)"
            yield f"an object {TIMES} times as large takes {more}"


@check(
    GROUP,
    "encode-memory",
    "Encoding needs memory in proportion to the object, not to its square",
    "make no table of all pairs; work through long objects in pieces",
)
def encode_memory(subject: Subject) -> Iterator[str]:
    small, large = _small_and_large(subject, WEIGHED)
    first, second = (peak_bytes(lambda o=o: subject.tokenizer.encode(o)) for o in (small, large))  # type: ignore[misc]
    if second > SMALL and second > HEAVIER * TIMES * first:
        yield f"an object {TIMES} times as large needs {second / max(first, 1):.0f} times the memory ({second >> 20} MiB)"


CHECKS = checks_of(globals())
