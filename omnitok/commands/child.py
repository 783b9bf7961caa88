"""Work in a process of its own with a time limit: what crashes, exits, prints or hangs there harms nothing here.

The parent calls `run_in_child`; the module it names ends in `if __name__ == "__main__": serve(work)`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TOLD = "told.jsonl"


@dataclass(frozen=True)
class ChildFailure:
    """What became of a child process that left no report."""

    kind: Literal["timeout", "failed"]
    words: str
    told: tuple[Any, ...] = ()
    """what it had told with `tell` by then, in order"""

    def __str__(self) -> str:
        return self.words


def run_in_child(module: str, task: dict[str, Any], timeout: float) -> Any | ChildFailure:
    """Run `python -m module` on a task of JSON values; its report (JSON values too), or the failure in words.

    The child has no standard streams. It and all that it started are ended after `timeout` seconds, and when it is done.
    """
    with tempfile.TemporaryDirectory(prefix="omnitok-child-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "task.json").write_text(json.dumps(task))
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, name],  # -P: a file of the working folder hides no library
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
            start_new_session=True,
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            return ChildFailure("timeout", f"no answer within {timeout:g} seconds", _told(folder))
        finally:
            _end(child)
        try:
            answer = json.loads((folder / "report.json").read_text())
        except (OSError, ValueError):
            how = f"was killed by {_signal(-code)}" if code < 0 else f"ended with exit code {code}"
            return ChildFailure("failed", f"its process {how} and left no report", _told(folder))
        return answer["report"] if "report" in answer else ChildFailure("failed", answer["raised"], _told(folder))


def serve(work: Callable[[dict[str, Any]], Any]) -> None:
    """The child's main: do the task and leave the report; what it raises, SystemExit too, is its failure."""
    folder = Path(sys.argv[1])
    try:
        answer = {"report": work(json.loads((folder / "task.json").read_text()))}
        text = json.dumps(answer)
    except BaseException as error:
        kind = type(error).__name__
        text = json.dumps({"raised": f"its process raised {kind}: {error}" if str(error) else f"its process raised {kind}"})
    unfinished = folder / "report.part"
    unfinished.write_text(text)
    unfinished.rename(folder / "report.json")


def tell(value: Any) -> None:
    """In the child: leave a JSON value that the parent has even where no report comes."""
    with (Path(sys.argv[1]) / TOLD).open("a") as file:
        file.write(json.dumps(value) + "\n")


def _told(folder: Path) -> tuple[Any, ...]:
    """The values that were told; the last line may be half written."""
    try:
        lines = (folder / TOLD).read_text().splitlines()
    except OSError:
        return ()
    values = []
    for line in lines:
        with contextlib.suppress(ValueError):
            values.append(json.loads(line))
    return tuple(values)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and what it may have started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    elif child.poll() is None:
        child.kill()
    child.wait()
