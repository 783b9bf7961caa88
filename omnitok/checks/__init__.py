"""The conformance kit: every promise of the plugin contract as a named check, for plugin authors and our own tests.

A check complains, skips itself with the reason, or is silent. `check_tokenizer` asks them all; `omnitok check` prints what
came out, and `omnitok.testing.parametrize_with_checks` makes tests of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import unknown_name
from ..plugins.discovery import GROUP, PluginStatus
from ..tokenizer import Tokenizer
from . import (
    count,
    datasets,
    determinism,
    embedding,
    files,
    generation,
    packing,
    refusal,
    registration,
    roundtrip,
    saving,
    schema,
    speed,
    training,
    versions,
    workers,
)
from .base import Case, Check, Outcome, Skip, Subject, told

if TYPE_CHECKING:
    from ..plugins import Host

_ROOMS = (
    registration,
    schema,
    roundtrip,
    refusal,
    files,
    count,
    determinism,
    workers,
    packing,
    embedding,
    generation,
    training,
    saving,
    datasets,
    versions,
    speed,
)
CHECKS: tuple[Check, ...] = tuple(check for room in _ROOMS for check in room.CHECKS)
"""All checks, by group, in the order in which they are asked."""
GROUPS = tuple(dict.fromkeys(check.group for check in CHECKS))
BY_ID = {check.id: check for check in CHECKS}


def select(only: Iterable[str] = ()) -> tuple[Check, ...]:
    """The checks of these groups and ids; all of them where none is named. Raises UnknownNameError with the nearest."""
    wanted = list(only)
    for name in wanted:
        if name not in BY_ID and name not in GROUPS:
            raise unknown_name("check or group", name, [*BY_ID, *GROUPS], "groups")
    return tuple(c for c in CHECKS if not wanted or c.id in wanted or c.group in wanted)


def expecting(expected: Mapping[str, str] | None) -> dict[str, str]:
    """id -> reason why it may fail. Raises UnknownNameError, with the nearest, for an id that does not exist."""
    for name in expected or {}:
        if name not in BY_ID:
            raise unknown_name("check in expected failures:", name, BY_ID, "checks")
    return dict(expected or {})


def subject_of(host: Host, name: str, files: Sequence[Path] = (), **config: Any) -> Subject:
    """A plugin's tokenizer with all that metadata and its hooks say of it. Raises what `Host.tokenizer` raises."""
    tokenizer = host.tokenizer(name, **config)
    status = next((record for record in host.status() if record.name == name), None)
    sets = [host.dataset_class(each) for each in host.datasets(name) if each.partition("/")[0] == name]
    return Subject(tokenizer, files=files, module=_module(type(tokenizer), status), status=status, datasets=sets)


def _module(cls: type[Tokenizer], status: PluginStatus | None) -> ModuleType | None:
    """The module whose hooks register a class: the one that the entry point names, or the file."""
    if status is None or status.is_file:
        return sys.modules.get(cls.__module__.partition(".")[0])
    entries = metadata.entry_points(group=GROUP, name=status.name)
    return next((importlib.import_module(entry.module) for entry in entries), None)


def examine(
    subject: Subject,
    only: Iterable[str] = (),
    expected: Mapping[str, str] | None = None,
    begin: Callable[[Check], None] = lambda check: None,
    end: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Ask the checks; `begin` is told each before it is asked, and `end` each outcome at once.

    Those that matter for it are asked of what `fit` makes of the tokenizer, too. A check in `expected` must fail.
    """
    reasons, fitted = expecting(expected), fitted_of(subject)
    found = []
    for each in select(only):
        begin(each)
        outcome = judge(each, subject, fitted, reasons.get(each.id))
        end(outcome)
        found.append(outcome)
    return found


def judge(check: Check, subject: Subject, fitted: Subject | None = None, reason: str | None = None) -> Outcome:
    """The outcome of one check, of the tokenizer as it is and as `fit` makes it; with a `reason` it must fail."""
    outcome = check(subject)
    if check.fitted and fitted is not None and outcome.result != "failed":
        again = check(fitted)
        seconds = outcome.seconds + again.seconds
        if again.result == "failed" or outcome.result == "skipped":
            outcome = replace(again, message=f"fitted to its samples, {again.message}" if again.message else "")
        outcome = replace(outcome, seconds=round(seconds, 3))
    if reason is not None:
        if outcome.result == "ok":
            return replace(
                outcome, result="failed", message=f"was expected to fail ({reason}), and does not", fix="expect it no more"
            )
        if outcome.result == "failed":
            return replace(outcome, result="expected", message=f"{reason} ({outcome.message})")
    return outcome


def fitted_of(subject: Subject) -> Subject | None:
    """The subject with what `fit` makes of its tokenizer, where that is another."""
    if not subject.overrides("fit"):
        return None
    try:
        tokenizer = subject.tokenizer.fit(subject.tokenizer.samples(1))
        if not isinstance(tokenizer, Tokenizer) or tokenizer == subject.tokenizer:
            return None
    except Exception:
        return None  # the checks of the group "saving" tell
    return replace(subject, tokenizer=tokenizer, shared={})


def check_tokenizer(
    tokenizer: Tokenizer,
    samples: Sequence[Any] | None = None,
    only: Iterable[str] = (),
    expected_failures: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
) -> list[Outcome]:
    """Hold a tokenizer against the checks, over its own `samples` or those given.

    `only` names groups or ids, `files` are examples of what its `read` takes, and `expected_failures` are ids with the
    reason why they may fail. Raises UnknownNameError for a name that does not exist.
    """
    return examine(Subject(tokenizer, samples, files), only, expected_failures)


__all__ = [
    "BY_ID",
    "CHECKS",
    "GROUPS",
    "Case",
    "Check",
    "Outcome",
    "Skip",
    "Subject",
    "check_tokenizer",
    "examine",
    "expecting",
    "fitted_of",
    "judge",
    "select",
    "subject_of",
    "told",
]
