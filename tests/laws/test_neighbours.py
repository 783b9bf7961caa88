"""Law: what is gathered along lists of neighbours is what the definition says, written out token by token."""

import math

import pytest
import torch
from torch import Tensor

from omnitok import presets
from omnitok.batch import Document, collate
from omnitok.nn.additive import AdditiveAttention, AdditiveAttentionModule
from omnitok.nn.aggregate import Aggregate, AggregateModule
from omnitok.nn.attention import Attention
from omnitok.nn.block import dense_block
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from omnitok.nn.paths import Lacking, PathTable
from tests.laws import worlds
from tests.laws.laws import close, neighbours_do_not_matter, packed_equals_alone
from tests.laws.worlds import mixed, randomise, world_model

DIM = 12
SCHEMA = world_model(worlds.DECODER).schema
DOCUMENTS = [
    *mixed(("write", "kind", "act", "parts", "unmask-codes"), sizes=(4, 1, 6)),
    Document({"main": worlds.words(0, worlds.maker(0))}, name="nothing"),
    Document({"main": worlds.nodes(6, worlds.maker(4))}, name="in order", attend={"nodes": "causal"}),
]
LAYOUT = collate(DOCUMENTS, SCHEMA, sort=False).streams["main"].layout
X = torch.randn(len(LAYOUT), DIM, generator=worlds.maker(1), dtype=torch.double)


def made(config) -> torch.nn.Module:
    torch.manual_seed(0)
    module = config.build(DIM).double()
    randomise(module)
    return module


def listed(name: str | None, loops: str) -> list[list[int]]:
    """For every token the tokens it sees, one by one."""
    seen = LAYOUT.visible()
    if name is None:
        return [seen[i].nonzero()[:, 0].tolist() for i in range(len(LAYOUT))]
    pairs = [(int(i), int(j)) for i, j in LAYOUT.pairs[name][0].T if seen[i, j]]
    if loops == "once":
        pairs = [(i, j) for i, j in pairs if i != j] + [(i, i) for i in range(len(LAYOUT))]
    return [[j for k, j in pairs if k == i] for i in range(len(LAYOUT))]


def additive(module: AdditiveAttentionModule, x: Tensor, source: Tensor, seen: list[list[int]]) -> Tensor:
    """The definition, one query and one head at a time."""
    config, rows = module.config, []
    heads = [slice(h * module.head_dim, (h + 1) * module.head_dim) for h in range(config.heads)]
    q, k = module.q(x), module.k(source)
    v = {"own": module.v, "keys": lambda _: k, "input": lambda s: s}[config.values](source)
    for i, keys in enumerate(seen):
        parts = []
        for h, cut in enumerate(heads):
            score = [(module.energy[h] * module.act(q[i, cut] + k[j, cut])).sum() for j in keys]
            weight = torch.stack(score).softmax(0) if keys else []
            value = [v[j] if config.values == "input" else v[j, cut] for j in keys]
            empty = torch.zeros_like(v[0] if config.values == "input" else v[0, cut])
            parts.append(sum((w * y for w, y in zip(weight, value, strict=True)), empty))
        row = torch.cat(parts) if config.join == "concat" else torch.stack(parts).mean(0)
        row = row if module.o is None else module.o(row)
        rows.append(row if module.bias is None else row + module.bias)
    return torch.stack(rows)


ADDITIVE = {
    "all that is visible": AdditiveAttention(2),
    "the input itself": AdditiveAttention(values="input", out=False, out_bias=False, bias=False),
    "along pairs": AdditiveAttention(3, over="edge", act="leaky_relu", values="keys", out=False),
    "along pairs and oneself": AdditiveAttention(3, 12, over="edge", loops="once", values="keys", join="mean", out=False),
}


@pytest.mark.parametrize("name", ADDITIVE)
@torch.no_grad()
def test_additive_attention_is_its_definition(name: str) -> None:
    module = made(ADDITIVE[name])
    config = module.config
    close(module(X, Context(LAYOUT)), additive(module, X, X, listed(config.over, config.loops)), name, 1e-12)


