"""CLIP (Radford et al. 2021, arXiv 2103.00020), as Hugging Face's CLIPModel stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from msgspec import Meta

from ...batch import Document
from ...errors import ConfigError
from ...model import CONTROL, START, Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import Affine, Axis, Learned, Linear, Pool, Table, Temperature, Unit
from ...sequence import Span, TokenSequence
from ...tokenizer import Channel
from ...weights import Reference, Rule, Shape, Size, affine, rule
from ._config import ACTS, Key, read, require, write
from ._patches import check_patch, pair, patch_channel
from ._shared import vocab_of

Side = Literal["tokens", "patches"]
SIDES: tuple[Side, Side] = ("tokens", "patches")
PIXELS = {"pretrained_cfg": {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}}
THEIRS: dict[Side, str] = {"tokens": "text_", "patches": "vision_"}
"""how the library's names of a side begin"""


def _published(patch: int, **fields: Any) -> Size:
    fields = {"patch": (3, patch, patch), "patches": (224 // patch) ** 2, **fields}
    tokens = Channel(vocab=49408, start=49406, end=49407)
    return Size(fields, {"tokens": tokens, "patches": patch_channel(fields["patch"], PIXELS)})


_LARGE = {"dim": 1024, "depth": 24, "heads": 16, "tokens_dim": 768, "tokens_heads": 12, "embedding": 768}


class CLIP(Reference, frozen=True, kw_only=True):
    """Two towers whose answers are compared: causal tokens, read at the last one, and patches behind a class token.

    A document is a pair of streams, `tokens` and `patches`; a pair gets its class token from `prepare`, and patches by
    themselves from the objective that reads one. Defaults are CLIP ViT-B/32 for 224 x 224 pixels.
    """

    name: ClassVar[str] = "clip"
    source: ClassVar[str] = "Radford et al. 2021 (arXiv 2103.00020); transformers CLIPModel"
    suits: ClassVar[tuple[str, ...]] = ("contrast",)
    roles: ClassVar[tuple[str, ...]] = ("tokens", "class", "patches")
    readout: ClassVar[str | None] = "class"
    unread: ClassVar[tuple[str, ...]] = ("*.position_ids",)
    published: ClassVar[Mapping[str, Size]] = {
        "clip-vit-base-patch32": _published(32),
        "clip-vit-base-patch16": _published(16),
        "clip-vit-large-patch14": _published(14, **_LARGE),
    }
    keys: ClassVar[Mapping[Side, Mapping[str, Key]]] = {
        "tokens": {
            "tokens_dim": Key("hidden_size", 512),
            "tokens_depth": Key("num_hidden_layers", 12),
            "tokens_heads": Key("num_attention_heads", 8),
            "tokens_hidden": Key("intermediate_size", 2048),
            "positions": Key("max_position_embeddings", 77),
        },
        "patches": {
            "dim": Key("hidden_size", 768),
            "depth": Key("num_hidden_layers", 12),
            "heads": Key("num_attention_heads", 12),
            "hidden": Key("intermediate_size", 3072),
        },
    }
    both: ClassVar[Mapping[str, Key]] = {
        "act": Key("hidden_act", "quick_gelu", ACTS),
        "eps": Key("layer_norm_eps", 1e-5),
        "attention_dropout": Key("attention_dropout", 0.0),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the patches' stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="its blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="its attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of its MLPs; unset: 4 dim")] | None = None
    patch: Annotated[tuple[int, int, int], Meta(description="bands, height and width of a patch")] = (3, 32, 32)
    patches: Annotated[int, Meta(ge=1, description="patches of the longest document")] = 49
    tokens_dim: Annotated[int, Meta(ge=1, description="width of the tokens' stream")] = 512
    tokens_depth: Annotated[int, Meta(ge=1, description="its blocks")] = 12
    tokens_heads: Annotated[int, Meta(ge=1, description="its attention heads")] = 8
    tokens_hidden: Annotated[int, Meta(ge=1, description="width of its MLPs; unset: 4 tokens_dim")] | None = None
    positions: Annotated[int, Meta(ge=1, description="tokens of the longest document")] = 77
    embedding: Annotated[int, Meta(ge=1, description="width of what is compared")] = 512
    temperature: Annotated[float, Meta(description="start of the logarithm of what the comparison is multiplied by")] = 2.6592
    act: Annotated[str, Meta(description="activation of the MLPs")] = "quick_gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-5
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.0

    def prepare(self, document: Document) -> Document:
        if not set(SIDES) <= document.streams.keys():
            return document
        start = TokenSequence((Span(CONTROL, torch.tensor([START])),))
        return document.replace(streams={**document.streams, "patches": start + document.streams["patches"]})

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        channel, norm = bound["patches"], Norm(eps=self.eps)
        check_patch(self.name, self.patch, channel)
        project = (Linear(self.embedding, bias=False), Unit())
        tokens = self._tower("tokens").replace(
            norm=norm,
            embed={"tokens": (Table(vocab_of(self, bound["tokens"])),)},
            steps=(Axis("position", self.positions),),
            heads={"contrast": (Pool("last"), *project, Temperature(self.temperature))},
            attend="causal",
        )
        patches = self._tower("patches").replace(
            embed={"class": (Learned(),), "patches": (Affine(channel.mean, channel.std), Linear(bias=False))},
            steps=(Axis("position", 1 + self.patches), norm),
            heads={"contrast": (Pool("first"), norm, *project)},
            attend="full",
        )
        return Model({"tokens": tokens, "patches": patches})

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (
            ("patches.embed.class.0.vector", Normal(self.dim**-0.5)),
            ("*.embed.*.weight", Normal(0.02)),
            ("*.steps.0.table", Normal(0.02)),
            *(pair for side in SIDES for pair in self._initial(side)),
        )

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, text, vision = "streams.tokens.", "text_model.embeddings.", "vision_model.embeddings."
        flat, grid = (self.dim, math.prod(self.patch)), (self.dim, *self.patch)
        return [
            *rule(ours + "embed.tokens.0.weight", text + "token_embedding.weight"),
            *rule(ours + "steps.0.table", text + "position_embedding.weight"),
            *affine(ours + "norm", "text_model.final_layer_norm"),
            *rule(ours + "heads.contrast.1.weight", "text_projection.weight"),
            *rule(ours + "heads.contrast.3.log", "logit_scale"),
            *rule("streams.patches.embed.class.0.vector", vision + "class_embedding"),
            *rule("streams.patches.embed.patches.1.weight", vision + "patch_embedding.weight", Shape(flat, grid)),
            *rule("streams.patches.steps.0.table", vision + "position_embedding.weight"),
            *affine("streams.patches.steps.1", "vision_model.pre_layrnorm"),
            *affine("streams.patches.heads.contrast.1", "vision_model.post_layernorm"),
            *rule("streams.patches.heads.contrast.2.weight", "visual_projection.weight"),
            *(r for side in SIDES for r in self._block_rules(side)),
        ]

    def _size(self, side: Side) -> tuple[int, int, int, int]:
        """dim, depth, heads and hidden of one tower."""
        if side == "tokens":
            return self.tokens_dim, self.tokens_depth, self.tokens_heads, self.tokens_hidden or 4 * self.tokens_dim
        return self.dim, self.depth, self.heads, self.hidden or 4 * self.dim

    def _tower(self, side: Side) -> Stream:
        dim, depth, heads, hidden = self._size(side)
        norm = Norm(eps=self.eps)
        attention = Attention(heads, dropout=self.attention_dropout)
        block = (Residual("attention", attention, pre=norm), Residual("mlp", MLP(hidden, self.act), pre=norm))
        return Stream(dim, (block,) * depth)

    def _initial(self, side: Side) -> Sequence[tuple[str, Initial]]:
        dim, depth, _, _ = self._size(side)
        deep, wide = Normal(dim**-0.5 * (2 * depth) ** -0.5), Normal(dim**-0.5)
        return (
            (f"{side}.*.mixer.[qkv].weight", deep),
            (f"{side}.*.mixer.o.weight", wide),
            (f"{side}.*.mixer.up.weight", Normal((2 * dim) ** -0.5)),
            (f"{side}.*.mixer.down.weight", deep),
            (f"{side}.heads.contrast.{1 if side == 'tokens' else 2}.weight", wide),
        )

    def _block_rules(self, side: Side) -> list[Rule]:
        ours, theirs = f"streams.{side}.blocks.{{i}}.", f"{THEIRS[side]}model.encoder.layers.{{i}}."
        names = {f"attention.mixer.{x}": f"self_attn.{x}_proj" for x in "qkv"} | {
            "attention.mixer.o": "self_attn.out_proj",
            "attention.pre": "layer_norm1",
            "mlp.mixer.up": "mlp.fc1",
            "mlp.mixer.down": "mlp.fc2",
            "mlp.pre": "layer_norm2",
        }
        return [r for a, b in names.items() for r in affine(ours + a, theirs + b, None, self._size(side)[1])]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        require(cls.name, config, model_type="clip")
        text, vision = ({**(config.get(f"{THEIRS[s]}config") or {})} for s in SIDES)
        shared = [read(cls.name, cls.both, c) for c in (text, vision)]
        if shared[0] != shared[1]:
            raise ConfigError(f"clip: both towers must have the same {', '.join(cls.both)}, not {shared[0]} and {shared[1]}")
        (height, width), (p, q) = pair(vision.get("image_size", 224)), pair(vision.get("patch_size", 32))
        patch = (vision.get("num_channels", 3), p, q)
        fields = {**read(cls.name, cls.keys["tokens"], text), **read(cls.name, cls.keys["patches"], vision), **shared[0]}
        fields |= {"patch": patch, "patches": (height // p) * (width // q), "embedding": config.get("projection_dim", 512)}
        vocab, end = text.get("vocab_size", 49408), text.get("eos_token_id", 49407)
        end = vocab - 1 if end == 2 else end  # old configurations say 2 and mean the highest id
        tokens = Channel(vocab=vocab, start=text.get("bos_token_id", 49406), end=end)
        bound = {"tokens": tokens, "patches": patch_channel(patch, PIXELS)}
        return cls(**fields, temperature=config.get("logit_scale_init_value", 2.6592)), bound

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        whole = self.replace(hidden=self._size("patches")[3], tokens_hidden=self._size("tokens")[3])
        both, side = write(self, self.both), math.isqrt(self.patches)
        bands, p, q = self.patch
        if side**2 != self.patches:
            raise ConfigError(f"clip: {self.patches} patches are no square, and config.json describes square pictures")
        tokens = bound["tokens"]
        ids = {"vocab_size": tokens.vocab, "bos_token_id": tokens.start, "eos_token_id": tokens.end}
        pixels = {"num_channels": bands, "image_size": side * p, "patch_size": p if p == q else [p, q]}
        return {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": self.embedding,
            "logit_scale_init_value": self.temperature,
            "text_config": {**write(whole, self.keys["tokens"]), **both, **ids, "projection_dim": self.embedding},
            "vision_config": {**write(whole, self.keys["patches"]), **both, **pixels, "projection_dim": self.embedding},
        }
