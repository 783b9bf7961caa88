"""Video files -> frames: animated pictures by Pillow, films by PyAV. Limits are checked before anything is decoded."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omnitok_image.pictures import quiet

from omnitok.errors import InputError
from omnitok.files import read_bytes

from .clip import Video
from .containers import Survey, survey

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {"gif": "GIF", "png": "PNG", "webp": "WEBP"}


@dataclass(frozen=True)
class Limits:
    """What a video may have at most; `pixels` over all frames."""

    frames: int
    pixels: int
    seconds: float
    bytes: int

    def check(self, frames: int, height: int, width: int, seconds: float) -> None:
        """Raises InputError naming the limit."""
        for value, limit, what in (
            (frames, self.frames, "frames"),
            (frames * height * width, self.pixels, "pixels"),
            (seconds, self.seconds, "seconds"),
        ):
            if value > limit:
                raise InputError(f"{value:g} {what}, more than max_{what} = {limit:g}")


def read_video(path: Path, limits: Limits, convert: Callable[[Any], np.ndarray]) -> Video:
    """One file -> Video, each frame through `convert` (a picture or array -> uint8 array) as soon as it is decoded.

    Raises InputError naming the file where it is damaged, cut short, of another kind or over a limit.
    """
    data = read_bytes(path, limits.bytes)
    try:
        found = survey(data)
        if found.kind in FORMATS:
            limits.check(len(found.durations), 0, 0, sum(found.durations) / 1000)
            return _animation(data, found, limits, convert)
        return _film(data, found, limits, convert)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or cut short ({len(data)} bytes): {reason}") from None


def _animation(data: bytes, found: Survey, limits: Limits, convert: Callable[[Any], np.ndarray]) -> Video:
    """GIF, APNG, WebP: Pillow composes partial frames and disposal; the count is the container's, not Pillow's."""
    from PIL import Image

    with quiet(), Image.open(io.BytesIO(data), formats=[FORMATS[found.kind]]) as image:
        announced = len(found.durations)
        limits.check(announced, image.height, image.width, 0)
        first = int(bool(getattr(image, "default_image", False)))  # a still of an APNG that is no part of the film
        frames = [convert(frame) for frame in _seek(image, range(first, first + announced))]
        loop = image.info.get("loop")
    return Video(np.stack(frames), found.durations, None if loop is None else int(loop))


def _seek(image: Image, numbers: range) -> Iterator[Image]:
    if getattr(image, "n_frames", 1) != numbers.stop:
        raise InputError(f"the file holds {numbers.stop} frames, and {getattr(image, 'n_frames', 1)} can be reached")
    for number in numbers:
        image.seek(number)
        image.load()
        yield image.copy()


def _film(data: bytes, found: Survey, limits: Limits, convert: Callable[[Any], np.ndarray]) -> Video:
    """The first video stream of an MP4 or WebM file, upright; durations are differences of its timestamps."""
    try:
        import av
    except ImportError:
        raise InputError('reading MP4 and WebM needs PyAV: pip install "omnitok-video[av]"') from None
    # the format is named, so that no playlist inside the file can open another
    with av.open(io.BytesIO(data), format="mov" if found.kind == "mp4" else "matroska", metadata_errors="replace") as file:
        if not file.streams.video:
            raise InputError("no video stream in it")
        stream = file.streams.video[0]
        announced, seconds = stream.frames, (file.duration or 0) / av.time_base
        expected = announced or round(seconds * float(stream.average_rate or 0))
        limits.check(expected, stream.codec_context.height, stream.codec_context.width, seconds)
        stream.codec_context.options = {"err_detect": "explode"}
        frames, starts, last = [], [], 0.0
        for frame in file.decode(stream):
            if frame.is_corrupt or frame.pts is None:
                raise InputError(f"frame {len(frames)} is damaged or has no timestamp")
            starts.append(float(frame.pts * frame.time_base * 1000))
            limits.check(len(frames) + 1, frame.height, frame.width, (starts[-1] - starts[0]) / 1000)
            last = float(frame.duration * frame.time_base * 1000)
            # a phone stores its frames as the sensor lies, and how far to turn them counterclockwise
            frames.append(convert(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))))
        if not frames or (announced and len(frames) != announced):
            raise InputError(f"the file announces {announced} frames and gives {len(frames)}")
        return Video(np.stack(frames), (*np.diff(starts).tolist(), last))
