"""Findings: what an examination says in one line, how bad it is, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    id: str
    level: Level
    what: str
    next: str = ""

    def __post_init__(self) -> None:
        for name in ("what", "next"):
            object.__setattr__(self, name, " ".join(getattr(self, name).split()))


@dataclass(frozen=True)
class Complaint:
    """A finding that can be made: call it with the values for the gaps in `what` and `next`."""

    id: str
    level: Literal["warning", "problem"]
    what: str
    next: str

    def __call__(self, **values: object) -> Finding:
        return Finding(self.id, self.level, self.what.format(**values), self.next.format(**values))


def fine(id: str, what: str, next: str = "") -> Finding:
    """Nothing to complain of."""
    return Finding(id, "ok", what, next)
