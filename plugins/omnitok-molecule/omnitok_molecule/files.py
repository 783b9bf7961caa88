"""Files that hold one molecule: a line of SMILES, a mol block, an SDF of one record."""

from __future__ import annotations

from pathlib import Path

from omnitok.errors import InputError
from omnitok.files import read_bytes

from .molecule import Molecule, from_mol_block


def read_molecule(path: Path, max_bytes: int, max_atoms: int) -> Molecule:
    """One molecule from one file, by its suffix. Raises InputError naming the file and the line."""
    text = read_text(path, max_bytes)
    try:
        if path.suffix.lower() in (".mol", ".sdf"):
            return from_mol_block(_record(text))
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) != 1:
            raise InputError(f"{len(lines)} lines of SMILES, not one; many molecules are a data set: molecule/file")
        number, line = lines[0]
        try:
            return Molecule(line.split()[0], max_atoms)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def sniff_molecule(path: Path, head: bytes) -> bool:
    """Whether a file that others claim too looks like a molecule."""
    if path.suffix.lower() == ".smi":
        first = head.split(b"\n")[0].split()
        return bool(first) and b"<" not in first[0]  # a SMIL presentation, or subtitles
    return b"V2000" in head or b"V3000" in head


def _record(text: str) -> str:
    """The only record of an SDF. Raises InputError where there are more."""
    records = [part for part in text.split("$$$$") if part.strip()]
    if len(records) != 1:
        raise InputError(f"{len(records)} records, not one; many molecules are a data set: molecule/file")
    return records[0]


def read_text(path: Path, limit: int) -> str:
    """A file of text. Raises InputError naming the file, over `limit` bytes and where it is no UTF-8."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is no text") from None
