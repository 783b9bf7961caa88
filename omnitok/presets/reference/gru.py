"""GRU (Cho et al. 2014, arXiv 1406.1078), as torch.nn.GRU computes and stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...weights import Size
from ._recurrent import Stacked


class GRU(Stacked, frozen=True, kw_only=True):
    """Stacked GRU layers, whose reset gate acts behind the recurrent map as in torch (the paper's acts in front of it:
    preset `bahdanau`). Defaults are the width of the paper's model."""

    name: ClassVar[str] = "gru"
    cell: ClassVar[Literal["lstm", "gru"]] = "gru"
    source: ClassVar[str] = "Cho et al. 2014 (arXiv 1406.1078); torch.nn.GRU"
    published: ClassVar[Mapping[str, Size]] = {"cho-2014": Size({}, {})}
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 1000
    depth: Annotated[int, Meta(ge=1, description="layers")] = 1
