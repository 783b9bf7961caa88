"""What models of patches share: the check of their channel, and the published configurations that describe them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

from ...errors import ConfigError
from ...tokenizer import Channel
from ._config import ACTS, Key, read

SIZES = {
    "vit_tiny": {"dim": 192, "depth": 12, "heads": 3},
    "vit_small": {"dim": 384, "depth": 12, "heads": 6},
    "vit_base": {"dim": 768, "depth": 12, "heads": 12},
    "vit_large": {"dim": 1024, "depth": 24, "heads": 16},
    "mixer_s": {"dim": 512, "depth": 8},
    "mixer_b": {"dim": 768, "depth": 12},
    "mixer_l": {"dim": 1024, "depth": 24},
}
"""timm's words for sizes"""
KEYS = {
    "dim": Key("hidden_size", 768),
    "depth": Key("num_hidden_layers", 12),
    "heads": Key("num_attention_heads", 12),
    "hidden": Key("intermediate_size", 3072),
    "bias": Key("qkv_bias", True),
    "act": Key("hidden_act", "gelu", ACTS),
    "eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("hidden_dropout_prob", 0.0),
    "attention_dropout": Key("attention_probs_dropout_prob", 0.0),
}
"""a ViT's fields in transformers' configuration"""
NAME = re.compile(r"(vit_(?:tiny|small|base|large)|mixer_[sbl])(?:_patch)?(\d+)_(\d+)")
ARGUMENTS = {"embed_dim": "dim", "depth": "depth", "num_blocks": "depth", "num_heads": "heads", "qkv_bias": "bias"}


class Patched(Protocol):
    """What these configurations need to know of a preset."""

    @property
    def patch(self) -> tuple[int, int, int]: ...

    @property
    def patches(self) -> int: ...

    @property
    def classes(self) -> int: ...


def check_patch(preset: str, patch: tuple[int, int, int], channel: Channel) -> None:
    """ConfigError where a channel's tokens are not patches of that shape."""
    if channel.size != math.prod(patch):
        shape = " x ".join(map(str, patch))
        raise ConfigError(f"{preset}: a patch of {shape} has {math.prod(patch)} numbers, the channel's have {channel.size}")


def patch_channel(patch: tuple[int, int, int], config: Mapping[str, Any] | None = None) -> Channel:
    """Patches of 8-bit pixels; the mean and deviation are those of timm's configuration, or one half."""
    stated = (config or {}).get("pretrained_cfg", {})
    area = patch[1] * patch[2]

    def numbers(key: str) -> float | tuple[float, ...]:
        bands = stated.get(key, [0.5] * patch[0])
        return 255 * bands[0] if len(set(bands)) == 1 else tuple(255 * x for x in bands for _ in range(area))

    return Channel(width=(math.prod(patch),), mean=numbers("mean"), std=numbers("std"), attend="full")


def pair(value: Any) -> tuple[int, int]:
    """Height and width, from one number or two."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def vit_fields(preset: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's fields from transformers' configuration."""
    (height, width), (p, q) = pair(config.get("image_size", 224)), pair(config.get("patch_size", 16))
    classifies = any("Classification" in name for name in config.get("architectures") or ["Classification"])
    classes = len(config.get("id2label") or ()) or config.get("num_labels", 2)
    return {
        **read(preset, KEYS, config),
        "patch": (config.get("num_channels", 3), p, q),
        "patches": (height // p) * (width // q),
        "classes": classes if classifies else 0,
    }


def timm_fields(preset: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's fields from timm's configuration: its architecture's name, and the arguments that overrule it."""
    name = config.get("architecture", "")
    found = NAME.match(name)
    if found is None or not name.startswith(preset):
        raise ConfigError(f"preset {preset!r} knows no timm architecture {name!r}; it reads {preset}_<size>, patches and pixels")
    given, stated = config.get("model_args", {}), config.get("pretrained_cfg", {})
    p, q = pair(given.get("patch_size", int(found[2])))
    bands, *pixels = stated.get("input_size", (3, int(found[3]), int(found[3])))
    height, width = pair(given.get("img_size", pixels))
    fields: dict[str, Any] = {
        **SIZES[found[1]],
        **{ours: given[theirs] for theirs, ours in ARGUMENTS.items() if theirs in given},
        "patch": (given.get("in_chans", bands), p, q),
        "patches": (height // p) * (width // q),
        "classes": config.get("num_classes", 1000),
    }
    ratio = given.get("mlp_ratio")
    if preset == "vit" and ratio is not None:
        fields["hidden"] = int(ratio * fields["dim"])
    elif ratio is not None:
        fields["tokens"], fields["hidden"] = (int(r * fields["dim"]) for r in ratio)
    return fields


def timm_keys(architecture: str, preset: Patched, channel: Channel, given: Mapping[str, Any]) -> dict[str, Any]:
    """timm's configuration of an architecture with these arguments."""
    bands, pixels = preset.patch[0], pixels_of(preset)
    return {
        "architecture": architecture,
        "num_classes": preset.classes,
        "model_args": {"img_size": pixels, "in_chans": bands, **given},
        "pretrained_cfg": {
            "input_size": [bands, *pair(pixels)],
            "num_classes": preset.classes,
            "mean": _bands(channel.mean, bands),
            "std": _bands(channel.std, bands),
        },
    }


def _bands(numbers: float | tuple[float, ...], bands: int) -> list[float]:
    """One number per band, of pixels in [0, 1]."""
    given = [numbers] * bands if isinstance(numbers, float | int) else list(numbers[:: len(numbers) // bands])
    return [x / 255 for x in given]


def pixels_of(preset: Patched) -> int | list[int]:
    """Height and width of the pictures that have that many patches. Raises ConfigError where they are not square grids."""
    side = math.isqrt(preset.patches)
    if side * side != preset.patches:
        raise ConfigError(f"a published configuration needs a square grid of patches; {preset.patches} do not form one")
    height, width = side * preset.patch[1], side * preset.patch[2]
    return height if height == width else [height, width]
