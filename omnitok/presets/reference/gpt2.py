"""GPT-2 (Radford et al. 2019), as Hugging Face's GPT2LMHeadModel stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...model import Model, Stream
from ...nn.initial import Initial, Normal
from ...nn.norms import Norm
from ...nn.steps import INIT_STD, Axis, Dropout, Table, Tied
from ...tokenizer import Channel
from ...weights import Reference, Rule, Size, Tie, rule
from ._config import ACTS, Key, heading, read, require, tokens_of, without_prefix, write
from ._shared import prenorm_block, prenorm_rules, vocab_of

_TOKENS = {"tokens": Channel(vocab=50257)}
_KEYS = {
    "dim": Key("n_embd"),
    "depth": Key("n_layer"),
    "heads": Key("n_head"),
    "hidden": Key("n_inner", None),
    "positions": Key("n_positions", 1024),
    "act": Key("activation_function", "gelu_new", ACTS),
    "eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("resid_pdrop", 0.1),
    "embed_dropout": Key("embd_pdrop", 0.1),
    "attention_dropout": Key("attn_pdrop", 0.1),
    "init_std": Key("initializer_range", INIT_STD),
}


class GPT2(Reference, frozen=True, kw_only=True):
    """A causal decoder: pre-norm blocks, learned positions, a tied head. Defaults are GPT-2 small."""

    name: ClassVar[str] = "gpt2"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    source: ClassVar[str] = (
        "Radford et al. 2019, Language Models are Unsupervised Multitask Learners; transformers GPT2LMHeadModel"
    )
    suits: ClassVar[tuple[str, ...]] = ("next",)
    published: ClassVar[Mapping[str, Size]] = {
        "gpt2": Size({}, _TOKENS),
        "gpt2-medium": Size({"dim": 1024, "depth": 24, "heads": 16}, _TOKENS),
        "gpt2-large": Size({"dim": 1280, "depth": 36, "heads": 20}, _TOKENS),
        "gpt2-xl": Size({"dim": 1600, "depth": 48, "heads": 25}, _TOKENS),
    }
    unread: ClassVar[tuple[str, ...]] = ("*.attn.bias", "*.attn.masked_bias")
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document")] = 1024
    act: Annotated[str, Meta(description="activation of the MLP")] = "gelu_tanh"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.1
    embed_dropout: Annotated[float, Meta(ge=0, lt=1, description="on embedded tokens, in training")] = 0.1
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.1
    init_std: Annotated[float, Meta(ge=0, description="spread of the start values")] = INIT_STD

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm, hidden = vocab_of(self, bound["tokens"]), Norm(eps=self.eps), self.hidden or 4 * self.dim
        main = Stream(
            self.dim,
            (prenorm_block(self.heads, hidden, self.act, norm, self.dropout, self.attention_dropout),) * self.depth,
            norm,
            embed={"tokens": (Table(vocab),)},
            steps=(Axis("position", self.positions), Dropout(self.embed_dropout)),
            heads={"tokens": (Tied("tokens", vocab),)},
            attend="causal",
        )
        return Model({"main": main}, tie=True)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        """Maps that write into the stream start smaller, by the root of their number."""
        normal, writer = Normal(self.init_std), Normal(self.init_std / math.sqrt(2 * self.depth))
        return (
            ("*.mixer.o.weight", writer),
            ("*.mixer.down.weight", writer),
            ("*.mixer.*.weight", normal),
            ("*.embed.tokens.0.weight", normal),
            ("*.steps.0.table", normal),
        )

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        return [
            *rule("streams.main.embed.tokens.0.weight", ("transformer.wte.weight", "lm_head.weight"), Tie()),
            *rule("streams.main.steps.0.table", "transformer.wpe.weight"),
            *prenorm_rules("transformer.", self.depth),
        ]

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """With the head, and as the files of the published sizes are: the decoder alone, without its prefix."""
        rules = self.rules(bound)
        return {"transformers": rules, "transformers base": without_prefix(rules, "transformer.")}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        plain = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}
        require(cls.name, config, model_type="gpt2", add_cross_attention=False, tie_word_embeddings=True, **plain)
        return cls(**read(cls.name, _KEYS, config)), tokens_of(cls.name, config)

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        return {**heading("GPT2LMHeadModel", "gpt2", bound["tokens"]), **write(self, _KEYS)}
