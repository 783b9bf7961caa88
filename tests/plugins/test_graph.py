"""Graphs: every kind comes back as it was, and what cannot be kept is refused."""

import pickle

import networkx as nx
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, Graph, GraphInstance
from hypothesis import given, settings
from hypothesis import strategies as st
from omnitok_graph import identifiers
from omnitok_graph.tokenizer import GraphTokenizer

from omnitok.errors import ConfigError, InputError
from omnitok.sequence import TokenSequence

LABELS = {"node_labels": "kind", "num_node_labels": 3, "edge_labels": "bond", "num_edge_labels": 4}
FEATURES = {"node_features": "x", "feature_size": 3, "edge_features": "w", "edge_feature_size": 2, "edge_tokens": True}
CONFIGS = [
    {},
    {"edge_tokens": True},
    {"node_ids": "orthogonal", "seed": 3, **LABELS},
    {"node_ids": "none", **FEATURES},
    {**LABELS, "edge_tokens": True, "id_size": 2},
]


def same(a, b):
    """Equal graphs, attributes of arrays included."""
    if isinstance(a, GraphInstance):
        return all(x is y is None or (x.dtype == y.dtype and np.array_equal(x, y)) for x, y in zip(a, b, strict=True))

    def plain(data):
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in data.items()}

    edges = ("edges", {"keys": True} if a.is_multigraph() else {})
    rows = [[(*e[:-1], plain(e[-1])) for e in getattr(g, edges[0])(data=True, **edges[1])] for g in (a, b)]
    nodes = [[(type(name), name, plain(data)) for name, data in g.nodes(data=True)] for g in (a, b)]
    return type(a) is type(b) and nodes[0] == nodes[1] and rows[0] == rows[1]


NAMES = st.lists(st.integers(-9, 9) | st.text(max_size=3) | st.floats(0.5, 0.6), max_size=8, unique=True)
EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 3)), max_size=12)
KINDS = st.sampled_from([nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])


def build(kind, names, edges):
    """A graph whose nodes and edges have every attribute that the configurations name."""
    graph = kind()
    for i, name in enumerate(names):
        graph.add_node(name, kind=i % 3, x=np.array([i, 0.1, -i]))
    for u, v, bond in edges if names else ():
        graph.add_edge(names[u % len(names)], names[v % len(names)], bond=bond, w=np.array([bond, u]))
    return graph


def kept(graph, config):
    """The graph with the attributes that this configuration keeps."""
    keep = {value for key, value in config.items() if isinstance(value, str) and key != "node_ids"}
    copy = graph.copy()
    for *_, data in (*copy.nodes(data=True), *copy.edges(data=True)):
        for key in data.keys() - keep:
            del data[key]
    return copy


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@settings(max_examples=40, deadline=None)
@given(graph=st.builds(build, KINDS, NAMES, EDGES))
def test_every_graph_comes_back(config, graph):
    tokenizer = GraphTokenizer(**config)
    tokens = tokenizer.encode(graph)
    assert same(tokenizer.decode(tokens), kept(graph, config))
    assert tokenizer.encode(graph) == tokens == pickle.loads(pickle.dumps(tokens))
    assert tokenizer.count(graph) == len(tokens)
    later = TokenSequence((*tokenizer.named("before").encode(graph).spans,)) + tokens
    assert same(tokenizer.decode(later.select("graph")), kept(graph, config)), "pairs are counted from the graph's first node"


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_samples_come_back_and_fit_the_channels(config):
    tokenizer = GraphTokenizer(**config)
    channels = tokenizer.channels()
    for graph in tokenizer.samples():
        tokens = tokenizer.encode(graph)
        assert same(tokenizer.decode(tokens), graph)
        for span in tokens.spans:
            channel = channels[span.channel]
            assert (channel.attend, channel.ordered) == ("full", False)
            assert {axis.axis for axis in channel.axes} == set(span.axes)
            if channel.width is None:
                assert not len(span) or 0 <= int(span.ids.min()) <= int(span.ids.max()) < channel.vocab
            else:
                assert span.features.shape[1:] == channel.width
            if "node" in span.axes:
                assert span.axes["node"].shape[1] == next(a.size for a in channel.axes if a.axis == "node")


def test_edges_as_pairs():
    graph = nx.Graph([(0, 1), (1, 1)])
    ends, labels = GraphTokenizer().encode(graph).pairs["edge"]
    assert ends.T.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert labels.tolist() == [0, 0, 0]
    ends, _ = GraphTokenizer().encode(nx.DiGraph([(0, 1)])).pairs["edge"]
    assert ends.T.tolist() == [[1, 0]], "the target gathers from the source"
    assert GraphTokenizer().encode(graph).spans[0].axes["degree"].tolist() == [1, 3]


