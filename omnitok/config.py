"""Configuration as data: frozen structs, found by type name among the loaded types, never code.

A struct becomes `{"type": "Attention", "heads": 4}` and comes back in two phases: read `type`, look it up among the
types that are already imported, then convert field by field. No file can name something to import.
"""

from __future__ import annotations

import functools
import types
import typing
from typing import Any, ClassVar, Self

import msgspec

from .errors import ConfigError, DuplicateNameError, did_you_mean, unknown_name

_LOADED: dict[str, type[Config]] = {}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every configuration struct; a subclass registers under its class name."""

    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        other = _LOADED.get(cls.__name__)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise DuplicateNameError(
                f"configuration type {cls.__name__!r} is defined by {other.__module__} and by {cls.__module__}; rename one"
            )
        _LOADED[cls.__name__] = cls

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


def to_plain(value: Any) -> Any:
    """Config -> dicts, lists and scalars that TOML and JSON can hold; fields at their default are left out."""
    if isinstance(value, Config):
        fields = msgspec.structs.fields(type(value))
        plain = {f.name: getattr(value, f.name) for f in fields if getattr(value, f.name) != _default(f)}
        return {"type": type(value).__name__} | {name: to_plain(v) for name, v in plain.items()}
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(v) for v in value]
    return value


def from_plain(plain: Any, base: Any = Config, where: str = "") -> Any:
    """Plain data -> what the annotation `base` says.

    Raises ConfigError with the path of the field, the wrong value and the nearest name.
    """
    origin, args = typing.get_origin(base), typing.get_args(base)
    if origin is typing.Annotated:
        return _within(from_plain(plain, args[0], where), base, where)
    if plain is None and (base is type(None) or type(None) in args):
        return None
    if origin in (typing.Union, types.UnionType):
        return _from_union(plain, args, where)
    if isinstance(base, type) and issubclass(base, Config):
        return plain if isinstance(plain, base) else _from_dict(plain, base, where)
    if origin is tuple and isinstance(plain, list | tuple):
        kinds = [args[0]] * len(plain) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(plain):
            raise ConfigError(f"{where or 'value'}: expected {len(kinds)} values, got {len(plain)}")
        return tuple(from_plain(v, kind, f"{where}[{i}]") for i, (v, kind) in enumerate(zip(plain, kinds, strict=True)))
    if origin is dict and isinstance(plain, dict):
        return {k: from_plain(v, args[1], f"{where}.{k}" if where else k) for k, v in plain.items()}
    try:
        return msgspec.convert(plain, base)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where or 'value'}: {error}") from None


def _within(value: Any, base: Any, where: str) -> Any:
    """A number or string that keeps the limits of its annotation (`Annotated[int, msgspec.Meta(ge=1)]`)."""
    if not isinstance(value, int | float | str):
        return value
    try:
        return msgspec.convert(value, base)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where or 'value'}: {error}, got {value!r}") from None


def _from_union(plain: Any, kinds: tuple[Any, ...], where: str) -> Any:
    first: ConfigError | None = None
    for kind in kinds:
        try:
            return from_plain(plain, kind, where)
        except ConfigError as error:
            first = first or error
    assert first is not None
    raise first


def _from_dict(plain: Any, base: type[Config], where: str) -> Config:
    if not isinstance(plain, dict):
        raise ConfigError(f"{where or base.__name__}: expected a table of fields, got {plain!r}")
    plain = dict(plain)
    cls = loaded_type(plain.pop("type", base.__name__), base)
    hints, known = field_types(cls), cls.__struct_fields__
    for name in plain:
        if name not in known:
            place = f"{where}.{name}" if where else name
            raise ConfigError(f"unknown field {place!r} of {cls.__name__}; {did_you_mean(name, known, 'fields')}")
    values = {name: from_plain(v, hints[name], f"{where}.{name}" if where else name) for name, v in plain.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from None


def loaded_type(name: str, base: type[Config] = Config) -> type[Config]:
    """The imported configuration type of that name below `base`."""
    known = {n: c for n, c in _LOADED.items() if issubclass(c, base)}
    if name not in known:
        raise unknown_name(base.__name__.lower(), name, known, "loaded types")
    return known[name]


@functools.cache
def field_types(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """Field name -> resolved annotation."""
    return typing.get_type_hints(cls, include_extras=True)


def _default(field: Any) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT
