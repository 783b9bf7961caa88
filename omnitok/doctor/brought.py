"""Examinations that plugins bring: entry points of the group `omnitok.doctor`, each run in a process of its own.

Such an entry point, `NAME = "module:function"`, names a function without arguments that gives `Finding`s.
`python -m omnitok.doctor.brought` is that process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from ..commands.child import ChildFailure, run_in_child, serve
from ..plugins.discovery import entry_points
from .findings import Complaint, Finding

GROUP = "omnitok.doctor"

FAILED = Complaint(
    "examination-failed",
    "problem",
    "the examination {name!r} of {whose} failed: {reason}",
    "`pip install -U {whose}`; where that does not help, tell its authors",
)


def brought() -> list[metadata.EntryPoint]:
    """The examinations of all plugins, sorted by name; none of their code is imported."""
    return sorted(entry_points(GROUP), key=lambda e: (e.name, e.value))


def examine(entry: metadata.EntryPoint, seconds: float) -> Iterator[Finding]:
    """Run one of them elsewhere."""
    answer = run_in_child(__name__, {"name": entry.name, "value": entry.value}, seconds)
    if isinstance(answer, ChildFailure):
        whose = entry.dist.name if entry.dist is not None else entry.value
        yield FAILED(name=entry.name, whose=whose, reason=answer)
        return
    yield from (Finding(**finding) for finding in answer)


def run(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The child: import the function and call it."""
    function = metadata.EntryPoint(task["name"], task["value"], GROUP).load()
    return [asdict(finding) for finding in function()]


if __name__ == "__main__":
    serve(run)
