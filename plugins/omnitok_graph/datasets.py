"""Collections of graphs: a question that degrees do not answer, a citation network, molecules and proteins."""

from __future__ import annotations

import functools
import gzip
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from omnitok.data import Dataset, Folder, Sample, check_split, data_folder, hold_out
from omnitok.errors import ConfigError, InputError

FOLDS = 10
TOPICS = (
    "theory", "reinforcement learning", "genetic algorithms", "neural networks",
    "probabilistic methods", "case based", "rule learning",
)  # fmt: skip


class Atlas(Dataset, frozen=True):
    """Connected graphs of 4 to 7 nodes: has it more triangles than other graphs with the same degrees?

    Of every degree sequence there are as many graphs with more as with fewer triangles (ties at the middle are left out), and a
    fifth of the sequences is held out whole. So every rule that looks at degrees alone is right for exactly half of each split.
    Samples: `graph`, `label` (0: fewer, 1: more), `triangles` (how many).
    """

    name: ClassVar[str] = "graph/atlas"
    licence: ClassVar[str] = "BSD-3-Clause (networkx)"
    source: ClassVar[str] = "An Atlas of Graphs (Read and Wilson 1998), as networkx ships it"

    def split(self, name: str) -> Sequence[Sample]:
        groups = _atlas()
        picked = hold_out(sorted(groups), check_split(self, name), every=5)
        return [sample for degrees in sorted(picked) for sample in groups[degrees]]

    def metadata(self) -> dict[str, Any]:
        return {"classes": ["fewer triangles", "more triangles"]}


class Cora(Dataset, frozen=True):
    """One citation network: 2,708 papers with the words they use, 5,278 undirected edges, and the usual 140/500/1,000 split.

    Samples (one in each split): `graph` with the node attribute `words` (0 or 1, uint8 [1433]), `label` int64 [2708], where
    papers outside the split have -1.
    """

    name: ClassVar[str] = "graph/cora"
    licence: ClassVar[str] = "MIT (the packaged files); the LINQS data states none"
    source: ClassVar[str] = "https://github.com/kimiyoung/planetoid"

    folder: Folder = ""

    def splits(self) -> tuple[str, ...]:
        return ("train", "eval", "test")

    def split(self, name: str) -> Sequence[Sample]:
        part = {"train": "train", "eval": "val", "test": "test"}[check_split(self, name)]
        graph, classes, parts = _cora(data_folder(self, self.folder, "cora") / "cora.npz")
        label = np.full(len(classes), -1)
        label[parts[part]] = classes[parts[part]]
        return [{"graph": graph, "label": label}]

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(TOPICS), "node_features": "words", "feature_size": 1433}


class Tu(Dataset, frozen=True):
    """Molecules (MUTAG, NCI1) and proteins (ENZYMES) of the TU collection; one of ten published folds is the eval split.

    Samples: `graph` with the node attribute `kind`, `label`.
    """

    name: ClassVar[str] = "graph/tu"
    licence: ClassVar[str] = "MIT (the packaged files); the TU data states none"
    source: ClassVar[str] = "https://github.com/muhanzhang/pytorch_DGCNN"

    collection: Annotated[Literal["MUTAG", "ENZYMES", "NCI1"], Meta(description="which graphs")] = "MUTAG"
    fold: Annotated[int, Meta(ge=0, lt=FOLDS, description="the fold that is held out, 0 to 9")] = 0
    folder: Folder = ""

    def split(self, name: str) -> Sequence[Sample]:
        part = "train" if check_split(self, name) == "train" else "test"
        if not 0 <= self.fold < FOLDS:
            raise ConfigError(f"dataset {self.name!r}: fold {self.fold} is not one of 0 to {FOLDS - 1}")
        folder, samples = self._folder(), _tu(self._folder(), self.collection)[0]
        path = folder / "10fold_idx.zip"
        try:
            with zipfile.ZipFile(path) as archive:
                rows = [int(row) for row in archive.read(f"{part}_idx-{self.fold + 1}.txt").split()]
            return [samples[row] for row in rows]
        except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: no indices of fold {self.fold} ({error})") from None

    def metadata(self) -> dict[str, Any]:
        _, classes, kinds = _tu(self._folder(), self.collection)
        return {"classes": [str(c) for c in classes], "node_labels": "kind", "num_node_labels": kinds}

    def _folder(self) -> Path:
        return data_folder(self, self.folder, "tu") / self.collection


@functools.cache
def _atlas() -> dict[tuple[int, ...], list[Sample]]:
    """Degree sequence -> its graphs with the fewest and with the most triangles, as many of each, and no tie between them."""
    import networkx as nx

    groups: dict[tuple[int, ...], list[tuple[int, int, Any]]] = {}
    for number, graph in enumerate(nx.graph_atlas_g()):
        if len(graph) >= 4 and nx.is_connected(graph):
            degrees = tuple(sorted(degree for _, degree in graph.degree))
            groups.setdefault(degrees, []).append((sum(nx.triangles(graph).values()) // 3, number, graph))
    found = {}
    for degrees, group in groups.items():
        group.sort(key=lambda row: row[:2])
        half = len(group) // 2
        while half and group[half - 1][0] == group[-half][0]:
            half -= 1
        if half:
            found[degrees] = [
                {"graph": graph, "label": label, "triangles": count}
                for label, part in enumerate((group[:half], group[-half:]))
                for count, _, graph in part
            ]
    return found


@functools.lru_cache(maxsize=2)
def _cora(path: Path) -> tuple[Any, np.ndarray, dict[str, np.ndarray]]:
    """The graph, the class of every node, and the nodes of every split."""
    import networkx as nx

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        words = np.zeros(arrays["x_shape"], dtype=np.uint8)
        words[np.repeat(np.arange(len(words)), np.diff(arrays["x_indptr"])), arrays["x_indices"]] = arrays["x_values"]
        graph = nx.Graph()
        graph.add_nodes_from((i, {"words": row}) for i, row in enumerate(words))
        graph.add_edges_from(arrays["edges"].tolist())
        return graph, arrays["y"], {part: arrays[part] for part in ("train", "val", "test")}
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not the arrays of Cora ({error})") from None


@functools.lru_cache(maxsize=4)
def _tu(folder: Path, collection: str) -> tuple[list[Sample], list[int], int]:
    """The graphs with the rank of their class, the classes as the file numbers them, and how many kinds of node there are."""
    import networkx as nx

    path = folder / f"{collection}.txt.gz"
    try:
        lines = iter(gzip.decompress(path.read_bytes()).decode("ascii").splitlines())
        found = []
        for _ in range(int(next(lines))):
            nodes, label = map(int, next(lines).split())
            rows = [list(map(int, next(lines).split())) for _ in range(nodes)]
            graph = nx.Graph()
            graph.add_nodes_from((i, {"kind": kind}) for i, (kind, *_) in enumerate(rows))
            graph.add_edges_from((i, j) for i, (_, degree, *others) in enumerate(rows) for j in others[:degree])
            found.append((graph, label))
    except (OSError, EOFError, ValueError, StopIteration) as error:
        raise InputError(f"{path}: not a list of graphs, or cut short ({error})") from None
    classes = sorted({label for _, label in found})
    kinds = 1 + max(kind for graph, _ in found for _, kind in graph.nodes(data="kind"))
    return [{"graph": graph, "label": classes.index(label)} for graph, label in found], classes, kinds
