"""GPT-NeoX (Black et al. 2022, arXiv 2204.06745) and Pythia (Biderman et al. 2023, arXiv 2304.01373), as Hugging Face's
GPTNeoXForCausalLM stores them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Constant, Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.parallel import Parallel
from ...nn.positions import Rope
from ...nn.residual import Residual
from ...nn.steps import INIT_STD, Dropout, Linear, Table
from ...tokenizer import Channel
from ...weights import PerHead, Reference, Rule, Size, affine, rule
from ._config import ACTS, Key, heading, read, read_rope, require, tokens_of, write, write_rope
from ._shared import vocab_of

_PYTHIA = {"tokens": Channel(vocab=50304)}
_KEYS = {
    "dim": Key("hidden_size"),
    "depth": Key("num_hidden_layers"),
    "heads": Key("num_attention_heads"),
    "hidden": Key("intermediate_size"),
    "positions": Key("max_position_embeddings", 2048),
    "act": Key("hidden_act", "gelu", ACTS),
    "eps": Key("layer_norm_eps", 1e-5),
    "parallel": Key("use_parallel_residual", True),
    "dropout": Key("hidden_dropout", 0.0),
    "attention_dropout": Key("attention_dropout", 0.0),
    "init_std": Key("initializer_range", INIT_STD),
}


class GPTNeoX(Reference, frozen=True, kw_only=True):
    """A causal decoder: attention and MLP side by side with a norm each, heads rotated in part. Defaults are Pythia 160M."""

    name: ClassVar[str] = "gpt-neox"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    source: ClassVar[str] = "Black et al. 2022 (arXiv 2204.06745); transformers GPTNeoXForCausalLM"
    suits: ClassVar[tuple[str, ...]] = ("next",)
    published: ClassVar[Mapping[str, Size]] = {
        "pythia-160m": Size({}, _PYTHIA),
        "pythia-70m": Size({"dim": 512, "depth": 6, "heads": 8, "hidden": 2048}, _PYTHIA),
        "pythia-410m": Size({"dim": 1024, "depth": 24, "heads": 16, "hidden": 4096}, _PYTHIA),
        "pythia-1.4b": Size({"dim": 2048, "depth": 24, "heads": 16, "hidden": 8192}, _PYTHIA),
        "gpt-neox-20b": Size(
            {"dim": 6144, "depth": 44, "heads": 64, "hidden": 24576, "act": "gelu_tanh"}, {"tokens": Channel(vocab=50432)}
        ),
    }
    unread: ClassVar[tuple[str, ...]] = ("*.rotary_emb.inv_freq", "*.attention.bias", "*.attention.masked_bias")
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP")] = 3072
    rotary: Annotated[float, Meta(gt=0, le=1, description="share of every head that is rotated")] = 0.25
    theta: Annotated[float, Meta(gt=0, description="base of the rotary wavelengths")] = 10000.0
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document in training; no limit")] = 2048
    parallel: Annotated[bool, Meta(description="attention and MLP read the same input; false: one after the other")] = True
    act: Annotated[str, Meta(description="activation of the MLP")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches and embedded tokens, in training")] = 0.0
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.0
    init_std: Annotated[float, Meta(ge=0, description="spread of the start values")] = INIT_STD

    def block(self, norm: Norm) -> tuple[Residual, ...]:
        rope = Rope((("position", int(self.dim // self.heads * self.rotary)),), self.theta)
        attention = Attention(self.heads, positions=(rope,), dropout=self.attention_dropout)
        branches = (
            Residual("attention", attention, pre=norm, dropout=self.dropout),
            Residual("mlp", MLP(self.hidden, self.act), pre=norm, dropout=self.dropout),
        )
        return (Residual("both", Parallel(branches)),) if self.parallel else branches

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm = vocab_of(self, bound["tokens"]), Norm(eps=self.eps)
        main = Stream(
            self.dim,
            (self.block(norm),) * self.depth,
            norm,
            embed={"tokens": (Table(vocab),)},
            steps=(Dropout(self.dropout),),
            heads={"tokens": (Linear(vocab, bias=False),)},
            attend="causal",
        )
        return Model({"main": main})

    def initial(self) -> Sequence[tuple[str, Initial]]:
        normal, one = Normal(self.init_std), Constant(1.0)
        tables = (("*.embed.tokens.0.weight", normal), ("*.heads.tokens.0.weight", normal))
        return (("*.pre.weight", one), ("*.mixer.*.weight", normal), *tables)

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        return self.maps(bound)["transformers"]

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """The head's name in files, and in models of version 5 of the library."""
        return {"transformers": self._rules("embed_out"), "transformers 5": self._rules("lm_head")}

    def _rules(self, head: str) -> list[Rule]:
        theirs, depth = "gpt_neox.layers.{i}.", self.depth
        ours = "streams.main.blocks.{i}." + ("both.mixer." if self.parallel else "")
        names = {
            "attention.mixer.o": "attention.dense",
            "attention.pre": "input_layernorm",
            "mlp.pre": "post_attention_layernorm",
            "mlp.mixer.up": "mlp.dense_h_to_4h",
            "mlp.mixer.down": "mlp.dense_4h_to_h",
        }
        fused = {w: [f"{ours}attention.mixer.{x}.{w}" for x in "qkv"] for w in ("weight", "bias")}
        qkv, op = theirs + "attention.query_key_value.", PerHead(self.heads)
        return [
            *rule("streams.main.embed.tokens.0.weight", "gpt_neox.embed_in.weight"),
            *[r for w, keys in fused.items() for r in rule(keys, qkv + w, op, depth)],
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b, None, depth)],
            *affine("streams.main.norm", "gpt_neox.final_layer_norm"),
            *rule("streams.main.heads.tokens.0.weight", f"{head}.weight"),
        ]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        require(cls.name, config, model_type="gpt_neox", attention_bias=True, tie_word_embeddings=False)
        rope, said = read_rope(cls.name, config, config.get("rotary_emb_base", 10000.0))
        require(cls.name, said, rope_type="default")
        fields = {**read(cls.name, _KEYS, config), "theta": rope["theta"]}
        rotary = said.get("partial_rotary_factor", config.get("rotary_pct", 0.25))
        return cls(**fields, rotary=rotary), tokens_of(cls.name, config)

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        rope = write_rope(self.theta, None, partial_rotary_factor=self.rotary)
        old = {"rotary_pct": self.rotary, "rotary_emb_base": self.theta, "tie_word_embeddings": False}
        return {**heading("GPTNeoXForCausalLM", "gpt_neox", bound["tokens"]), **write(self, _KEYS), **rope, **old}
