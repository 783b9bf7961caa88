"""Beam search: the likeliest continuations of many documents at once, by the rules of Hugging Face's `generate`.

Shape letters: S documents still searched, B beams of each, T most tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import ConfigError
from .generate import Field, channel_info
from .record import Record
from .sequence import TokenSequence
from .session import Session, Step
from .tokenizer import Tokenizer

NEVER = -1e9
"""Added to the score of what must not be chosen: finite, as the reference's, so that ties fall as there."""


@dataclass(frozen=True)
class Hypothesis:
    """One continuation of a document."""

    tokens: TokenSequence
    """without the `end`"""
    score: float
    """log-likelihood of all its tokens, its `end` among them, divided by their number ** length_penalty"""
    ended: bool
    """whether it was closed by the channel's `end`"""


@dataclass(frozen=True)
class Rules:
    """What decides when a search is over, and what wins."""

    beams: int = 4
    """one is greedy decoding"""
    length_penalty: float = 1.0
    """above 1 for longer answers, below for shorter ones"""
    early_stopping: bool | Literal["never"] = False
    """True: as soon as there are as many ended answers as beams; False: when the best running beam would lose if it
    ended here; "never": when it would lose at any length"""

    never: tuple[int, ...] = ()
    """ids that are not chosen, such as the one that a decoder begins with"""
    close: bool = False
    """whether the last token that is allowed can only be the `end`"""

    def __post_init__(self) -> None:
        if self.beams < 1 or self.early_stopping not in (True, False, "never"):
            raise ConfigError('beam search needs beams >= 1, and early_stopping true, false or "never"')

    @property
    def first(self) -> bool:
        """Whether a document is over as soon as it has as many answers as beams."""
        return self.early_stopping is True or self.beams == 1

    def scaled(self, length: int) -> float:
        return float(length**self.length_penalty)


def beam_search(
    session: Session,
    tokenizer: Tokenizer,
    channel: str,
    max_tokens: int,
    rules: Rules | None = None,
    meta: Mapping[str, Any] | None = None,
) -> list[list[Hypothesis]]:
    """The best continuations of every document of a session on a channel of ids, best first, as many as beams.

    The prompts have been fed, or the decoder started (`Session.start`); the session is used up. Outputs and scores are
    those of `transformers.GenerationMixin.generate` with `num_beams`, `length_penalty` and `early_stopping`, one
    document at a time. A document also stops where `tokenizer.place` says so, as if `max_tokens` were reached.
    """
    rules, info = rules or Rules(), channel_info(tokenizer, channel)
    if info.vocab is None:
        raise ConfigError(f"beam search chooses among ids, and channel {channel!r} holds features: use generate")
    fields = [Field(held, tokenizer, channel, meta) for held in session.history]
    places = [field.places(max_tokens) for field in fields]
    found: list[list[Hypothesis]] = [[Hypothesis(TokenSequence((f.span(None),)), 0.0, False)] for f in fields]
    left = [i for i, p in enumerate(places) if p]
    if not left:
        return found
    session.select(torch.tensor(left).repeat_interleave(rules.beams))
    search = Search.begin([len(places[i]) for i in left], rules, session.device)
    for k in range(max_tokens):
        scores = search.allowed(k, session.ask(channel).float().log_softmax(-1), info.end, rules)
        search, parents, closed = search.step(k, scores, info.end, rules)
        for row, over in enumerate(closed.tolist()):
            if over:
                found[left[row]] = search.hypotheses(row, fields[left[row]], info.end)
        open_ = ~closed
        left = [i for i, over in zip(left, closed.tolist(), strict=True) if not over]
        if not left:
            break
        search = search.map(lambda x: x[open_])  # noqa: B023
        session.select(parents[open_].flatten())
        axes = _axes([places[i][k] for i in left], rules.beams)
        session.step(range(session.documents), Step(channel, search.running[:, :, k].flatten().cpu(), axes))
    return found


def _axes(each: Sequence[Mapping[str, Tensor]], beams: int) -> dict[str, Tensor]:
    """One token's axes per document -> per beam."""
    return {name: torch.stack([axes[name] for axes in each]).repeat_interleave(beams, 0) for name in each[0]}


