"""Parity cases: models of nodes and edges."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnitok import presets
from omnitok.batch import Document
from omnitok.nn.additive import AdditiveAttention, AdditiveAttentionModule
from omnitok.nn.aggregate import Aggregate
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from omnitok.weights import Reference
from tests.laws.parity.case import DEPTH, DIM, HEADS, LENGTHS, Case, case, library, maker, noise, published
from tests.laws.parity.wrong import mixers

NODE = "graph"
Raw = tuple[Tensor, Tensor]
"""[n, dim] features, and [2, e] source and target of every edge"""


def edges(n: int, seed: int, count: int | None = None) -> Tensor:
    """[2, e] directed edges with parallel ones and self-loops among them; the last node has none."""
    found = torch.randint(max(n - 1, 1), (2, count or 2 * n), generator=maker(seed))
    return torch.cat([found, found[:, :2], torch.tensor([[0, 1], [0, 1]])], 1)


def web(raw: Raw) -> Document:
    """The queries are the targets."""
    x, ends = raw
    pairs = {"edge": (ends.flip(0), torch.zeros(ends.shape[1], dtype=torch.long))}
    return Document({"main": TokenSequence((Span(NODE, features=x),), pairs)})


def message_passing(fresh: Callable[[], nn.Module], preset: Any, dim: int = DIM, **more: Any) -> Case:
    """A model of torch_geometric whose features are as wide as its layers."""
    return Case(
        fresh,
        preset,
        {NODE: Channel(width=(dim,), embed=(), attend="full", ordered=False, pairs={"edge": 1})},
        [(noise(n, dim, seed=n), edges(n, n)) for n in LENGTHS],
        web,
        lambda reference, raw: {"main": reference(*raw)},
        hidden=("main",),
        **more,
    )


def models() -> Any:
    library("torch_geometric")
    import torch_geometric.nn.models as found

    return found


SIZE = {"in_channels": DIM, "hidden_channels": DIM, "num_layers": DEPTH}


@case("sage")
def sage() -> Case:
    pyg = models()
    return message_passing(
        lambda: pyg.GraphSAGE(**SIZE),
        presets.sage(dim=DIM, depth=DEPTH),
        note="torch_geometric GraphSAGE",
        wrong={
            "maximum for mean": lambda p: p.replace(aggregate="max"),
            "sum for mean": lambda p: p.replace(aggregate="sum"),
            "oneself among the neighbours": mixers(Aggregate, loops="once"),
            "tanh between the layers": lambda p: p.replace(act="tanh"),
            "no map of oneself": lambda p: p.replace(root=False),
        },
    )


@case("sage: projected maximum")
def sage_pool() -> Case:
    pyg = models()
    return message_passing(
        lambda: pyg.GraphSAGE(**SIZE, aggr="max", project=True, bias=False),
        presets.sage(dim=DIM, depth=DEPTH, aggregate="max", project=True, bias=False),
        note="torch_geometric GraphSAGE(aggr='max', project=True)",
    )


@case("sage: sum without oneself")
def sage_sum() -> Case:
    pyg = models()
    return message_passing(
        lambda: pyg.GraphSAGE(**SIZE, aggr="sum", root_weight=False),
        presets.sage(dim=DIM, depth=DEPTH, aggregate="sum", root=False),
        note="torch_geometric GraphSAGE(aggr='sum', root_weight=False)",
    )


@case("gcn")
def gcn() -> Case:
    pyg = models()
    return message_passing(
        lambda: pyg.GCN(**SIZE),
        presets.gcn(dim=DIM, depth=DEPTH),
        note="torch_geometric GCN",
        wrong={
            "self-loops missing": mixers(Aggregate, loops="given"),
            "mean for the symmetric weights": mixers(Aggregate, weight="one", how="mean"),
            "every weight 1": mixers(Aggregate, weight="one"),
            "silu for relu": lambda p: p.replace(act="silu"),
        },
    )


@case("gin")
def gin() -> Case:
    pyg = models()

    def tuned(reference: nn.Module) -> None:
        for conv in reference.convs:
            conv.eps.fill_(0.3)

    return message_passing(
        lambda: pyg.GIN(**SIZE),
        presets.gin(dim=DIM, depth=DEPTH),
        tuned=tuned,
        note="torch_geometric GIN",
        wrong={
            "mean for sum": mixers(Aggregate, how="mean"),
            "self-loops once": mixers(Aggregate, loops="once"),
            "silu for relu": lambda p: p.replace(act="silu"),
        },
    )


@case("gin: learned eps")
def gin_learned() -> Case:
    pyg = models()
    return message_passing(
        lambda: pyg.GIN(**SIZE, train_eps=True, eps=0.5),
        presets.gin(dim=DIM, depth=DEPTH, eps=0.5, learn_eps=True),
        note="torch_geometric GIN(train_eps=True)",
    )


class Steeper(AdditiveAttention, frozen=True):
    """Wrong on purpose: torch's own default slope."""

    def build(self, dim: int) -> nn.Module:
        module = AdditiveAttentionModule(self, dim)
        module.act = lambda x: F.leaky_relu(x, 0.01)
        return module


def steeper(r: Any) -> Any:
    if not isinstance(r.mixer, AdditiveAttention):
        return r
    return r.replace(mixer=Steeper(**{f: getattr(r.mixer, f) for f in r.mixer.__struct_fields__}))


@case("gatv2")
def gatv2() -> Case:
    from tests.laws.parity.wrong import residuals

    pyg = models()
    return message_passing(
        lambda: pyg.GAT(**SIZE, v2=True, heads=HEADS),
        presets.gatv2(dim=DIM, depth=DEPTH, heads=HEADS),
        note="torch_geometric GAT(v2=True)",
        wrong={
            "slope 0.01 for 0.2": residuals(steeper),
            "self-loops missing": mixers(AdditiveAttention, loops="given"),
            "tanh for leaky relu": mixers(AdditiveAttention, act="tanh"),
            "heads averaged": lambda p: p.replace(concat=False),
        },
    )


@case("gatv2: mean of heads")
def gatv2_mean() -> Case:
    pyg = models()
    return message_passing(
        lambda: pyg.GAT(**SIZE, v2=True, heads=2, concat=False, bias=False),
        presets.gatv2(dim=DIM, depth=DEPTH, heads=2, concat=False, bias=False),
        note="torch_geometric GAT(v2=True, concat=False)",
    )


def at_size(kind: str, preset: Reference, **more: Any) -> Case:
    """The published width and depth."""
    size = {"in_channels": preset.dim, "hidden_channels": preset.dim, "num_layers": preset.depth}
    pyg = models()
    return message_passing(lambda: getattr(pyg, kind)(**size, **more), preset, preset.dim, note=f"torch_geometric {kind}")


@published("sage-reddit")
def sage_reddit() -> Case:
    return at_size("GraphSAGE", presets.sage(**presets.sage.published["sage-reddit"].fields))


@published("gcn-cora")
def gcn_cora() -> Case:
    return at_size("GCN", presets.gcn(**presets.gcn.published["gcn-cora"].fields))


@published("gin-0")
def gin_0() -> Case:
    return at_size("GIN", presets.gin(**presets.gin.published["gin-0"].fields))


@published("gat-cora")
def gat_cora() -> Case:
    return at_size("GAT", presets.gatv2(**presets.gatv2.published["gat-cora"].fields), v2=True, heads=8)
