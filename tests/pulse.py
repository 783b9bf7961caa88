"""A whole plugin in one file: what a stranger might write. The tests load it by path."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from msgspec import Meta

from omnitok.data import Dataset, check_split
from omnitok.errors import InputError
from omnitok.hookspecs import hookimpl
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Bounded, Channel, Picture, RoundTrip, Tokenizer


class PulseTokenizer(Tokenizer, frozen=True):
    """Samples in [-1, 1] as levels; decoding is right to half a level."""

    name: ClassVar[str] = "pulse"
    round_trip: ClassVar[RoundTrip] = Bounded(1 / 63)

    num_bins: Annotated[int, Meta(description="number of levels", ge=64)] = 64
    max_bytes: Annotated[int, Meta(description="largest file that is read", ge=1)] = 1 << 20

    def channels(self) -> dict[str, Channel]:
        return {self.channel(): Channel(vocab=self.num_bins, axes=(Axis("beat", 100),))}

    def encode(self, raw: Any) -> TokenSequence:
        if not isinstance(raw, list) or not all(isinstance(x, float) and -1 <= x <= 1 for x in raw):
            raise InputError("a pulse is a list of numbers in [-1, 1]")
        ids = torch.tensor([round((x + 1) / 2 * (self.num_bins - 1)) for x in raw], dtype=torch.long)
        return TokenSequence((Span(self.channel(), ids=ids, axes={"beat": torch.arange(len(ids))}, meta={"beats": len(raw)}),))

    def decode(self, tokens: TokenSequence) -> list[float]:
        span = self.whole(tokens).get("")
        if span is None:
            raise InputError("no tokens of a pulse")
        return [x / (self.num_bins - 1) * 2 - 1 for x in span.content.tolist()]

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        if not isinstance(meta.get("beats"), int):
            raise InputError("a pulse's meta needs 'beats', their number")
        return (self.channel(), {"beat": k}) if k < meta["beats"] else None

    def read(self, path: Path) -> list[float]:
        try:
            if path.stat().st_size > self.max_bytes:
                raise InputError(f"{path}: more than max_bytes = {self.max_bytes}")
            return [float(word) for word in path.read_text().split()]
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a pulse ({error})") from None

    def sniff(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"0.")

    def samples(self, seed: int = 0) -> Iterable[list[float]]:
        generator = torch.Generator().manual_seed(seed)
        yield []
        yield [-1.0, 1.0, 0.0]
        yield (torch.rand(9, generator=generator) * 2 - 1).tolist()

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        return Picture("strip", [[f"{x:.2f}" for x in raw]], [(0, k) for k in range(len(tokens))], "a pulse")


class Beats(Dataset, frozen=True):
    """A few pulses."""

    name: ClassVar[str] = "pulse/beats"
    licence: ClassVar[str] = "CC0"
    source: ClassVar[str] = "made here"

    count: Annotated[int, Meta(description="number of samples", ge=1)] = 3

    def split(self, name: str) -> list[dict[str, Any]]:
        first = 0 if check_split(self, name) == "train" else 1
        return [{"pulse": [(2 * k + first) / (2 * self.count)]} for k in range(self.count)]


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    return [PulseTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    return [Beats]
