"""ViT (Dosovitskiy et al. 2020, arXiv 2010.11929), as timm's VisionTransformer and transformers' ViT store it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...model import Model, Stream
from ...nn.attention import Attention
from ...nn.initial import Constant, FanIn, Initial, Normal
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import INIT_STD, Affine, Axis, Dropout, Learned, Linear
from ...tokenizer import Channel
from ...weights import Cat, Reference, Rule, Shape, Size, affine, rule
from ._config import require, write
from ._patches import KEYS, check_patch, patch_channel, pixels_of, timm_fields, timm_keys, vit_fields

PATCHES = patch_channel((3, 16, 16))


def size(**fields: Any) -> Size:
    return Size(fields, {"patches": PATCHES})


class ViT(Reference, frozen=True, kw_only=True):
    """A full-attention encoder of patches behind a class token. Defaults are ViT-B/16 for 224 x 224 pixels.

    The class token is the readout; it comes first in its document. Patches are flattened band by band, row by row,
    and normalised with the channel's mean and std. Start values are timm's.
    """

    name: ClassVar[str] = "vit"
    roles: ClassVar[tuple[str, ...]] = ("class", "patches")
    readout: ClassVar[str | None] = "class"
    source: ClassVar[str] = "arXiv 2010.11929; timm VisionTransformer, transformers ViTForImageClassification"
    suits: ClassVar[tuple[str, ...]] = ("classify", "regress")
    published: ClassVar[Mapping[str, Size]] = {
        "vit-base-patch16-224": size(),
        "vit-tiny-patch16-224": size(dim=192, heads=3),
        "vit-small-patch16-224": size(dim=384, heads=6),
        "vit-large-patch16-224": size(dim=1024, depth=24, heads=16),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    patch: Annotated[tuple[int, int, int], Meta(description="bands, height and width of a patch")] = (3, 16, 16)
    patches: Annotated[int, Meta(ge=1, description="patches of the longest document")] = 196
    classes: Annotated[int, Meta(ge=0, description="labels of the model's own head; 0: tasks bring theirs")] = 1000
    bias: Annotated[bool, Meta(description="whether queries, keys and values have biases")] = True
    act: Annotated[str, Meta(description="activation of the MLP")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm; 1e-12 in transformers' files")] = 1e-6
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on embeddings and residual branches, in training")] = 0.0
    attention_dropout: Annotated[float, Meta(ge=0, lt=1, description="on attention weights, in training")] = 0.0
    drop_path: Annotated[float, Meta(ge=0, lt=1, description="share of documents that skip the last branch, rising to it")] = 0.0

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        channel = bound["patches"]
        check_patch(self.name, self.patch, channel)
        main = Stream(
            self.dim,
            tuple(self._block(i) for i in range(self.depth)),
            Norm(eps=self.eps),
            embed={"class": (Learned(),), "patches": (Affine(channel.mean, channel.std), Linear())},
            steps=(
                Axis("position", 1 + self.patches, std=INIT_STD),
                *((Dropout(self.dropout),) if self.dropout else ()),
            ),
            heads={"class": (Linear(self.classes),)} if self.classes else {},
            attend="full",
        )
        return Model({"main": main})

    def _block(self, number: int) -> tuple[Residual, ...]:
        norm, path = Norm(eps=self.eps), self.drop_path * number / max(1, self.depth - 1)
        attention = Attention(self.heads, bias=self.bias, out_bias=True, dropout=self.attention_dropout)
        return (
            Residual("attention", attention, pre=norm, dropout=self.dropout, drop_path=path),
            Residual("mlp", MLP(self.hidden or 4 * self.dim, self.act), pre=norm, dropout=self.dropout, drop_path=path),
        )

    def initial(self) -> Sequence[tuple[str, Initial]]:
        return (
            ("main.embed.class.0.vector", Normal(1e-6)),
            ("main.embed.patches.1.*", FanIn()),
            ("main.steps.0.table", Normal(INIT_STD)),
            ("*.pre.weight", Constant(1.0)),
            ("main.norm.weight", Constant(1.0)),
            ("*.weight", Normal(INIT_STD)),
            ("*.bias", Constant()),
        )

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        """timm's; transformers' files as they are published; transformers' module names since its version 5."""
        return {"timm": self._timm(), "transformers": self._files(), "transformers modules": self._modules()}

    def _timm(self) -> list[Rule]:
        ours, theirs = "streams.main.blocks.{i}.", "blocks.{i}."
        names = {
            "attention.pre": "norm1",
            "attention.mixer.o": "attn.proj",
            "mlp.pre": "norm2",
            "mlp.mixer.up": "mlp.fc1",
            "mlp.mixer.down": "mlp.fc2",
        }
        qkv = {w: [f"{ours}attention.mixer.{x}.{w}" for x in "qkv"] for w in self._parts()}
        return [
            *self._outside("cls_token", "pos_embed", "patch_embed.proj", "norm", "head"),
            *[r for w, keys in qkv.items() for r in rule(keys, f"{theirs}attn.qkv.{w}", Cat(), self.depth)],
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b, None, self.depth)],
        ]

    def _files(self) -> list[Rule]:
        return self._transformers(
            "encoder.layer.{i}.",
            {x: f"attention.attention.{y}" for x, y in zip("qkv", ("query", "key", "value"), strict=True)},
            {
                "attention.mixer.o": "attention.output.dense",
                "mlp.mixer.up": "intermediate.dense",
                "mlp.mixer.down": "output.dense",
            },
        )

    def _modules(self) -> list[Rule]:
        return self._transformers(
            "layers.{i}.",
            {x: f"attention.{x}_proj" for x in "qkv"},
            {"attention.mixer.o": "attention.o_proj", "mlp.mixer.up": "mlp.fc1", "mlp.mixer.down": "mlp.fc2"},
        )

    def _transformers(self, layer: str, qkv: Mapping[str, str], names: Mapping[str, str]) -> list[Rule]:
        vit = "vit." if self.classes else ""  # the bare encoder's files have no prefix
        ours, theirs, inside = "streams.main.blocks.{i}.", vit + layer, vit + "embeddings."
        norms = {"attention.pre": "layernorm_before", "mlp.pre": "layernorm_after"}
        return [
            *self._outside(
                inside + "cls_token",
                inside + "position_embeddings",
                inside + "patch_embeddings.projection",
                vit + "layernorm",
                "classifier",
            ),
            *[
                r
                for x, y in qkv.items()
                for w in self._parts()
                for r in rule(f"{ours}attention.mixer.{x}.{w}", f"{theirs}{y}.{w}", None, self.depth)
            ],
            *[r for a, b in {**names, **norms}.items() for r in affine(ours + a, theirs + b, None, self.depth)],
        ]

    def _parts(self) -> tuple[str, ...]:
        return ("weight", "bias") if self.bias else ("weight",)

    def _outside(self, vector: str, table: str, patches: str, norm: str, head: str) -> list[Rule]:
        """Everything but the blocks, under these names."""
        dim, rows, width = self.dim, 1 + self.patches, math.prod(self.patch)
        return [
            *rule("streams.main.embed.class.0.vector", vector, Shape((dim,), (1, 1, dim))),
            *rule("streams.main.steps.0.table", table, Shape((rows, dim), (1, rows, dim))),
            *affine("streams.main.embed.patches.1", patches, Shape((dim, width), (dim, *self.patch))),
            *affine("streams.main.norm", norm),
            *(affine("streams.main.heads.class.0", head) if self.classes else []),
        ]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        """transformers' configuration of a ViT, or timm's of a `vit_<size>_patch<n>_<pixels>`."""
        if "architecture" in config and "model_type" not in config:
            arguments = config.get("model_args", {})
            require(cls.name, arguments, global_pool="token", class_token=True, reg_tokens=0, pre_norm=False, qk_norm=False)
            fields = timm_fields(cls.name, config)
        else:
            require(cls.name, config, model_type="vit")
            fields = vit_fields(cls.name, config)
        preset = cls(**fields)
        return preset, {"patches": patch_channel(preset.patch, config)}

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        """One file that both libraries read: transformers' keys, and beside them timm's."""
        plain = self.act == "gelu" and self.eps == 1e-6  # timm's files cannot say otherwise
        return {**vit_keys(self), **(timm_vit_keys(self, bound["patches"]) if plain else {})}


def vit_keys(preset: ViT) -> dict[str, Any]:
    """transformers' configuration from the preset."""
    bands, p, q = preset.patch
    return {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification" if preset.classes else "ViTModel"],
        **write(preset.replace(hidden=preset.hidden or 4 * preset.dim), KEYS),
        "image_size": pixels_of(preset),
        "patch_size": p if p == q else [p, q],
        "num_channels": bands,
        **({"id2label": {str(i): f"LABEL_{i}" for i in range(preset.classes)}} if preset.classes else {}),
    }


def timm_vit_keys(preset: ViT, channel: Channel) -> dict[str, Any]:
    """timm's configuration: a known architecture, and all that makes this model out of it."""
    _, p, q = preset.patch
    given = {
        "patch_size": p if p == q else [p, q],
        "embed_dim": preset.dim,
        "depth": preset.depth,
        "num_heads": preset.heads,
        "mlp_ratio": (preset.hidden or 4 * preset.dim) / preset.dim,
        "qkv_bias": preset.bias,
    }
    return timm_keys("vit_base_patch16_224", preset, channel, given)
