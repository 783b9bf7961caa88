"""Pictures with their labels, names or captions."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import lzma
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from omnitok.data import Dataset, Folder, Sample, check_split, data_folder, hold_out
from omnitok.errors import InputError

from .pictures import read_picture

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
MAX_PIXELS = 40_000_000


class Digits(Dataset, frozen=True):
    """Handwritten digits, 8x8 grey, as scikit-learn ships them; every fifth of each class is held out.

    Samples: `picture` uint8 [8, 8] (the original 0..16 is `(picture + 8) // 16`), `label`, `word`.
    """

    name: ClassVar[str] = "image/digits"
    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "https://archive.ics.uci.edu/dataset/80 (E. Alpaydin, C. Kaynak), from scikit-learn"

    def split(self, name: str) -> Sequence[Sample]:
        check_split(self, name)
        pictures, labels = _digits()
        by_class = [np.flatnonzero(labels == label).tolist() for label in range(10)]
        rows = sorted(row for of_class in by_class for row in hold_out(of_class, name, every=5))
        return Labelled(pictures[rows], labels[rows], DIGITS)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(DIGITS)}


class Fashion(Dataset, frozen=True):
    """Fashion-MNIST: clothes, 28x28 grey; the published test set is the eval split.

    Samples: `picture` uint8 [28, 28], `label`, `word`.
    """

    name: ClassVar[str] = "image/fashion"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/zalandoresearch/fashion-mnist"

    folder: Folder = ""

    def split(self, name: str) -> Sequence[Sample]:
        prefix = "train" if check_split(self, name) == "train" else "t10k"
        folder = data_folder(self, self.folder, "fashion-mnist")
        pictures = _idx(folder / f"{prefix}-images-idx3-ubyte.xz", 3)
        return Labelled(pictures, _idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 1), CLOTHES)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(CLOTHES)}


class Emoji(Dataset, frozen=True):
    """Noto Emoji, 72x72 with alpha, and their English names; every tenth is held out.

    Samples: `picture` (PIL image, RGBA), `name`, `keywords` (list).
    """

    name: ClassVar[str] = "image/emoji"
    licence: ClassVar[str] = "pictures Apache-2.0 / OFL 1.1, names Unicode licence v3"
    source: ClassVar[str] = "https://github.com/googlefonts/noto-emoji"

    folder: Folder = ""

    def split(self, name: str) -> Sequence[Sample]:
        folder = data_folder(self, self.folder, "emoji")
        rows = hold_out(_table(folder / "noto72-dev.tsv"), check_split(self, name))
        path = folder / "noto72-dev.zip"
        try:
            with zipfile.ZipFile(path) as archive:
                return Named([(archive.read(row["file"]), row) for row in rows])
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None


class Photos(Dataset, frozen=True):
    """A folder of pictures with `captions.tsv` (columns file and caption); every fifth is held out.

    Samples: `picture` (PIL image), `caption`.
    """

    name: ClassVar[str] = "image/photos"
    licence: ClassVar[str] = "CC0 or public domain (the pictures under $OMNITOK_DATA)"
    source: ClassVar[str] = "https://github.com/scikit-image/scikit-image"

    folder: Folder = ""

    def split(self, name: str) -> Sequence[Sample]:
        folder = data_folder(self, self.folder, "photos")
        return Captioned(folder, hold_out(_table(folder / "captions.tsv"), check_split(self, name), every=5))


class Labelled(Sequence):
    """Arrays in memory, one dict per row when asked for."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray, words: Sequence[str]) -> None:
        self.pictures, self.labels, self.words = pictures, labels, words

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Sample:
        label = int(self.labels[i])
        return {"picture": self.pictures[i], "label": label, "word": self.words[label]}


class Named(Sequence):
    """Encoded pictures in memory, decoded when asked for."""

    def __init__(self, rows: Sequence[tuple[bytes, dict[str, str]]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Sample:
        data, row = self.rows[i]
        picture = read_picture(io.BytesIO(data), row["file"], MAX_PIXELS)
        return {"picture": picture, "name": row["name"], "keywords": row["keywords"].split("|")}


class Captioned(Sequence):
    """Picture files, read when asked for."""

    def __init__(self, folder: Path, rows: Sequence[dict[str, str]]) -> None:
        self.folder, self.rows = folder, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Sample:
        path = self.folder / self.rows[i]["file"]
        return {"picture": read_picture(path, str(path), MAX_PIXELS), "caption": self.rows[i]["caption"]}


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [n, 8, 8] and labels [n]."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target


def _idx(path: Path, dims: int) -> np.ndarray:
    """A compressed IDX file of bytes -> array of that many dimensions."""
    try:
        with lzma.open(path) if path.suffix == ".xz" else gzip.open(path) as file:
            data = file.read()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    shape = np.frombuffer(data, ">i4", dims, 4) if len(data) >= 4 * dims + 4 else np.zeros(dims, int)
    if data[:4] != bytes((0, 0, 8, dims)) or len(data) != 4 + 4 * dims + shape.prod():
        raise InputError(f"{path}: not an IDX file of bytes in {dims} dimensions, or cut short ({len(data)} bytes)")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
