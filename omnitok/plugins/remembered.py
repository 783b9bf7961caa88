"""What is remembered of plugins from one process to the next: how their last import went, and which are disabled.

One JSON file for each Python environment in the user's state folder (`OMNITOK_HOME` names another). It is only a help:
where it cannot be read or written, everything works as if nothing were remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from .. import __version__
from ..errors import OmnitokError

HOME = "OMNITOK_HOME"
_noted: set[str] = set()
LONGEST = 600
"""seconds that an import may be thought to go on"""
Result = Literal["ok", "broken", "hung", "ended", "importing"]


class LastImport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the last import of a plugin went. It counts for this version of its distribution and of omnitok only."""

    distribution: str
    version: str
    omnitok: str
    result: Result
    """hung: it was stopped by the time limit; ended: it took the process with it; importing: nothing is known yet."""
    time: str = ""
    """UTC, ISO 8601."""
    reason: str = ""
    """the failure in one line."""
    traceback: str = ""
    datasets: tuple[str, ...] = ()
    """what it registered, when it went well."""
    process: str = ""
    """host:process id of the import, while it goes on."""


class _State(msgspec.Struct):
    python: str
    disabled: list[str] = []
    imports: dict[str, LastImport] = {}


def home() -> Path:
    """The folder of omnitok's state: `OMNITOK_HOME`, or the system's place for it."""
    if os.environ.get(HOME):
        return Path(os.environ[HOME]).expanduser()
    import platformdirs

    return platformdirs.user_state_path("omnitok", appauthor=False)


def note(problem: str) -> None:
    """Say on stderr, once in a process, that the state cannot be used and what of it."""
    if not _noted:
        _noted.add(problem)
        print(f"note: {problem}; nothing is remembered of the plugins", file=sys.stderr)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Memory:
    """The remembered state of this Python environment, as it was when it was read; every change is written at once."""

    def __init__(self, folder: Path | None = None) -> None:
        self._python = f"{sys.prefix} (Python {sys.version_info.major}.{sys.version_info.minor})"
        digest = hashlib.sha256(self._python.encode()).hexdigest()[:8]
        self.path = (folder or home()) / f"plugins-{digest}.json"
        self.problem = ""
        """why the file could not be read or written, in one line."""
        self._state = self._read()

    # -- imports

    def last(self, name: str, distribution: str, version: str) -> LastImport | None:
        """How the last import of this very version went, under this very omnitok; None where that is not known."""
        found = self._state.imports.get(name)
        if found is None or (found.distribution, found.version, found.omnitok) != (distribution, version, __version__):
            return None
        if found.result != "importing":
            return found
        if _may_go_on(found):
            return None
        return msgspec.structs.replace(found, result="ended", reason="its last import ended the process")

    def record(self, imports: dict[str, LastImport]) -> bool:
        """Remember how imports went. Returns whether that could be written."""
        return self._change(lambda state: state.imports.update(imports))

    def begin(self, name: str, distribution: str, version: str) -> None:
        """Remember that an import begins: if nothing is recorded after it, it has ended the process."""
        process = f"{socket.gethostname()}:{os.getpid()}"
        self.record({name: LastImport(distribution, version, __version__, "importing", time=now(), process=process)})

    def forget(self, name: str) -> None:
        """The import was interrupted: nothing is known of it."""
        self._change(lambda state: state.imports.pop(name, None))

    # -- disabled

    @property
    def disabled(self) -> tuple[str, ...]:
        """Names of plugins, or `distribution:name` where one of several of that name is meant."""
        return tuple(self._state.disabled)

    def is_disabled(self, name: str, distribution: str) -> bool:
        return name in self._state.disabled or f"{distribution}:{name}" in self._state.disabled

    def disable(self, names: Iterable[str]) -> None:
        """Raises OmnitokError where that cannot be written."""
        self._must(lambda state: state.disabled.extend(n for n in names if n not in state.disabled))

    def enable(self, names: Iterable[str]) -> None:
        """Raises OmnitokError where that cannot be written."""
        gone = set(names)
        self._must(lambda state: setattr(state, "disabled", [n for n in state.disabled if n not in gone]))

    # -- the file

    def _must(self, change: Callable[[_State], object]) -> None:
        if not self._change(change):
            raise OmnitokError(f"{self.problem}; {HOME}=FOLDER names another place")

    def _read(self) -> _State:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_State)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            self.problem = f"{self.path} cannot be read ({getattr(error, 'strerror', None) or error})"
        return _State(self._python)

    def _change(self, change: Callable[[_State], object]) -> bool:
        """Read, change and write the file, with other processes kept out; an unreadable file is set aside, not overwritten."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self.path.with_suffix(".lock")):
                self.problem = ""
                state = self._read()
                if self.problem:
                    self.path.replace(self.path.with_suffix(".unreadable"))
                change(state)
                _write(self.path, msgspec.json.format(msgspec.json.encode(state), indent=1))
        except OSError as error:
            self.problem = f"{self.path} cannot be written ({error.strerror or error})"
            change(self._state)  # at least this process remembers
            return False
        self._state = state
        return True


def _write(path: Path, content: bytes) -> None:
    """Put a whole file in place at once."""
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def _alone(path: Path, patience: float = 2.0) -> Iterator[None]:
    """Hold a lock where the system has one; after `patience` seconds go on without, for it is only held for moments."""
    try:
        import fcntl
    except ImportError:  # not POSIX
        yield
        return
    with path.open("w") as file:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(0.01)
                    continue
            except OSError:  # a file system without locks
                pass
            break
        yield


def _may_go_on(begun: LastImport) -> bool:
    """Whether the process that began an import may still be at it."""
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(begun.time)).total_seconds()
    except (ValueError, TypeError):
        return False
    host, _, number = begun.process.rpartition(":")
    if host != socket.gethostname() or not number.isdigit() or os.name != "posix":
        return age < LONGEST  # nobody to ask
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return age < LONGEST  # later it is another process of that number
