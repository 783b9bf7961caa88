"""The lecture's statements about Transformers and networks on graphs, each as a test of its name."""

from collections import deque
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import Document, collate
from omnitok.layout import Layout
from omnitok.model import CONTROL, READOUT, Model, Preset, Stream, Transformer
from omnitok.nn.additive import AdditiveAttention
from omnitok.nn.aggregate import Aggregate
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.laws import close
from tests.laws.parity import graphs, webs
from tests.laws.parity.case import maker, noise, randomise

DIM, HEADS, NODE = 12, 3, "graph"
PLAIN = {NODE: Channel(width=(DIM,), embed=(), attend="full", ordered=False, pairs={"edge": 1})}
MESSAGES = {
    "sage": presets.sage,
    "gcn": presets.gcn,
    "gin": presets.gin,
    "gatv2": lambda **fields: presets.gatv2(heads=HEADS, **fields),
}


def web(n: int, ends: Tensor, seed: int = 0) -> TokenSequence:
    """n nodes with random features; `ends` [2, e] are source and target."""
    return graphs.web((noise(n, DIM, seed=seed), ends)).main


def everyone(n: int) -> Tensor:
    """[2, n * n] every node to every node, itself included."""
    return torch.tensor(list(product(range(n), repeat=2))).T


def layout_of(*sequences: TokenSequence, attend: str = "full") -> Layout:
    schema = build(presets.gcn(dim=DIM), PLAIN).schema
    documents = [Document({"main": s}, attend={NODE: attend}) for s in sequences]
    return collate(documents, schema if attend == "full" else causal(schema), sort=False).streams["main"].layout


def causal(schema: Any) -> Any:
    return type(schema)({NODE: "causal"}, schema.axes, schema.pairs)


def made(config: Any) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = randomise(config.build(DIM)).double()
    return module


def network(preset: Preset | Model, channels: dict[str, Channel] = PLAIN, roles: dict[str, str] | None = None) -> Transformer:
    torch.manual_seed(0)
    model = build(preset, channels, {}, ("label",), roles)
    return randomise(model).double()  # type: ignore[return-value]


@torch.no_grad()
def hidden(model: Transformer, *documents: Document) -> Tensor:
    batch = collate(documents, model.schema, sort=False)
    return model.hidden(batch.map(lambda x: x.double() if x.is_floating_point() else x))["main"]


def plain(sequence: TokenSequence) -> Document:
    return Document({"main": sequence})


def layer(over: str | None) -> Model:
    """One pre-norm Transformer layer."""
    block = (Residual("attention", Attention(HEADS, over=over), pre=Norm()), Residual("mlp", MLP(24), pre=Norm()))
    return Model({"main": Stream(DIM, (block,), attend="full")})


@torch.no_grad()
def test_a_transformer_layer_is_a_graph_network_on_the_fully_connected_graph() -> None:
    """Along edges that join everything, and written out as messages, their aggregation and an update, edge by edge."""
    sequences = [web(n, everyone(n), n) for n in (5, 1, 7)]
    free, along = network(layer(None)), network(layer("edge"))
    along.load_state_dict(free.state_dict())
    want = hidden(free, *map(plain, sequences))
    close(hidden(along, *map(plain, sequences)), want, "attention along the edges of a complete web", 1e-12)
    block = free.streams["main"].blocks[0]
    attention, mlp = block["attention"], block["mlp"]
    layout = layout_of(*sequences)
    x = free.channels[NODE](torch.cat([s.spans[0].features for s in sequences]), Context(layout))
    target, source = layout.pairs["edge"][0]
    y = attention.pre(x, Context(layout))
    q, k, v = (getattr(attention.mixer, name)(y).view(len(x), HEADS, -1) for name in "qkv")
    message = (q[target] * k[source]).sum(-1).mul(q.shape[-1] ** -0.5).exp()[..., None]  # of every edge, for its target
    total = torch.zeros_like(q).index_add(0, target, message * v[source])
    share = torch.zeros(len(x), HEADS, 1, dtype=x.dtype).index_add(0, target, message)
    x = x + attention.mixer.o((total / share).flatten(1))  # the update
    close(x + mlp.mixer(mlp.pre(x, Context(layout)), Context(layout)), want, "messages, their aggregation, an update", 1e-12)


