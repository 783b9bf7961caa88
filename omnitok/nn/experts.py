"""A mixture of experts: a router gives every token to a few of many MLPs.

Shape letters: N flat tokens, E experts, K choices of a token, R routes (token, choice) that are taken, S documents,
D model dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..layout import Layout
from .context import Context, activation
from .mixers import MLP, Mixer


@dataclass(frozen=True)
class Routing:
    """What one layer's router decided, noted for the losses of its stream."""

    logits: Tensor
    """[N, E] before any noise"""
    chosen: Tensor
    """[N, K] experts by falling probability, whether they had room or not"""
    noisy: Tensor | None = None
    """[N, E] logits with the noise of training, by which the experts were chosen"""
    spread: float = 0.0
    """standard deviation of that noise"""


class MoE(Mixer, frozen=True):
    """Each token goes to the `top_k` experts of highest probability; their outputs are summed, weighted by it.

    Capacity is counted inside each document, so that packing changes nothing; a route beyond it gives zero, and the
    residual hands the token on as it was (Switch Transformer, arXiv 2101.03961). Room is given in token order, or with
    `priority = "probability"` to the surest tokens of the document first, all first choices before any second one:
    batch priority routing (V-MoE, arXiv 2106.05974) ranks the tokens of a whole batch, here they are ranked within
    their document.
    """

    experts: int
    expert: MLP
    top_k: int = 1
    renormalise: bool = False
    """make the weights of the chosen experts sum to 1 (Mixtral, arXiv 2401.04088)"""
    capacity: int | None = None
    """most routes that an expert takes of one document"""
    capacity_factor: float | None = None
    """the same, as a multiple of an even share of the document's routes, rounded up"""
    priority: Literal["order", "probability"] = "order"
    jitter: float = 0.0
    """in training, what the router reads is multiplied by uniform noise in [1 - jitter, 1 + jitter] (Switch)"""
    noise: float = 0.0
    """in training, normal noise of this many 1 / experts is added to the logits (V-MoE)"""
    router_bias: bool = False

    def ahead(self) -> bool:
        """Whether room depends on tokens that come later."""
        return self.capacity_factor is not None or (self.capacity is not None and self.priority == "probability")

    def build(self, dim: int) -> nn.Module:
        if not 1 <= self.top_k <= self.experts:
            raise ConfigError(
                f"a token cannot go to {self.top_k} of {self.experts} experts: set top_k between 1 and {self.experts}"
            )
        if self.capacity is not None and self.capacity_factor is not None:
            raise ConfigError("experts have either a `capacity` or a `capacity_factor`: set one")
        return MoEModule(self, dim)


class Stacked(nn.Module):
    """One linear map per expert: weight [E, out, in], bias [E, out]."""

    def __init__(self, experts: int, width: int, out: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, out, width) * math.sqrt(2 / (5 * width)))
        self.bias = nn.Parameter(torch.zeros(experts, out)) if bias else None

    def maps(self) -> list[tuple[Tensor, Tensor | None]]:
        """Weight and bias by expert; `unbind` has one gradient for all of them."""
        biases = self.bias.unbind() if self.bias is not None else [None] * len(self.weight)
        return list(zip(self.weight.unbind(), biases, strict=True))


