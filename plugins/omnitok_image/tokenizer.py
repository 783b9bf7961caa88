"""Pictures as patches: uint8 until the projection, and the exact pixels back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from msgspec import Meta

from omnitok.errors import ConfigError, InputError
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .patches import Patches, patch_channel
from .pictures import check_size, looks_like_picture, plain, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image

BANDS = {"L": 1, "RGB": 3, "RGBA": 4}
RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic")  # in the order of the numbers in published files


class ImageTokenizer(Tokenizer, frozen=True):
    """A PIL image, or a uint8 or uint16 array [height, width] or [height, width, 1 to 4], as square patches.

    Tokens run row by row; features are [n, bands * patch_size**2] uint8, flattened "(c p q)" as in a ViT's
    convolution. What is given back is the picture in `mode`, pixel by pixel; where it was resized, the resized one.

    Rules: the picture is turned as its EXIF block says; 16 bits become the upper 8; grey, palette, bilevel and CMYK
    are converted to `mode` without a colour profile; transparency is laid over white unless `mode` is RGBA; of an
    animation or a file of several pages the first is taken; a side that no patch divides is padded with zeros.
    """

    name: ClassVar[str] = "image"
    round_trip: ClassVar[RoundTrip] = Exact()

    patch_size: Annotated[int, Meta(description="side of a patch in pixels", ge=1, le=1024)] = 16
    mode: Annotated[Literal["RGB", "L", "RGBA"], Meta(description="what every picture is converted to")] = "RGB"
    size: Annotated[tuple[int, int] | None, Meta(description="(height, width) to resize to; unset: as it is")] = None
    aspect: Annotated[
        Literal["stretch", "crop"],
        Meta(description="with a size: stretched to it, or scaled until it covers it and the centre cut out"),
    ] = "stretch"
    uneven: Annotated[
        Literal["pad", "resize"],
        Meta(description="sides that no patch divides: padded (decode cuts it off) or resized to the nearest multiple"),
    ] = "pad"
    resample: Annotated[Literal["nearest", "lanczos", "bilinear", "bicubic"], Meta(description="filter for resizing")] = (
        "bilinear"
    )
    mean: Annotated[float | tuple[float, ...], Meta(description="subtracted when embedding: one number, or one per band")] = 127.5
    std: Annotated[float | tuple[float, ...], Meta(description="divided by when embedding: one number, or one per band")] = 127.5
    grid: Annotated[
        int, Meta(description="rows of the learned tables of the axes h and w; patches further out share the last", ge=1)
    ] = 64
    max_pixels: Annotated[int, Meta(description="larger pictures are refused, from the header", ge=1, le=89_000_000)] = 40_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and min(self.size) < 1:
            raise ConfigError(f"image tokenizer, field 'size': sides must be positive, got {self.size}")
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if isinstance(numbers, tuple) and len(numbers) != BANDS[self.mode]:
                raise ConfigError(
                    f"image tokenizer, field {name!r}: mode {self.mode} has {BANDS[self.mode]} bands, got {len(numbers)} numbers"
                )
        if 0 in (self.std if isinstance(self.std, tuple) else (self.std,)):
            raise ConfigError("image tokenizer, field 'std': must not be 0")

    def channels(self) -> dict[str, Channel]:
        return {self.channel(): patch_channel(self.patch_size, BANDS[self.mode], self.mean, self.std, self.grid)}

    def encode(self, raw: Any) -> TokenSequence:
        image = self.picture(raw)
        patches = self._patches(image.height, image.width)
        features = patches.cut(torch.from_numpy(np.array(image)).view(image.height, image.width, BANDS[self.mode]))
        meta = {"size": [image.height, image.width]}
        return TokenSequence((Span(self.channel(), features=features, axes=patches.axes(), meta=meta),))

    def decode(self, tokens: TokenSequence) -> Image:
        """A PIL image in `mode`: the pixels that were tokenized."""
        from PIL import Image

        spans = self.whole(tokens)
        if "" not in spans:
            raise InputError(f"nothing to decode: no tokens of {self.channel()!r}")
        features, (height, width) = spans[""].features, _size(spans[""].meta)
        patches = self._patches(height, width)
        shape = (len(patches), patches.size)
        if features is None or features.shape != shape:
            found = "ids" if features is None else f"features {list(features.shape)}"
            raise InputError(f"{self.channel()!r}: a {width}x{height} picture has features {list(shape)}, got {found}")
        pixels = patches.join(features).numpy()
        return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if self.mode == "L" else pixels))

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        patches = self._patches(*_size(meta))
        return (self.channel(), patches.place(k)) if k < len(patches) else None

    def count(self, raw: Any) -> int:
        from PIL import Image

        if self.size is None and isinstance(raw, Image.Image):  # turning swaps the sides, and leaves the number
            check_size(*raw.size, self.max_pixels)
            return len(self._patches(*self._target(raw.height, raw.width)))
        return len(self.encode(raw))

    def read(self, path: Path) -> Image:
        """The picture as it will be tokenized: in `mode`, upright, resized where the configuration says so."""
        path = Path(path)
        image = read_picture(path, str(path), self.max_pixels)
        try:
            return self.picture(image)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def sniff(self, path: Path, head: bytes) -> bool:
        return looks_like_picture(head)

    def picture(self, raw: Any) -> Image:
        """Any raw picture -> what `decode` will give back."""
        from PIL import Image

        image = plain(raw, self.mode, self.max_pixels)
        height, width = self._target(image.height, image.width)
        if (width, height) == image.size:
            return image
        check_size(width, height, self.max_pixels)
        filter_ = Image.Resampling[self.resample.upper()]
        if self.size is None or self.aspect == "stretch":
            return image.resize((width, height), filter_)
        scale = max(width / image.width, height / image.height)
        across, down = max(width, int(image.width * scale)), max(height, int(image.height * scale))
        check_size(across, down, self.max_pixels)
        left, top = (across - width) // 2, (down - height) // 2
        return image.resize((across, down), filter_).crop((left, top, left + width, top + height))

    def samples(self, seed: int = 0) -> Iterable[Image]:
        from PIL import Image

        rng, p = np.random.default_rng(seed), self.patch_size
        for height, width in ((1, 1), (p, p), (2 * p, 3 * p), (p + 1, 2 * p - 1), (1, 5 * p)):
            size = self._target(*(self.size or (height, width)))
            pixels = rng.integers(0, 256, (*size, BANDS[self.mode]), dtype=np.uint8)
            yield Image.fromarray(pixels[:, :, 0] if self.mode == "L" else pixels)

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        image, p = self.picture(raw), self.patch_size
        patches = self._patches(image.height, image.width)
        marks = [
            (x, y, min(p, image.width - x), min(p, image.height - y))
            for y in range(0, image.height, p)
            for x in range(0, image.width, p)
        ]
        seen = plain(image, "RGB", self.max_pixels) if self.mode == "RGBA" else image
        title = f"{image.width}x{image.height} pixels, {patches.rows}x{patches.columns} patches of {p}x{p}"
        return Picture("image", np.array(seen), marks, title)

    def save_pretrained(self, folder: Path) -> None:
        """Write `preprocessor_config.json`, with what that file has no key for under "omnitok"."""
        mean, std = (x if isinstance(x, tuple) else (x,) * BANDS[self.mode] for x in (self.mean, self.std))
        size = None if self.size is None else {"height": self.size[0], "width": self.size[1]}
        cut = {"do_center_crop": True, "crop_size": size} if size is not None and self.aspect == "crop" else {}
        if cut and self.size is not None and self.size[0] != self.size[1]:
            raise InputError(f"{self.channel()!r}: published files cut out squares only, not {list(self.size)}")
        published = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": size is not None,
            "do_rescale": True,
            "do_normalize": True,
            "size": {"shortest_edge": min(self.size or (224,))} if cut else size or {"height": 224, "width": 224},
            **cut,
            "resample": RESAMPLE.index(self.resample),
            "rescale_factor": 1 / 255,
            "image_mean": [x / 255 for x in mean],
            "image_std": [x / 255 for x in std],
        }
        own = {name: getattr(self, name) for name in ("patch_size", "mode", "uneven", "grid", "max_pixels")}
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "preprocessor_config.json").write_text(json.dumps(published | {"omnitok": own}, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read `preprocessor_config.json`, and the patch size from `config.json` where it stands beside it.

        A shortest edge as long as the square that is cut out of the centre is `aspect = "crop"`. Raises InputError where
        the file asks for another crop.
        """
        path = Path(folder) / "preprocessor_config.json"
        try:
            values = json.loads(path.read_text())
            return cls(**_published(values, path), **_patch_size(Path(folder)) | values.get("omnitok", {}))
        except (OSError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing."""
        height, width = self.size or (height, width)
        if self.uneven == "pad":
            return height, width
        p = self.patch_size
        return max(1, (height + p // 2) // p) * p, max(1, (width + p // 2) // p) * p

    def _patches(self, height: int, width: int) -> Patches:
        return Patches(self.patch_size, height, width, BANDS[self.mode])


def _size(meta: Mapping[str, Any]) -> tuple[int, int]:
    size = meta.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(x, int) and x > 0 for x in size):
        raise InputError(f"a picture's meta needs 'size' = [height, width] in pixels, got {size!r}")
    return size[0], size[1]


def _published(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields that a published file holds."""
    found: dict[str, Any] = {}
    scale = 1 / values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    if not values.get("do_normalize", True):
        found = {"mean": 0.0, "std": scale}
    elif "image_mean" in values:
        found = {name: tuple(x * scale for x in values[f"image_{name}"]) for name in ("mean", "std")}
        found = {name: numbers[0] if len(set(numbers)) == 1 else numbers for name, numbers in found.items()}
    if values.get("do_center_crop") and not values.get("do_resize", True):
        raise InputError(f"{path}: cuts out the centre of pictures that it does not resize; set the fields yourself")
    if values.get("do_resize", True) and "size" in values:
        found |= _resized(values, path)
        found["resample"] = RESAMPLE[values.get("resample", 2)]
    return found


def _resized(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """`size` and `aspect`. Raises InputError for a way of resizing that this tokenizer has not."""
    size, cut = values["size"], values.get("crop_size")
    if values.get("do_center_crop"):
        cut = {"height": cut, "width": cut} if isinstance(cut, int) else cut
        edge = size.get("shortest_edge") if isinstance(size, dict) else size
        if not isinstance(cut, dict) or edge != cut["height"] or edge != cut["width"]:
            raise InputError(f"{path}: resizes to {size} and cuts out {cut}; only a square of the shortest edge can be cut out")
        return {"size": (edge, edge), "aspect": "crop"}
    size = {"height": size, "width": size} if isinstance(size, int) else size
    if "height" not in size:
        raise InputError(f"{path}: resizes to {size} without a crop; this tokenizer resizes to a height and a width")
    return {"size": (size["height"], size["width"])}


def _patch_size(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    size = config.get("patch_size", config.get("vision_config", {}).get("patch_size"))
    return {} if size is None else {"patch_size": size}
