"""Shortest paths as pairs, by the definition, and what Graphormer and TokenGT read of a graph."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_graph.tokenizer import GraphTokenizer
from test_graph import CONFIGS, EDGES, KINDS, NAMES, build, kept, same

from omnitok import presets
from omnitok.assemble import build as assemble
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError, InputError

PATHS = {"distances": 3, "hops": 2, "in_out_degrees": True}
LABELS = {"node_labels": "kind", "num_node_labels": 3, "edge_labels": "bond", "num_edge_labels": 4}


def table(pairs, n):
    """{(query, key): label}, refusing pairs that are listed twice."""
    ends, labels = pairs
    found = {(int(i), int(j)): int(v) for (i, j), v in zip(ends.T, labels, strict=True)}
    assert len(found) == len(labels) and all(0 <= i < n and 0 <= j < n for i, j in found)
    return found


@settings(max_examples=60, deadline=None)
@given(graph=st.builds(build, KINDS, NAMES, EDGES))
def test_distances_and_hops_are_those_of_a_shortest_path(graph):
    """As many hops as the path has, and the first of a path of one is that edge's."""
    sequence = GraphTokenizer(**PATHS, **LABELS).encode(graph)
    names, n = list(graph), len(graph)
    length = dict(nx.all_pairs_shortest_path_length(graph))
    if not n:
        return
    far, hops = table(sequence.pairs["distance"], n), [table(sequence.pairs[f"hop{k}"], n) for k in (1, 2)]
    for i, u in enumerate(names):
        for j, v in enumerate(names):
            d = length[u].get(v)
            assert far[i, j] == (d if d is not None and d <= 3 else 4)
            assert [(i, j) in hop for hop in hops] == [d is not None and d >= k for k in (1, 2)]
            if d == 1:
                both = not graph.is_directed()
                edges = graph.edges(data="bond")
                assert hops[0][i, j] in {bond for a, b, bond in edges if (a, b) == (u, v) or (both and (b, a) == (u, v))}


def test_the_labels_lie_in_the_order_of_the_way():
    graph = nx.DiGraph()
    graph.add_nodes_from(range(4), kind=0)
    graph.add_edges_from([(0, 1, {"bond": 1}), (1, 2, {"bond": 2}), (2, 3, {"bond": 3})])
    pairs = GraphTokenizer(**PATHS, **LABELS).encode(graph).pairs
    one, two = (table(pairs[f"hop{k}"], 4) for k in (1, 2))
    assert [one[0, 1], one[0, 2], one[0, 3]] == [1, 1, 1], "the first hop leaves the query"
    assert [two[0, 2], two[0, 3], two[1, 3]] == [2, 2, 3]
    assert (1, 0) not in one and table(pairs["distance"], 4)[1, 0] == 4, "against the direction there is no way"
    axes = GraphTokenizer(**PATHS, **LABELS).encode(graph).spans[0].axes
    assert (axes["in_degree"].tolist(), axes["out_degree"].tolist()) == ([0, 1, 1, 1], [1, 1, 1, 0])


def test_of_parallel_edges_the_first_counts():
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(2), kind=0)
    graph.add_edges_from([(0, 1, {"bond": 3}), (0, 1, {"bond": 1})])
    assert table(GraphTokenizer(**PATHS, **LABELS).encode(graph).pairs["hop1"], 2) == {(0, 1): 3}


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@settings(max_examples=10, deadline=None)
@given(graph=st.builds(build, KINDS, NAMES, EDGES))
def test_graphs_with_paths_come_back(config, graph):
    tokenizer = GraphTokenizer(**config, **PATHS)
    tokens = tokenizer.encode(graph)
    assert same(tokenizer.decode(tokens), kept(graph, config))
    assert tokens.pairs.keys() == tokenizer.channels()["graph"].pairs.keys()
    assert set(tokens.spans[0].axes) == {a.axis for a in tokenizer.channels()["graph"].axes}


def test_too_many_pairs_are_refused_before_they_are_made():
    with pytest.raises(InputError, match="25 pairs, more than max_pairs = 24"):
        GraphTokenizer(distances=2, max_pairs=24).encode(nx.path_graph(5))
    GraphTokenizer(max_pairs=24).encode(nx.path_graph(5))


def documents(tokenizer, preset, *graphs):
    return [preset.prepare(Document({"main": tokenizer.encode(g)})) for g in graphs]


def labelled(graph):
    for k, (*_, data) in enumerate(graph.nodes(data=True)):
        data["kind"] = k % 3
    for k, (*_, data) in enumerate(graph.edges(data=True)):
        data["bond"] = k % 4
    return graph


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("graphormer", {**LABELS, **PATHS}),
        ("tokengt", {**LABELS, "edge_tokens": True}),
        ("gcn", LABELS),
        ("gatv2", {**LABELS, "node_ids": "none"}),
    ],
)
def test_presets_read_what_the_tokenizer_gives(name, options):
    tokenizer = GraphTokenizer(**options)
    more = {"hops": 2, "heads": 2} if name == "graphormer" else {"heads": 2} if name in ("tokengt", "gatv2") else {}
    preset = presets.get(name)(dim=8, depth=2, **more)
    roles = {} if not preset.roles else {"nodes": "graph"} | ({"edges": "graph/edge"} if name == "tokengt" else {})
    model = assemble(preset, tokenizer.channels(), {}, ("label",), roles).eval()
    graphs = [labelled(nx.path_graph(4)), labelled(nx.cycle_graph(5)), nx.Graph()]
    batch = collate(documents(tokenizer, preset, *graphs), model.schema)
    hidden = model.hidden(batch)["main"]
    assert hidden.shape == (len(batch), 8) and bool(torch.isfinite(hidden).all())


def test_a_tokenizer_without_paths_is_refused_by_name():
    with pytest.raises(ConfigError, match="graphormer: no channel has pairs 'distance'"):
        assemble(presets.graphormer(dim=8, depth=1, heads=2), GraphTokenizer().channels(), {}, ("label",), {"nodes": "graph"})
    tokenizer, roles = GraphTokenizer(node_ids="none", edge_tokens=True), {"nodes": "graph", "edges": "graph/edge"}
    with pytest.raises(ConfigError, match="edge tokens on"):
        assemble(presets.tokengt(dim=8, depth=1, heads=2), tokenizer.channels(), {}, ("label",), roles)


def test_distances_of_a_large_graph_are_those_of_networkx():
    graph = nx.gnp_random_graph(80, 0.03, seed=1, directed=True)
    ends, labels = GraphTokenizer(distances=4).encode(graph).pairs["distance"]
    want = np.full((80, 80), 5)
    for u, found in nx.all_pairs_shortest_path_length(graph):
        for v, d in found.items():
            want[u, v] = min(d, 5)
    assert np.array_equal(labels.view(80, 80).numpy(), want) and np.array_equal(ends[0].view(80, 80)[:, 0].numpy(), np.arange(80))