@torch.no_grad()
def test_additive_attention_over_a_memory() -> None:
    """Only the memory of one's own document, all of it, and 0 where there is none."""
    module = made(AdditiveAttention(2, source="memory", memory_dim=5, values="input", out=False))
    memories = [worlds.words(n, worlds.maker(n)) for n in (3, 0, 2, 4, 1, 2, 5, 2, 1)[: len(DOCUMENTS)]]
    layout = collate(memories, SCHEMA, sort=False).streams["main"].layout
    source = torch.randn(len(layout), 5, generator=worlds.maker(2), dtype=torch.double)
    seen = [(layout.segment == s).nonzero()[:, 0].tolist() for s in LAYOUT.segment]
    assert any(not keys for keys in seen)
    close(module(X, Context(LAYOUT, (source, layout))), additive(module, X, source, seen), "a memory", 1e-12)


@pytest.mark.parametrize("name", ADDITIVE)
@torch.no_grad()
def test_additive_attention_in_a_session_is_recomputed(name: str) -> None:
    """Documents fed in two parts give what they give as one; pairs among earlier and later tokens apart."""
    module = made(ADDITIVE[name])
    g = worlds.maker(3)
    wholes = [worlds.words(5, g) + worlds.nodes(4, g), worlds.words(2, g) + worlds.nodes(3, g)]
    cuts, cache, got = [5, 2], Cache(2), []
    full = collate(wholes, SCHEMA, sort=False).streams["main"].layout
    x = torch.randn(len(full), DIM, generator=g, dtype=torch.double)
    want = module(x, Context(full))
    parts = dict(enumerate(x.split(list(full.lengths))))
    for piece in (slice(0, None), slice(1, None)):
        first = piece.start == 0
        cut = [w[:c] if first else w[c:] for w, c in zip(wholes, cuts, strict=True)]
        layout = cache.extend(collate(cut, SCHEMA, sort=False).streams["main"].layout)
        rows = torch.cat([parts[i][: cuts[i]] if first else parts[i][cuts[i] :] for i in range(2)])
        got.append(module(rows, Context(layout, cache=cache)).split(list(layout.lengths)))
    joined = torch.cat([torch.cat([got[0][i], got[1][i]]) for i in range(2)])
    close(joined, want, name, 1e-12)


def aggregated(module: AggregateModule, x: Tensor, seen: list[list[int]]) -> Tensor:
    """The definition, one token at a time."""
    config, rows = module.config, []
    y = x if module.project is None else module.act(module.project(x))
    for i, keys in enumerate(seen):
        weight = [1.0 if config.weight == "one" else 1 / math.sqrt(len(keys) * len(seen[j])) if seen[j] else 0.0 for j in keys]
        parts = torch.stack([w * y[j] for w, j in zip(weight, keys, strict=True)]) if keys else torch.zeros(1, DIM).double()
        row = {"sum": parts.sum(0), "mean": parts.mean(0), "max": parts.max(0).values}[config.how]
        row = row if module.o is None else module.o(row)
        own = {"map": module.own, "eps": lambda x: (1 + module.eps) * x, "none": torch.zeros_like}[config.own](x[i])
        rows.append(row + own)
    return torch.stack(rows)


AGGREGATES = {
    "mean": Aggregate(),
    "mean with oneself": Aggregate(loops="once", own="none"),
    "sum": Aggregate(how="sum", map=False, own="eps", eps=0.3),
    "learned eps": Aggregate(how="sum", map=False, own="eps", learn_eps=True, bias=False),
    "projected maximum": Aggregate(how="max", project="relu", own="none"),
    "maximum": Aggregate(how="max"),
    "symmetric": Aggregate(how="sum", weight="symmetric", loops="once", own="none"),
    "symmetric as listed": Aggregate(how="sum", weight="symmetric"),
}


@pytest.mark.parametrize("name", AGGREGATES)
@torch.no_grad()
def test_aggregation_is_its_definition(name: str) -> None:
    module = made(AGGREGATES[name])
    close(module(X, Context(LAYOUT)), aggregated(module, X, listed("edge", module.config.loops)), name, 1e-12)


PASSING = {
    "sage": presets.sage(dim=16),
    "sage by maximum": presets.sage(dim=16, aggregate="max", project=True),
    "gcn": presets.gcn(dim=16),
    "gin": presets.gin(dim=16, learn_eps=True),
    "gatv2": presets.gatv2(dim=16, heads=2),
}
TASKS = ("parts", "mood")


