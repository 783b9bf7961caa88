"""ViT (Dosovitskiy et al. 2020, arXiv 2010.11929), as timm's VisionTransformer stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.norms import Norm
from ...nn.steps import INIT_STD, Affine, Axis, Learned, Linear
from ...tokenizer import Channel
from ...weights import Cat, Reference, Rule, Shape, affine, rule
from ._shared import prenorm_block


class ViT(Reference, frozen=True, kw_only=True):
    """A full-attention encoder of patches behind a class token. Defaults are ViT-B/16 for 224 x 224 pixels.

    The class token is the readout; it comes first in its document. Patches are flattened band by band, row by row.
    """

    name: ClassVar[str] = "vit"
    roles: ClassVar[tuple[str, ...]] = ("class", "patches")
    readout: ClassVar[str | None] = "class"
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    heads: Annotated[int, Meta(ge=1, description="attention heads")] = 12
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP; unset: 4 dim")] | None = None
    patch: Annotated[tuple[int, int, int], Meta(description="bands, height and width of a patch")] = (3, 16, 16)
    patches: Annotated[int, Meta(ge=1, description="patches of the longest document")] = 196
    classes: Annotated[int, Meta(ge=0, description="labels of the model's own head; 0: tasks bring theirs")] = 1000
    act: Annotated[str, Meta(description="activation of the MLP")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-6
    dropout: Annotated[float, Meta(ge=0, lt=1, description="on residual branches, in training")] = 0.0

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        channel, norm = bound["patches"], Norm(eps=self.eps)
        if channel.size != math.prod(self.patch):
            shape = " x ".join(map(str, self.patch))
            raise ConfigError(f"vit: a patch of {shape} has {math.prod(self.patch)} numbers, the channel's have {channel.size}")
        main = Stream(
            self.dim,
            (prenorm_block(self.heads, self.hidden or 4 * self.dim, self.act, norm, self.dropout),) * self.depth,
            norm,
            embed={"class": (Learned(),), "patches": (Affine(channel.mean, channel.std), Linear())},
            steps=(Axis("position", 1 + self.patches, std=INIT_STD),),
            heads={"class": (Linear(self.classes),)} if self.classes else {},
            attend="full",
        )
        return Model({"main": main})

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        dim, rows, width = self.dim, 1 + self.patches, math.prod(self.patch)
        ours, theirs = "streams.main.blocks.{i}.", "blocks.{i}."
        names = {
            "attention.pre": "norm1",
            "attention.mixer.o": "attn.proj",
            "mlp.pre": "norm2",
            "mlp.mixer.up": "mlp.fc1",
            "mlp.mixer.down": "mlp.fc2",
        }
        qkv = {w: [f"{ours}attention.mixer.{x}.{w}" for x in "qkv"] for w in ("weight", "bias")}
        return [
            *rule("streams.main.embed.class.0.vector", "cls_token", Shape((dim,), (1, 1, dim))),
            *rule("streams.main.steps.0.table", "pos_embed", Shape((rows, dim), (1, rows, dim))),
            *affine("streams.main.embed.patches.1", "patch_embed.proj", Shape((dim, width), (dim, *self.patch))),
            *[r for w, keys in qkv.items() for r in rule(keys, f"{theirs}attn.qkv.{w}", Cat(), self.depth)],
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b, None, self.depth)],
            *affine("streams.main.norm", "norm"),
            *(affine("streams.main.heads.class.0", "head") if self.classes else []),
        ]
