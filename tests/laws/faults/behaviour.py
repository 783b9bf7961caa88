"""Faults in what must be the same everywhere: in this process, in another, and when it is saved."""

import json
import random
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from msgspec import Meta, structs

from omnitok.checks import Subject
from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Channel, Picture

from . import good
from .contract import changed
from .good import GoodTokenizer
from .registry import fault, whole

# -- determinism

CALLS: list[int] = []


@fault("encode-twice", "sample 3: encoding it again gives other tokens")
class Counting(GoodTokenizer, frozen=True):
    """It counts its calls."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        CALLS.append(1)
        return (super().level(values) + len(CALLS)) % self.levels


@fault("new-instance", "a tokenizer made anew gives other tokens")
class Personal(GoodTokenizer, frozen=True):
    """Its tokens depend on where it lies in memory."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        FIRST.setdefault("it", self)
        return super().level(values) if FIRST["it"] is self else 0 * super().level(values)


FIRST: dict[str, Any] = {}


@fault("samples-seeded", "samples(0) gives other objects when asked again")
class Unseeded(GoodTokenizer, frozen=True):
    """Its samples are drawn from nowhere."""

    def samples(self, seed: int = 0) -> Iterable[list[float]]:
        yield [0.5, 0.25]
        yield [time.perf_counter() % 1, time.perf_counter() % 0.1]


@fault("other-process", "sample 1: other tokens in another process")
class Hashing(GoodTokenizer, frozen=True):
    """It numbers by the hash of a string."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        return (super().level(values) + hash("a string") % 7) % self.levels


@fault("global-random-state", "encode draws from, or seeds")
class Seeding(GoodTokenizer, frozen=True):
    """It seeds everybody's generator."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        random.seed(0)
        return super().level(values)


@fault("object-unchanged", "encode changes the object that it is given")
class Sorting(GoodTokenizer, frozen=True):
    """It works in place."""

    def encode(self, raw: Any) -> TokenSequence:
        tokens = super().encode(raw)
        raw.reverse()
        return tokens

    def samples(self, seed: int = 0) -> Iterable[list[float]]:
        return [[0.1, 0.2, 0.3]]


@fault("object-unchanged", "show changes the object that it is given")
class Painting(GoodTokenizer, frozen=True):
    """It draws into the object."""

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        raw.append(0.0)
        return super().show(raw, tokens)


@fault("tokens-unchanged", "decode changes the tokens that it is given")
class Scaling(GoodTokenizer, frozen=True):
    """It works in place."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        for span in tokens.spans:
            span.content.mul_(0)
        return super().decode(tokens)


@fault("quiet", "encode prints 'tokenizing ...'")
class Chatty(GoodTokenizer, frozen=True):
    """It tells of every object."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        print("tokenizing ...")
        return super().level(values)


@fault("quiet", "decode warns: UserWarning: beware")
class Warning_(GoodTokenizer, frozen=True):
    """It warns of every object."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        warnings.warn("beware", stacklevel=1)
        return super().decode(tokens)


# -- workers


@fault("pickles", "cannot be pickled")
class Unpicklable(GoodTokenizer, frozen=True):
    """It stays at home."""

    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


@fault("pickles", "the tokenizer changes when it is pickled")
class Forgetful(GoodTokenizer, frozen=True):
    """It arrives without its configuration."""

    def __reduce__(self) -> Any:
        return Forgetful, (), None

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None


PREPARED: list[bool] = []


@fault("worker-encodes", "in another process: RuntimeError: nobody called prepare()")
def unprepared(folder: Path) -> Subject:
    PREPARED[:] = [True]
    return whole(Unprepared())


class Unprepared(GoodTokenizer, frozen=True):
    """It needs a call that no worker makes."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        if not PREPARED:
            raise RuntimeError("nobody called prepare()")
        return super().level(values)


