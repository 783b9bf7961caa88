"""The last hidden row of every document: the last block is computed for these rows alone.

Every layer before needs all rows, since later layers read them; the last one is read at one row per document, so its
queries, its output map and its MLP are needed there only. Behind a cache, which takes whole steps, it is the MLP alone.
The result is the same. Shape letters: N tokens, n documents, D model dim.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from omnitok.batch import PackedBatch, Stream
from omnitok.layout import Layout, build_grid
from omnitok.model import Transformer, refuse_long
from omnitok.nn.attention import Attention, AttentionModule
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from omnitok.nn.inline import Functions
from omnitok.nn.mixers import MLP
from omnitok.nn.norms import Norm
from omnitok.nn.residual import Residual


class LastRows:
    """A model read at the last token of equal causal documents."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.main, self.module = model, model.main, model.stream(model.main)
        self.blocks = [list(cast(nn.ModuleDict, block).values()) for block in self.module.blocks]
        """the residuals of every block"""
        self.shared = dict(zip(self.module.shared_keys, self.module.shared, strict=True))
        self.block = self._trimmed()

    def _trimmed(self) -> list[nn.Module] | None:
        """The last block, its attention reading what it is given as a memory; None where other parts mix tokens."""
        config = self.module.config
        if len(self.model.config.streams) > 1 or config.schedule is not None or not config.blocks:
            return None
        first, *rest = config.blocks[-1]
        if not attends(first) or not first.skip or not all(map(by_row, (first, *rest))):
            return None
        if not all(isinstance(r.mixer, MLP) for r in rest):
            return None
        head, *tail = self.blocks[-1]
        attention = copy.copy(cast(AttentionModule, head.mixer))
        attention.config = attention.config.replace(source="memory")
        return [exchanged(head, mixer=attention), *tail]

    def __call__(
        self,
        batch: PackedBatch,
        last: Tensor,
        ends: Layout | None = None,
        cache: Cache | None = None,
        functions: Functions | None = None,
    ) -> Tensor:
        """[n, D] hidden rows `last`, each the last of its document; `ends` is their layout where it was made before,
        with any steps. With a cache, documents go on behind what it holds."""
        if self.block is None:
            return self.model.hidden(batch, cache, functions=functions)[self.main].index_select(0, last)
        packed = batch.streams[self.main]
        ctx = self.context(packed.layout if cache is None else cache.extend(packed.layout), functions, cache)
        return self.read(self.embedded(packed, ctx), last, ends, self.blocks[:-1], ctx)

    def context(self, layout: Layout, functions: Functions | None = None, cache: Cache | None = None) -> Context:
        """Where the blocks run."""
        return Context(layout, shared=self.shared, tables=self.model.tables(), cache=cache, functions=functions)

    def embedded(self, packed: Stream, ctx: Context) -> Tensor:
        """[N, D] the rows in front of the first block."""
        assert ctx.layout is not None
        return ctx.run(self.module.steps)(self.model.embed(packed, self.main, ctx.layout, ctx), ctx)

    def read(self, x: Tensor, last: Tensor, ends: Layout | None, before: Sequence[Sequence[nn.Module]], ctx: Context) -> Tensor:
        """What the trimmed pass makes of embedded rows x [N, D]; `before` are the blocks in front of the last one."""
        layout = ctx.layout
        assert self.block is not None and layout is not None
        tokens = max(layout.lengths, default=0) if ctx.cache is None else ctx.cache.tokens
        refuse_long(tokens, self.module.longest, self.main)
        for block in before:
            for residual in block:
                x = ctx.run(residual)(x, ctx)
        reader, *tail = self.block
        if ctx.cache is not None:
            x = ctx.run(self.blocks[-1][0])(x, ctx).index_select(0, last)
        else:
            memory = ctx.run(reader.pre)(x, ctx) if reader.pre else x
            own = ending(layout, last) if ends is None else ends.replace(axes={a: v[last] for a, v in layout.axes.items()})
            ctx = Context(own, (memory, layout), ctx.shared, ctx.tables, functions=ctx.functions)
            x = ctx.run(reader)(x[last], ctx)
        for residual in tail:
            x = ctx.run(residual)(x, ctx)
        return ctx.run(self.module.norm)(x, ctx) if self.module.norm else x


def attends(residual: Residual) -> bool:
    """Whether it is attention of a stream over itself."""
    mixer = residual.mixer
    return isinstance(mixer, Attention) and mixer.source == "self" and mixer.over is None


def by_row(residual: Residual) -> bool:
    """Whether its norms look at one row at a time."""
    norms = (residual.pre, residual.branch, residual.post)
    return all(n is None or (isinstance(n, Norm) and n.kind in ("layer", "rms")) for n in norms)


def exchanged(module: nn.Module, **parts: nn.Module) -> nn.Module:
    """A module that shares everything with this one but these parts of it; the model itself stays as it is."""
    other = copy.copy(module)
    other._modules = {**module._modules, **parts}
    for name in parts:
        other.__dict__.pop(name, None)  # where it was None, it was no module
    return other


def ending(layout: Layout, last: Tensor) -> Layout:
    """The layout of one row of every document."""
    n = len(last)
    order, position, channel, span = (x[last] for x in (layout.order, layout.position, layout.channel, layout.span))
    axes = {name: x[last] for name, x in layout.axes.items()}
    grid = build_grid((1,) * n).to(last.device)
    segment = torch.arange(n, device=last.device)
    return Layout(segment, order, position, channel, span, axes, {}, (1,) * n, (), grid, layout.channels)
