"""Sounds with their labels and words."""

from __future__ import annotations

import csv
import functools
import io
import re
import tarfile
import zipfile
from collections.abc import Sequence
from lzma import LZMAError
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta

from omnitok.data import Dataset, Folder, Sample, check_split, data_folder
from omnitok.errors import ConfigError, InputError

from .sound import Sound, read_sound

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MAX_SECONDS = 600.0
MAX_BYTES = 1 << 24
"""The largest member of an archive that is read."""


class SpokenDigits(Dataset, frozen=True):
    """The words zero to nine in 21 voices and 8 speeds of espeak-ng, 8 kHz; they come with the plugin.

    The eval split (240 clips) speaks in voices and at speeds that the train split (600) does not know.
    Samples: `sound`, `label`, `word`, `voice`, `speed` (words per minute).
    """

    name: ClassVar[str] = "audio/spoken-digits"
    licence: ClassVar[str] = "CC0-1.0"
    source: ClassVar[str] = "made with espeak-ng 1.51 by omnitok_audio/make_spoken_digits.py"

    def split(self, name: str) -> Sequence[Sample]:
        check_split(self, name)
        folder = Path(__file__).parent / "spoken_digits"
        rows = [row for row in _table(folder / "digits.tsv") if row["split"] == name]
        return Cut(_whole(folder / "digits.flac"), rows)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(DIGITS), "sample_rate": 8000}


class Fsdd(Dataset, frozen=True):
    """Free Spoken Digit Dataset, four of its speakers, 8 kHz; takes 0 to 4 of each are the eval split, as published.

    Samples: `sound`, `label`, `word`, `speaker`.
    """

    name: ClassVar[str] = "audio/fsdd"
    licence: ClassVar[str] = "CC BY-SA 4.0"
    source: ClassVar[str] = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    folder: Folder = ""

    def split(self, name: str) -> Sequence[Sample]:
        check_split(self, name)
        files = _archive(data_folder(self, self.folder, "fsdd") / "fsdd-george-jackson-lucas-nicolas.tar.xz")
        rows = []
        for path in sorted(files):
            parts = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", Path(path).stem)
            if parts and (int(parts[3]) < 5) == (name == "eval"):
                label = int(parts[1])
                rows.append((path, files[path], {"label": label, "word": DIGITS[label], "speaker": parts[2]}))
        return Encoded(rows)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(DIGITS), "sample_rate": 8000}


class Esc10(Dataset, frozen=True):
    """Environmental sounds in ten classes, 5 s each; one of the four folds is the eval split.

    Samples: `sound`, `label`, `word`, `fold`.
    """

    name: ClassVar[str] = "audio/esc10"
    licence: ClassVar[str] = "CC BY 3.0"
    source: ClassVar[str] = "https://github.com/karolpiczak/ESC-50"

    folder: Folder = ""
    fold: Annotated[int, Meta(description="the fold that is held out", ge=1, le=4)] = 4

    def split(self, name: str) -> Sequence[Sample]:
        check_split(self, name)
        if not 1 <= self.fold <= 4:
            raise ConfigError(f"dataset {self.name!r}, field 'fold': 1 to 4, got {self.fold}")
        folder = data_folder(self, self.folder, "esc10")
        table = [row for row in _table(folder / "clips.tsv") if (int(row["fold"]) == self.fold) == (name == "eval")]
        path = folder / "esc10-folds1-4-16k.zip"
        try:
            with zipfile.ZipFile(path) as archive:
                return Encoded([(row["file"], archive.read(row["file"]), _about(row)) for row in table])
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None

    def metadata(self) -> dict[str, Any]:
        names = {int(row["label"]): row["name"] for row in _table(data_folder(self, self.folder, "esc10") / "clips.tsv")}
        return {"classes": [names[label] for label in sorted(names)], "sample_rate": 16_000}


class Cut(Sequence):
    """Pieces of one long sound."""

    def __init__(self, sound: Sound, rows: Sequence[dict[str, str]]) -> None:
        self.sound, self.rows = sound, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Sample:
        row = self.rows[i]
        start, label = int(row["start"]), int(row["digit"])
        sound = Sound(self.sound.samples[start : start + int(row["samples"])], self.sound.rate)
        return {"sound": sound, "label": label, "word": DIGITS[label], "voice": row["voice"], "speed": int(row["speed"])}


class Encoded(Sequence):
    """Sound files in memory, decoded when asked for."""

    def __init__(self, rows: Sequence[tuple[str, bytes, dict[str, Any]]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Sample:
        name, data, about = self.rows[i]
        return {"sound": read_sound(io.BytesIO(data), name, MAX_SECONDS), **about}


def _about(row: dict[str, str]) -> dict[str, Any]:
    return {"label": int(row["label"]), "word": row["name"], "fold": int(row["fold"])}


@functools.lru_cache(maxsize=1)
def _whole(path: Path) -> Sound:
    sound = read_sound(path, str(path), MAX_SECONDS)
    return Sound(np.ascontiguousarray(sound.samples), sound.rate)


@functools.lru_cache(maxsize=1)
def _archive(path: Path) -> dict[str, bytes]:
    """The plain wav files of a tar archive, in memory: nothing is unpacked, no link is followed."""
    try:
        with tarfile.open(path, "r:xz") as archive:
            return {m.name: _member(archive, m) for m in archive if m.isreg() and m.name.endswith(".wav")}
    except (OSError, EOFError, tarfile.TarError, LZMAError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BYTES:
        raise InputError(f"{member.name}: {member.size} bytes in an archive of short clips")
    file = archive.extractfile(member)
    return file.read() if file else b""


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
