"""Who is installed: plugins as metadata tells of them, and one-file plugins by path. Imports none of their code."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from .errors import ConfigError, PluginError

if TYPE_CHECKING:
    from .data import Dataset
    from .tokenizer import Tokenizer

GROUP = "omnitok"
SUFFIXES = "omnitok.suffixes"


@dataclass(frozen=True)
class PluginStatus:
    """One line of the list of plugins."""

    name: str
    distribution: str
    """name of the distribution, or path of the file."""
    version: str
    """of the distribution, or `sha256:...` of the file."""
    status: Literal["not imported", "ok", "broken", "duplicate"] = "not imported"
    error: str = ""
    """the recorded failure: what went wrong on the last line, the traceback before it."""
    suffixes: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        return self.version.startswith("sha256:")

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


def entry_points(group: str) -> list[metadata.EntryPoint]:
    """All entry points of a group; a distribution with unreadable metadata is passed over."""
    try:
        return list(metadata.entry_points(group=group))
    except Exception:  # one bad file spoils the whole answer: ask each distribution by itself
        found = []
        for distribution in metadata.distributions():
            try:
                found += [entry for entry in distribution.entry_points if entry.group == group]
            except Exception:
                continue
        return found


def installed() -> list[Plugin]:
    """The plugins of all installed distributions, by their entry points."""
    suffixes: dict[str, set[str]] = {}
    for entry in entry_points(SUFFIXES):
        plugin, _, suffix = entry.name.partition(".")
        suffixes.setdefault(plugin, set()).add(f".{suffix.lower()}")
    return [_from_entry(entry, tuple(sorted(suffixes.get(entry.name, ())))) for entry in entry_points(GROUP)]


def _from_entry(entry: metadata.EntryPoint, suffixes: tuple[str, ...]) -> Plugin:
    try:
        distribution, version = entry.dist.name, entry.dist.version  # type: ignore[union-attr]
    except Exception:  # metadata without a name or a version
        distribution, version = entry.value, ""
    return Plugin(PluginStatus(entry.name, str(distribution), str(version), suffixes=suffixes), entry.load)


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
