"""The plugin host: who is installed is read from metadata, code is imported when a plugin is first used by name."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pluggy

from . import hookspecs
from .discovery import Plugin, PluginStatus, from_file, installed
from .errors import ConfigError, DuplicateNameError, InputError, PluginError, did_you_mean, unknown_name

if TYPE_CHECKING:
    from .data import Dataset
    from .tokenizer import Tokenizer

SNIFFED_BYTES = 4096

S = TypeVar("S", bound=msgspec.Struct)


class Host:
    """The plugins of one process or test; there is no global one. Made by `load_plugins`."""

    def __init__(self, plugins: Iterable[Plugin], files: Iterable[Plugin]) -> None:
        self._manager = pluggy.PluginManager("omnitok")
        self._manager.add_hookspecs(hookspecs)
        self._plugins = list(plugins)
        for plugin in files:
            self._import(plugin)  # only its code knows the names in a one-file plugin
            if plugin.tokenizers:
                records = [replace(plugin.record, name=n, suffixes=suffixes_of(cls)) for n, cls in plugin.tokenizers.items()]
            else:
                records = [plugin.record]  # broken: its file's name stands for it
            self._plugins += [replace(plugin, record=record) for record in records]
        self._plugins.sort(key=lambda p: (p.record.name, p.record.distribution))

    # -- what there is

    def names(self) -> tuple[str, ...]:
        """The plugins' names, sorted; broken ones are among them."""
        return tuple(dict.fromkeys(p.record.name for p in self._plugins))

    def status(self) -> tuple[PluginStatus, ...]:
        """One record for each installed plugin, as far as is known without importing any."""
        names = [p.record.name for p in self._plugins]
        return tuple(replace(p.record, status="duplicate") if names.count(p.record.name) > 1 else p.record for p in self._plugins)

    def datasets(self, plugin: str | None = None) -> tuple[str, ...]:
        """The datasets of one plugin, or of all that can be imported, sorted; imports them."""
        if plugin is not None:
            return tuple(sorted(self._plugin(plugin).datasets or {}))
        found: set[str] = set()
        for own, record in zip(self._plugins, self.status(), strict=True):
            if record.status != "duplicate" and self._import(own):
                found.update(own.datasets or {})
        return tuple(sorted(found))

    # -- what they provide

    def tokenizer_class(self, name: str) -> type[Tokenizer]:
        """The class behind a name. Raises UnknownNameError, DuplicateNameError or PluginError."""
        return (self._plugin(name).tokenizers or {})[name]

    def tokenizer(self, name: str, /, instance: str | None = None, **config: Any) -> Tokenizer:
        """A tokenizer from its configuration. Raises ConfigError naming a field that is unknown or of the wrong type."""
        tokenizer = _configure(self.tokenizer_class(name), f"tokenizer {name!r}", config)
        return tokenizer.named(instance) if instance else tokenizer

    def restored(self, name: str, instance: str, config: Mapping[str, Any], state: bytes | None) -> Tokenizer:
        """A tokenizer from its configuration and from what it had learned when it was saved."""
        return _configure(self.tokenizer_class(name), f"tokenizer {name!r}", config, state).named(instance)

    def dataset_class(self, name: str) -> type[Dataset]:
        """The class behind `<plugin>/<dataset>`. Raises UnknownNameError, DuplicateNameError or PluginError."""
        plugin = name.partition("/")[0]
        if plugin not in self.names():
            raise unknown_name("dataset", name, self.datasets())
        known = self._plugin(plugin).datasets or {}
        if name not in known:
            raise unknown_name("dataset", name, known, f"datasets of {plugin!r}")
        return known[name]

    def dataset(self, name: str, /, **config: Any) -> Dataset:
        """A dataset by `<plugin>/<dataset>` from its configuration."""
        return _configure(self.dataset_class(name), f"dataset {name!r}", config)

    def for_file(self, path: str | Path, /, as_: str | None = None, **config: Any) -> Tokenizer:
        """The tokenizer of a file: by its suffix; where several claim that, by the file's first bytes; or `as_` by name.

        Raises InputError where none or several remain, with the names to choose from.
        """
        path = Path(path)
        if as_ is not None:
            return self.tokenizer(as_, **config)
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if not path.is_file():
            raise InputError(f"{path}: is a folder; name the files in it" if path.is_dir() else f"{path}: is no regular file")
        claims = [p.record.name for p in self._plugins if _claims(p.record, path)]
        names = tuple(dict.fromkeys(claims))
        if len(names) > 1:
            names = self._sniff(path, names)
        if len(names) == 1:
            return self.tokenizer(names[0], **config)
        choice = " or ".join(f"--as {n}" for n in (names or self.names()))
        found = f"{len(names)} plugins read this" if names else f"no plugin claims {path.suffix or 'names without a suffix'}"
        raise InputError(f"{path}: {found}; choose with {choice or 'a plugin: none is installed'}")

    def _sniff(self, path: Path, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the claimants that take the file for theirs; a claimant that breaks has no say."""
        with path.open("rb") as file:
            head = file.read(SNIFFED_BYTES)
        kept = []
        for name in names:
            try:
                if self.tokenizer(name).sniff(path, head):
                    kept.append(name)
            except Exception:
                continue
        return tuple(kept) or tuple(names)

    # -- import

    def _plugin(self, name: str) -> Plugin:
        found = [p for p in self._plugins if p.record.name == name]
        if not found:
            error = unknown_name("plugin", name, self.names(), "installed")
            broken = [r for r in self.status() if r.is_file and r.status == "broken"]
            hints = "".join(f"; {r.distribution} cannot be used: {r.reason}" for r in broken)
            raise type(error)(f"{error}{hints}")
        if len(found) > 1:
            places = " and ".join(f"{p.record.distribution} {p.record.version}" for p in found)
            raise DuplicateNameError(f"plugin {name!r} is provided by {places}; uninstall one of them")
        plugin = found[0]
        if not self._import(plugin):
            raise PluginError(
                f"plugin {name!r} of {plugin.record.distribution} {plugin.record.version} cannot be used: "
                f"{plugin.record.reason} (`omnitok plugins {name}` shows the traceback)"
            )
        return plugin

    def _import(self, plugin: Plugin) -> bool:
        """Import once; a failure is recorded, so that one broken plugin never takes another with it."""
        if plugin.record.status == "not imported":
            try:
                self._register(plugin)
                plugin.record = replace(plugin.record, status="ok")
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may raise anything, SystemExit among it
                text = str(error) if isinstance(error, PluginError) else "".join(traceback.format_exception(error)).rstrip()
                plugin.record = replace(plugin.record, status="broken", error=text)
        return plugin.record.status == "ok"

    def _register(self, plugin: Plugin) -> None:
        module = plugin.load()
        from .data import Dataset  # not earlier: a plugin that fails should fail fast
        from .tokenizer import Tokenizer

        name = self._manager.get_name(module) or module.__name__
        try:
            if not self._manager.is_registered(module):
                self._manager.register(module, name=name)
                self._manager.check_pending()  # a hook that does not exist is a misspelt one
            plugin.tokenizers = _named(_answers(self._manager.hook.register_tokenizers, name), Tokenizer)
            plugin.datasets = _named(_answers(self._manager.hook.register_datasets, name), Dataset)
            _check_names(plugin)
        except BaseException:
            if self._manager.is_registered(module):
                self._manager.unregister(module)
            raise


def load_plugins(only: Sequence[str] | None = None, files: Iterable[str | Path] = ()) -> Host:
    """Read who is installed, without importing any of it; `only` narrows it to these names.

    `files` are one-file plugins, imported by path at once. Raises ConfigError where a file does not exist or a name
    in `only` is unknown.
    """
    found = installed()
    host = Host([p for p in found if only is None or p.record.name in only], [from_file(Path(file)) for file in files])
    for name in only or ():
        if name not in host.names():
            raise unknown_name("plugin", name, {*host.names(), *(p.record.name for p in found)}, "installed")
    return host


def _answers(hook: Any, plugin: str) -> list[Any]:
    """What one plugin answers to a hook."""
    return [value for impl in hook.get_hookimpls() if impl.plugin_name == plugin for value in impl.function()]


def _named(classes: Iterable[Any], base: type) -> dict[str, Any]:
    """Classes by their `name`. Raises PluginError for what is no complete subclass of `base`."""
    found: dict[str, Any] = {}
    for cls in classes:
        complete = isinstance(cls, type) and issubclass(cls, base) and isinstance(getattr(cls, "name", None), str)
        if not complete:
            raise PluginError(f"{cls!r} is no {base.__name__} class with a `name`")
        if inspect.isabstract(cls):
            raise PluginError(f"{cls.__name__} does not implement {', '.join(sorted(cls.__abstractmethods__))}")
        if cls.name in found:
            raise PluginError(f"{base.__name__.lower()} {cls.name!r} is registered twice")
        found[cls.name] = cls
    return found


def _check_names(plugin: Plugin) -> None:
    """The entry point, its tokenizer and its datasets must agree; a file has no entry point."""
    name, tokenizers = plugin.record.name, plugin.tokenizers or {}
    if not tokenizers or (name not in tokenizers and not plugin.record.is_file):
        raise PluginError(f"{name!r} must be the name of one of its tokenizers, which are {', '.join(tokenizers) or 'none'}")
    suffixes = {n: suffixes_of(cls) for n, cls in tokenizers.items()}
    declared = () if plugin.record.is_file else suffixes[name]
    if declared and declared != plugin.record.suffixes:
        raise PluginError(
            f"tokenizer {name!r} has the suffixes {' '.join(declared)}, and the entry points 'omnitok.suffixes' of "
            f"{plugin.record.distribution} say {' '.join(plugin.record.suffixes) or 'none'}; make them the same"
        )
    for dataset in plugin.datasets or {}:
        if dataset.partition("/")[0] not in tokenizers:
            raise PluginError(f"dataset {dataset!r} must be named {name + '/...'!r}")


def suffixes_of(tokenizer: type[Tokenizer]) -> tuple[str, ...]:
    """The suffixes that a class declares, as entry points would. Raises PluginError where they are no such words."""
    declared: Any = tokenizer.suffixes
    if not isinstance(declared, tuple) or not all(
        isinstance(s, str) and re.fullmatch(r"(\.[a-zA-Z0-9_+-]+)+", s) for s in declared
    ):
        raise PluginError(f"{tokenizer.__name__}.suffixes must be a tuple such as ('.csv',), and is {declared!r}")
    return tuple(sorted({s.lower() for s in declared}))


def _configure(cls: type[S], what: str, config: Mapping[str, Any], state: bytes | None = None) -> S:
    """A struct from plain values. Raises ConfigError naming the field."""
    known = [f.name for f in msgspec.structs.fields(cls) if f.name not in ("instance", "state")]
    for name in config:
        if name not in known:
            raise ConfigError(f"unknown field {name!r} of {what}; {did_you_mean(name, known, 'fields')}")
    try:
        return msgspec.convert(dict(config) if state is None else {**config, "state": state}, cls)
    except msgspec.ValidationError as error:
        message, _, field = str(error).partition(" - at `$.")
        raise ConfigError(f"{what}{f', field {field[:-1]!r}' if field else ''}: {message}") from None


def _claims(record: PluginStatus, path: Path) -> bool:
    return any(path.name.lower().endswith(suffix) for suffix in record.suffixes)
