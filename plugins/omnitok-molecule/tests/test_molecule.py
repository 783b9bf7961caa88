"""Molecules: the same molecule back from a graph, the same tokens for every spelling, SMILES as text, tables and splits."""

from __future__ import annotations

import contextlib
import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_molecule.datasets import File, Known, divided, scaffold
from omnitok_molecule.known import KNOWN
from omnitok_molecule.molecule import Molecule
from omnitok_molecule.parts import BONDS, COLUMNS, OFFSETS, VOCAB, atoms_of, bonds_of, put_together
from omnitok_molecule.smiles import SmilesTokenizer
from omnitok_molecule.tokenizer import MoleculeTokenizer
from rdkit import Chem, rdBase
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from omnitok import load_plugins
from omnitok.errors import ConfigError, InputError
from omnitok.record import same
from omnitok.testing import parametrize_with_checks

GRAPH = MoleculeTokenizer()
TEXT = SmilesTokenizer()

STEREO = (
    "F/C=C/F", "F/C=C\\F", "C/C=C(/Cl)C=C", "F/C(Cl)=C(\\Br)I", "C/C=C/C=C\\C", "C/C(F)=N\\O", "O=C(O)/C=C\\C(=O)O.[Na+]",
    "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "F[C@](Cl)(Br)I", "F[C@@](Cl)(Br)I", "C[S@](=O)CC", "O=[P@@](F)(Cl)Br",
    "C1C[C@H]2CC[C@@H]1C2", "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O", "C[C@H]1CC[C@@H](C)CC1", "N1(C)C[C@@]12CCO2",
)  # fmt: skip
ODD = (
    "", "[HH]", "[H+]", "[2H]O[2H]", "[13CH4]", "[235U]", "[CH3]", "[O][O]", "[C-]#[O+]", "*C", "N->[Pt](Cl)Cl",
    "[Fe+2].[Cl-].[Cl-]", "C$C", "c1cc[nH]c1", "c1cc[n+]([O-])cc1", "[Na+].[O-]c1ccccc1", "O=S(=O)(O)O", "F[P-](F)(F)(F)(F)F",
    "[SiH4]", "[se]1cccc1", "C1CCC2(CC1)OCCO2", "N#[N+][O-]", "[B-](F)(F)(F)F", "CC=C=CC", "C12C3C4C1C5C2C3C45",
)  # fmt: skip


@parametrize_with_checks(["molecule", "smiles", MoleculeTokenizer(node_ids="laplacian", in_out_degrees=True, hops=3)])
def test_contract(tokenizer: Any, check: Any) -> None:
    check(tokenizer)


