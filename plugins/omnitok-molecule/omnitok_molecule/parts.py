"""Atoms and bonds as whole numbers, and a molecule from them again.

Tetrahedral and double-bond stereo are stated with respect to neighbours in the order of their numbers, so that they do not
depend on the order of the bonds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem, rdBase

from omnitok.errors import InputError

from .molecule import Molecule


class Column(NamedTuple):
    """One whole number of an atom: its values are `low` to `low + size - 1`."""

    name: str
    low: int
    size: int


COLUMNS = (
    Column("element", 0, 119),
    Column("charge", -8, 17),
    Column("hydrogens", 0, 9),
    Column("chirality", 0, 3),
    Column("aromatic", 0, 2),
    Column("radicals", 0, 9),
    Column("isotope", 0, 400),
    Column("ring", 0, 9),
    Column("hybridization", 0, 9),
    Column("cip", 0, 3),
)
"""The first seven give the molecule back; the smallest ring, the hybridization and R or S follow from them."""
KEPT = 7
OFFSETS = np.cumsum([0, *(c.size for c in COLUMNS)])[:-1]
VOCAB = sum(c.size for c in COLUMNS)

KINDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "QUADRUPLE", "ZERO", "DATIVE", "DATIVE")
"""Bond label // 4; a dative bond to a lower number is the last."""
STEREO = ("none", "cis", "trans", "any")
"""Bond label % 4: how the neighbours with the lowest numbers stand."""
BONDS = len(KINDS) * len(STEREO)

