"""Attention backends, each equal to `dense` in the tests, and the choice among them.

`dense` one masked call over the flat stream (the reference); `split` one call per run of equal documents (the CPU
default, and the only Python loop: over runs, never over tokens); `rows` a ragged grid; `edges` gather and scatter
along pairs; `varlen` and `flex` CUDA kernels. Shape letters: N queries, M keys, H heads, K head dim.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError, unknown_name
from ..layout import Layout
from .block import Block, dense_block, edge_block, grid_block, run_blocks
from .context import Context
from .positions import Bias, ContentBias


@dataclass(frozen=True, eq=False)
class Spec:
    """What a backend must honour beside the visibility rule."""

    scale: float
    biases: tuple[Bias, ...] = ()
    contents: tuple[ContentBias, ...] = ()
    window: int | None = None
    window_axis: str = "position"
    over: str | None = None
    ordered: bool = True
    dropout: float = 0.0
    """share of the weights that are dropped, in training"""
    wide: bool = False
    """values have another width than keys"""

    @property
    def plain(self) -> bool:
        """Nothing but the rule."""
        narrow = self.window is not None or self.over is not None
        return not (self.biases or self.contents or narrow or self.dropout or self.wide) and self.ordered

    @property
    def key(self) -> object:
        """What decides masks and biases: equal keys share them within one forward pass."""
        return (self.biases, self.window, self.window_axis, self.over, self.ordered)


Backend = Callable[[Tensor, Tensor, Tensor, Layout, Layout, Spec, Context], Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context, owner: Any) -> Tensor:
    """q [N, H, K], k and v [M, Hk, K] -> [N, H * K]."""
    if ctx.cache is not None:
        return _cached(q, k, v, spec, ctx, owner) if spec.ordered else _remembered(q, k, v, keys, spec, ctx)
    name = ctx.backend if ctx.backend != "auto" else choose(q, queries, keys, spec)
    if name not in BACKENDS:
        raise unknown_name("attention backend", name, BACKENDS)
    return BACKENDS[name](q, k, v, queries, keys, spec, ctx)


def choose(q: Tensor, queries: Layout, keys: Layout, spec: Spec) -> str:
    """The fastest backend that can compute this."""
    if spec.over is not None:
        return "edges"
    if queries is not keys:
        return "rows"
    half = q.is_cuda and q.dtype in (torch.bfloat16, torch.float16)
    return "varlen" if half and len(q) and spec.plain and all(r.rule != "order" for r in queries.runs) else "split"


def dense(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
    block = ctx.once(("dense", id(queries), id(keys), spec.ordered), lambda: dense_block(queries, keys, spec.ordered))
    return _sdpa(q[None], k[None], v[None], block, spec, ctx)[0]


def rows(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
    block = ctx.once(("rows", id(queries), id(keys), spec.ordered), lambda: grid_block(queries, keys, spec.ordered))
    out = _sdpa(queries.grid.rows(q), keys.grid.rows(k), keys.grid.rows(v), block, spec, ctx)
    return queries.grid.flat(out)


def split(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
    """`Tensor.split`, because its backward is one concatenation where slicing allocates the whole stream every time."""
    if queries is not keys:
        raise ConfigError("the split backend is for self-attention; cross-attention uses rows or dense")
    blocks = ctx.once(("split", id(queries)), lambda: run_blocks(queries))
    if len(blocks) == 1:
        one, two, three = (x.view(*blocks[0].shape[:2], *x.shape[1:]) for x in (q, k, v))
        return _sdpa(one, two, three, blocks[0], spec, ctx).flatten(0, 1)
    sizes = [b.shape[0] * b.shape[1] for b in blocks]
    out = []
    for block, *part in zip(blocks, q.split(sizes), k.split(sizes), v.split(sizes), strict=True):
        one, two, three = (x.unflatten(0, block.shape[:2]) for x in part)
        out.append(_sdpa(one, two, three, block, spec, ctx).flatten(0, 1))
    return torch.cat(out) if out else q.flatten(1)


def edges(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
    """Softmax over the pairs that end at each query: linear in the number of pairs."""
    if spec.over is None or queries is not keys or spec.contents:
        raise ConfigError("the edges backend is for self-attention restricted to pairs: set `over` to a pair name")
    over = spec.over
    (i, j), bias = ctx.once(("edges", id(queries), spec.key), lambda: _edge_list(queries, over, spec))
    repeat = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(repeat, 1) if repeat > 1 else x for x in (k, v))
    score = (q[i] * k[j]).sum(-1) * spec.scale
    score = score if bias is None else score + bias
    index = i[:, None].expand_as(score)
    top = score.detach().new_full((len(q), q.shape[1]), -torch.inf).scatter_reduce(0, index, score.detach(), "amax")
    weight = (score - top[i]).exp()
    total = weight.new_zeros(len(q), q.shape[1]).index_add(0, i, weight)
    weight = F.dropout(weight, spec.dropout) if spec.dropout else weight
    out = weight.new_zeros(len(q), *v.shape[1:]).index_add(0, i, weight[..., None] * v[j])  # single precision under autocast
    return (out / total.clamp(min=1e-30)[..., None]).flatten(1).to(v.dtype)


def _edge_list(layout: Layout, over: str, spec: Spec) -> tuple[Tensor, Tensor | None]:
    """Distinct visible pairs [2, E] and their bias [E, H]."""
    ends, _ = layout.pairs[over]
    cells = torch.unique(ends[0] * len(layout) + ends[1])
    i, j = cells // len(layout), cells % len(layout)
    keep = (layout.segment[i] == layout.segment[j]) & (layout.order[j] <= layout.order[i])
    if spec.window is not None:
        axis = layout.axis(spec.window_axis)
        keep &= _near(axis[i], axis[j], spec.window)
    i, j = i[keep], j[keep]
    block, bias = edge_block(layout, i, j), None
    for term in spec.biases:
        part = term.bias(block)
        bias = part if bias is None or part is None else bias + part
    bias = None if bias is None else bias[:, :, 0, 0]
    return torch.stack([i, j]), bias


def varlen(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
    """One kernel call per rule over ragged documents (CUDA, bf16 or fp16)."""
    if queries is not keys or not spec.plain or any(r.rule == "order" for r in queries.runs):
        raise ConfigError("the varlen backend is for plain causal or full self-attention; use split, rows or flex")
    repeat = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(repeat, 1) if repeat > 1 else x for x in (k, v))
    out = []
    for part, causal, offsets, longest in ctx.once(("varlen", id(queries)), lambda: _varlen_parts(queries)):
        three = (x[part].contiguous() for x in (q, k, v))
        out.append(_varlen_call()(*three, offsets, offsets, longest, longest, causal, spec.scale))
    return torch.cat(out).flatten(1)


def _varlen_parts(layout: Layout) -> list[tuple[slice, bool, Tensor, int]]:
    """Neighbouring runs of one rule are one slice of the stream; packing sorts by rule, so there are two at most."""
    parts, at = [], 0
    for causal, runs in itertools.groupby(layout.runs, lambda r: r.rule == "causal"):
        lengths = [r.length for r in runs for _ in range(r.count)]
        offsets = torch.tensor([0, *lengths]).cumsum(0).int().to(layout.segment.device)
        parts.append((slice(at, at + sum(lengths)), causal, offsets, max(lengths)))
        at += sum(lengths)
    return parts


@cache
def _varlen_call() -> Callable[..., Tensor]:
    """The kernel's signature changed between torch 2.11 (`is_causal`) and 2.12 (`window_size`); this is the shim."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters

    def call(q: Tensor, k: Tensor, v: Tensor, cq: Tensor, ck: Tensor, mq: int, mk: int, causal: bool, scale: float) -> Tensor:
        rule: dict[str, Any] = {"is_causal": causal} if "is_causal" in known else {"window_size": (-1, 0) if causal else (-1, -1)}
        if "scale" in known:
            rule["scale"] = scale
        else:  # the kernel divides by sqrt(head dim) itself
            q = q * (scale * q.shape[-1] ** 0.5)
        return varlen_attn(q, k, v, cq, ck, mq, mk, **rule)  # type: ignore[return-value]

    return call


