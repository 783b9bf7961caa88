"""Videos as tubelets: uint8 until the projection, and the exact frames and durations back.

Shape letters: T frames, f frames of a tubelet, H height, W width, C colours, P patches of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from msgspec import Meta
from omnitok_image.patches import Patches, patch_channel
from omnitok_image.tokenizer import BANDS, ImageTokenizer

from omnitok.errors import ConfigError, InputError
from omnitok.files import read_bytes
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .clip import Video, at_rate, spread
from .containers import kind_of, survey
from .files import Limits, read_video

SHOWN = 8
"""Frames in a row of the drawing."""

Numbers = float | tuple[float, ...]


class VideoTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A `Video` as tubelets of `tubelet` frames x `patch_size` x `patch_size` pixels (ViViT, arXiv 2103.15691).

    Tokens run tubelet by tubelet, row by row; features are [n, colours * tubelet * patch_size**2] uint8, flattened
    "(c f p q)" as in the Conv3d of ViViT and VideoMAE. A side or an end that no tubelet divides is padded with zeros.
    What is given back are the frames in `mode`, their durations and the loop count; where frames were resized or chosen
    (`size`, `frames`, `fps`), what was kept. `read` chooses too, so what it gives is what comes back.
    """

    name: ClassVar[str] = "video"
    round_trip: ClassVar[RoundTrip] = Exact()
    suffixes: ClassVar[tuple[str, ...]] = (".gif", ".webp", ".png", ".apng", ".mp4", ".m4v", ".mov", ".webm", ".mkv")

    tubelet: Annotated[int, Meta(description="frames of a tubelet", ge=1, le=64)] = 2
    patch_size: Annotated[int, Meta(description="side of a patch in pixels", ge=1, le=1024)] = 16
    mode: Annotated[Literal["RGB", "L", "RGBA"], Meta(description="what every frame is converted to")] = "RGB"
    size: Annotated[tuple[int, int] | None, Meta(description="(height, width) to resize to, lossy; unset: as it is")] = None
    aspect: Annotated[
        Literal["stretch", "crop"],
        Meta(description="with a size: stretched to it, or scaled until it covers it and the centre cut out"),
    ] = "stretch"
    frames: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="at most this many frames, evenly spaced, lossy; unset: all")
    ] = None
    fps: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="frames per second to bring it to, lossy; unset: as it is")
    ] = None
    mean: Annotated[Numbers, Meta(description="subtracted when embedding: one number, or one per colour")] = 127.5
    std: Annotated[Numbers, Meta(description="divided by when embedding: one number, or one per colour")] = 127.5
    times: Annotated[int, Meta(ge=1, description="rows of the learned table of the axis t; later tubelets share the last")] = 64
    grid: Annotated[
        int, Meta(ge=1, description="rows of the learned tables of the axes h and w; patches further out share the last")
    ] = 64
    max_frames: Annotated[int, Meta(ge=1, description="longer videos are refused, from the header")] = 1024
    max_pixels: Annotated[int, Meta(ge=1, description="most pixels of all frames together, from the header")] = 100_000_000
    max_seconds: Annotated[float, Meta(gt=0, description="videos that play longer are refused, from the header")] = 600.0
    max_bytes: Annotated[int, Meta(ge=1, description="larger files are refused")] = 1 << 28

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames is not None and self.fps is not None:
            raise ConfigError("tokenizer 'video': set 'frames' (evenly spaced) or 'fps' (a constant rate), not both")
        try:
            self._image()
        except ConfigError as error:
            raise ConfigError(str(error).replace("image tokenizer", "tokenizer 'video'")) from None

    def _image(self) -> ImageTokenizer:
        """What brings one frame to its mode and size."""
        most = min(self.max_pixels, 89_000_000)
        return ImageTokenizer(
            patch_size=self.patch_size, mode=self.mode, size=self.size, aspect=self.aspect, mean=self.mean, std=self.std,
            max_pixels=most,
        )  # fmt: skip

    @property
    def _limits(self) -> Limits:
        return Limits(self.max_frames, self.max_pixels, self.max_seconds, self.max_bytes)

    def channels(self) -> dict[str, Channel]:
        mean, std = (
            tuple(x for x in numbers for _ in range(self.tubelet)) if isinstance(numbers, tuple) else numbers
            for numbers in (self.mean, self.std)
        )
        before, colours = (Axis("t", self.times),), BANDS[self.mode] * self.tubelet
        return {self.channel(): patch_channel(self.patch_size, colours, mean, std, self.grid, before)}

    def encode(self, raw: Any) -> TokenSequence:
        video = self.kept(raw)
        count, height, width, *_ = video.frames.shape
        pixels_THWC = torch.from_numpy(video.frames).view(count, height, width, BANDS[self.mode])
        tubes, patches = self._tubes(count), self._patches(height, width)
        pixels_THWC = F.pad(pixels_THWC, (0, 0, 0, 0, 0, 0, 0, tubes * self.tubelet - count))
        stacked = rearrange(pixels_THWC, "(t f) h w c -> t h w (c f)", f=self.tubelet)
        features = rearrange(patches.cut(stacked), "t n k -> (t n) k").contiguous()
        axes = {"t": torch.arange(tubes).repeat_interleave(len(patches)), **patches.axes(tubes)}
        meta = {"size": [count, height, width], "durations": list(video.durations), "loop": video.loop}
        return TokenSequence((Span(self.channel(), features=features, axes=axes, meta=meta),))

    def decode(self, tokens: TokenSequence) -> Video:
        """The frames in `mode`: [t, height, width] for L, [t, height, width, colours] for the others."""
        spans = self.whole(tokens)
        if "" not in spans:
            raise InputError(f"nothing to decode: no tokens of {self.channel()!r}")
        features, meta = spans[""].features, spans[""].meta
        count, height, width = _size(meta)
        tubes, patches = self._tubes(count), self._patches(height, width)
        shape = (tubes * len(patches), patches.size)
        if features is None or features.shape != shape:
            found = "ids" if features is None else f"features {list(features.shape)}"
            raise InputError(f"{self.channel()!r}: {count} frames of {width}x{height} are features {list(shape)}, got {found}")
        stacked = patches.join(rearrange(features, "(t n) k -> t n k", t=tubes))
        pixels_THWC = rearrange(stacked, "t h w (c f) -> (t f) h w c", f=self.tubelet)[:count].contiguous().numpy()
        durations = meta.get("durations")
        if not isinstance(durations, list | tuple):
            raise InputError(f"a video's meta needs 'durations', milliseconds of every frame; got {durations!r}")
        return Video(pixels_THWC[..., 0] if self.mode == "L" else pixels_THWC, tuple(durations), meta.get("loop"))

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        count, height, width = _size(meta)
        patches = self._patches(height, width)
        t, inside = divmod(k, len(patches))
        return (self.channel(), {"t": t, **patches.place(inside)}) if t < self._tubes(count) else None

    def count(self, raw: Any) -> int:
        if not isinstance(raw, Video):
            return len(self.encode(raw))
        if self.fps is not None:
            return len(self.encode(raw))
        count, height, width, *_ = raw.frames.shape
        height, width = self.size or (height, width)
        return self._tubes(min(count, self.frames or count)) * len(self._patches(height, width))

    def kept(self, raw: Any) -> Video:
        """Any video -> what `decode` will give back. Raises InputError for what is no video, and over the limits."""
        if not isinstance(raw, Video):
            raise InputError(f"tokenizer 'video' wants an omnitok_video.clip.Video, got {type(raw).__name__}")
        count, height, width, *_ = raw.frames.shape
        self._limits.check(count, height, width, raw.seconds)
        video = self._chosen(raw)
        self._limits.check(len(video), *(self.size or (height, width)), 0)
        colours = () if self.mode == "L" else (BANDS[self.mode],)
        if video.frames.shape[3:] == colours and (height, width) == (self.size or (height, width)):
            return video if video.frames.flags.c_contiguous else _with(video, np.ascontiguousarray(video.frames))
        return _with(video, np.stack([self._converted(frame) for frame in video.frames]))

    def _chosen(self, video: Video) -> Video:
        if self.fps is not None:
            return at_rate(video, self.fps, self.max_frames)
        return video if self.frames is None else spread(video, self.frames)

    def _converted(self, frame: Any) -> np.ndarray:
        """One picture or array -> uint8 [height, width] or [height, width, colours]."""
        return np.array(self._image().picture(frame))

    def read(self, path: Path) -> Video:
        """The video as it will be tokenized. MP4 and WebM need the extra `omnitok-video[av]`; sound is not read."""
        path = Path(path)
        video = read_video(path, self._limits, self._converted)
        try:
            return self.kept(video)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether it is a film or an animation: a picture that stands still is left to others."""
        kind = kind_of(head)
        if kind == "png":
            return b"acTL" in head
        if kind == "webp":
            return head[12:16] == b"VP8X" and bool(head[20] & 2)
        if kind != "gif":
            return kind is not None
        try:
            return len(survey(read_bytes(Path(path), self.max_bytes)).durations) > 1
        except InputError:
            return False

    def samples(self, seed: int = 0) -> Iterable[Video]:
        rng, p = np.random.default_rng(seed), self.patch_size
        colours = () if self.mode == "L" else (BANDS[self.mode],)
        for count, height, width in ((1, 1, 1), (self.tubelet, p, p), (2 * self.tubelet + 1, p + 1, 2 * p), (3, 2 * p, 1)):
            count = min(count, self.frames or count)
            frames = rng.integers(0, 256, (count, *(self.size or (height, width)), *colours), dtype=np.uint8)
            steps = [1000 / self.fps] * count if self.fps else rng.integers(1, 20, count) * 10
            yield Video(frames, tuple(float(d) for d in steps), int(rng.integers(0, 3)) or None)

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        """The first frame of every tubelet, side by side in rows of eight, under the grid."""
        video = self.kept(raw)
        count, height, width, *_ = video.frames.shape
        tubes, p = self._tubes(count), self.patch_size
        across, down = min(tubes, SHOWN), -(-tubes // SHOWN)
        gap = max(1, p // 4)
        sheet = np.full((down * (height + gap) - gap, across * (width + gap) - gap, 3), 255, np.uint8)
        marks = []
        seen = ImageTokenizer(patch_size=p)  # transparent frames are laid over white
        for t in range(tubes):
            top, left = t // SHOWN * (height + gap), t % SHOWN * (width + gap)
            sheet[top : top + height, left : left + width] = np.array(seen.picture(video.frames[t * self.tubelet]))
            marks += [
                (left + x, top + y, min(p, width - x), min(p, height - y))
                for y in range(0, height, p)
                for x in range(0, width, p)
            ]
        grid = self._patches(height, width)
        title = (
            f"{count} frames of {width}x{height} pixels, {tubes}x{grid.rows}x{grid.columns} tubelets of {self.tubelet}x{p}x{p}"
        )
        return Picture("image", sheet, marks, title)

    def _tubes(self, count: int) -> int:
        return -(-count // self.tubelet)

    def _patches(self, height: int, width: int) -> Patches:
        return Patches(self.patch_size, height, width, BANDS[self.mode] * self.tubelet)


def _with(video: Video, frames: np.ndarray) -> Video:
    return Video(frames, video.durations, video.loop)


def _size(meta: Mapping[str, Any]) -> tuple[int, int, int]:
    size = meta.get("size")
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(isinstance(x, int) and x > 0 for x in size):
        raise InputError(f"a video's meta needs 'size' = [frames, height, width], got {size!r}")
    return size[0], size[1], size[2]
