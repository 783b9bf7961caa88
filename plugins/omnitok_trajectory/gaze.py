"""What a model looks at in a trajectory: attention weights, computed by themselves outside the fast kernels, and their picture.

Shape letters: L tokens, H heads, K head dim.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from omnitok.batch import Document, collate
from omnitok.errors import ConfigError
from omnitok.layout import Layout
from omnitok.model import Transformer
from omnitok.nn.backends import BACKENDS, Spec, dense
from omnitok.nn.context import Context
from omnitok.sequence import TokenSequence


@torch.no_grad()
def attention(model: Transformer, document: Document) -> list[Tensor]:
    """One [L, L] matrix for every attention layer over one document: the mean over heads of what each token reads."""
    batch, found = collate([document], model.schema).to(next(model.parameters()).device), []

    def shown(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
        """Values that say which token they are give the weights back."""
        names = torch.eye(len(k), dtype=v.dtype, device=v.device)[:, None].expand(-1, v.shape[1], -1)
        weights = dense(q, k, names, queries, keys, spec, ctx)
        found.append(weights.view(len(q), -1, len(k)).mean(1).cpu())
        return dense(q, k, v, queries, keys, spec, ctx)

    BACKENDS["shown"] = shown
    try:
        model.eval().hidden(batch, backend="shown")
    finally:
        del BACKENDS["shown"]
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
        top.imshow(weights.sqrt().numpy(), cmap="magma", vmin=0, interpolation="nearest")
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
