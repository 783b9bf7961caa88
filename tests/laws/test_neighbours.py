"""Law: what is gathered along lists of neighbours is what the definition says, written out token by token."""

import pytest
import torch
from torch import Tensor

from omnitok.batch import Document, collate
from omnitok.nn.additive import AdditiveAttention, AdditiveAttentionModule
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from tests.laws import worlds
from tests.laws.laws import close
from tests.laws.worlds import mixed, randomise, world_model

DIM = 12
SCHEMA = world_model(worlds.DECODER).schema
DOCUMENTS = [
    *mixed(("write", "kind", "act", "parts", "unmask-codes"), sizes=(4, 1, 6)),
    Document({"main": worlds.words(0, worlds.maker(0))}, name="nothing"),
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
    memories = [worlds.words(n, worlds.maker(n)) for n in (3, 0, 2, 4, 1, 2, 5, 2)[: len(DOCUMENTS)]]
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
