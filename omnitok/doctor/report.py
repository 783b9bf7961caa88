"""All examinations, side by side where they are processes, and the report: a table, JSON, or Markdown for an issue."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import accelerator, brought, installed_plugins, libraries, machine, surroundings
from .findings import Complaint, Finding

SECONDS = 12.0
"""that an examination in a process of its own may take."""

FAILED = Complaint(
    "doctor-failed",
    "problem",
    "the examination {name!r} of the doctor itself failed: {error}",
    "`pip install --force-reinstall omnitok`; where that does not help, open an issue with `omnitok doctor --markdown`",
)

Examination = Callable[[], Iterable[Finding]]


def examinations(seconds: float = SECONDS) -> dict[str, Examination]:
    """Every examination by its name, in the order of the report."""
    found: dict[str, Examination] = {
        "python": libraries.python,
        "libraries": libraries.dependencies,
        "torch": lambda: accelerator.torch(seconds),
        "extras": libraries.extras,
        "plugins": installed_plugins.plugins,
    }
    for entry in brought.brought():
        found[f"{entry.name} (plugin)"] = _of(entry, seconds)
    return found | {
        "threads": machine.threads,
        "folders": machine.folders,
        "shared memory": machine.shared_memory,
        "variables": surroundings.variables,
        "hidden libraries": surroundings.hidden_libraries,
        "command": surroundings.script,
        "encoding": machine.encoding,
    }


def _of(entry: Any, seconds: float) -> Examination:
    return lambda: brought.examine(entry, seconds)


def examine(seconds: float = SECONDS, only: Sequence[str] | None = None) -> list[Finding]:
    """The findings of all examinations, or of those named; one that fails is a finding itself."""
    chosen = {name: e for name, e in examinations(seconds).items() if only is None or name in only}
    with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
        found = list(pool.map(_findings, chosen, chosen.values()))
    return [finding for each in found for finding in each]


def _findings(name: str, examination: Examination) -> list[Finding]:
    try:
        return list(examination())
    except Exception as error:
        return [FAILED(name=name, error=f"{type(error).__name__}: {error}")]


# -- reports


def as_json(findings: Sequence[Finding]) -> str:
    """Versions, findings, and whether there is no problem."""
    facts = {"ok": not any(f.level == "problem" for f in findings), "versions": libraries.versions()}
    return json.dumps({**facts, "findings": [asdict(f) for f in findings]}, indent=2)


def as_markdown(findings: Sequence[Finding]) -> str:
    """For an issue: tables of versions and findings, without the names of the user, of the machine and of private folders."""
    versions = [f"| {name} | {version or 'missing'} |" for name, version in libraries.versions().items()]
    rows = [f"| {f.level} | {_cell(f.what)} | {_cell(f.next)} |" for f in sorted(findings, key=_severity)]
    lines = [
        "### omnitok doctor",
        "",
        summary(findings),
        "",
        "| | found | next step |",
        "|---|---|---|",
        *rows,
        "",
        "<details><summary>Versions</summary>",
        "",
        "| | version |",
        "|---|---|",
        *versions,
        "",
        "</details>",
    ]
    return anonymous("\n".join(lines))


def as_text(findings: Sequence[Finding]) -> str:
    """Plain lines, for where no table can be drawn."""
    lines = [f"{f.level:8} {f.what}" + (f"\n{'':8} -> {f.next}" if f.next else "") for f in findings]
    return "\n".join([*lines, "", summary(findings)])


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of what."""
    problems, warnings = (sum(f.level == level for f in findings) for level in ("problem", "warning"))
    return f"{_counted(problems, 'problem')}, {_counted(warnings, 'warning')}"


def _counted(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"


def _severity(finding: Finding) -> int:
    return ("problem", "warning", "ok").index(finding.level)


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def anonymous(text: str) -> str:
    """Text without the home folder, other people's home folders, the name of the user and of the machine."""
    for folder, stand_in in _private():
        text = re.sub(rf"{re.escape(folder)}(?=[/\\\s:;,)'\"`]|$)", stand_in, text, flags=re.MULTILINE)
    text = re.sub(r"(/home/|/Users/|\\Users\\)[^/\\\s:;,)'\"`|]+", r"\1<user>", text)
    for name in _names():
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "<name>", text)
    return text


def _private() -> Iterator[tuple[str, str]]:
    """Folders that tell who works here, the longest first, and what stands for them."""
    folders = {sys.prefix: "<environment>", str(Path.home()): "~", os.path.realpath(Path.home()): "~"}
    with contextlib.suppress(OSError):
        folders[os.getcwd()] = "<working folder>"
    yield from sorted(((f, s) for f, s in folders.items() if len(f) > 1), key=lambda pair: -len(pair[0]))


def _names() -> list[str]:
    """The user's and the machine's names; words that say nothing of anybody are left."""
    told = {os.environ.get(v, "") for v in ("USER", "LOGNAME", "USERNAME")} | {Path.home().name, socket.gethostname()}
    return sorted((n for n in told if len(n) > 2 and n not in ("root", "localhost", "user")), key=len, reverse=True)
