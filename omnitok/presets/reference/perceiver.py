"""Perceiver's encoder (Jaegle et al. 2021, arXiv 2103.03206 and 2107.14795), as transformers' PerceiverModel stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import torch
from msgspec import Meta

from ...batch import Document
from ...errors import ConfigError
from ...model import CONTROL, READOUT, Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Constant, Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import INIT_STD, Axis, Step, Table
from ...sequence import Span, TokenSequence
from ...tokenizer import Channel
from ...weights import Reference, Rule, Size, affine, rule
from ._config import ACTS, Key, read, require, write

KEYS = {
    "dim": Key("d_latents", 1280),
    "depth": Key("num_self_attends_per_block", 26),
    "repeats": Key("num_blocks", 1),
    "heads": Key("num_self_attention_heads", 8),
    "cross_heads": Key("num_cross_attention_heads", 8),
    "latents": Key("num_latents", 256),
    "inputs": Key("d_model", 768),
    "keys": Key("qk_channels", None),
    "values": Key("v_channels", None),
    "widening": Key("self_attention_widening_factor", 1),
    "cross_widening": Key("cross_attention_widening_factor", 1),
    "positions": Key("max_position_embeddings", 2048),
    "act": Key("hidden_act", "gelu", ACTS),
    "attention_dropout": Key("attention_probs_dropout_prob", 0.1),
}
"""fields in transformers' configuration"""


