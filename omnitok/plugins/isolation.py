"""Importing what may do anything: it prints to stderr, has a time limit, and leaves the process as it found it.

This guards against accidents, not against malice: a plugin has all the rights of the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType

from ..errors import ConfigError

SECONDS = 30.0
"""The built-in plugins take less than a second each; a library as large as torch took 10 from a cold disk."""
VARIABLE = "OMNITOK_IMPORT_SECONDS"


class TooSlow(BaseException):
    """An import that took longer than it may; no `Exception`, so that a plugin's own `except` rarely swallows it."""


def import_seconds() -> float:
    """The time limit of one import: `OMNITOK_IMPORT_SECONDS`, 0 for none, 30 where it is unset. Raises ConfigError."""
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigError(f"{VARIABLE}={text!r}: expected seconds, such as 30, or 0 for no limit")
    return seconds


@contextlib.contextmanager
def guarded(seconds: float) -> Iterator[None]:
    """Run a block of foreign code: its output goes to stderr, and TooSlow is raised in it after `seconds` (0: never).

    The working folder and the warnings filters that turn warnings into errors are put back. The limit works in the main
    thread of POSIX systems, on code that runs or waits in Python; a loop in compiled code is not stopped.
    """
    with _stdout_to_stderr(), _same_folder(), _no_new_errors(), _limited(seconds):
        yield


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Standard output, that of child processes too, goes to stderr."""
    _flush()
    saved = None
    with contextlib.suppress(OSError):  # a process may have no such streams
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()


@contextlib.contextmanager
def _same_folder() -> Iterator[None]:
    try:
        before = os.getcwd()
    except OSError:  # it was deleted
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.chdir(before)


@contextlib.contextmanager
def _no_new_errors() -> Iterator[None]:
    """Filters that the block adds are kept, but for those that make a warning an error for everybody else."""
    before = list(warnings.filters)
    try:
        yield
    finally:
        kept = [f for f in warnings.filters if f[0] != "error" or f in before]
        if len(kept) < len(warnings.filters):
            warnings.resetwarnings()
            warnings.filters.extend(kept)  # type: ignore[attr-defined]


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    if not seconds or not main or not hasattr(signal, "setitimer") or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield  # somebody else's timer is not touched
        return
    over = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not over:
            raise TooSlow(f"the import took longer than {seconds:g} seconds ({VARIABLE})")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again and again, for code that swallows it
    try:
        try:
            yield
        finally:
            over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
