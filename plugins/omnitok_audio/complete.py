"""Whether a sound file holds all that its header promises: decoders shorten a cut file without a word."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

STREAMED = 0x7FFFF000
"""A chunk that claims at least this many bytes was written to a pipe: its length is not known."""
OGG_TAIL = 1 << 17
"""Bytes that hold the last page of any Ogg file: a page has at most 65,307."""


def missing(file: BinaryIO, size: int) -> str | None:
    """What a file of `size` bytes lacks at its end, in words; None where nothing is known to be missing."""
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return _riff(file, size, ">I" if head[:4] == b"RIFX" else "<I")
    if head[:4] == b"FORM":
        return next((_short(n, size - at) for kind, at, n in _chunks(file, size, ">I") if kind == b"SSND"), None)
    if head[:4] in (b".snd", b"dns."):
        start, promised = struct.unpack((">" if head[:4] == b".snd" else "<") + "II", head[4:12].ljust(8, b"\0"))
        return None if promised >= STREAMED else _short(promised, size - start)
    if head[:4] == b"OggS":
        return _ogg(file, size)
    return _mp3(file, size)


def _short(promised: int, held: int) -> str | None:
    return None if promised <= held else f"the header promises {promised} bytes of samples, the file holds {max(0, held)}"


def _chunks(file: BinaryIO, size: int, number: str) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte and length of each chunk."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        (n,) = struct.unpack(number, head[4:])
        yield head[:4], at + 8, n
        at += 8 + n + n % 2


def _riff(file: BinaryIO, size: int, number: str) -> str | None:
    large = None
    for kind, at, n in _chunks(file, size, number):
        if kind == b"ds64":
            file.seek(at + 8)
            large = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        if kind == b"data":
            promised = large if n == 0xFFFFFFFF and large is not None else n
            return None if promised >= STREAMED and promised == n else _short(promised, size - at)
    return "it has no chunk of samples"


def _ogg(file: BinaryIO, size: int) -> str | None:
    """The last page must be whole and carry the end-of-stream mark."""
    file.seek(max(0, size - OGG_TAIL))
    tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "its last page is not whole"
    return None if page[5] & 4 else "its last page does not end the stream"


def _mp3(file: BinaryIO, size: int) -> str | None:
    """The last frame must be whole. (A file cut between two frames is only found out where it has a Xing header.)"""
    end = max((at + length for at, length, _ in _mp3_frames(file, size)), default=0)
    return None if end <= size else f"its last frame lacks {end - size} bytes"


def mp3_samples(file: BinaryIO, size: int) -> int:
    """Samples per channel in the frames of an MP3 file, its encoder's few frames of delay among them."""
    return sum(samples for _, _, samples in _mp3_frames(file, size))


def _mp3_frames(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """First byte, length and samples of each frame, up to a tag behind the sound or what cannot be followed."""
    file.seek(0)
    head, at = file.read(10), 0
    if head[:3] == b"ID3" and len(head) == 10:
        at = 10 + sum((x & 127) << 7 * (3 - i) for i, x in enumerate(head[6:]))
    while at + 4 <= size:
        file.seek(at)
        head = file.read(4)
        length = _mp3_length(head)
        if not length:
            return
        yield at, length, 1152 if head[1] >> 3 & 3 == 3 else 576
        at += length


def _mp3_length(head: bytes) -> int:
    """Bytes of the layer III frame that begins so; 0 where none does."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, speed = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate in (0, 15) or speed == 3:
        return 0
    one = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    two = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    hertz = (44100, 48000, 32000)[speed] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if version == 3 else 72) * (one if version == 3 else two)[rate] * 1000 // hertz + (head[2] >> 1 & 1)
