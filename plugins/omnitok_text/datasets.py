"""Corpora: the Python language reference, Shakespeare, and questions to a bank with their intents."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from omnitok.data import Dataset, Folder, Sample, check_split, data_folder
from omnitok.errors import InputError

Chunk = Annotated[int, Meta(ge=1, description="characters per sample, at most; paragraphs are kept whole where they fit")]


class Topics(Dataset, frozen=True):
    """The Python language reference of the running interpreter, a tenth of its topics held out.

    Samples: `body` (text), `topic` (its name). Some topics quote others: a paragraph that is held out is nowhere in "train".
    """

    name: ClassVar[str] = "text/topics"
    licence: ClassVar[str] = "PSF-2.0"
    source: ClassVar[str] = "pydoc_data.topics of the Python standard library"

    chunk: Chunk = 1000

    def split(self, name: str) -> Sequence[Sample]:
        return _topics(check_split(self, name), self.chunk)


class Shakespeare(Dataset, frozen=True):
    """Tiny Shakespeare: the first 90 % of its characters to train on, the last 10 % held out. Samples: `body`."""

    name: ClassVar[str] = "text/shakespeare"
    licence: ClassVar[str] = "public domain"
    source: ClassVar[str] = "https://github.com/karpathy/char-rnn"

    chunk: Chunk = 1000
    folder: Folder = ""

    def split(self, name: str) -> Sequence[Sample]:
        text = _read(data_folder(self, self.folder, "tinyshakespeare") / "input.txt").decode("ascii")
        border = len(text) * 9 // 10
        part = text[:border] if check_split(self, name) == "train" else text[border:]
        return [{"body": body} for body in chunks(part.split("\n\n"), self.chunk)]


class Banking77(Dataset, frozen=True):
    """Customers' questions to a bank, 77 intents; the published test set is the eval split. Samples: `body`, `label`."""

    name: ClassVar[str] = "text/banking77"
    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "https://github.com/PolyAI-LDN/task-specific-datasets"

    folder: Folder = ""

    def split(self, name: str) -> Sequence[Sample]:
        folder = data_folder(self, self.folder, "banking77")
        path = folder / ("train.csv.gz" if check_split(self, name) == "train" else "test.csv.gz")
        numbers = {label: i for i, label in enumerate(self.metadata()["classes"])}
        rows = csv.DictReader(io.StringIO(_read(path).decode(), newline=""))
        try:
            return [{"body": row["text"], "label": numbers[row["category"]]} for row in rows]
        except KeyError as error:
            raise InputError(f"{path}: {error} is no column or class of this dataset") from None

    def metadata(self) -> dict[str, Any]:
        folder = data_folder(self, self.folder, "banking77")
        return {"classes": json.loads(_read(folder / "categories.json"))}


def chunks(paragraphs: Iterable[str], size: int) -> list[str]:
    """Neighbouring paragraphs joined up to `size` characters; only a longer one is cut."""
    found: list[str] = []
    for paragraph in paragraphs:
        if found and len(found[-1]) + 2 + len(paragraph) <= size:
            found[-1] += "\n\n" + paragraph
        else:
            found += [paragraph[i : i + size] for i in range(0, len(paragraph), size)]
    return found


@functools.lru_cache(maxsize=8)
def _topics(split: str, size: int) -> tuple[Sample, ...]:
    from pydoc_data.topics import topics

    by_length = sorted(topics, key=lambda topic: (-len(topics[topic]), topic))
    parts = {"eval": by_length[4::10]}  # long and short ones alike
    parts["train"] = sorted(set(topics).difference(parts["eval"]))
    held_out = {p for topic in parts["eval"] for p in topics[topic].split("\n\n")} if split == "train" else set()
    return tuple(
        {"body": body, "topic": topic}
        for topic in sorted(parts[split])
        for body in chunks((p for p in topics[topic].split("\n\n") if p.strip() and p not in held_out), size)
    )


def _read(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: {error}") from None
