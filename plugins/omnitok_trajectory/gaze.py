"""What a model looks at in a trajectory: attention weights, computed by themselves outside the fast kernels, and their picture.

Shape letters: L tokens, H heads, K head dim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.model import Transformer
from omnitok.nn import backends
from omnitok.sequence import TokenSequence


@torch.no_grad()
def attention(model: Transformer, document: Document) -> list[Tensor]:
    """One [L, L] matrix for every attention layer over one document: the mean over heads of what each token reads."""
    batch, found = collate([document], model.schema).to(next(model.parameters()).device), []

    def watched(q: Tensor, k: Tensor, v: Tensor, block: Any, spec: Any, ctx: Any) -> Tensor:
        mask, causal = ctx.once(("mask", id(block), spec.key), lambda: backends._mask(block, spec))
        scores = torch.einsum("bqhk,bjhk->bhqj", q, k.repeat_interleave(q.shape[2] // k.shape[2], 2)) * spec.scale
        for term in spec.contents:
            scores = scores + term.content(q, block) * spec.scale
        if causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1), -torch.inf)
        elif mask is not None:
            scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, -torch.inf)
        found.append(scores.softmax(-1).mean((0, 1)).cpu())
        return original(q, k, v, block, spec, ctx)

    original = backends._sdpa
    with patch.object(backends, "_sdpa", watched):
        model.eval().hidden(batch, backend="dense")
    if not found:
        raise ConfigError("this model has no attention that could be shown")
    return found


def draw(path: Path, layers: list[Tensor], tokens: TokenSequence, unit: int) -> Path:
    """A square per layer (rows read columns), and below what the last token reads, coloured by part."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parts = [""] * len(tokens)
    for span, places in zip(tokens.spans, tokens.places, strict=True):
        for place in places.tolist():
            parts[place] = span.channel.partition("/")[2] or span.channel
    names = list(dict.fromkeys(parts))
    size = len(layers)
    figure, axes = plt.subplots(
        2, size, figsize=(3.6 * size + 0.6, 5.4), height_ratios=(3, 1.3), layout="constrained", squeeze=False
    )
    for i, weights in enumerate(layers):
        top, low = axes[0][i], axes[1][i]
        top.imshow(weights.sqrt(), cmap="magma", vmin=0, interpolation="nearest")
        top.set(title=f"layer {i + 1}", xlabel="token read", ylabel="reading token" if i == 0 else None)
        ticks = list(range(0, len(parts), max(unit, unit * (len(parts) // (6 * unit)))))
        top.set_xticks(ticks, [str(t) for t in ticks], fontsize=7)
        top.set_yticks(ticks, [str(t) for t in ticks], fontsize=7)
        last = weights[-1].tolist()
        for n, name in enumerate(names):
            where = [j for j, p in enumerate(parts) if p == name]
            low.bar(where, [last[j] for j in where], width=1.0, color=f"C{n}", label=name.replace("_", "-"))
        low.set(xlabel="token", xlim=(-0.5, len(parts) - 0.5), ylabel="read for the last action" if i == 0 else None)
    axes[1][0].legend(fontsize=7)
    figure.suptitle("attention, mean over heads (colour: square root of the weight)", fontsize=10)
    try:
        figure.savefig(path, dpi=130)
    finally:
        plt.close(figure)
    return path
