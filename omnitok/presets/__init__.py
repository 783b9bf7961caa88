"""Presets by name. A preset of a published model is one file in `reference/`, named as the preset with "_" for "-"."""

from __future__ import annotations

import importlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..errors import unknown_name

if TYPE_CHECKING:
    from ..model import Preset

_GENERIC = ("decoder", "encoder")


@cache
def _files() -> dict[str, str]:
    """name -> module below this package; nothing is imported to find out."""
    stems = [f.name.removesuffix(".py") for f in resources.files(f"{__name__}.reference").iterdir() if f.name.endswith(".py")]
    found = {s.replace("_", "-"): f"reference.{s}" for s in stems if not s.startswith("_")}
    return {**dict.fromkeys(_GENERIC, "generic"), **found}


def names() -> list[str]:
    """Every preset's name."""
    return sorted(_files())


def get(name: str) -> type[Preset]:
    """The preset class of that name."""
    if name not in _files():
        raise unknown_name("preset", name, _files(), "presets")
    module = importlib.import_module(f"{__name__}.{_files()[name]}")
    return next(c for c in vars(module).values() if getattr(c, "name", None) == name)


def __getattr__(name: str) -> Any:
    """`presets.gpt2(...)`: the class, by its name with '_' for '-'."""
    if not name.startswith("_"):
        for known in (name, name.replace("_", "-")):
            if known in _files():
                return get(known)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
