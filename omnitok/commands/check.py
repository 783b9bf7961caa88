"""`omnitok plugins --check`: every plugin is imported and held against the laws in a process of its own, with a time limit.

A plugin that crashes, exits, prints or hangs harms nothing but its own line of the table. `python -m omnitok.commands.check`
is that process: it writes its report as JSON to the file it is told.
"""

from __future__ import annotations

import contextlib
import json as json_
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from ..errors import OmnitokError, PluginError, unknown_name
from ..plugins import Host, load_plugins
from .common import console, one_line


def check_plugins(name: str | None, files: Sequence[Path], config: Mapping[str, Any], timeout: float, json: bool) -> int:
    """Check one plugin, or all and the one-file plugins; print what came out. Exit code 1 where one is not ok."""
    installed = load_plugins().names()  # the files are imported by the children only
    if name is None:
        targets: list[tuple[str | None, Sequence[Path]]] = [*((n, ()) for n in installed), *((None, [f]) for f in files)]
    elif name in installed or files:
        targets = [(name, files)]
    else:
        raise unknown_name("plugin", name, installed, "installed")
    reports = [report for each, own in targets for report in check_in_process(each, own, config, timeout)]
    if json:
        print(json_.dumps(reports, indent=2))
    else:
        _print(reports)
    return int(any(r["result"] not in ("ok", "needs configuration") for r in reports))


def _print(reports: Sequence[Mapping[str, Any]]) -> None:
    table = Table("plugin", "result", "what")
    for report in reports:
        failed = [f"{f['id']}: {f['message']}" for f in report["findings"] if not f["ok"]]
        what = report["error"] or "\n".join(failed) or f"{len(report['findings'])} laws kept"
        table.add_row(report["name"], report["result"], what)
    console().print(table if reports else "no plugins are installed")


def check_in_process(name: str | None, files: Sequence[Path], config: Mapping[str, Any], timeout: float) -> list[dict[str, Any]]:
    """The reports of a child process, for one plugin or (no name) all in the files; what it fails to say is said for it."""
    label = name or ", ".join(map(str, files))
    with tempfile.TemporaryDirectory(prefix="omnitok-check-") as folder:
        place = Path(folder) / "report.json"
        task = json_.dumps({"name": name, "files": [str(f) for f in files], "config": config, "report": str(place)})
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        child = subprocess.Popen(
            [sys.executable, "-m", "omnitok.commands.check", task],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            return [_report(label, "timeout", f"no answer within {timeout:g} seconds")]
        finally:
            _end(child)
        try:
            reports: list[dict[str, Any]] = json_.loads(place.read_text())
        except (OSError, ValueError):
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return [_report(label, "failed", f"its process {how} and left no report")]
        return reports


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it may have started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    child.wait()


def _report(name: str, result: str, error: str = "", findings: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    return {"name": name, "result": result, "error": error, "findings": list(findings)}


def check_here(name: str | None, files: Sequence[str], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Import one plugin, or all in the files, in this process and hold its tokenizer against the laws."""
    if name is not None:
        return [_check(load_plugins(files=files), name, config)]
    host = load_plugins(only=[], files=files)
    return [_check(host, each, config) for each in host.names()]


def _check(host: Host, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        tokenizer = host.tokenizer(name, **config)
    except PluginError:
        return _report(name, "failed", next(r.reason for r in host.status() if r.name == name))
    except OmnitokError as error:
        return _report(name, "failed" if config or name not in host.names() else "needs configuration", one_line(error))
    from ..checks import check_plugin  # not earlier: a plugin that fails should fail fast

    findings = [asdict(f) for f in check_plugin(tokenizer)]
    return _report(name, "ok" if all(f["ok"] for f in findings) else "failed", "", findings)


def main() -> None:
    """The child: one argument, what to check and where to write the report."""
    task = json_.loads(sys.argv[1])
    reports = check_here(task["name"], task["files"], task["config"])
    place = Path(task["report"])
    unfinished = place.with_suffix(".part")
    unfinished.write_text(json_.dumps(reports))
    unfinished.rename(place)


if __name__ == "__main__":
    main()
