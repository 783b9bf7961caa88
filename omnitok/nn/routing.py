"""Losses on what routers decide: even use of experts, small logits, sure choices.

Each is a function of the stream's tokens alone, wherever they were packed. Shape letters: N tokens of a stream, E
experts, K choices, L layers with experts, S documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..layout import Layout
from .experts import Routing
from .losses import ExtraLoss


class RouterLoss(ExtraLoss, frozen=True):
    """Base: a loss on what the routers of one stream decided, the mean over their layers; 0 without tokens."""

    def value(self, notes: Sequence[Any], layout: Layout) -> Tensor:
        found = [n for n in notes if isinstance(n, Routing)]
        if not found:
            raise ConfigError(
                f"{type(self).__name__} is a loss of routers, and its stream has none: give it a MoE, or drop the loss"
            )
        return self.total(found, layout) if len(found[0].logits) else found[0].logits.sum()

    def total(self, routings: Sequence[Routing], layout: Layout) -> Tensor:
        return torch.stack([self.layer(r, layout) for r in routings]).mean()

    def layer(self, routing: Routing, layout: Layout) -> Tensor:
        """The loss of one layer."""
        raise NotImplementedError


class Balance(RouterLoss, frozen=True):
    """E times the sum over experts of (share of the choices) x (mean probability): arXiv 2101.03961, eq. 4 to 6.

    Both are taken over all tokens and layers at once, and all K choices count, as in Mixtral's
    `load_balancing_loss_func`.
    """

    def total(self, routings: Sequence[Routing], layout: Layout) -> Tensor:
        probability = torch.cat([r.logits for r in routings]).softmax(-1)
        experts = probability.shape[1]
        chosen = torch.cat([r.chosen.flatten() for r in routings])
        share = torch.bincount(chosen, minlength=experts).to(probability) / len(probability)
        return experts * (share * probability.mean(0)).sum()


class DocumentBalance(RouterLoss, frozen=True):
    """The same within each document, over its tokens in all layers, first choices only; documents count by their tokens.

    For documents of one length it is Switch Transformers' `load_balancing_loss_func` over the rows of a batch.
    """

    def total(self, routings: Sequence[Routing], layout: Layout) -> Tensor:
        size = torch.tensor(layout.lengths, device=layout.segment.device)
        shares, means = [], []
        for r in routings:
            probability = r.logits.softmax(-1)
            first = F.one_hot(r.logits.argmax(-1), probability.shape[1]).to(probability)
            empty = probability.new_zeros(layout.segments, probability.shape[1])
            shares.append(empty.index_add(0, layout.segment, first))
            means.append(empty.index_add(0, layout.segment, probability))
        count = (size * len(routings)).clamp(min=1).to(means[0])[:, None]
        share_SE, mean_SE = sum(shares) / count, sum(means) / count  # type: ignore[operator]
        each_S = mean_SE.shape[1] * (share_SE * mean_SE).sum(1)
        return (each_S * size).sum() / size.sum().clamp(min=1)


class RouterZ(RouterLoss, frozen=True):
    """The mean square of log-sum-exp of the logits: it keeps them small (ST-MoE, arXiv 2202.08906, eq. 5)."""

    def layer(self, routing: Routing, layout: Layout) -> Tensor:
        return routing.logits.logsumexp(-1).square().mean()


class Importance(RouterLoss, frozen=True):
    """The squared coefficient of variation of the experts' summed probabilities (V-MoE, arXiv 2106.05974, A.2)."""

    def layer(self, routing: Routing, layout: Layout) -> Tensor:
        return variation(routing.logits.softmax(-1).sum(0))


class Load(RouterLoss, frozen=True):
    """The squared coefficient of variation of the experts' expected load (V-MoE, A.2).

    The load is the mean probability that an expert is among the K chosen if its noise were drawn again; it needs a MoE
    with `noise`.
    """

    def layer(self, routing: Routing, layout: Layout) -> Tensor:
        if routing.noisy is None:
            raise ConfigError("the load loss needs the noise of training: set `noise` of the MoE above 0, or drop the loss")
        least = routing.noisy.gather(1, routing.chosen[:, -1:])
        win = torch.special.ndtr((routing.logits - least) / routing.spread)
        return variation(win.mean(0))


class LocalEntropy(RouterLoss, frozen=True):
    """The mean entropy of a token's probabilities: small where every choice is sure (LIMoE, arXiv 2206.02770, section 2)."""

    def layer(self, routing: Routing, layout: Layout) -> Tensor:
        return entropy(routing.logits.log_softmax(-1)).mean()


class GlobalEntropy(RouterLoss, frozen=True):
    """max(0, threshold - entropy of the mean probabilities): above 0 where the stream uses too few experts (LIMoE).

    `threshold` = log(n) asks for an even use of at least n experts, or an uneven one of more. Each modality that is a
    stream of its own has its own threshold.
    """

    threshold: float = 0.0

    def layer(self, routing: Routing, layout: Layout) -> Tensor:
        tokens = max(1, len(routing.logits))
        mean = routing.logits.log_softmax(-1).logsumexp(0) - torch.tensor(float(tokens)).log().to(routing.logits)
        return (self.threshold - entropy(mean)).clamp(min=0)


def entropy(log_probability: Tensor) -> Tensor:
    """[..., E] log probabilities -> [...] nats."""
    return -(log_probability.exp() * log_probability).sum(-1)


def variation(x: Tensor) -> Tensor:
    """The squared coefficient of variation of [E] numbers."""
    return x.var(unbiased=False) / x.mean().square()
