"""The collections of graphs: what a sample holds, and what the labels do not give away."""

import collections
import gzip
import zipfile

import networkx as nx
import numpy as np
import pytest
from omnitok_graph.datasets import Atlas, Cora, Tu
from omnitok_graph.tokenizer import GraphTokenizer

from omnitok.errors import ConfigError, InputError


def degrees(graph):
    return tuple(sorted(d for _, d in graph.degree))


def test_degrees_say_nothing_of_the_triangles_in_the_atlas():
    splits = {name: Atlas().split(name) for name in ("train", "eval")}
    assert [len(splits[name]) for name in splits] == [470, 126]
    groups = {name: collections.defaultdict(list) for name in splits}
    for name, samples in splits.items():
        for sample in samples:
            assert nx.is_connected(sample["graph"])
            groups[name][degrees(sample["graph"])].append(sample)
    assert groups["train"].keys().isdisjoint(groups["eval"])
    for group in (*groups["train"].values(), *groups["eval"].values()):
        assert all(sum(nx.triangles(s["graph"]).values()) == 3 * s["triangles"] for s in group)
        count = {label: [s["triangles"] for s in group if s["label"] == label] for label in (0, 1)}
        assert len(count[0]) == len(count[1]) >= 1
        assert max(count[0]) < min(count[1])


def test_no_rule_on_degrees_beats_chance_on_the_atlas():
    from sklearn.linear_model import LogisticRegression

    def arrays(name):
        samples = Atlas().split(name)
        rows = [np.bincount([d for _, d in s["graph"].degree], minlength=7) for s in samples]
        return np.array(rows), [s["label"] for s in samples]

    assert LogisticRegression(max_iter=2000).fit(*arrays("train")).score(*arrays("eval")) == pytest.approx(0.5)


def test_no_data_folder_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.delenv("OMNITOK_DATA", raising=False)
    for dataset in (Cora(), Tu()):
        with pytest.raises(ConfigError, match="OMNITOK_DATA"):
            dataset.split("train")
    with pytest.raises(InputError, match=r"cora\.npz"):
        Cora(folder=str(tmp_path)).split("train")
    np.savez(tmp_path / "cora.npz", x_shape=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not the arrays of Cora"):
        Cora(folder=str(tmp_path)).split("test")
    with pytest.raises(ConfigError, match="no split 'valid'"):
        Cora(folder=str(tmp_path)).split("valid")


def tu(folder, lines, rows=b"0\n2\n"):
    (folder / "MUTAG").mkdir()
    (folder / "MUTAG" / "MUTAG.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    with zipfile.ZipFile(folder / "MUTAG" / "10fold_idx.zip", "w") as archive:
        archive.writestr("train_idx-1.txt", rows)
        archive.writestr("test_idx-1.txt", b"1\n")
    return Tu(folder=str(folder))


def test_tu_format(tmp_path):
    dataset = tu(tmp_path, ["3", "2 5", "0 1 1", "3 1 0", "1 7", "2 0", "3 5", "0 1 1", "0 2 0 2", "1 1 1"])
    train, held_out = dataset.split("train"), dataset.split("eval")
    assert [(len(s["graph"]), s["graph"].number_of_edges(), s["label"]) for s in (*train, *held_out)] == [
        (2, 1, 0),
        (3, 2, 0),
        (1, 0, 1),
    ]
    assert dataset.metadata() == {"classes": ["5", "7"], "node_labels": "kind", "num_node_labels": 4}
    assert dict(train[0]["graph"].nodes(data="kind")) == {0: 0, 1: 3}
    with pytest.raises(InputError, match="no indices of fold 4"):
        Tu(folder=str(tmp_path), fold=4).split("train")


def test_tu_refuses_what_is_cut_short(tmp_path):
    with pytest.raises(InputError, match="cut short"):
        tu(tmp_path, ["2", "2 5", "0 1 1"]).split("train")


def test_cora_real(data_folder):
    dataset = Cora()
    labels = {name: dataset.split(name)[0]["label"] for name in dataset.splits()}
    assert {name: int((label >= 0).sum()) for name, label in labels.items()} == {"train": 140, "eval": 500, "test": 1000}
    graph = dataset.split("train")[0]["graph"]
    assert (len(graph), graph.number_of_edges()) == (2708, 5278)
    tokenizer = GraphTokenizer(node_ids="none", **{k: v for k, v in dataset.metadata().items() if k != "classes"})
    tokens = tokenizer.encode(graph)
    assert len(tokens) == len(labels["train"]) == tokenizer.count(graph)
    assert int(tokens.spans[0].features.sum()) == 49_216


@pytest.mark.parametrize(
    ("collection", "graphs", "classes", "majority"),
    [("MUTAG", 188, 2, 0.665), ("ENZYMES", 600, 6, 1 / 6), ("NCI1", 4110, 2, 0.5)],
)
def test_tu_real(data_folder, collection, graphs, classes, majority):
    dataset = Tu(collection=collection, fold=3)
    train, held_out = dataset.split("train"), dataset.split("eval")
    assert len(train) + len(held_out) == graphs
    labels = [s["label"] for s in (*train, *held_out)]
    assert len(dataset.metadata()["classes"]) == classes == len(set(labels))
    assert max(np.bincount(labels)) / graphs == pytest.approx(majority, abs=1e-3)
    tokenizer = GraphTokenizer(**{k: v for k, v in dataset.metadata().items() if k != "classes"})
    for sample in held_out[:20]:
        assert nx.utils.graphs_equal(tokenizer.decode(tokenizer.encode(sample["graph"])), sample["graph"])
