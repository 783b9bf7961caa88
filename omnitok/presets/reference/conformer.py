"""Conformer (Gulati et al. 2020, arXiv 2005.08100), as torchaudio's Conformer and transformers' Wav2Vec2Conformer store it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from msgspec import Meta

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.conv import Conv
from ...nn.initial import Constant, FanIn, Initial, Xavier
from ...nn.mixers import MLP, Mixer
from ...nn.norms import Norm
from ...nn.positions import Position, Rope
from ...nn.relative import XL
from ...nn.residual import Residual
from ...tokenizer import Channel
from ...weights import Cat, Fixed, Reference, Rule, Shape, Size, affine, rule
from ..generic import positions_of
from ._config import ACTS, Key, read, require

BLOCK = "streams.main.blocks.{i}."
_KEYS = {
    "dim": Key("hidden_size", 768),
    "depth": Key("num_hidden_layers", 12),
    "heads": Key("num_attention_heads", 12),
    "hidden": Key("intermediate_size", 3072),
    "kernel": Key("conv_depthwise_kernel_size", 31),
    "positions": Key("position_embeddings_type", "relative", {"relative": "relative", "none": "none"}),
    "act": Key("hidden_act", "gelu", ACTS),
    "dropout": Key("hidden_dropout", 0.1),
}
"""fields in transformers' configuration"""


