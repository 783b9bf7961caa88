"""`omnitok check`: plugins held against every promise of the contract, each in a process of its own with a time limit.

A plugin that crashes, exits, prints or hangs harms nothing but its own report. `python -m omnitok.commands.check` is that
process. The checks themselves are `omnitok/checks/`.
"""

from __future__ import annotations

import json as json_
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from ..errors import ConfigError, OmnitokError, PluginError, unknown_name
from ..plugins import load_plugins
from .child import ChildFailure, run_in_child, serve, tell
from .common import PluginFiles, Sets, console, one_line, parse_sets
from .junit import junit

Report = dict[str, Any]
"""One plugin: its name, the error that kept it from being checked, and the outcomes of its checks as mappings."""
ORDER = ("failed", "expected", "skipped", "ok")


def check(
    *names: Annotated[str, Parameter(name="NAME", help="The plugins; none: all that are enabled, or those in the files.")],
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
    junit: Annotated[
        Path | None, Parameter(name="--junit", help="Also write the outcomes as JUnit XML, for a CI server.")
    ] = None,
    only: Annotated[tuple[str, ...], Parameter(help="A group, or a check's id; may be repeated.")] = (),
    expect: Annotated[
        tuple[str, ...], Parameter(name="--expect", help="A check that may fail, ID=REASON; it must then. May be repeated.")
    ] = (),
    example: Annotated[
        tuple[Path, ...], Parameter(help="A file that the plugin reads, for the checks of files; may be repeated.")
    ] = (),
    timeout: Annotated[float, Parameter(help="Seconds that the checks of one plugin may take.")] = 120.0,
    list_: Annotated[bool, Parameter(name="--list", help="List all checks, with what they hold you to and what to do.")] = False,
    plugin: PluginFiles = (),
    set_: Sets = (),
) -> int:
    """Hold plugins against every promise of the plugin contract. Exit code 1 where one is broken."""
    if list_:
        return _list(only, json)
    asked = {"only": list(only), "expected": _expected(expect), "config": parse_sets(set_), "examples": [str(f) for f in example]}
    _refuse_unknown(asked)
    targets = _targets(names, plugin)
    for file in example:
        if not file.is_file():
            raise ConfigError(f"--example {file}: no such file")
    if (set_ or example) and len(targets) != 1:
        raise ConfigError("--set and --example are for one plugin: give its name")
    reports = [report for name, files in targets for report in _checked(name, files, asked, timeout)]
    if junit is not None:
        _write(junit, reports)
    if json:
        print(json_.dumps(reports, indent=2))
    else:
        _print(reports)
    return int(any(_failed(report) for report in reports))


def _targets(names: Sequence[str], files: Sequence[Path]) -> list[tuple[str | None, Sequence[Path]]]:
    """(name, one-file plugins) for each child process; no name: whatever the files register."""
    records = load_plugins().status()
    installed = [r.name for r in records]
    for file in files:
        if not file.is_file():
            raise ConfigError(f"plugin file {file} does not exist")
    for name in names:
        if name not in installed and not files:
            raise unknown_name("plugin", name, installed, "installed")
    if names:
        return [(name, files) for name in names]
    enabled = dict.fromkeys(r.name for r in records if r.status != "disabled")
    return [*(() if files else ((name, ()) for name in enabled)), *((None, [file]) for file in files)]


def _expected(expect: Sequence[str]) -> dict[str, str]:
    found = {}
    for item in expect:
        name, equals, reason = item.partition("=")
        if not equals or not reason.strip():
            raise ConfigError(f"--expect {item!r}: write it as ID=REASON")
        found[name.strip()] = reason.strip()
    return found


def _refuse_unknown(asked: Mapping[str, Any]) -> None:
    """Raise UnknownNameError here, once, instead of in every child."""
    if asked["only"] or asked["expected"]:
        from ..checks import expecting, select

        select(asked["only"])
        expecting(asked["expected"])


def _checked(name: str | None, files: Sequence[Path], asked: Mapping[str, Any], timeout: float) -> list[Report]:
    """The reports of a child process; what it fails to say is said for it."""
    task = {"name": name, "files": [str(f) for f in files], **asked}
    answer = run_in_child("omnitok.commands.check", task, timeout)
    if not isinstance(answer, ChildFailure):
        return answer  # type: ignore[no-any-return]
    reports: list[Report] = []
    for told in answer.told:
        if "plugin" in told:
            reports.append({"name": told["plugin"], "error": "", "checks": []})
        elif "outcome" in told:
            reports[-1]["checks"].append(told["outcome"])
    last = answer.told[-1] if answer.told else {}
    if "begun" not in last:
        return [*reports, {"name": name or ", ".join(map(str, files)), "error": answer.words, "checks": []}]
    reports[-1]["checks"].append(last["begun"] | {"result": "failed", "message": answer.words})
    reports[-1]["error"] = f"the checks behind {last['begun']['id']} were not reached"
    return reports


