"""The plugin host: who is installed is read from metadata, code is imported when a plugin is first used by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from .. import hookspecs
from ..errors import ConfigError, PluginError, UnknownNameError, did_you_mean, unknown_name
from .claims import claimant
from .discovery import Plugin, PluginStatus, from_file, installed
from .importing import Importer, as_last_seen
from .isolation import import_seconds
from .refusals import refusal
from .registration import configured, suffixes_of
from .remembered import Memory, note

if TYPE_CHECKING:
    from ..data import Dataset
    from ..tokenizer import Tokenizer

NARROW, STRICT = "OMNITOK_PLUGINS", "OMNITOK_STRICT"


class Host:
    """The plugins of one process or test; there is no global one. Made by `load_plugins`.

    `left_out` are names of installed plugins that were asked to be left out. Without a `memory` nothing is remembered.
    """

    def __init__(
        self,
        plugins: Iterable[Plugin],
        files: Iterable[Plugin] = (),
        memory: Memory | None = None,
        seconds: float | None = None,
        left_out: Iterable[str] = (),
    ) -> None:
        manager = pluggy.PluginManager("omnitok")
        manager.add_hookspecs(hookspecs)
        self._import = Importer(manager, memory, import_seconds() if seconds is None else seconds)
        self._plugins = list(plugins)
        self.left_out = frozenset(left_out)
        self._memory = memory
        for plugin in files:
            if self._import(plugin):  # only its code knows the names in a one-file plugin
                records = [replace(plugin.record, name=n, suffixes=suffixes_of(c)) for n, c in (plugin.tokenizers or {}).items()]
            else:
                records = [plugin.record]  # its file's name stands for it
            self._plugins += [replace(plugin, record=record) for record in records]
        self._plugins.sort(key=lambda p: (p.record.name, p.record.distribution))
        self._settle()

    def _settle(self) -> None:
        """What is known before any plugin is imported: which are disabled, which share a name, how imports went last."""
        enabled = []
        for plugin in self._plugins:
            record = plugin.record
            if self._memory and not record.is_file and self._memory.is_disabled(record.name, record.distribution):
                plugin.record = replace(record, status="disabled", error="", retry=False)
            else:
                enabled.append(plugin)
        names = [p.record.name for p in enabled]
        for plugin in enabled:
            record = plugin.record
            if names.count(record.name) > 1:
                plugin.record = replace(record, status="duplicate", error="", retry=False)
            elif self._memory and record.status == "not imported":
                plugin.record = as_last_seen(record, self._memory.last(record.name, record.distribution, record.version))

    # -- what there is

    def names(self) -> tuple[str, ...]:
        """The plugins' names, sorted; those that cannot be used are among them."""
        return tuple(dict.fromkeys(p.record.name for p in self._plugins))

    def status(self) -> tuple[PluginStatus, ...]:
        """One record for each installed plugin, as far as is known without importing any."""
        return tuple(p.record for p in self._plugins)

    def usable(self) -> tuple[str, ...]:
        """The names of all plugins that can be used; imports them, but those whose last import hung or ended the process."""
        return tuple(dict.fromkeys(p.record.name for p in self._plugins if not p.record.harmful and self._import(p)))

    def datasets(self, plugin: str | None = None) -> tuple[str, ...]:
        """The datasets of one plugin, or of all that can be used, sorted; imports them."""
        names = self.usable() if plugin is None else (plugin,)
        return tuple(sorted({d for name in names for d in self._plugin(name).datasets or {}}))

    def last_datasets(self) -> tuple[str, ...]:
        """The datasets that are known without importing a plugin: of those imported already, here or before."""
        found: set[str] = set()
        for plugin in self._plugins:
            record = plugin.record
            if plugin.datasets is not None:
                found.update(plugin.datasets)
            elif self._memory and record.status == "ok":
                last = self._memory.last(record.name, record.distribution, record.version)
                found.update(last.datasets if last else ())
        return tuple(sorted(found))

    # -- what they provide

    def tokenizer_class(self, name: str) -> type[Tokenizer]:
        """The class behind a name. Raises UnknownNameError, DuplicateNameError or PluginError."""
        return (self._plugin(name).tokenizers or {})[name]

    def tokenizer(self, name: str, /, instance: str | None = None, **config: Any) -> Tokenizer:
        """A tokenizer from its configuration. Raises ConfigError naming a field that is unknown or of the wrong type."""
        tokenizer = configured(self.tokenizer_class(name), f"tokenizer {name!r}", config)
        return tokenizer.named(instance) if instance else tokenizer

    def restored(self, name: str, instance: str, config: Mapping[str, Any], state: bytes | None) -> Tokenizer:
        """A tokenizer from its configuration and from what it had learned when it was saved."""
        return configured(self.tokenizer_class(name), f"tokenizer {name!r}", config, state).named(instance)

    def dataset_class(self, name: str) -> type[Dataset]:
        """The class behind `<plugin>/<dataset>`. Raises UnknownNameError, DuplicateNameError or PluginError."""
        plugin = name.partition("/")[0]
        if plugin not in self.names():
            raise self._unknown_dataset(name)
        known = self._plugin(plugin).datasets or {}
        if name not in known:
            raise unknown_name("dataset", name, known, f"datasets of {plugin!r}")
        return known[name]

    def _unknown_dataset(self, name: str) -> UnknownNameError:
        """No plugin is imported to say what there is: those that are known are suggested, or the plugins."""
        known = self.last_datasets()
        own = [d for d in known if d.rpartition("/")[2] == name.rpartition("/")[2]]
        if own:
            return UnknownNameError(f"unknown dataset {name!r}; did you mean {' or '.join(map(repr, own))}?")
        near = did_you_mean(name, known)
        if not near.startswith("did you mean"):
            plugins = ", ".join(self.names()) or "none"
            near = f"a dataset is named PLUGIN/NAME, and the plugins are {plugins} (`--plugin FILE` adds one)"
        return UnknownNameError(f"unknown dataset {name!r}; {near}")

    def dataset(self, name: str, /, **config: Any) -> Dataset:
        """A dataset by `<plugin>/<dataset>` from its configuration."""
        return configured(self.dataset_class(name), f"dataset {name!r}", config)

    def for_file(self, path: str | Path, /, as_: str | None = None, **config: Any) -> Tokenizer:
        """The tokenizer of a file: by its suffix; where several claim that, by the file's first bytes; or `as_` by name.

        Raises InputError where none or several remain, with the names to choose from.
        """
        return self.tokenizer(as_ or claimant(self, Path(path)), **config)

    # -- import

    def _plugin(self, name: str) -> Plugin:
        found = [p for p in self._plugins if p.record.name == name]
        if not found and name in self.left_out:
            raise UnknownNameError(f"plugin {name!r} is left out by {NARROW}={os.environ.get(NARROW, '')}")
        if not found:
            error = unknown_name("plugin", name, self.names(), "installed")
            broken = [r for r in self.status() if r.is_file and r.status == "broken"]
            hints = "".join(f"; {r.distribution} cannot be used: {r.reason}" for r in broken)
            raise type(error)(f"{error}{hints}")
        usable = [p for p in found if p.record.status != "disabled"]  # of two of one name, one may be disabled
        if len(usable) != 1 or not self._import(usable[0]):
            raise self.refused(name)
        return usable[0]

    def refused(self, name: str) -> PluginError | ConfigError:
        """The error for a plugin that cannot be used."""
        same = [r for r in self.status() if r.name == name]
        wrong = [r for r in same if r.status != "disabled"] or same
        return refusal(wrong[0], wrong)

    def require_all(self) -> None:
        """Import every plugin that is enabled. Raises PluginError naming all that cannot be used."""
        enabled = {r.name for r in self.status() if r.status != "disabled"}
        failed = []
        for name in sorted(enabled):
            try:
                self._plugin(name)
            except (PluginError, ConfigError) as error:
                failed.append(str(error))
        if failed:
            raise PluginError(f"{STRICT}: {'; '.join(failed)}")


