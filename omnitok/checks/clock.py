"""Seconds and bytes that a call takes."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def seconds(call: Callable[[], Any], times: int = 2) -> float:
    """Seconds of computing: the least of a few runs, so that a busy machine does not count."""
    best = float("inf")
    for _ in range(times):
        begin = time.process_time()
        call()
        best = min(best, time.process_time() - begin)
    return best


class Largest(TorchDispatchMode):
    """Notes the size in bytes of the largest tensor that is made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return out


def peak_bytes(call: Callable[[], Any]) -> int:
    """Most bytes that Python and numpy hold during a call, and those of the largest tensor that torch makes in it."""
    with Largest():
        torch.zeros(1).add(1)  # what torch imports on the first use of a mode must not be counted
    already = tracemalloc.is_tracing()
    if not already:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with Largest() as largest:
            call()
        return tracemalloc.get_traced_memory()[1] - before + largest.bytes
    finally:
        if not already:
            tracemalloc.stop()