@torch.no_grad()
def test_a_causal_transformer_layer_is_a_graph_network_on_the_edges_from_the_past() -> None:
    sequence = web(6, torch.tensor([(j, i) for i in range(6) for j in range(i + 1)]).T)
    free, along = made(Attention(HEADS)), made(Attention(HEADS, over="edge"))
    x, full, past = sequence.spans[0].features, layout_of(sequence), layout_of(sequence, attend="causal")
    close(along(x, Context(full)), free(x, Context(past)), "edges from the past", 1e-12)


@torch.no_grad()
def test_mean_aggregation_is_attention_with_constant_scores() -> None:
    sequence = web(7, torch.tensor([[0, 1, 2, 2, 5, 6, 6], [1, 0, 0, 4, 5, 3, 0]]))
    attention, x, layout = made(Attention(1, over="edge", bias=False)), sequence.spans[0].features, layout_of(sequence)
    attention.q.weight.zero_()
    attention.v.weight.copy_(torch.eye(DIM))
    attention.o.weight.copy_(torch.eye(DIM))
    mean = made(Aggregate(how="mean", map=False, own="none"))
    close(attention(x, Context(layout)), mean(x, Context(layout)), "constant scores", 1e-12)


@torch.no_grad()
def test_attention_over_a_sequence_and_over_a_neighbourhood_is_one_formula() -> None:
    """Bahdanau's alignment on edges that join everything, with leaky ReLU for tanh, is GATv2's."""
    sequence = web(6, everyone(6))
    x, layout = sequence.spans[0].features, layout_of(sequence)
    for act in ("tanh", "leaky_relu"):
        one, other = (made(AdditiveAttention(HEADS, over=over, act=act)) for over in (None, "edge"))
        close(one(x, Context(layout)), other(x, Context(layout)), act, 1e-12)


def reached(ends: Tensor, start: int, hops: int) -> set[int]:
    """The nodes that hear of `start` within so many hops."""
    found, queue = {start: 0}, deque([start])
    while queue:
        u = queue.popleft()
        for a, b in ends.T.tolist():
            if a == u and b not in found and found[u] < hops:
                found[b] = found[u] + 1
                queue.append(b)
    return set(found)


WAYS = torch.tensor([(i, i + 1) for i in range(6)] + [(2, 7), (7, 8), (6, 0), (3, 3), (4, 5), (9, 8)]).T
"""a ring of seven, a branch, a self-loop, a parallel edge, and node 10 that nobody knows"""


@pytest.mark.parametrize(("name", "layers"), list(product(MESSAGES, (1, 2, 3))))
def test_k_message_passing_layers_see_exactly_k_hops(name: str, layers: int) -> None:
    """Change one node: those within k hops change, and no other, bit by bit."""
    model, sequence = network(MESSAGES[name](dim=DIM, depth=layers, act="tanh")), web(11, WAYS)
    before = hidden(model, plain(sequence))
    for start in range(11):
        assert changed(model, sequence, start, before) == reached(WAYS, start, layers), f"node {start}"


def changed(model: Transformer, sequence: TokenSequence, node: int, before: Tensor) -> set[int]:
    """The nodes whose rows differ once this node's features do."""
    (span,) = sequence.spans
    other = span.features.clone()
    other[node] += 1
    after = hidden(model, plain(TokenSequence((span.replace(features=other),), sequence.pairs)))
    return set((after != before).any(1).nonzero()[:, 0].tolist())


def test_one_transformer_layer_sees_everything() -> None:
    model, sequence = network(layer(None)), web(11, WAYS)
    assert changed(model, sequence, 10, hidden(model, plain(sequence))) == set(range(11))