class MoEModule(nn.Module):
    def __init__(self, config: MoE, dim: int) -> None:
        super().__init__()
        mlp = config.expert
        self.config, self.act = config, activation(mlp.act)
        self.router = nn.Linear(dim, config.experts, config.router_bias)
        nn.init.normal_(self.router.weight, std=1 / math.sqrt(dim))
        if config.router_bias:
            nn.init.zeros_(self.router.bias)
        self.up = Stacked(config.experts, dim, mlp.hidden, mlp.bias)
        self.down = Stacked(config.experts, mlp.hidden, dim, mlp.bias)
        self.gate = Stacked(config.experts, dim, mlp.hidden, mlp.bias) if mlp.gated else None

    def forward(self, x_ND: Tensor, ctx: Context) -> Tensor:
        routing = self._route(x_ND)
        if ctx.notes is not None:
            ctx.notes.append(routing)
        logits = routing.logits if routing.noisy is None else routing.noisy
        probability_NE = logits.softmax(-1)
        weight_NK = probability_NE.gather(1, routing.chosen)
        if self.config.renormalise:
            weight_NK = weight_NK / weight_NK.sum(1, keepdim=True)
        token_R, choice_R = self._roomy(probability_NE, routing.chosen, ctx).nonzero(as_tuple=True)
        return self._mix(x_ND, token_R, routing.chosen[token_R, choice_R], weight_NK[token_R, choice_R])

    def _route(self, x_ND: Tensor) -> Routing:
        """The router works in single precision at least, also under autocast (Switch Transformer, section 2.4)."""
        c = self.config
        with torch.autocast(x_ND.device.type, enabled=False):
            x = x_ND.to(self.router.weight.dtype)
            if self.training and c.jitter:
                x = x * torch.empty_like(x).uniform_(1 - c.jitter, 1 + c.jitter)
            logits = self.router(x)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if not (self.training and c.noise):
            return Routing(logits, logits.topk(c.top_k).indices)
        spread = c.noise / c.experts
        noisy = logits + spread * torch.randn_like(logits)
        return Routing(logits, noisy.topk(c.top_k).indices, noisy, spread)

    def _mix(self, x_ND: Tensor, token_R: Tensor, expert_R: Tensor, weight_R: Tensor) -> Tensor:
        """The weighted sum of the routes' outputs: tokens are sorted by expert, so that each computes once."""
        turn = expert_R.argsort(stable=True)
        token_R, weight_R = token_R[turn], weight_R[turn]
        sizes = torch.bincount(expert_R, minlength=self.config.experts).tolist()
        ups, downs = self.up.maps(), self.down.maps()
        gates = self.gate.maps() if self.gate is not None else [None] * len(ups)
        parts, dropout = [], self.config.expert.dropout
        for rows, up, gate, down in zip(x_ND[token_R].split(sizes), ups, gates, downs, strict=True):
            if len(rows):
                y = F.linear(rows, *up)
                y = self.act(y) if gate is None else self.act(F.linear(rows, *gate)) * y
                y = F.dropout(y, dropout, self.training) if dropout else y
                parts.append(F.linear(y, *down))
        out_ND = torch.zeros_like(x_ND)
        return out_ND.index_add(0, token_R, (torch.cat(parts) * weight_R[:, None]).to(out_ND.dtype)) if parts else out_ND

    def _roomy(self, probability_NE: Tensor, chosen_NK: Tensor, ctx: Context) -> Tensor:
        """[N, K] whether the expert has room for the route."""
        c, layout = self.config, ctx.layout
        if c.capacity is None and c.capacity_factor is None:
            return torch.ones_like(chosen_NK, dtype=torch.bool)
        assert layout is not None
        group_NK = layout.segment[:, None] * c.experts + chosen_NK
        if c.priority == "order":
            rank_NK = rank(group_NK.flatten()).view_as(chosen_NK)
        else:
            turn = probability_NE.amax(1).argsort(descending=True, stable=True)
            rank_NK = torch.empty_like(chosen_NK)
            rank_NK[turn] = rank(group_NK[turn].T.flatten()).view(c.top_k, len(turn)).T
        if ctx.cache is not None:  # what earlier tokens of the document took
            held = ctx.cache.states.get(self, (chosen_NK.new_zeros(layout.segments, c.experts),))[0]
            rank_NK = rank_NK + held.flatten()[group_NK]
            taken = torch.bincount(group_NK.flatten(), minlength=held.numel()).view_as(held)
            ctx.cache.states[self] = (held + taken,)
        return rank_NK < self._limits(layout)[layout.segment, None]

    def _limits(self, layout: Layout) -> Tensor:
        """[S] routes that an expert takes of each document."""
        c = self.config
        if c.capacity is not None:
            limits = [c.capacity] * layout.segments
        else:
            share = (c.capacity_factor or 0.0) * c.top_k / c.experts
            limits = [math.ceil(round(share * n, 6)) for n in layout.lengths]
        return torch.tensor(limits, dtype=torch.long, device=layout.segment.device)


def rank(group: Tensor) -> Tensor:
    """[R] groups -> [R] how many earlier entries belong to the same one."""
    turn = group.argsort(stable=True)
    ordered = group[turn]
    out = torch.empty_like(turn)
    out[turn] = torch.arange(len(turn), device=turn.device) - torch.searchsorted(ordered, ordered)
    return out
