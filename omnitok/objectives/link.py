"""Questions about pairs of tokens: what kind a listed pair is of, or whether there is one at all."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor

from ..batch import Ask, Document
from ..errors import ConfigError, SequenceError, did_you_mean
from ..nn.steps import Act, Join, Linear, Step
from ..sequence import TokenSequence
from ..tokenizer import Channel
from .base import At, Objective, spans_with_places, stream_of, with_main
from .label import Classify

Pairs = tuple[Tensor, Tensor]


class Link(Objective, frozen=True):
    """One answer per pair, read off both ends side by side (query, then key).

    With `label`, a field of the sample that holds one label per listed pair, in their order (-1 is not asked for).
    Without, whether the two are linked: a share `hide` of the linked tokens is taken out of the document and asked for,
    beside as many drawn tokens that are not linked, times `negatives`. What else a tokenizer derives from all pairs
    (identifiers, degrees, tokens of edges) tells of the hidden ones too: leave it out there; further pairs are refused.
    """

    label: Annotated[str | None, Meta(description="field of the sample; unset: is there a link?")] = None
    pair: Annotated[str, Meta(description="name of the pairs")] = "edge"
    classes: Annotated[int, Meta(ge=1, description="labels; unset: as many as the dataset names")] | None = None
    names: Annotated[tuple[str, ...], Meta(description="words for the labels; unset: the dataset's")] = ()
    hide: Annotated[float, Meta(gt=0, le=1, description="share of the links that are hidden and asked for")] = 0.2
    negatives: Annotated[float, Meta(gt=0, description="tokens without a link, per hidden link")] = 1.0

    def kinds(self) -> Classify:
        """What is told apart, as labels of tokens are."""
        if self.label is None:
            return Classify("link", "tokens", classes=2)
        return Classify(self.label, "tokens", self.classes, self.names)

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        known = {pair for channel in channels.values() for pair in channel.pairs}
        if self.pair not in known:
            raise ConfigError(f"link: no channel has pairs {self.pair!r}; {did_you_mean(self.pair, known, 'pairs')}")
        return {task: (Join(2), Linear(), Act("gelu"), Linear(self.kinds().size()))}  # a bare sum of two ends cannot compare them

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        none = torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
        listed = document.main.pairs.get(self.pair, none)
        if self.label is None:
            return self._hidden(document, listed, at)
        if self.label not in sample:
            raise SequenceError(f"{document.name}: the sample has no field {self.label!r}; {did_you_mean(self.label, sample)}")
        target = self.kinds().target(sample[self.label], document)
        ends = listed[0]
        if len(target) != ends.shape[1]:
            raise SequenceError(
                f"{document.name}: {len(target)} labels in {self.label!r} for {ends.shape[1]} pairs {self.pair!r} "
                "(an undirected edge is two)"
            )
        return self._asked(document, ends[:, target >= 0], target[target >= 0], at)

    def _hidden(self, document: Document, listed: Pairs, at: At) -> Document:
        """The document without some links, and what is asked of them and of tokens that are not linked."""
        others = sorted(document.main.pairs.keys() - {self.pair})
        if others:
            raise SequenceError(
                f"{document.name}: pairs {others[0]!r} may tell which pairs {self.pair!r} are hidden: leave them out"
            )
        ends, labels = listed
        nodes = [p for s, p in spans_with_places(document.main) if self.pair in at.channels[s.channel].pairs]
        places = torch.cat(nodes).tolist() if nodes else []
        found = list(dict.fromkeys((i, j) for i, j in ends.T.tolist() if i != j))
        linked, chosen = set(found), self._chosen(found, at.rng)
        drawn = _unlinked(places, linked, round(self.negatives * len(chosen)), at.rng)
        gone = {frozenset(pair) for pair in chosen}
        keep = torch.tensor([frozenset(pair) not in gone for pair in ends.T.tolist()], dtype=torch.bool)
        sequence = TokenSequence(document.main.spans, {**document.main.pairs, self.pair: (ends[:, keep], labels[keep])})
        asked = torch.tensor([*chosen, *drawn], dtype=torch.long).reshape(-1, 2).T
        target = torch.tensor([1] * len(chosen) + [0] * len(drawn))
        return self._asked(document.replace(streams=with_main(document, sequence)), asked, target, at)

    def _chosen(self, found: list[tuple[int, int]], rng: random.Random) -> list[tuple[int, int]]:
        """Links to hide, each in one of the directions in which it is listed."""
        ways: dict[frozenset[int], list[tuple[int, int]]] = {}
        for pair in found:
            ways.setdefault(frozenset(pair), []).append(pair)
        links = list(ways.values())
        count = min(len(links), max(1, round(self.hide * len(links))))
        return [rng.choice(both) for both in rng.sample(links, count)]

    def _asked(self, document: Document, ends: Tensor, target: Tensor, at: At) -> Document:
        group = torch.arange(len(target)).repeat_interleave(2)
        rows, weight = ends.T.flatten(), torch.ones(len(target))
        ask = Ask(at.task, rows, target, weight, group, None, stream_of(document))
        return document.replace(asks={**document.asks, at.task: ask})

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        return self.kinds().loss(out, ask)

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        return self.kinds().score(out, ask)

    def chance(self, targets: Tensor) -> dict[str, float]:
        return self.kinds().chance(targets)

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        found = self.kinds().answers(out, ask)
        return found if self.label is not None else [bool(x) for x in found]


def _unlinked(places: list[int], linked: set[tuple[int, int]], count: int, rng: random.Random) -> list[tuple[int, int]]:
    """Different pairs of tokens that are linked neither way; fewer where there are hardly any."""
    drawn: dict[tuple[int, int], None] = {}
    for _ in range(20 * count if len(places) > 1 else 0):
        i, j = rng.sample(places, 2)
        if (i, j) not in linked and (j, i) not in linked and (j, i) not in drawn:
            drawn[i, j] = None
        if len(drawn) == count:
            break
    return list(drawn)
