"""A training step on a mixed batch: our packed Transformer against `torch.nn.TransformerEncoder` on the padded batch.

Both hold the same weights and give the same rows before anything is timed: pre-norm, erf-GELU, no positions, no dropout.
The forward and backward pass are timed, from embedded tokens on. Target: 3x.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from omnitok.assemble import build
from omnitok.model import Model, Stream, StreamModule
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual
from omnitok.tokenizer import Channel
from tests.bench.mix import mix, packed
from tests.bench.timing import options, report

DIM, DEPTH, HEADS, COUNT = 384, 6, 6, 16


def ours_and_theirs() -> tuple[StreamModule, nn.TransformerEncoder]:
    """The two models with one set of random weights."""
    block = (Residual("attention", Attention(HEADS), pre=Norm()), Residual("mlp", MLP(4 * DIM), pre=Norm()))
    model = Model({"main": Stream(DIM, (block,) * DEPTH, Norm())})
    ours = cast(StreamModule, build(model, {"tokens": Channel(vocab=1)}).streams["main"])
    layer = nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(layer, DEPTH, nn.LayerNorm(DIM), enable_nested_tensor=False)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.02 if parameter.dim() > 1 else 0.1)
    for mine, peer in zip(ours.blocks, theirs.layers, strict=True):
        attention, mlp = mine["attention"], mine["mlp"]
        for kind in ("weight", "bias"):
            maps = [getattr(m, kind) for m in (attention.mixer.q, attention.mixer.k, attention.mixer.v)]
            _copy(getattr(peer.self_attn, f"in_proj_{kind}"), torch.cat(maps))
            pairs = [
                (peer.self_attn.out_proj, attention.mixer.o),
                (peer.linear1, mlp.mixer.up),
                (peer.linear2, mlp.mixer.down),
                (peer.norm1, attention.pre),
                (peer.norm2, mlp.pre),
                (theirs.norm, ours.norm),
            ]
            for target, source in pairs:
                _copy(getattr(target, kind), getattr(source, kind))
    return ours.train(), theirs.train()


def _copy(target: Tensor, source: Tensor) -> None:
    target.data.copy_(source.data)


def section(rule: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """Contenders and facts for one rule, "full" or "causal"."""
    torch.manual_seed(0)
    ours, theirs = ours_and_theirs()
    layout = packed(mix(COUNT, seed=3), rule).layout
    tokens, longest = len(layout), max(layout.lengths)
    valid = layout.grid.valid
    x = torch.randn(tokens, DIM)
    padded = layout.grid.rows(x)
    hidden = torch.triu(torch.ones(longest, longest, dtype=torch.bool), 1) if rule == "causal" else None

    def peer() -> Tensor:
        return theirs(padded, hidden, ~valid)[valid]

    def packed_rows(backend: str) -> Tensor:
        return ours(x, Context(layout, backend=backend))

    with torch.no_grad():
        worst = max((peer() - packed_rows(b)).abs().max().item() for b in ("auto", "dense"))
    assert worst < 1e-4, f"the two models differ by {worst}: they do not compute the same"

    def step(model: nn.Module, forward: Callable[[], Tensor]) -> None:
        model.zero_grad()
        forward().square().mean().backward()

    contenders = {
        "nn.TransformerEncoder, padded + key mask": lambda: step(theirs, peer),
        "ours, packed": lambda: step(ours, lambda: packed_rows("auto")),
        "ours, packed, one dense mask": lambda: step(ours, lambda: packed_rows("dense")),
    }
    facts = {
        "documents": COUNT,
        "tokens": tokens,
        "padded_tokens": COUNT * longest,
        "attention_calls": len(layout.runs),
        "largest_difference": worst,
    }
    return contenders, facts


if __name__ == "__main__":
    asked = options(__doc__)
    report("packing", {f"training step, {rule} attention": section(rule) for rule in ("full", "causal")}, asked)
