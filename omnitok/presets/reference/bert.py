"""BERT (Devlin et al. 2018, arXiv 1810.04805) with its masked head, as Hugging Face's BertForMaskedLM stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta
from torch import Tensor, nn

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Constant, Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import INIT_STD, Act, Axis, AxisModule, Dropout, Linear, Table, Tied
from ...tokenizer import Channel
from ...weights import Reference, Rule, Size, Tie, affine, rule
from ._config import ACTS, Key, heading, read, require, without_prefix, write
from ._shared import vocab_of

_TOKENS = {"tokens": Channel(vocab=30522, attend="full")}
_KEYS = {
    "dim": Key("hidden_size", 768),
    "depth": Key("num_hidden_layers", 12),
    "heads": Key("num_attention_heads", 12),
    "hidden": Key("intermediate_size", 3072),
    "positions": Key("max_position_embeddings", 512),
    "types": Key("type_vocab_size", 2),
    "act": Key("hidden_act", "gelu", ACTS),
    "eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("hidden_dropout_prob", 0.1),
    "attention_dropout": Key("attention_probs_dropout_prob", 0.1),
    "init_std": Key("initializer_range", INIT_STD),
}
_HEADED = ("BertForMaskedLM", "BertForPreTraining")
"""classes whose files hold the masked head"""


class TypeAxis(Axis, frozen=True):
    """A learned axis that is never absent: a token without it takes row 0, as BERT's token types do."""

    def build(self, width: int, dim: int) -> nn.Module:
        return TypeAxisModule(self, dim)


class TypeAxisModule(AxisModule):
    def add(self, x: Tensor, values: Tensor) -> Tensor:
        return super().add(x, values.clamp(min=0))


class BERT(Reference, frozen=True, kw_only=True):
    """A full-attention encoder: post-norm blocks, learned positions and token types. Defaults are BERT base.

    The axis `type` says which of two joined parts a token belongs to; without it every token is of the first. A file
    may hold more than this model: `leave_out` drops "bert.pooler.*" and "cls.seq_relationship.*".
    """

    name: ClassVar[str] = "bert"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    source: ClassVar[str] = "arXiv 1810.04805; transformers BertForMaskedLM"
    suits: ClassVar[tuple[str, ...]] = ("masked", "classify", "regress")
    published: ClassVar[Mapping[str, Size]] = {
        "bert-base-uncased": Size({}, _TOKENS),
        "bert-large-uncased": Size({"dim": 1024, "depth": 24, "heads": 16}, _TOKENS),
    }
    unread: ClassVar[tuple[str, ...]] = ("*embeddings.position_ids",)
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document")] = 512
    types: Annotated[int, Meta(ge=1, description="rows of the token type table")] = 2
    act: Annotated[str, Meta(description="activation of the MLP and the masked head")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-12
    masked: Annotated[bool, Meta(description="its own head for masked tokens; false where a file has none")] = True
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on embeddings and residual branches, in training")] = 0.1
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.1
    init_std: Annotated[float, Meta(ge=0, description="spread of the start values")] = INIT_STD

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm = vocab_of(self, bound["tokens"]), Norm(eps=self.eps)
        block = (
            Residual("attention", Attention(self.heads, dropout=self.attention_dropout), post=norm, dropout=self.dropout),
            Residual("mlp", MLP(self.hidden or 4 * self.dim, self.act), post=norm, dropout=self.dropout),
        )
        places = (TypeAxis("type", self.types), Axis("position", self.positions))
        head = (Linear(), Act(self.act), norm, Tied("tokens", vocab, bias=True))
        main = Stream(
            self.dim,
            (block,) * self.depth,
            embed={"tokens": (Table(vocab),)},
            steps=(*places, norm, Dropout(self.dropout)),
            heads={"tokens/masked": head} if self.masked else {},
            attend="full",
        )
        return Model({"main": main}, tie=True)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        normal, ones = Normal(self.init_std), Constant(1.0)
        return (
            ("*.post.weight", ones),
            ("main.steps.2.weight", ones),
            ("*.heads.tokens/masked.2.weight", ones),
            ("*.weight", normal),
            ("*.table", normal),
            ("*.bias", Constant()),
        )

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        embeddings = "bert.embeddings."
        words = (embeddings + "word_embeddings.weight", *(("cls.predictions.decoder.weight",) if self.masked else ()))
        return [
            *rule("streams.main.embed.tokens.0.weight", words, Tie(len(words))),
            *rule("streams.main.steps.0.table", embeddings + "token_type_embeddings.weight"),
            *rule("streams.main.steps.1.table", embeddings + "position_embeddings.weight"),
            *affine("streams.main.steps.2", embeddings + "LayerNorm"),
            *self._block_rules(),
            *(self._head_rules() if self.masked else []),
        ]

    def _head_rules(self) -> list[Rule]:
        ours, theirs = "streams.main.heads.tokens/masked.", "cls.predictions."
        return [
            *affine(ours + "0", theirs + "transform.dense"),
            *affine(ours + "2", theirs + "transform.LayerNorm"),
            *rule(ours + "3.bias", (theirs + "bias", theirs + "decoder.bias"), Tie()),
        ]

    def _block_rules(self) -> list[Rule]:
        ours, theirs = "streams.main.blocks.{i}.", "bert.encoder.layer.{i}."
        names = {
            "attention.mixer.q": "attention.self.query",
            "attention.mixer.k": "attention.self.key",
            "attention.mixer.v": "attention.self.value",
            "attention.mixer.o": "attention.output.dense",
            "attention.post": "attention.output.LayerNorm",
            "mlp.mixer.up": "intermediate.dense",
            "mlp.mixer.down": "output.dense",
            "mlp.post": "output.LayerNorm",
        }
        return [r for a, b in names.items() for r in affine(ours + a, theirs + b, None, self.depth)]

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """As in a model with a head; without one, as the encoder alone is stored, which has no prefix."""
        rules = self.rules(bound)
        if self.masked:
            return {"transformers": rules}
        return {"transformers": without_prefix(rules, "bert."), "transformers head": rules}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        """A file of a class that has no masked head gives the encoder alone."""
        require(cls.name, config, model_type="bert", is_decoder=False, add_cross_attention=False, tie_word_embeddings=True)
        require(cls.name, config, position_embedding_type="absolute")
        masked = any(name in _HEADED for name in config.get("architectures") or _HEADED)
        fields = read(cls.name, _KEYS, config)
        return cls(**fields, masked=masked), {"tokens": Channel(vocab=config.get("vocab_size", 30522), attend="full")}

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        kind, fields = "BertForMaskedLM" if self.masked else "BertModel", self.replace(hidden=self.hidden or 4 * self.dim)
        return {**heading(kind, "bert", bound["tokens"]), **write(fields, _KEYS)}
