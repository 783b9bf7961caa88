"""Marian (Junczys-Dowmunt et al. 2018, arXiv 1804.00344), the translators of OPUS-MT, as Hugging Face's MarianMTModel
stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.steps import Axis, AxisModule, Dropout, Lookup, Step, Table, Tied, look_up
from ...tokenizer import Channel
from ...weights import Fixed, Reference, Rule, Shape, Size, Tie, affine, rule
from ._config import ACTS, Key, read, require, write
from ._encdec import encdec_block, start_and_end, start_and_end_settings
from ._shared import vocab_of

KEYS: Mapping[str, Key] = {
    "dim": Key("d_model", 1024),
    "depth": Key("encoder_layers", 12),
    "decoder_depth": Key("decoder_layers", 12),
    "heads": Key("encoder_attention_heads", 16),
    "hidden": Key("encoder_ffn_dim", 4096),
    "positions": Key("max_position_embeddings", 1024),
    "act": Key("activation_function", "gelu", ACTS),
    "scaled": Key("scale_embedding", False),
    "dropout": Key("dropout", 0.1),
    "attention_dropout": Key("attention_dropout", 0.0),
    "mlp_dropout": Key("activation_dropout", 0.0),
    "std": Key("init_std", 0.02),
}
"""our fields -> their settings, with the library's defaults"""


