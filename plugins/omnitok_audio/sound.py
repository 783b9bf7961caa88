"""Sounds, and reading sound files safely: bounded in time and memory, never silently shorter."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from omnitok.errors import InputError

from .complete import missing, mp3_samples

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU")
"""The containers a file may have, as libsndfile names them."""
MAX_VALUES = 1 << 26
"""Samples over all channels that are ever held: ten minutes of 48 kHz stereo fit."""
BLOCK = 1 << 18
UNKNOWN = 1 << 62
"""libsndfile's frame count of a stream whose header tells none lies above."""

MAGIC = (
    b"RF64",
    b"RIFX",
    b"fLaC",
    b"OggS",
    b".snd",
    b"dns.",
    b"ID3",
    b"\xff\xfb",
    b"\xff\xfa",
    b"\xff\xf3",
    b"\xff\xf2",
    b"\xff\xe3",
)


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples in time, full scale at -1 and 1."""

    samples: np.ndarray
    """float32 [n] or [n, channels]."""
    rate: int
    """samples per second."""

    def __len__(self) -> int:
        return len(self.samples)


def looks_like_sound(head: bytes) -> bool:
    """Whether a file that begins so is of one of the formats."""
    return (
        head.startswith(MAGIC)
        or (head[:4] == b"RIFF" and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))
    )


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """The lines that the decoders themselves write to standard error are dropped."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def read_sound(source: Path | BinaryIO, name: str, max_seconds: float) -> Sound:
    """One sound file, decoded. `name` is what errors call it.

    Raises InputError where the file is damaged, cut short, of another format, holds NaN or infinity, or is over the
    limit; the limit is read from the header before anything is decoded, and kept while decoding.
    """
    import soundfile

    size = 0
    try:
        with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
            size = file.seek(0, 2)
            lacking = missing(file, size)
            file.seek(0)
            if lacking:
                raise InputError(f"{name}: cut short ({size} bytes): {lacking}")
            with silent(), soundfile.SoundFile(str(source) if isinstance(source, Path) else file) as opened:
                sound = _decode(opened, name, max_seconds, size)
                _refuse_half_an_mp3(opened, file, name, size, len(sound))
                return sound
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{name}: {error.strerror}") from None
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, MemoryError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split())
        raise InputError(f"{name}: not a sound, damaged or cut short ({size} bytes): {reason}") from None


def _refuse_half_an_mp3(opened, file: BinaryIO, name: str, size: int, held: int) -> None:  # type: ignore[no-untyped-def]
    """libsndfile guesses the length of an MP3 of varying bit rate without a Xing header, and stops there."""
    if opened.format == "MP3":
        there = mp3_samples(file, size)
        if held < there - 4 * 1152:  # four frames of encoder delay and padding are dropped rightly
            raise InputError(
                f"{name}: an MP3 of varying bit rate without a Xing header; {held} of {there} samples can be decoded"
            )


def _decode(opened, name: str, max_seconds: float, size: int) -> Sound:  # type: ignore[no-untyped-def]
    """Read block by block, so that no header can ask for memory."""
    rate, channels, promised = opened.samplerate, opened.channels, opened.frames
    if opened.format not in FORMATS:
        raise InputError(f"{name}: a {opened.format} file is not read; formats: {', '.join(FORMATS)}")
    if rate < 1 or channels < 1:
        raise InputError(f"{name}: damaged: {channels} channels at {rate} Hz")
    limit = min(int(max_seconds * rate), MAX_VALUES // channels)
    known = 0 <= promised < UNKNOWN
    blocks, held = [], promised if known else 0
    while held <= limit:
        block = opened.read(BLOCK // channels + 1, dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block)
        held = max(held, sum(map(len, blocks)))
    if held > limit:
        what = f"{held / rate:.1f} seconds or more of {channels} channels at {rate} Hz"
        raise InputError(f"{name}: {what} are over the limit of {limit / rate:.1f} seconds (max_seconds)")
    samples = np.concatenate(blocks) if blocks else np.zeros((0, channels), np.float32)
    if known and len(samples) < promised:
        raise InputError(f"{name}: cut short ({size} bytes): {len(samples)} of {promised} samples can be decoded")
    if not np.isfinite(samples).all():
        raise InputError(f"{name}: {np.sum(~np.isfinite(samples))} samples are NaN or infinite")
    return Sound(samples[:, 0] if channels == 1 else samples, rate)
