"""Decision Transformer (Chen et al. 2021, arXiv 2106.01345), as Hugging Face's DecisionTransformerModel stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import torch
from msgspec import Meta
from torch import Tensor, nn

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.context import Context
from ...nn.initial import Constant, Initial, Normal
from ...nn.inline import Function, Functions, function_of
from ...nn.norms import Norm
from ...nn.steps import INIT_STD, Act, Affine, Axis, Dropout, Linear, Step, Table
from ...tokenizer import Channel
from ...weights import Reference, Rule, Size, affine, rule
from ._config import ACTS, Key, read, require, write
from ._shared import prenorm_block, prenorm_rules

_KEYS = {
    "dim": Key("hidden_size", 128),
    "depth": Key("n_layer", 3),
    "heads": Key("n_head", 1),
    "hidden": Key("n_inner", None),
    "steps": Key("max_ep_len", 4096),
    "positions": Key("n_positions", 1024),
    "spare": Key("vocab_size", 1),
    "act": Key("activation_function", "relu", ACTS),
    "tanh": Key("action_tanh", True),
    "eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("resid_pdrop", 0.1),
    "embed_dropout": Key("embd_pdrop", 0.1),
    "attention_dropout": Key("attn_pdrop", 0.1),
    "init_std": Key("initializer_range", INIT_STD),
}


def _channels(observation: int, action: Channel, steps: int) -> dict[str, Channel]:
    """A channel for every role, with the axis that they share."""
    axes = (Axis("step", steps),)
    return {
        "condition": Channel(width=(1,), axes=axes),
        "observation": Channel(width=(observation,), axes=axes),
        "action": Channel(vocab=action.vocab, width=action.width, axes=axes),
    }


class FirstRow(Step, frozen=True):
    """Adds row 0 of a learned table to every token: the reference keeps GPT-2's positions and calls every one of them 0.

    The other rows are never read, nor is its table of `spare` ids; they are kept so that its weights can be given back.
    """

    size: int
    spare: int = 0

    def build(self, width: int, dim: int) -> nn.Module:
        return FirstRowModule(self, dim)


class FirstRowModule(nn.Module):
    def __init__(self, config: FirstRow, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(config.size, dim) * INIT_STD)
        self.register_buffer("spare", torch.randn(config.spare, dim) * INIT_STD)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return x + self.table[0]


@function_of(FirstRowModule)
def _first_row(module: FirstRowModule, by: Functions) -> Function:
    table = module.table
    return lambda x, ctx: x + table.select(0, 0)


class DecisionTransformer(Reference, frozen=True, kw_only=True):
    """A causal decoder of (condition, observation, action) per step, whose three tokens share the axis `step`.

    The action is read off the observation's token. Ids are looked up where the reference has features only; `tanh`
    bounds continuous actions to one `std` around the `mean` of their channel: a whole bounded space, where its tokenizer
    centres it; the reference's own [-1, 1] with mean 0 and std 1.
    """

    name: ClassVar[str] = "decision-transformer"
    roles: ClassVar[tuple[str, ...]] = ("condition", "observation", "action")
    source: ClassVar[str] = "arXiv 2106.01345; transformers DecisionTransformerModel"
    suits: ClassVar[tuple[str, ...]] = ("next",)
    published: ClassVar[Mapping[str, Size]] = {
        "decision-transformer-gym-hopper": Size({}, _channels(11, Channel(width=(3,)), 4096)),
        "decision-transformer-gym-walker2d": Size({}, _channels(17, Channel(width=(6,)), 4096)),
        # 64 x 7 x 7 numbers come out of the convolutions over a game's frames, which are not of this preset
        "decision-transformer-atari-breakout": Size(
            {"depth": 6, "heads": 8, "act": "gelu"}, _channels(3136, Channel(vocab=4), 4096)
        ),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 128
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 3
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 1
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    steps: Annotated[int, Meta(ge=1, description="rows of the step table")] = 4096
    positions: Annotated[int, Meta(ge=1, description="rows of the position table, of which the first is used")] = 1024
    spare: Annotated[int, Meta(ge=0, description="rows of the reference's table of ids, which nothing reads")] = 1
    act: Annotated[str, Meta(description="activation of the MLP")] = "relu"
    tanh: Annotated[bool, Meta(description="bound continuous actions to mean - std and mean + std of their channel")] = True
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.1
    embed_dropout: Annotated[float, Meta(ge=0, lt=1, description="on embedded tokens, in training")] = 0.1
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.1
    init_std: Annotated[float, Meta(ge=0, description="spread of the start values")] = INIT_STD

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        for role, channel in bound.items():
            self._check_steps(role, channel)
        norm, hidden = Norm(eps=self.eps), self.hidden or 4 * self.dim
        first = FirstRow(self.positions, self.spare)
        main = Stream(
            self.dim,
            (prenorm_block(self.heads, hidden, self.act, norm, self.dropout, self.attention_dropout),) * self.depth,
            norm,
            embed={role: embedding(channel) for role, channel in bound.items()},
            steps=(Axis("step", self.steps), Norm(), first, Dropout(self.embed_dropout)),
            heads={role: self._head(role, channel) for role, channel in bound.items()},
            attend="causal",
        )
        return Model({"main": main})

    def _check_steps(self, role: str, channel: Channel) -> None:
        """Tokens need a step, a row of the table for it, and nothing else that says where they stand."""
        more = ", ".join(a.axis for a in channel.axes if a.axis != "step")
        if more:
            raise ConfigError(
                f"decision-transformer: the channel of role {role!r} has the axes {more}, for which the reference has no tables; "
                'set model.preset = "decoder"'
            )
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
        return (Linear(channel.size), *((Act("tanh"),) if bounded else ()))

    def initial(self) -> Sequence[tuple[str, Initial]]:
        """Maps that write into the stream start smaller, by the root of their number."""
        normal, writer = Normal(self.init_std), Normal(self.init_std / math.sqrt(2 * self.depth))
        return (
            ("*.mixer.o.weight", writer),
            ("*.mixer.down.weight", writer),
            ("*.mixer.*.weight", normal),
            ("main.embed.*.weight", normal),
            ("main.heads.*.weight", normal),
            ("*.table", normal),
            ("*.bias", Constant()),
        )

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
            *rule("streams.main.steps.2.spare", "encoder.wte.weight"),
            *prenorm_rules("encoder.", self.depth),
        ]

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        return {"transformers": self.rules(bound)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        plain = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
        require(cls.name, config, model_type="decision_transformer", **plain)
        preset, action = cls(**read(cls.name, _KEYS, config)), Channel(width=(config.get("act_dim", 4),))
        return preset, _channels(config.get("state_dim", 17), action, preset.steps)

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        kinds = {"architectures": ["DecisionTransformerModel"], "model_type": "decision_transformer"}
        return {**kinds, "state_dim": bound["observation"].size, "act_dim": bound["action"].size, **write(self, _KEYS)}


def embedding(channel: Channel) -> tuple[Step, ...]:
    """Ids by a table, normalised features by one linear map."""
    return (Table(channel.vocab or 0),) if channel.width is None else (Affine(channel.mean, channel.std), Linear())
