"""`omnitok plugins`: the list from metadata alone, one plugin explained, or all of them checked."""

from __future__ import annotations

import json as json_
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from ..errors import ConfigError
from ..plugins import Host, load_plugins
from .common import PluginFiles, Sets, console, parse_sets


def plugins(
    name: Annotated[str | None, Parameter(help="Explain this plugin: its tokens and its configuration. Imports it.")] = None,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
    check: Annotated[bool, Parameter(help="Import each plugin in a process of its own and check the contract's laws.")] = False,
    timeout: Annotated[float, Parameter(help="Seconds that a check may take.")] = 120.0,
    plugin: PluginFiles = (),
    set_: Sets = (),
) -> int:
    """List the installed plugins, explain one, or check them."""
    if check:
        from .check import check_plugins

        return check_plugins(name, plugin, parse_sets(set_), timeout, json)
    host = load_plugins(files=plugin)
    if name is not None:
        from .explain import explain

        return explain(host, name, parse_sets(set_), json)
    if set_:
        raise ConfigError("--set configures one plugin: give its name")
    _list(host, json)
    return 0


def _list(host: Host, json: bool) -> None:
    records = host.status()
    if json:
        print(json_.dumps([asdict(r) | {"suffixes": list(r.suffixes)} for r in records], indent=2))
        return
    table = Table("name", "distribution", "version", "status", "files")
    for record in records:
        status = f"{record.status}: {record.reason}" if record.error else record.status
        table.add_row(record.name, record.distribution, record.version[:19], status, " ".join(record.suffixes))
    console().print(table if records else "no plugins are installed")
