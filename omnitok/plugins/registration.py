"""What a plugin's module provides, held against the contract: classes under names that agree, and objects of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pluggy

from ..errors import ConfigError, PluginError, did_you_mean
from .discovery import Plugin

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

S = TypeVar("S", bound=msgspec.Struct)


def register(manager: pluggy.PluginManager, plugin: Plugin) -> None:
    """Import a plugin and ask its hooks; its tokenizers and datasets are put on it. What goes wrong is raised, whatever it is."""
    from ..data import Dataset
    from ..tokenizer import Tokenizer

    module = plugin.load()
    name = manager.get_name(module) or module.__name__
    try:
        if not manager.is_registered(module):
            manager.register(module, name=name)
            manager.check_pending()  # a hook that does not exist is a misspelt one
        plugin.tokenizers = _named(_answers(manager.hook.register_tokenizers, name), Tokenizer)
        plugin.datasets = _named(_answers(manager.hook.register_datasets, name), Dataset)
        _check_names(plugin)
    except BaseException:
        if manager.is_registered(module):
            manager.unregister(module)
        raise


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


def configured(cls: type[S], what: str, config: Mapping[str, Any], state: bytes | None = None) -> S:
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
