"""Attention: one formula, softmax(score + bias) over what is visible, computed by interchangeable backends.

Shape letters: N flat tokens, H heads, K head dim, D model dim.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ..errors import ConfigError
from ..layout import Layout
from . import backends
from .backends import Spec
from .context import Context
from .mixers import Mixer, linear
from .norms import Norm
from .positions import Bias, ContentBias, Position, RopeModule


class Attention(Mixer, frozen=True):
    """Scaled dot-product attention over self or memory."""

    heads: int
    kv_heads: int | None = None
    head_dim: int | None = None
    value_dim: int | None = None
    """columns of a head's values; None: head_dim"""
    source: Literal["self", "memory"] = "self"
    memory_dim: int | None = None
    """None: the stream's own"""
    memory_norm: Norm | None = None
    scale: float | None = None
    """None: head_dim ** -0.5"""
    bias: bool = True
    out_bias: bool | None = None
    """None: as `bias`"""
    qk_norm: Norm | None = None
    positions: tuple[Position, ...] = ()
    window: int | None = None
    """keys nearer than this along `window_axis`"""
    window_axis: str = "position"
    over: str | None = None
    """only keys that a pair of this name connects"""
    dropout: float = 0.0
    """share of the attention weights that are dropped in training"""

    def axes(self) -> tuple[str, ...]:
        windows = (self.window_axis,) if self.window is not None else ()
        return (*windows, *(a for p in self.positions for a in p.axes()))

    def pairs(self) -> tuple[str, ...]:
        return (*((self.over,) if self.over else ()), *(n for p in self.positions for n in p.pairs()))

    def build(self, dim: int) -> nn.Module:
        return AttentionModule(self, dim)


class AttentionModule(nn.Module):
    def __init__(self, config: Attention, dim: int) -> None:
        super().__init__()
        self.config = config
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        if config.head_dim is None and dim % self.heads:
            raise ConfigError(f"a stream of dim {dim} does not split into {self.heads} heads: change one, or set head_dim")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} heads cannot share {self.kv_heads} key-value heads: use a divisor")
        self.head_dim = config.head_dim or dim // config.heads
        value_dim = config.value_dim or self.head_dim
        source = config.memory_dim or dim
        self.q = linear(dim, self.heads * self.head_dim, config.bias)
        self.k = linear(source, self.kv_heads * self.head_dim, config.bias)
        self.v = linear(source, self.kv_heads * value_dim, config.bias)
        self.o = linear(self.heads * value_dim, dim, config.bias if config.out_bias is None else config.out_bias)
        self.memory_norm = config.memory_norm.build(source, dim) if config.memory_norm else None
        if config.qk_norm:
            self.q_norm = config.qk_norm.build(self.head_dim, dim)
            self.k_norm = config.qk_norm.build(self.head_dim, dim)
        self.own = nn.ModuleList(p.build(self.heads, self.head_dim) for p in config.positions if not p.shared)

    def positions(self, ctx: Context) -> list[nn.Module]:
        own = iter(self.own)
        return [ctx.shared[p, self.heads, self.head_dim] if p.shared else next(own) for p in self.config.positions]

    def forward(self, x_ND: Tensor, ctx: Context) -> Tensor:
        assert ctx.layout is not None
        memory = self.config.source == "memory"
        assert ctx.memory is not None or not memory
        source, keys = ctx.memory if memory else (x_ND, ctx.layout)  # type: ignore[misc]
        terms = self.positions(ctx)
        q_NHK = self._heads(self.q(x_ND), self.heads)
        q_NHK = self.q_norm(q_NHK, ctx) if self.config.qk_norm else q_NHK
        q_NHK = self._rotated(q_NHK, terms, ctx.layout, ctx)
        if memory and ctx.cache is not None:  # a memory's keys and values never change
            k, v = ctx.cache.fixed(self, lambda: tuple(keys.grid.rows(x) for x in self._keys(source, terms, keys, ctx)))
        else:
            k, v = self._keys(source, terms, keys, ctx)
        out = backends.attend(q_NHK, k, v, ctx.layout, keys, self.spec(terms, memory), ctx, self)
        return self.o(out)  # type: ignore[no-any-return]

    def _keys(self, source: Tensor, terms: list[nn.Module], layout: Layout, ctx: Context) -> tuple[Tensor, Tensor]:
        """Keys and values [M, H, K] of what is attended to."""
        source = self.memory_norm(source, ctx) if self.memory_norm else source
        k = self._heads(self.k(source), self.kv_heads)
        k = self.k_norm(k, ctx) if self.config.qk_norm else k
        return self._rotated(k, terms, layout, ctx), self._heads(self.v(source), self.kv_heads)

    def _rotated(self, x: Tensor, terms: list[nn.Module], layout: Layout, ctx: Context) -> Tensor:
        for term in terms:
            if isinstance(term, RopeModule):
                x = term.rotate(x, self._rope(term, layout, ctx))
        return x

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        return x.view(len(x), heads, x.shape[1] // heads)

    def _rope(self, term: RopeModule, layout: Layout, ctx: Context) -> list[tuple[Tensor, Tensor]]:
        return ctx.once(("rope", term, id(layout)), lambda: term.tables(layout))  # type: ignore[no-any-return]

    def spec(self, terms: list[nn.Module], memory: bool) -> Spec:
        c = self.config
        scale = self.head_dim**-0.5 if c.scale is None else c.scale
        biases = tuple(t for t in terms if isinstance(t, Bias))
        contents = tuple(t for t in terms if isinstance(t, ContentBias))
        dropout = c.dropout if self.training else 0.0
        wide = c.value_dim is not None and c.value_dim != self.head_dim
        return Spec(scale, biases, contents, c.window, c.window_axis, c.over, not memory, dropout, wide)
