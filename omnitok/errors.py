"""Every error that omnitok raises on purpose: what was asked, what exists, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OmnitokError(Exception):
    """Base of all errors meant for people; the command line prints its message without a traceback."""


class InputError(OmnitokError):
    """A file or raw object that a tokenizer refuses."""


class SequenceError(OmnitokError):
    """Spans, pairs or asks that do not fit together."""


class LengthError(SequenceError):
    """A document that is longer than the token budget or the task's context allows."""


class ConfigError(OmnitokError):
    """A recipe, preset or configuration value that cannot be used."""


class UnknownNameError(ConfigError, KeyError):
    """A name that nothing answers to."""

    __str__ = Exception.__str__  # KeyError would print the repr


class DuplicateNameError(ConfigError):
    """One name claimed twice."""


class PluginError(OmnitokError):
    """A plugin that cannot be imported or breaks the contract."""


class CheckpointError(OmnitokError):
    """A checkpoint that is incomplete, altered or made by something that is not here."""


class NonFiniteError(OmnitokError):
    """Training met NaN or infinity too many times in a row."""


def did_you_mean(name: str, known: Iterable[str], exists: str = "known") -> str:
    """The nearest of `known` as a hint, or the list of what exists."""
    known = sorted(map(str, known))
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{exists}: {', '.join(known) or 'none'}"


def unknown_name(kind: str, name: str, known: Iterable[str], exists: str = "known") -> UnknownNameError:
    """The error for a name that nothing answers to, ready to raise."""
    return UnknownNameError(f"unknown {kind} {name!r}; {did_you_mean(name, known, exists)}")
