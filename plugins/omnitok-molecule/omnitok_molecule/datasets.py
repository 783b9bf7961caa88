"""Tables of molecules with a property, split by scaffold or at random."""

from __future__ import annotations

import csv
import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from omnitok.data import Dataset, Folder, Sample, check_split, data_folder
from omnitok.errors import ConfigError, InputError, did_you_mean

from .molecule import parsed

Division = Annotated[
    Literal["scaffold", "random"],
    Meta(description="whole Bemis-Murcko scaffolds are held out (the rarest, as in MoleculeNet), or molecules at random"),
]
Seed = Annotated[
    Annotated[int, Meta(ge=0)] | None,
    Meta(description="of the random division, and of the order of scaffolds that are equally frequent; unset: the file's order"),
]
PARTS = ("train", "eval", "test")


class Table(Dataset, frozen=True, kw_only=True):
    """Base: rows of a SMILES and a number: 80 % for training, 10 % for eval, 10 % for test.

    Samples: `molecule` (the SMILES as it stands there), `target` (a number), `row` (its line among the rows).
    """

    division: Division = "scaffold"
    seed: Seed = None

    def splits(self) -> tuple[str, ...]:
        return PARTS

    def rows(self) -> tuple[tuple[str, float, int], ...]:
        """SMILES, target and row number of every molecule that can be read."""
        raise NotImplementedError

    def split(self, name: str) -> Sequence[Sample]:
        part, rows = PARTS.index(check_split(self, name)), self.rows()
        picked = divided(tuple(row[0] for row in rows), self.division, self.seed)[part]
        if not picked:
            raise ConfigError(
                f'dataset {self.name!r}: no molecule is left for {name!r}: too many share one scaffold; set division = "random"'
            )
        return [{"molecule": rows[i][0], "target": rows[i][1], "row": rows[i][2]} for i in picked]


class File(Table, frozen=True, kw_only=True):
    """Molecules of a CSV file: a column of SMILES and one of numbers.

    A row that rdkit refuses is an error that names it, unless `skip` says to leave such rows out.
    """

    name: ClassVar[str] = "molecule/file"
    licence: ClassVar[str] = "as the file"
    source: ClassVar[str] = "a local file"

    path: Annotated[str, Meta(description="the CSV file, with a header")]
    smiles: Annotated[str, Meta(description="its column of SMILES")] = "smiles"
    target: Annotated[str, Meta(description="its column of numbers")]
    classes: Annotated[tuple[str, ...], Meta(description="words for the targets 0, 1, ...; unset: numbers to regress")] = ()
    skip: Annotated[bool, Meta(description="leave out rows that are no molecule, instead of stopping")] = False

    def rows(self) -> tuple[tuple[str, float, int], ...]:
        return _rows(Path(self.path), self.smiles, self.target, self.skip)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(self.classes)} if self.classes else {}


class Public(Table, frozen=True, kw_only=True):
    """Base: one of the public tables."""

    file: ClassVar[str]
    target: ClassVar[str]
    smiles: ClassVar[str] = "smiles"
    skip: ClassVar[bool] = False

    folder: Folder = ""

    def rows(self) -> tuple[tuple[str, float, int], ...]:
        folder = data_folder(self, self.folder, "molecules")
        return _rows(folder / self.file, self.smiles, self.target, self.skip)


class Esol(Public, frozen=True, kw_only=True):
    """ESOL (Delaney 2004): 1,128 molecules and the logarithm of how much of them water dissolves, in mol/l."""

    name: ClassVar[str] = "molecule/esol"
    licence: ClassVar[str] = "MIT (deepchem)"
    source: ClassVar[str] = "https://github.com/deepchem/deepchem (delaney-processed.csv)"
    file: ClassVar[str] = "delaney-processed.csv"
    target: ClassVar[str] = "measured log solubility in mols per litre"


class Lipophilicity(Public, frozen=True, kw_only=True):
    """Lipophilicity (AstraZeneca, ChEMBL): 4,200 molecules and their octanol/water distribution, log D at pH 7.4."""

    name: ClassVar[str] = "molecule/lipophilicity"
    licence: ClassVar[str] = "CC0 (OpenDrugAI/AttentiveFP data)"
    source: ClassVar[str] = "https://github.com/OpenDrugAI/AttentiveFP (Lipophilicity.csv)"
    file: ClassVar[str] = "Lipophilicity.csv"
    target: ClassVar[str] = "exp"