def grid_pairs(height: int, width: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Pairs "offset0" to "offset8": every pixel and its neighbour in one of nine places."""
    place = torch.arange(height * width).view(height, width)
    pairs = {}
    for k, (dy, dx) in enumerate(product((-1, 0, 1), repeat=2)):
        rows = [(y, x) for y, x in product(range(height), range(width)) if 0 <= y + dy < height and 0 <= x + dx < width]
        ends = torch.tensor([(int(place[y, x]), int(place[y + dy, x + dx])) for y, x in rows]).T
        pairs[f"offset{k}"] = (ends, torch.zeros(len(rows), dtype=torch.long))
    return pairs


@torch.no_grad()
def test_a_3x3_convolution_is_a_graph_network_with_ordered_fixed_neighbours() -> None:
    """One map per place among the neighbours is torch's convolution; one map for all is its blur, whatever the order."""
    height, width = 5, 4
    pairs, pixels = grid_pairs(height, width), noise(height * width, DIM, seed=1)
    joined = tuple(torch.cat([p[i] for p in pairs.values()], -1) for i in range(2))
    sequence = TokenSequence((Span(NODE, features=pixels),), {**pairs, "edge": joined})
    layout = layout_of(sequence)
    convolution = randomise(nn.Conv2d(DIM, DIM, 3, padding=1, bias=False)).double()

    def convolved() -> Tensor:
        return convolution(pixels.T.view(1, DIM, height, width))[0].flatten(1).T

    parts = [made(Aggregate(f"offset{k}", "sum", own="none", bias=False)) for k in range(9)]
    for k, part in enumerate(parts):
        part.o.weight.copy_(convolution.weight[:, :, k // 3, k % 3])
    close(sum(part(pixels, Context(layout)) for part in parts), convolved(), "nine ordered neighbours", 1e-12)
    alike = made(Aggregate("edge", "sum", own="none", bias=False))
    convolution.weight.copy_(alike.o.weight[:, :, None, None].expand_as(convolution.weight))
    close(alike(pixels, Context(layout)), convolved(), "neighbours that are not told apart", 1e-12)


def turned(document: Document, turn: Tensor, channel: str = NODE) -> tuple[Document, Tensor]:
    """Token i of the only span of a channel becomes turn[i], with all it carries; and the rows of the new document."""
    sequence = document.main
    at = next(i for i, s in enumerate(sequence.spans) if s.channel == channel)
    span, place = sequence.spans[at], sequence.places[at]
    rows = torch.arange(len(sequence))
    rows[place] = place[turn]
    content = {"features": span.features[turn]} if span.ids is None else {"ids": span.ids[turn]}
    other = span.replace(**content, axes={n: x[turn] for n, x in span.axes.items()})
    pairs = {n: (rows.argsort()[ends], labels) for n, (ends, labels) in sequence.pairs.items()}
    spans = (*sequence.spans[:at], other, *sequence.spans[at + 1 :])
    return document.replace(streams={"main": TokenSequence(spans, pairs)}), rows


def graphormer(pre_norm: bool) -> tuple[Transformer, Document]:
    pairs = {"distance": webs.FAR + 1} | {f"hop{k + 1}": webs.LABELS for k in range(webs.HOPS)}
    nodes = Channel(vocab=webs.ATOMS, attend="full", ordered=False, pairs=pairs)
    preset = presets.graphormer(**(webs.TINY | {"dim": DIM, "heads": HEADS}), pre_norm=pre_norm)
    return network(preset, {NODE: nodes}, {"nodes": NODE}), webs.seen(webs.web(8, 0, 1))


def tokengt() -> tuple[Transformer, Document]:
    axes = (Axis("node", 6, "linear"), Axis("kind", 2))
    channels = {c: Channel(vocab=9, attend="full", ordered=False, axes=axes) for c in (NODE, f"{NODE}/edge")}
    g = maker(0)
    x, e, ends = (
        torch.randint(9, (8, 1), generator=g),
        torch.randint(9, (11, 1), generator=g),
        torch.randint(8, (2, 11), generator=g),
    )
    model = network(presets.tokengt(dim=DIM, depth=2, heads=HEADS), channels, {"nodes": NODE, "edges": f"{NODE}/edge"})
    return model, webs.tokens((x, e, ends, noise(8, 3).float()))


def passing(name: str) -> tuple[Transformer, Document]:
    return network(MESSAGES[name](dim=DIM, depth=2)), plain(web(8, WAYS[:, (WAYS < 8).all(0)]))


EVERY: dict[str, Callable[[], tuple[Transformer, Document]]] = {
    **{name: lambda name=name: passing(name) for name in MESSAGES},  # type: ignore[misc]
    "attention along edges": lambda: (network(layer("edge")), plain(web(8, WAYS[:, (WAYS < 8).all(0)]))),
    "tokengt": tokengt,
    "graphormer": lambda: graphormer(True),
    "graphormer, published": lambda: graphormer(False),
}


@pytest.mark.parametrize("name", EVERY)
def test_permuting_the_nodes_permutes_the_node_outputs_and_leaves_the_graph_outputs(name: str) -> None:
    """Identifiers move with their nodes. The graph's output is its mean row, or the readout's where there is one."""
    model, document = EVERY[name]()
    before = hidden(model, document)
    for seed in range(3):
        other, rows = turned(document, torch.randperm(8, generator=maker(seed)))
        after = hidden(model, other)
        close(after, before[rows], "node outputs", 1e-10)
        close(after.mean(0), before.mean(0), "the mean row", 1e-10)
        if document.main.channels[0] == CONTROL:
            close(after[0], before[0], "the readout", 1e-10)


def picture() -> Document:
    readout = Span(CONTROL, torch.tensor([READOUT]))
    return plain(TokenSequence((readout, Span("image", features=noise(9, 12, seed=1)))))


def test_permuting_the_patches_of_an_image_changes_what_a_vit_says_and_does_not_without_positions() -> None:
    preset = presets.vit(dim=DIM, depth=2, heads=HEADS, patch=(3, 2, 2), patches=9, classes=0)
    model = network(preset, {"image": Channel(width=(12,))}, {"patches": "image"})
    other, _ = turned(picture(), torch.randperm(9, generator=maker(0)), "image")
    one, two = (hidden(model, d)[0] for d in (picture(), other))
    assert (one - two).abs().max() > 1e-2, "where a patch lies matters"
    with torch.no_grad():
        model.streams["main"].steps[0].table.zero_()
    one, two = (hidden(model, d)[0] for d in (picture(), other))
    close(two, one, "a bag of patches", 1e-10)


@pytest.mark.parametrize("kind", ["ids", "features"])
def test_anything_that_can_be_tokenized_is_a_set_until_positions_say_otherwise(kind: str) -> None:
    """Full attention without positions is equivariant to any reordering of any tokens; with rotary positions it is not."""
    anything = Channel(vocab=9) if kind == "ids" else Channel(width=(4,))
    content = {"ids": torch.randint(9, (7,), generator=maker(1))} if kind == "ids" else {"features": noise(7, 4)}
    document, turn = plain(TokenSequence((Span(NODE, **content),))), torch.randperm(7, generator=maker(2))
    other, rows = turned(document, turn)
    model = network(layer(None), {NODE: anything})
    close(hidden(model, other), hidden(model, document)[rows], "without positions", 1e-10)
    ordered = network(presets.encoder(dim=DIM, depth=1, heads=HEADS), {NODE: anything})
    assert (hidden(ordered, other) - hidden(ordered, document)[rows]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "counts"), [("sage", False), ("gatv2", False), ("gin", True), ("gcn", True), ("attention along edges", False)]
)
def test_a_mean_or_a_softmax_over_neighbours_cannot_count_them_and_a_sum_can(name: str, counts: bool) -> None:
    """Alike nodes with one neighbour and with three; a degree that the node carries tells them apart in any network."""
    ends = torch.tensor([[1, 0, 2, 3, 4, 5, 5, 5], [0, 1, 5, 5, 5, 2, 3, 4]])
    model = EVERY[name]()[0]
    pairs = {"edge": (ends.flip(0), torch.zeros(8, dtype=torch.long))}
    alike = torch.ones(6, DIM, dtype=torch.double)

    def apart(features: Tensor) -> bool:
        rows = hidden(model, plain(TokenSequence((Span(NODE, features=features),), pairs)))
        return bool((rows[0] - rows[5]).abs().max() > 1e-6)

    assert apart(alike) == counts
    carrying = alike.clone()
    carrying[:, 0] = torch.bincount(ends[1], minlength=6)
    assert apart(carrying)
