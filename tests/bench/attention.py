"""Attention over packed documents alone: one call per run of equal documents (`split`) against one dense mask.

Both backends give the same rows before anything is timed. Target: 7x forward and backward together.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from omnitok.nn.attention import Spec
from omnitok.nn.backends import dense, split
from omnitok.nn.context import Context
from tests.bench.mix import mix, packed
from tests.bench.timing import options, report

HEADS, HEAD_DIM, BUDGET = 6, 64, 2048


def section(rule: str, backward: bool) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """Contenders and facts for one rule."""
    lengths = mix(40, seed=1)
    while sum(lengths) > BUDGET:
        lengths.pop()
    torch.manual_seed(0)
    layout, spec = packed(lengths, rule).layout, Spec(HEAD_DIM**-0.5)
    q, k, v = (torch.randn(len(layout), HEADS, HEAD_DIM, requires_grad=True) for _ in range(3))
    ctx = Context(layout)  # masks are made once per batch, as in a model of many layers

    def run(backend: Callable[..., Tensor]) -> Callable[[], Any]:
        def forward() -> Tensor:
            return backend(q, k, v, layout, layout, spec, ctx)

        def both() -> None:
            torch.autograd.grad(forward().sum(), (q, k, v))

        return both if backward else torch.no_grad()(forward)

    worst = (dense(q, k, v, layout, layout, spec, ctx) - split(q, k, v, layout, layout, spec, ctx)).abs().max().item()
    assert worst < 1e-5, f"the backends differ by {worst}"
    facts = {"documents": len(lengths), "tokens": len(layout), "calls": len(layout.runs), "largest_difference": worst}
    return {"dense": run(dense), "split": run(split)}, facts


if __name__ == "__main__":
    asked = options(__doc__)
    sections = {
        f"{rule} attention, {'forward and backward' if backward else 'forward'}": section(rule, backward)
        for rule in ("full", "causal")
        for backward in (False, True)
    }
    report("attention", sections, asked)
