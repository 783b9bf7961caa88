"""The public face of omnitok: every name here is imported from its room when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import objectives, presets
    from .assemble import build
    from .batch import Ask, Document, PackedBatch
    from .checks import check_tokenizer
    from .data import Dataset
    from .errors import InputError, OmnitokError
    from .files import read_bytes
    from .hookspecs import hookimpl
    from .layout import Layout
    from .model import Model
    from .nn.steps import Axis, Step
    from .packing import pack
    from .plugins import Host, load_plugins
    from .run import load_run
    from .sequence import Span, TokenSequence
    from .tokenizer import Bounded, Channel, Exact, OneWay, Picture, Tokenizer

_ROOMS = {
    "batch": ("Ask", "Document", "PackedBatch"),
    "assemble": ("build",),
    "checks": ("check_tokenizer",),
    "data": ("Dataset",),
    "errors": ("InputError", "OmnitokError"),
    "files": ("read_bytes",),
    "hookspecs": ("hookimpl",),
    "layout": ("Layout",),
    "model": ("Model",),
    "nn.steps": ("Axis", "Step"),
    "packing": ("pack",),
    "plugins": ("Host", "load_plugins"),
    "run": ("load_run",),
    "sequence": ("Span", "TokenSequence"),
    "tokenizer": ("Bounded", "Channel", "Exact", "OneWay", "Picture", "Tokenizer"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
_MODULES = ("objectives", "presets")

__all__ = ["__version__", *_MODULES, *_ROOM_OF]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
