"""`omnitok plugins`: the list from metadata alone, one plugin explained, all tried in child processes, and which are disabled."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from rich.table import Column, Table

from ..errors import ConfigError, unknown_name
from ..plugins import Host, load_plugins
from ..plugins.api_range import OURS, canonical
from ..plugins.discovery import PluginStatus, installed
from ..plugins.host import strict_is_set
from ..plugins.refusals import remedies
from ..plugins.remembered import Memory
from .common import PluginFiles, Sets, console, parse_sets

app = cyclopts.App(
    name="plugins",
    help="List, explain, try, disable or enable plugins.",
    usage="Usage: omnitok plugins [NAME] [OPTIONS]\n       omnitok plugins disable|enable NAME ...",
    help_epilogue="""The list is made from metadata and what is remembered of earlier imports: it
imports no plugin. Below it stands what can be done about a plugin that cannot
be used; such a plugin harms no other, and is an error only when asked for.

In the environment:
OMNITOK_PLUGINS=one,two    leaves out all other installed plugins
OMNITOK_STRICT=1           a plugin that is enabled and cannot be used is an
                           error at once, for continuous integration
OMNITOK_IMPORT_SECONDS=30  most that importing one plugin may take; 0: no limit
OMNITOK_HOME=FOLDER        where imports and disabled plugins are remembered""",
    help_format="plaintext",
)
BAD = ("broken", "duplicate", "too old", "too new")
ACTIONS = ("disable", "enable")


@app.default
def plugins(
    name: Annotated[str | None, Parameter(help="Explain this plugin: its tokens and its configuration. Imports it.")] = None,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
    check: Annotated[
        bool, Parameter(help="Import every plugin (or NAME) in a process of its own, and remember how that went.")
    ] = False,
    timeout: Annotated[float | None, Parameter(help="With --check: seconds that one import may take.")] = None,
    plugin: PluginFiles = (),
    set_: Sets = (),
) -> int:
    """List the installed plugins, explain one (NAME), or try them all (--check)."""
    if timeout is not None and not check:
        raise ConfigError("--timeout belongs to --check")
    if check:
        from .refresh import refresh

        host, records = refresh(name, plugin, timeout)
        return _list(host, json, records)
    if name is not None:
        from .explain import explain

        return explain(load_plugins(files=plugin, strict=False), name, parse_sets(set_), json)
    if set_:
        raise ConfigError("--set configures one plugin: give its name")
    host = load_plugins(files=plugin, strict=False)
    wrong = _list(host, json, host.status())
    return wrong if strict_is_set() else 0


@app.command
def disable(
    *names: Annotated[str, Parameter(name="NAME", help="The plugin's name; DISTRIBUTION:NAME for one of two of that name.")],
) -> int:
    """Pass over plugins until they are enabled: they are listed, and claim no files. Imports nothing."""
    memory = Memory()
    known = _known()
    for name in _given(names, "disable"):
        if name not in known:
            raise unknown_name("plugin", name, known, "installed")
    memory.disable(names)
    print(f"disabled: {', '.join(names)}; `omnitok plugins enable {' '.join(names)}` takes it back")
    return 0


@app.command
def enable(
    *names: Annotated[str, Parameter(name="NAME", help="The plugin's name, as it was disabled.")],
) -> int:
    """Use disabled plugins again. Imports nothing."""
    memory = Memory()
    for name in _given(names, "enable"):
        if name not in memory.disabled and name in _known():
            raise ConfigError(f"plugin {name!r} is not disabled; disabled: {', '.join(memory.disabled) or 'none'}")
        if name not in memory.disabled:
            raise unknown_name("plugin", name, memory.disabled, "disabled")
    memory.enable(names)
    print(f"enabled: {', '.join(names)}")
    return 0


def _given(names: Sequence[str], action: str) -> Sequence[str]:
    if not names:
        raise ConfigError(f"name the plugins to {action}: `omnitok plugins {action} NAME`")
    return names


def _known() -> set[str]:
    """Every word that `disable` takes."""
    records = [plugin.record for plugin in installed()]
    return {r.name for r in records} | {f"{r.distribution}:{r.name}" for r in records}


def _list(host: Host, json: bool, records: Sequence[PluginStatus]) -> int:
    """Print the records; the exit code is 1 where one that is not disabled cannot be used."""
    advice = {r: remedies(r, [s for s in host.status() if (s.name, s.status) == (r.name, r.status)]) for r in records}
    if json:
        print(json_.dumps([_plain(r, advice[r]) for r in records], indent=2))
        return int(any(r.status in BAD for r in records))
    out = console()
    if not records:
        out.print("no plugins are installed")
        return 0
    table = Table(*(Column(title, overflow="fold") for title in ("name", "distribution", "version", "status", "files")))
    for r in records:
        table.add_row(r.name, r.distribution, r.version[:19], _status(r), " ".join(r.suffixes))
    out.print(table)
    for line in dict.fromkeys(f"{r.name}: {', or '.join(advice[r])}" for r in records if advice[r]):
        out.print(line)
    free = sorted({r.distribution for r in records if _asks_nothing(r)})
    if free:
        out.print(f"without a range of omnitok versions in their requirements: {', '.join(free)}")
    if host.left_out:
        out.print(f"left out by OMNITOK_PLUGINS: {', '.join(sorted(host.left_out))}")
    return int(any(r.status in BAD for r in records))


def _status(record: PluginStatus) -> str:
    match record.status:
        case "ok" if record.when:
            return f"ok on {record.when[:10]}"
        case "not imported":
            return "not imported yet"
        case "broken":
            return f"broken{f' on {record.when[:10]}' if record.when else ''}: {record.reason}"
        case "too old" | "too new":
            return f"{record.status}: asks for {record.asks}"
        case "duplicate":
            return "duplicate: another has this name"
    return record.status


def _asks_nothing(record: PluginStatus) -> bool:
    return not record.asks and not record.is_file and bool(record.module) and canonical(record.distribution) != OURS


def _plain(record: PluginStatus, advice: Sequence[str]) -> dict[str, Any]:
    return {**asdict(record), "suffixes": list(record.suffixes), "reason": record.reason, "remedies": list(advice)}
