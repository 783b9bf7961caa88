"""Generation: where the next token goes, what a model may have made up, and sessions behind a cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch

from ..batch import Document, collate
from ..errors import InputError
from ..generate import Sampler, generate, raw_features
from ..sequence import TokenSequence
from ..session import Session
from .base import Case, Skip, Subject, check, checks_of, told
from .roundtrip import ONE_WAY
from .world import apart, model_of, world

GROUP = "generation"
PLACES = 200
"""Tokens of a sample whose place is asked for one by one."""
STEPS = 6
"""Tokens that are generated."""
FAR = 10**6


def _generating(subject: Subject) -> list[Case]:
    """The samples with tokens, of a tokenizer that says where they go."""
    cases = [c for c in subject.cases if len(c.tokens)]
    if not subject.overrides("place"):
        raise Skip("it does not say where tokens go (`place`), so it does not generate")
    if not cases:
        raise Skip("no sample has a token: see the check samples")
    return cases


@check(
    GROUP,
    "place-agrees",
    "`place` says of every token the channel and axes that `encode` gives it, in whatever order it is asked",
    "compute both from k and `meta` alone, by one function",
    fitted=True,
)
def place_agrees(subject: Subject) -> Iterator[str]:
    for case in _generating(subject):
        tokens = case.tokens
        slots = {int(p): (s, i) for s, place in zip(tokens.spans, tokens.places, strict=True) for i, p in enumerate(place)}
        n = len(tokens)
        for k in sorted({*range(min(n, PLACES)), *range(max(0, n - 10), n)}, reverse=True):
            span, i = slots[k]
            found = subject.tokenizer.place(k, case.meta)
            here = (span.channel, {name: values[i].tolist() for name, values in span.axes.items()})
            if found is None or (found[0], {name: torch.as_tensor(v).tolist() for name, v in found[1].items()}) != here:
                yield f"{case.name}: encode puts token {k} at {here}, place at {found}"


@check(
    GROUP,
    "place-ends",
    "Where objects are ever complete, `place` is None behind the last token, and stays None",
    "return None from the number of tokens on that `meta` tells",
    fitted=True,
)
def place_ends(subject: Subject) -> Iterator[str]:
    for case in _generating(subject):
        n = len(case.tokens)
        if subject.tokenizer.place(n + FAR, case.meta) is not None:
            if any(channel.end is not None for channel in subject.tokenizer.channels().values()):
                raise Skip("its objects go on until their `end`")
            yield f"{case.name}: place never says that the object is complete, and no channel has an `end`"
        for k in (n, n + 1):
            if (found := subject.tokenizer.place(k, case.meta)) is not None:
                yield f"{case.name}: place puts token {k} of {n} at {found}"


@check(
    GROUP,
    "place-without-meta",
    "`place` of an object that says nothing of itself gives a place or refuses with InputError",
    'test `meta` before using it: `raise InputError(f"meta needs ...")`',
)
def place_without_meta(subject: Subject) -> Iterator[str]:
    _generating(subject)
    for meta in ({}, {"another": "key"}):
        try:
            subject.tokenizer.place(0, meta)
        except InputError:
            continue
        except Exception as error:
            yield f"place(0, {meta}) raised {told(error)} instead of InputError"


@check(
    GROUP,
    "any-content-decodes",
    "Whatever a model may make up (any ids of the vocabulary, any numbers) is decoded or refused with InputError",
    "let `decode` test what it reads from ids and features, and round and clip numbers where it must",
)
def any_content_decodes(subject: Subject) -> Iterator[str]:
    if not subject.gives_back:
        raise Skip(ONE_WAY)
    channels, g = subject.tokenizer.channels(), torch.Generator().manual_seed(0)
    for case, scale in itertools.product(subject.cases, (1.0, 100.0)):
        spans = []
        for span in case.tokens.spans:
            info = channels[span.channel]
            if span.ids is not None:
                spans.append(span.replace(ids=torch.randint(info.vocab or 1, span.ids.shape, generator=g, dtype=span.ids.dtype)))
            else:
                made = scale * torch.randn(len(span), info.size, generator=g)
                spans.append(span.replace(features=raw_features(made, info, span)))
        yield from _decoded(subject, TokenSequence(tuple(spans), case.tokens.pairs), f"{case.name} with random content")


def _decoded(subject: Subject, tokens: TokenSequence, where: str) -> Iterator[str]:
    try:
        subject.tokenizer.decode(tokens)
    except InputError:
        return
    except Exception as error:
        yield f"{where}: decode raised {told(error)} instead of InputError"


@check(
    GROUP,
    "generates",
    "A session continues an object: new tokens lie where `place` says, end with the object, and are decoded or refused",
    "let `place` and `decode` work from `meta` alone, on floats where the tokens held whole numbers",
)
def generates(subject: Subject) -> Iterator[str]:
    model, unit, tokenizer = model_of(subject), max(1, subject.tokenizer.unit), subject.tokenizer
    for case, given in zip(subject.cases, world(subject).sequences, strict=True):
        if not len(given) or case not in _generating(subject):
            continue
        prompt = given[: len(given) // 2 // unit * unit]
        made = _continued(subject, Session(model, attend=dict.fromkeys(tokenizer.channels(), "causal")), prompt, case.meta)
        if len(made) > len(prompt) and tokenizer.place(len(made) - 1, case.meta) is None:
            yield f"{case.name}: {len(made)} tokens with those of the prompt, more than the object has"
        if subject.gives_back:
            yield from _decoded(subject, made, f"{case.name} continued from token {len(prompt)}")


def _continued(subject: Subject, session: Session, prompt: TokenSequence, meta: Any) -> TokenSequence:
    """The prompt and some tokens behind it, on whatever channels `place` puts them."""
    tokenizer, tasks, so_far = subject.tokenizer, world(subject).tasks, prompt
    if len(prompt):
        session.feed(prompt)
    for _ in range(STEPS):
        where = tokenizer.place(len(so_far), meta)
        if where is None or f"next-{where[0]}" not in tasks:
            break
        if not len(so_far):
            session.start(where[0], tokenizer.channels()[where[0]])
        made = generate(session, tokenizer, where[0], STEPS, Sampler(1.0, seed=0), meta)
        so_far = so_far + made
        if not len(made):
            break  # its `end` was generated
    return so_far


@check(
    GROUP,
    "cached-is-full",
    "A session that is fed in pieces computes the rows that a full pass computes",
    'a channel that grows token by token is embedded token by token; one whose step looks around is `attend = "full"`',
)
def cached_is_full(subject: Subject) -> Iterator[str]:
    model, own = model_of(subject), world(subject)
    for i, sequence in enumerate(own.sequences):
        if not len(sequence):
            continue
        session, so_far = Session(model), TokenSequence()
        for piece in _pieces(sequence, own.channels):
            session.feed(piece)
            so_far = so_far + piece
            with torch.no_grad():
                full = model.hidden(collate([Document({"main": so_far})], model.schema))["main"][-1]
            words = apart(session.last[0], full)
            if words:
                yield f"sample {i}: the row of token {len(so_far) - 1} behind a cache and in a full pass {words}"
                break


def _pieces(sequence: TokenSequence, channels: Any) -> Iterator[TokenSequence]:
    """A few pieces, cut nowhere between two tokens that see each other."""
    full = torch.zeros(len(sequence), dtype=torch.bool)
    for span, place in zip(sequence.spans, sequence.places, strict=True):
        full[place] = channels[span.channel].attend == "full" or not channels[span.channel].ordered
    allowed = [k for k in range(1, len(sequence)) if not (full[k - 1] and full[k])]
    cuts = [0, *allowed[:: max(1, len(allowed) // 3)], len(sequence)]
    return (sequence[a:b] for a, b in itertools.pairwise(cuts))


CHECKS = checks_of(globals())
