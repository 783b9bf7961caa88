"""What several commands share: their options, their console, and values given as `key=value`."""

from __future__ import annotations

import io
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from ..errors import ConfigError

PluginFiles = Annotated[tuple[Path, ...], Parameter(name="--plugin", help="A one-file plugin, FILE.py; may be repeated.")]
Sets = Annotated[tuple[str, ...], Parameter(name="--set", help="A configuration field, KEY=VALUE; may be repeated.")]
WIDE = 160


def console() -> Console:
    """For tables; where nobody looks at a terminal, wide enough that no cell is broken."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that knows fewer characters shows their numbers
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, emoji=False)


def parse_sets(sets: Sequence[str]) -> dict[str, Any]:
    """`key=value` with values as in TOML, `outer.key=value` inside a table; what is no TOML is a string.

    Raises ConfigError where there is no `=`, and where a key is both a value and a table.
    """
    values: dict[str, Any] = {}
    for item in sets:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {item!r}: expected KEY=VALUE")
        table, (*outer, last) = values, key.strip().split(".")
        for part in outer:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {item!r}: {part!r} has a value already, and is no table")
        table[last] = _value(value.strip())
    return values


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def one_line(error: BaseException, limit: int = 400) -> str:
    """An error's message in one line; the kind of error before it where the message alone would not say."""
    message = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    if not type(error).__module__.startswith("omnitok."):
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return message if len(message) <= limit else f"{message[: limit - 4]} ..."
