"""What the published models that grew out of one fairseq encoder have in common: tables with padding, layers, the head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ...nn.attention import Attention
from ...nn.context import Context
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.positions import Position
from ...nn.residual import Residual
from ...nn.steps import Act, Linear, Step
from ...weights import Fixed, Op, Rule, affine, rule

INSIDE = "encoder.graph_encoder."
"""prefix of their names below the head"""


class Padded(Op):
    """Row 0 of their table is padding, which is zero and stays zero; ours has no such row."""

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        if bool(theirs[0][0].any()):
            raise CheckpointError("row 0 is padding there, and it is not zero")
        return [theirs[0][1:]]

    def dump(self, ours: list[Tensor]) -> list[Tensor]:
        return [torch.cat([torch.zeros_like(ours[0][:1]), ours[0]])]


class Plus(Step, frozen=True):
    """Adds one learned number to every answer."""

    def build(self, width: int, dim: int) -> nn.Module:
        return PlusModule()


class PlusModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return x + self.bias


class Rates(NamedTuple):
    """Shares that training drops."""

    branch: float
    attention: float
    hidden: float


def block(
    heads: int, hidden: int, act: str, norm: Norm, first: bool, rates: Rates, positions: tuple[Position, ...] = ()
) -> tuple[Residual, ...]:
    """Attention and MLP, each with its norm in front (`first`) or behind the sum."""
    attention = Attention(heads, positions=positions, dropout=rates.attention)
    mixers = {"attention": attention, "mlp": MLP(hidden, act, dropout=rates.hidden)}
    pre, post = (norm, None) if first else (None, norm)
    return tuple(Residual(name, mixer, pre=pre, post=post, dropout=rates.branch) for name, mixer in mixers.items())


def block_rules(first: bool, mlp: str, depth: int) -> list[Rule]:
    """The blocks; `mlp` is the prefix of the MLP's two maps there."""
    ours, theirs, norm = "streams.main.blocks.{i}.", INSIDE + "layers.{i}.", "pre" if first else "post"
    names = {
        **{f"attention.mixer.{x}": f"self_attn.{x}_proj" for x in "qkv"},
        "attention.mixer.o": "self_attn.out_proj",
        f"attention.{norm}": "self_attn_layer_norm",
        "mlp.mixer.up": mlp + "fc1",
        "mlp.mixer.down": mlp + "fc2",
        f"mlp.{norm}": "final_layer_norm",
    }
    return [r for a, b in names.items() for r in affine(ours + a, theirs + b, None, depth)]


def head(answers: int, act: str, norm: Norm) -> tuple[Step, ...]:
    """Steps behind the token that stands for the whole."""
    return (Linear(), Act(act), norm, Linear(answers, bias=False), Plus())


def head_rules(role: str, dim: int) -> list[Rule]:
    """The head of a role. A pooler is stored there and never read."""
    ours = f"streams.main.heads.{role}."
    return [
        *affine(ours + "0", "encoder.lm_head_transform_weight"),
        *affine(ours + "2", "encoder.layer_norm"),
        *rule(ours + "3.weight", "encoder.embed_out.weight"),
        *rule(ours + "4.bias", "encoder.lm_output_learned_bias"),
        *rule((), "encoder.masked_lm_pooler.weight", Fixed(lambda: torch.zeros(dim, dim))),
        *rule((), "encoder.masked_lm_pooler.bias", Fixed(lambda: torch.zeros(dim))),
    ]
