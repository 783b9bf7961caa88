"""Modules as plain functions: what decoding would look up anew for every token is looked up once.

A function does what its module does outside training, with the same parameters and the same operations in the same
order. A module stands for itself where no function is written for its type, in training, and where it has hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from . import backends
from .attention import AttentionModule
from .context import Context
from .mixers import MLPModule
from .norms import NormModule
from .residual import ResidualModule
from .steps import AffineModule, DropoutModule, FunctionModule, LinearModule, Pipeline

Function = Callable[[Tensor, Context], Tensor]
Maker = Callable[[Any], Function]
MAKERS: dict[type[nn.Module], Maker] = {}
"""by exact type: what a subclass computes is its own affair"""


class Functions(dict[nn.Module, Function]):
    """The function of every module that is asked for, made when it is."""

    def __missing__(self, module: nn.Module) -> Function:
        self[module] = found = inlined(module)
        return found


def inlined(module: nn.Module) -> Function:
    """What the module computes of rows and their context."""
    make = MAKERS.get(type(module))
    return make(module) if make is not None and _quiet(module) else cast(Function, module)


def _quiet(module: nn.Module) -> bool:
    return not (module.training or module._forward_hooks or module._forward_pre_hooks)


def function_of(kind: type[nn.Module]) -> Callable[[Maker], Maker]:
    """Declares how modules of this type become functions."""

    def declare(make: Maker) -> Maker:
        MAKERS[kind] = make
        return make

    return declare


def chained(modules: Sequence[nn.Module | None]) -> Function:
    """One behind the other."""
    functions = [inlined(m) for m in modules if m is not None]

    def run(x: Tensor, ctx: Context) -> Tensor:
        for function in functions:
            x = function(x, ctx)
        return x

    return functions[0] if len(functions) == 1 else run


def linear_map(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    """A linear map inside a module."""
    if type(module) is not nn.Linear or not _quiet(module):
        return module
    apply, weight, bias = F.linear, module.weight, module.bias
    return lambda x: apply(x, weight, bias)


@function_of(Pipeline)
def _pipeline(module: Pipeline) -> Function:
    return chained([m for m in module if not isinstance(m, DropoutModule)])


@function_of(LinearModule)
def _linear(module: LinearModule) -> Function:
    weight, bias = module.weight, module.bias
    return lambda x, ctx: F.linear(x.flatten(1).to(weight.dtype), weight, bias)


@function_of(AffineModule)
def _affine(module: AffineModule) -> Function:
    mean, std = module.mean, module.std
    return lambda x, ctx: (x.to(mean.dtype) - mean) / std


@function_of(FunctionModule)
def _function(module: FunctionModule) -> Function:
    function = module.function
    return lambda x, ctx: function(x)


@function_of(NormModule)
def _norm(module: NormModule) -> Function:
    weight, bias, eps, kind = module.weight, module.bias, module.config.eps, module.config.kind
    shape = weight.shape
    if kind == "layer":
        return lambda x, ctx: F.layer_norm(x, shape, weight, bias, eps)
    return (lambda x, ctx: F.rms_norm(x.to(weight.dtype), shape, weight, eps)) if kind == "rms" else module


@function_of(MLPModule)
def _mlp(module: MLPModule) -> Function:
    act, up, down = module.act, linear_map(module.up), linear_map(module.down)
    if module.gate is None:
        return lambda x, ctx: down(act(up(x)))
    gate = linear_map(module.gate)
    return lambda x, ctx: down(act(gate(x)) * up(x))


@function_of(ResidualModule)
def _residual(module: ResidualModule) -> Function:
    branch = chained([module.pre, module.mixer, module.branch])
    gain, scale, skip = module.gain, module.scale, module.skip
    post = inlined(module.post) if module.post is not None else None

    def run(x: Tensor, ctx: Context) -> Tensor:
        y = branch(x, ctx)
        y = y if gain is None else y * gain
        y = y if scale == 1.0 else y * scale
        y = x + y if skip else y
        return y if post is None else post(y, ctx)

    return run


@function_of(AttentionModule)
def _attention(module: AttentionModule) -> Function:
    """Without what acts on queries and keys, and without what a cache keeps of a memory: these are left to the module."""
    c = module.config
    if c.qk_norm or c.positions or c.memory_norm:
        return module
    to_q, to_k, to_v, to_o = (linear_map(m) for m in (module.q, module.k, module.v, module.o))
    memory, heads, kv_heads = c.source == "memory", module.heads, module.kv_heads
    spec, size, value_size = module.spec([], memory), module.head_dim, c.value_dim or module.head_dim

    def run(x: Tensor, ctx: Context) -> Tensor:
        if memory and ctx.cache is not None:
            return module(x, ctx)  # type: ignore[no-any-return]
        assert ctx.layout is not None
        source, keys = ctx.memory if memory else (x, ctx.layout)  # type: ignore[misc]
        q, k, v = to_q(x), to_k(source), to_v(source)
        q, k = q.view(q.shape[0], heads, size), k.view(k.shape[0], kv_heads, size)
        v = v.view(v.shape[0], kv_heads, value_size)
        return to_o(backends.attend(q, k, v, ctx.layout, keys, spec, ctx, module))

    return run
