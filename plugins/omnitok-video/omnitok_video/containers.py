"""What the headers of a video file say, read without decoding a pixel: frames, durations, and whether the file is whole.

Sources: the GIF89a specification; the PNG specification, third edition (acTL, fcTL); the WebP container specification;
ISO/IEC 14496-12 (boxes); RFC 8794 (EBML).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omnitok.errors import InputError

PNG = b"\x89PNG\r\n\x1a\n"
EBML = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"
Kind = Literal["gif", "png", "webp", "mp4", "matroska"]


@dataclass(frozen=True)
class Survey:
    """One file: its kind and, for the kinds that Pillow decodes, the milliseconds of every frame."""

    kind: Kind
    durations: tuple[float, ...] = ()


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file that begins so."""
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(PNG):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") and head[8:12] not in (b"avif", b"avis", b"heic", b"mif1"):
        return "mp4"
    return "matroska" if head.startswith(EBML) else None


def survey(data: bytes) -> Survey:
    """Walk through a file's blocks. Raises InputError where it is cut short or is none of the kinds."""
    kind = kind_of(data)
    if kind is None:
        raise InputError(f"not a GIF, APNG, WebP, MP4 or WebM file ({len(data)} bytes)")
    try:
        if kind in ("mp4", "matroska"):
            (_boxes if kind == "mp4" else _segment)(data)
            return Survey(kind)
        durations = {"gif": _gif, "png": _png, "webp": _webp}[kind](data)
    except IndexError:
        raise InputError(f"cut short: {len(data)} bytes end inside a block") from None
    if not durations:
        raise InputError("no frame in it")
    return Survey(kind, tuple(durations))


def _need(data: bytes, end: int) -> None:
    if end > len(data):
        raise InputError(f"cut short: a block ends at byte {end}, the file at {len(data)}")


def _gif(data: bytes) -> list[float]:
    """Durations of the images up to the trailer; Pillow would stop at the last whole image without a word."""
    at = 13 + _palette(data[10])
    durations, delay = [], 0
    while data[at] != 0x3B:
        if data[at] == 0x21:
            if data[at + 1] == 0xF9 and data[at + 2] >= 4:
                delay = 10 * int.from_bytes(data[at + 4 : at + 6], "little")
            at += 2
        elif data[at] == 0x2C:
            durations.append(delay)
            delay = 0
            at += 11 + _palette(data[at + 9])
        else:
            raise InputError(f"byte {at} of the GIF is {data[at]:#04x}, which begins no block")
        while data[at]:  # sub-blocks, up to an empty one
            at += 1 + data[at]
        at += 1
    return durations


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _png(data: bytes) -> list[float]:
    """Durations of the frames of the animation; one of 0 for a picture that stands still."""
    at, announced, durations, kind = 8, None, [], b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        _need(data, at + 12 + length)
        body = data[at + 8 : at + 8 + length]
        if kind == b"acTL":
            announced = int.from_bytes(body[:4], "big")
        elif kind == b"fcTL":
            above, below = int.from_bytes(body[20:22], "big"), int.from_bytes(body[22:24], "big")
            durations.append(1000 * above / (below or 100))
        at += 12 + length
    if announced is None:
        return [0]
    if announced != len(durations):
        raise InputError(f"the APNG announces {announced} frames and holds {len(durations)}")
    return [int(d) if d == int(d) else d for d in durations]


def _webp(data: bytes) -> list[float]:
    end = 8 + int.from_bytes(data[4:8], "little")
    _need(data, end)
    at, durations = 12, []
    while at + 8 <= end:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        _need(data, at + 8 + length)
        if data[at : at + 4] == b"ANMF":
            durations.append(int.from_bytes(data[at + 20 : at + 23], "little"))
        at += 8 + length + length % 2
    return durations or [0]


def _boxes(data: bytes) -> None:
    """The boxes of an MP4 file tile it."""
    at, found = 0, set()
    while at < len(data):
        size, found = int.from_bytes(data[at : at + 4], "big"), found | {data[at + 4 : at + 8]}
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:  # the last box, up to the end of the file
            size = len(data) - at
        if size < 8:
            raise InputError(f"byte {at} begins a box of {size} bytes, or the file is cut short")
        _need(data, at + size)
        at += size
    if b"moov" not in found:
        raise InputError("the MP4 has no 'moov' box, or is cut short")


def _segment(data: bytes) -> None:
    """The segment of a Matroska or WebM file is as long as it says, where it says so."""
    at = 4
    length, at = _vint(data, at)
    at += length or 0
    if data[at : at + 4] != SEGMENT:
        raise InputError("no segment behind the EBML header, or cut short")
    length, at = _vint(data, at + 4)
    if length is None:
        raise InputError("the segment does not say how long it is (a live recording), so nobody could tell whether it is whole")
    _need(data, at + length)


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """A variable-length number (None: unknown) and where it ends."""
    width = 9 - data[at].bit_length()
    if width > 8:
        raise InputError(f"byte {at} begins no EBML number")
    _need(data, at + width)
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width
