"""The machine: processor cores and threads, folders and disks, shared memory, the encoding of files and of the terminal."""

from __future__ import annotations

import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .findings import Complaint, Finding, fine

CGROUP = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")
PROBE = 1 << 20
FULL, LOW = 64 << 20, 1 << 30
LITTLE_SHARED = 256 << 20
THREADS = "OMP_NUM_THREADS"

NO_NUMBER = Complaint(
    "threads-unreadable",
    "warning",
    "{variable}={value!r} is no number of threads, so it is ignored",
    "`export {variable}={cores}`",
)
TOO_MANY = Complaint(
    "threads-many",
    "warning",
    "{variable}={value} asks for more threads than the {cores} cores that this process may use, which is slow",
    "`export {variable}={cores}`",
)
LESS_THAN_SEEN = Complaint(
    "threads-quota",
    "warning",
    "this process sees {seen} cores and may use the time of {quota:g} (cgroup limit), so torch would start too many threads",
    "`export OMP_NUM_THREADS={cores}`, or `threads = {cores}` in a recipe's [train]",
)
FOLDER_GONE = Complaint(
    "folder-gone", "problem", "the working folder does not exist any more", "change to a folder that exists: `cd ~`"
)
UNWRITABLE = Complaint(
    "folder-unwritable",
    "problem",
    "the {kind} {path} cannot be written ({reason})",
    "{remedy}",
)
DISK_FULL = Complaint("disk-full", "problem", "the disk of the {kind} {path} has {free} MB left", "make room, or {remedy}")
DISK_LOW = Complaint(
    "disk-low",
    "warning",
    "the disk of the {kind} {path} has {free} MB left; a run keeps two or more checkpoints, of three times the weights each",
    "make room, or {remedy}",
)
NO_TMPDIR = Complaint(
    "tmpdir-unusable",
    "warning",
    "{variable}={value} cannot be used, and {path} is taken for temporary files",
    "`mkdir -p {value}`, or `unset {variable}`",
)
SHARED_SMALL = Complaint(
    "shared-memory",
    "warning",
    "{path} has {free} MB left, and batches of loader workers pass through it: workers may end by a bus error",
    "give the container more (`docker run --shm-size=1g`), or `workers = 0` in a recipe's [train]",
)
NOT_UTF8 = Complaint(
    "encoding",
    "warning",
    "{what} is {encoding}, not UTF-8, so words of other languages may come out damaged or not at all",
    "`export PYTHONUTF8=1`, or a locale such as `export LC_ALL=C.UTF-8`",
)


def threads() -> Iterator[Finding]:
    """Cores, the cores and the time that this process may use, and the threads that it was told to start."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    cores = max(1, min(seen, int(quota) if quota else seen))
    told = []
    for variable in (THREADS, "MKL_NUM_THREADS"):
        value = os.environ.get(variable, "").strip()
        if not value:
            continue
        told.append(variable)
        first = value.partition(",")[0]  # one number for each level of nesting
        if not first.isdigit() or int(first) < 1:
            yield NO_NUMBER(variable=variable, value=value, cores=cores)
        elif int(first) > cores:
            yield TOO_MANY(variable=variable, value=value, cores=cores)
    if quota and quota < seen and not told:
        yield LESS_THAN_SEEN(seen=seen, quota=quota, cores=cores)
    words = f"{os.cpu_count()} cores, {cores} for this process"
    yield fine("threads", words + "".join(f", {v}={os.environ[v]}" for v in told))


def _quota() -> float | None:
    """Processor seconds per second that the control group allows; None where it sets no limit."""
    for folder in _groups():
        try:
            limit, period = (folder / "cpu.max").read_text().split()
            return None if limit == "max" else int(limit) / int(period)
        except (OSError, ValueError):
            pass
        try:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            return None if int(limit) <= 0 else int(limit) / int((folder / "cpu.cfs_period_us").read_text())
        except (OSError, ValueError):
            continue
    return None


def _groups() -> list[Path]:
    """Where the limit of this process may stand: version 2, then version 1; its own group, then the container's."""
    try:
        own = [line.split(":", 2)[2].strip("/") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except (OSError, IndexError):
        own = []
    return [CGROUP / base / group for group in [*dict.fromkeys(own), ""] for base in ("", "unified", "cpu", "cpu,cpuacct")]


def folders() -> Iterator[Finding]:
    """Where runs, temporary files and omnitok's own state are written."""
    try:
        here = Path.cwd()
    except OSError:
        yield FOLDER_GONE()
    else:
        yield from _folder("working folder", here, "work in another folder")
    temporary = Path(tempfile.gettempdir())
    for variable in ("TMPDIR", "TEMP", "TMP"):
        value = os.environ.get(variable)
        if value and Path(value).absolute() != temporary.absolute():
            yield NO_TMPDIR(variable=variable, value=value, path=temporary)
        if value:
            break
    yield from _folder("temporary folder", temporary, "`export TMPDIR=FOLDER`")
    try:
        from ..plugins.remembered import HOME, home
    except ImportError:  # a library is missing, which is said elsewhere
        return
    yield from _folder("state folder", home(), f"`export {HOME}=FOLDER`")


def _folder(kind: str, path: Path, remedy: str) -> Iterator[Finding]:
    place = path
    while not os.path.lexists(place) and place != place.parent:  # it is made when it is needed
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield UNWRITABLE(kind=kind, path=path, reason=error.strerror or error, remedy=remedy)
        return
    if free < LOW:
        yield (DISK_FULL if free < FULL else DISK_LOW)(kind=kind, path=path, free=free >> 20, remedy=remedy)
    else:
        yield fine("folder", f"the {kind} {path} can be written, {free / 1e9:.0f} GB free")


def shared_memory() -> Iterator[Finding]:
    """The room through which loader workers hand over their batches."""
    if not SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < LITTLE_SHARED:
        yield SHARED_SMALL(path=SHARED_MEMORY, free=free >> 20)
    else:
        yield fine("shared-memory", f"{SHARED_MEMORY} has {free / 1e9:.1f} GB free for loader workers")


def encoding() -> Iterator[Finding]:
    """What files, their names and the terminal are encoded in."""
    found = {
        "the encoding of files": locale.getpreferredencoding(False),
        "the encoding of file names": sys.getfilesystemencoding(),
        "the encoding of the output": getattr(sys.stdout, "encoding", None) or "utf-8",
    }
    wrong = {what: name for what, name in found.items() if name.lower().replace("-", "").replace("_", "") != "utf8"}
    for what, name in wrong.items():
        yield NOT_UTF8(what=what, encoding=name)
    if not wrong:
        yield fine("encoding", "files, file names and output are UTF-8")
