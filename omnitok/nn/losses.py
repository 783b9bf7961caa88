"""What a stream may add to the losses of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..config import Config
from ..layout import Layout


class ExtraLoss(Config, frozen=True):
    """Something to minimise that no task asks for, such as an uneven use of experts."""

    weight: float = 1.0

    def value(self, notes: Sequence[Any], layout: Layout) -> Tensor:
        """A number, from what the layers of one stream noted in this forward pass, in their order."""
        raise NotImplementedError
