"""Molecules as a set of atoms with their bonds as labelled pairs, through the graph plugin; the same molecule back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta
from omnitok_graph.tokenizer import GraphTokenizer

from omnitok.errors import InputError
from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from .files import read_molecule, sniff_molecule
from .molecule import Molecule
from .parts import BONDS, COLUMNS, OFFSETS, VOCAB, atoms_of, bonds_of, put_together

ELEMENTS = COLUMNS[0].size

EXAMPLES = (
    "", "C", "[Cl-].[Na+]", "c1cc[nH]c1", "C[C@H](N)C(=O)O", "C/C=C/C(=O)O", "[13CH3][O]", "N->[Pt](Cl)Cl",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC(=O)Oc1ccccc1C(=O)O", "O=[N+]([O-])c1ccccc1",
)  # fmt: skip


class MoleculeTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A `Molecule` (or its SMILES, or an rdkit Mol) as one token per heavy atom, in the order of its canonical SMILES.

    So every SMILES of one molecule gives the same tokens. An atom's ids are columns of one table, summed: element, charge,
    hydrogens, chirality, aromatic, radicals, isotope, and what follows from them: smallest ring, hybridization, R or S.
    Bonds are pairs "edge" (kind and cis or trans as the label), as `omnitok_graph` makes them, with its degrees, shortest
    distances and identifiers. What comes back is the molecule with the same canonical isomeric SMILES. Not kept:
    conformers, names, properties. Refused: atom maps, stereo that is neither tetrahedral nor of a double bond.
    """

    name: ClassVar[str] = "molecule"
    round_trip: ClassVar[RoundTrip] = Exact()
    suffixes: ClassVar[tuple[str, ...]] = (".smi", ".mol", ".sdf")

    distances: Annotated[
        int, Meta(ge=0, description='pairs "distance" of all atoms: bonds between them, up to this; 0: none')
    ] = 8
    node_ids: Annotated[
        Literal["none", "laplacian", "orthogonal"], Meta(description="vectors that tell atoms apart, as in the graph plugin")
    ] = "none"
    id_size: Annotated[int, Meta(ge=1, le=4096, description="columns of an atom's identifier")] = 8
    in_out_degrees: Annotated[bool, Meta(description="the axes in_degree and out_degree, as Graphormer reads them")] = False
    hops: Annotated[
        int, Meta(ge=0, le=64, description='pairs "hop1", ...: bonds along shortest paths, as Graphormer; 0: none')
    ] = 0
    max_atoms: Annotated[int, Meta(ge=0, le=4096, description="larger molecules are refused")] = 512
    max_bytes: Annotated[int, Meta(ge=1, description="longer files are refused")] = 1 << 20

    def _graph(self) -> GraphTokenizer:
        """What makes tokens of the structure: elements as labels of nodes, kinds of bonds as labels of edges."""
        shared = {name: getattr(self, name) for name in ("distances", "node_ids", "id_size", "in_out_degrees", "hops")}
        return GraphTokenizer(
            instance=self.instance or self.name,
            node_labels="element",
            num_node_labels=ELEMENTS,
            edge_labels="bond",
            num_edge_labels=BONDS,
            degrees=16,
            max_nodes=self.max_atoms,
            **shared,
        )

    def channels(self) -> dict[str, Channel]:
        (channel,) = self._graph().channels().values()
        return {self.channel(): msgspec.structs.replace(channel, vocab=VOCAB)}

    def encode(self, raw: Any) -> TokenSequence:
        """A molecule -> tokens. Raises InputError for what rdkit refuses, for what is not kept, and over `max_atoms`."""
        import networkx as nx

        molecule = self.kept(raw)
        atoms, graph = atoms_of(molecule), nx.Graph()
        graph.add_nodes_from((i, {"element": int(element)}) for i, element in enumerate(atoms[:, 0]))
        graph.add_edges_from((low, high, {"bond": label}) for low, high, label in bonds_of(molecule))
        tokens = self._graph().encode(graph)
        (span,) = tokens.spans
        return TokenSequence((span.replace(ids=torch.from_numpy(atoms + OFFSETS)),), tokens.pairs)

    def decode(self, tokens: TokenSequence) -> Molecule:
        """The molecule. Raises InputError where the ids and bonds are none."""
        spans = self.whole(tokens)
        if "" not in spans:
            raise InputError(f"nothing to decode: no tokens of {self.channel()!r}")
        span = spans[""]
        if span.ids is None or span.ids.shape[1:] != (len(COLUMNS),):
            found = "features" if span.ids is None else f"ids {list(span.ids.shape)}"
            raise InputError(f"{self.channel()!r}: an atom has {len(COLUMNS)} ids, one of each column; got {found}")
        atoms = span.ids.numpy() - OFFSETS
        for k, column in enumerate(COLUMNS):
            wrong = (atoms[:, k] < 0) | (atoms[:, k] >= column.size)
            if wrong.any():
                raise InputError(f"{self.channel()!r}: id {k} of atom {int(wrong.argmax())} is none of {column.name!r}")
        plain = span.replace(ids=torch.from_numpy(np.ascontiguousarray(atoms[:, 0])))
        graph = self._graph().decode(TokenSequence(tuple(plain if s is span else s for s in tokens.spans), tokens.pairs))
        return put_together(atoms, ((u, v, label) for u, v, label in graph.edges(data="bond")))

    def kept(self, raw: Any) -> Molecule:
        """A `Molecule`, a SMILES or an rdkit Mol as a molecule within `max_atoms`."""
        from rdkit import Chem

        if isinstance(raw, str):
            molecule = Molecule(raw, self.max_atoms)
        elif isinstance(raw, Chem.Mol):
            molecule = Molecule.of(raw, "the rdkit molecule")
        elif isinstance(raw, Molecule):
            molecule = raw
        else:
            raise InputError(f"tokenizer 'molecule' wants a SMILES, a Molecule or an rdkit Mol, got {type(raw).__name__}")
        if len(molecule) > self.max_atoms:
            raise InputError(f"the molecule has {len(molecule)} atoms, more than max_atoms = {self.max_atoms}")
        return molecule

    def count(self, raw: Any) -> int:
        return len(self.kept(raw))

    def read(self, path: Path) -> Molecule:
        """One molecule: a line of SMILES (.smi; what stands behind a space is its name), a mol block, an SDF of one record."""
        path = Path(path)
        try:
            return self.kept(read_molecule(path, self.max_bytes, self.max_atoms))
        except InputError as error:
            raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from None

    def words(self, text: str) -> Molecule:
        """The molecule of a SMILES."""
        return self.kept(text)

    def sniff(self, path: Path, head: bytes) -> bool:
        return sniff_molecule(Path(path), head)

    def samples(self, seed: int = 0) -> Iterable[Molecule]:
        start = seed % 3
        return [Molecule(smiles) for smiles in (*EXAMPLES[start:], *EXAMPLES[:start])]

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        """The structure as chemists draw it; a node is a heavy atom, numbered as in the canonical SMILES."""
        from rdkit import Chem
        from rdkit.Chem import AllChem

        molecule = self.kept(raw)
        drawn = Chem.Mol(molecule.mol)
        AllChem.Compute2DCoords(drawn)
        places = drawn.GetConformer().GetPositions()[:, :2] if len(molecule) else np.zeros((0, 2))
        nodes = [(float(x), float(y)) for x, y in places]
        edges = [(low, high) for low, high, _ in bonds_of(molecule)]
        first = next((span.part[0] for span in tokens.spans if span.part is not None), 0)
        marks = list(range(len(nodes)))[first : first + len(tokens)]
        return Picture(
            "network", {"nodes": nodes, "edges": edges}, marks, f"{molecule.smiles}: {len(nodes)} atoms, {len(edges)} bonds"
        )
