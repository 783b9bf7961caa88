"""Count: the number of tokens, where a tokenizer knows it without encoding."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import OmnitokError
from .base import Skip, Subject, check, checks_of, told
from .clock import seconds
from .refusal import STRANGERS

GROUP = "count"
SLOWER = 1.5
GRACE = 0.01
"""Seconds that `count` may take longer than encoding, over all samples."""


@check(
    GROUP,
    "count-is-length",
    "`count` is the number of tokens: batches are planned with it",
    "leave `count` out where it is not cheaper than encoding; else count what `encode` makes",
    fitted=True,
)
def count_is_length(subject: Subject) -> Iterator[str]:
    for case in subject.cases:
        counted = subject.tokenizer.count(case.raw)
        if counted != len(case.tokens) or not isinstance(counted, int):
            yield f"{case.name}: count says {counted!r}, encode gives {len(case.tokens)} tokens"


@check(
    GROUP,
    "count-refuses",
    "`count` refuses what is no object of this kind, as `encode` does",
    "test the type in `count` too",
)
def count_refuses(subject: Subject) -> Iterator[str]:
    if not subject.overrides("count"):
        raise Skip("it counts by encoding")
    for stranger in (object(), *STRANGERS):
        name = "an object()" if type(stranger) is object else repr(stranger)
        try:
            counted: int | None = subject.tokenizer.count(stranger)
        except OmnitokError:
            continue
        except Exception as error:
            yield f"count of {name} raised {told(error)} instead of InputError"
            continue
        try:
            length = len(subject.tokenizer.encode(stranger))
        except Exception:
            yield f"count of {name} is {counted}, and encode refuses it"
            continue
        if counted != length:
            yield f"count of {name} is {counted}, encode gives {length}"


@check(
    GROUP,
    "count-cheap",
    "`count` is overridden only where it is cheaper than encoding",
    "compute the number from sizes and lengths alone, or leave `count` out",
)
def count_cheap(subject: Subject) -> Iterator[str]:
    if not subject.overrides("count"):
        raise Skip("it counts by encoding")
    raws = [case.raw for case in subject.cases]
    counting = seconds(lambda: [subject.tokenizer.count(raw) for raw in raws])
    encoding = seconds(lambda: [subject.tokenizer.encode(raw) for raw in raws])
    if counting > SLOWER * encoding + GRACE:
        yield f"counting the samples takes {counting:.3f} s, encoding them {encoding:.3f} s"


CHECKS = checks_of(globals())
