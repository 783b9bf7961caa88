"""Positions that act inside attention: rotations of queries and keys, and biases on scores."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..config import Config
from ..errors import ConfigError
from ..layout import Layout
from .block import Block


class Position(Config, frozen=True):
    """Base; `shared` positions of equal configuration are one module for a whole stream."""

    shared: ClassVar[bool] = True

    def axes(self) -> tuple[str, ...]:
        """The named axes it reads."""
        return ()

    def pairs(self) -> tuple[str, ...]:
        """The names of the pairs it reads."""
        return ()

    def build(self, heads: int, head_dim: int) -> nn.Module:
        """A module that rotates (`RopeModule`), adds to scores (`Bias`), or adds what depends on the query (`ContentBias`)."""
        raise NotImplementedError


class Bias(nn.Module):
    """Adds to the scores what structure alone decides; computed once per forward pass for all layers that share it."""

    def bias(self, block: Block) -> Tensor | None:
        """[B, H, Q, K], or None for nothing."""
        raise NotImplementedError


class ContentBias(nn.Module):
    """Adds to the scores what depends on the queries too."""

    def query(self, q: Tensor) -> Tensor:
        """[N, H, K] queries as the dot product with the keys shall see them."""
        return q

    def content(self, q: Tensor, block: Block) -> Tensor:
        """[B, H, Q, K], to be multiplied by the scale of the scores; q [B, Q, H, K] as they were before `query`."""
        raise NotImplementedError


class Rope(Position, frozen=True):
    """Rotary embedding (RoFormer, arXiv 2104.09864) over any named axes: (axis, head dims it rotates), 0 = the rest."""

    over: tuple[tuple[str, int], ...] = (("position", 0),)
    theta: float = 10000.0
    interleaved: bool = False

    def axes(self) -> tuple[str, ...]:
        return tuple(a for a, _ in self.over)

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return RopeModule(self, head_dim)


class RopeModule(nn.Module):
    """Rotates [N, H, head_dim]; a token without the axis is not rotated."""

    def __init__(self, config: Rope, head_dim: int) -> None:
        super().__init__()
        given = sum(d for _, d in config.over)
        self.dims = [d or head_dim - given for _, d in config.over]
        if any(d <= 0 or d % 2 for d in self.dims) or sum(self.dims) > head_dim:
            raise ConfigError(f"Rope rotates pairs of head dimensions: {self.dims} must be even, positive and at most {head_dim}")
        self.config = config

    def tables(self, layout: Layout) -> list[tuple[Tensor, Tensor]]:
        """cos and sin [N, 1, d / 2] per axis; depend on the layout only."""
        out = []
        for (axis, _), d in zip(self.config.over, self.dims, strict=True):
            values = layout.axis(axis).clamp(min=0).float()
            angle = values[:, None, None] * self.rate(d, values.device)
            out.append((angle.cos(), angle.sin()))
        return out

    def rate(self, dims: int, device: torch.device) -> Tensor:
        """Radians per place, [dims / 2]."""
        return 1.0 / self.config.theta ** (torch.arange(0, dims, 2, device=device).float() / dims)

    def rotate(self, x: Tensor, tables: list[tuple[Tensor, Tensor]]) -> Tensor:
        out, at = [], 0
        for d, (cos, sin) in zip(self.dims, tables, strict=True):
            y = x[..., at : at + d]
            if self.config.interleaved:
                p, q = y[..., 0::2], y[..., 1::2]
                out.append(torch.stack([p * cos - q * sin, q * cos + p * sin], -1).flatten(-2))
            else:
                p, q = y.chunk(2, -1)
                out.append(torch.cat([p * cos - q * sin, q * cos + p * sin], -1))
            at += d
        if at < x.shape[-1]:
            out.append(x[..., at:])
        return torch.cat(out, -1).to(x.dtype)


class PairTable(Position, frozen=True):
    """A learned bias per head and pair label (the spatial bias of Graphormer, arXiv 2106.05234); no pair, no bias."""

    name: str
    count: int

    def pairs(self) -> tuple[str, ...]:
        return (self.name,)

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return PairTableModule(self, heads)


class PairTableModule(Bias):
    def __init__(self, config: PairTable, heads: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.randn(config.count, heads))  # from zero, few steps move it too little

    def bias(self, block: Block) -> Tensor | None:
        """[B, H, Q, K], or None where no pair lies in the block. Parallel pairs add."""
        if self.config.name not in block.pairs:
            return None
        cells, labels = block.pairs[self.config.name]
        rows, queries, keys = block.shape
        flat = self.weight.new_zeros(rows * queries * keys, self.weight.shape[1])
        flat = flat.index_add(0, cells, self.weight[labels])
        return flat.view(rows, queries, keys, -1).permute(0, 3, 1, 2)