def spellings(smiles: str, count: int = 5) -> list[str]:
    mol = Chem.MolFromSmiles(smiles)
    return [Chem.MolToSmiles(mol, doRandom=True, canonical=False) for _ in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.smi"


# -- the graph


@pytest.mark.parametrize("smiles", [*STEREO, *ODD, *KNOWN.values()])
def test_the_molecule_comes_back(smiles: str) -> None:
    molecule = Molecule(smiles)
    assert molecule.smiles == Chem.MolToSmiles(Chem.MolFromSmiles(molecule.smiles))
    back = GRAPH.decode(GRAPH.encode(molecule))
    assert back == molecule and CalcMolFormula(back.mol) == CalcMolFormula(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize("smiles", [*STEREO, *list(KNOWN.values())[::4]])
def test_every_spelling_gives_the_same_tokens(smiles: str) -> None:
    want = GRAPH.encode(smiles)
    assert all(same(GRAPH.encode(other), want) for other in spellings(smiles))


@pytest.mark.parametrize(("one", "other"), [("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"), ("F/C=C/F", "F/C=C\\F"), ("CCO", "COC")])
def test_other_molecules_have_other_tokens(one: str, other: str) -> None:
    assert Molecule(one) != Molecule(other)
    assert not same(GRAPH.encode(one), GRAPH.encode(other))


@pytest.mark.parametrize("smiles", STEREO)
def test_numbers_of_atoms_do_not_matter(smiles: str) -> None:
    """Stereo is told by the numbers of neighbours: a molecule with its atoms in any order is put together as itself."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        molecule = Molecule(smiles)
        turned = Molecule(smiles)
        turned.mol = Chem.RenumberAtoms(molecule.mol, rng.permutation(len(molecule)).tolist())
        assert put_together(atoms_of(turned), bonds_of(turned)) == molecule


def test_an_atom_is_ten_ids_of_one_table() -> None:
    (span,) = GRAPH.encode("C[C@H](N)C(=O)[O-]").spans
    assert span.ids.shape == (6, len(COLUMNS)) and GRAPH.channels()["molecule"].vocab == VOCAB
    numbers = span.ids.numpy() - OFFSETS + [c.low for c in COLUMNS]
    assert numbers[:, 0].tolist() == [6, 6, 7, 6, 8, 8]
    assert sorted(numbers[:, 1].tolist()) == [-1, 0, 0, 0, 0, 0]
    assert numbers[1, 3] in (1, 2) and numbers[1, 9] in (1, 2)


def test_bonds_are_pairs_both_ways_and_distances_are_shortest_paths() -> None:
    tokens = GRAPH.encode("C1CCCCC1")
    ends, labels = tokens.pairs["edge"]
    assert ends.shape == (2, 12) and set(labels.tolist()) == {0}
    ends, labels = tokens.pairs["distance"]
    assert torch.bincount(labels).tolist() == [6, 12, 12, 6]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(sorted(KNOWN.values())))
def test_ids_that_a_model_made_up_are_a_molecule_or_an_error(data: st.DataObject, smiles: str) -> None:
    tokens = GRAPH.encode(smiles)
    (span,) = tokens.spans
    ids = span.ids.clone()
    for _ in range(data.draw(st.integers(1, 4))):
        row, column = data.draw(st.integers(0, len(ids) - 1)), data.draw(st.integers(0, len(COLUMNS) - 1))
        ids[row, column] = OFFSETS[column] + data.draw(st.integers(0, COLUMNS[column].size - 1))
    ends, labels = tokens.pairs["edge"]
    label = torch.tensor(data.draw(st.lists(st.integers(0, BONDS - 1), min_size=len(labels) // 2, max_size=len(labels) // 2)))
    pairs = {**tokens.pairs, "edge": (ends, label.repeat_interleave(2) if data.draw(st.booleans()) else labels)}
    with contextlib.suppress(InputError):
        assert isinstance(GRAPH.decode(type(tokens)((span.replace(ids=ids),), pairs)), Molecule)


def test_an_rdkit_molecule_is_taken_and_left_as_it_is() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    before = mol.ToBinary()
    plain = GRAPH.encode(Chem.RemoveHs(mol))
    assert same(plain, GRAPH.encode("C[C@H](N)C(=O)O")) and mol.ToBinary() == before


def test_molecules_travel() -> None:
    molecule = Molecule("C[C@H](N)C(=O)O")
    again = copy.deepcopy(molecule)  # by the same `__reduce__` as on the way to a worker
    assert again == molecule and again.mol is not molecule.mol and hash(molecule) == hash(Molecule(spellings(molecule.smiles)[0]))


def test_the_drawing_is_the_structure() -> None:
    molecule = Molecule("c1ccccc1O")
    picture = GRAPH.show(molecule, GRAPH.encode(molecule))
    nodes = np.array(picture.data["nodes"])
    lengths = [np.linalg.norm(nodes[i] - nodes[j]) for i, j in picture.data["edges"]]
    assert len(lengths) == 7 and np.ptp(lengths) < 0.2 and picture.marks == list(range(7))


# -- what is refused


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("C1CC", "'C1CC' is no SMILES"),
        ("hello", "'hello' is no SMILES"),
        ("C(C)(C)(C)(C)C", "Explicit valence for atom # 0 C, 5, is greater than permitted"),
        ("c1cccc1", "Can't kekulize mol"),
        ("CC O", "holds a space"),
        ("C\0C", "no printable ASCII"),
        ("C\ud800", "no printable ASCII"),
        ("[CH3:7]C", "atom 0 has an atom map number"),
        ("C" * 600, "600 atoms, more than max_atoms = 512"),
        ("C" * 20_000, "20000 characters of SMILES"),
        ("[CH4+9]", "charge 9 of atom 0|is no SMILES|valence"),
        ("N[Pt@SP1](N)(Cl)Cl", "CHI_SQUAREPLANAR is not tetrahedral"),
        (7, "got int"),
    ],
)
def test_refused_with_the_reason(smiles: Any, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=message):
        GRAPH.encode(smiles)
    assert capfd.readouterr() == ("", "")  # rdkit itself is silent


def test_rdkit_still_logs_for_others(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError):
        Molecule("C1CC")
    rdBase.LogToCppStreams()
    assert Chem.MolFromSmiles("C1CC") is None
    assert "unclosed ring" in capfd.readouterr().err


# -- files


def test_a_line_of_smiles(path: Path) -> None:
    path.write_text("\nOCC ethanol\n")
    assert GRAPH.read(path) == Molecule("CCO") and TEXT.read(path) == "OCC"
    for text, message in (
        ("CCO\nCO\n", "2 lines of SMILES"),
        ("", "0 lines of SMILES"),
        ("\nC1CC x\n", "line 2: 'C1CC' is no SMILES"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=rf"one\.smi: {message}"):
            GRAPH.read(path)
    with pytest.raises(InputError, match="bytes, more than max_bytes = 3"):
        MoleculeTokenizer(max_bytes=3).read(path)


@pytest.mark.parametrize("v3000", [False, True])
def test_mol_blocks_and_one_record_of_an_sdf(v3000: bool, tmp_path: Path) -> None:
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    block = Chem.MolToMolBlock(mol, forceV3000=v3000)
    (tmp_path / "a.mol").write_text(block)
    assert GRAPH.read(tmp_path / "a.mol") == Molecule("C[C@H](N)C(=O)O")  # chirality from the coordinates
    (tmp_path / "a.sdf").write_text(f"{block}> <name>\nalanine\n\n$$$$\n")
    assert GRAPH.read(tmp_path / "a.sdf") == Molecule("C[C@H](N)C(=O)O")
    (tmp_path / "a.sdf").write_text(f"{block}$$$$\n" * 2)
    with pytest.raises(InputError, match=r"a\.sdf: 2 records, not one"):
        GRAPH.read(tmp_path / "a.sdf")
    for end in range(0, block.index("M  END"), 40):
        (tmp_path / "a.mol").write_text(block[:end])
        with pytest.raises(InputError, match=r"a\.mol: "):
            GRAPH.read(tmp_path / "a.mol")


def test_words_on_the_command_line() -> None:
    assert GRAPH.words("OCC") == Molecule("CCO") and TEXT.words("OCC") == "OCC"


# -- SMILES as text


TOKENS = [
    "C",
    "N",
    "O",
    "c1ccccc1",
    "(C)",
    "=",
    "#",
    "[C@@H]",
    "[nH]",
    "[NH3+]",
    "Br",
    "Cl",
    "%12",
    "/",
    "\\",
    ".",
    "[13C@H]",
    "B",
    "*",
    "$",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=12), st.lists(st.sampled_from(TOKENS), max_size=12))
def test_every_string_comes_back_fitted_or_not(parts: list[str], seen: list[str]) -> None:
    text = "".join(parts)
    for tokenizer in (TEXT, TEXT.fit(["".join(seen)])):
        tokens = tokenizer.encode(text)
        assert tokenizer.decode(tokens) == text
        assert [text[a:b] for a, b in tokenizer.show(text, tokens).marks] == [
            tokenizer.vocabulary[i] for i in tokens.spans[0].ids.tolist()
        ]


def test_the_tokens_are_those_of_the_paper() -> None:
    text = "C[C@H](Br)c1cc[nH]c1%12Cl>>O"
    want = ["C", "[C@H]", "(", "Br", ")", "c", "1", "c", "c", "[nH]", "c", "1", "%12", "Cl", ">", ">", "O"]
    assert [TEXT.vocabulary[i] for i in TEXT.encode(text).spans[0].ids.tolist()] == want


def test_fit_learns_brackets_the_most_frequent_first() -> None:
    fitted = SmilesTokenizer(vocab_size=128).fit(["[13CH4].[13CH4].[U].[Na+]"])
    assert fitted.vocabulary[-3:] == ("[13CH4]", "[Na+]", "[U]")
    assert len(fitted.encode("[13CH4]")) == 1 and len(TEXT.encode("[13CH4]")) == 7
    many = SmilesTokenizer(vocab_size=128).fit([f"[{k}CH4]" for k in range(1, 99)])
    assert many.channels()["smiles"].vocab == 128


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CC O", "character 2 of 'CC O'"),
        ("[C", "character 0"),
        ("Cé", "character 1"),
        ("x", "begins no SMILES"),
        ("[ü]", "character 0"),
    ],
)
def test_signs_that_begin_no_token_are_refused_by_place(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TEXT.encode(text)


def test_limits_of_the_text() -> None:
    with pytest.raises(InputError, match="4 characters, more than max_characters = 3"):
        SmilesTokenizer(max_characters=3).encode("CCCC")
    with pytest.raises(ConfigError, match="vocab_size"):
        SmilesTokenizer(vocab_size=5)


# -- tables


def table(path: Path, rows: list[str], header: str = "name,smiles,y") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


ROWS = [f"m{k},{'C' * (k + 1)}O,{k / 2}" for k in range(20)]


def test_a_csv_file_is_a_dataset(tmp_path: Path) -> None:
    data = File(path=str(table(tmp_path / "a.csv", ROWS)), target="y", division="random")
    parts = {name: data.split(name) for name in data.splits()}
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 16, "eval": 2, "test": 2}
    assert sorted(s["row"] for rows in parts.values() for s in rows) == list(range(1, 21))
    assert all(s["molecule"] == "C" * s["row"] + "O" and s["target"] == (s["row"] - 1) / 2 for s in parts["train"])
    assert data.split("eval") != File(path=data.path, target="y", division="random", seed=1).split("eval")


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (["a,C1CC,1", *ROWS], {}, r"a\.csv: row 1: 'C1CC' is no SMILES: rdkit cannot parse it \(`skip = true`"),
        ([*ROWS, "a,C,?"], {}, r"row 21: 'y' is '\?', which is no number"),
        ([*ROWS, "a,C,nan"], {}, "row 21: 'y' is 'nan'"),
        ([*ROWS, "a,C"], {}, "row 21: 'y' is None"),
        (ROWS, {"target": "Y"}, "no column 'Y'; columns: name, smiles, y"),
        (ROWS, {"smiles": "SMILES"}, "no column 'SMILES'"),
        (ROWS[:5], {}, "5 molecules; three splits need at least 10"),
    ],
)
def test_rows_that_are_wrong_are_named(rows: list[str], fields: dict[str, str], message: str, tmp_path: Path) -> None:
    data = File(**{"path": str(table(tmp_path / "a.csv", rows)), "target": "y"} | fields)
    with pytest.raises((InputError, ConfigError), match=message):
        data.split("train")


def test_rows_are_left_out_only_where_asked(tmp_path: Path) -> None:
    data = File(path=str(table(tmp_path / "a.csv", ["a,C1CC,1", *ROWS])), target="y", skip=True, division="random")
    assert sum(len(data.split(name)) for name in data.splits()) == 20


SMILES = st.lists(
    st.sampled_from(["CCO", "CCN", "c1ccccc1", "Cc1ccccc1", "Oc1ccccc1", "C1CC1", "CC1CCC1", "c1ccncc1"]),
    min_size=10,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(SMILES, st.none() | st.integers(0, 9), st.sampled_from(["scaffold", "random"]))
def test_every_row_is_in_one_part_and_every_scaffold_too(smiles: list[str], seed: int | None, division: str) -> None:
    parts = divided(tuple(smiles), division, seed)
    assert sorted(row for part in parts for row in part) == list(range(len(smiles)))
    assert len(parts[0]) <= 0.8 * len(smiles)
    assert parts == divided.__wrapped__(tuple(smiles), division, seed)
    if division == "random":
        assert len(parts[0]) == int(0.8 * len(smiles))
    else:
        kinds = [{scaffold(smiles[row]) for row in part} for part in parts]
        assert sum(map(len, kinds)) == len(set.union(*kinds))


def test_the_rarest_scaffolds_are_held_out() -> None:
    smiles = ("C1CC1", *["c1ccccc1"] * 8, "C1CCC1")
    assert divided(smiles, "scaffold", None) == (tuple(range(1, 9)), (9,), (0,))
    assert {divided(smiles, "scaffold", seed)[1] for seed in range(9)} == {(0,), (9,)}
    assert scaffold("CCO") == "" and scaffold("CCc1ccccc1") == "c1ccccc1"


def test_a_part_that_is_left_empty_is_said(tmp_path: Path) -> None:
    rows = [f"m{k},{'C' * (k + 1)}O,1" for k in range(12)]  # without a ring they all have the same scaffold
    with pytest.raises(ConfigError, match=r"no molecule is left for 'train'.* division = \"random\""):
        File(path=str(table(tmp_path / "a.csv", rows)), target="y").split("train")


def test_known_molecules_need_no_data() -> None:
    data = Known()
    samples = [s for name in data.splits() for s in data.split(name)]
    assert len(samples) == len(KNOWN) == len({Molecule(s["molecule"]) for s in samples})
    ethanol = next(s for s in samples if s["name"] == "ethanol")
    assert ethanol["molecule"] == "CCO" and ethanol["target"] == pytest.approx(-0.0014, abs=1e-3)


REAL = pytest.mark.skipif("OMNITOK_DATA" not in os.environ, reason="OMNITOK_DATA is not set")


@REAL
@pytest.mark.parametrize(("name", "count"), [("esol", 1128), ("lipophilicity", 4200), ("bbbp", 2039)])
def test_public_tables_are_read_and_come_back(name: str, count: int) -> None:
    data = load_plugins().dataset(f"molecule/{name}")
    samples = [s for part in data.splits() for s in data.split(part)]
    assert len(samples) == count
    for sample in samples[:: count // 150]:
        molecule = Molecule(sample["molecule"])
        assert GRAPH.decode(GRAPH.encode(molecule)) == molecule
        assert TEXT.decode(TEXT.encode(sample["molecule"])) == sample["molecule"]


@REAL
def test_esol_is_divided_by_whole_scaffolds() -> None:
    data = load_plugins().dataset("molecule/esol")
    sizes = [len(data.split(part)) for part in data.splits()]
    assert sum(sizes) == 1128 and sizes[0] <= 902 and min(sizes) > 100
    kinds = [{scaffold(s["molecule"]) for s in data.split(part)} for part in data.splits()]
    assert sum(map(len, kinds)) == len(set.union(*kinds))
