"""Workers: the way to data workers and back."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

from ..record import same
from .base import Subject, check, checks_of
from .determinism import encoded_elsewhere

GROUP = "workers"


@check(
    GROUP,
    "pickles",
    "Tokenizers and tokens travel to data workers and back, and are the same there",
    "keep nothing in the tokenizer but its fields; open files and load libraries inside `encode`",
    fitted=True,
)
def pickles(subject: Subject) -> Iterator[str]:
    other = pickle.loads(pickle.dumps(subject.tokenizer))
    if other != subject.tokenizer or other.channels() != subject.tokenizer.channels():
        yield "the tokenizer changes when it is pickled"
    for case in subject.cases:
        if not same(pickle.loads(pickle.dumps(case.tokens)), case.tokens):
            yield f"{case.name}: its tokens change when they are pickled"
        if not same(other.encode(case.raw), case.tokens):
            yield f"{case.name}: the pickled tokenizer gives other tokens"


@check(
    GROUP,
    "worker-encodes",
    "A worker that was started afresh encodes: nothing of this process is needed there",
    "define the class at the top of an importable module; set nothing up that an import does not",
)
def worker_encodes(subject: Subject) -> Iterator[str]:
    try:
        arrived, found = encoded_elsewhere(subject)
    except RuntimeError as error:
        yield f"in another process: {error}"
        return
    if arrived != subject.tokenizer:
        yield "the tokenizer that arrives in another process is not equal"
    if len(found) != len(subject.cases):
        yield f"{len(found)} samples are encoded there, {len(subject.cases)} here"


CHECKS = checks_of(globals())
