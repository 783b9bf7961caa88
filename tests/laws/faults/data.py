"""Faults in datasets, and in what a distribution says of its version."""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omnitok.checks import Subject
from omnitok.plugins.discovery import PluginStatus

from .good import Beats
from .registry import fault, whole


@fault("dataset-named", "is named 'beats', not 'good/...'")
class Orphan(Beats, frozen=True):
    """Nobody knows whose it is."""

    name = "beats"


@fault("dataset-named", "`licence` is not told")
class Unlicensed(Beats, frozen=True):
    """Nobody knows whether it may be used."""

    licence = ""


@fault("dataset-fields", "field 'depth' has no description")
class Undescribed(Beats, frozen=True):
    """A field says nothing."""

    depth: int = 1


@fault("dataset-splits", "a split 'no-such-split' is given")
class Any_(Beats, frozen=True):
    """Every name is a split."""

    def split(self, name: str) -> Sequence[Any]:
        return super().split(name if name in self.splits() else "eval")


@fault("dataset-splits", "split 'test' is empty")
class Hollow(Beats, frozen=True):
    """A split of nothing."""

    def splits(self) -> tuple[str, ...]:
        return ("train", "eval", "test")

    def split(self, name: str) -> Sequence[Any]:
        return [] if name == "test" else super().split(name)


@fault("dataset-lazy", "opening its splits takes", LAZY_SECONDS=0.05)
class Eager(Beats, frozen=True):
    """Everything is made at once."""

    def split(self, name: str) -> Sequence[Any]:
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        return super().split(name)


@fault("dataset-samples", "a sample is a list, not a mapping")
class Bare(Beats, frozen=True):
    """Samples without fields."""

    def split(self, name: str) -> Sequence[Any]:
        return [sample["beats"] for sample in super().split(name)]


@fault("dataset-samples", "and gives one more")
class Endless(Beats, frozen=True):
    """It goes round."""

    def split(self, name: str) -> Sequence[Any]:
        return Ring(super().split(name))


class Ring(list):  # type: ignore[type-arg]
    def __getitem__(self, i: Any) -> Any:
        return super().__getitem__(i % len(self))


@fault("dataset-deterministic", "is another when it is asked for again")
class Drawing(Beats, frozen=True):
    """New numbers at every visit."""

    def split(self, name: str) -> Sequence[Any]:
        own = random.Random()
        return [{**sample, "beats": [own.random()]} for sample in super().split(name)]


@fault("dataset-deterministic", "the process's own generators")
class Seeding(Beats, frozen=True):
    """It seeds everybody's generator."""

    def split(self, name: str) -> Sequence[Any]:
        random.seed(1)
        random.random()
        return super().split(name)


@fault("dataset-held-out", "samples of eval are in train too")
class Leaking(Beats, frozen=True):
    """Both splits are all."""

    def split(self, name: str) -> Sequence[Any]:
        return [*super().split("train"), *super().split("eval")] if name == "train" else super().split(name)

    def weights(self, name: str) -> Sequence[float] | None:
        return None


@fault("dataset-fits", "no field is taken")
class Strange(Beats, frozen=True):
    """Objects that the tokenizer does not take."""

    def split(self, name: str) -> Sequence[Any]:
        return [{"beats": "0.1 0.2", "speed": 1} for _ in super().split(name)]


@fault("dataset-weights", "3 weights for the 15 samples of train")
class Uneven(Beats, frozen=True):
    """Fewer weights than samples."""

    def weights(self, name: str) -> Sequence[float] | None:
        return [1.0, 1.0, 1.0]


@fault("dataset-weights", "not all finite and 0 or more")
class Negative(Beats, frozen=True):
    """Weights below nothing."""

    def weights(self, name: str) -> Sequence[float] | None:
        return [-1.0] * 15 if name == "train" else None


@fault("dataset-metadata", "is no JSON")
class Unwritable(Beats, frozen=True):
    """Metadata that no manifest can hold."""

    def metadata(self) -> dict[str, Any]:
        return {"classes": {"slow", "fast"}}


# -- versions


def distribution(folder: Path, version: str = "1.0", requires: str | None = "omnitok>=0.1,<0.2") -> PluginStatus:
    """A distribution as an installer leaves it in a folder that is on the path, and its line in the list of plugins."""
    info = folder / "omnitok_good-1.0.dist-info"
    info.mkdir()
    requirement = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: omnitok-good\nVersion: {version}\n{requirement}")
    return PluginStatus("good", "omnitok-good", version, suffixes=(".good",))


@fault("version", "its version is 'newest'")
def versionless(folder: Path) -> Subject:
    return whole(status=distribution(folder, version="newest"))


@fault("api-range", "it does not require omnitok (it requires omnitok-other>=1)")
def unbound(folder: Path) -> Subject:
    return whole(status=distribution(folder, requires="omnitok-other>=1"))


@fault("api-range", "names no newest omnitok")
def open_ended(folder: Path) -> Subject:
    return whole(status=distribution(folder, requires="omnitok>=0.1"))
