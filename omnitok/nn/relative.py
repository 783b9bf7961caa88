"""Relative positions that depend on what the query holds (Transformer-XL, Dai et al. 2019, arXiv 1901.02860, section 3.3).

Shape letters: B rows of a block, Q queries, M keys, H heads, K head dim, R relative positions.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .block import Block
from .mixers import linear
from .positions import ContentBias, Position


class XL(Position, frozen=True):
    """score = (q + u) k + (q + v) r(i - j), with r a linear map of interleaved sines and cosines of the distance.

    Distances are differences of the core's own position.
    """

    shared: ClassVar[bool] = False
    dim: int
    """columns of the sinusoids: the stream's dim"""

    def axes(self) -> tuple[str, ...]:
        return ("position",)

    def build(self, heads: int, head_dim: int) -> nn.Module:
        return XLModule(self, heads, head_dim)


class XLModule(ContentBias):
    def __init__(self, config: XL, heads: int, head_dim: int) -> None:
        super().__init__()
        self.dim, self.shape = config.dim, (heads, head_dim)
        self.r = linear(config.dim, heads * head_dim, bias=False)
        self.u, self.v = (nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, head_dim))) for _ in "uv")

    def query(self, q: Tensor) -> Tensor:
        return q + self.u

    def content(self, q: Tensor, block: Block) -> Tensor:
        reach = max(block.shape[1:]) - 1  # the keys that are held end with the query's own, so no visible one is farther
        distance_BQM = block.query_axis("position")[:, :, None] - block.key_axis("position")[:, None, :]
        r_RHK = self.r(waves(reach, self.dim, q)).view(2 * reach + 1, *self.shape)
        score_BHQR = torch.einsum("bqhk,rhk->bhqr", q + self.v, r_RHK)
        place_BQM = (distance_BQM + reach).clamp(0, 2 * reach)
        return score_BHQR.gather(-1, place_BQM[:, None].expand(-1, self.shape[0], -1, -1))


def waves(reach: int, dim: int, like: Tensor) -> Tensor:
    """Sines and cosines of the distances -reach ... reach, in turn: [2 reach + 1, dim]."""
    distance = torch.arange(-reach, reach + 1, device=like.device)
    rate = 10000.0 ** (-torch.arange(0, dim, 2, device=like.device).double() / dim)
    angle = distance.double()[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2).to(like)
