"""Linear attention against softmax attention: one document forward and backward, and one more token of a session.

Each is a layer with its maps (`Attention` by its chosen backend, `LinearAttention` in pieces of 64), so that what is
compared is what a model would pay. Linear attention is worth it from the length on where its ratio passes 1.
"""

from collections.abc import Callable
from typing import Any

import torch

from omnitok.layout import Layout
from omnitok.nn.attention import Attention
from omnitok.nn.cache import Cache
from omnitok.nn.context import Context
from omnitok.nn.linear_attention import LinearAttention
from omnitok.nn.mixers import Mixer
from tests.bench.mix import packed
from tests.bench.timing import options, report

DIM, HEADS = 256, 8
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
KINDS: dict[str, Mixer] = {
    "softmax": Attention(HEADS),
    "softmax, window of 256": Attention(HEADS, window=256),
    "linear": LinearAttention(HEADS),
}


def trained(mixer: Mixer, layout: Layout) -> Callable[[], Any]:
    """Forward and backward over one document."""
    module, x = mixer.build(DIM), torch.randn(len(layout), DIM, requires_grad=True)

    def run() -> None:
        torch.autograd.grad(module(x, Context(layout)).square().sum(), (x, *module.parameters()))

    return run


def stepped(mixer: Mixer, layout: Layout) -> Callable[[], Any]:
    """32 tokens, one by one through 4 layers, behind a document that is held already."""
    modules, one, cache = [mixer.build(DIM) for _ in range(4)], packed([1], "causal").layout, Cache(1)

    @torch.no_grad()
    def feed(layout: Layout) -> None:
        x, ctx = torch.randn(len(layout), DIM), Context(cache.extend(layout), cache=cache)
        for module in modules:
            x = module(x, ctx)

    def run() -> None:
        for _ in range(32):
            feed(one)

    feed(layout)
    return run


if __name__ == "__main__":
    asked = options(__doc__)
    torch.manual_seed(0)
    sections = {}
    for rule in ("causal", "full"):
        for n in LENGTHS:
            layout = packed([n], rule).layout
            contenders = {name: trained(mixer, layout) for name, mixer in KINDS.items() if "window" not in name}
            sections[f"{n} tokens, {rule}, forward and backward"] = (contenders, {"tokens": n})
    for n in LENGTHS:
        layout = packed([n], "causal").layout
        contenders = {name: stepped(mixer, layout) for name, mixer in KINDS.items()}
        sections[f"32 more tokens behind {n}, 4 layers"] = (contenders, {"tokens": n})
    report("linear_attention", sections, asked)
