"""The hooks a plugin may implement: each returns something, the core owns the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .data import Dataset
    from .tokenizer import Tokenizer

hookspec = pluggy.HookspecMarker("omnitok")
hookimpl = pluggy.HookimplMarker("omnitok")


@hookspec
def register_tokenizers() -> list[type[Tokenizer]]:  # type: ignore[empty-body]
    """Return the tokenizer classes this plugin provides; the first is the plugin's own name."""


@hookspec
def register_datasets() -> list[type[Dataset]]:  # type: ignore[empty-body]
    """Return the dataset classes this plugin provides."""
