"""Files: what `read` takes, and how it refuses what it does not take, by name and before it is in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, OmnitokError
from .base import Skip, Subject, check, checks_of, told
from .elsewhere import elsewhere

GROUP = "files"
HUGE = 1 << 40
"""Bytes of a file that no tokenizer reads to its end."""
HUGE_SECONDS = 20.0
JUNK = bytes(range(256)) * 3


def _reading(subject: Subject) -> None:
    if not subject.overrides("read"):
        raise Skip("it reads no files")


def _suffixes(subject: Subject) -> tuple[str, ...]:
    return subject.tokenizer.suffixes or (subject.status.suffixes if subject.status is not None else ()) or (".bin",)


def _refused(read: Callable[[Path], Any], path: Path, what: str) -> Iterator[str]:
    """A complaint where a file is not refused by its name; what is read must be tokens."""
    try:
        read(path)
        yield f"{what} is read"
    except InputError as error:
        if path.name not in str(error):
            yield f'{what}: the error does not name the file ("{error}")'
    except Exception as error:
        yield f"{what}: read raised {told(error)} instead of InputError"


@check(
    GROUP,
    "read-nothing",
    "A file that is not there, and a folder, are refused by name",
    'turn OSError into `InputError(f"{path}: {error.strerror}")`',
)
def read_nothing(subject: Subject) -> Iterator[str]:
    _reading(subject)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in _suffixes(subject):
            yield from _refused(
                subject.tokenizer.read, Path(folder) / f"missing{suffix}", f"a file missing{suffix} that is not there"
            )
            inside = Path(folder) / f"folder{suffix}"
            inside.mkdir()
            yield from _refused(subject.tokenizer.read, inside, f"a folder named folder{suffix}")


@check(
    GROUP,
    "read-junk",
    "An empty file and a file of other content are refused by name, or are an object that can be tokenized",
    'turn what the format\'s library raises into `InputError(f"{path}: ...")`',
)
def read_junk(subject: Subject) -> Iterator[str]:
    _reading(subject)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in _suffixes(subject):
            for what, data in (("empty", b""), ("zeros", bytes(600)), ("junk", JUNK), ("words", b"hello, world\n" * 9)):
                path = Path(folder) / f"{what}{suffix}"
                path.write_bytes(data)
                yield from _read_or_refused(subject, path, f"a file {path.name}")


def _read_or_refused(subject: Subject, path: Path, what: str) -> Iterator[str]:
    try:
        raw = subject.tokenizer.read(path)
    except InputError as error:
        if path.name not in str(error):
            yield f'{what}: the error does not name the file ("{error}")'
        return
    except Exception as error:
        yield f"{what}: read raised {told(error)} instead of InputError"
        return
    try:
        subject.tokenizer.encode(raw)
    except OmnitokError:
        return
    except Exception as error:
        yield f"{what} is read, and encode of it raised {told(error)}"


@check(
    GROUP,
    "sniff",
    "`sniff` answers yes or no for whatever a file begins with",
    "compare bytes; decode nothing that may be no UTF-8, and open nothing that may not be there",
)
def sniff(subject: Subject) -> Iterator[str]:
    if not subject.overrides("sniff"):
        raise Skip("it takes every file that has its suffix for its own")
    with tempfile.TemporaryDirectory() as folder:
        for what, head in (("nothing", b""), ("zeros", bytes(4096)), ("junk", (JUNK * 6)[:4096]), ("words", b"hello, world\n")):
            path = Path(folder) / f"{what}{_suffixes(subject)[0]}"
            path.write_bytes(head)
            answer = subject.tokenizer.sniff(path, head)
            if not isinstance(answer, bool):
                yield f"a file that begins with {what}: sniff answers {answer!r}"


@check(
    GROUP,
    "read-huge",
    "A file far over any limit is refused by name, in seconds and without being read into memory",
    "look at the file's size, or at its header, before reading on; give the tokenizer a limit such as `max_bytes`",
)
def read_huge(subject: Subject) -> Iterator[str]:
    _reading(subject)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"huge{_suffixes(subject)[0]}"
        try:
            with path.open("wb") as file:
                file.truncate(HUGE)
        except OSError:
            raise Skip("this file system holds no file of a terabyte with nothing in it") from None
        try:
            message = elsewhere(subject, "read", HUGE_SECONDS, path=str(path))
        except RuntimeError as error:
            yield f"a file of {HUGE >> 40} TB: {error}"
            return
        if message is None:
            yield f"a file of {HUGE >> 40} TB of zeros is read"
        elif path.name not in message:
            yield f'a file of {HUGE >> 40} TB: the error does not name the file ("{message}")'


@check(
    GROUP,
    "read-truncated",
    "A file that was cut off is refused by name, or read for the shorter object that it is; nothing is made up",
    "let the format's library complain of missing data, and compare what came with what the header tells",
)
def read_truncated(subject: Subject) -> Iterator[str]:
    _reading(subject)
    if not subject.files:
        raise Skip("no example files were given")
    with tempfile.TemporaryDirectory() as folder:
        for file in subject.files:
            data = file.read_bytes()
            whole = len(subject.tokenizer.encode(subject.tokenizer.read(file)))
            for share in (0.25, 0.5, 0.9):
                path = Path(folder) / f"cut{file.suffix}"
                path.write_bytes(data[: int(share * len(data))])
                what = f"{file.name} cut to {share:.0%}"
                yield from _read_or_refused(subject, path, what)
                try:
                    found = len(subject.tokenizer.encode(subject.tokenizer.read(path)))
                except Exception:
                    continue
                if found >= whole and whole > 1:
                    yield f"{what} still has {found} of {whole} tokens"


CHECKS = checks_of(globals())
