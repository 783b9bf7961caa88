"""Attention of every kind over documents of every kind, and the law that a backend computes it by its definition."""

from functools import cache

import torch
from torch import Tensor

from omnitok.batch import Document, collate
from omnitok.layout import Layout
from omnitok.nn.attention import Attention, AttentionModule
from omnitok.nn.context import Context
from omnitok.nn.norms import Norm
from omnitok.nn.positions import PairTable, Rope
from tests.laws import worlds
from tests.laws.formula import formula
from tests.laws.laws import close
from tests.laws.worlds import mixed, randomise, world_model

DIM, HEADS = 32, 4
EDGES = PairTable("edge", 3)
CASES: dict[str, Attention] = {
    "plain": Attention(HEADS),
    "grouped heads": Attention(HEADS, kv_heads=2, head_dim=6, bias=False),
    "values of another width": Attention(HEADS, kv_heads=2, head_dim=6, value_dim=5),
    "norm of queries and keys": Attention(HEADS, qk_norm=Norm("rms"), scale=0.7),
    "rotary": Attention(HEADS, positions=(Rope(),)),
    "rotary over three axes": Attention(HEADS, positions=(Rope((("h", 2), ("w", 2), ("position", 0)), 50.0, True),)),
    "window": Attention(HEADS, window=3, positions=(Rope(),)),
    "window on an axis": Attention(HEADS, window=2, window_axis="h"),
    "pair biases": Attention(HEADS, positions=(EDGES,)),
    "pair biases in a window": Attention(HEADS, kv_heads=1, positions=(Rope(), EDGES), window=2),
    "along pairs": Attention(HEADS, kv_heads=2, over="edge"),
    "along pairs, values of another width": Attention(HEADS, value_dim=3, over="edge"),
    "along pairs with biases": Attention(HEADS, positions=(EDGES, Rope()), over="edge", window=2, window_axis="degree"),
}
SCHEMA = world_model(worlds.DECODER).schema
TASKS = ("write", "act", "unmask-codes", "unmask-patches", "kind", "mood", "parts", "spell")
DOCUMENTS = [*mixed(TASKS, sizes=(4, 1, 6)), Document({"main": worlds.words(0, worlds.maker(0))}, name="nothing")]


def made(config: Attention, dtype: torch.dtype = torch.float32) -> tuple[AttentionModule, dict[PairTable, torch.nn.Module]]:
    """A module with random parameters, and the position modules that it shares with its stream."""
    torch.manual_seed(0)
    module = config.build(DIM)
    tables = {p: p.build(HEADS, module.head_dim) for p in config.positions}
    everything = torch.nn.ModuleList([module, *tables.values()])
    randomise(everything)
    everything.to(dtype)
    return module, tables


def run(config: Attention, backend: str, x: Tensor, layout: Layout, memory: tuple[Tensor, Layout] | None = None) -> Tensor:
    module, tables = made(config)
    shared = {(p, HEADS, module.head_dim): t for p, t in tables.items()}
    return module(x, Context(layout, memory, shared, backend=backend))


def applicable(config: Attention) -> list[str]:
    names = ["dense", "split", "rows", "auto"]
    return [*names, "edges"] if config.over else names


@cache
def wanted(name: str) -> tuple[Tensor, Tensor]:
    """Input and answer of a case by the definition."""
    config = CASES[name]
    module, tables = made(config)
    x = torch.randn(sum(map(len, DOCUMENTS)), DIM, generator=worlds.maker(1))
    weights = {p: t.weight for p, t in tables.items() if isinstance(p, PairTable)}
    with torch.no_grad():
        return x, formula(module, weights, x, x, DOCUMENTS, SCHEMA)


def equals_formula(name: str, backend: str) -> None:
    """A case computed by a backend equals the definition."""
    x, want = wanted(name)
    layout = collate(DOCUMENTS, SCHEMA, sort=False).streams["main"].layout
    with torch.no_grad():
        close(run(CASES[name], backend, x, layout), want, f"{name} by {backend}")
