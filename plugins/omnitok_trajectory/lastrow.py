"""The last hidden row of every document without a cache: the last block is computed for these rows alone.

Every layer before needs all rows, since later layers read them; the last one is read at one row per document, so its
queries, its output map and its MLP are needed there only. The result is the same. Shape letters: N tokens, n documents.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from omnitok.batch import PackedBatch
from omnitok.layout import Layout, build_grid
from omnitok.model import Transformer, refuse_long
from omnitok.nn.attention import Attention, AttentionModule
from omnitok.nn.context import Context
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm


class LastRows:
    """A model read at the last token of causal documents."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.module = model, model.stream(model.main)
        self.block, self.tables = self._trimmed(), model.tables()

    def _trimmed(self) -> list[Any] | None:
        """The last block, its attention reading what it is given as a memory; None where other parts mix tokens."""
        config = self.module.config
        if len(self.model.config.streams) > 1 or config.schedule is not None or not config.blocks:
            return None
        first, *rest = config.blocks[-1]
        own = isinstance(first.mixer, Attention) and first.mixer.source == "self" and first.mixer.over is None and first.skip
        by_row = all(
            n is None or (isinstance(n, Norm) and n.kind in ("layer", "rms"))
            for r in (first, *rest)
            for n in (r.pre, r.branch, r.post)
        )
        if not own or not by_row or not all(isinstance(r.mixer, MLP) for r in rest):
            return None
        head, *tail = cast(nn.ModuleDict, self.module.blocks[-1]).values()
        reader = copy.copy(head)
        reader._modules = {**head._modules}
        attention = copy.copy(cast(AttentionModule, head.mixer))
        attention.config = attention.config.replace(source="memory")
        reader._modules["mixer"] = attention
        return [reader, *tail]

    def __call__(self, batch: PackedBatch, last: Tensor, ends: Layout | None = None) -> Tensor:
        """[n, D] hidden rows `last`, each the last of its document; `ends` is their layout where it was made before,
        with any steps."""
        main, module = self.model.main, self.module
        if self.block is None:
            return self.model.hidden(batch)[main][last]
        packed = batch.streams[main]
        layout, tables = packed.layout, self.tables
        refuse_long(max(layout.lengths, default=0), module.longest, main)
        shared = dict(zip(module.shared_keys, module.shared, strict=True))
        ctx = Context(layout, shared=shared, tables=tables)
        x = module.steps(self.model.embed(packed, main, layout, ctx), ctx)
        for block in list(module.blocks)[:-1]:
            for residual in cast(nn.ModuleDict, block).values():
                x = residual(x, ctx)
        reader, *tail = self.block
        memory = reader.pre(x, ctx) if reader.pre else x
        own = ending(layout, last) if ends is None else ends.replace(axes={a: v[last] for a, v in layout.axes.items()})
        ctx = Context(own, memory=(memory, layout), shared=shared, tables=tables)
        x = reader(x[last], ctx)
        for residual in tail:
            x = residual(x, ctx)
        return module.norm(x, ctx) if module.norm else x


def ending(layout: Layout, last: Tensor) -> Layout:
    """The layout of one row of every document."""
    n = len(last)
    order, position, channel, span = (x[last] for x in (layout.order, layout.position, layout.channel, layout.span))
    axes = {name: x[last] for name, x in layout.axes.items()}
    grid = build_grid((1,) * n).to(last.device)
    segment = torch.arange(n, device=last.device)
    return Layout(segment, order, position, channel, span, axes, {}, (1,) * n, (), grid, layout.channels)