class Conformer(Reference, frozen=True):
    """Conformer blocks: half MLP, attention, convolution, half MLP, norm. Defaults are the paper's size S.

    Its channels bring their own embedding; features of width `dim` with `embed = ()` go in as they are. transformers'
    encoder has relative positions, no biases in its convolutions and a norm behind the last block; torchaudio's
    has no positions. Start values are torchaudio's, those of relative positions transformers'. With `decoder` blocks
    that read them and write, the streams are `encoder` and `decoder`; no library keeps those together.
    """

    name: ClassVar[str] = "conformer"
    roles: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = "arXiv 2005.08100; torchaudio Conformer, transformers Wav2Vec2ConformerEncoder"
    suits: ClassVar[tuple[str, ...]] = ("ctc", "classify", "regress", "seq2seq")
    published: ClassVar[Mapping[str, Size]] = {
        "conformer-s": Size({}, {}),
        "conformer-m": Size({"dim": 256}, {}),
        "conformer-l": Size({"dim": 512, "depth": 17, "heads": 8}, {}),
        "wav2vec2-conformer-rel-pos-large": Size(
            {"dim": 1024, "depth": 24, "heads": 16, "bias": False, "last_norm": True, "dropout": 0.1}, {}
        ),
    }
    model_types: ClassVar[tuple[str, ...]] = ("wav2vec2-conformer",)
    unread: ClassVar[tuple[str, ...]] = ("*pos_conv_embed.*",)
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 144
    depth: Annotated[int, Meta(ge=0, description="blocks")] = 16
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 4
    hidden: Annotated[int, Meta(ge=1, description="width of the MLPs; unset: 4 dim")] | None = None
    kernel: Annotated[int, Meta(ge=1, description="tokens that the convolution spans")] = 31
    norm: Annotated[
        Literal["batch", "segment", "layer"],
        Meta(description="of the convolution module; segment is group norm over one document"),
    ] = "batch"
    positions: Annotated[
        Literal["relative", "rotary", "none"], Meta(description="in attention: Transformer-XL's, a rotation, or none")
    ] = "relative"
    first: Annotated[Literal["attention", "convolution"], Meta(description="which of the two comes first")] = "attention"
    bias: Annotated[bool, Meta(description="whether the convolution module has biases")] = True
    last_norm: Annotated[bool, Meta(description="a norm behind the last block")] = False
    decoder: Annotated[int, Meta(ge=0, description="blocks of a decoder that reads them; 0: none")] = 0
    act: Annotated[str, Meta(description="activation of the MLPs and the convolution module")] = "silu"
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on branches, MLPs and attention weights, in training")] = 0.0

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        blocks = (self.block(self._positions(channels)),) * self.depth
        listen = Stream(self.dim, blocks, Norm() if self.last_norm else None, attend="full")
        if not self.decoder:
            return Model({"main": listen})
        mixers: dict[str, Mixer] = {
            "attention": Attention(self.heads, positions=(Rope(),), dropout=self.dropout),
            "cross": Attention(self.heads, source="memory", dropout=self.dropout),
            "mlp": MLP(self.hidden or 4 * self.dim),
        }
        write = tuple(Residual(name, mixer, pre=Norm(), dropout=self.dropout) for name, mixer in mixers.items())
        decoder = Stream(self.dim, (write,) * self.decoder, Norm(), memory="encoder", attend="causal")
        return Model({"encoder": listen, "decoder": decoder})

    def _positions(self, channels: Mapping[str, Channel]) -> tuple[Position, ...]:
        """What was chosen, and the bias of every kind of pair that a channel declares."""
        rotary, *pairs = positions_of(channels)
        own: dict[str, tuple[Position, ...]] = {"relative": (XL(self.dim),), "rotary": (rotary,), "none": ()}
        return (*own[self.positions], *pairs)

    def block(self, positions: tuple[Position, ...]) -> tuple[Residual, ...]:
        norm, drop = Norm(), self.dropout
        mlp = MLP(self.hidden or 4 * self.dim, self.act, dropout=drop)
        attention = Residual("attention", Attention(self.heads, positions=positions, dropout=drop), pre=norm, dropout=drop)
        conv = Residual("conv", Conv(self.kernel, Norm(self.norm), self.act, self.bias), pre=norm, dropout=drop)
        return (
            Residual("mlp1", mlp, pre=norm, scale=0.5, dropout=drop),
            *((attention, conv) if self.first == "attention" else (conv, attention)),
            Residual("mlp2", mlp, pre=norm, post=norm, scale=0.5, dropout=drop),
        )

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (
            ("*.attention.mixer.[qkv].weight", Xavier(parts=3)),
            ("*.attention.mixer.?.bias", Constant()),
            ("*.mixer.own.0.[uv]", Xavier()),
            ("*.mixer.norm.weight", Constant(1.0)),
            ("*.mixer.norm.bias", Constant()),
            ("*.mixer.*.weight", FanIn()),
            ("*.mixer.*.bias", FanIn()),
        )

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """The libraries whose module this is. Raises ConfigError where it is neither's."""
        if self.decoder:
            raise ConfigError("conformer: neither library keeps a decoder beside it; set decoder = 0 to exchange weights")
        torchaudio = self.positions == "none" and self.norm != "layer" and self.bias and not self.last_norm
        hf = self.positions != "rotary" and self.norm == "batch" and self.first == "attention" and self.last_norm
        found = {
            **({"torchaudio": self._torchaudio()} if torchaudio and self.act == "silu" else {}),
            **(self._transformers() if hf and not self.bias else {}),
        }
        if not found:
            raise ConfigError(
                'conformer: neither library has this one. torchaudio: positions = "none", norm = "batch" or "segment", '
                'bias = true, last_norm = false; transformers: positions = "relative" or "none", norm = "batch", '
                'first = "attention", bias = false, last_norm = true'
            )
        return found

    def _torchaudio(self) -> list[Rule]:
        layer = "conformer_layers.{i}."
        names = {
            "attention.pre": "self_attn_layer_norm",
            "attention.mixer.o": "self_attn.out_proj",
            "conv.pre": "conv_module.layer_norm",
            "conv.mixer.depth": "conv_module.sequential.2",
            "conv.mixer.norm": "conv_module.sequential.3",
            "mlp2.post": "final_layer_norm",
        }
        for mlp, ffn in (("mlp1", "ffn1"), ("mlp2", "ffn2")):
            names |= {f"{mlp}.pre": f"{ffn}.sequential.0"}
            names |= {f"{mlp}.mixer.up": f"{ffn}.sequential.1", f"{mlp}.mixer.down": f"{ffn}.sequential.4"}
        qkv = {w: [f"{BLOCK}attention.mixer.{x}.{w}" for x in "qkv"] for w in ("weight", "bias")}
        return [
            *[r for a, b in names.items() for r in affine(BLOCK + a, layer + b, None, self.depth)],
            *[r for w, keys in qkv.items() for r in rule(keys, f"{layer}self_attn.in_proj_{w}", Cat(), self.depth)],
            *affine(BLOCK + "conv.mixer.inp", layer + "conv_module.sequential.0", self._wide(), self.depth),
            *affine(BLOCK + "conv.mixer.out", layer + "conv_module.sequential.5", self._square(), self.depth),
            *self._statistics(layer + "conv_module.sequential.3"),
        ]

    def _transformers(self) -> dict[str, list[Rule]]:
        """The encoder alone, and inside a whole model."""
        return {"transformers": self._encoder(""), "transformers head": self._encoder("wav2vec2_conformer.encoder.")}

    def _encoder(self, prefix: str) -> list[Rule]:
        layer = prefix + "layers.{i}."
        conv = layer + "conv_module."
        names = {f"attention.mixer.{x}": f"self_attn.linear_{y}" for x, y in zip("qkvo", ("q", "k", "v", "out"), strict=True)}
        names |= {"attention.pre": "self_attn_layer_norm", "conv.pre": "conv_module.layer_norm"}
        names |= {"conv.mixer.norm": "conv_module.batch_norm", "mlp2.post": "final_layer_norm"}
        for mlp, ffn in (("mlp1", "ffn1"), ("mlp2", "ffn2")):
            names |= {f"{mlp}.pre": f"{ffn}_layer_norm"}
            names |= {f"{mlp}.mixer.up": f"{ffn}.intermediate_dense", f"{mlp}.mixer.down": f"{ffn}.output_dense"}
        return [
            *[r for a, b in names.items() for r in affine(BLOCK + a, layer + b, None, self.depth)],
            *rule(BLOCK + "conv.mixer.inp.weight", conv + "pointwise_conv1.weight", self._wide(), self.depth),
            *rule(BLOCK + "conv.mixer.depth.weight", conv + "depthwise_conv.weight", None, self.depth),
            *rule(BLOCK + "conv.mixer.out.weight", conv + "pointwise_conv2.weight", self._square(), self.depth),
            *self._statistics(conv + "batch_norm"),
            *(self._relative(layer + "self_attn.") if self.positions == "relative" else []),
            *affine("streams.main.norm", prefix + "layer_norm"),
        ]

    def _relative(self, attention: str) -> list[Rule]:
        own = BLOCK + "attention.mixer.own.0."
        return [
            *rule(own + "r.weight", attention + "linear_pos.weight", None, self.depth),
            *[r for x in "uv" for r in rule(own + x, f"{attention}pos_bias_{x}", None, self.depth)],
        ]

    def _statistics(self, norm: str) -> list[Rule]:
        """What a batch norm keeps beside its weights; its count of batches is not ours."""
        if self.norm != "batch":
            return []
        return [
            *rule(BLOCK + "conv.mixer.norm.mean", norm + ".running_mean", None, self.depth),
            *rule(BLOCK + "conv.mixer.norm.var", norm + ".running_var", None, self.depth),
            *rule((), norm + ".num_batches_tracked", Fixed(lambda: torch.tensor(0)), self.depth),
        ]

    def _wide(self) -> Shape:
        return Shape((2 * self.dim, self.dim), (2 * self.dim, self.dim, 1))

    def _square(self) -> Shape:
        return Shape((self.dim, self.dim), (self.dim, self.dim, 1))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        """The encoder of transformers' wav2vec2-conformer; what makes frames of a wave is not of this preset."""
        require(cls.name, config, layer_norm_eps=1e-5)
        config = {**config, "position_embeddings_type": config.get("position_embeddings_type", "relative") or "none"}
        return cls(**read(cls.name, _KEYS, config), bias=False, last_norm=True), {}
