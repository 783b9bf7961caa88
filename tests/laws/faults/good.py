"""A plugin that keeps every promise of the contract and uses all that it offers; faults are laid over it, one at a time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from msgspec import Meta, convert, structs
from torch import Tensor, nn

from omnitok.data import Dataset, check_split, hold_out
from omnitok.errors import InputError
from omnitok.hookspecs import hookimpl
from omnitok.nn.context import Context
from omnitok.nn.steps import Axis, Linear, Step
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Bounded, Channel, Picture, RoundTrip, Tokenizer

END_OF_FILE = "end"


class Lift(Step, frozen=True):
    """Rows plus a learned vector, through a tanh."""

    def build(self, width: int, dim: int) -> nn.Module:
        return LiftModule(width)


class LiftModule(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return torch.tanh(x + self.shift)


class GoodTokenizer(Tokenizer, frozen=True):
    """A list of numbers in [-1, 1]: for each its value and its level, interleaved. The values come back to 1e-6."""

    name: ClassVar[str] = "good"
    round_trip: ClassVar[RoundTrip] = Bounded(1e-6)
    unit: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".good",)

    levels: Annotated[int, Meta(description="number of levels", ge=2, le=1024)] = 16
    unit_name: Annotated[str | None, Meta(description="what the numbers are measured in; unset: the dataset's")] = None
    max_beats: Annotated[int, Meta(description="longest list", ge=1)] = 50_000
    max_bytes: Annotated[int, Meta(description="largest file", ge=1)] = 1 << 20

    def channels(self) -> dict[str, Channel]:
        known = json.loads(self.state) if self.state else {"mean": 0.0, "std": 1.0}
        axes = (Axis("beat", 256), Axis("phase", 2, "linear"))
        return {
            self.channel("value"): Channel(width=(1,), **known, embed=(Linear(), Lift()), axes=axes, pairs={"next": 2}),
            self.channel("level"): Channel(vocab=self.levels + 2, end=self.levels, mask=self.levels + 1, axes=axes),
        }

    def encode(self, raw: Any) -> TokenSequence:
        values = self.values(raw)
        n = len(values)
        axes, meta = self.axes(torch.arange(n)), {"beats": n}
        spans = (
            Span(self.channel("value"), features=values[:, None], axes=axes, index=2 * torch.arange(n), meta=meta),
            Span(self.channel("level"), self.level(values), axes=axes, index=2 * torch.arange(n) + 1, meta=meta),
        )
        ends = torch.stack([torch.arange(0, 2 * n - 2, 2), torch.arange(2, 2 * n, 2)]) if n else torch.zeros(2, 0).long()
        return TokenSequence(spans, {"next": (ends, torch.arange(ends.shape[1]) % 2)})

    def values(self, raw: Any) -> Tensor:
        """[n] float32. Raises InputError."""
        if not isinstance(raw, list) or not all(type(x) is float for x in raw):
            raise InputError(f"tokenizer 'good' wants a list of floats, got {type(raw).__name__}")
        if len(raw) > self.max_beats:
            raise InputError(f"{len(raw)} numbers, more than max_beats = {self.max_beats}")
        values = torch.tensor(raw, dtype=torch.float64)
        if not bool((values.isfinite() & (values.abs() <= 1)).all()):
            raise InputError("the numbers must lie in [-1, 1]")
        return values.float()

    def level(self, values: Tensor) -> Tensor:
        return ((values + 1) / 2 * (self.levels - 1)).round().long()

    def axes(self, beat: Tensor) -> dict[str, Tensor]:
        return {"beat": beat, "phase": torch.stack([beat % 2, beat % 3], 1).float()}

    def decode(self, tokens: TokenSequence) -> list[float]:
        found = self.whole(tokens)
        if "value" not in found:
            raise InputError("no value tokens here: nothing to decode")
        return found["value"].content[:, 0].clamp(-1, 1).tolist()

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        if not isinstance(meta.get("beats"), int):
            raise InputError("the meta needs 'beats', their number")
        if k >= 2 * meta["beats"]:
            return None
        axes = self.axes(torch.tensor([k // 2]))
        return self.channel("level" if k % 2 else "value"), {name: x[0].tolist() for name, x in axes.items()}

    def count(self, raw: Any) -> int:
        return 2 * len(self.values(raw))

    def fit(self, samples: Iterable[Any]) -> Self:
        values = [self.values(raw) for raw in samples]
        if not values or not len(torch.cat(values)):
            return self
        joined = torch.cat(values)
        state = {"mean": round(joined.mean().item(), 6), "std": round(max(joined.std().item(), 0.1), 6)}
        return structs.replace(self, state=json.dumps(state).encode())

    def read(self, path: Path) -> list[float]:
        try:
            size = path.stat().st_size
            if size > self.max_bytes:
                raise InputError(f"{path}: {size} bytes, more than max_bytes = {self.max_bytes}")
            *words, last = path.read_text().split() or [""]
            if last != END_OF_FILE:
                raise InputError(f"{path}: ends before its {END_OF_FILE!r}")
            return [float(word) for word in words]
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a list of numbers ({error})") from None

    def words(self, text: str) -> list[float]:
        try:
            return [float(word) for word in text.split()]
        except ValueError as error:
            raise InputError(f"numbers are wanted, such as 0.5 -0.25 ({error})") from None

    def sniff(self, path: Path, head: bytes) -> bool:
        return head[:1] in (b"-", b"0", b"1")

    def save_pretrained(self, folder: Path) -> None:
        plain = {name: getattr(self, name) for name in self.config_fields()}
        state = self.state.decode() if self.state is not None else None
        (Path(folder) / "good.json").write_text(json.dumps({"config": plain, "state": state}))

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        path = Path(folder) / "good.json"
        try:
            plain = json.loads(path.read_text())
            state = plain["state"].encode() if plain["state"] is not None else None
            return convert({**plain["config"], "state": state}, cls)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not a published tokenizer ({error})") from None

    def samples(self, seed: int = 0) -> Iterable[list[float]]:
        rng = np.random.default_rng(seed)
        yield []
        yield [-1.0, 1.0, 0.0]
        yield rng.uniform(-1, 1, 9).tolist()
        yield rng.uniform(-1, 1, 14).tolist()

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        labels = [f"{x:.2f}" for x in raw]
        return Picture("strip", [labels, labels], [(k % 2, k // 2) for k in range(len(tokens))], "beats")


class Beats(Dataset, frozen=True):
    """Twenty lists of numbers."""

    name: ClassVar[str] = "good/beats"
    licence: ClassVar[str] = "CC0"
    source: ClassVar[str] = "made here"

    seed: Annotated[int, Meta(description="of the numbers")] = 0

    def split(self, name: str) -> Sequence[Any]:
        rng = np.random.default_rng(self.seed)
        rows = [{"beats": rng.uniform(-1, 1, 5).tolist(), "speed": i % 2} for i in range(20)]
        return hold_out(rows, check_split(self, name), 4)

    def weights(self, name: str) -> Sequence[float] | None:
        return [1.0] * 15 if name == "train" else None

    def metadata(self) -> dict[str, Any]:
        return {"classes": ["slow", "fast"], "unit_name": "mV"}


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    return [GoodTokenizer]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    return [Beats]