def _failed(report: Report) -> bool:
    return bool(report["error"]) or any(c["result"] == "failed" for c in report["checks"])


# -- what came out


def _print(reports: Sequence[Report]) -> None:
    out = console()
    for report in reports:
        counts = {r: sum(c["result"] == r for c in report["checks"]) for r in ORDER}
        words = {"failed": "failed", "expected": "failed as expected", "skipped": "do not apply", "ok": "kept"}
        told = ", ".join(f"{n} {words[r]}" for r, n in counts.items() if n)
        seconds = sum(c["seconds"] for c in report["checks"])
        out.print(f"{report['name']}: {told or 'not checked'}" + (f" ({seconds:.1f} s)" if told else ""))
        if report["error"]:
            out.print(f"error: {report['error']}")
        if report["checks"]:
            out.print(_table(report["checks"]))
    if not reports:
        out.print("no plugins are installed")


def _table(checks: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each check that failed, with what to do; then for those that do not apply; then one for each group."""
    table = Table("group", "check", "result", "what")
    for each in sorted(checks, key=lambda c: ORDER.index(c["result"])):
        if each["result"] == "failed":
            what = f"{each['message']}\npromised: {each['why']}\nto fix: {each['fix']}"
            table.add_row(each["group"], each["id"], "FAILED", what, end_section=True)
        elif each["result"] != "ok":
            table.add_row(each["group"], each["id"], each["result"], each["message"])
    table.add_section()
    for group in dict.fromkeys(c["group"] for c in checks):
        kept = [c["id"] for c in checks if c["group"] == group and c["result"] == "ok"]
        if kept:
            table.add_row(group, f"{len(kept)} kept", "ok", ", ".join(kept))
    return table


def _write(path: Path, reports: Sequence[Report]) -> None:
    try:
        path.write_bytes(junit(reports))
    except OSError as error:
        raise ConfigError(f"--junit {path}: cannot be written ({error.strerror})") from None


def _list(only: Sequence[str], json: bool) -> int:
    from ..checks import select

    checks = select(only)
    if json:
        print(json_.dumps([{"id": c.id, "group": c.group, "why": c.why, "fix": c.fix} for c in checks], indent=2))
        return 0
    table = Table("group", "check", "promise and fix")
    group = ""
    for each in checks:
        if group and each.group != group:
            table.add_section()
        table.add_row(each.group if each.group != group else "", each.id, f"{each.why}\nto fix: {each.fix}")
        group = each.group
    console().print(table)
    return 0


# -- the child


def work(task: Mapping[str, Any]) -> list[Report]:
    """Import one plugin, or all in the files, in this process and ask the checks of its tokenizers."""
    if task["name"] is not None:
        return [_one(task["name"], task)]
    names = load_plugins(only=[], files=task["files"]).names()
    return [_one(name, task) for name in names]


def _one(name: str, task: Mapping[str, Any]) -> Report:
    tell({"plugin": name})
    host = load_plugins(only=[] if task["name"] is None else None, files=task["files"])
    try:
        host.tokenizer(name, **task["config"])
    except PluginError as error:
        reason = next(r.reason for r in host.status() if r.name == name)
        return {"name": name, "error": reason or one_line(error), "checks": []}  # no reason where its code was not even imported
    except OmnitokError as error:
        return {"name": name, "error": one_line(error), "checks": []}
    from ..checks import examine, subject_of  # not earlier: a plugin that fails should fail fast

    subject = subject_of(host, name, [Path(f) for f in task["examples"]], **task["config"])
    outcomes = examine(
        subject,
        task["only"],
        task["expected"],
        begin=lambda c: tell({"begun": {"id": c.id, "group": c.group, "why": c.why, "fix": c.fix, "seconds": 0.0}}),
        end=lambda o: tell({"outcome": asdict(o)}),
    )
    return {"name": name, "error": "", "checks": [asdict(o) for o in outcomes]}


if __name__ == "__main__":
    serve(work)
