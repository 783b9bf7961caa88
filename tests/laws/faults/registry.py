"""How a fault is noted: the check that must report it, and the subject that has it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnitok.checks import BY_ID, Subject
from omnitok.data import Dataset
from omnitok.tokenizer import Tokenizer

from . import good


@dataclass(frozen=True)
class Fault:
    """One broken plugin: which check reports it, with words that its report holds, and limits that stand in for patience."""

    check: str
    words: str
    make: Callable[[Path], Subject]
    name: str
    limits: dict[str, Any]


FAULTS: list[Fault] = []


def fault(check: str, words: str, **limits: Any) -> Callable[[Any], Any]:
    """Note a broken Tokenizer or Dataset class, or a function (of a temporary folder) that makes a subject.

    `limits` are constants of the check's own module that are lowered for it.
    """
    assert check in BY_ID, f"there is no check {check!r}"

    def note(broken: Any) -> Any:
        if isinstance(broken, type) and issubclass(broken, Dataset):
            make = lambda folder: whole(datasets=[broken])  # noqa: E731
        elif isinstance(broken, type) and issubclass(broken, Tokenizer):
            make = lambda folder: whole(broken(), folder=folder)  # noqa: E731
        else:
            make = broken
        FAULTS.append(Fault(check, words, make, broken.__name__, limits))
        return broken

    return note


def whole(tokenizer: Tokenizer | None = None, folder: Path | None = None, **more: Any) -> Subject:
    """A subject with all that a plugin can have: a file that it reads, its module, its datasets."""
    files = []
    if folder is not None:
        files = [folder / "example.good"]
        files[0].write_text(" ".join(f"{i / 40:.3f}" for i in range(40)) + f" {good.END_OF_FILE}\n")
    own = {"files": files, "datasets": [good.Beats], "module": sys.modules[good.__name__]}
    return Subject(tokenizer or good.GoodTokenizer(), **{**own, **more})
