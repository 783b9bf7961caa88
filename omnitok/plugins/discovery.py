"""Who is installed: plugins as metadata tells of them, and one-file plugins by path. Imports none of their code."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from .. import __version__
from ..errors import ConfigError, PluginError
from .api_range import OURS, api_range, canonical

if TYPE_CHECKING:
    from ..data import Dataset
    from ..tokenizer import Tokenizer

GROUP = "omnitok"
SUFFIXES = "omnitok.suffixes"
COMMANDS = "omnitok.commands"

Status = Literal["not imported", "ok", "broken", "disabled", "duplicate", "too old", "too new"]


@dataclass(frozen=True)
class PluginStatus:
    """One line of the list of plugins."""

    name: str
    distribution: str
    """name of the distribution, or path of the file."""
    version: str
    """of the distribution, or `sha256:...` of the file."""
    status: Status = "not imported"
    error: str = ""
    """the recorded failure: what went wrong on the last line, the traceback before it."""
    suffixes: tuple[str, ...] = ()
    module: str = ""
    """what its entry point names."""
    asks: str = ""
    """the requirement on omnitok that its distribution declares; empty where it declares none."""
    when: str = ""
    """when another process saw this status (UTC, ISO 8601); empty where this one did, or nobody."""
    retry: bool = True
    """whether its code may be imported here, if it is asked for by name."""
    harmful: bool = False
    """whether its last import hung or ended the process: it is not imported unless it is asked for."""

    @property
    def is_file(self) -> bool:
        return self.version.startswith("sha256:")

    @property
    def installer_knows(self) -> bool:
        """Whether `distribution` is a name, and not the place of what has no name."""
        return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", self.distribution) is not None

    @property
    def reason(self) -> str:
        """The recorded failure in one line."""
        return self.error.rpartition("\n")[2]


@dataclass
class Plugin:
    """A plugin on its way from metadata to imported code."""

    record: PluginStatus
    load: Callable[[], ModuleType]
    tokenizers: dict[str, type[Tokenizer]] | None = None
    datasets: dict[str, type[Dataset]] | None = None
    tried: bool = False
    """whether its code was imported, or failed to be, in this process."""


def entry_points(*groups: str) -> list[metadata.EntryPoint]:
    """All entry points of these groups; a distribution whose metadata cannot be read is passed over."""
    return _read(groups)[0]


def _read(groups: Sequence[str]) -> tuple[list[metadata.EntryPoint], list[Plugin]]:
    """The entry points, and the distributions whose entry points cannot be read though they name omnitok."""
    spoilt: dict[str, Plugin | None] = {}
    if metadata.Distribution.entry_points is _ENTRY_POINTS:
        try:
            return [entry for group in groups for entry in metadata.entry_points(group=group)], []
        except Exception:  # one bad file spoils the whole answer
            _pass_over_the_unreadable()
    for distribution in metadata.distributions():
        name, version = identity(distribution)
        if canonical(name) not in spoilt:  # what stands earlier on the path hides it
            spoilt[canonical(name)] = _spoilt(distribution, name, version)
    found = [entry for group in groups for entry in metadata.entry_points(group=group)]
    return found, [plugin for plugin in spoilt.values() if plugin is not None]


_ENTRY_POINTS: Any = metadata.Distribution.entry_points


def _pass_over_the_unreadable() -> None:
    """Let the standard library take a distribution whose entry points cannot be read for one without any.

    It gives up on all of them otherwise, and torch and triton do with it when they are imported.
    """

    def entry_points(self: metadata.Distribution) -> Any:
        try:
            return _ENTRY_POINTS.fget(self)
        except Exception:
            return metadata.EntryPoints()

    metadata.Distribution.entry_points = property(entry_points)  # type: ignore[assignment,method-assign]


def identity(distribution: metadata.Distribution | None) -> tuple[str, str]:
    """Name and version; the place of a distribution whose metadata has no name."""
    name = version = None
    try:
        told = distribution.metadata  # type: ignore[union-attr]
        name, version = told.get("Name"), told.get("Version")  # type: ignore[attr-defined,union-attr]
    except Exception:  # the file is missing, or no text
        pass
    return str(name or getattr(distribution, "_path", "a distribution without a name")), str(version or "")


def _spoilt(distribution: metadata.Distribution, name: str, version: str) -> Plugin | None:
    """In the place of plugins whose entry points cannot be read, where they name omnitok."""
    try:
        _ENTRY_POINTS.fget(distribution)
        return None
    except Exception as error:
        text = f"its entry_points.txt cannot be read ({type(error).__name__}: {error})"
    try:
        if f"[{GROUP}" not in (distribution.read_text("entry_points.txt") or ""):
            return None
    except Exception:  # it is no text: nobody knows whom it names
        return None

    def load() -> ModuleType:
        raise PluginError(text)

    return Plugin(PluginStatus(name, name, version, "broken", text, retry=False), load)


def installed() -> list[Plugin]:
    """The plugins of all installed distributions, by their entry points, held against the omnitok that is here."""
    found, spoilt = _read((GROUP, SUFFIXES))
    owners = {id(entry.dist): identity(entry.dist) for entry in found}
    suffixes: dict[tuple[str, str], set[str]] = {}
    for entry in found:
        plugin, dot, suffix = entry.name.partition(".")
        if entry.group == SUFFIXES and dot:  # a distribution speaks for its own plugins only
            suffixes.setdefault((owners[id(entry.dist)][0], plugin), set()).add(f".{suffix.lower()}")
    plugins = []
    for entry in found:
        if entry.group == GROUP:
            name, version = owners[id(entry.dist)]
            record = PluginStatus(entry.name, name, version, module=entry.value)
            record = replace(record, suffixes=tuple(sorted(suffixes.get((name, entry.name), ()))))
            plugins.append(Plugin(_in_range(record, entry.dist), entry.load))
    return plugins + spoilt


def _in_range(record: PluginStatus, distribution: metadata.Distribution | None) -> PluginStatus:
    """The record with what its distribution asks of omnitok, and what comes of it."""
    if canonical(record.distribution) == OURS:
        return record
    try:
        requirements = (distribution and distribution.requires) or []
    except Exception:  # the file is missing, or no text
        requirements = []
    asked = api_range(requirements, __version__)
    record = replace(record, asks=asked.asks)
    if asked.verdict == "unreadable":
        return replace(record, status="broken", error=f"its requirement {asked.asks!r} cannot be read", retry=False)
    return record if asked.verdict == "fits" else replace(record, status=asked.verdict, retry=False)


def from_file(path: Path) -> Plugin:
    """A plugin in one file; its name is only known when it is imported. Raises ConfigError where there is no file."""
    if not path.is_file():
        raise ConfigError(f"plugin file {path} does not exist")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Plugin(PluginStatus(path.stem, str(path), f"sha256:{digest}"), lambda: _import_file(path, digest))


def _import_file(path: Path, digest: str) -> ModuleType:
    """A file as a module of its own name, so that what it defines can be pickled; imported again only where it changed."""
    path = path.resolve()
    name = f"omnitok_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__omnitok_digest__", None) == digest:
        return module
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    module.__omnitok_digest__ = digest  # type: ignore[attr-defined]
    return module
