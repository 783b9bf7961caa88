"""Pictures of every kind -> one plain 8-bit picture, upright, in one of the three modes; and reading picture files safely."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from omnitok.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM", "ICO")
"""The only decoders a file can reach."""

MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0", *(b"P%d" % k for k in range(1, 7)))


def looks_like_picture(head: bytes) -> bool:
    """Whether a file that begins so is of one of the formats."""
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] in (b"ftypavif", b"ftypavis")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warning of Pillow escapes; a decompression bomb hidden inside a container file is an error."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """The lines that libtiff itself writes to standard error are dropped: what matters of them is in Pillow's error."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def read_picture(source: Path | BinaryIO, name: str, max_pixels: int) -> Image:
    """The first frame of a picture file, decoded and upright. `name` is what errors call it.

    Raises InputError where the file is damaged, cut short, of another format or over the limit; the limit is read
    from the header, before anything is decoded.
    """
    from PIL import UnidentifiedImageError

    size = "not opened"
    try:
        with quiet(), source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
            size = f"{file.seek(0, 2)} bytes"
            file.seek(0)
            return _decode(file, name, max_pixels)
    except InputError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{name}: {error.strerror}") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture ({size}); formats: {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise InputError(f"{name}: damaged or cut short ({size}): {_reason(error)}") from None


def _decode(file: BinaryIO, name: str, max_pixels: int) -> Image:
    from PIL import Image

    image = Image.open(file, formats=FORMATS)
    check_size(*image.size, max_pixels, name)
    with silent() if image.format == "TIFF" else contextlib.nullcontext():
        image.load()
    return _upright(image).copy()  # nothing of it needs the file any more


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def check_size(width: int, height: int, max_pixels: int, name: str = "picture") -> None:
    """Raises InputError for an empty picture and for one over the limit."""
    if width < 1 or height < 1:
        raise InputError(f"{name}: a picture of {width}x{height} pixels is empty")
    if width * height > max_pixels:
        raise InputError(f"{name}: {width}x{height} pixels are over the limit max_pixels = {max_pixels}")


def plain(raw: Any, mode: str, max_pixels: int) -> Image:
    """A picture or an array -> 8 bits, upright, in `mode`, and nothing beside its pixels."""
    from PIL import Image

    image = raw if isinstance(raw, Image.Image) else _from_array(raw)
    check_size(*image.size, max_pixels)
    with quiet():
        try:
            converted = _to_mode(_eight_bits(_upright(image)), mode)
            return Image.fromarray(np.array(converted))  # drops palette, profile, resolution, format
        except InputError:
            raise
        except Exception as error:  # a lazily opened picture is only decoded here
            raise InputError(f"a picture of mode {image.mode!r} cannot be brought to {mode!r}: {_reason(error)}") from None


def _from_array(raw: Any) -> Image:
    from PIL import Image

    array = np.asarray(raw)
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"a picture is a PIL image or a uint8 or uint16 array, not {type(raw).__name__} of {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (2, 3, 4)):
        raise InputError(f"a picture array is [height, width] or [height, width, 1 to 4], not {list(array.shape)}")
    check_size(array.shape[1], array.shape[0], array.size or 1)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))


def _upright(image: Image) -> Image:
    """Turned as its EXIF block says; where the block is damaged, as it is."""
    from PIL import ImageOps

    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged block raises anything, and is no reason to lose the picture
        return image


def _eight_bits(image: Image) -> Image:
    """16 bits a channel -> the upper 8."""
    from PIL import Image as Pil

    if image.mode == "F":
        raise InputError("a picture of floats has no agreed range: bring it to 8 or 16 bits first")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise InputError("a picture of 32-bit numbers must lie in 0..65535 (it is taken as 16 bits)")
    return Pil.fromarray((values >> 8).astype(np.uint8))


def _to_mode(image: Image, mode: str) -> Image:
    """Converted; a transparent picture is laid over white where `mode` has no alpha."""
    from PIL import Image as Pil

    if image.has_transparency_data and mode != "RGBA":
        rgba = image.convert("RGBA")
        image = Pil.alpha_composite(Pil.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image if image.mode == mode else image.convert(mode)
