"""Embedding: every channel's steps make [n, dim] of [n] tokens, inside their span, and learn."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import OmnitokError
from ..nn.context import Context
from .base import Skip, Subject, check, checks_of, told
from .world import DIM, apart, embedded, model_of, other_content, world

GROUP = "embedding"


@check(
    GROUP,
    "model-builds",
    "`omnitok.build` makes a model of the channels, with a head for everything that can be predicted",
    "give steps that fit one another and the channel: the widths of `Step.out`, one size per axis name",
    fitted=True,
)
def model_builds(subject: Subject) -> Iterator[str]:
    try:
        world(subject).model()
    except OmnitokError as error:
        yield f"build refuses: {error}"
    except Skip:
        raise
    except Exception as error:
        yield f"build raised {told(error)}"


@check(
    GROUP,
    "embedding-shape",
    "The steps of a channel make finite rows [n, dim] of its n tokens: a step never changes n",
    "end `embed` with a step that gives the model's dim (`Linear()` does), and keep one row per token",
    fitted=True,
)
def embedding_shape(subject: Subject) -> Iterator[str]:
    model = model_of(subject)
    with torch.no_grad():
        for i, sequence in enumerate(world(subject).sequences):
            for span in sequence.spans:
                rows = model.channels[span.channel](span.content, Context(lengths=(len(span),)))
                if rows.shape != (len(span), DIM):
                    yield f"sample {i}: {span.channel!r} makes {list(rows.shape)} of {len(span)} tokens in a model of dim {DIM}"
                elif not bool(rows.isfinite().all()):
                    yield f"sample {i}: {span.channel!r} makes rows that are not finite"


@check(
    GROUP,
    "embedding-gradients",
    "Gradients reach every parameter of a channel's steps and axes",
    "use every parameter in `forward`, and detach nothing",
)
def embedding_gradients(subject: Subject) -> Iterator[str]:
    own, model = world(subject), model_of(subject)
    present = {c for s in own.sequences for c in s.channels if len(s.select(c))}
    g = torch.Generator().manual_seed(0)
    rows = torch.cat([embedded(model, s) for s in own.sequences if len(s)])
    total = (rows * torch.randn(rows.shape, generator=g)).sum()
    names = {n: p for n, p in model.named_parameters() if n.startswith(tuple(f"channels.{c}." for c in present))}
    axes = {a for c in present for a in model.axis_names[c]}
    names |= {n: p for n, p in model.named_parameters() if n.startswith(tuple(f"axes.{a}." for a in axes))}
    if not names:
        raise Skip("its embedding has no parameters")
    for name, gradient in zip(names, torch.autograd.grad(total, list(names.values()), allow_unused=True), strict=True):
        if gradient is None or not bool(gradient.any()):
            yield f"no gradient reaches {name}"
        elif not bool(gradient.isfinite().all()):
            yield f"the gradient of {name} is not finite"


@check(
    GROUP,
    "embedding-nothing",
    "Batches without a token of a channel, and empty spans among others, are embedded and learned from",
    "let steps take 0 rows: no division by their number, no reshape with -1 beside a 0",
)
def embedding_nothing(subject: Subject) -> Iterator[str]:
    model, seen = model_of(subject), set()
    for i, sequence in enumerate(world(subject).sequences):
        for span in sequence.spans:
            if span.channel in seen or not len(span):
                continue
            seen.add(span.channel)
            module, n = model.channels[span.channel], len(span)
            for lengths in ((), (0,), (0, 0)):
                try:
                    rows: Tensor = module(span.content[:0], Context(lengths=lengths))
                    if rows.requires_grad:
                        rows.sum().backward()
                except Exception as error:
                    yield f"{span.channel!r}, 0 tokens in {len(lengths)} spans: {told(error)}"
                    continue
                if rows.shape != (0, DIM):
                    yield f"{span.channel!r} makes {list(rows.shape)} of 0 tokens in {len(lengths)} spans"
            with torch.no_grad():
                among = module(span.content, Context(lengths=(0, n, 0)))
                words = apart(among, module(span.content, Context(lengths=(n,))))
            if words:
                yield f"sample {i}: rows of {span.channel!r} {words} between empty spans"
    model.zero_grad()


@check(
    GROUP,
    "embedding-inside-span",
    "Two objects in one document are embedded as each by itself",
    "a step that looks across tokens stays inside its span: cut at `ctx.lengths`",
)
def embedding_inside_span(subject: Subject) -> Iterator[str]:
    own, model = world(subject), model_of(subject)
    with torch.no_grad():
        for i, one in enumerate(own.sequences):
            two = own.sequences[(i + 1) % len(own.sequences)]
            words = apart(embedded(model, one + two), torch.cat([embedded(model, one), embedded(model, two)]))
            if words:
                yield f"samples {i} and {(i + 1) % len(own.sequences)}: rows {words} when they are joined"


@check(
    GROUP,
    "embedding-looks-back",
    "A step never looks at later tokens: a channel that is predicted token by token would see its answers",
    "pad convolutions on the left only, or do the looking in the backbone",
)
def embedding_looks_back(subject: Subject) -> Iterator[str]:
    own, model = world(subject), model_of(subject)
    with torch.no_grad():
        for i, sequence in enumerate(own.sequences):
            for k in {len(sequence) // 2, len(sequence) - 1}:
                if k < 1:
                    continue
                changed = other_content(sequence, own.channels, k)
                words = apart(embedded(model, changed)[:k], embedded(model, sequence)[:k])
                if words:
                    yield f"sample {i}: the first {k} rows {words} when the tokens behind them are others"


CHECKS = checks_of(globals())