TAGS = (Chem.ChiralType.CHI_UNSPECIFIED, Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
CIS = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
TRANS = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
ANY = (Chem.BondStereo.STEREOANY,)


def atoms_of(molecule: Molecule) -> np.ndarray:
    """[n, columns] the numbers of every atom, each below its column's size. Raises InputError for one outside."""
    rings = molecule.mol.GetRingInfo()
    rows = [_atom(atom, rings.MinAtomRingSize(atom.GetIdx())) for atom in molecule.mol.GetAtoms()]
    table = np.array(rows, dtype=np.int64).reshape(-1, len(COLUMNS))
    for k, column in enumerate(COLUMNS):
        wrong = (table[:, k] < column.low) | (table[:, k] >= column.low + column.size)
        if wrong.any():
            at, limits = int(wrong.argmax()), f"{column.low} to {column.low + column.size - 1}"
            raise InputError(f"{molecule.smiles}: {column.name} {table[at, k]} of atom {at} is outside {limits}")
    return table - [c.low for c in COLUMNS]


def _atom(atom: Any, ring: int) -> tuple[int, ...]:
    if atom.GetChiralTag() not in TAGS:
        raise InputError(f"atom {atom.GetIdx()}: stereo {atom.GetChiralTag().name} is not tetrahedral, and is not kept")
    return (
        atom.GetAtomicNum(),
        atom.GetFormalCharge(),
        atom.GetTotalNumHs(),
        _turned(TAGS.index(atom.GetChiralTag()), [b.GetOtherAtomIdx(atom.GetIdx()) for b in atom.GetBonds()]),
        int(atom.GetIsAromatic()),
        atom.GetNumRadicalElectrons(),
        atom.GetIsotope(),
        min(ring, COLUMNS[7].size - 1),
        int(atom.GetHybridization()),
        ("", "R", "S").index(atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""),
    )


def _turned(tag: int, neighbours: list[int]) -> int:
    """A tag for neighbours in the order of their bonds -> the tag for neighbours in the order of their numbers."""
    swaps = sum(a > b for i, a in enumerate(neighbours) for b in neighbours[i + 1 :])
    return (0, 2, 1)[tag] if swaps % 2 else tag


def bonds_of(molecule: Molecule) -> list[tuple[int, int, int]]:
    """(lower number, higher number, label) of every bond, sorted. Raises InputError for a bond that has no label."""
    return sorted(_bond(bond) for bond in molecule.mol.GetBonds())


def _bond(bond: Any) -> tuple[int, int, int]:
    begin, end, kind, stereo = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondType().name, bond.GetStereo()
    if kind not in KINDS:
        raise InputError(f"bond {begin}-{end} of kind {kind} is not kept; kinds: {', '.join(dict.fromkeys(KINDS)).lower()}")
    number = len(KINDS) - 1 if kind == "DATIVE" and begin > end else KINDS.index(kind)
    return min(begin, end), max(begin, end), 4 * number + _stereo(bond, stereo)


def _stereo(bond: Any, stereo: Any) -> int:
    if stereo in ANY:
        return STEREO.index("any")
    if stereo not in CIS + TRANS:
        if stereo != Chem.BondStereo.STEREONONE:
            raise InputError(f"bond {bond.GetBeginAtomIdx()}-{bond.GetEndAtomIdx()}: stereo {stereo.name} is not kept")
        return 0
    first, second = _lowest(bond)
    flips = (first != bond.GetStereoAtoms()[0]) + (second != bond.GetStereoAtoms()[1])
    return 1 + ((stereo in TRANS) + flips) % 2


def _lowest(bond: Any) -> tuple[int, int]:
    """The neighbour with the lowest number on either side of a bond."""
    a, b = bond.GetBeginAtom(), bond.GetEndAtom()
    sides = [[n.GetIdx() for n in x.GetNeighbors() if n.GetIdx() != y.GetIdx()] for x, y in ((a, b), (b, a))]
    if not all(sides):
        raise InputError(f"bond {a.GetIdx()}-{b.GetIdx()} states a stereo, and has no neighbours on one side")
    return min(sides[0]), min(sides[1])


def put_together(atoms: np.ndarray, bonds: Iterable[tuple[int, int, int]]) -> Molecule:
    """The molecule of these numbers. Raises InputError where there is none, as where a model made them up."""
    mol = Chem.RWMol()
    try:
        with rdBase.BlockLogs():
            for row in atoms + [c.low for c in COLUMNS]:
                mol.AddAtom(_new_atom(*map(int, row[:KEPT])))
            bonds = sorted(bonds)
            for low, high, label in bonds:
                kind = getattr(Chem.BondType, KINDS[label // 4])
                ends = (high, low) if label // 4 == len(KINDS) - 1 else (low, high)
                mol.AddBond(*ends, kind)
                mol.GetBondBetweenAtoms(low, high).SetIsAromatic(kind == Chem.BondType.AROMATIC)
            for low, high, label in bonds:
                _set_stereo(mol.GetBondBetweenAtoms(low, high), label % 4)
            found = mol.GetMol()
            Chem.SanitizeMol(found)
            Chem.SetDoubleBondNeighborDirections(found)  # cis and trans are read again from these
            Chem.AssignStereochemistry(found, cleanIt=True, force=True)
            return Molecule.of(found, "the tokens")
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the tokens are no molecule: {' '.join(str(error).split())}") from None


def _new_atom(element: int, charge: int, hydrogens: int, chirality: int, aromatic: int, radicals: int, isotope: int) -> Any:
    atom = Chem.Atom(element)
    atom.SetFormalCharge(charge)
    atom.SetNumExplicitHs(hydrogens)
    atom.SetNoImplicit(True)
    atom.SetChiralTag(TAGS[chirality])
    atom.SetIsAromatic(bool(aromatic))
    atom.SetNumRadicalElectrons(radicals)
    atom.SetIsotope(isotope)
    return atom


def _set_stereo(bond: Any, stereo: int) -> None:
    if STEREO[stereo] == "any":
        bond.SetStereo(Chem.BondStereo.STEREOANY)
    elif stereo:
        bond.SetStereoAtoms(*_lowest(bond))
        bond.SetStereo(Chem.BondStereo.STEREOCIS if STEREO[stereo] == "cis" else Chem.BondStereo.STEREOTRANS)
