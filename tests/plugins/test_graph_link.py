"""Questions about nodes, edges and whole graphs: what is asked, what is hidden, and that it is learned from a recipe."""

import random
import tomllib
from pathlib import Path

import networkx as nx
import pytest
import torch
from omnitok_graph.tokenizer import GraphTokenizer

import omnitok as ot
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.errors import ConfigError, InputError, SequenceError
from omnitok.evaluate import evaluate
from omnitok.nn.context import Context
from omnitok.nn.steps import Join
from omnitok.objectives import At, Link
from omnitok.presets.reference.sage import SAGE
from omnitok.recipe import make_recipe
from omnitok.run import load_run
from omnitok.train import train

TOKENIZER = GraphTokenizer(node_ids="none")
CHANNELS = TOKENIZER.channels()


def marked(objective, graph, sample=None, seed=0, name="a graph"):
    at = At("links", CHANNELS, random.Random(seed))
    return objective.mark(Document({"main": TOKENIZER.encode(graph)}, name=name), sample or {}, at)


def ends_of(ask):
    return [tuple(pair) for pair in ask.rows.view(-1, 2).tolist()]


def test_labelled_pairs_are_asked_in_their_order():
    graph = nx.Graph([(0, 1), (1, 2), (2, 2)])
    document = marked(Link("kind", classes=3), graph, {"kind": [2, 1, -1, 0, 1]})
    ask = document.asks["links"]
    assert ends_of(ask) == [(0, 1), (1, 0), (2, 1), (2, 2)] and ask.target.tolist() == [2, 1, 0, 1]
    assert ask.group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert document.main == TOKENIZER.encode(graph), "nothing is hidden"


def test_hidden_links_are_gone_in_both_directions_and_the_drawn_ones_are_none():
    graph = nx.gnp_random_graph(14, 0.3, seed=1)
    graph.add_edge(3, 3)
    before = {tuple(p) for p in TOKENIZER.encode(graph).pairs["edge"][0].T.tolist()}
    document = marked(Link(hide=0.4, negatives=2.0), graph)
    ask, after = document.asks["links"], {tuple(p) for p in document.main.pairs["edge"][0].T.tolist()}
    asked = list(zip(ends_of(ask), ask.target.tolist(), strict=True))
    hidden, drawn = {p for p, t in asked if t}, {p for p, t in asked if not t}
    assert len(hidden) == round(0.4 * (graph.number_of_edges() - 1)) and len(drawn) == 2 * len(hidden)
    assert hidden <= before and before - after == hidden | {(j, i) for i, j in hidden}
    assert not any(graph.has_edge(*pair) for pair in drawn)
    assert len({frozenset(p) for p in drawn}) == len(drawn) and all(i != j for i, j in drawn)
    assert (3, 3) in after, "self-loops are not asked"
    again, other = marked(Link(hide=0.4, negatives=2.0), graph), marked(Link(hide=0.4, negatives=2.0), graph, seed=1)
    assert again.asks["links"].rows.equal(ask.rows) and not other.asks["links"].rows.equal(ask.rows)


def test_nodes_that_are_linked_one_way_are_not_drawn_the_other_way():
    graph = nx.empty_graph(6, nx.DiGraph)
    graph.add_edges_from((i, j) for i in range(6) for j in range(i) if (i + j) % 3)
    for seed in range(5):
        ask = marked(Link(hide=1.0, negatives=3.0), graph, seed=seed).asks["links"]
        drawn = [pair for pair, yes in zip(ends_of(ask), ask.target.tolist(), strict=True) if not yes]
        assert drawn and not any(graph.has_edge(i, j) or graph.has_edge(j, i) for i, j in drawn)


@pytest.mark.parametrize(("graph", "yes", "no"), [(nx.Graph(), 0, 0), (nx.complete_graph(4), 1, 0), (nx.empty_graph(3), 0, 0)])
def test_graphs_with_nothing_to_hide_or_to_draw(graph, yes, no):
    target = marked(Link(), graph).asks["links"].target
    assert (int(target.sum()), int((1 - target).sum())) == (yes, no)