def test_edge_tokens_hold_the_identifiers_of_both_ends():
    tokens = GraphTokenizer(edge_tokens=True, id_size=2).encode(nx.DiGraph([(0, 1), (1, 1), (2, 0)]))
    nodes, edges = tokens.spans
    assert (nodes.channel, edges.channel) == ("graph", "graph/edge")
    one = nodes.axes["node"][:, :2]
    assert nodes.axes["node"].tolist() == [[*row, *row] for row in one.tolist()]
    assert edges.axes["node"].tolist() == [[*one[u].tolist(), *one[v].tolist()] for u, v in [(0, 1), (1, 1), (2, 0)]]
    assert edges.axes["kind"].tolist() == [0, 1, 0]
    assert nodes.axes["kind"].tolist() == [1, 1, 1]


def test_pairs_are_counted_from_the_first_node_wherever_the_nodes_are():
    tokenizer, graph = GraphTokenizer(edge_tokens=True), nx.DiGraph([(0, 1), (2, 0)])
    tokens = tokenizer.encode(graph)
    (nodes, edges), (ends, labels) = tokens.spans, tokens.pairs["edge"]
    assert same(tokenizer.decode(TokenSequence((edges, nodes), {"edge": (ends + len(edges), labels)})), graph)


@pytest.mark.parametrize("links", [True, False])
def test_graph_instances_come_back(links):
    rng = np.random.default_rng(0)
    ends = rng.integers(0, 5, (7, 2), dtype=np.int32) if links else None
    plain = GraphInstance(rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(7, 2)) if links else None, ends)
    tokenizer = GraphTokenizer(**FEATURES)
    assert same(tokenizer.decode(tokenizer.encode(plain)), plain)
    labelled = GraphInstance(rng.integers(0, 3, 5), rng.integers(0, 4, 7) if links else None, ends)
    tokenizer = GraphTokenizer(**LABELS)
    assert same(tokenizer.decode(tokenizer.encode(labelled)), labelled)
    assert tokenizer.count(labelled) == 5


def test_what_gymnasium_samples_comes_back():
    space = Graph(node_space=Box(-1, 1, (3,)), edge_space=Discrete(4), seed=1)
    tokenizer = GraphTokenizer(node_features="x", feature_size=3, edge_labels="bond", num_edge_labels=4)
    for nodes in (1, 2, 6):
        raw = space.sample(num_nodes=nodes)
        assert same(tokenizer.decode(tokenizer.encode(raw)), raw)


def test_a_graph_instance_that_would_lose_something_is_refused():
    raw = GraphInstance(np.zeros((2, 3)), None, np.zeros((1, 2), int))
    with pytest.raises(InputError, match="not set to keep; set 'node_features'"):
        GraphTokenizer().encode(raw)
    with pytest.raises(InputError, match="no edges array"):
        GraphTokenizer(**FEATURES).encode(raw)
    with pytest.raises(InputError, match="numbers of the 2 nodes"):
        GraphTokenizer(node_features="x", feature_size=3).encode(raw._replace(edge_links=np.array([[0, 2]])))


def test_the_empty_graph_is_no_tokens():
    tokens = GraphTokenizer().encode(nx.DiGraph())
    assert len(tokens) == 0
    assert same(GraphTokenizer().decode(tokens), nx.DiGraph())


def simple_spectrum(graph, k):
    values = np.linalg.eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
    return bool((np.diff(values)[:k] > 1e-3).all())


def test_laplacian_identifiers_follow_a_reordering_where_the_spectrum_is_simple():
    tokenizer, checked = GraphTokenizer(id_size=4), 0
    for seed in range(30):
        graph = nx.connected_watts_strogatz_graph(12, 4, 0.5, seed=seed)
        order = np.random.default_rng(seed).permutation(12)
        other = nx.Graph()
        other.add_nodes_from(order.tolist())
        other.add_edges_from(graph.edges)
        one, two = (tokenizer.encode(g).spans[0].axes["node"].numpy() for g in (graph, other))
        size = np.sort(np.abs(one), axis=0)
        if simple_spectrum(graph, 5) and (size[-1] - size[-2] > 1e-3)[1:].all():
            checked += 1
            assert np.allclose(one[order], two, atol=1e-4)
        assert np.allclose(one.T @ one, np.eye(4), atol=1e-5)
    assert checked >= 5


def test_renaming_nodes_changes_no_identifier():
    graph = nx.karate_club_graph()
    one, two = (GraphTokenizer().encode(g).spans[0].axes["node"] for g in (graph, nx.relabel_nodes(graph, str)))
    assert one.equal(two)


def test_laplacian_identifiers_are_eigenvectors_above_the_dense_limit_too(monkeypatch):
    graphs = [
        nx.path_graph(80),
        nx.gnm_random_graph(80, 1500, seed=0),
        nx.star_graph(79),
        nx.disjoint_union_all([nx.path_graph(2)] * 40),
    ]
    for graph in graphs:
        ends = np.array(graph.edges)
        dense = identifiers.laplacian(ends, 80, 5)
        monkeypatch.setattr(identifiers, "DENSE", 10)
        sparse = identifiers.laplacian(ends, 80, 5)
        assert np.array_equal(sparse, identifiers.laplacian(ends, 80, 5)), "the same every time"
        monkeypatch.undo()
        matrix = nx.normalized_laplacian_matrix(graph).toarray()
        value = [np.diag(v.T @ matrix @ v) for v in (dense, sparse)]
        assert np.allclose(*value, atol=1e-4)
        assert np.abs(matrix @ sparse - sparse * value[1]).max() < 1e-4


