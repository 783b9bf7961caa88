"""Two layers of message passing, forward and backward, beside torch_geometric's models: both linear in the edges."""

from collections.abc import Callable
from typing import Any

import torch
import torch_geometric
from torch import Tensor
from torch_geometric.nn import GAT, GCN, GraphSAGE

from omnitok import presets
from omnitok.assemble import build
from omnitok.batch import collate
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel
from tests.bench.timing import options, report

DIM, HEADS = 64, 4
SIZES = ((2_000, 10_000), (2_000, 40_000), (8_000, 40_000))
CHANNELS = {"nodes": Channel(width=(DIM,), embed=(), attend="full", ordered=False, pairs={"edge": 1})}
THEIRS = {"in_channels": DIM, "hidden_channels": DIM, "num_layers": 2}
KINDS: dict[str, tuple[Any, Any]] = {
    "sage": (lambda: GraphSAGE(**THEIRS), presets.sage(dim=DIM)),
    "gcn": (lambda: GCN(**THEIRS), presets.gcn(dim=DIM)),
    "gatv2": (lambda: GAT(**THEIRS, v2=True, heads=HEADS), presets.gatv2(dim=DIM, heads=HEADS)),
}


def contenders(kind: str, x: Tensor, ends: Tensor) -> dict[str, Callable[[], Any]]:
    """Theirs and ours over the same edges."""
    make, preset = KINDS[kind]
    theirs, ours = make(), build(preset, CHANNELS)
    pairs = {"edge": (ends.flip(0), torch.zeros(ends.shape[1], dtype=torch.long))}
    batch = collate([TokenSequence((Span("nodes", features=x),), pairs)], ours.schema)
    return {
        "torch_geometric": lambda: theirs(x, ends).square().sum().backward(),
        "omnitok": lambda: ours.hidden(batch)["main"].square().sum().backward(),
    }


if __name__ == "__main__":
    asked = options(__doc__)
    torch.manual_seed(0)
    sections = {}
    for nodes, edges in SIZES:
        x, ends = torch.randn(nodes, DIM), torch.randint(nodes, (2, edges))
        for kind in KINDS:
            facts = {"nodes": nodes, "edges": edges, "torch_geometric": torch_geometric.__version__}
            sections[f"{kind}, {nodes:,} nodes and {edges:,} edges"] = (contenders(kind, x, ends), facts)
    report("aggregation", sections, asked)
