"""Relative position buckets: a learned bias per head and bucket of distances (T5, arXiv 1910.10683, section 2.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from .block import Block
from .positions import Bias, Position


class Buckets(Position, frozen=True):
    """Near keys have a bucket per distance, farther ones share buckets that grow logarithmically, and all keys from
    `max_distance` on share the last. `bidirectional` gives keys behind the query buckets of their own; without it they
    count as distance 0. A token without the axis is given no bias."""

    count: int = 32
    max_distance: int = 128
    bidirectional: bool = True
    axis: str = "position"

    def axes(self) -> tuple[str, ...]:
        return (self.axis,)

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return BucketsModule(self, heads)


class BucketsModule(Bias):
    """One table [count, heads] for a whole stream."""

    near: Tensor
    """[max_distance + 1] the bucket of each distance on one side"""

    def __init__(self, config: Buckets, heads: int) -> None:
        super().__init__()
        self.config = config
        self.side = config.count // 2 if config.bidirectional else config.count
        if self.side < 2 or config.max_distance <= self.side // 2:
            raise ConfigError(
                f"{self.side} buckets on a side for distances up to {config.max_distance}: "
                "have 2 at least, and a distance of more than half as many"
            )
        self.weight = nn.Parameter(torch.randn(config.count, heads) * 0.1)
        self.register_buffer("near", side_buckets(self.side, config.max_distance), persistent=False)

    def bias(self, block: Block) -> Tensor:
        """[B, H, Q, K]"""
        queries, keys = block.query_axis(self.config.axis), block.key_axis(self.config.axis)
        bias = F.embedding(self.bucket(keys[:, None, :] - queries[:, :, None]), self.weight)
        if self.config.axis != "position":
            bias = bias * ((keys[:, None, :] >= 0) & (queries[:, :, None] >= 0))[..., None]
        return bias.permute(0, 3, 1, 2)

    def bucket(self, ahead: Tensor) -> Tensor:
        """How far keys lie ahead of their queries -> rows of the table."""
        if not self.config.bidirectional:
            return self.near[(-ahead).clamp(min=0, max=self.config.max_distance)]
        return self.near[ahead.abs().clamp(max=self.config.max_distance)] + (ahead > 0) * self.side


def side_buckets(count: int, max_distance: int) -> Tensor:
    """Buckets of the distances 0..max_distance, in single precision as the reference counts them: where a border falls
    depends on the rounding of its logarithm."""
    exact = count // 2
    distance = torch.arange(max_distance + 1)
    grown = torch.log(distance.float() / exact) / math.log(max_distance / exact) * (count - exact)
    far = exact + grown.clamp(min=0).long()
    return torch.where(distance < exact, distance, far.clamp(max=count - 1))