def flex(q: Tensor, k: Tensor, v: Tensor, queries: Layout, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
    """FlexAttention: the visibility rule and a window as its `mask_mod`; compiled on CUDA. No backward on CPU."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if spec.biases or spec.contents or spec.over is not None or spec.dropout:
        raise ConfigError("the flex backend takes the rule and a window, no biases or dropout; use split, rows or edges")
    seg_q, seg_k, ord_q, ord_k = queries.segment, keys.segment, queries.order, keys.order

    def visible(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        ok = seg_q[i] == seg_k[j]
        if spec.ordered:
            ok = ok & (ord_k[j] <= ord_q[i])
        if spec.window is not None:
            ok = ok & _near(queries.axis(spec.window_axis)[i], keys.axis(spec.window_axis)[j], spec.window)
        return ok

    mask = ctx.once(
        ("flex", id(queries), id(keys), spec.key),
        lambda: create_block_mask(visible, None, None, len(queries), len(keys), device=q.device.type),
    )
    call: Callable[..., Tensor] = _compiled_flex() if q.is_cuda else flex_attention  # type: ignore[assignment]
    three = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = call(*three, block_mask=mask, scale=spec.scale, enable_gqa=q.shape[1] != k.shape[1])
    return out[0].transpose(0, 1).flatten(1)


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


BACKENDS: dict[str, Backend] = {"dense": dense, "split": split, "rows": rows, "edges": edges, "varlen": varlen, "flex": flex}


def _cached(q: Tensor, k: Tensor, v: Tensor, spec: Spec, ctx: Context, owner: Any) -> Tensor:
    assert ctx.cache is not None and ctx.layout is not None
    keys, values = ctx.cache.write(owner, k, v, spec.window if spec.window_axis == "position" else None)
    block = ctx.once("cache", ctx.cache.block)
    grid = ctx.layout.grid
    return grid.flat(_sdpa(grid.rows(q), keys, values, block, spec, ctx))


def _remembered(q: Tensor, k: Tensor, v: Tensor, keys: Layout, spec: Spec, ctx: Context) -> Tensor:
    """New queries against a memory; k and v lie as rows [S, M, H, K] already."""
    assert ctx.layout is not None
    queries = ctx.layout
    block = ctx.once(("rows", id(queries), id(keys), False), lambda: grid_block(queries, keys, False))
    width = block.shape[2]  # the longest document may have been dropped since
    return queries.grid.flat(_sdpa(queries.grid.rows(q), k[:, :width], v[:, :width], block, spec, ctx))


def _sdpa(q: Tensor, k: Tensor, v: Tensor, block: Block, spec: Spec, ctx: Context) -> Tensor:
    """[B, Q, H, K] each -> [B, Q, H * K]. A query that sees nothing gives 0."""
    mask, causal = block.once((spec.key, q.dtype), lambda: _mask(block, spec, q.dtype))
    for term in spec.contents:
        mask, causal = _added(mask, term.content(q, block) * spec.scale, block), False
        q = term.query(q)
        mask = mask.to(q.dtype)
    shared = q.shape[2] != k.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, mask, spec.dropout, causal, scale=spec.scale, enable_gqa=shared)
    return out.transpose(1, 2).flatten(2)


def _added(mask: Tensor | None, bias: Tensor, block: Block) -> Tensor:
    """A bias beside what `_mask` gave; None there stands for the block's own rule."""
    mask = mask if mask is not None or block.mask() is None else block.mask()[:, None]  # type: ignore[index]
    if mask is None:
        return bias
    return bias + mask if mask.is_floating_point() else bias.masked_fill(~mask, -torch.inf)


def _mask(block: Block, spec: Spec, dtype: torch.dtype) -> tuple[Tensor | None, bool]:
    """What is added to the scores of a block [B or 1, 1 or H, Q, K], and whether the kernel's own causal rule is enough."""
    bias = None
    for term in spec.biases:
        part = term.bias(block)
        bias = part if bias is None or part is None else bias + part
    narrow = spec.window is not None or spec.over is not None
    if bias is None and not narrow and block.causal:
        return None, True
    allowed = block.mask()
    if spec.window is not None:
        near = _near(block.query_axis(spec.window_axis)[:, :, None], block.key_axis(spec.window_axis)[:, None, :], spec.window)
        allowed = near if allowed is None else allowed & near
    if spec.over is not None:
        listed = _listed(block, spec.over)
        allowed = listed if allowed is None else allowed & listed
    if bias is None:  # the logarithms of 1 and 0: a kernel would make the same of a bool mask, but in every layer
        return (None if allowed is None else allowed[:, None].log().to(dtype)), False
    return (bias if allowed is None else bias.masked_fill(~allowed[:, None], -torch.inf)).to(dtype), False


def _near(query: Tensor, key: Tensor, window: int) -> Tensor:
    """Whether two places lie in one window; a token without the axis is not restricted by it."""
    return ((query - key).abs() < window) | (query < 0) | (key < 0)


def _listed(block: Block, over: str) -> Tensor:
    listed = torch.zeros(block.shape, dtype=torch.bool, device=block.query_axis("position").device)
    if over in block.pairs:
        listed.view(-1)[block.pairs[over][0]] = True
    return listed
