"""Graph files: three formats, no entities, sizes first, and one line for whatever is malformed."""

import json
import zipfile

import networkx as nx
import pytest
from omnitok_graph.tokenizer import GraphTokenizer

from omnitok.errors import InputError

TOKENIZER = GraphTokenizer(max_nodes=50, max_edges=100)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, match):
    with pytest.raises(InputError, match=match) as caught:
        TOKENIZER.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_graphml_and_gml_as_networkx_writes_them(tmp_path, kind):
    graph = kind([("a", "b"), ("b", "c"), ("c", "c")])
    nx.set_node_attributes(graph, 2, "kind")
    nx.write_graphml(graph, tmp_path / "g.graphml")
    read = TOKENIZER.read(tmp_path / "g.graphml")
    assert (read.is_directed(), list(read.nodes(data=True))) == (graph.is_directed(), list(graph.nodes(data=True)))
    assert list(read.edges()) == list(graph.edges())
    nx.write_gml(graph, tmp_path / "g.gml")
    read = TOKENIZER.read(tmp_path / "g.gml")
    assert type(read) is kind
    assert [data["label"] for _, data in read.nodes(data=True)] == ["a", "b", "c"]
    assert len(TOKENIZER.encode(read)) == 3


def test_json_edge_list(tmp_path):
    path = write(tmp_path / "g.json", '{"nodes": ["a", {"id": 2, "kind": 1}], "edges": [["a", 2], ["a", "a", {"bond": 3}]]}')
    graph = TOKENIZER.read(path)
    assert type(graph) is nx.Graph
    assert dict(graph.nodes(data=True)) == {"a": {}, 2: {"kind": 1}}
    assert list(graph.edges(data=True)) == [("a", 2, {}), ("a", "a", {"bond": 3})]