@dataclass(frozen=True, eq=False)
class Search(Record):
    """The state: beams that run and answers that ended, both best first."""

    limit: Tensor
    """[S] most tokens"""
    running: Tensor
    """[S, B, T] ids"""
    total: Tensor
    """[S, B] log-likelihoods"""
    ended: Tensor
    """[S, B, T] ids, the `end` among them"""
    score: Tensor
    """[S, B]"""
    length: Tensor
    """[S, B] tokens of what ended"""
    full: Tensor
    """[S, B] whether a place holds something that ended"""

    @classmethod
    def begin(cls, limits: Sequence[int], rules: Rules, device: torch.device) -> Search:
        """All beams of a document are alike at first, so only one counts."""
        size = (len(limits), rules.beams)
        ids, length = torch.zeros(*size, max(limits), dtype=torch.long), torch.zeros(size, dtype=torch.long)
        total = torch.full(size, NEVER)
        total[:, 0] = 0.0
        state = cls(torch.tensor(limits), ids, total, ids.clone(), torch.full(size, NEVER), length, length > 0)
        return state.to(device)

    def allowed(self, k: int, scores: Tensor, end: int | None, rules: Rules) -> Tensor:
        """Log-probabilities [S * B, V] of the next token, without those that the rules forbid."""
        if rules.never:
            scores[:, list(rules.never)] = -torch.inf
        if rules.close and end is not None:
            last = (k + 1 >= self.limit).repeat_interleave(rules.beams)
            scores[last] = -torch.inf
            scores[last, end] = 0.0
        return scores

    def step(self, k: int, scores: Tensor, end: int | None, rules: Rules) -> tuple[Search, Tensor, Tensor]:
        """One more token: scores [S * B, V] -> the new state, the rows [S, B] that running beams come from, and [S] what is over.

        Twice as many candidates as beams are looked at, so that enough go on when the best all end.
        """
        count, beams = self.total.shape
        scores = (scores.view(count, beams, -1) + self.total[:, :, None]).flatten(1)
        best, place = scores.topk(2 * beams)
        parent, token = place // (scores.shape[1] // beams), place % (scores.shape[1] // beams)
        ids = _take(self.running, parent)
        ids[:, :, k] = token
        over = (k + 1 >= self.limit)[:, None].expand_as(token)
        over = over if end is None else over | (token == end)
        going = best + over * NEVER
        kept = going.topk(beams).indices
        state = self._end(k, ids, best, over, rules).replace(running=_take(ids, kept), total=_take(going, kept))
        rows = parent.gather(1, kept) + beams * torch.arange(count, device=parent.device)[:, None]
        return state, rows, state._over(k, over, rules)

    def _end(self, k: int, ids: Tensor, best: Tensor, over: Tensor, rules: Rules) -> Search:
        """The answers that ended, with the candidates that end now; only the best `beams` candidates may."""
        ends = over & (torch.arange(over.shape[1], device=over.device) < rules.beams)
        score = torch.cat([self.score, best / rules.scaled(k + 1) + ~ends * NEVER], 1)
        kept = score.topk(rules.beams).indices
        length = torch.cat([self.length, torch.full_like(over, k + 1, dtype=torch.long)], 1)
        full = torch.cat([self.full, ends], 1)
        ended = _take(torch.cat([self.ended, ids], 1), kept)
        return self.replace(ended=ended, score=_take(score, kept), length=_take(length, kept), full=_take(full, kept))

    def _over(self, k: int, over: Tensor, rules: Rules) -> Tensor:
        """[S] documents whose answers cannot get better, or that cannot go on."""
        if rules.early_stopping == "never" and rules.length_penalty > 0:
            scale = torch.tensor([rules.scaled(n) for n in self.limit.tolist()], device=over.device)
        else:
            scale = torch.full_like(self.total[:, 0], rules.scaled(k + 1))
        worst = torch.where(self.full, self.score.min(1, keepdim=True).values, NEVER)
        better = (self.total[:, :1] / scale[:, None] > worst).any(1)
        done = self.full.all(1) if rules.first else torch.zeros_like(better)
        return ~better | done | over.all(1)

    def hypotheses(self, row: int, field: Field, end: int | None) -> list[Hypothesis]:
        """The answers of one document."""
        found = []
        for ids, score, length in zip(self.ended[row].cpu(), self.score[row].tolist(), self.length[row].tolist(), strict=True):
            closed = int(ids[length - 1]) == end
            ids = ids[: length - closed]
            found.append(Hypothesis(TokenSequence((field.span(ids if len(ids) else None),)), score, closed))
        return found


def _take(x: Tensor, place: Tensor) -> Tensor:
    """x [S, n, ...] at places [S, m] -> [S, m, ...]."""
    return x.take_along_dim(place.view(*place.shape, *[1] * (x.dim() - 2)), 1)


__all__ = ["Hypothesis", "Rules", "beam_search"]