def test_what_cannot_be_asked_is_named():
    graph = nx.path_graph(3)
    with pytest.raises(SequenceError, match="2 labels in 'kind' for 4 pairs 'edge'"):
        marked(Link("kind", classes=3), graph, {"kind": [1, 1]})
    with pytest.raises(SequenceError, match="no field 'kind'; did you mean 'kinds'"):
        marked(Link("kind", classes=3), graph, {"kinds": [1, 1]})
    with pytest.raises(InputError, match="outside the 3 classes"):
        marked(Link("kind", classes=3), graph, {"kind": [1, 1, 3, 0]})
    with pytest.raises(ConfigError, match="no channel has pairs 'bond'"):
        Link(pair="bond").heads("links", CHANNELS)
    tokens = GraphTokenizer(node_ids="none", distances=2).encode(graph)
    with pytest.raises(SequenceError, match="pairs 'distance' may tell"):
        Link().mark(Document({"main": tokens}), {}, At("links", CHANNELS, random.Random(0)))


def test_ends_stand_side_by_side_whatever_lies_between_them():
    x, group = torch.arange(8.0).view(4, 2), torch.tensor([1, 0, 0, 1])
    got = Join(2).build(2, 2)(x, Context(group=group, groups=2))
    assert got.tolist() == [[2, 3, 4, 5], [0, 1, 6, 7]]
    with pytest.raises(ConfigError, match="joins 2 rows"):
        Join(2).build(2, 2)(x, Context())


def test_packed_answers_are_those_of_the_graphs_alone():
    objective = Link(hide=0.5)
    torch.manual_seed(0)
    model = build(SAGE(dim=8, depth=2), CHANNELS, objective.heads("links", CHANNELS)).eval()
    documents = [marked(objective, nx.gnp_random_graph(n, 0.4, seed=n), seed=n, name=str(n)) for n in (9, 5, 9, 12)]
    with torch.no_grad():
        packed = model(collate(documents, model.schema))["links"]
        alone = torch.cat([model(collate([d], model.schema))["links"] for d in documents])
    assert torch.allclose(packed, alone, atol=1e-6)
    assert objective.answers(packed, collate(documents, model.schema).asks["links"]) == (packed.argmax(-1) == 1).tolist()


RECIPE = """
[tokenizers.graph]
node_ids = "none"
node_features = "hint"
feature_size = 2

[model]
preset = "sage"
dim = 32
depth = 2

[[tasks]]
name = "node"
data = { name = "communities/sides" }
document = [{ graph = "graph" }]
objective = { classify = { label = "side", read = "tokens", classes = 2 } }

[[tasks]]
name = "edge"
data = { name = "communities/sides" }
document = [{ graph = "graph" }]
objective = { link = { label = "across" } }

[[tasks]]
name = "exists"
data = { name = "communities/sides" }
document = [{ graph = "graph" }]
objective = { link = {} }

[[tasks]]
name = "whole"
data = { name = "communities/sides" }
document = [{ graph = "graph" }]
objective = { classify = { label = "label", read = "mean" } }

[train]
steps = 100
budget = 400
warmup = 10
lr = 0.01
eval_samples = 20
"""


@pytest.mark.slow
def test_nodes_edges_and_graphs_are_learned_from_a_recipe(tmp_path):
    torch.manual_seed(0)
    files = [Path(__file__).with_name("communities.py")]
    host = ot.load_plugins(files=files)
    recipe = make_recipe(tomllib.loads(RECIPE))
    train(recipe, tmp_path, host, quiet=True)
    run = load_run(tmp_path, files)
    found = evaluate(run.model, run.tasks.opened(host))
    for task, margin in {"node": 0.3, "exists": 0.15, "whole": 0.2}.items():
        score, chance = found[task]["accuracy"], found[task]["chance"]["accuracy"]
        assert score > chance + margin, f"{task}: {score:.2f}, by chance {chance:.2f}"
    assert found["edge"]["nats"] < 0.6 * found["edge"]["chance"]["nats"]
