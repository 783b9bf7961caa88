"""Parity cases: Transformers of nodes and edges, against our transcriptions of the published formulas and code.

The transcriptions take one web of nodes at a time and loop over its nodes; they share nothing with the library.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.model import CONTROL, START
from omnitok.nn.paths import PathTable
from omnitok.nn.steps import Axis
from omnitok.presets.reference.bert import TypeAxis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.laws.parity.case import DEPTH, DIM, HEADS, HIDDEN, LENGTHS, READ, Case, asked, case, maker, noise, published
from tests.laws.parity.wrong import residuals, streams

NODE = "graph"
HOPS, LABELS, ATOMS, DEGREES = 3, 4, 11, 6
FAR = 7
"""label of what cannot be reached"""


def plant(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a dotted path."""
    *parents, last = path.split(".")
    for name in parents:
        if not hasattr(root, name):
            root.add_module(name, nn.Module())
        root = getattr(root, name)
    root.add_module(last, module)


class Transcription(nn.Module):
    """Base: tables with a padding row, maps and norms by their published names."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads

    def table(self, path: str, rows: int, width: int, padded: bool = True) -> None:
        made = nn.Embedding(rows + 1, width, padding_idx=0) if padded else nn.Embedding(rows, width)
        made.weight.data.normal_(0, 0.02)
        if padded:
            made.weight.data[0] = 0
        plant(self, path, made)

    def maps(self, sizes: dict[str, tuple[int, int]], bias: bool = True) -> None:
        for path, (width, out) in sizes.items():
            made = nn.Linear(width, out, bias)
            made.weight.data.normal_(0, 0.02)
            if bias:
                made.bias.data.zero_()
            plant(self, path, made)

    def norms(self, *paths: str) -> None:
        for path in paths:
            plant(self, path, nn.LayerNorm(self.dim))

    def at(self, path: str, x: Tensor) -> Tensor:
        return self.get_submodule(path)(x)

    def row(self, path: str) -> Tensor:
        return self.get_submodule(path).weight

    def attend(self, prefix: str, names: tuple[str, str, str, str], x: Tensor, bias: Tensor | None) -> Tensor:
        """softmax(q k / sqrt(d) + bias) v, head by head."""
        q, k, v = (self.at(prefix + name, x).view(len(x), self.heads, -1) for name in names[:3])
        out = []
        for h in range(self.heads):
            score = q[:, h] @ k[:, h].T / math.sqrt(q.shape[-1])
            out.append((score if bias is None else score + bias[h]).softmax(-1) @ v[:, h])
        return self.at(prefix + names[3], torch.cat(out, -1))


def unpad(reference: nn.Module) -> None:
    """Padding rows are zero in every published checkpoint."""
    for module in reference.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx == 0:
            module.weight[0] = 0


class GraphormerCode(Transcription):
    """Equations 3 to 9 of the paper, and the published code where it says more: `first`, norms as in the paper."""

    def __init__(self, preset: Any, atoms: int, distances: int, labels: int) -> None:
        dim, heads, hidden = preset.dim, preset.heads, preset.hidden or preset.dim
        super().__init__(dim, heads)
        self.first, self.depth, self.hops, self.mean = preset.pre_norm, preset.depth, preset.hops, preset.pre_norm
        nodes, scores = ("", "") if self.first else (f"{INSIDE}graph_node_feature.", f"{INSIDE}graph_attn_bias.")
        distance = "rel_pos_encoder" if self.first else "spatial_pos_encoder"
        self.nodes, self.scores, self.distance = nodes, scores, scores + distance
        self.table(nodes + "atom_encoder", atoms, dim)
        self.table(nodes + "in_degree_encoder", preset.degrees, dim)
        self.table(nodes + "out_degree_encoder", preset.degrees, dim)
        self.table(nodes + "graph_token", 1, dim, padded=False)
        self.table(self.distance, distances, heads)
        self.table(scores + "graph_token_virtual_distance", 1, heads, padded=False)
        self.table(scores + "edge_encoder", labels, heads)
        self.table(scores + "edge_dis_encoder", preset.path_rows * heads * heads, 1, padded=False)
        for i in range(self.depth):
            self._layer(i, hidden)
        if self.first:
            self.norms("final_ln")
            self.maps({"downstream_out_proj": (dim, preset.answers)})
        else:
            self.norms(INSIDE + "emb_layer_norm")
            plant_head(self, preset.answers)

    def _layer(self, i: int, hidden: int) -> None:
        d, (attention, mlp) = self.dim, NAMES[self.first]
        prefix = f"{'' if self.first else INSIDE}layers.{i}."
        self.maps({prefix + name: (d, d) for name in attention})
        self.maps({prefix + mlp[0]: (d, hidden), prefix + mlp[1]: (hidden, d)})
        self.norms(*(prefix + name for name in NORMS[self.first]))

    def bias(self, dist: Tensor, hops: Tensor) -> Tensor:
        """[heads, n + 1, n + 1]"""
        n, h = len(dist), self.heads
        mix = self.row(self.scores + "edge_dis_encoder").view(-1, h, h)
        out = mix.new_zeros(h, n + 1, n + 1)
        for i in range(n):
            for j in range(n):
                out[:, i + 1, j + 1] += self.row(self.distance)[dist[i, j] + 1]
                steps = [int(label) for label in hops[i, j, : self.hops] if label >= 0]
                way = [self.row(self.scores + "edge_encoder")[label + 1] @ mix[k] for k, label in enumerate(steps)]
                if way:
                    out[:, i + 1, j + 1] += sum(way) / len(way)
        virtual = self.row(self.scores + "graph_token_virtual_distance")[0]
        out[:, 1:, 0] += virtual[:, None]
        out[:, 0, :] += virtual[:, None]
        return out

    def forward(self, raw: tuple[Tensor, ...]) -> Tensor:
        x, into, outof, dist, hops = raw
        atoms = self.row(self.nodes + "atom_encoder")[x + 1]
        node = atoms.mean(1) if self.mean else atoms.sum(1)
        node = (
            node + self.row(self.nodes + "in_degree_encoder")[into + 1] + self.row(self.nodes + "out_degree_encoder")[outof + 1]
        )
        y, bias = torch.cat([self.row(self.nodes + "graph_token"), node]), self.bias(dist, hops)
        attention, mlp = NAMES[self.first]
        one, two = NORMS[self.first]
        y = y if self.first else self.at(INSIDE + "emb_layer_norm", y)
        for i in range(self.depth):
            prefix = f"{'' if self.first else INSIDE}layers.{i}."

            def branch(z: Tensor, prefix: str = prefix) -> Tensor:
                return self.at(prefix + mlp[1], F.gelu(self.at(prefix + mlp[0], z)))

            if self.first:
                y = y + self.attend(prefix, attention, self.at(prefix + one, y), bias)
                y = y + branch(self.at(prefix + two, y))
            else:
                y = self.at(prefix + one, y + self.attend(prefix, attention, y, bias))
                y = self.at(prefix + two, y + branch(y))
        return self.at("downstream_out_proj", self.at("final_ln", y))[:1] if self.first else run_head(self, y)[:1]


INSIDE = "encoder.graph_encoder."
Q, K, V = "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"
NAMES = {
    True: (
        ("self_attention.linear_q", "self_attention.linear_k", "self_attention.linear_v", "self_attention.output_layer"),
        ("ffn.layer1", "ffn.layer2"),
    ),
    False: ((Q, K, V, "self_attn.out_proj"), ("fc1", "fc2")),
}
NORMS = {True: ("self_attention_norm", "ffn_norm"), False: ("self_attn_layer_norm", "final_layer_norm")}


def plant_head(reference: Transcription, answers: int) -> None:
    """The head of the published checkpoints; the pooler is stored and never read."""
    d = reference.dim
    reference.maps({"encoder.lm_head_transform_weight": (d, d), "encoder.masked_lm_pooler": (d, d)})
    reference.norms("encoder.layer_norm")
    reference.maps({"encoder.embed_out": (d, answers)}, bias=False)
    reference.encoder.lm_output_learned_bias = nn.Parameter(torch.zeros(1))


def run_head(reference: Transcription, y: Tensor) -> Tensor:
    z = reference.at("encoder.layer_norm", F.gelu(reference.at("encoder.lm_head_transform_weight", y)))
    return reference.at("encoder.embed_out", z) + reference.encoder.lm_output_learned_bias


def web(n: int, seed: int, columns: int, atoms: int = ATOMS, labels: int = LABELS, degrees: int = DEGREES) -> tuple[Tensor, ...]:
    """Ids, degrees in and out, shortest distances from row to column, and the label of every hop on the way (-1: none).

    Two parts that do not reach each other; breadth-first, one start at a time.
    """
    g = maker(seed)
    half = n // 2
    ends = {(i, i + 1) for i in range(n - 1) if i + 1 != half} | {(half - 1, 0), (n - 1, half)}
    ends -= {(i, i) for i in range(n)}
    label = {e: int(torch.randint(labels, (), generator=g)) for e in sorted(ends)}
    dist, hops = torch.full((n, n), FAR), torch.full((n, n, HOPS), -1)
    for start in range(n):
        ways: dict[int, list[int]] = {start: []}
        queue = [start]
        while queue:
            u = queue.pop(0)
            for a, b in sorted(ends):
                if a == u and b not in ways:
                    ways[b] = [*ways[u], label[a, b]]
                    queue.append(b)
        for end, way in ways.items():
            dist[start, end] = min(len(way), FAR - 1)
            hops[start, end, : min(len(way), HOPS)] = torch.tensor(way[:HOPS], dtype=torch.long)
    into, outof = torch.randint(degrees, (2, n), generator=g)
    return torch.randint(atoms, (n, columns), generator=g), into, outof, dist, hops


def seen(raw: tuple[Tensor, ...]) -> Document:
    x, into, outof, dist, hops = raw
    n = len(x)
    i, j = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    pairs = {"distance": (torch.stack([i, j]), dist.flatten())}
    for k in range(HOPS):
        there = hops[:, :, k].flatten() >= 0
        pairs[f"hop{k + 1}"] = (torch.stack([i, j])[:, there], hops[:, :, k].flatten()[there])
    nodes = TokenSequence((Span(NODE, x, axes={"in_degree": into, "out_degree": outof}),), pairs)
    virtual = TokenSequence((Span(CONTROL, READ),))
    return Document({"main": virtual + nodes}, {"label": asked("main:virtual", torch.tensor([0]))})


def graphormer_case(preset: Any, atoms: int = ATOMS, distances: int = FAR + 1, labels: int = LABELS, **more: Any) -> Case:
    pairs = {"distance": distances} | {f"hop{k + 1}": labels for k in range(preset.hops)}
    return Case(
        lambda: GraphormerCode(preset, atoms, distances, labels),
        preset,
        {NODE: Channel(vocab=atoms, attend="full", ordered=False, pairs=pairs)},
        [web(n, n, preset.columns) for n in LENGTHS],
        seen,
        lambda reference, raw: {"label": reference(raw)},
        unread=() if preset.pre_norm else ("encoder.masked_lm_pooler.*",),
        idle=3 * preset.dim + 2 * preset.heads,
        tuned=unpad,
        **more,
    )


TINY = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "hidden": HIDDEN, "degrees": DEGREES, "hops": HOPS, "path_rows": 5}


def _paths(edit: Any) -> Any:
    """Every path term changed."""

    def changed(r: Any) -> Any:
        if not hasattr(r.mixer, "positions"):
            return r
        return r.replace(
            mixer=r.mixer.replace(positions=tuple(edit(p) if isinstance(p, PathTable) else p for p in r.mixer.positions))
        )

    return residuals(changed)


class SummedPath(PathTable, frozen=True):
    """Wrong on purpose: the hops are summed, not averaged."""

    def build(self, heads: int, head_dim: int) -> nn.Module:
        module = super().build(heads, head_dim)
        module.bias = lambda block: _summed(module, block)  # type: ignore[method-assign]
        return module


def _summed(module: Any, block: Any) -> Tensor | None:
    found = [(n, *block.pairs[name]) for n, name in enumerate(module.names) if name in block.pairs]
    rows, queries, keys = block.shape
    total = module.weight.new_zeros(rows * queries * keys, module.weight.shape[1])
    for n, cells, labels in found:
        total = total.index_add(0, cells, (module.weight @ module.mix[n])[labels])
    return total.view(rows, queries, keys, -1).permute(0, 3, 1, 2)


@case("graphormer")
def graphormer() -> Case:
    return graphormer_case(
        presets.graphormer(**TINY, columns=2, answers=5),
        note="transcription of arXiv 2106.05234",
        wrong={
            "hops summed, not averaged": _paths(lambda p: SummedPath(p.count, p.hops, p.name, p.rows)),
            "one hop fewer": lambda p: p.replace(hops=2),
            "no degrees": streams(lambda s: s.replace(steps=())),
            "columns summed, not averaged": lambda p: p.replace(columns=1),
            "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
        },
    )


@case("graphormer: post-norm")
def graphormer_post() -> Case:
    return graphormer_case(
        presets.graphormer(**TINY, columns=2, answers=5, pre_norm=False),
        note="transcription of github.com/microsoft/Graphormer",
        wrong={"tanh gelu": lambda p: p.replace(act="gelu_tanh")},
    )


def graphormer_at_size(name: str) -> Case:
    size = presets.graphormer.published[name]
    nodes = size.channels["nodes"]
    return graphormer_case(
        presets.graphormer(**size.fields), nodes.vocab, nodes.pairs["distance"], nodes.pairs["hop1"], note="transcription"
    )


@published("graphormer-base")
def graphormer_base() -> Case:
    return graphormer_at_size("graphormer-base")


@published("graphormer-slim")
def graphormer_slim() -> Case:
    return graphormer_at_size("graphormer-slim")


@published("graphormer-base-pcqm4mv2")
def graphormer_pcqm4mv2() -> Case:
    return graphormer_at_size("graphormer-base-pcqm4mv2")


class TokenGTCode(Transcription):
    """Section 3 of the paper, and the published code: pre-norm, no norm behind the last block."""

    def __init__(self, preset: Any, identifiers: int, atoms: int, labels: int) -> None:
        dim, hidden, feature = preset.dim, preset.hidden or preset.dim, INSIDE + "graph_feature."
        super().__init__(dim, preset.heads)
        self.depth, self.feature = preset.depth, feature
        self.map = feature + ("lap_encoder" if preset.ids == "laplacian" else "orf_encoder")
        self.table(feature + "atom_encoder", atoms, dim)
        self.table(feature + "edge_encoder", labels, dim)
        for name, rows in {"graph_token": 1, "null_token": 1, "order_encoder": 2}.items():
            self.table(feature + name, rows, dim, padded=False)
        self.maps({self.map: (2 * identifiers, dim)}, bias=False)
        self.norms(INSIDE + "emb_layer_norm", INSIDE + "final_layer_norm")
        for i in range(self.depth):
            prefix = f"{INSIDE}layers.{i}."
            self.maps({prefix + name: (dim, dim) for name in NAMES[False][0]})
            self.maps({prefix + "feedforward.fc1": (dim, hidden), prefix + "feedforward.fc2": (hidden, dim)})
            self.norms(*(prefix + name for name in NORMS[False]))
        plant_head(self, preset.answers)

    def token(self, content: Tensor, u: int, v: int, ids: Tensor) -> Tensor:
        """A node (u = v) or an edge: what it is, who its ends are, and which of the two it is."""
        kind = self.row(self.feature + "order_encoder")[int(u == v)]
        return content + self.at(self.map, torch.cat([ids[u], ids[v]])) + kind

    def forward(self, raw: tuple[Tensor, ...]) -> Tensor:
        x, e, ends, ids = raw
        tokens = [self.row(self.feature + "graph_token")[0], self.row(self.feature + "null_token")[0]]
        tokens += [self.token(self.row(self.feature + "atom_encoder")[x[u] + 1].sum(0), u, u, ids) for u in range(len(x))]
        for k, (u, v) in enumerate(ends.T.tolist()):
            tokens.append(self.token(self.row(self.feature + "edge_encoder")[e[k] + 1].sum(0), u, v, ids))
        y = self.at(INSIDE + "emb_layer_norm", torch.stack(tokens))
        for i in range(self.depth):
            prefix = f"{INSIDE}layers.{i}."
            y = y + self.attend(prefix, NAMES[False][0], self.at(prefix + "self_attn_layer_norm", y), None)
            z = F.gelu(self.at(prefix + "feedforward.fc1", self.at(prefix + "final_layer_norm", y)))
            y = y + self.at(prefix + "feedforward.fc2", z)
        return run_head(self, y)[:1]


def tokens(raw: tuple[Tensor, ...]) -> Document:
    x, e, ends, ids = raw
    kind = torch.ones(len(x), dtype=torch.long)
    nodes = Span(NODE, x, axes={"node": torch.cat([ids, ids], 1), "kind": kind})
    both = {"node": torch.cat([ids[ends[0]], ids[ends[1]]], 1), "kind": (ends[0] == ends[1]).long()}
    special = [Span(CONTROL, torch.tensor([i])) for i in (int(READ), START)]
    sequence = TokenSequence((*special, nodes, Span(f"{NODE}/edge", e, axes=both)))
    return Document({"main": sequence}, {"label": asked("main:special", torch.tensor([0]))})


def tokengt_case(preset: Any, identifiers: int, atoms: int = ATOMS, labels: int = LABELS, **more: Any) -> Case:
    def one(n: int) -> tuple[Tensor, ...]:
        g = maker(n)
        x, e = torch.randint(atoms, (n, 3), generator=g), torch.randint(labels, (n + 2, 2), generator=g)
        ids = (noise(n, identifiers, seed=n) / n**0.5).float().double()  # batches keep axes in single precision
        return x, e, torch.randint(n, (2, n + 2), generator=g), ids

    axes = (Axis("node", 2 * identifiers, "linear"), Axis("kind", 2))
    both = {NODE: atoms, f"{NODE}/edge": labels}
    return Case(
        lambda: TokenGTCode(preset, identifiers, atoms, labels),
        preset,
        {c: Channel(vocab=v, attend="full", ordered=False, axes=axes) for c, v in both.items()},
        [one(n) for n in LENGTHS],
        tokens,
        lambda reference, raw: {"label": reference(raw)},
        roles={"nodes": NODE, "edges": f"{NODE}/edge"},
        unread=("encoder.masked_lm_pooler.*", INSIDE + "final_layer_norm.*"),
        tuned=unpad,
        **more,
    )


SMALL_TOKENS = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "hidden": HIDDEN, "answers": 5}


@case("tokengt")
def tokengt() -> Case:
    return tokengt_case(
        presets.tokengt(**SMALL_TOKENS),
        4,
        note="transcription of arXiv 2207.02505",
        wrong={
            "no types": streams(lambda s: s.replace(steps=(s.steps[0], *s.steps[2:]))),
            "tanh gelu": lambda p: p.replace(act="gelu_tanh"),
            "eps 1e-6": lambda p: p.replace(eps=1e-6),
            "special tokens with a type": streams(lambda s: s.replace(steps=(s.steps[0], TypeAxis("kind", 2), *s.steps[2:]))),
        },
    )


@case("tokengt: orthogonal identifiers")
def tokengt_orthogonal() -> Case:
    return tokengt_case(presets.tokengt(**SMALL_TOKENS, ids="orthogonal"), 6, note="transcription of arXiv 2207.02505")


@published("tokengt-base-lap")
def tokengt_base() -> Case:
    size = presets.tokengt.published["tokengt-base-lap"]
    return tokengt_case(presets.tokengt(**size.fields), 16, *(c.vocab for c in size.channels.values()), note="transcription")


@published("tokengt-base-orf")
def tokengt_base_orthogonal() -> Case:
    size = presets.tokengt.published["tokengt-base-orf"]
    return tokengt_case(presets.tokengt(**size.fields), 64, *(c.vocab for c in size.channels.values()), note="transcription")
