"""What Llama and the models after it share: pre-norm blocks with RMS norms, rotary positions, shared key-value heads
and a gated MLP, all maps without biases. A preset with another mixer in the MLP's place overrides `mixer` and
`mixer_rules`; one whose attention has more extends `attention` and `names`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Constant, Initial, Normal
from ...nn.mixers import MLP, Mixer
from ...nn.norms import Norm
from ...nn.positions import Rope
from ...nn.residual import Residual
from ...nn.rope import Stretch, StretchedRope
from ...nn.steps import Linear, Step, Table, Tied
from ...tokenizer import Channel
from ...weights import Reference, Rule, Tie, rule
from ._config import ACTS, Key, heading, read, read_rope, require, tokens_of, write, write_rope
from ._shared import vocab_of


class LlamaFamily(Reference, frozen=True, kw_only=True):
    """The base; a preset adds its name, its class and its own defaults."""

    name: ClassVar[str] = ""
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    suits: ClassVar[tuple[str, ...]] = ("next",)
    unread: ClassVar[tuple[str, ...]] = ("*.rotary_emb.inv_freq",)
    model_class: ClassVar[str] = ""
    """the class of the transformers library that is followed"""
    model_type: ClassVar[str] = ""
    keys: ClassVar[Mapping[str, Key]] = {
        "dim": Key("hidden_size"),
        "depth": Key("num_hidden_layers"),
        "heads": Key("num_attention_heads"),
        "kv_heads": Key("num_key_value_heads", None),
        "head_dim": Key("head_dim", None),
        "hidden": Key("intermediate_size"),
        "positions": Key("max_position_embeddings", 2048),
        "act": Key("hidden_act", "silu", ACTS),
        "eps": Key("rms_norm_eps", 1e-6),
        "tie": Key("tie_word_embeddings", False),
        "attention_dropout": Key("attention_dropout", 0.0),
        "init_std": Key("initializer_range", 0.02),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 4096
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 32
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 32
    kv_heads: Annotated[int, Meta(ge=1, description="heads of keys and values; unset: as many")] | None = None
    head_dim: Annotated[int, Meta(ge=2, description="width of a head; unset: dim / heads")] | None = None
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP")] = 11008
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document in training; no limit")] = 4096
    theta: Annotated[float, Meta(gt=0, description="base of the rotary wavelengths")] = 10000.0
    stretch: Stretch | None = None
    act: Annotated[str, Meta(description="activation of the MLP's gate")] = "silu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-6
    tie: Annotated[bool, Meta(description="the head is the embedding table")] = False
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.0
    init_std: Annotated[float, Meta(ge=0, description="spread of the start values")] = 0.02

    def mixer(self) -> Mixer:
        """What follows attention in a block."""
        return MLP(self.hidden, self.act, gated=True, bias=False)

    def mixer_rules(self, ours: str, theirs: str) -> list[Rule]:
        """Its weight map, for all blocks: our prefix and their block's, each with "{i}"."""
        maps = ("gate", "up", "down")
        return [r for x in maps for r in rule(f"{ours}{x}.weight", f"{theirs}mlp.{x}_proj.weight", None, self.depth)]

    def attention(self) -> Attention:
        rope = StretchedRope(theta=self.theta, stretch=self.stretch) if self.stretch else Rope(theta=self.theta)
        drop = self.attention_dropout
        return Attention(self.heads, self.kv_heads, self.head_dim, bias=False, positions=(rope,), dropout=drop)

    def norm(self) -> Norm:
        return Norm("rms", self.eps)

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm = vocab_of(self, bound["tokens"]), self.norm()
        block = (Residual("attention", self.attention(), pre=norm), Residual("mlp", self.mixer(), pre=norm))
        head: Step = Tied("tokens", vocab) if self.tie else Linear(vocab, bias=False)
        main = Stream(
            self.dim,
            (block,) * self.depth,
            norm,
            embed={"tokens": (Table(vocab),)},
            heads={"tokens": (head,)},
            attend="causal",
        )
        return Model({"main": main}, tie=self.tie)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        normal = Normal(self.init_std)
        return (
            ("*_norm.weight", Constant(1.0)),
            ("*.mixer.*weight", normal),
            ("*.embed.tokens.0.weight", normal),
            ("*.heads.tokens.0.weight", normal),
        )

    def names(self) -> dict[str, str]:
        """Our names <-> theirs of the tensors in a block that are the same, the mixer's left out."""
        maps = {f"attention.mixer.{x}.weight": f"self_attn.{x}_proj.weight" for x in "qkvo"}
        return maps | {"attention.pre.weight": "input_layernorm.weight", "mlp.pre.weight": "post_attention_layernorm.weight"}

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs = "streams.main.blocks.{i}.", "model.layers.{i}."
        table, head = "streams.main.embed.tokens.0.weight", "streams.main.heads.tokens.0.weight"
        tied = rule(table, ("model.embed_tokens.weight", "lm_head.weight"), Tie())
        apart = [*rule(table, "model.embed_tokens.weight"), *rule(head, "lm_head.weight")]
        return [
            *(tied if self.tie else apart),
            *[r for a, b in self.names().items() for r in rule(ours + a, theirs + b, None, self.depth)],
            *self.mixer_rules(ours + "mlp.mixer.", theirs),
            *rule("streams.main.norm.weight", "model.norm.weight"),
        ]

    @classmethod
    def fields_of(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that a `config.json` says; a preset with more of them extends this and `to_config`."""
        require(cls.name, config, model_type=cls.model_type)
        rope, said = read_rope(cls.name, config)
        require(cls.name, said, partial_rotary_factor=1.0)
        return {**read(cls.name, cls.keys, config), **rope}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        return cls(**cls.fields_of(config)), tokens_of(cls.name, config)

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        full = self.replace(kv_heads=self.kv_heads or self.heads, head_dim=self.head_dim or self.dim // self.heads)
        rope = write_rope(self.theta, self.stretch)
        return {**heading(self.model_class, self.model_type, bound["tokens"]), **write(full, self.keys), **rope}