@pytest.mark.parametrize("edges", ["edges", "links"])
def test_json_node_link(tmp_path, edges):
    graph = nx.MultiDiGraph([("a", "b"), ("a", "b"), ("b", "a")])
    graph.add_edge("a", "b", key="third", bond=1)
    path = write(tmp_path / "g.json", json.dumps(nx.node_link_data(graph, edges=edges)))
    read = TOKENIZER.read(path)
    assert nx.utils.graphs_equal(read, graph)
    assert nx.utils.graphs_equal(TOKENIZER.decode(TOKENIZER.encode(read)), nx.MultiDiGraph(graph.edges(keys=True)))


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<graphml><graph edgedefault="undirected"><node id="&b;"/></graph></graphml>"""
OUTSIDE = """<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><graphml><graph><node id="&a;"/></graph></graphml>"""


@pytest.mark.parametrize("content", [BOMB, OUTSIDE, '<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><graphml/>'])
def test_entities_are_refused(tmp_path, content):
    refused(write(tmp_path / "g.graphml", content), "entities or a document type")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("g.graphml", "<graphml><graph edgedefault='directed'>" + "<node id='1'/>" * 51 + "</graph></graphml>"),
        (
            "g.graphml",
            ("<graphml><graph edgedefault='directed'>" + "<node id='1'/>" * 51 + "</graph></graphml>").encode("utf-16"),
        ),
        ("g.gml", "graph [ " + "node [ id 1 ] " * 51 + "]"),
        ("g.json", json.dumps({"nodes": list(range(51)), "edges": []})),
    ],
)
def test_sizes_are_counted_before_anything_is_built(tmp_path, name, content, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("built before it was counted")

    for builder in ("read_graphml", "parse_gml", "Graph"):
        monkeypatch.setattr(nx, builder, never)
    refused(write(tmp_path / name, content), "51 nodes, more than max_nodes = 50")


def test_bytes_are_counted_before_reading(tmp_path):
    path = write(tmp_path / "g.json", " " * 101)
    with pytest.raises(InputError, match=r"g\.json: 101 bytes, more than max_bytes = 100"):
        GraphTokenizer(max_bytes=100).read(path)
    refused(tmp_path / "gone.json", "No such file")


@pytest.mark.parametrize("suffix", ["graphml", "gml", "json"])
@pytest.mark.parametrize(
    "content", ["", "\0\0", "{}", "[]", "<a/>", "<graphml>", "graph [ node [", "\ufeff", "graph", "null", '"nodes"']
)
def test_malformed_files_are_one_line(tmp_path, suffix, content):
    refused(write(tmp_path / f"g.{suffix}", content), r"g\.")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"nodes": [NaN], "edges": []}', "NaN"),
        ('{"nodes": [1, 1.0], "edges": []}', "listed twice"),
        ('{"nodes": [1], "nodes": [1], "edges": []}', "one key twice"),
        ('{"nodes": [[1]], "edges": []}', "has no name"),
        ('{"nodes": [null], "edges": []}', "has no name"),
        ('{"nodes": [1], "edges": [[1, 2]]}', "no node of this graph"),
        ('{"nodes": [1], "edges": [[1]]}', "is not"),
        ('{"nodes": [1], "edges": [[1, [1]]]}', "no node of this graph"),
        ('{"nodes": [1], "edges": [[1, 1, 2]]}', "is not"),
        ('{"nodes": [1, 2], "edges": [[1, 2], [2, 1]]}', '"multigraph": true'),
        ('{"nodes": [1], "edges": [[1, 1]], "directed": 1}', "true or false"),
        ('{"nodes": {"1": 2}, "edges": []}', "a graph in JSON is"),
        ('{"multigraph": true, "nodes": [1], "edges": [{"source": 1, "target": 1, "key": [1]}]}', "key is no string"),
        (b'{"nodes": ["\xff"], "edges": []}', "not a well-formed json"),
        ('{"nodes": [' + "1" * 5000 + '], "edges": []}', "not a well-formed json"),
    ],
)
def test_json_that_is_no_graph(tmp_path, content, match):
    refused(write(tmp_path / "g.json", content), match)


def test_deeply_nested_gml(tmp_path):
    refused(write(tmp_path / "g.gml", "a [ " * 20_000), "nested too deeply")


def test_truncated_files_are_never_a_smaller_graph(tmp_path):
    graph = nx.path_graph(4)
    nx.write_graphml(graph, tmp_path / "whole.graphml")
    nx.write_gml(graph, tmp_path / "whole.gml")
    write(tmp_path / "whole.json", json.dumps(nx.node_link_data(graph, edges="edges")))
    for suffix in ("graphml", "gml", "json"):
        whole = (tmp_path / f"whole.{suffix}").read_bytes().rstrip()
        for cut in range(0, len(whole), 7):
            refused(write(tmp_path / f"cut.{suffix}", whole[:cut]), r"cut\.")


def test_sniff(tmp_path):
    assert TOKENIZER.sniff(tmp_path / "a.json", b' {"directed": false, "nodes": [')
    assert not TOKENIZER.sniff(tmp_path / "a.json", b'{"spans": []}')
    assert not TOKENIZER.sniff(tmp_path / "a.json", b'["nodes"]')
    assert TOKENIZER.sniff(tmp_path / "a.gml", b"Creator x\ngraph\n[\n")
    assert TOKENIZER.sniff(tmp_path / "a.graphml", b"<graphml><graph>")
    assert not TOKENIZER.sniff(tmp_path / "a.graphml", b"<svg>")


def test_every_malformed_json_file_is_tokens_or_one_line(data_folder, tmp_path):
    with zipfile.ZipFile(data_folder / "malformed" / "malformed.zip") as archive:
        members = [name for name in archive.namelist() if name.endswith(".json")]
        assert len(members) > 100
        messages = {}
        for number, name in enumerate(members):
            path = write(tmp_path / f"{number}.json", archive.read(name))
            try:
                TOKENIZER.encode(TOKENIZER.read(path))
            except InputError as error:
                messages[str(path)] = str(error)
    assert messages
    assert all(path in message and "\n" not in message for path, message in messages.items())