def load_plugins(
    only: Sequence[str] | None = None, files: Iterable[str | Path] = (), strict: bool | None = None, memory: Memory | None = None
) -> Host:
    """Read who is installed, without importing any of it; `only` narrows it to these names.

    `files` are one-file plugins, imported by path at once. Raises ConfigError where a file does not exist or a name
    in `only` is unknown.

    `OMNITOK_PLUGINS=one,two` in the environment leaves out all other installed plugins. `OMNITOK_STRICT=1` (or `strict`)
    imports all that are left, and raises PluginError where one that is not disabled cannot be used: broken, of a name
    that another has, or made for another omnitok; without it, such a plugin is passed over until it is asked for.
    `memory` is what is remembered of earlier imports; it is read where it is not given.
    """
    found = installed()
    known = {p.record.name for p in found}
    narrow = narrowed(known)
    left_out = set() if narrow is None else known - narrow
    chosen = [p for p in found if p.record.name not in left_out and (only is None or p.record.name in only)]
    memory = memory or Memory()
    if memory.problem:
        note(memory.problem)
    host = Host(chosen, [from_file(Path(file)) for file in files], memory, left_out=left_out)
    for name in only or ():
        if name in left_out:
            raise UnknownNameError(f"plugin {name!r} is left out by {NARROW}={os.environ[NARROW]}")
        if name not in host.names():
            raise unknown_name("plugin", name, {*host.names(), *known}, "installed")
    if strict_is_set() if strict is None else strict:
        host.require_all()
    return host


def strict_is_set() -> bool:
    """Whether `OMNITOK_STRICT` asks for it."""
    return os.environ.get(STRICT, "") not in ("", "0")


def narrowed(known: Iterable[str]) -> set[str] | None:
    """The names in `OMNITOK_PLUGINS`; None where it is unset or empty. Raises UnknownNameError with the nearest."""
    names = {word.strip() for word in os.environ.get(NARROW, "").split(",")} - {""}
    for name in sorted(names - set(known)):
        raise UnknownNameError(f"{NARROW} names an unknown plugin {name!r}; {did_you_mean(name, known, 'installed')}")
    return names or None