@fault("worker-encodes", "exit code 3")
class Exiting(GoodTokenizer, frozen=True):
    """It ends the process that it does not know."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        import os
        import sys

        if "pytest" not in sys.modules:
            os._exit(3)
        return super().level(values)


# -- saving


@fault("recipe", "field 'levels' is 17, and 18 when it comes back")
class Growing(GoodTokenizer, frozen=True):
    """Its configuration means another thing each time."""

    def __post_init__(self) -> None:
        structs.force_setattr(self, "levels", self.levels + 1)


@fault("recipe", "TOML cannot hold")
class Nested(GoodTokenizer, frozen=True):
    """A field that TOML has no form for."""

    steps: Annotated[tuple[int | None, ...], Meta(description="steps")] = (1, None)


@fault("fit-repeats", "it learned two things")
class Moody(GoodTokenizer, frozen=True):
    """It learns from the clock."""

    def fit(self, samples: Iterable[Any]) -> Self:
        return structs.replace(self, state=json.dumps({"mean": time.perf_counter(), "std": 1.0}).encode())


@fault("fit-repeats", "a generator of the same samples")
class TwicePassing(GoodTokenizer, frozen=True):
    """It goes through the samples twice."""

    def fit(self, samples: Iterable[Any]) -> Self:
        count = sum(1 for _ in samples)
        return structs.replace(super().fit(samples), state=json.dumps({"mean": len(list(samples)) / count, "std": 1.0}).encode())


@fault("fit-keeps-configuration", "fit changes 'levels' from 16 to 8")
class Reforming(GoodTokenizer, frozen=True):
    """It learns a configuration."""

    def fit(self, samples: Iterable[Any]) -> Self:
        return structs.replace(self, levels=8)


@fault("fit-keeps-configuration", "fit changes 'instance'")
class Renaming(GoodTokenizer, frozen=True):
    """It forgets its name."""

    def fit(self, samples: Iterable[Any]) -> Self:
        return structs.replace(super().fit(samples), instance="")


@fault("fit-nothing", "fit([]) raised ZeroDivisionError")
class Averaging(GoodTokenizer, frozen=True):
    """It divides by the number of samples."""

    def fit(self, samples: Iterable[Any]) -> Self:
        raws = list(samples)
        assert 1 / len(raws) > 0
        return super().fit(raws)


LEARNED: dict[str, int] = {}


@fault("restored", "its channels are others when it is restored")
class Elsewhere(GoodTokenizer, frozen=True):
    """What it learned is not in its state."""

    def fit(self, samples: Iterable[Any]) -> Self:
        fitted = super().fit(samples)
        LEARNED[str(id(fitted))] = 7
        KEPT.append(fitted)
        return fitted

    def channels(self) -> dict[str, Channel]:
        return changed(self, "level", vocab=self.levels + 2 + LEARNED.get(str(id(self)), 0))


KEPT: list[Any] = []


@fault("restored", "other tokens when it is restored")
def stateless(folder: Path) -> Subject:
    return whole(Stateless(extra=3))


class Stateless(GoodTokenizer, frozen=True, dict=True):
    """A setting that is no field."""

    extra: Annotated[int, Meta(description="added to every level")] = 0

    def __post_init__(self) -> None:
        structs.force_setattr(self, "extra", 0) if self.extra == 3 and SEEN else SEEN.append(1)

    def level(self, values: torch.Tensor) -> torch.Tensor:
        return (super().level(values) + self.extra) % self.levels


SEEN: list[int] = []


@fault("pretrained", "other tokens from its published files")
def lossy(folder: Path) -> Subject:
    return whole(Lossy(shift=2))


class Lossy(GoodTokenizer, frozen=True):
    """One field is left out of the published file."""

    shift: Annotated[int, Meta(description="added to every level")] = 0

    def level(self, values: torch.Tensor) -> torch.Tensor:
        return (super().level(values) + self.shift) % self.levels

    def save_pretrained(self, folder: Path) -> None:
        structs.replace(self, shift=0).publish(folder)

    def publish(self, folder: Path) -> None:
        super().save_pretrained(folder)


@fault("pretrained", "it has from_pretrained and not the other")
class OneSided(GoodTokenizer, frozen=True):
    """It reads what it never writes."""

    save_pretrained = good.Tokenizer.save_pretrained


@fault("pretrained", "an empty folder raised FileNotFoundError")
class Unguarded(GoodTokenizer, frozen=True):
    """It takes for granted that the file is there."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        assert (Path(folder) / "good.json").read_text()
        return super().from_pretrained(folder)


# -- speed and memory


@fault("import-time", "importing tests.laws.faults.slow takes", IMPORT_SECONDS=0.2)
def slow_import(folder: Path) -> Subject:
    from .slow import SlowTokenizer

    return whole(SlowTokenizer())


@fault("import-quiet", "importing tests.laws.faults.slow prints 'loading the slow plugin'")
def loud_import(folder: Path) -> Subject:
    from .slow import SlowTokenizer

    return whole(SlowTokenizer())


@fault("encode-speed", "allowed are", SECONDS_PER_OBJECT=0.01, SECONDS_PER_TOKEN=1e-4)
class Slow(GoodTokenizer, frozen=True):
    """Every object takes a while."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        end = time.process_time() + 0.04
        while time.process_time() < end:
            pass
        return super().level(values)


@fault("encode-linear", "an object 8 times as large takes", QUICK=0.02)
class Quadratic(GoodTokenizer, frozen=True):
    """It looks for every number from the beginning."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        numbers = values.tolist()
        assert all(numbers.count(x) for x in numbers)
        return super().level(values)


@fault("encode-memory", "times the memory")
class Hoarding(GoodTokenizer, frozen=True):
    """It makes a table of all pairs."""

    def level(self, values: torch.Tensor) -> torch.Tensor:
        assert len((values[:, None] == values[None]).numpy().copy()) == len(values)
        return super().level(values)
