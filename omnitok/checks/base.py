"""What a check is, what it is asked of, and how its answer is told."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from ..sequence import TokenSequence
from ..tokenizer import OneWay, Tokenizer

if TYPE_CHECKING:
    from ..data import Dataset
    from ..plugins.discovery import PluginStatus

TOLD = 3
"""Complaints of one check that are told; what is wrong everywhere is wrong a hundred times."""


class Skip(Exception):
    """Raised by a check that does not apply, with the reason."""


@dataclass(frozen=True, eq=False)
class Case:
    """One example object with its tokens."""

    raw: Any
    tokens: TokenSequence
    name: str

    @property
    def meta(self) -> dict[str, Any]:
        """What all its spans carry for `decode` and `place`."""
        return {k: v for span in self.tokens.spans for k, v in span.meta.items()}


@dataclass
class Subject:
    """A tokenizer and all that a check may ask of it."""

    tokenizer: Tokenizer
    raws: Sequence[Any] | None = None
    """example objects; None: those of its own `samples`"""
    files: Sequence[Path] = ()
    """files that its `read` takes"""
    module: ModuleType | None = None
    """the plugin that registers it; None: it was made by hand"""
    status: PluginStatus | None = None
    """what metadata says of that plugin"""
    datasets: Sequence[type[Dataset]] = ()
    shared: dict[Any, Any] = field(default_factory=dict)
    """what is made once for several checks"""

    @cached_property
    def samples(self) -> list[Any]:
        """The example objects. Raises Skip where there are none."""
        try:
            found = list(self.tokenizer.samples(0)) if self.raws is None else list(self.raws)
        except Exception as error:
            raise Skip("its `samples` cannot be made: see the check samples") from error
        if not found:
            raise Skip("its `samples` gives no object: see the check samples")
        return found

    @cached_property
    def cases(self) -> list[Case]:
        """The example objects with their tokens. Raises Skip where they cannot be encoded."""
        try:
            found = [Case(raw, self.tokenizer.encode(raw), f"sample {i}") for i, raw in enumerate(self.samples)]
        except Skip:
            raise
        except Exception as error:
            raise Skip("its samples cannot be encoded: see the check samples") from error
        if not all(isinstance(case.tokens, TokenSequence) for case in found):
            raise Skip("its `encode` gives no TokenSequence: see the check samples")
        return found

    @property
    def gives_back(self) -> bool:
        return not isinstance(self.tokenizer.round_trip, OneWay)

    def overrides(self, *methods: str) -> bool:
        """Whether the tokenizer brings a method of its own."""
        return any(_function(type(self.tokenizer), m) is not _function(Tokenizer, m) for m in methods)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """`make()`, made once for all checks of this subject."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]


def _function(cls: type, name: str) -> Any:
    found = getattr(cls, name)
    return getattr(found, "__func__", found)


Law = Callable[[Subject], Iterator[str]]


@dataclass(frozen=True)
class Check:
    """One promise of the contract, and the function that complains where it is broken."""

    id: str
    group: str
    why: str
    """the promise, in one line"""
    fix: str
    """what to do, in one line"""
    law: Law
    fitted: bool = False
    """whether it is also asked of what `fit` makes of the tokenizer"""

    def __call__(self, subject: Subject) -> Outcome:
        begin = time.perf_counter()
        result, message = self._answer(subject)
        return Outcome(self.id, self.group, result, message, self.why, self.fix, round(time.perf_counter() - begin, 3))

    def _answer(self, subject: Subject) -> tuple[Literal["ok", "failed", "skipped"], str]:
        found: dict[str, None] = {}
        try:
            for complaint in islice(self.law(subject), TOLD):
                found[complaint] = None
        except Skip as skip:
            if not found:
                return "skipped", str(skip)
        except Exception as error:
            found[f"raised {told(error)}"] = None
        return ("failed", "; ".join(found)) if found else ("ok", "")


@dataclass(frozen=True)
class Outcome:
    """What came of one check."""

    id: str
    group: str
    result: Literal["ok", "failed", "skipped", "expected"]
    """"expected": it failed, and was said to"""
    message: str = ""
    """failed: the complaints; skipped and expected: the reason"""
    why: str = ""
    fix: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.result != "failed"

    def __str__(self) -> str:
        message = f": {self.message}" if self.message else ""
        return f"{self.result} {self.id}{message}" + (f" (to fix: {self.fix})" if self.result == "failed" else "")


def check(group: str, id: str, why: str, fix: str, fitted: bool = False) -> Callable[[Law], Check]:
    """Make a check of the function below it."""
    return lambda law: Check(id, group, why, fix, law, fitted)


def checks_of(names: Mapping[str, Any]) -> tuple[Check, ...]:
    """The checks among the names of a module, in the order in which they stand there."""
    return tuple(value for value in names.values() if isinstance(value, Check))


def told(error: BaseException) -> str:
    """An error in words, and the line of the plugin that raised it."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())}" if str(error) else type(error).__name__
    outside = [f for f in traceback.extract_tb(error.__traceback__) if _is_plugin(f.filename)]
    return f"{words} ({Path(outside[-1].filename).name}:{outside[-1].lineno})" if outside else words


def _is_plugin(file: str) -> bool:
    """Whether a file is neither the core's nor a library's."""
    return not Path(file).is_relative_to(Path(__file__).parents[1]) and "site-packages" not in file and "/lib/python" not in file
