"""A molecule in memory, and reading one from SMILES or a mol block; rdkit's failures become errors for people."""

from __future__ import annotations

from typing import Any

from rdkit import Chem, rdBase

from omnitok.errors import InputError

CHARACTERS = 32
"""Of SMILES per atom at most, so that a text over the limit is not even parsed."""


class Molecule:
    """A molecule by its SMILES; `mol` is rdkit's, with atoms in the order of `smiles`, the canonical isomeric SMILES.

    Two molecules are equal where their canonical isomeric SMILES are, so every spelling of one gives the same object.
    Conformers, atom maps, names and properties are not part of it. Raises InputError naming what rdkit refuses.
    """

    def __init__(self, smiles: str, max_atoms: int = 100_000) -> None:
        if not isinstance(smiles, str):
            raise InputError(f"a molecule is given by its SMILES, not by a {type(smiles).__name__}")
        text = smiles.strip()
        if len(text) > CHARACTERS * max_atoms:
            raise InputError(f"{len(text)} characters of SMILES are more than max_atoms = {max_atoms} atoms need")
        self._set(parsed(text), text)

    @classmethod
    def of(cls, mol: Any, name: str = "") -> Molecule:
        """From a sanitized `rdkit.Chem.Mol`. Raises InputError for an atom map, which would not come back."""
        self, own = cls.__new__(cls), Chem.Mol(mol)
        Chem.AssignStereochemistry(own)  # or the marks of double bonds that were set by hand are not written
        self._set(own, name)
        return self

    def _set(self, mol: Any, name: str) -> None:
        mapped = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomMapNum()]
        if mapped:
            raise InputError(f"{_short(name)}: atom {mapped[0]} has an atom map number, which is not kept: clear it first")
        smiles = Chem.MolToSmiles(mol)
        for _ in range(3):  # stereo marks that say nothing are found one reading later
            mol = parsed(smiles)
            before, smiles = smiles, Chem.MolToSmiles(mol)
            if before == smiles:
                break
        self.smiles, self.mol = smiles, mol

    def __len__(self) -> int:
        return int(self.mol.GetNumAtoms())

    def __eq__(self, other: object) -> bool:
        return self.smiles == other.smiles if isinstance(other, Molecule) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.smiles)

    def __repr__(self) -> str:
        return f"Molecule({self.smiles!r})"

    def __reduce__(self) -> Any:
        return Molecule, (self.smiles,)


def _short(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")


def parsed(text: str) -> Any:
    """A sanitized molecule. Raises InputError naming the SMILES and what is wrong with it."""
    if not text.isascii() or not text.isprintable():
        raise InputError(f"{_short(text)} is no SMILES: it holds signs that are no printable ASCII")
    if " " in text:
        raise InputError(f"SMILES {_short(text)} holds a space; a name or anything else behind it is no part of it")
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text)
        if mol is not None:
            return mol
        loose = Chem.MolFromSmiles(text, sanitize=False)
        if loose is None:
            raise InputError(f"{_short(text)} is no SMILES: rdkit cannot parse it")
        raise InputError(f"SMILES {_short(text)}: {_problem(loose)}")


def _problem(mol: Any) -> str:
    """Why a molecule cannot be sanitized."""
    try:
        Chem.SanitizeMol(mol)
    except Exception as error:
        return " ".join(str(error).split())
    return "rdkit cannot sanitize it"


def from_mol_block(text: str) -> Molecule:
    """A molecule from a V2000 or V3000 mol block; explicit hydrogens become counts. Raises InputError."""
    if "M  END" not in text:
        raise InputError("the mol block has no 'M  END': cut short, or no mol block")
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(text)
        if mol is not None:
            return Molecule.of(mol, "the mol block")
        loose = Chem.MolFromMolBlock(text, sanitize=False)
        reason = "rdkit cannot parse it" if loose is None else _problem(loose)
    raise InputError(f"the mol block is not well-formed: {reason}")
