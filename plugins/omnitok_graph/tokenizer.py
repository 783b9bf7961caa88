"""Graphs as a set of node tokens (and edge tokens, where asked), with the edges as labelled pairs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from msgspec import Meta

from omnitok.errors import ConfigError, InputError
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from . import identifiers
from .files import read_graph, sniff_graph
from .parts import Kept, Parts, is_networkx, put_together, take_apart
from .paths import path_pairs

EDGE = "edge"
IN_OUT = ("in_degree", "out_degree")
DRAWN = 500
"""Nodes up to which a drawing is laid out by springs."""

Size = Annotated[int, Meta(ge=1)] | None


class GraphTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A networkx graph (or a gymnasium GraphInstance) as one token per node, in the order of its nodes.

    Edges are pairs "edge" with their label (0 where there are none): an undirected edge u-v is (u, v) and (v, u), a self-loop
    is one pair, a directed edge u->v is (v, u), for v gathers from u. Pairs keep the order of the edges, so parallel edges,
    self-loops and directions come back. Names (strings and finite numbers; others are refused) and edge keys travel in `meta`.
    Attributes that no field names, of nodes, edges or the graph, are not kept. A graph without nodes is no tokens.
    With `edge_tokens` every edge is a token of the channel "<instance>/edge" too, behind the nodes (TokenGT, arXiv 2207.02505).
    With `distances`, `hops` and `in_out_degrees` come what Graphormer reads (arXiv 2106.05234): pairs "distance" between all
    nodes and "hop1", "hop2", ... along the shortest path from query to key, and the axes `in_degree` and `out_degree`.
    Generating nodes is refused: their identifiers follow from the whole graph.
    """

    name: ClassVar[str] = "graph"
    round_trip: ClassVar[RoundTrip] = Exact()

    node_ids: Annotated[
        Literal["laplacian", "orthogonal", "none"],
        Meta(description="vectors that tell nodes apart: Laplacian eigenvectors with a fixed sign, seeded orthogonal ones"),
    ] = "laplacian"
    id_size: Annotated[int, Meta(ge=1, le=4096, description="columns of a node's identifier")] = 8
    seed: Annotated[int, Meta(ge=0, description="seed of the orthogonal identifiers")] = 0
    node_labels: Annotated[str | None, Meta(description="node attribute with a whole number, the token's id")] = None
    num_node_labels: Annotated[Size, Meta(description="node labels are 0 to this minus one")] = None
    node_features: Annotated[str | None, Meta(description="node attribute with a row of numbers, instead of labels")] = None
    feature_size: Annotated[Size, Meta(description="numbers in a node's row")] = None
    edge_labels: Annotated[str | None, Meta(description="edge attribute with a whole number, the pair's label")] = None
    num_edge_labels: Annotated[Size, Meta(description="edge labels are 0 to this minus one")] = None
    edge_features: Annotated[str | None, Meta(description="edge attribute with a row of numbers; needs edge_tokens")] = None
    edge_feature_size: Annotated[Size, Meta(description="numbers in an edge's row")] = None
    edge_tokens: Annotated[bool, Meta(description="one token per edge beside the pairs")] = False
    degrees: Annotated[int, Meta(ge=1, description="rows of the table of degrees; higher ones share the last")] = 64
    in_out_degrees: Annotated[bool, Meta(description="two axes more: the edges that come in, and those that go out")] = False
    distances: Annotated[
        int, Meta(ge=0, description='pairs "distance" of all nodes: labels 0 to this, one more for farther or no way; 0: none')
    ] = 0
    hops: Annotated[int, Meta(ge=0, le=64, description='pairs "hop1", ...: labels of the first edges of every path; 0: none')] = 0
    max_nodes: Annotated[int, Meta(ge=0, description="larger graphs are refused")] = 4096
    max_edges: Annotated[int, Meta(ge=0, description="graphs with more edges are refused")] = 100_000
    max_pairs: Annotated[int, Meta(ge=0, description="with distances or hops, graphs with more pairs of nodes are refused")] = (
        1 << 20
    )
    max_bytes: Annotated[int, Meta(ge=1, description="longer files are refused")] = 1 << 23

    def __post_init__(self) -> None:
        super().__post_init__()
        for attribute, size in (
            ("node_labels", "num_node_labels"),
            ("node_features", "feature_size"),
            ("edge_labels", "num_edge_labels"),
            ("edge_features", "edge_feature_size"),
        ):
            if getattr(self, attribute) is not None and getattr(self, size) is None:
                raise ConfigError(f"tokenizer 'graph': {attribute!r} needs {size!r}")
        for kind in ("node", "edge"):
            if self.kept(kind).labels is not None and self.kept(kind).features is not None:
                raise ConfigError(f"tokenizer 'graph': a token holds '{kind}_labels' or '{kind}_features', not both")
        if self.edge_features is not None and not self.edge_tokens:
            raise ConfigError("tokenizer 'graph': pairs hold labels only; 'edge_features' needs edge_tokens = true")

    def kept(self, kind: Literal["node", "edge"]) -> Kept:
        """The attributes of nodes or edges that tokens and pairs hold."""
        if kind == "node":
            return Kept(self.node_labels, self.num_node_labels or 1, self.node_features, self.feature_size or 0)
        return Kept(self.edge_labels, self.num_edge_labels or 1, self.edge_features, self.edge_feature_size or 0)

    def channels(self) -> dict[str, Channel]:
        node, edge = self.kept("node"), self.kept("edge")
        width = self.id_size * (2 if self.edge_tokens else 1)
        shared = () if self.node_ids == "none" else (Axis("node", width, "linear"),)
        shared += (Axis("kind", 2),) if self.edge_tokens else ()
        degrees = ("degree", *(IN_OUT if self.in_out_degrees else ()))
        pairs = {EDGE: edge.count} | ({"distance": self.distances + 2} if self.distances else {})
        pairs |= {f"hop{k + 1}": edge.count for k in range(self.hops)}
        found = {self.channel(): _channel(node, (*shared, *(Axis(d, self.degrees) for d in degrees)), pairs)}
        if self.edge_tokens:
            found[self.channel(EDGE)] = _channel(edge, shared, {})
        return found

    def encode(self, raw: Any) -> TokenSequence:
        """A graph -> tokens. Raises InputError for NaN, unknown labels, names that JSON cannot hold, and over the limits."""
        parts = take_apart(raw, self)
        ids = self._identifiers(parts)
        n, ends = len(parts.names), parts.ends
        axes, pairs = {"degree": torch.from_numpy(parts.degrees())}, self._all_pairs(parts)
        if self.in_out_degrees:
            axes |= {axis: torch.bincount(rows, minlength=n) for axis, rows in zip(IN_OUT, pairs[EDGE][0], strict=True)}
        if ids is not None:
            axes["node"] = torch.from_numpy(np.hstack([ids, ids]) if self.edge_tokens else ids)
        if self.edge_tokens:
            axes["kind"] = torch.ones(n, dtype=torch.long)
        spans = [_span(self.channel(), n, parts.node_labels, parts.node_features, axes, parts.meta())]
        if self.edge_tokens:
            axes = {"kind": torch.from_numpy((ends[:, 0] == ends[:, 1]).astype(np.int64))}
            if ids is not None:
                axes["node"] = torch.from_numpy(np.hstack([ids[ends[:, 0]], ids[ends[:, 1]]]))
            spans.append(_span(self.channel(EDGE), len(ends), parts.edge_labels, parts.edge_features, axes, {}))
        return TokenSequence(tuple(spans), pairs)

    def _all_pairs(self, parts: Parts) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """The edges, and the shortest paths where they are asked for."""
        pairs, n = {EDGE: _pairs(parts)}, len(parts.names)
        if not self.distances and not self.hops:
            return pairs
        if n * n > self.max_pairs:
            raise InputError(f"{n} nodes make {n * n} pairs, more than max_pairs = {self.max_pairs}")
        ends, labels = (x.numpy() for x in pairs[EDGE])
        way = ends[::-1] if parts.directed else ends  # an undirected edge is there both ways
        return pairs | path_pairs(way.T, labels, n, self.distances, self.hops)

    def refuse_size(self, nodes: int, edges: int) -> None:
        """Raise InputError over the limits."""
        for count, limit, what in ((nodes, self.max_nodes, "nodes"), (edges, self.max_edges, "edges")):
            if count > limit:
                raise InputError(f"the graph has {count} {what}, more than max_{what} = {limit}")

    def _identifiers(self, parts: Parts) -> np.ndarray | None:
        """[n, id_size] float32."""
        if self.node_ids == "none":
            return None
        if self.node_ids == "orthogonal":
            return identifiers.orthogonal(len(parts.names), self.id_size, self.seed)
        return identifiers.laplacian(parts.ends, len(parts.names), self.id_size)

    def decode(self, tokens: TokenSequence) -> Any:
        """The graph with the names, directions, edges and attributes that were kept."""
        spans = self.whole(tokens)
        if not spans:
            raise InputError(f"no token of {self.channel()!r} here: nothing to decode")
        nodes, edges, meta = spans.get(""), spans.get(EDGE), {}
        if nodes is None or "nodes" not in (meta := dict(nodes.meta)):
            raise InputError(f"the tokens of {self.channel()!r} do not say which graph they are (no node names in `meta`)")
        names = list(range(meta["nodes"])) if isinstance(meta["nodes"], int) else list(meta["nodes"])
        if len(names) != len(nodes):
            raise InputError(f"{len(nodes)} node tokens for the {len(names)} nodes that `meta` names")
        ends, labels = _edges(
            tokens, next(p for s, p in zip(tokens.spans, tokens.places, strict=True) if s is nodes), meta["directed"]
        )
        if (edges is not None and len(edges) != len(ends)) or ("keys" in meta and len(meta["keys"]) != len(ends)):
            raise InputError(
                f"{len(ends)} edges as pairs, but {len(edges if edges is not None else meta['keys'])} as tokens or keys"
            )
        parts = Parts(
            names,
            ends,
            meta["directed"],
            meta.get("keys"),
            None if nodes.ids is None or not self.node_labels else nodes.ids.numpy(),
            None if nodes.features is None else nodes.features.numpy(),
            labels if self.edge_labels else None,
            None if edges is None or edges.features is None else edges.features.numpy(),
            meta["source"],
            tuple(meta.get("missing", ())),
        )
        return put_together(parts, self, meta.get("dtypes", {}))

    def count(self, raw: Any) -> int:
        if is_networkx(raw):
            return raw.number_of_nodes() + (raw.number_of_edges() if self.edge_tokens else 0)
        return len(raw.nodes) + (len(raw.edge_links) if self.edge_tokens and raw.edge_links is not None else 0)

    def read(self, path: Path) -> Any:
        """A networkx graph from GraphML, GML or JSON (`{"nodes": [...], "edges": [[u, v], ...]}`, or node-link data)."""
        return read_graph(Path(path), self)

    def sniff(self, path: Path, head: bytes) -> bool:
        return sniff_graph(Path(path), head)

    def samples(self, seed: int = 0) -> Iterable[Any]:
        import networkx as nx

        loops = nx.MultiDiGraph([("a", "b"), ("a", "b"), ("b", "a"), ("b", "b")])
        two = nx.disjoint_union(nx.cycle_graph(4), nx.path_graph(3))
        multi = nx.MultiGraph([(0, 0), (0, 1), (1, 0), (2, 1)])
        random = nx.gnp_random_graph(12, 0.3, seed=seed, directed=True)
        graphs = (nx.Graph(), nx.empty_graph(1), two, nx.star_graph(5), nx.karate_club_graph(), random, multi, loops)
        for graph in graphs:
            yield _dress(graph, self, np.random.default_rng([seed, len(graph)]))

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        """A node-link drawing: springs for graphs that are not large, a circle for the others."""
        import networkx as nx

        parts = take_apart(raw, self)
        graph = nx.Graph(parts.ends.tolist())
        graph.add_nodes_from(range(len(parts.names)))
        layout = nx.spring_layout(graph, seed=0) if len(graph) <= DRAWN else nx.circular_layout(graph)
        points = [tuple(map(float, layout[i])) for i in range(len(parts.names))]
        edges = [tuple(pair) for pair in parts.ends.tolist()]
        marks = [*range(len(points)), *(edges if self.edge_tokens else ())]
        first = next((span.part[0] for span in tokens.spans if span.part is not None), 0)
        title = f"{len(points)} nodes, {len(edges)} edges, {len(tokens)} tokens"
        return Picture("network", {"nodes": points, "edges": edges}, marks[first : first + len(tokens)], title)


