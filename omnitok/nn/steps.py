"""Steps: the small ordered elements of embedding and head pipelines. A step never changes the number of rows,
except `Pool` and `Join`, which answer once per group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Config
from ..errors import ConfigError
from .context import Context, activation

INIT_STD = 0.02


class Step(Config, frozen=True):
    """One element of a pipeline; a plugin's own step is a subclass with its own `build`.

    The module that `build` returns is called as `module(x, ctx)` with x [n, ...] and gives [n, out(width, dim)]. It may
    look at other tokens of the same span (`ctx.lengths`), but in an embedding never at later ones: a channel that is
    predicted token by token would see its answers.
    """

    def out(self, width: int, dim: int) -> int:
        """Width behind this step, for `width` in front of it (0 in front of ids)."""
        return width

    def build(self, width: int, dim: int) -> nn.Module:
        """The module, for rows of `width` in a stream of `dim`."""
        raise NotImplementedError(f"{type(self).__name__} is built by the model, not by itself")


class Pipeline(nn.ModuleList):
    """Steps in order."""

    def __init__(self, steps: Sequence[Step], width: int, dim: int) -> None:
        modules = []
        for step in steps:
            modules.append(step.build(width, dim))
            width = step.out(width, dim)
        super().__init__(modules)
        self.width = width

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        for module in self:
            x = module(x, ctx)
        return x


class Table(Step, frozen=True):
    """Ids -> rows of a learned table times `scale`; -1 gives zeros; columns [n, c] are summed."""

    vocab: int
    scale: float = 1.0

    def out(self, width: int, dim: int) -> int:
        return dim

    def build(self, width: int, dim: int) -> nn.Module:
        return TableModule(self, dim)


class TableModule(nn.Module):
    def __init__(self, config: Table, dim: int) -> None:
        super().__init__()
        self.scale = config.scale
        self.weight = nn.Parameter(torch.randn(config.vocab, dim) * INIT_STD)

    def forward(self, ids: Tensor, ctx: Context) -> Tensor:
        return look_up(ids, self.weight, self.scale)


class Lookup(Step, frozen=True):
    """Ids -> rows of a table that belongs to an earlier stream or another role, by its name, times `scale`."""

    table: str
    scale: float = 1.0

    def out(self, width: int, dim: int) -> int:
        return dim

    def build(self, width: int, dim: int) -> nn.Module:
        return LookupModule(self)


class LookupModule(nn.Module):
    def __init__(self, config: Lookup) -> None:
        super().__init__()
        self.table, self.scale = config.table, config.scale

    def forward(self, ids: Tensor, ctx: Context) -> Tensor:
        return look_up(ids, ctx.tables[self.table], self.scale)


def look_up(ids: Tensor, table: Tensor, scale: float) -> Tensor:
    """[n] or [n, c] ids -> [n, dim]: -1 gives zeros, columns are summed."""
    x = F.embedding(ids.clamp(min=0), table) * (ids >= 0).unsqueeze(-1)
    x = x * scale if scale != 1.0 else x
    return x.sum(-2) if ids.dim() == 2 else x


class Learned(Step, frozen=True):
    """One learned vector for every token, whatever its id: a class token."""

    def out(self, width: int, dim: int) -> int:
        return dim

    def build(self, width: int, dim: int) -> nn.Module:
        return LearnedModule(dim)


class LearnedModule(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(dim) * INIT_STD)

    def forward(self, ids: Tensor, ctx: Context) -> Tensor:
        """[n] ids -> [n, dim]."""
        return self.vector.expand(len(ids), -1)


class Linear(Step, frozen=True):
    """A linear map to `size` columns (None: the stream's dim); features [n, *width] are flattened first."""

    size: int | None = None
    bias: bool = True

    def out(self, width: int, dim: int) -> int:
        return self.size or dim

    def build(self, width: int, dim: int) -> nn.Module:
        return LinearModule(width, self.out(width, dim), self.bias)


class LinearModule(nn.Linear):
    def __init__(self, width: int, out: int, bias: bool) -> None:
        super().__init__(width, out, bias)
        nn.init.trunc_normal_(self.weight, std=min(INIT_STD * 2, 1 / math.sqrt(width)))
        if bias:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        return super().forward(x.flatten(1).to(self.weight.dtype))


class Affine(Step, frozen=True):
    """(x - mean) / std, with one number or one per last dimension; nothing is learned."""

    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0

    def build(self, width: int, dim: int) -> nn.Module:
        return AffineModule(self)


class AffineModule(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, config: Affine) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.std), persistent=False)

    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        return (x.to(self.mean.dtype) - self.mean) / self.std


class Axis(Step, frozen=True):
    """Adds table[axis], sinusoid(axis) or linear(axis) to the stream; a token without the axis gets nothing.

    `size` is the rows of the table, or the columns of a linear axis. "position" is the core's own axis.
    """

    axis: str
    size: int
    kind: Literal["learned", "sinusoid", "linear"] = "learned"
    std: float = 0.3
    """spread of the start values; embeddings of free channels leave their norm with spread 1."""

    def build(self, width: int, dim: int) -> nn.Module:
        return AxisModule(self, dim)


