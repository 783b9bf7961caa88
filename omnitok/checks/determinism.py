"""Determinism: the same object is the same tokens, everywhere and always; and nothing is changed on the way."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from .. import rng
from ..compare import difference
from ..record import same
from .base import Skip, Subject, check, checks_of, told
from .elsewhere import elsewhere

GROUP = "determinism"
SEED = 2026112637


@check(
    GROUP,
    "encode-twice",
    "The same object gives the same tokens, in whatever order objects come",
    "keep no state between calls, and draw nothing: randomness belongs to objectives",
    fitted=True,
)
def encode_twice(subject: Subject) -> Iterator[str]:
    for case in reversed(subject.cases):
        if not same(subject.tokenizer.encode(case.raw), case.tokens):
            yield f"{case.name}: encoding it again gives other tokens"


@check(
    GROUP,
    "new-instance",
    "A tokenizer made anew from the same configuration gives the same tokens and channels",
    "derive everything from the fields and `state`; keep nothing in globals or in the class",
    fitted=True,
)
def new_instance(subject: Subject) -> Iterator[str]:
    again = type(subject.tokenizer)(**msgspec.structs.asdict(subject.tokenizer))
    if again != subject.tokenizer:
        yield "the same configuration makes a tokenizer that is not equal"
    if again.channels() != subject.tokenizer.channels():
        yield "the same configuration makes other channels"
    for case in subject.cases:
        if not same(again.encode(case.raw), case.tokens):
            yield f"{case.name}: a tokenizer made anew gives other tokens"


@check(
    GROUP,
    "samples-seeded",
    "`samples(seed)` gives the same objects for the same seed",
    "draw from `np.random.default_rng(seed)` or `torch.Generator().manual_seed(seed)`",
)
def samples_seeded(subject: Subject) -> Iterator[str]:
    for seed in (0, 3):
        first, second = ([subject.tokenizer.encode(raw) for raw in subject.tokenizer.samples(seed)] for _ in range(2))
        if not same(first, second):
            yield f"samples({seed}) gives other objects when asked again"


@check(
    GROUP,
    "other-process",
    "Another process, with other hashes of strings, gives the same tokens: runs resume and are compared",
    "order nothing by set, `hash` or `id`; sort by value, and number by position",
)
def other_process(subject: Subject) -> Iterator[str]:
    try:
        _, found = encoded_elsewhere(subject)
    except RuntimeError as error:
        raise Skip(f"it does not reach another process ({error}): see the check worker-encodes") from None
    if len(found) != len(subject.cases):
        yield f"{len(found)} samples there, {len(subject.cases)} here"
    for case, tokens in zip(subject.cases, found, strict=False):
        if not same(tokens, case.tokens):
            yield f"{case.name}: other tokens in another process"


def encoded_elsewhere(subject: Subject) -> Any:
    """The tokenizer as it arrives in another process, and the tokens of its samples there. Raises RuntimeError."""

    def make() -> Any:
        try:
            return elsewhere(subject, "encode", raws=None if subject.raws is None else list(subject.raws))
        except Skip:
            raise
        except Exception as error:  # what cannot be pickled, too
            return error if isinstance(error, RuntimeError) else RuntimeError(told(error))

    found = subject.once("elsewhere", make)
    if isinstance(found, RuntimeError):
        raise found
    return found


@check(
    GROUP,
    "global-random-state",
    "Nothing touches the random state of the process: a training run would not be repeatable",
    "use a generator of your own, seeded from the object or from `samples(seed)`",
    fitted=True,
)
def global_random_state(subject: Subject) -> Iterator[str]:
    for name, call in _calls(subject):
        if touches_generators(call):
            yield f"{name} draws from, or seeds, the process's own generators"


def touches_generators(call: Callable[[], Any]) -> bool:
    """Whether a call changes the random state of the process; it is put back."""
    kept = rng.take()
    rng.seed_all(SEED)  # a state that nobody else would seed
    before = rng.take()
    try:
        with contextlib.suppress(Exception):
            call()
        return not same(before, rng.take())
    finally:
        rng.put(*kept)


@check(
    GROUP,
    "object-unchanged",
    "`encode`, `count` and `show` leave the object as it was: datasets keep samples for the next epoch",
    "copy before you change anything in place",
)
def object_unchanged(subject: Subject) -> Iterator[str]:
    for case in subject.cases:
        try:
            before, data = copy.deepcopy(case.raw), pickle.dumps(case.raw)
        except Exception:
            raise Skip("its objects cannot be copied") from None
        for name, call in (
            ("encode", lambda raw=case.raw: subject.tokenizer.encode(raw)),
            ("count", lambda raw=case.raw: subject.tokenizer.count(raw)),
            ("show", lambda c=case: subject.tokenizer.show(c.raw, c.tokens)),
        ):
            with contextlib.suppress(Exception):
                call()
            apart = difference(case.raw, before)
            if (pickle.dumps(case.raw) != data) if apart is None else apart != 0:
                yield f"{case.name}: {name} changes the object that it is given"


@check(
    GROUP,
    "tokens-unchanged",
    "`decode` and `show` leave the tokens as they were: they are kept, and shared between tasks",
    "copy before you change a tensor in place",
)
def tokens_unchanged(subject: Subject) -> Iterator[str]:
    for case in subject.cases:
        kept = case.tokens.map(lambda x: x.clone())
        for name, call in (
            ("decode", lambda t=kept: subject.tokenizer.decode(t)),
            ("show", lambda c=case, t=kept: subject.tokenizer.show(c.raw, t)),
        ):
            with contextlib.suppress(Exception):
                call()
            if not same(kept, case.tokens):
                yield f"{case.name}: {name} changes the tokens that it is given"


@check(
    GROUP,
    "quiet",
    "Nothing is printed and nothing warned of: thousands of samples would fill the log",
    "delete prints; turn what a library warns of into an error or handle it",
    fitted=True,
)
def quiet(subject: Subject) -> Iterator[str]:
    for name, call in _calls(subject):
        out = io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            contextlib.suppress(Exception),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            call()
        if out.getvalue():
            yield f"{name} prints {out.getvalue().splitlines()[0][:80]!r}"
        if caught:
            yield f"{name} warns: {caught[0].category.__name__}: {str(caught[0].message)[:80]}"


def _calls(subject: Subject) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What omnitok calls while it runs, over all samples."""
    own, cases = subject.tokenizer, subject.cases
    yield "samples", lambda: list(own.samples(1))
    yield "channels", own.channels
    yield "encode", lambda: [own.encode(c.raw) for c in cases]
    yield "count", lambda: [own.count(c.raw) for c in cases]
    if subject.gives_back:
        yield "decode", lambda: [own.decode(c.tokens) for c in cases]
    if subject.overrides("place"):
        yield "place", lambda: [own.place(0, c.meta) for c in cases]
    if subject.overrides("show"):
        yield "show", lambda: [own.show(c.raw, c.tokens) for c in cases]


CHECKS = checks_of(globals())
