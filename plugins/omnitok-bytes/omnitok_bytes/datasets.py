"""What is this file? Folders of files by kind, read piece by piece, and sectors of ten formats made here."""

from __future__ import annotations

import base64
import bz2
import functools
import gzip
import lzma
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta

from omnitok.data import Dataset, Sample, check_split, hold_out
from omnitok.errors import ConfigError

from .tokenizer import read_bytes

LARGEST = 1 << 62
"""A fragment may come from a file of any size."""
PIECE = 1 << 15
"""Bytes of English that are compressed or encoded as one file."""


@dataclass(frozen=True)
class Fragment:
    """Where a sample lies."""

    path: Path
    start: int
    length: int
    label: int


class Fragments(Dataset, frozen=True):
    """Fragments of the files below a folder, labelled by the subfolder that the files lie in (`pdf/`, `zip/`, ...).

    A file is cut into fragments of `length` bytes; `fragments` of them are taken, evenly spread from the first on. A
    shorter file is one fragment; a rest behind the last whole fragment is not used. Every `every`-th file of each class is
    held out, with all its fragments. Samples: `bytes`, `label` (number of the class), `file` (path below the folder),
    `start`. Only the fragment is read, when it is asked for.
    """

    name: ClassVar[str] = "bytes/folder"
    licence: ClassVar[str] = "as the files"
    source: ClassVar[str] = "local files"

    folder: Annotated[str, Meta(description="folder with one subfolder of files for each class")]
    length: Annotated[int, Meta(ge=1, description="bytes of a fragment")] = 4096
    fragments: Annotated[int, Meta(ge=1, description="most fragments of a file")] = 1
    every: Annotated[int, Meta(ge=2, description="one file of so many is held out")] = 5
    seed: Annotated[int, Meta(ge=0, description="chooses the files that are held out")] = 0

    def split(self, name: str) -> Sequence[Sample]:
        check_split(self, name)
        found = []
        for label, (word, files) in enumerate(self._files().items()):
            if len(files) < 2:
                raise ConfigError(f"folder {self.folder!r}: class {word!r} has one file; training and evaluation need one each")
            for path in sorted(hold_out(files, name, min(self.every, len(files)), self.seed)):
                found += self._fragments(path, label)
        return _Fragments(Path(self.folder), found)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(self._files())}

    def _files(self) -> dict[str, list[Path]]:
        """Class -> its files, sorted. Raises ConfigError where there is no folder or no file in a subfolder."""
        home = Path(self.folder)
        if not home.is_dir():
            raise ConfigError(f"folder {self.folder!r} does not exist")
        found: dict[str, list[Path]] = {}
        for path in sorted(p for p in home.glob("*/**/*") if p.is_file()):
            found.setdefault(path.relative_to(home).parts[0], []).append(path)
        if not found:
            raise ConfigError(f"folder {self.folder!r} holds no subfolder with files; the subfolders are the classes")
        return found

    def _fragments(self, path: Path, label: int) -> list[Fragment]:
        size = path.stat().st_size
        if size < self.length:
            return [Fragment(path, 0, size, label)]
        whole = size // self.length
        taken = min(whole, self.fragments)
        return [Fragment(path, i * whole // taken * self.length, self.length, label) for i in range(taken)]


class _Fragments(Sequence[Sample]):
    """Samples that are read when they are asked for."""

    def __init__(self, home: Path, fragments: list[Fragment]) -> None:
        self.home, self.fragments = home, fragments

    def __len__(self) -> int:
        return len(self.fragments)

    def __getitem__(self, i: Any) -> Any:
        at = self.fragments[i]
        data = read_bytes(at.path, LARGEST, at.start, at.length)
        return {"bytes": data, "label": at.label, "file": str(at.path.relative_to(self.home)), "start": at.start}


class Formats(Dataset, frozen=True):
    """Which of ten formats is this sector? Aligned pieces of files made here, never a file's first, so without its magic.

    English (the Python language reference) as UTF-8, UTF-16 of both byte orders, base64, hexadecimal digits, gzip, bzip2 and
    xz, and random walks as float32 of both byte orders. Which bytes occur tells neither UTF-16 nor float32 of one order from
    the other: their order does. A tenth of the topics is held out. Samples: `bytes`, `label`. The walks are drawn from a
    seed that differs between the splits.
    """

    name: ClassVar[str] = "bytes/formats"
    licence: ClassVar[str] = "PSF-2.0 (the English)"
    source: ClassVar[str] = "pydoc_data.topics of the Python standard library, and numbers made here"

    length: Annotated[int, Meta(ge=8, le=4096, multiple_of=8, description="bytes of a sector")] = 256
    per_class: Annotated[int, Meta(ge=1, description="training sectors of each format, at most; an eighth of it held out")] = 400

    def split(self, name: str) -> Sequence[Sample]:
        check_split(self, name)
        most = self.per_class if name == "train" else max(1, self.per_class // 8)
        return _sectors(name, self.length, most)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(FORMATS)}


def _text(encode: Callable[[bytes], bytes]) -> Callable[[bytes, np.ndarray], bytes]:
    return lambda english, walk: encode(english)


FORMATS: dict[str, Callable[[bytes, np.ndarray], bytes]] = {
    "utf-8": _text(lambda data: data),
    "utf-16-le": _text(lambda data: data.decode().encode("utf-16-le")),
    "utf-16-be": _text(lambda data: data.decode().encode("utf-16-be")),
    "base64": _text(base64.encodebytes),
    "hex": _text(lambda data: data.hex().encode()),
    "gzip": _text(lambda data: gzip.compress(data, mtime=0)),
    "bzip2": _text(bz2.compress),
    "xz": _text(lzma.compress),
    "float32-le": lambda english, walk: walk.astype("<f4").tobytes(),
    "float32-be": lambda english, walk: walk.astype(">f4").tobytes(),
}
"""Name -> a file's bytes from one piece of English and one random walk."""


@functools.lru_cache(maxsize=4)
def _sectors(split: str, length: int, most: int) -> tuple[Sample, ...]:
    """At most `most` sectors of every format, chosen by a fixed seed."""
    from pydoc_data.topics import topics

    held_out = set(hold_out(sorted(topics), "eval"))
    english = "\n\n".join(topics[t] for t in sorted(topics) if (t in held_out) == (split == "eval")).encode()
    found: list[Sample] = []
    for label, (name, encode) in enumerate(FORMATS.items()):
        rng = random.Random(f"{split}/{name}")
        walks = np.random.default_rng([label, split == "eval"])
        sectors = []
        for at in range(0, len(english), PIECE):
            piece = english[at : at + PIECE].decode(errors="ignore").encode()  # a character that the cut goes through
            data = encode(piece, walks.normal(0, walks.uniform(0.1, 10), PIECE // 4).cumsum())
            sectors += [data[i : i + length] for i in range(length, len(data) - length + 1, length)]
        found += [{"bytes": sector, "label": label} for sector in rng.sample(sectors, min(most, len(sectors)))]
    return tuple(found)