class Perceiver(Reference, frozen=True, kw_only=True):
    """Learned latents that read inputs of any length once, and then only each other. Defaults are the size for bytes.

    Inputs are one channel: ids get a table and learned positions, features the channel's own steps and axes. Latents
    are the last stream; `prepare` adds them to a document. Objectives read their mean (`read = "mean"`).
    """

    name: ClassVar[str] = "perceiver"
    roles: ClassVar[tuple[str, ...]] = ("latents", "inputs")
    readout: ClassVar[str | None] = "latents"
    source: ClassVar[str] = "arXiv 2107.14795; transformers PerceiverModel"
    suits: ClassVar[tuple[str, ...]] = ("classify", "regress")
    published: ClassVar[Mapping[str, Size]] = {
        "language-perceiver": Size({"keys": 256, "values": 1280}, {"inputs": Channel(vocab=262)}),
    }
    unread: ClassVar[tuple[str, ...]] = ("*decoder.*",)
    dim: Annotated[int, Meta(ge=1, description="width of the latents")] = 1280
    depth: Annotated[int, Meta(ge=0, description="blocks of latents among themselves")] = 26
    repeats: Annotated[int, Meta(ge=1, description="how often these blocks run, with the same weights")] = 1
    heads: Annotated[int, Meta(ge=1, description="attention heads among latents")] = 8
    cross_heads: Annotated[int, Meta(ge=1, description="attention heads from latents to inputs")] = 8
    latents: Annotated[int, Meta(ge=1, description="latents per document")] = 256
    inputs: Annotated[int, Meta(ge=1, description="width of the inputs")] = 768
    keys: Annotated[int, Meta(ge=1, description="width of all queries; unset: of what is attended to")] | None = None
    values: Annotated[int, Meta(ge=1, description="width of all values; unset: as the queries")] | None = None
    widening: Annotated[int, Meta(ge=1, description="width of the MLPs, in dims")] = 1
    cross_widening: Annotated[int, Meta(ge=1, description="width of the MLP behind the inputs, in dims")] = 1
    positions: Annotated[int, Meta(ge=1, description="ids of the longest document")] = 2048
    act: Annotated[str, Meta(description="activation of the MLPs")] = "gelu"
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.1

    def prepare(self, document: Document) -> Document:
        """The document's only stream as inputs, and latents beside it."""
        if {"inputs", "latents"} <= document.streams.keys():
            return document
        latents = TokenSequence((Span(CONTROL, torch.arange(self.latents)),))
        return document.replace(streams={"inputs": document.main, "latents": latents})

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        control = channels.get(CONTROL)
        if control is not None and (control.vocab or 0) > READOUT:
            raise ConfigError('perceiver: its latents have no readout among them; set `read = "mean"` in the objective')
        order = (0, *tuple(range(1, self.depth + 1)) * self.repeats)
        latents = Stream(
            self.dim,
            (self._read(), *(self._block(),) * self.depth),
            embed={"latents": (Table(self.latents),)},
            memory="inputs",
            attend="full",
            schedule=order if self.repeats > 1 else None,
        )
        channel = bound["inputs"]
        inputs = Stream(self.inputs, embed={"inputs": channel.steps()}, steps=self._places(channel), attend="full")
        return Model({"inputs": inputs, "latents": latents})

    def _places(self, channel: Channel) -> tuple[Step, ...]:
        if channel.vocab is not None:
            return (Axis("position", self.positions, std=INIT_STD),)
        return tuple(channel.axes)

    def _read(self) -> tuple[Residual, ...]:
        norm, keys, values = Norm(), self.keys or self.inputs, self.values or self.keys or self.inputs
        attention = Attention(
            self.cross_heads,
            head_dim=keys // self.cross_heads,
            value_dim=values // self.cross_heads,
            source="memory",
            memory_dim=self.inputs,
            memory_norm=norm,
            dropout=self.attention_dropout,
        )
        mlp = MLP(self.cross_widening * self.dim, self.act)
        return (Residual("cross", attention, pre=norm), Residual("mlp", mlp, pre=norm))

    def _block(self) -> tuple[Residual, ...]:
        norm, keys, values = Norm(), self.keys or self.dim, self.values or self.keys or self.dim
        attention = Attention(
            self.heads, head_dim=keys // self.heads, value_dim=values // self.heads, dropout=self.attention_dropout
        )
        return (Residual("attention", attention, pre=norm), Residual("mlp", MLP(self.widening * self.dim, self.act), pre=norm))

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (
            ("*.pre.weight", Constant(1.0)),
            ("*.memory_norm.weight", Constant(1.0)),
            ("*.bias", Constant()),
            ("*.weight", Normal(INIT_STD)),
            ("inputs.steps.0.table", Normal(INIT_STD)),
        )

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """transformers' names as they are published: features are read by the bare encoder, ids by one with a head."""
        bare, headed = self._rules(bound, ""), self._rules(bound, "perceiver.")
        if bound["inputs"].vocab is None:
            return {"transformers": bare, "transformers head": headed}
        return {"transformers": headed, "transformers base": bare}

    def _rules(self, bound: Mapping[str, Channel], prefix: str) -> list[Rule]:
        ours, theirs = "streams.latents.blocks.", prefix + "encoder."
        names = self._block_names("0.cross", "0.mlp", "cross_attention")
        names["0.cross.mixer.memory_norm"] = "cross_attention.attention.self.layernorm2"
        for i in range(self.depth):
            names |= self._block_names(f"{i + 1}.attention", f"{i + 1}.mlp", f"self_attends.{i}")
        return [
            *rule("streams.latents.embed.latents.0.weight", prefix + "embeddings.latents"),
            *self._input_rules(bound["inputs"], prefix + "input_preprocessor."),
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b)],
        ]

    def _block_names(self, attention: str, mlp: str, theirs: str) -> dict[str, str]:
        inside = theirs + ".attention.self."
        return {
            f"{attention}.pre": inside + "layernorm1",
            f"{attention}.mixer.q": inside + "query",
            f"{attention}.mixer.k": inside + "key",
            f"{attention}.mixer.v": inside + "value",
            f"{attention}.mixer.o": theirs + ".attention.output.dense",
            f"{mlp}.pre": theirs + ".layernorm",
            f"{mlp}.mixer.up": theirs + ".mlp.dense1",
            f"{mlp}.mixer.down": theirs + ".mlp.dense2",
        }

    def _input_rules(self, channel: Channel, theirs: str) -> list[Rule]:
        if channel.vocab is not None:
            return [
                *rule("streams.inputs.embed.inputs.0.weight", theirs + "embeddings.weight"),
                *rule("streams.inputs.steps.0.table", theirs + "position_embeddings.weight"),
            ]
        if channel.embed != () or channel.axes:
            raise ConfigError(
                "perceiver: the reference takes ids, or features as wide as its inputs just as they are "
                "(`embed = ()`, no axes); this channel has weights of its own"
            )
        return []

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        """transformers' configuration. A model with a head over ids embeds them itself; any other takes features."""
        require(cls.name, config, cross_attention_shape_for_attention="kv", use_query_residual=True)
        preset = cls(**read(cls.name, KEYS, config))
        bare = config.get("architectures") == ["PerceiverModel"]
        features = Channel(width=(preset.inputs,), embed=(), attend="full")
        return preset, {"inputs": features if bare else Channel(vocab=config.get("vocab_size", 262), attend="full")}

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        vocab = bound["inputs"].vocab
        kind = "PerceiverModel" if vocab is None else "PerceiverForMaskedLM"
        ids = {} if vocab is None else {"vocab_size": vocab}
        return {"model_type": "perceiver", "architectures": [kind], **write(self, KEYS), **ids}
