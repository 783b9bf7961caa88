"""Another process, started afresh as a data worker is where processes are spawned: its hashes of strings are others.

`python -m omnitok.checks.elsewhere` is that process. It is started once and asked by several checks, one task at a time.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..errors import InputError
from .base import Skip, Subject, told

SECONDS = 60.0
"""Longest that one task may take."""
START_SECONDS = 120.0
"""Longest that the process may take to start: it imports torch."""
MEMORY = 2 << 30
"""Bytes that reading a file may take there."""
HASH_SEED = "20261"


class Elsewhere:
    """The other process."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONHASHSEED": HASH_SEED}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "omnitok.checks.elsewhere"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.answers: queue.Queue[Any] = queue.Queue()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self.started = False

    def _listen(self) -> None:
        """Hand over what the child says; None when it is gone."""
        with contextlib.suppress(OSError, EOFError, struct.error, pickle.UnpicklingError, ValueError):
            while True:
                self.answers.put(_receive(self.child.stdout))
        self.answers.put(None)

    def ask(self, task: dict[str, Any], seconds: float) -> Any:
        """What became of a task. Raises RuntimeError with what went wrong there."""
        with contextlib.suppress(OSError):
            if not self.started:
                _send(self.child.stdin, {"do": "nothing"})
            _send(self.child.stdin, task)
        try:
            if not self.started:
                self.answers.get(timeout=START_SECONDS)
                self.started = True
            answer = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.end()
            raise RuntimeError(f"no answer within {seconds:g} seconds") from None
        if answer is None:
            raise RuntimeError(f"the other process ended with exit code {self.child.wait()}")
        if "raised" in answer:
            raise RuntimeError(answer["raised"])
        return answer["value"]

    def end(self) -> None:
        """Stop the process."""
        self.child.kill()
        self.child.wait()
        self.listener.join(10)
        for pipe in (self.child.stdin, self.child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    @property
    def alive(self) -> bool:
        return self.child.poll() is None


_processes: list[Elsewhere] = []
"""None or one."""


@atexit.register
def _end_all() -> None:
    for process in _processes:
        process.end()


def elsewhere(subject: Subject, do: str, seconds: float = SECONDS, **more: Any) -> Any:
    """Do something with a subject's tokenizer in the other process: "import", "encode" or "read".

    Raises RuntimeError with what went wrong there, Skip where the class is one of a script.
    """
    cls = type(subject.tokenizer)
    if cls.__module__ == "__main__":
        raise Skip("its class is defined in a script (__main__), which no other process can import: put it into a module")
    root = cls.__module__.partition(".")[0]  # of a one-file plugin: found by its path, and by no name
    file = sys.modules[root].__file__ if root.startswith("omnitok_file_") else None
    if _processes and not _processes[0].alive:
        _processes.pop().end()
    if not _processes:
        _processes.append(Elsewhere())
    task = {"do": do, "file": file, "module": cls.__module__, **more}
    if do != "import":
        task["tokenizer"] = pickle.dumps(subject.tokenizer)
    return _processes[0].ask(task, seconds)


# -- the other side


def main() -> None:
    """Answer one task after another, until nobody asks any more. What plugins print goes nowhere."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    imported: dict[str, tuple[float, str]] = {}
    import torch

    import omnitok.checks  # noqa: F401  # as the process that asks

    torch.set_num_threads(1)
    while True:
        try:
            task = _receive(sys.stdin.buffer)
        except (EOFError, struct.error):
            return
        try:
            _send(out, {"value": _done(task, imported)})
        except BaseException as error:
            _send(out, {"raised": told(error)})


def _done(task: dict[str, Any], imported: dict[str, tuple[float, str]]) -> Any:
    if task["do"] == "nothing":
        return None
    if task["module"] not in imported:
        imported[task["module"]] = _import(task["module"], task["file"])
    if task["do"] == "import":
        return imported[task["module"]]
    tokenizer = pickle.loads(task["tokenizer"])
    if task["do"] == "read":
        return _read(tokenizer, Path(task["path"]))
    raws = tokenizer.samples(0) if task["raws"] is None else task["raws"]
    return tokenizer, [tokenizer.encode(raw) for raw in raws]


def _import(module: str, file: str | None) -> tuple[float, str]:
    """Seconds of computing that an import takes, and what it prints."""
    from ..plugins.discovery import from_file

    printed, begin = io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        if file is not None:
            from_file(Path(file)).load()
        importlib.import_module(module)
    return time.process_time() - begin, printed.getvalue()


def _read(tokenizer: Any, path: Path) -> str | None:
    """The error that refuses a file, with little memory; None where it is taken."""
    with _little_memory():
        try:
            tokenizer.read(path)
        except InputError as error:
            return str(error)
    return None


@contextlib.contextmanager
def _little_memory() -> Any:
    try:
        import resource
    except ImportError:  # not there on Windows
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc/self/statm").exists() else 0
    )
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _send(stream: Any, value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: Any) -> Any:
    (length,) = struct.unpack("<Q", stream.read(8))
    return pickle.loads(stream.read(length))


if __name__ == "__main__":
    main()
