"""LSTM (Hochreiter and Schmidhuber 1997), as torch.nn.LSTM computes and stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from ...weights import Size
from ._recurrent import Stacked


class LSTM(Stacked, frozen=True, kw_only=True):
    """Stacked LSTM layers. Defaults are the medium language model of Zaremba et al. 2014 (arXiv 1409.2329)."""

    name: ClassVar[str] = "lstm"
    cell: ClassVar[Literal["lstm", "gru"]] = "lstm"
    source: ClassVar[str] = "Hochreiter and Schmidhuber 1997; torch.nn.LSTM"
    published: ClassVar[Mapping[str, Size]] = {
        "zaremba-medium": Size({}, {}),
        "zaremba-large": Size({"dim": 1500, "dropout": 0.65}, {}),
    }
    dim: Annotated[int, Meta(ge=1, description="width of the stream")] = 650
    depth: Annotated[int, Meta(ge=1, description="layers")] = 2
    dropout: Annotated[float, Meta(ge=0, lt=1, description="between layers, in training")] = 0.5
