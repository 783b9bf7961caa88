"""A plugin in one file for the tests of links: graphs of one or two communities, and questions on all their levels."""

import random
from typing import Any, ClassVar

import networkx as nx
from omnitok_graph.tokenizer import GraphTokenizer

from omnitok.data import Dataset, check_split
from omnitok.hookspecs import hookimpl
from omnitok.tokenizer import Tokenizer


class Sides(GraphTokenizer, frozen=True, kw_only=True):
    """Graphs, under this file's name: a plugin brings a tokenizer."""

    name: ClassVar[str] = "communities"


class Communities(Dataset, frozen=True):
    """Nodes with a noisy hint of their side; most edges stay on one side.

    Samples: `graph` with the node attribute `hint`, `side` of every node, `across` of every listed pair, `label` (one side
    or two).
    """

    name: ClassVar[str] = "communities/sides"
    licence: ClassVar[str] = "made here"
    source: ClassVar[str] = "made here"
    size: int = 60

    def split(self, name: str) -> list[dict[str, Any]]:
        rng = random.Random(check_split(self, name))
        return [_sample(rng, i) for i in range(self.size if name == "train" else 20)]

    def metadata(self) -> dict[str, Any]:
        return {"classes": ["one", "two"]}


def _sample(rng: random.Random, i: int) -> dict[str, Any]:
    two, n = i % 2, 12
    side = [k % 2 if two else (i // 2) % 2 for k in range(n)]
    graph = nx.Graph()
    for k in range(n):
        graph.add_node(k, hint=[side[k] + rng.gauss(0, 0.3), 1.0])
    for u in range(n):
        for v in range(u):
            if rng.random() < (0.6 if side[u] == side[v] else 0.08):
                graph.add_edge(u, v)
    across = [int(side[u] != side[v]) for u, v in graph.edges() for _ in range(2)]
    return {"graph": graph, "side": side, "across": across, "label": two}


@hookimpl
def register_tokenizers() -> list[type[Tokenizer]]:
    return [Sides]


@hookimpl
def register_datasets() -> list[type[Dataset]]:
    return [Communities]
