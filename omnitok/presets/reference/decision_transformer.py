"""Decision Transformer (Chen et al. 2021, arXiv 2106.01345), as Hugging Face's DecisionTransformerModel stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from msgspec import Meta
from torch import Tensor, nn

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.context import Context
from ...nn.norms import Norm
from ...nn.steps import INIT_STD, Act, Affine, Axis, Linear, Step, Table
from ...tokenizer import Channel
from ...weights import Fixed, Reference, Rule, affine, rule
from ._shared import prenorm_block, prenorm_rules


class FirstRow(Step, frozen=True):
    """Adds row 0 of a learned table to every token: the reference keeps GPT-2's positions and calls every one of them 0.

    The other rows are never read; they are kept so that its weights can be given back.
    """

    size: int

    def build(self, width: int, dim: int) -> nn.Module:
        return FirstRowModule(self.size, dim)


class FirstRowModule(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(size, dim) * INIT_STD)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return x + self.table[0]


class DecisionTransformer(Reference, frozen=True, kw_only=True):
    """A causal decoder of (condition, observation, action) per step, whose three tokens share the axis `step`.

    The action is read off the observation's token. Ids are looked up where the reference has features only; `tanh`
    bounds continuous actions to [-1, 1] in raw units, as the reference does.
    """

    name: ClassVar[str] = "decision-transformer"
    roles: ClassVar[tuple[str, ...]] = ("condition", "observation", "action")
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 128
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 3
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 1
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    steps: Annotated[int, Meta(ge=1, description="rows of the step table")] = 4096
    positions: Annotated[int, Meta(ge=1, description="rows of the position table, of which the first is used")] = 1024
    act: Annotated[str, Meta(description="activation of the MLP")] = "relu"
    tanh: Annotated[bool, Meta(description="bound continuous actions to [-1, 1]")] = True
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.1

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        for role, channel in bound.items():
            self._check_steps(role, channel)
        norm = Norm(eps=self.eps)
        main = Stream(
            self.dim,
            (prenorm_block(self.heads, self.hidden or 4 * self.dim, self.act, norm, self.dropout),) * self.depth,
            norm,
            embed={role: embedding(channel) for role, channel in bound.items()},
            steps=(Axis("step", self.steps, std=INIT_STD), norm, FirstRow(self.positions)),
            heads={role: self._head(role, channel) for role, channel in bound.items()},
            attend="causal",
        )
        return Model({"main": main})

    def _check_steps(self, role: str, channel: Channel) -> None:
        """Tokens need a step, and a row of the table for it."""
        axis = next((a for a in channel.axes if a.axis == "step"), None)
        if axis is None:
            raise ConfigError(f"decision-transformer: the channel of role {role!r} has no axis 'step'")
        if axis.kind == "learned" and axis.size > self.steps:
            raise ConfigError(
                f"decision-transformer: the channel of role {role!r} counts {axis.size} steps, the table holds "
                f"{self.steps}; set model.steps = {axis.size} or shorten the tokenizer's"
            )

    def _head(self, role: str, channel: Channel) -> tuple[Step, ...]:
        if channel.width is None:
            return (Linear(channel.vocab or 0),)
        bounded = role == "action" and self.tanh
        return (Linear(channel.size), *((Act("tanh"), Affine(channel.mean, channel.std)) if bounded else ()))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        out: list[Rule] = []
        for role, theirs in {"condition": "return", "observation": "state", "action": "action"}.items():
            if bound[role].width is None:
                raise ConfigError(f"decision-transformer: the reference has no ids, and role {role!r} is bound to some")
            out += affine(f"streams.main.embed.{role}.1", f"embed_{theirs}")
            out += affine(f"streams.main.heads.{role}.0", f"predict_{theirs}" + (".0" if role == "action" else ""))
        return [
            *out,
            *rule("streams.main.steps.0.table", "embed_timestep.weight"),
            *affine("streams.main.steps.1", "embed_ln"),
            *rule("streams.main.steps.2.table", "encoder.wpe.weight"),
            *rule((), "encoder.wte.weight", Fixed(lambda: torch.zeros(1, self.dim))),  # stored there, never read
            *prenorm_rules("encoder.", self.depth),
        ]


def embedding(channel: Channel) -> tuple[Step, ...]:
    """Ids by a table, normalised features by one linear map."""
    return (Table(channel.vocab or 0),) if channel.width is None else (Affine(channel.mean, channel.std), Linear())
