"""Presets by name: one file each, found by the name that its class declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import unknown_name

if TYPE_CHECKING:
    from ..model import Preset

_FILES = {
    "decoder": "generic",
    "encoder": "generic",
    "conformer": "generic",
    "gpt2": "reference.gpt2",
    "bert": "reference.bert",
    "vit": "reference.vit",
    "decision-transformer": "reference.decision_transformer",
}


def names() -> list[str]:
    """Every preset's name."""
    return sorted(_FILES)


def get(name: str) -> type[Preset]:
    """The preset class of that name."""
    import importlib

    if name not in _FILES:
        raise unknown_name("preset", name, _FILES, "presets")
    module = importlib.import_module(f"{__name__}.{_FILES[name]}")
    return next(c for c in vars(module).values() if getattr(c, "name", None) == name)


def __getattr__(name: str) -> Any:
    """`presets.gpt2(...)`: the class, by its name with '_' for '-'."""
    if name.replace("_", "-") in _FILES or name in _FILES:
        return get(name if name in _FILES else name.replace("_", "-"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
