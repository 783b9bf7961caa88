"""Why a plugin is not used, and what can be done about it, in words."""

from __future__ import annotations

from collections.abc import Sequence

from .. import __version__
from ..errors import DuplicateNameError, PluginError
from .api_range import OURS, canonical
from .discovery import PluginStatus


def refusal(record: PluginStatus, same: Sequence[PluginStatus] = ()) -> PluginError | DuplicateNameError:
    """The error for a plugin that was asked for and cannot be used; `same` are all of its name."""
    name, who = record.name, f"plugin {record.name!r} of {record.distribution} {record.version}".rstrip()
    match record.status:
        case "duplicate":
            places = " and ".join(f"{p.distribution} {p.version}".rstrip() for p in same)
            return DuplicateNameError(f"plugin {name!r} is provided by {places}; uninstall one of them, or {_disable_one(same)}")
        case "disabled":
            return PluginError(f"{who} is disabled; {command('enable', name)} enables it")
        case "too old" | "too new":
            return PluginError(f"{who} asks for {record.asks}; this is {OURS} {__version__}: {_another_version(record)}")
    if record.retry:
        look = command(name, "--plugin", record.distribution) if record.is_file else command(name)
        return PluginError(f"{who} cannot be used: {record.reason} ({look} shows the traceback)")
    return PluginError(f"{who} cannot be used: {record.reason}; {' or '.join(remedies(record))}")


def remedies(record: PluginStatus, same: Sequence[PluginStatus] = ()) -> list[str]:
    """What can be done about a plugin that is not fine, each as a command in backticks where there is one."""
    name = record.name
    match record.status:
        case "ok" | "not imported":
            return []
        case "disabled":
            return [f"{command('enable', name)} enables it"]
        case "duplicate":
            return [*dict.fromkeys(_uninstall(p) for p in same), _disable_one(same)]
        case "too old" | "too new":
            return [_another_version(record), command("disable", name)]
    if record.is_file:
        return [f"mend {record.distribution}"]
    if not record.module:  # its entry points cannot even be read
        return [_upgrade(record), _uninstall(record)]
    look = [f"{command(name)} shows the traceback"] if record.error.count("\n") else []
    again = [f"{command('--check', name)} tries again in a process of its own"] if record.harmful else []
    return [*look, *again, _upgrade(record), _uninstall(record), command("disable", name)]


def command(*words: str) -> str:
    """`omnitok plugins ...`."""
    return f"`{' '.join((OURS, 'plugins', *words))}`"


def _another_version(record: PluginStatus) -> str:
    asks = record.asks.replace(" and ", ",")
    if record.status == "too new":
        older = f'`pip install "{record.distribution}<{record.version}"`' if record.version else f"an older {record.distribution}"
        return f"`pip install -U {OURS}`, or {older}"
    return f'{_upgrade(record)}, or `pip install "{asks}"`'


def _upgrade(record: PluginStatus) -> str:
    if not record.installer_knows:
        return f"install {record.distribution} again"
    return f"`pip install -U {record.distribution}`"


def _uninstall(record: PluginStatus) -> str:
    if not record.installer_knows:
        return f"delete {record.distribution}"
    if canonical(record.distribution) == OURS:
        return f"`pip install --force-reinstall {OURS}`"
    return f"`pip uninstall {record.distribution}`"


def _disable_one(same: Sequence[PluginStatus]) -> str:
    other = next((p for p in same if canonical(p.distribution) != OURS), same[0])
    return command("disable", f"{other.distribution}:{other.name}")
