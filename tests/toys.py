"""A plugin in one file for the tests of training: words as ids, waves as features, and data for both."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import torch

from omnitok.data import Dataset, check_split
from omnitok.errors import InputError
from omnitok.hookspecs import hookimpl
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Tokenizer

VOCAB = 12


class Words(Tokenizer, frozen=True):
    """Lists of small numbers, one id each."""

    name: ClassVar[str] = "words"
    round_trip: ClassVar = Exact()
    limit: Annotated[int, msgspec.Meta(ge=1, description="longest list")] = 100
    alphabet: Annotated[tuple[str, ...], msgspec.Meta(description="what the ids stand for")] | None = None

    def channels(self) -> dict[str, Channel]:
        return {self.channel(): Channel(vocab=VOCAB, end=VOCAB - 1)}

    def encode(self, raw: Any) -> TokenSequence:
        if len(raw) > self.limit:
            raise InputError(f"{len(raw)} words are more than {self.limit}")
        return TokenSequence((Span(self.channel(), torch.tensor(raw, dtype=torch.long)),))

    def decode(self, tokens: TokenSequence) -> list[int]:
        return [i for span in tokens.spans for i in span.ids.tolist() if i != VOCAB - 1]

    def place(self, k: int, meta: Any) -> tuple[str, dict[str, Any]]:
        return self.channel(), {}

    def read(self, path: Path) -> list[int]:
        return [int(word) for word in path.read_text().split()]

    def samples(self, seed: int = 0) -> Iterable[list[int]]:
        return [[], [1, 2, 3]]


class Waves(Tokenizer, frozen=True):
    """Rows of four numbers as features, seen all at once; `fit` learns their mean."""

    name: ClassVar[str] = "waves"
    round_trip: ClassVar = Exact()
    unit: ClassVar[int] = 2

    def channels(self) -> dict[str, Channel]:
        mean = float(self.state.decode()) if self.state else 0.0
        return {self.channel(): Channel(width=(4,), attend="full", mean=mean)}

    def encode(self, raw: Any) -> TokenSequence:
        return TokenSequence((Span(self.channel(), features=torch.as_tensor(raw, dtype=torch.float32)),))

    def decode(self, tokens: TokenSequence) -> torch.Tensor:
        return self.whole(tokens)[""].features

    def fit(self, samples: Iterable[Any]) -> "Waves":
        mean = torch.cat([torch.as_tensor(s) for s in samples]).nanmean()
        return msgspec.structs.replace(self, state=repr(mean.item()).encode())

    def samples(self, seed: int = 0) -> Iterable[torch.Tensor]:
        return [torch.zeros(3, 4)]


class Counting(Dataset, frozen=True):
    """Lists that count upwards, with the wave of their kind. `poison` is the sample whose wave is NaN."""

    name: ClassVar[str] = "words/counting"
    licence: ClassVar[str] = "made here"
    source: ClassVar[str] = "made here"
    size: int = 40
    long: bool = False
    poison: int | None = None

    def split(self, name: str) -> list[dict[str, Any]]:
        check_split(self, name)
        rng = random.Random(name)
        rows = []
        for i in range(self.size if name == "train" else 12):
            start, kind = rng.randrange(5), rng.randrange(2)
            length = 40 if self.long else rng.randrange(2, 6)
            wave = torch.full((3, 4), 5.0 + kind) + 0.1 * torch.randn(3, 4, generator=torch.Generator().manual_seed(i))
            if name == "train" and i == self.poison:
                wave[1, 2] = torch.nan
            counted = [(start + k) % 10 for k in range(length)]
            rows.append({"list": counted, "wave": wave, "kind": kind, "name": ("low", "high")[kind], "number": i})
        return rows

    def metadata(self) -> dict[str, Any]:
        return {"classes": ["low", "high"], "alphabet": [*list("0123456789"), "?", "."]}


class Mirror(Dataset, frozen=True):
    """Lists of digits without order, and the same from right to left."""

    name: ClassVar[str] = "words/mirror"
    licence: ClassVar[str] = "made here"
    source: ClassVar[str] = "made here"
    size: int = 2000

    def split(self, name: str) -> list[dict[str, Any]]:
        check_split(self, name)
        rng = random.Random(name)
        lists = [[rng.randrange(10) for _ in range(rng.randrange(2, 6))] for _ in range(self.size if name == "train" else 100)]
        return [{"list": row, "mirrored": row[::-1]} for row in lists]


class Sung(Dataset, frozen=True):
    """Three digits, and a wave with a point on the circle for each of them."""

    name: ClassVar[str] = "words/sung"
    licence: ClassVar[str] = "made here"
    source: ClassVar[str] = "made here"

    def split(self, name: str) -> list[dict[str, Any]]:
        check_split(self, name)
        rng = random.Random(name)
        rows = [[rng.randrange(10) for _ in range(3)] for _ in range(2000 if name == "train" else 64)]
        angle = torch.tensor(rows)[:, :, None] * torch.tensor([0.2, 0.4]) * torch.pi
        return [{"list": row, "wave": w} for row, w in zip(rows, torch.cat([angle.sin(), angle.cos()], 2), strict=True)]


class Kept(Dataset, frozen=True):
    """Data that is found by its place."""

    name: ClassVar[str] = "words/kept"
    licence: ClassVar[str] = "made here"
    source: ClassVar[str] = "made here"
    where: str


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    return [Words, Waves]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    return [Counting, Mirror, Sung, Kept]