class Bbbp(Public, frozen=True, kw_only=True):
    """BBBP (Martins 2012): whether a molecule passes the blood-brain barrier; the 11 of 2,050 rows that rdkit refuses are
    left out, as everywhere.
    """

    name: ClassVar[str] = "molecule/bbbp"
    licence: ClassVar[str] = "CC0 (OpenDrugAI/AttentiveFP data)"
    source: ClassVar[str] = "https://github.com/OpenDrugAI/AttentiveFP (BBBP.csv)"
    file: ClassVar[str] = "BBBP.csv"
    target: ClassVar[str] = "BBBP"
    skip: ClassVar[bool] = True

    def metadata(self) -> dict[str, Any]:
        return {"classes": ["kept out", "passes"]}


class Known(Table, frozen=True, kw_only=True):
    """Well-known molecules by name, and their octanol/water partition as rdkit computes it (Crippen's log P): needs no data.

    Samples have `name` too.
    """

    name: ClassVar[str] = "molecule/known"
    licence: ClassVar[str] = "none needed: written by hand for omnitok-molecule"
    source: ClassVar[str] = "omnitok_molecule/known.py; Crippen's log P by rdkit"

    division: Division = "random"
    seed: Seed = 0

    def rows(self) -> tuple[tuple[str, float, int], ...]:
        return _known()

    def split(self, name: str) -> Sequence[Sample]:
        from .known import KNOWN

        names = list(KNOWN)
        return [{**sample, "name": names[sample["row"] - 1]} for sample in super().split(name)]


@functools.cache
def _known() -> tuple[tuple[str, float, int], ...]:
    from rdkit.Chem.Crippen import MolLogP

    from .known import KNOWN

    return tuple((smiles, float(MolLogP(parsed(smiles))), row) for row, smiles in enumerate(KNOWN.values(), 1))


@functools.lru_cache(maxsize=8)
def _rows(path: Path, smiles: str, target: str, skip: bool) -> tuple[tuple[str, float, int], ...]:
    """The rows of a CSV file. Raises InputError naming the file, the row and the column."""
    found: list[tuple[str, float, int]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for column in (smiles, target):
                if column not in (reader.fieldnames or ()):
                    raise ConfigError(f"{path}: no column {column!r}; {did_you_mean(column, reader.fieldnames or (), 'columns')}")
            for number, row in enumerate(reader, 1):
                text, value = (row[smiles] or "").strip(), row[target]
                try:
                    parsed(text)
                except InputError as error:
                    if skip:
                        continue
                    raise InputError(f"row {number}: {error} (`skip = true` leaves such rows out)") from None
                found.append((text, _number(value, number, target), number))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if len(found) < 10:
        raise InputError(f"{path}: {len(found)} molecules; three splits need at least 10")
    return tuple(found)


def _number(value: str | None, row: int, column: str) -> float:
    try:
        number = float(value or "")
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise InputError(f"row {row}: {column!r} is {value!r}, which is no number")
    return number


@functools.lru_cache(maxsize=8)
def divided(smiles: tuple[str, ...], division: str, seed: int | None) -> tuple[tuple[int, ...], ...]:
    """The rows for training, eval and test.

    "scaffold", as MoleculeNet does it: all molecules of one Bemis-Murcko scaffold stay together; the most frequent scaffold
    comes first, each goes into the first part that has room for it. Equally frequent ones come in the file's order (last
    first, as there), or shuffled by `seed`.
    """
    groups: dict[Any, list[int]] = {}
    for row, text in enumerate(smiles):
        groups.setdefault(scaffold(text) if division == "scaffold" else row, []).append(row)
    found = sorted(groups.values(), key=lambda group: group[0], reverse=True)
    if seed is not None or division == "random":
        random.Random(seed or 0).shuffle(found)
    parts: tuple[list[int], ...] = ([], [], [])
    for group in sorted(found, key=len, reverse=True):
        train, held_out = len(parts[0]) + len(group), len(parts[0]) + len(parts[1]) + len(group)
        part = 0 if train <= 0.8 * len(smiles) else 1 if held_out <= 0.9 * len(smiles) else 2
        parts[part].extend(group)
    return tuple(map(tuple, parts))


def scaffold(smiles: str) -> str:
    """The Bemis-Murcko scaffold of a molecule: its rings and what joins them; "" where there is no ring."""
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    return str(MurckoScaffoldSmiles(mol=parsed(smiles), includeChirality=False))
