"""The commands that plugins bring (entry points `omnitok.commands`): their place in the help, and their guarded import."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import metadata

from ..errors import DuplicateNameError, OmnitokError, PluginError
from .discovery import COMMANDS, PluginStatus, entry_points, identity
from .host import load_plugins
from .importing import failure
from .isolation import guarded, import_seconds
from .refusals import refusal

_TARGET = re.compile(r"[\w.]+:[\w.]+")


@dataclass(frozen=True)
class PluginCommand:
    """One name among the commands of plugins, on its way from metadata to imported code."""

    name: str
    entries: tuple[metadata.EntryPoint, ...]
    """of all distributions that bring a command of this name."""
    error: OmnitokError | None = None
    """why it cannot be used, as far as is known without importing it."""
    owner: str = ""
    """the plugin whose module it belongs to; its module where there is none."""

    @property
    def target(self) -> str:
        """Its import string; a stand-in's where it cannot be used."""
        return f"{__name__}:stand_in" if self.error else self.entries[0].value

    @property
    def meaning(self) -> str:
        return f"From the plugin {self.owner}{', which cannot be used' if self.error else ''}."

    def load(self) -> None:
        """Import its code, guarded. Raises PluginError or DuplicateNameError where it cannot be used."""
        if self.error:
            raise self.error
        try:
            with guarded(import_seconds()):
                self.entries[0].load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit among it
            reason = failure(error).rpartition("\n")[2]
            raise PluginError(f"command {self.name!r} of {_provider(self.entries[0])} cannot be used: {reason}") from error


def stand_in() -> None:
    """In the place of a command that cannot be used; `load` has raised before it is called."""


def plugin_commands(taken: Collection[str]) -> list[PluginCommand]:
    """The commands that plugins bring, sorted by name; none replaces one that is taken. Imports none of their code.

    A command of a plugin that is disabled, doubled or made for another omnitok is there, and cannot be used.
    """
    entries = [e for e in entry_points(COMMANDS) if e.name not in taken and not e.name.startswith("-")]
    if not entries:
        return []
    try:
        records = load_plugins(strict=False).status()
    except OmnitokError:  # what is wrong with the environment is the matter of the command that is called
        records = ()
    entries.sort(key=lambda e: (e.name, *identity(e.dist)))
    names = dict.fromkeys(e.name for e in entries)
    return [_command(name, tuple(e for e in entries if e.name == name), records) for name in names]


def _command(name: str, entries: tuple[metadata.EntryPoint, ...], records: Sequence[PluginStatus]) -> PluginCommand:
    if len(entries) > 1:
        places = " and ".join(map(_provider, entries))
        error = DuplicateNameError(f"command {name!r} is provided by {places}; uninstall one of them")
        return PluginCommand(name, entries, error, places)
    (entry,) = entries
    module = entry.value.partition(":")[0]
    if not _TARGET.fullmatch(entry.value):
        wrong = PluginError(f"command {name!r} of {_provider(entry)} cannot be used: {entry.value!r} is not MODULE:NAME")
        return PluginCommand(name, entries, wrong, module)
    owner = _owner(entry, records)
    if owner is None:
        return PluginCommand(name, entries, owner=module)
    refused = None if owner.retry else refusal(owner, [r for r in records if (r.name, r.status) == (owner.name, owner.status)])
    return PluginCommand(name, entries, refused, owner.name)


def _owner(entry: metadata.EntryPoint, records: Sequence[PluginStatus]) -> PluginStatus | None:
    """The plugin of the same distribution whose code the command is part of, or the only one that there is."""
    own = [r for r in records if r.distribution == identity(entry.dist)[0]]
    same = [r for r in own if r.module.partition(":")[0].partition(".")[0] == entry.value.partition(".")[0].partition(":")[0]]
    found = same or own
    return found[0] if len(found) == 1 else None


def _provider(entry: metadata.EntryPoint) -> str:
    return " ".join(identity(entry.dist)).rstrip()
