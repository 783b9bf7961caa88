"""A graph taken apart into arrays, whatever kind of object it was, and put together again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from omnitok.errors import InputError
from omnitok.tokenizer import Tokenizer


class Kept(NamedTuple):
    """Attributes of nodes or of edges that are tokenized: a label below `count`, or `width` features, or neither."""

    labels: str | None
    count: int
    features: str | None
    width: int


@dataclass(frozen=True)
class Parts:
    """n nodes and m edges in their order; what the tokenizer does not keep is None."""

    names: list[Any]
    ends: np.ndarray
    """[m, 2] source and target of every edge, as places in `names`."""
    directed: bool
    keys: list[Any] | None = None
    """of the edges of a multigraph."""
    node_labels: np.ndarray | None = None
    node_features: np.ndarray | None = None
    edge_labels: np.ndarray | None = None
    edge_features: np.ndarray | None = None
    source: str = "networkx"
    missing: tuple[str, ...] = ()
    """of a GraphInstance: the members that are None."""

    def degrees(self) -> np.ndarray:
        """[n] ends of edges at every node: a self-loop counts twice, in and out are added."""
        return np.bincount(self.ends.ravel(), minlength=len(self.names))

    def meta(self) -> dict[str, Any]:
        """What `build` needs beside the tokens, as JSON values."""
        plain = self.names == list(range(len(self.names))) and all(type(n) is int for n in self.names)
        meta: dict[str, Any] = {
            "nodes": len(self.names) if plain else self.names,
            "directed": self.directed,
            "source": self.source,
        }
        if self.keys is not None:
            meta["keys"] = self.keys
        if self.source == "gymnasium":
            meta["missing"] = list(self.missing)
            whole = {"nodes": self.node_labels, "edges": self.edge_labels, "edge_links": self.ends}
            meta["dtypes"] = {name: str(values.dtype) for name, values in whole.items() if values is not None}
        return meta


def take_apart(raw: Any, config: Tokenizer) -> Parts:
    """A networkx graph or a GraphInstance -> Parts. Raises InputError for what cannot be kept."""
    return _from_networkx(raw, config) if is_networkx(raw) else _from_instance(raw, config)


def is_networkx(raw: Any) -> bool:
    """Whether it is a networkx graph; otherwise it is a GraphInstance. Raises InputError for what is neither."""
    import networkx as nx

    if not isinstance(raw, nx.Graph) and not all(hasattr(raw, name) for name in ("nodes", "edges", "edge_links")):
        raise InputError(f"tokenizer 'graph' wants a networkx graph or a gymnasium GraphInstance, got {type(raw).__name__}")
    return isinstance(raw, nx.Graph)


def _from_networkx(graph: Any, config: Tokenizer) -> Parts:
    config.refuse_size(graph.number_of_nodes(), graph.number_of_edges())
    names = [_name(node, "node name") for node in graph]
    at = {node: i for i, node in enumerate(graph)}
    multi = graph.is_multigraph()
    edges = list(graph.edges(keys=True, data=True)) if multi else list(graph.edges(data=True))
    where = [f"edge {u!r}-{v!r}" for u, v, *_ in edges]
    data, nodes = [edge[-1] for edge in edges], [f"node {node!r}" for node in graph]
    return Parts(
        names,
        np.array([(at[u], at[v]) for u, v, *_ in edges], dtype=np.int64).reshape(-1, 2),
        graph.is_directed(),
        [_name(edge[2], "edge key") for edge in edges] if multi else None,
        _labels(graph.nodes.values(), nodes, config.kept("node")),
        _features(graph.nodes.values(), nodes, config.kept("node")),
        _labels(data, where, config.kept("edge")),
        _features(data, where, config.kept("edge")),
    )


def _name(name: Any, what: str) -> Any:
    """A node name or edge key that JSON can hold and give back."""
    if isinstance(name, np.integer):
        return int(name)
    if isinstance(name, str):
        return str(name)
    if type(name) in (int, bool) or (type(name) is float and math.isfinite(name)):
        return name
    kind = "a number that is not finite" if isinstance(name, float) else f"a {type(name).__name__}"
    raise InputError(
        f"{what} {name!r} is {kind}; only strings and finite numbers can be given back (networkx.relabel_nodes renames)"
    )


def _values(rows: Any, where: list[str], name: str) -> list[Any]:
    found = []
    for data, place in zip(rows, where, strict=True):
        if name not in data:
            raise InputError(f"{place} has no attribute {name!r}")
        found.append(data[name])
    return found


def _labels(rows: Any, where: list[str], kept: Kept) -> np.ndarray | None:
    if kept.labels is None:
        return None
    values = _values(rows, where, kept.labels)
    for value, place in zip(values, where, strict=True):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise InputError(f"{place}: attribute {kept.labels!r} is {value!r}, not a whole number")
        if not 0 <= value < kept.count:
            known = f"the tokenizer has labels 0 to {kept.count - 1}"
            raise InputError(f"{place}: label {value!r} of {kept.labels!r} is unknown: {known}")
    return np.array(values, dtype=np.int64)


def _features(rows: Any, where: list[str], kept: Kept) -> np.ndarray | None:
    if kept.features is None:
        return None
    arrays = [np.asarray(v) for v in _values(rows, where, kept.features)]
    for array, place in zip(arrays, where, strict=True):
        if array.shape != (kept.width,):
            set_to = f"the tokenizer is set to ({kept.width},)"
            raise InputError(f"{place}: attribute {kept.features!r} has shape {array.shape}, {set_to}")
    return finite(np.stack(arrays), where, kept.features) if arrays else np.zeros((0, kept.width), dtype=np.float32)


def finite(values: np.ndarray, where: list[str], name: str) -> np.ndarray:
    """Numbers that a tensor can hold. Raises InputError for NaN, infinity and what is no number."""
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise InputError(f"attribute {name!r} holds {values.dtype}, not numbers")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise InputError(f"{where[int(bad.argmax())]}: attribute {name!r} holds NaN or infinity")
    return values.astype(values.dtype.newbyteorder("="))


def _from_instance(raw: Any, config: Tokenizer) -> Parts:
    nodes = np.asarray(raw.nodes)
    links = np.zeros((0, 2), np.int64) if raw.edge_links is None else np.asarray(raw.edge_links)
    n, m = len(nodes), len(links)
    config.refuse_size(n, m)
    if links.shape != (m, 2) or links.dtype.kind not in "iu" or (m and not 0 <= links.min() <= links.max() < n):
        raise InputError(f"edge_links must be [edges, 2] numbers of the {n} nodes, got {links.dtype} {list(links.shape)}")
    edges = None if raw.edges is None else np.asarray(raw.edges)
    if edges is not None and len(edges) != m:
        raise InputError(f"edges has {len(edges)} rows for {m} edge_links")
    node_labels, node_features = _member(nodes, "node", config.kept("node"))
    edge_labels, edge_features = None, None
    if edges is not None:
        edge_labels, edge_features = _member(edges, "edge", config.kept("edge"))
    elif m and (config.edge_labels or config.edge_features):
        raise InputError("the GraphInstance has no edges array, but the tokenizer is set to keep edge labels or features")
    missing = tuple(name for name in ("edges", "edge_links") if getattr(raw, name) is None)
    return Parts(list(range(n)), links, True, None, node_labels, node_features, edge_labels, edge_features, "gymnasium", missing)


def _member(values: np.ndarray, kind: str, kept: Kept) -> tuple[np.ndarray | None, np.ndarray | None]:
    """`nodes` or `edges` of a GraphInstance, as labels (whole numbers [n]) or features ([n, width])."""
    where = [f"{kind} {i}" for i in range(len(values))]
    if values.ndim == 1 and values.dtype.kind in "iu" and kept.labels is not None:
        _labels([{kept.labels: v} for v in values], where, kept)
        return values, None
    if values.ndim == 2 and kept.features is not None and values.shape[1] == kept.width:
        return None, finite(values, where, kept.features)
    fields = f"'{kind}_labels' and 'num_{kind}_labels'" if values.ndim == 1 else f"'{kind}_features' and its size"
    found = f"{kind}s of {values.dtype} {list(values.shape)}"
    raise InputError(f"the GraphInstance has {found}, which this tokenizer is not set to keep; set {fields}")


def put_together(parts: Parts, config: Tokenizer, dtypes: dict[str, str]) -> Any:
    """The object that `take_apart` was given: a networkx graph with the attributes that were kept, or a GraphInstance."""
    if parts.source == "gymnasium":
        return _to_instance(parts, dtypes)
    import networkx as nx

    kinds = {(False, False): nx.Graph, (True, False): nx.DiGraph, (False, True): nx.MultiGraph, (True, True): nx.MultiDiGraph}
    graph = kinds[parts.directed, parts.keys is not None]()
    graph.add_nodes_from(parts.names)
    for attribute, values in ((config.node_labels, parts.node_labels), (config.node_features, parts.node_features)):
        if attribute is not None and values is not None:
            for name, value in zip(parts.names, values, strict=True):
                graph.nodes[name][attribute] = value if values.ndim > 1 else int(value)
    kept = [
        (a, v)
        for a, v in ((config.edge_labels, parts.edge_labels), (config.edge_features, parts.edge_features))
        if a and v is not None
    ]
    for i, (u, v) in enumerate(parts.ends.tolist()):
        data = {attribute: values[i] if values.ndim > 1 else int(values[i]) for attribute, values in kept}
        key = () if parts.keys is None else (parts.keys[i],)
        graph.add_edges_from([(parts.names[u], parts.names[v], *key, data)])
    return graph


def _to_instance(parts: Parts, dtypes: dict[str, str]) -> Any:
    from gymnasium.spaces import GraphInstance

    def member(name: str, labels: np.ndarray | None, features: np.ndarray | None) -> np.ndarray | None:
        return features if labels is None else labels.astype(dtypes.get(name, "int64"))

    edges = None if "edges" in parts.missing else member("edges", parts.edge_labels, parts.edge_features)
    links = None if "edge_links" in parts.missing else parts.ends.astype(dtypes["edge_links"])
    return GraphInstance(member("nodes", parts.node_labels, parts.node_features), edges, links)
