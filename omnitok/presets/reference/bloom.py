"""BLOOM (BigScience 2022, arXiv 2211.05100), as Hugging Face's BloomForCausalLM stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...model import Model, Stream
from ...nn.alibi import Alibi
from ...nn.attention import Attention
from ...nn.initial import Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import INIT_STD, Table, Tied
from ...tokenizer import Channel
from ...weights import PerHead, Reference, Rule, Size, Tie, affine, rule
from ._config import Key, heading, read, require, tokens_of, without_prefix, write
from ._shared import vocab_of

_TOKENS = {"tokens": Channel(vocab=250880)}
_KEYS = {
    "dim": Key("hidden_size", also=("n_embed",)),
    "depth": Key("n_layer", also=("num_hidden_layers",)),
    "heads": Key("n_head", also=("num_attention_heads",)),
    "eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("hidden_dropout", 0.0),
    "attention_dropout": Key("attention_dropout", 0.0),
    "init_std": Key("initializer_range", INIT_STD),
}


class Bloom(Reference, frozen=True, kw_only=True):
    """A causal decoder: pre-norm blocks, scores that fall with distance, a norm behind the embedding. Defaults are 560M."""

    name: ClassVar[str] = "bloom"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    source: ClassVar[str] = "BigScience 2022 (arXiv 2211.05100); transformers BloomForCausalLM"
    suits: ClassVar[tuple[str, ...]] = ("next",)
    published: ClassVar[Mapping[str, Size]] = {
        "bloom-560m": Size({}, _TOKENS),
        "bloom-1b7": Size({"dim": 2048}, _TOKENS),
        "bloom-3b": Size({"dim": 2560, "depth": 30, "heads": 32}, _TOKENS),
        "bloom-7b1": Size({"dim": 4096, "depth": 30, "heads": 32}, _TOKENS),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 1024
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 24
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 16
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.0
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.0
    init_std: Annotated[float, Meta(ge=0, description="spread of the start values")] = INIT_STD

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm, drop = vocab_of(self, bound["tokens"]), Norm(eps=self.eps), self.dropout
        attention = Attention(self.heads, positions=(Alibi(),), dropout=self.attention_dropout)
        block = (
            Residual("attention", attention, pre=norm, dropout=drop),
            Residual("mlp", MLP(4 * self.dim, "gelu_tanh"), pre=norm, dropout=drop),
        )
        main = Stream(
            self.dim,
            (block,) * self.depth,
            norm,
            embed={"tokens": (Table(vocab),)},
            steps=(norm,),
            heads={"tokens": (Tied("tokens", vocab),)},
            attend="causal",
        )
        return Model({"main": main}, tie=True)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        normal = Normal(self.init_std)
        return (("*.mixer.*.weight", normal), ("*.embed.tokens.0.weight", normal))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs, depth = "streams.main.blocks.{i}.", "transformer.h.{i}.", self.depth
        fused = [
            r
            for w in ("weight", "bias")
            for r in rule(
                [f"{ours}attention.mixer.{x}.{w}" for x in "qkv"],
                f"{theirs}self_attention.query_key_value.{w}",
                PerHead(self.heads),
                depth,
            )
        ]
        names = {
            "attention.mixer.o": "self_attention.dense",
            "attention.pre": "input_layernorm",
            "mlp.pre": "post_attention_layernorm",
            "mlp.mixer.up": "mlp.dense_h_to_4h",
            "mlp.mixer.down": "mlp.dense_4h_to_h",
        }
        table = ("transformer.word_embeddings.weight", "lm_head.weight")
        return [
            *rule("streams.main.embed.tokens.0.weight", table, Tie()),
            *affine("streams.main.steps.0", "transformer.word_embeddings_layernorm"),
            *fused,
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b, None, depth)],
            *affine("streams.main.norm", "transformer.ln_f"),
        ]

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """With the head, and as the files of the published sizes are: the decoder alone, without its prefix."""
        rules = self.rules(bound)
        return {"transformers": rules, "transformers base": without_prefix(rules, "transformer.")}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        plain = {"apply_residual_connection_post_layernorm": False, "tie_word_embeddings": True}
        require(cls.name, config, model_type="bloom", **plain)
        return cls(**read(cls.name, _KEYS, config)), tokens_of(cls.name, config)

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        return {**heading("BloomForCausalLM", "bloom", bound["tokens"]), **write(self, _KEYS)}
