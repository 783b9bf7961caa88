"""Graph files: GraphML without entities, GML, and JSON; sizes are counted before anything is built."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from omnitok.errors import InputError
from omnitok.files import read_bytes
from omnitok.tokenizer import Tokenizer

MAX_WORDS = 1_000_000
"""Tags of a GraphML file, words of a GML file: 100,000 edges with four values each."""


def read_graph(path: Path, config: Tokenizer) -> Any:
    """A networkx graph from one file, by its suffix. Raises InputError naming the file."""
    data = read_bytes(path, config.max_bytes)
    parse = {".graphml": _graphml, ".gml": _gml}.get(path.suffix.lower(), _json)
    try:
        return parse(data, config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for a graph") from None
    except Exception as error:  # networkx's readers raise whatever the malformed part runs into
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a well-formed {parse.__name__[1:]} graph ({type(error).__name__}: {reason})") from None


def sniff_graph(path: Path, head: bytes) -> bool:
    """Whether a file that others claim too looks like a graph."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.suffix.lower() == ".graphml":
        return b"<graph" in head
    if path.suffix.lower() == ".gml":
        return re.search(rb"\bgraph\s*\[", head) is not None
    return start.startswith(b"{") and any(key in head for key in (b'"nodes"', b'"edges"', b'"links"'))


def _graphml(data: bytes, config: Tokenizer) -> Any:
    """The first graph of a GraphML file. Entities and document types are refused before networkx sees the file."""
    import networkx as nx
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if data.count(b"<") > MAX_WORDS:
        raise InputError(f"the XML has more than {MAX_WORDS} tags")
    config.refuse_size(*(len(re.findall(tag, data)) for tag in (rb"<(?:\w+:)?node[\s/>]", rb"<(?:\w+:)?edge[\s/>]")))
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError(
            f"the XML declares entities or a document type, which a graph needs none of ({type(error).__name__})"
        ) from None
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    del root
    config.refuse_size(tags.count("node"), tags.count("edge"))  # in whatever encoding the file is
    if "graph" not in tags:
        raise InputError("the XML holds no <graph>")
    return nx.read_graphml(io.BytesIO(data))


def _gml(data: bytes, config: Tokenizer) -> Any:
    """A GML file; node names are its ids, and its labels an attribute of the nodes."""
    import networkx as nx

    if len(data.split()) > MAX_WORDS:
        raise InputError(f"the file has more than {MAX_WORDS} words")
    config.refuse_size(*(len(re.findall(word, data)) for word in (rb"\bnode\s*\[", rb"\bedge\s*\[")))
    return nx.parse_gml(data.decode("utf-8-sig").splitlines(), label="id")


def _json(data: bytes, config: Tokenizer) -> Any:
    """`{"directed": false, "multigraph": false, "nodes": [...], "edges": [...]}`, with only "nodes" and "edges" required.

    A node is a name or {"id": name, attribute: value}; an edge is [u, v], [u, v, {attribute: value}] or
    {"source": u, "target": v, "key": k, attribute: value}. "links" may stand for "edges", so node-link data is read too.
    """
    import networkx as nx

    plain = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_no_twins)
    edges = plain.get("edges", plain.get("links")) if isinstance(plain, dict) else None
    if edges is None or not isinstance(plain.get("nodes"), list) or not isinstance(edges, list):
        raise InputError('a graph in JSON is {"nodes": [name, ...], "edges": [[u, v], ...]}')
    config.refuse_size(len(plain["nodes"]), len(edges))
    directed, multi = plain.get("directed", False), plain.get("multigraph", False)
    if not isinstance(directed, bool) or not isinstance(multi, bool):
        raise InputError('"directed" and "multigraph" are true or false')
    graph = {(False, False): nx.Graph, (True, False): nx.DiGraph, (False, True): nx.MultiGraph, (True, True): nx.MultiDiGraph}[
        directed, multi
    ]()
    for node in plain["nodes"]:
        name, attributes = _node(node)
        if name in graph:
            raise InputError(f"node {name!r} is listed twice")
        graph.add_node(name, **attributes)
    for edge in edges:
        _add_edge(graph, edge, multi)
    return graph


def _no_constant(name: str) -> Any:
    raise InputError(f"the JSON holds {name}, which is no number of JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InputError("the JSON holds an object with one key twice")
    return found


def _node(node: Any) -> tuple[Any, dict[str, Any]]:
    attributes = dict(node) if isinstance(node, dict) else {"id": node}
    name = attributes.pop("id", None)
    if not isinstance(name, str | int | float):
        raise InputError(f'node {str(node)[:60]} has no name: a string or a number, by itself or as its "id"')
    return name, attributes


def _add_edge(graph: Any, edge: Any, multi: bool) -> None:
    if isinstance(edge, list) and 2 <= len(edge) <= 3 and all(isinstance(data, dict) for data in edge[2:]):
        ends, attributes = edge[:2], dict(edge[2]) if edge[2:] else {}
    elif isinstance(edge, dict) and {"source", "target"} <= edge.keys():
        attributes = dict(edge)
        ends = [attributes.pop("source"), attributes.pop("target")]
    else:
        raise InputError(f'edge {str(edge)[:60]} is not [u, v], [u, v, {{...}}] or {{"source": u, "target": v, ...}}')
    for end in ends:
        if not isinstance(end, str | int | float) or end not in graph:
            raise InputError(f"edge {str(edge)[:60]} ends at {str(end)[:60]!r}, which is no node of this graph")
    key = attributes.pop("key", None) if multi else None
    if key is not None and not isinstance(key, str | int | float):
        raise InputError(f"edge {str(edge)[:60]}: its key is no string or number")
    twice = graph.has_edge(*ends, key) if multi and key is not None else not multi and graph.has_edge(*ends)
    if twice:
        raise InputError(f'edge {str(edge)[:60]} is listed twice; parallel edges need "multigraph": true')
    graph.add_edges_from([(*ends, key, attributes) if key is not None else (*ends, attributes)])