@pytest.mark.parametrize("name", PASSING)
def test_packed_is_alone_with_gradients(name: str) -> None:
    model = world_model(PASSING[name], TASKS).double()
    packed_equals_alone(model, mixed(TASKS * 2), worlds.TASKS, tolerance=1e-9)
    neighbours_do_not_matter(model, mixed(TASKS), mixed(TASKS, seed=1), worlds.TASKS)


@pytest.mark.parametrize("name", [*ADDITIVE, *AGGREGATES])
def test_half_precision_is_close(name: str) -> None:
    config = (ADDITIVE | AGGREGATES)[name]
    module, x = made(config).float(), X.float().requires_grad_()
    want = module(x, Context(LAYOUT))
    with torch.autocast("cpu", torch.bfloat16):
        got = module(x, Context(LAYOUT))
        got.float().sum().backward()
    close(got.float(), want, name, 5e-2)


HOPS = PathTable(3, 2, "hop", rows=4)
BIASES = (HOPS, Lacking("degree"))


def ways() -> Document:
    """Words, then nodes with paths of two hops among them; words lack a degree."""
    g = worlds.maker(5)
    nodes, n = worlds.nodes(5, g), 5
    both = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    one, two = both[:, ::2], both[:, ::6]
    labels = [torch.randint(3, (x.shape[1],), generator=g) for x in (one, two)]
    pairs = {**nodes.pairs, "hop1": (one, labels[0]), "hop2": (two, labels[1])}
    return Document({"main": worlds.words(2, g) + nodes.replace(pairs=pairs)}, name="ways", attend={"words": "full"})


@pytest.mark.parametrize("over", [None, "edge"])
@torch.no_grad()
def test_terms_of_paths_are_their_definition_in_every_backend(over: str | None) -> None:
    config = Attention(2, positions=BIASES, over=over)
    tables = [made_position(p) for p in BIASES]
    shared = {(p, 2, DIM // 2): t for p, t in zip(BIASES, tables, strict=True)}
    documents = [ways(), Document({"main": worlds.nodes(3, worlds.maker(6))}, name="no ways")]
    layout = collate(documents, SCHEMA, sort=False).streams["main"].layout
    x = torch.randn(len(layout), DIM, generator=worlds.maker(7), dtype=torch.double)
    module = made(config)
    seen, bias = layout.visible(), written_out(layout, *tables)
    if over:
        listed = torch.zeros_like(seen)
        listed[layout.pairs[over][0][0], layout.pairs[over][0][1]] = True
        seen &= listed
    q, k, v = (getattr(module, name)(x).view(len(x), 2, -1).transpose(0, 1) for name in "qkv")
    score = (q @ k.transpose(1, 2) / (DIM // 2) ** 0.5 + bias).masked_fill(~seen, -torch.inf)
    out = (score.softmax(-1).nan_to_num() @ v).transpose(0, 1).flatten(1)
    for backend in ("auto", "dense", "rows", "split"):
        close(module(x, Context(layout, shared=shared, backend=backend)), module.o(out), backend, 1e-12)


def made_position(config) -> torch.nn.Module:
    torch.manual_seed(1)
    return config.build(2, DIM // 2).double()


def written_out(layout, paths, lacking) -> Tensor:
    """[2, N, N], one pair of tokens at a time."""
    n = len(layout)
    out, degree = torch.zeros(2, n, n).double(), layout.axes["degree"]
    hops = [layout.pairs[name] for name in paths.names]
    hops = [{(int(i), int(j)): int(v) for (i, j), v in zip(ends.T, labels, strict=True)} for ends, labels in hops]
    for i in range(n):
        for j in range(n):
            way = [paths.weight[hop[i, j]] @ paths.mix[k] for k, hop in enumerate(hops) if (i, j) in hop]
            if way:
                out[:, i, j] += sum(way) / len(way)
            if degree[i] < 0 or degree[j] < 0:
                out[:, i, j] += lacking.weight
    return out


def test_paths_under_half_precision() -> None:
    module = PathTable(3, 2).build(2, 6)
    layout = collate([ways()], SCHEMA).streams["main"].layout
    with torch.autocast("cpu", torch.bfloat16):
        got = module.bias(dense_block(layout, layout, True))
    close(got.float(), module.bias(dense_block(layout, layout, True)), "paths", 2e-2)