class AxisModule(nn.Module):
    def __init__(self, config: Axis, dim: int) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Parameter(torch.randn(config.size, dim) * config.std) if config.kind != "sinusoid" else None

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        assert ctx.layout is not None
        return self.add(x, ctx.layout.axis(self.config.axis))

    def add(self, x: Tensor, values: Tensor) -> Tensor:
        """x [n, dim] and the axis of the same rows -> their sum."""
        if self.table is None:
            return x + sinusoid(values, x.shape[-1]).to(x)
        if self.config.kind == "linear":
            return x + values.to(x) @ self.table
        rows = values.clamp(min=0, max=len(self.table) - 1)
        return x + F.embedding(rows, self.table) * (values >= 0)[:, None]


class Act(Step, frozen=True):
    """A named activation."""

    name: str

    def build(self, width: int, dim: int) -> nn.Module:
        return FunctionModule(activation(self.name))


class Scale(Step, frozen=True):
    """Multiplies by a constant."""

    by: float

    def build(self, width: int, dim: int) -> nn.Module:
        by = self.by
        return FunctionModule(lambda x: x * by)


class Unit(Step, frozen=True):
    """Scales every row to length 1."""

    def build(self, width: int, dim: int) -> nn.Module:
        return FunctionModule(lambda x: F.normalize(x, dim=-1))


class Dropout(Step, frozen=True):
    """Zeroes this share of all numbers in training, and scales up the rest."""

    rate: float

    def build(self, width: int, dim: int) -> nn.Module:
        return DropoutModule(self.rate)


class DropoutModule(nn.Dropout):
    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        return super().forward(x) if self.training else x


class Temperature(Step, frozen=True):
    """Multiplies by exp of one learned number, as contrastive models do with their logits."""

    log: float = math.log(1 / 0.07)
    """start value"""

    def build(self, width: int, dim: int) -> nn.Module:
        return TemperatureModule(self.log)


class TemperatureModule(nn.Module):
    def __init__(self, log: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(log))

    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        return x * self.log.exp()


class FunctionModule(nn.Module):
    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, ctx: Context | None = None) -> Tensor:
        return self.function(x)  # type: ignore[no-any-return]


class Pool(Step, frozen=True):
    """One row per group: the mean, the first or the last of its rows, zeros for none: [R, width] -> [G, width]."""

    read: Literal["mean", "first", "last"] = "mean"

    def build(self, width: int, dim: int) -> nn.Module:
        return PoolModule(self.read)


class PoolModule(nn.Module):
    def __init__(self, read: Literal["mean", "first", "last"] = "mean") -> None:
        super().__init__()
        self.read = read

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        if ctx.group is None:
            return x
        if self.read == "mean":
            count = torch.bincount(ctx.group, minlength=ctx.groups).clamp(min=1).to(x)
            return x.new_zeros(ctx.groups, x.shape[1]).index_add(0, ctx.group, x) / count[:, None]
        padded = torch.cat([x, x.new_zeros(1, x.shape[1])])  # what a group without rows reads
        first = self.read == "first"
        row = torch.full((ctx.groups,), len(x) if first else -1, device=x.device)
        number = torch.arange(len(x), device=x.device)
        return padded[row.scatter_reduce(0, ctx.group, number, "amin" if first else "amax")]


class Join(Step, frozen=True):
    """The `size` rows of each group side by side: [G * size, width] -> [G, size * width]."""

    size: int = 2

    def out(self, width: int, dim: int) -> int:
        return self.size * width

    def build(self, width: int, dim: int) -> nn.Module:
        return JoinModule(self.size)


class JoinModule(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        if ctx.group is None:
            raise ConfigError(f"a head that joins {self.size} rows is asked of rows one by one: group them")
        return x[ctx.group.argsort(stable=True)].view(ctx.groups, self.size * x.shape[1])


class Tied(Step, frozen=True):
    """Logits from an embedding table, by the name of its channel or role; `bias` adds one learned number per row."""

    table: str
    vocab: int
    bias: bool = False

    def out(self, width: int, dim: int) -> int:
        return self.vocab

    def build(self, width: int, dim: int) -> nn.Module:
        return TiedModule(self)


class TiedModule(nn.Module):
    def __init__(self, config: Tied) -> None:
        super().__init__()
        self.table = config.table
        self.bias = nn.Parameter(torch.zeros(config.vocab)) if config.bias else None

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return F.linear(x, ctx.tables[self.table], self.bias)


class Logits(Step, frozen=True):
    """What an objective asks for: logits over the ids of a channel. `build` makes it `Tied` where the preset ties
    and the channel's embedding is one table, and `Linear` elsewhere."""

    channel: str
    vocab: int


def sinusoid(values: Tensor, dim: int, interleaved: bool = False) -> Tensor:
    """[N] -> [N, dim] sines and cosines (Attention Is All You Need, section 3.5), halves or interleaved."""
    rate = 10000.0 ** (-torch.arange(0, dim, 2, device=values.device).double() / dim)
    angle = values.double()[:, None] * rate
    both = (angle.sin(), angle.cos())
    return (torch.stack(both, -1).flatten(-2) if interleaved else torch.cat(both, -1)).float()
