"""Checkpoints: folders that are complete or not there, whose every byte is checked before a tensor is used.

A save writes `checkpoints/step-000100.tmp`, the manifest with sizes and sha256 of all files last, and renames the
folder. Nothing is ever overwritten in place, so the newest complete checkpoint survives a crash or a full disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
from torch import Tensor

from .errors import CheckpointError

FORMAT = 1
MANIFEST = "manifest.json"
FOLDER = "checkpoints"
_STEP = re.compile(r"step-(\d{6,})")

Tensors = dict[str, Tensor]


class FileFact(msgspec.Struct, frozen=True):
    """What the manifest says of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint: what the manifest says, and the bytes of its files."""

    folder: Path
    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])

    def tensors(self, name: str) -> Tensors:
        """The tensors of one safetensors file of the checkpoint."""
        return safetensors.torch.load(self.files[name])


def save(
    run: Path, step: int, tensors: Mapping[str, Tensors], blobs: Mapping[str, bytes], facts: Mapping[str, Any], keep: int
) -> Path:
    """Write one checkpoint of a run and prune all but the newest `keep`.

    `tensors` maps safetensors file names to their tensors, `blobs` other file names to bytes, `facts` is JSON for
    the manifest. Raises CheckpointError where the disk refuses; the older checkpoints are then as they were.
    """
    final = run / FOLDER / f"step-{step:06d}"
    if _is_sound(final):
        return final
    work = final.with_name(final.name + ".tmp")
    try:
        _discard(work)
        work.mkdir(parents=True)
        _fill(work, {n: safetensors.torch.save(_plain(t)) for n, t in tensors.items()} | dict(blobs), {**facts, "step": step})
        if final.exists():
            _discard(final)
        work.rename(final)
        _sync(final.parent)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        older = latest(run)
        kept = f"{older} is intact" if older else "there is no older checkpoint"
        raise CheckpointError(
            f"could not write {final} ({error.strerror or error}); {kept}; make room and use --resume"
        ) from None
    prune(run, keep)
    return final


def _fill(work: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
    listed = {}
    for name, data in files.items():
        (work / name).parent.mkdir(exist_ok=True)
        write(work / name, data)
        listed[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for folder in {(work / name).parent for name in files}:
        _sync(folder)
    write(work / MANIFEST, _render({"format": FORMAT, **facts, "files": listed}))
    _sync(work)


def write(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Wait until a folder's entries are on the disk (where the system can say so)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _plain(tensors: Tensors) -> Tensors:
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}


def _render(manifest: Mapping[str, Any]) -> bytes:
    """The manifest's bytes, closed by the hash of its other fields: one rendering only is valid."""
    body = json.dumps({k: v for k, v in manifest.items() if k != "sha256"}, indent=1)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{body[:-2]},\n "sha256": "{digest}"\n}}\n'.encode()


def _discard(folder: Path) -> None:
    """Remove a folder so that a crash half way leaves nothing that looks complete."""
    if folder.exists():
        doomed = folder.with_name(folder.name.removesuffix(".tmp") + ".old.tmp")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)


def found(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first; half-written ones are no part of it."""
    home = run / FOLDER
    names = [p for p in home.iterdir() if _STEP.fullmatch(p.name) and (p / MANIFEST).is_file()] if home.is_dir() else []
    return sorted(names, key=lambda p: int(p.name.removeprefix("step-")))


def latest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, or None."""
    complete = found(run)
    return complete[-1] if complete else None


def prune(run: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what interrupted saves left behind."""
    for folder in found(run)[:-keep]:
        with contextlib.suppress(OSError):  # an old checkpoint too many does no harm
            _discard(folder)
    for folder in (run / FOLDER).glob("step-*.tmp"):
        shutil.rmtree(folder, ignore_errors=True)


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify every byte of it.

    Raises CheckpointError naming the file that is missing, cut, altered or swapped, and an older checkpoint if there is one.
    """
    manifest = _read_manifest(folder)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{folder}: format {manifest.get('format')!r} is not {FORMAT}, which this version of omnitok reads")
    if _STEP.fullmatch(folder.name) and int(folder.name.removeprefix("step-")) != manifest.get("step"):
        raise _broken(folder, MANIFEST, f"belongs to step {manifest.get('step')}")
    try:
        facts = msgspec.convert(manifest["files"], dict[str, FileFact])
    except (msgspec.ValidationError, KeyError) as error:
        raise _broken(folder, MANIFEST, f"does not list its files ({error})") from None
    return Checkpoint(folder, manifest, {name: _read(folder, name, fact) for name, fact in facts.items()})


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _broken(folder, MANIFEST, f"cannot be read ({error.strerror})") from None
    try:
        manifest = json.loads(data)
        sound = isinstance(manifest, dict) and _render(manifest) == data
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise _broken(folder, MANIFEST, "was altered")
    return manifest


def _read(folder: Path, name: str, fact: FileFact) -> bytes:
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise _broken(folder, MANIFEST, f"names the file {name!r}, which lies outside")
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise _broken(folder, name, f"cannot be read ({error.strerror})") from None
    if len(data) != fact.bytes:
        raise _broken(folder, name, f"has {len(data)} bytes instead of {fact.bytes}")
    if hashlib.sha256(data).hexdigest() != fact.sha256:
        raise _broken(folder, name, "was altered (its sha256 differs from the manifest's)")
    return data


def _broken(folder: Path, name: str, what: str) -> CheckpointError:
    older = [p for p in found(folder.parent.parent) if p != folder and p.name < folder.name]
    offer = f"move {folder.name} away to continue from {older[-1].name}" if older else "there is no older checkpoint"
    return CheckpointError(f"{folder / name} {what}; {offer}")


def _is_sound(folder: Path) -> bool:
    try:
        return bool(load(folder).files)
    except CheckpointError:
        return False
