"""Normalisations. Statistics are taken over real tokens only: there is no padding to leak in."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .context import Context
from .steps import Step


class Norm(Step, frozen=True):
    """Layer norm, RMS norm, batch norm over tokens, or "segment": group norm with one group over one document."""

    kind: Literal["layer", "rms", "batch", "segment"] = "layer"
    eps: float = 1e-5
    bias: bool = True

    def build(self, width: int, dim: int) -> nn.Module:
        return NormModule(self, width)


class NormModule(nn.Module):
    """Normalises the last dimension of [..., width]; "batch" and "segment" take [N, width]."""

    def __init__(self, config: Norm, width: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if config.bias and config.kind != "rms" else None
        if config.kind == "batch":
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("var", torch.ones(width))

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        eps = self.config.eps
        match self.config.kind:
            case "layer":
                return F.layer_norm(x, self.weight.shape, self.weight, self.bias, eps)
            case "rms":
                # single precision under autocast, as autocast itself does for layer norms
                return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, eps)
            case "batch":
                training = self.training and len(x) > 1  # one token has no variance
                return F.batch_norm(x, self.mean, self.var, self.weight, self.bias, training, eps=eps)  # type: ignore[arg-type]
        return self._segment(x, ctx)

    def _segment(self, x: Tensor, ctx: Context) -> Tensor:
        assert ctx.layout is not None
        segment, count = ctx.layout.segment, ctx.layout.segments
        size = torch.tensor(ctx.layout.lengths, device=x.device).clamp(min=1).to(x)[:, None]

        def mean(y: Tensor) -> Tensor:
            total = x.new_zeros(count, 1).index_add(0, segment, y.mean(-1, keepdim=True))
            return (total / size)[segment]

        y = x - mean(x)
        y = y * torch.rsqrt(mean(y * y) + self.config.eps) * self.weight
        return y if self.bias is None else y + self.bias
