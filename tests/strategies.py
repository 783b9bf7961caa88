"""Hypothesis strategies for spans, sequences and documents of every shape the format allows."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

from omnitok.batch import Document, Schema
from omnitok.sequence import Span, TokenSequence

SCHEMA = Schema(
    rules={"letter": "causal", "pair": "causal", "tile": "full", "point": "full", "move/seen": "causal", "move/done": "full"},
    axes={"step": 0, "place": 2, "unused": 0},
    pairs=("edge", "never"),
    sets=frozenset({"point"}),
)
"""letter: ids; pair: ids [n, 2]; tile: features with float axes; point: a set with pairs; move/*: interleaved."""

quick = settings(max_examples=40, deadline=None)
"""Enough to find what breaks, and no clock: tests run side by side."""


def content(channel: str, n: int, seed: int) -> dict[str, torch.Tensor]:
    """Ids or features of n tokens, as the channel has them."""
    g = torch.Generator().manual_seed(seed)
    if channel == "tile":
        return {"features": torch.randn(n, 3, generator=g)}
    if channel == "move/seen":
        return {"features": torch.randint(0, 255, (n, 2, 2), generator=g, dtype=torch.uint8)}
    return {"ids": torch.randint(0, 9, (n, 2) if channel == "pair" else (n,), generator=g)}


@st.composite
def plain(draw: st.DrawFn, channels: tuple[str, ...] = ("letter", "pair", "tile", "point"), least: int = 0) -> TokenSequence:
    """One span; points come with pairs."""
    channel, n, seed = draw(st.sampled_from(channels)), draw(st.integers(least, 5)), draw(st.integers(0, 99))
    axes = {"place": torch.rand(n, 2)} if channel == "tile" else {}
    if draw(st.booleans()):
        axes["step"] = torch.arange(n)
    meta = {"seed": seed} if draw(st.booleans()) else {}
    pairs = {}
    if channel == "point" and n:
        count = draw(st.integers(1, 6))
        g = torch.Generator().manual_seed(seed)
        pairs = {"edge": (torch.randint(0, n, (2, count), generator=g), torch.randint(0, 4, (count,), generator=g))}
    return TokenSequence((Span(channel, **content(channel, n, seed), axes=axes, meta=meta),), pairs)


@st.composite
def interleaved(draw: st.DrawFn) -> TokenSequence:
    """Two channels that take turns in any pattern, spans in the order of their first tokens."""
    owner = draw(st.lists(st.sampled_from(("move/seen", "move/done")), min_size=1, max_size=7))
    spans = []
    for channel in dict.fromkeys(owner):
        index = torch.tensor([i for i, name in enumerate(owner) if name == channel])
        axes = {"step": torch.arange(len(index))}
        spans.append(Span(channel, **content(channel, len(index), draw(st.integers(0, 99))), axes=axes, index=index))
    return TokenSequence(tuple(spans))


def objects(least: int = 0) -> st.SearchStrategy[TokenSequence]:
    """What one tokenizer would make of one object."""
    return st.one_of(plain(least=least), interleaved())


@st.composite
def sequences(draw: st.DrawFn, least: int = 0, most: int = 4) -> TokenSequence:
    """Up to `most` objects joined."""
    joined = TokenSequence()
    for part in draw(st.lists(objects(least), max_size=most)):
        joined = joined + part
    return joined


@st.composite
def documents(draw: st.DrawFn, streams: tuple[str, ...] = ("main",)) -> Document:
    """A sequence per stream, with some rules overruled."""
    attend = draw(st.dictionaries(st.sampled_from(sorted(SCHEMA.rules)), st.sampled_from(("causal", "full")), max_size=2))
    return Document({s: draw(sequences()) for s in streams}, attend=attend)


def batches(streams: tuple[str, ...] = ("main",)) -> st.SearchStrategy[list[Document]]:
    """Documents to be packed together, each with a name of its own."""
    found = st.lists(documents(streams), max_size=5)
    return found.map(lambda docs: [d.replace(name=f"d{i}") for i, d in enumerate(docs)])
