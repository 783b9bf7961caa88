"""BERT (Devlin et al. 2018, arXiv 1810.04805) with its masked head, as Hugging Face's BertForMaskedLM stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta
from torch import Tensor, nn

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import INIT_STD, Act, Axis, AxisModule, Linear, Table, Tied
from ...tokenizer import Channel
from ...weights import Reference, Rule, Tie, affine, rule
from ._shared import vocab_of


class TypeAxis(Axis, frozen=True):
    """A learned axis that is never absent: a token without it takes row 0, as BERT's token types do."""

    def build(self, width: int, dim: int) -> nn.Module:
        return TypeAxisModule(self, dim)


class TypeAxisModule(AxisModule):
    def add(self, x: Tensor, values: Tensor) -> Tensor:
        return super().add(x, values.clamp(min=0))


class BERT(Reference, frozen=True, kw_only=True):
    """A full-attention encoder: post-norm blocks, learned positions and token types. Defaults are BERT base.

    The axis `type` says which of two joined parts a token belongs to; without it every token is of the first.
    """

    name: ClassVar[str] = "bert"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document")] = 512
    types: Annotated[int, Meta(ge=1, description="rows of the token type table")] = 2
    act: Annotated[str, Meta(description="activation of the MLP and the masked head")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-12
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.1

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, norm = vocab_of(self, bound["tokens"]), Norm(eps=self.eps)
        block = (
            Residual("attention", Attention(self.heads), post=norm, dropout=self.dropout),
            Residual("mlp", MLP(self.hidden or 4 * self.dim, self.act), post=norm, dropout=self.dropout),
        )
        positions = Axis("position", self.positions, std=INIT_STD)
        main = Stream(
            self.dim,
            (block,) * self.depth,
            embed={"tokens": (Table(vocab),)},
            steps=(TypeAxis("type", self.types, std=INIT_STD), positions, norm),
            heads={"tokens/masked": (Linear(), Act(self.act), norm, Tied("tokens", vocab, bias=True))},
            attend="full",
        )
        return Model({"main": main}, tie=True)

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        embeddings, head = "bert.embeddings.", "cls.predictions."
        own_head = "streams.main.heads.tokens/masked."
        return [
            *rule(
                "streams.main.embed.tokens.0.weight",
                (embeddings + "word_embeddings.weight", head + "decoder.weight"),
                Tie(),
            ),
            *rule("streams.main.steps.0.table", embeddings + "token_type_embeddings.weight"),
            *rule("streams.main.steps.1.table", embeddings + "position_embeddings.weight"),
            *affine("streams.main.steps.2", embeddings + "LayerNorm"),
            *self._block_rules(),
            *affine(own_head + "0", head + "transform.dense"),
            *affine(own_head + "2", head + "transform.LayerNorm"),
            *rule(own_head + "3.bias", (head + "bias", head + "decoder.bias"), Tie()),
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