def sinusoids(positions: int, dim: int) -> Tensor:
    """[positions, dim] sines, then cosines, in the library's own arithmetic, so that its stored tables come out bit by bit."""
    angle = np.arange(positions)[:, None] / np.power(10000, 2 * (np.arange(dim) // 2) / dim)
    return torch.cat([torch.FloatTensor(np.sin(angle[:, 0::2])), torch.FloatTensor(np.cos(angle[:, 1::2]))], 1)


class Sinusoids(Axis, frozen=True):
    """Sinusoids from a table of `size` rows; a document may not be longer."""

    def build(self, width: int, dim: int) -> nn.Module:
        return SinusoidsModule(self, dim)


class SinusoidsModule(AxisModule):
    rows: Tensor

    def __init__(self, config: Axis, dim: int) -> None:
        super().__init__(config, dim)
        self.register_buffer("rows", sinusoids(config.size, dim), persistent=False)

    def add(self, x: Tensor, values: Tensor) -> Tensor:
        return x + look_up(values, self.rows, 1.0).to(x)


class Marian(Reference, frozen=True, kw_only=True):
    """An encoder and a decoder that share one table of ids with the head: post-norm blocks, sinusoids. Defaults are
    OPUS-MT's."""

    name: ClassVar[str] = "marian"
    roles: ClassVar[tuple[str, ...]] = ("tokens",)
    source: ClassVar[str] = "Junczys-Dowmunt et al. 2018 (arXiv 1804.00344); transformers MarianMTModel"
    suits: ClassVar[tuple[str, ...]] = ("seq2seq",)
    published: ClassVar[Mapping[str, Size]] = {
        "opus-mt": Size({}, {"tokens": Channel(vocab=58101, start=58100, end=0)}),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the streams")] = 512
    depth: Annotated[int, Meta(ge=1, description="blocks of the encoder")] = 6
    decoder_depth: Annotated[int, Meta(ge=1, description="blocks of the decoder; unset: depth")] | None = None
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 8
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest sequence")] = 512
    act: Annotated[str, Meta(description="activation of the MLP")] = "silu"
    scaled: Annotated[bool, Meta(description="whether embeddings are multiplied by the square root of dim")] = True
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on embeddings and residual branches, in training")] = 0.1
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.0
    mlp_dropout: Annotated[float, Meta(ge=0, lt=1, description="inside the MLP, in training")] = 0.0
    std: Annotated[float, Meta(gt=0, description="spread of the start values")] = 0.02

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        vocab, scale = vocab_of(self, bound["tokens"]), self.dim**0.5 if self.scaled else 1.0
        encoder = self._stream(Table(vocab, scale), self.depth, False).replace(attend="full")
        decoder = self._stream(Lookup("tokens", scale), self.decoder_depth or self.depth, True)
        heads: dict[str, tuple[Step, ...]] = {"tokens": (Tied("tokens", vocab, bias=True),)}
        decoder = decoder.replace(attend="causal", memory="encoder", heads=heads)
        return Model({"encoder": encoder, "decoder": decoder}, tie=True)

    def _stream(self, embed: Step, depth: int, cross: bool) -> Stream:
        attention = Attention(self.heads, dropout=self.attention_dropout)
        mlp = MLP(self.hidden or 4 * self.dim, self.act, dropout=self.mlp_dropout)
        block = encdec_block(attention, mlp, Norm(), False, cross, self.dropout)
        steps = (Sinusoids("position", self.positions, "sinusoid"), Dropout(self.dropout))
        return Stream(self.dim, (block,) * depth, embed={"tokens": (embed,)}, steps=steps)

    def initial(self) -> Sequence[tuple[str, Initial]]:
        start = Normal(self.std)
        return (("encoder.embed.tokens.0.weight", start), ("*.mixer.*.weight", start))

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        vocab = vocab_of(self, bound["tokens"])
        tables = ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
        return [
            *rule("streams.encoder.embed.tokens.0.weight", [f"{t}.weight" for t in tables], Tie(4)),
            *rule("streams.decoder.heads.tokens.0.bias", "final_logits_bias", Shape((vocab,), (1, vocab))),
            *self._stream_rules("encoder", self.depth),
            *self._stream_rules("decoder", self.decoder_depth or self.depth),
        ]

    def _stream_rules(self, stream: str, depth: int) -> list[Rule]:
        ours, theirs = f"streams.{stream}.blocks.{{i}}.", f"model.{stream}.layers.{{i}}."
        kinds = {"attention": "self_attn"} | ({"cross": "encoder_attn"} if stream == "decoder" else {})
        names = {"mlp.mixer.up": "fc1", "mlp.mixer.down": "fc2", "mlp.post": "final_layer_norm"}
        for a, b in kinds.items():
            names |= {f"{a}.mixer.{x}": f"{b}.{x}_proj" for x in "qkv"}
            names |= {f"{a}.mixer.o": f"{b}.out_proj", f"{a}.post": f"{b}_layer_norm"}
        table = Fixed(lambda: sinusoids(self.positions, self.dim))
        return [
            *rule((), f"model.{stream}.embed_positions.weight", table),
            *(r for a, b in names.items() for r in affine(ours + a, theirs + b, None, depth)),
        ]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        fields, vocab = read(cls.name, KEYS, config), config.get("vocab_size", 58101)
        require(
            cls.name,
            config,
            is_encoder_decoder=True,
            share_encoder_decoder_embeddings=True,
            tie_word_embeddings=True,
            decoder_vocab_size=vocab,
            decoder_attention_heads=fields["heads"],
            decoder_ffn_dim=fields["hidden"],
            encoder_layerdrop=0,
            decoder_layerdrop=0,
        )
        usual = {"decoder_depth": fields["depth"], "hidden": 4 * fields["dim"]}
        fields |= {name: None for name, value in usual.items() if fields[name] == value}
        return cls(**fields), {"tokens": Channel(vocab=vocab, **start_and_end(config, 58100, 0))}

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        channel, hidden = bound["tokens"], self.hidden or 4 * self.dim
        vocab = vocab_of(self, channel)
        full = self.replace(decoder_depth=self.decoder_depth or self.depth, hidden=hidden)
        return {
            "architectures": ["MarianMTModel"],
            "model_type": "marian",
            **write(full, KEYS),
            "decoder_attention_heads": self.heads,
            "decoder_ffn_dim": hidden,
            "vocab_size": vocab,
            "decoder_vocab_size": vocab,
            **start_and_end_settings(self.name, channel),
        }
