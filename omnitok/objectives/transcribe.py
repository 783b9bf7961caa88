"""Transcription without alignment: connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from ..batch import Ask, Document
from ..errors import ConfigError, SequenceError
from ..nn.steps import Linear, Step
from ..tokenizer import Channel
from .base import At, Objective, channel_of, stream_of, with_main


class Ctc(Objective, frozen=True):
    """The ids of channel `on` are taken out of the document and asked of all other rows, in order (Graves 2006).

    The blank is one id behind the channel's vocabulary. Raises SequenceError where there are fewer rows than the
    target needs (its ids, and one more for every repeated neighbour). A document without rows is not asked.
    """

    on: Annotated[str, Meta(description="channel of the transcript; its tokens are taken out of the document")]

    def heads(self, task: str, channels: Mapping[str, Channel]) -> dict[str, tuple[Step, ...]]:
        return {f"{self.on}/ctc": (Linear(self._vocab(channels) + 1),)}

    def _vocab(self, channels: Mapping[str, Channel]) -> int:
        vocab = channel_of(self.on, channels, self).vocab
        if vocab is None:
            raise ConfigError(f"ctc needs a channel of ids; {self.on!r} holds features")
        return vocab

    def mark(self, document: Document, sample: Mapping[str, Any], at: At) -> Document:
        end = channel_of(self.on, at.channels, self).end
        answer = [s.ids for s in document.main.spans if s.channel == self.on and s.ids is not None]
        ids = torch.cat(answer) if answer else torch.zeros(0, dtype=torch.long)
        ids = ids if end is None else ids[ids != end]
        rest = document.main.select(*(c for c in document.main.channels if c != self.on))
        need = len(ids) + int((ids[1:] == ids[:-1]).sum())
        if need > len(rest):
            raise SequenceError(f"{document.name}: {len(rest)} rows cannot spell {len(ids)} ids of {self.on!r} (needs {need})")
        group, asked = torch.zeros(len(rest), dtype=torch.long), min(1, len(rest))
        target, weight = ids[None][:asked], torch.ones(asked)
        ask = Ask(f"{self.on}/ctc", torch.arange(len(rest)), target, weight, group, None, stream_of(document))
        return document.replace(streams=with_main(document, rest), asks={**document.asks, at.task: ask})

    def loss(self, out: Tensor, ask: Ask) -> Tensor:
        """[G] negative log likelihood per target id."""
        if not len(ask.weight):
            return out.float().sum(1)
        rows, lengths = _by_group(out.float().log_softmax(-1), ask)
        size = (ask.target >= 0).sum(1)
        log_prob, target, blank = rows.transpose(0, 1), ask.target.clamp(min=0), out.shape[-1] - 1
        nll = F.ctc_loss(log_prob, target, lengths, size, blank, reduction="none")
        return nll / size.clamp(min=1)

    def score(self, out: Tensor, ask: Ask) -> dict[str, tuple[float, float]]:
        wrong = total = right = 0
        for got, target in zip(self.answers(out, ask), ask.target, strict=True):
            want = target[target >= 0].tolist()
            wrong += edit_distance(got, want)
            total += len(want)
            right += got == want
        return {"error_rate": (wrong, total), "exact": (right, len(ask.target))}

    def chance(self, targets: Tensor) -> dict[str, float]:
        """Nothing at all, and the most frequent target."""
        rows = [tuple(t[t >= 0].tolist()) for t in targets]
        return {"error_rate": 1.0, "exact": max((rows.count(r) for r in set(rows)), default=0) / max(1, len(rows))}

    def answers(self, out: Tensor, ask: Ask) -> list[Any]:
        """Greedy decoding: the best id per row, repeats merged, blanks dropped."""
        rows, lengths = _by_group(out, ask)
        blank = out.shape[-1] - 1
        best = [torch.unique_consecutive(r[:n].argmax(-1)) for r, n in zip(rows, lengths.tolist(), strict=True)]
        return [b[b != blank].tolist() for b in best]


def _by_group(out: Tensor, ask: Ask) -> tuple[Tensor, Tensor]:
    """[R, V] -> ([G, longest, V], [G] lengths)."""
    assert ask.group is not None
    if not len(ask.weight):
        return out[None][:0], ask.group
    lengths = torch.bincount(ask.group, minlength=len(ask.weight))
    return torch.nn.utils.rnn.pad_sequence(list(out.split(lengths.tolist())), batch_first=True), lengths


def edit_distance(a: list[int], b: list[int]) -> int:
    """Insertions, deletions and replacements that turn a into b (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]
