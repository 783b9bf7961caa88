"""The convolution module of Conformer (arXiv 2005.08100), over both sides or over the past alone.

Shape letters: N flat tokens, S documents, D model dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..layout import Layout
from .cache import Cache
from .context import Context, activation
from .mixers import Mixer, linear
from .norms import Norm


class Conv(Mixer, frozen=True):
    """Pointwise-GLU, depthwise, norm, activation, pointwise.

    `causal` puts all of the kernel over the token itself and those before it. What decoding then keeps of a document
    are its last `kernel - 1` inputs.
    """

    kernel: int = 31
    norm: Norm = Norm("batch")
    act: str = "silu"
    bias: bool = True
    causal: bool = False

    def ahead(self) -> bool:
        return not self.causal

    def build(self, dim: int) -> nn.Module:
        return ConvModule(self, dim)


class ConvModule(nn.Module):
    """Documents lie in one row with zeros between them: no document sees another, and nothing is padded."""

    def __init__(self, config: Conv, dim: int) -> None:
        super().__init__()
        if config.causal and config.norm.kind == "segment":
            raise ConfigError('a causal convolution cannot take its "segment" norm over later tokens: use "batch" or "layer"')
        self.kernel, self.act, self.causal = config.kernel, activation(config.act), config.causal
        self.inp, self.out = linear(dim, 2 * dim, config.bias), linear(dim, dim, config.bias)
        self.depth = nn.Conv1d(dim, dim, config.kernel, groups=dim, bias=config.bias)
        self.norm = config.norm.build(dim, dim)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        layout = ctx.layout
        assert layout is not None
        y = F.glu(self.inp(x), -1)
        gap = self.kernel - 1 if self.causal else self.kernel // 2
        rows = max(len(x) + (layout.segments + (not self.causal)) * gap, self.kernel)
        place = ctx.once(("conv", gap), lambda: torch.arange(len(x), device=x.device) + (layout.segment + 1) * gap)
        row = y.new_zeros(rows, y.shape[1]).index_copy(0, place, y)
        if ctx.cache is not None:
            row = self._continued(row, layout, ctx.cache)
        z = self._depthwise(row)[place - gap]
        return self.out(self.act(self.norm(z, ctx)))  # type: ignore[no-any-return]

    def _continued(self, row: Tensor, layout: Layout, cache: Cache) -> Tensor:
        """The gap before every document filled with what came before; what is behind its last token is kept."""
        gap = self.kernel - 1
        begin = torch.arange(layout.segments, device=row.device) * gap + layout.offsets().long()[:-1]
        before = begin[:, None] + torch.arange(gap, device=row.device)
        if self in cache.states:
            row = row.index_copy(0, before.flatten(), cache.states[self][0].flatten(0, 1))
        last = before + torch.tensor(layout.lengths, device=row.device)[:, None]
        cache.states[self] = (row[last],)
        return row

    def _depthwise(self, row: Tensor) -> Tensor:
        """[rows, D] -> [rows - kernel + 1, D]."""
        # a [1, dim, rows, 1] view in channels-last memory: the fast depthwise kernel on CPU
        grid = row.view(1, len(row), 1, -1).permute(0, 3, 1, 2)
        z = F.conv2d(grid, self.depth.weight[..., None], self.depth.bias, groups=row.shape[1])
        return z.permute(0, 2, 3, 1).flatten(0, 2)
