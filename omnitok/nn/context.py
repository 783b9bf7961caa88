"""What a module may know of where it runs: the layout, the memory stream, the cache. Never a channel's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import unknown_name
from ..layout import Layout

if TYPE_CHECKING:
    from .cache import Cache
    from .inline import Functions

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "quick_gelu": lambda x: x * F.sigmoid(1.702 * x),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "none": lambda x: x,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """A named activation. Raises UnknownNameError."""
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


@dataclass
class Context:
    """Handed to every module of one forward pass."""

    layout: Layout | None = None
    memory: tuple[Tensor, Layout] | None = None
    """Hidden rows and layout of the stream that cross-attention reads."""
    shared: Mapping[Any, Any] = field(default_factory=dict)
    """Position modules that a whole stream shares, by (configuration, heads)."""
    tables: Mapping[str, Tensor] = field(default_factory=dict)
    """Embedding tables by name, for tied heads."""
    lengths: tuple[int, ...] = ()
    """In an embedding step: tokens of every span."""
    group: Tensor | None = None
    """In a head step: the target that each row belongs to."""
    groups: int = 0
    cache: Cache | None = None
    backend: str = "auto"
    notes: list[Any] | None = None
    """What layers tell of this pass, for the losses that a stream adds to those of the tasks; None: nobody asks."""
    functions: Functions | None = None
    """What stands for modules where passes are small and many."""
    memo: dict[Any, Any] = field(default_factory=dict)

    def run(self, module: nn.Module) -> Callable[..., Tensor]:
        """The module, or the function that stands for it."""
        return module if self.functions is None else self.functions[module]

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """`make()`, computed once per forward pass."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]