def _channel(kept: Kept, axes: tuple[Axis, ...], pairs: dict[str, int]) -> Channel:
    content = {"vocab": kept.count} if kept.features is None else {"width": (kept.width,)}
    return Channel(**content, attend="full", ordered=False, axes=axes, pairs=pairs)


def _span(
    channel: str,
    n: int,
    labels: np.ndarray | None,
    features: np.ndarray | None,
    axes: dict[str, torch.Tensor],
    meta: dict[str, Any],
) -> Span:
    if features is not None:
        return Span(channel, features=torch.from_numpy(features.copy()), axes=axes, meta=meta)
    ids = torch.zeros(n, dtype=torch.long) if labels is None else torch.from_numpy(labels.astype(np.int64))
    return Span(channel, ids, axes=axes, meta=meta)


def _pairs(parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
    """[2, E] query and key, [E] labels: the query gathers from the key."""
    source, target = parts.ends.astype(np.int64).T
    labels = np.zeros(len(source), dtype=np.int64) if parts.edge_labels is None else parts.edge_labels.astype(np.int64)
    if parts.directed:
        return torch.from_numpy(np.stack([target, source])), torch.from_numpy(labels)
    both = np.stack([np.stack([source, target]), np.stack([target, source])], axis=2).reshape(2, -1)
    keep = np.ones(both.shape[1], dtype=bool)
    keep[1::2] = source != target  # a self-loop is one pair
    return torch.from_numpy(both[:, keep]), torch.from_numpy(labels.repeat(2)[keep])


def _edges(tokens: TokenSequence, places: torch.Tensor, directed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Edges [m, 2] as source and target, and their labels [m], from the pairs between the nodes at `places`."""
    if EDGE not in tokens.pairs or not len(places):
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)
    pairs, labels = tokens.pairs[EDGE]
    ends = (pairs - int(places[0])).numpy().T
    if ((ends < 0) | (ends >= len(places))).any():
        raise InputError("a pair 'edge' ends outside the nodes of this graph")
    if directed:
        return ends[:, ::-1].copy(), labels.numpy()
    once, at = [], 0
    while at < len(ends):
        once.append(at)
        at += 1 if ends[at, 0] == ends[at, 1] else 2
    other = [i + 1 for i in once if ends[i, 0] != ends[i, 1]]
    if at != len(ends) or not np.array_equal(ends[[i - 1 for i in other]], ends[other][:, ::-1]):
        raise InputError("the pairs 'edge' of an undirected graph must come in both directions, one behind the other")
    return ends[once], labels.numpy()[once]


def _dress(graph: Any, config: GraphTokenizer, rng: np.random.Generator) -> Any:
    """The same graph with a value for every attribute that the configuration names, and no other."""
    plain = graph.__class__()
    plain.add_nodes_from(graph)
    plain.add_edges_from(graph.edges(keys=True) if graph.is_multigraph() else graph.edges)
    for rows, kept in ((plain.nodes(data=True), config.kept("node")), (plain.edges(data=True), config.kept("edge"))):
        for *_, data in rows:
            if kept.labels is not None:
                data[kept.labels] = int(rng.integers(kept.count))
            if kept.features is not None:
                data[kept.features] = rng.normal(size=kept.width).astype(np.float32)
    return plain
