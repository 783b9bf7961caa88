"""`omnitok plugins --check`: every plugin is imported in a process of its own, and how that went is remembered.

`python -m omnitok.commands.refresh` is that process. It finds out whether the plugin can be used, and no more: `omnitok check`
holds it against the laws of the contract.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import unknown_name
from ..plugins import Host, load_plugins
from ..plugins.discovery import PluginStatus, from_file, installed
from ..plugins.importing import last_import
from ..plugins.isolation import import_seconds
from ..plugins.remembered import LastImport, Memory, Result, note
from .child import ChildFailure, run_in_child, serve

MODULE = "omnitok.commands.refresh"
START, NO_LIMIT = 90.0, 3600.0
"""seconds that a child may need to start and to import torch; most seconds for an import where no limit is set"""


def refresh(name: str | None, files: Sequence[Path], timeout: float | None) -> tuple[Host, list[PluginStatus]]:
    """Import one plugin or all, and the one-file plugins, in children, several at a time.

    The host knows how that went, and the records are those that were asked for. What is disabled, doubled or made for
    another omnitok is not imported, and files are not remembered. Raises UnknownNameError for a name that no plugin has.
    """
    memory = Memory()
    host = load_plugins(strict=False, memory=memory)
    if name is not None and name not in host.names() and not files:
        raise unknown_name("plugin", name, host.names(), "installed")
    seconds = import_seconds() if timeout is None else timeout
    given = [from_file(path).record for path in files]
    records = [*given, *(r for r in host.status() if name in (None, r.name) and _may_be_tried(r))]
    reports = _in_children([{"record": asdict(r), "seconds": seconds} for r in records])
    results = {r.name: _outcome(r, report) for r, report in list(zip(records, reports, strict=True))[len(given) :]}
    if results and not memory.record(results):
        note(memory.problem)
    host = load_plugins(strict=False, memory=memory)
    seen = [_seen(r, report) for r, report in zip(given, reports, strict=False)]
    return host, [*(r for r in host.status() if name in (None, r.name)), *seen]


def _may_be_tried(record: PluginStatus) -> bool:
    return record.status in ("ok", "not imported") or (record.status == "broken" and (record.retry or record.harmful))


def _in_children(tasks: Sequence[dict[str, Any]]) -> list[Any]:
    """The report of every child, or how it failed; as many at a time as there are cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(max_workers=max(1, min(len(tasks), cores)))
    try:
        return list(pool.map(lambda task: run_in_child(MODULE, task, (task["seconds"] or NO_LIMIT) + START), tasks))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _seen(record: PluginStatus, report: Mapping[str, Any] | ChildFailure) -> PluginStatus:
    """The record as a child left it."""
    if isinstance(report, ChildFailure):
        return replace(record, status="broken", error=f"its import: {report}", harmful=True)
    return replace(record, name=report["name"], status=report["status"], error=report["error"], harmful=report["harmful"])


def _outcome(record: PluginStatus, report: Mapping[str, Any] | ChildFailure) -> LastImport:
    """What is remembered of it."""
    if isinstance(report, ChildFailure):
        return last_import(_seen(record, report), "hung" if report.kind == "timeout" else "ended")
    result: Result = "ok" if report["status"] == "ok" else "hung" if report["harmful"] else "broken"
    return last_import(_seen(record, report), result, report["datasets"])


def work(task: Mapping[str, Any]) -> dict[str, Any]:
    """The child: import the plugin of one record and say how that went."""
    wanted = PluginStatus(**task["record"])
    if wanted.is_file:
        host = Host([], [from_file(Path(wanted.distribution))], seconds=task["seconds"])
    else:
        same = (p for p in installed() if (p.record.name, p.record.distribution) == (wanted.name, wanted.distribution))
        host = Host(same, seconds=task["seconds"])
    host.usable()
    record = host.status()[0]
    return {**asdict(record), "name": ", ".join(host.names()), "datasets": host.last_datasets()}


if __name__ == "__main__":
    serve(work)
