"""Windows that slide: what belongs to a token alone is computed once, when the token comes.

As long as a token stays in the window, its embedding and the first block's queries, keys and values (before anything that
depends on places in the window) stay what they are; attention and all that follows is computed anew. The result is the
same. Shape letters: n documents, W tokens of a window, m of them new, D model dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from omnitok.nn.context import Context
from omnitok.nn.norms import NormModule
from omnitok.nn.steps import AffineModule, AxisModule, DropoutModule, LinearModule, TableModule
from omnitok.presets.reference.decision_transformer import FirstRowModule

from .lastrow import LastRows, attends, by_row, exchanged
from .steps import ObservationConvModule

BY_ROW = {TableModule, LinearModule, AffineModule, DropoutModule, FirstRowModule, ObservationConvModule}
"""what looks at one row's content and at nothing else"""


class Slide:
    """Rows [n, W, ...] that slide: the first `lead` stay, the oldest behind them give way to the newest."""

    def __init__(self, lead: int) -> None:
        self.lead = lead
        self.begin(0)

    def begin(self, documents: int) -> None:
        """So many documents of which nothing is kept."""
        self.documents, self.kept = documents, dict[str, Tensor]()

    def add(self, name: str, rows: Tensor) -> Tensor:
        """[n * m, D] new rows -> all of them, [n * W, D]. The first ones are the whole window."""
        fresh = rows.view(self.documents, -1, rows.shape[-1])
        self.new = fresh.shape[1]
        if (held := self.kept.get(name)) is not None:
            lead = (held[:, : self.lead],) if self.lead else ()
            fresh = torch.cat([*lead, held[:, self.lead + self.new :], fresh], 1)
        self.kept[name] = fresh
        return fresh.flatten(0, 1)

    def newest(self, rows: Tensor) -> Tensor:
        """[n * W, D] -> the rows that came last, [n * m, D]."""
        return rows.view(self.documents, -1, rows.shape[-1])[:, -self.new :].flatten(0, 1)

    def select(self, documents: Tensor) -> None:
        """Go on with these documents."""
        self.documents, self.kept = len(documents), {n: x[documents] for n, x in self.kept.items()}


class Newest(nn.Module):
    """A norm of the rows that came last."""

    def __init__(self, slide: Slide, norm: nn.Module | None) -> None:
        super().__init__()
        self.slide, self.norm = slide, norm

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        x = self.slide.newest(x)
        return x if self.norm is None else cast(Tensor, ctx.run(self.norm)(x, ctx))


class Kept(nn.Module):
    """A linear map of the rows that came last, behind which all rows stand."""

    def __init__(self, slide: Slide, name: str, map: nn.Module) -> None:
        super().__init__()
        self.slide, self.name, self.map = slide, name, map

    def forward(self, x: Tensor) -> Tensor:
        return self.slide.add(self.name, self.map(x))


def sliding_blocks(rows: LastRows, slide: Slide) -> list[list[nn.Module]]:
    """The blocks in front of the last one, the first of them reading what `slide` keeps."""
    (first, *rest), *others = rows.blocks[:-1]
    mixer = exchanged(first.mixer, **{n: Kept(slide, n, getattr(first.mixer, n)) for n in "qkv"})
    return [[exchanged(first, pre=Newest(slide, first.pre), mixer=mixer), *rest], *others]


def slides(rows: LastRows, channels: Sequence[str]) -> bool:
    """Whether what these channels' tokens are in front of the first block, and what it makes of each, does not depend on
    where they stand in the window."""
    if rows.block is None or len(rows.blocks) < 2:
        return False
    model, stream, first = rows.model, rows.module, rows.module.config.blocks[0][0]
    own = {c: stream.embed[r] for r, c in model.roles.items() if r in stream.embed}
    pipes = [own[c] if c in own else model.channels[c] for c in channels]
    axes = [model.axes[a] for c in channels if c not in own for a in model.axis_names[c]]
    parts = [*stream.steps, *axes, *(part for pipe in pipes for part in cast(nn.ModuleList, pipe))]
    return attends(first) and by_row(first) and all(map(_looks_at_one_row, parts))


def _looks_at_one_row(module: nn.Module) -> bool:
    if isinstance(module, AxisModule):
        return module.config.axis != "position"
    if isinstance(module, NormModule):
        return module.config.kind in ("layer", "rms")
    return type(module) in BY_ROW
