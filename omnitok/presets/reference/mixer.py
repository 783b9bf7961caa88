"""MLP-Mixer (Tolstikhin et al. 2021, arXiv 2105.01601), as timm's MlpMixer stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from ...errors import ConfigError
from ...model import Model, Stream
from ...nn.initial import Constant, Initial, Normal, Xavier
from ...nn.mixers import MLP
from ...nn.norms import Norm
from ...nn.residual import Residual
from ...nn.steps import Affine, Linear, Pool
from ...nn.tokenmlp import TokenMLP
from ...tokenizer import Channel
from ...weights import Reference, Rule, Shape, Size, affine
from ._config import require
from ._patches import SIZES, check_patch, patch_channel, timm_fields, timm_keys

PATCHES = {"patches": patch_channel((3, 16, 16))}
CUT = 0.87962566103423978
"""spread of a normal distribution cut at two spreads"""


class MLPMixer(Reference, frozen=True, kw_only=True):
    """Patches mixed by MLPs alone, along places and along columns in turn. Defaults are Mixer-B/16 for 224 x 224 pixels.

    The head is read off the mean of a document's rows: ask all of them as one group.
    """

    name: ClassVar[str] = "mixer"
    roles: ClassVar[tuple[str, ...]] = ("patches",)
    source: ClassVar[str] = "arXiv 2105.01601; timm MlpMixer"
    suits: ClassVar[tuple[str, ...]] = ("classify", "regress")
    published: ClassVar[Mapping[str, Size]] = {
        "mixer-b16-224": Size({}, PATCHES),
        "mixer-s16-224": Size({"dim": 512, "depth": 8}, PATCHES),
        "mixer-l16-224": Size({"dim": 1024, "depth": 24}, PATCHES),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 768
    depth: Annotated[int, Meta(ge=1, description="blocks")] = 12
    tokens: Annotated[int, Meta(ge=1, description="width of the MLP along places; unset: dim / 2")] | None = None
    hidden: Annotated[int, Meta(ge=1, description="width of the MLP along columns; unset: 4 dim")] | None = None
    patch: Annotated[tuple[int, int, int], Meta(description="bands, height and width of a patch")] = (3, 16, 16)
    patches: Annotated[int, Meta(ge=1, description="patches of the longest document")] = 196
    classes: Annotated[int, Meta(ge=0, description="labels of the model's own head; 0: tasks bring theirs")] = 1000
    act: Annotated[str, Meta(description="activation of the MLPs")] = "gelu"
    eps: Annotated[float, Meta(gt=0, description="epsilon of every norm")] = 1e-6
    dropout: Annotated[float, Meta(ge=0, lt=1, description="inside and behind the MLPs, in training")] = 0.0
    drop_path: Annotated[float, Meta(ge=0, lt=1, description="share of documents that skip a branch, in training")] = 0.0

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        channel, norm = bound["patches"], Norm(eps=self.eps)
        check_patch(self.name, self.patch, channel)
        tokens = MLP(self.tokens or self.dim // 2, self.act, dropout=self.dropout)
        columns = MLP(self.hidden or 4 * self.dim, self.act, dropout=self.dropout)
        drop, path = self.dropout, self.drop_path
        block = (
            Residual("tokens", TokenMLP(self.patches, tokens), pre=norm, dropout=drop, drop_path=path),
            Residual("columns", columns, pre=norm, dropout=drop, drop_path=path),
        )
        main = Stream(
            self.dim,
            (block,) * self.depth,
            norm,
            embed={"patches": (Affine(channel.mean, channel.std), Linear())},
            heads={"class": (Pool(), Linear(self.classes))} if self.classes else {},
            attend="full",
        )
        return Model({"main": main})

    def initial(self) -> Sequence[tuple[str, Initial]]:
        fan = math.prod(self.patch)
        return (
            ("main.embed.patches.1.weight", Normal(1 / (CUT * math.sqrt(fan)), cut=2.0)),
            ("*.mixer.*.weight", Xavier()),
            ("*.mixer.*.bias", Normal(1e-6)),
            ("main.heads.class.1.*", Constant()),
        )

    def rules(self, bound: Mapping[str, Channel]) -> list[Rule]:
        ours, theirs = "streams.main.blocks.{i}.", "blocks.{i}."
        names = {
            "tokens.pre": "norm1",
            "tokens.mixer.mlp.up": "mlp_tokens.fc1",
            "tokens.mixer.mlp.down": "mlp_tokens.fc2",
            "columns.pre": "norm2",
            "columns.mixer.up": "mlp_channels.fc1",
            "columns.mixer.down": "mlp_channels.fc2",
        }
        patch = Shape((self.dim, math.prod(self.patch)), (self.dim, *self.patch))
        return [
            *affine("streams.main.embed.patches.1", "stem.proj", patch),
            *[r for a, b in names.items() for r in affine(ours + a, theirs + b, None, self.depth)],
            *affine("streams.main.norm", "norm"),
            *(affine("streams.main.heads.class.1", "head") if self.classes else []),
        ]

    def maps(self, bound: Mapping[str, Channel]) -> dict[str, list[Rule]]:
        return {"timm": self.rules(bound)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> tuple[Self, dict[str, Channel]]:
        """timm's configuration of a `mixer_<size><n>_<pixels>`."""
        require(cls.name, config.get("model_args", {}), global_pool="avg", stem_norm=False)
        preset = cls(**timm_fields(cls.name, config))
        return preset, {"patches": patch_channel(preset.patch, config)}

    def to_config(self, bound: Mapping[str, Channel]) -> dict[str, Any]:
        return timm_mixer_keys(self, bound["patches"])


def timm_mixer_keys(preset: MLPMixer, channel: Channel) -> dict[str, Any]:
    """timm's configuration. Raises ConfigError for a width, depth or patch that none of its architectures has."""
    _, p, q = preset.patch
    size = {"dim": preset.dim, "depth": preset.depth}
    name = next((n for n, fields in SIZES.items() if n.startswith("mixer") and fields == size), None)
    if name is None or p != q or p not in (16, 32):
        raise ConfigError(
            f"timm has no MLP-Mixer of dim {preset.dim}, depth {preset.depth} and patches of {p} x {q}: "
            "it has S, B and L (512, 8; 768, 12; 1024, 24) of 16 x 16 and 32 x 32"
        )
    tokens, hidden = preset.tokens or preset.dim // 2, preset.hidden or 4 * preset.dim
    return timm_keys(f"{name}{p}_224", preset, channel, {"mlp_ratio": [tokens / preset.dim, hidden / preset.dim]})