def test_signs_are_fixed_by_the_largest_entry():
    vectors = np.array([[-0.9, 0.5, -0.5], [0.1, -0.5, 0.5 + 1e-9]])
    assert identifiers.fix_sign(vectors).tolist() == [[0.9, 0.5, 0.5], [-0.1, -0.5, -0.5 - 1e-9]]


def test_orthogonal_identifiers_depend_on_seed_and_size_only():
    one, two = identifiers.orthogonal(6, 8, 0), identifiers.orthogonal(6, 8, 0)
    assert np.array_equal(one, two)
    assert not np.allclose(one, identifiers.orthogonal(6, 8, 1))
    assert np.allclose(one @ one.T, np.eye(6), atol=1e-6)
    assert identifiers.orthogonal(20, 4, 0).shape == (20, 4)


def test_what_cannot_be_kept_is_refused():
    tokenizer = GraphTokenizer(**LABELS)
    graph = nx.Graph([(0, 1)])
    with pytest.raises(InputError, match="node 0 has no attribute 'kind'"):
        tokenizer.encode(graph)
    nx.set_node_attributes(graph, 3, "kind")
    with pytest.raises(InputError, match="node 0: label 3 of 'kind' is unknown: the tokenizer has labels 0 to 2"):
        tokenizer.encode(graph)
    nx.set_node_attributes(graph, 1.0, "kind")
    with pytest.raises(InputError, match="not a whole number"):
        tokenizer.encode(graph)
    nx.set_node_attributes(graph, 1, "kind")
    with pytest.raises(InputError, match="edge 0-1 has no attribute 'bond'"):
        tokenizer.encode(graph)
    with pytest.raises(InputError, match=r"node name \(0, 0\) is a tuple"):
        GraphTokenizer().encode(nx.grid_2d_graph(2, 2))
    with pytest.raises(InputError, match="not finite"):
        GraphTokenizer().encode(nx.Graph([(float("inf"), 1)]))
    with pytest.raises(InputError, match="edge key"):
        GraphTokenizer().encode(nx.MultiGraph([(0, 1, (2, 3))]))
    with pytest.raises(InputError, match="wants a networkx graph"):
        GraphTokenizer().encode([(0, 1)])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "x", None, 1j])
def test_features_that_are_no_finite_numbers_are_refused(bad):
    tokenizer = GraphTokenizer(node_features="x", feature_size=2)
    graph = nx.Graph()
    graph.add_node("a", x=[1.0, 2.0])
    graph.add_node("b", x=[1.0, bad])
    with pytest.raises(InputError, match="attribute 'x'"):
        tokenizer.encode(graph)
    graph.nodes["b"]["x"] = [1.0]
    with pytest.raises(InputError, match=r"node 'b': attribute 'x' has shape \(1,\)"):
        tokenizer.encode(graph)


def test_limits():
    with pytest.raises(InputError, match="7 nodes, more than max_nodes = 6"):
        GraphTokenizer(max_nodes=6).encode(nx.path_graph(7))
    with pytest.raises(InputError, match="6 edges, more than max_edges = 5"):
        GraphTokenizer(max_edges=5).encode(nx.path_graph(7))


def test_configuration_errors_name_the_field():
    for config in (
        {"id_size": 0},
        {"node_ids": "spectral"},
        {"node_features": "x"},
        {"edge_features": "w", "edge_feature_size": 2},
    ):
        with pytest.raises(ConfigError, match=str(next(iter(config)))):
            GraphTokenizer(**config)
    with pytest.raises(ConfigError, match="not both"):
        GraphTokenizer(node_features="x", feature_size=2, node_labels="kind", num_node_labels=2)


def test_decode_refuses_what_is_not_one_graph():
    tokens = GraphTokenizer().encode(nx.path_graph(5))
    with pytest.raises(InputError, match="cropped"):
        GraphTokenizer().decode(tokens[1:])
    with pytest.raises(InputError, match="twice"):
        GraphTokenizer().decode(tokens + tokens)
    with pytest.raises(InputError, match="nothing to decode"):
        GraphTokenizer().decode(TokenSequence())
    ends, labels = tokens.pairs["edge"]
    with pytest.raises(InputError, match="both directions"):
        GraphTokenizer().decode(tokens.replace(pairs={"edge": (ends[:, 1:], labels[1:])}))
    with pytest.raises(InputError, match="generate"):
        GraphTokenizer().place(0, {})


@pytest.mark.parametrize("config", CONFIGS[:2], ids=str)
def test_show(config):
    tokenizer, graph = GraphTokenizer(**config), nx.MultiDiGraph([("a", "b"), ("b", "b")])
    tokens = tokenizer.encode(graph)
    picture = tokenizer.show(graph, tokens)
    assert picture == tokenizer.show(graph, tokens)
    assert picture.kind == "network"
    assert len(picture.data["nodes"]) == 2
    assert picture.marks == ([0, 1, (0, 1), (1, 1)] if tokenizer.edge_tokens else [0, 1])
