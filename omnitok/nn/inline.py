"""Modules as plain functions: what decoding would look up anew for every token is looked up once.

A function does what its module does outside training, with the same parameters and the same operations in the same
order. A module stands for itself where no function is written for its type, in training, and where it has hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import backends
from .attention import AttentionModule
from .context import Context
from .mixers import MLPModule
from .norms import NormModule
from .residual import ResidualModule
from .steps import AffineModule, AxisModule, DropoutModule, FunctionModule, LinearModule, Pipeline

Function = Callable[..., Tensor]
"""called as its module is"""
Maker = Callable[[Any, "Functions"], Function]
MAKERS: dict[type[nn.Module], Maker] = {}
"""by exact type: what a subclass computes is its own affair"""


class Functions(dict[nn.Module, Function]):
    """The function of every module that is asked for, made when it is.

    `joined`: queries, keys and values are one map, by a copy of its weights: faster for few rows. Where weights have
    changed, `refresh` copies them anew.
    """

    def __init__(self, joined: bool = False) -> None:
        super().__init__()
        self.joined = joined
        self.copies: list[tuple[Tensor, Sequence[Tensor]]] = []

    def __missing__(self, module: nn.Module) -> Function:
        make, hooked = MAKERS.get(type(module)), bool(module._forward_hooks or module._forward_pre_hooks)
        self[module] = found = module if make is None or module.training or hooked else make(module, self)
        return found

    def joint(self, parts: Sequence[Tensor]) -> Tensor:
        """Weights below each other, as a copy."""
        self.copies.append((torch.cat([p.detach() for p in parts]), parts))
        return self.copies[-1][0]

    def refresh(self) -> None:
        """Copies are what the weights are now."""
        for copy, parts in self.copies:
            torch.cat([p.detach() for p in parts], out=copy)

    def chain(self, modules: Sequence[nn.Module | None]) -> Function:
        """One behind the other."""
        functions = [self[m] for m in modules if m is not None]

        def run(x: Tensor, ctx: Context) -> Tensor:
            for function in functions:
                x = function(x, ctx)
            return x

        return functions[0] if len(functions) == 1 else run


def function_of(kind: type[nn.Module]) -> Callable[[Maker], Maker]:
    """Declares how modules of this type become functions: by the module and the functions of those inside it."""

    def declare(make: Maker) -> Maker:
        MAKERS[kind] = make
        return make

    return declare


@function_of(nn.Linear)
def _map(module: nn.Linear, by: Functions) -> Callable[..., Tensor]:
    """A linear map inside another module, called without a context."""
    apply, weight, bias = F.linear, module.weight, module.bias
    return lambda x: apply(x, weight, bias)


@function_of(Pipeline)
def _pipeline(module: Pipeline, by: Functions) -> Function:
    return by.chain([m for m in module if not isinstance(m, DropoutModule)])


@function_of(LinearModule)
def _linear(module: LinearModule, by: Functions) -> Function:
    weight, bias = module.weight, module.bias
    return lambda x, ctx: F.linear(x.flatten(1).to(weight.dtype), weight, bias)


@function_of(AffineModule)
def _affine(module: AffineModule, by: Functions) -> Function:
    mean, std = module.mean, module.std
    if not mean.any() and bool((std == 1).all()):
        return lambda x, ctx: x.to(mean.dtype)
    return lambda x, ctx: (x.to(mean.dtype) - mean) / std


@function_of(AxisModule)
def _axis(module: AxisModule, by: Functions) -> Function:
    axis, table, add = module.config.axis, module.table, module.add
    if table is None or module.config.kind == "linear":
        return lambda x, ctx: add(x, ctx.layout.axis(axis))
    last = table.shape[0] - 1

    def run(x: Tensor, ctx: Context) -> Tensor:
        values = ctx.layout.axis(axis)  # type: ignore[union-attr]
        return x + F.embedding(values.clamp(0, last), table).masked_fill_((values < 0).unsqueeze(1), 0)

    return run


@function_of(FunctionModule)
def _function(module: FunctionModule, by: Functions) -> Function:
    function = module.function
    return lambda x, ctx: function(x)


@function_of(NormModule)
def _norm(module: NormModule, by: Functions) -> Function:
    weight, bias, eps, kind = module.weight, module.bias, module.config.eps, module.config.kind
    shape = weight.shape
    if kind == "layer":
        return lambda x, ctx: torch.layer_norm(x, shape, weight, bias, eps)
    return (lambda x, ctx: F.rms_norm(x.to(weight.dtype), shape, weight, eps)) if kind == "rms" else module


@function_of(MLPModule)
def _mlp(module: MLPModule, by: Functions) -> Function:
    act, up, down = module.act, by[module.up], by[module.down]
    if module.gate is None:
        return lambda x, ctx: down(act(up(x)))
    gate = by[module.gate]
    return lambda x, ctx: down(act(gate(x)) * up(x))


@function_of(ResidualModule)
def _residual(module: ResidualModule, by: Functions) -> Function:
    branch = by.chain([module.pre, module.mixer, module.branch])
    gain, scale, skip = module.gain, module.scale, module.skip
    post = by[module.post] if module.post is not None else None

    def run(x: Tensor, ctx: Context) -> Tensor:
        y = branch(x, ctx)
        y = y if gain is None else y * gain
        y = y if scale == 1.0 else y * scale
        y = x + y if skip else y
        return y if post is None else post(y, ctx)

    return run


@function_of(AttentionModule)
def _attention(module: AttentionModule, by: Functions) -> Function:
    """Without what acts on queries and keys, and without what a cache keeps of a memory: these are left to the module."""
    c = module.config
    if c.qk_norm or c.positions or c.memory_norm:
        return module
    memory, project, to_o = c.source == "memory", _projected(module, by), by[module.o]
    spec = module.spec([], memory)

    def run(x: Tensor, ctx: Context) -> Tensor:
        if memory and ctx.cache is not None:
            return module(x, ctx)  # type: ignore[no-any-return]
        assert ctx.layout is not None
        source, keys = ctx.memory if memory else (x, ctx.layout)  # type: ignore[misc]
        q, k, v = project(x, source)
        return to_o(backends.attend(q, k, v, ctx.layout, keys, spec, ctx, module))

    return run


def _projected(module: AttentionModule, by: Functions) -> Callable[[Tensor, Tensor], Sequence[Tensor]]:
    """Rows that ask and rows that are asked -> queries, keys and values [N, H, K]."""
    c, size, heads = module.config, module.head_dim, (module.heads, module.kv_heads, module.kv_heads)
    maps = (module.q, module.k, module.v)
    alike = c.source == "self" and not c.value_dim and len(set(heads)) == 1
    if by.joined and alike and all(type(m) is nn.Linear and by[m] is not m for m in maps):
        weight = by.joint([m.weight for m in maps])
        bias = None if module.q.bias is None else by.joint([m.bias for m in maps])
        return lambda x, source: F.linear(x, weight, bias).view(x.shape[0], 3, heads[0], size).unbind(1)
    to_q, to_k, to_v = (by[m] for m in maps)
    value_size = c.value_dim or size

    def run(x: Tensor, source: Tensor) -> Sequence[Tensor]:
        q, k, v = to_q(x), to_k(source), to_v(source)
        q, k = q.view(q.shape[0], heads[0], size), k.view(k.shape[0], heads[1], size)
        return q, k, v.view(v.shape[0], heads[2], value_size)

    return run
