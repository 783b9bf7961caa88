"""Faults in embedding steps, in places of tokens, and in what training needs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from omnitok.nn.context import Context
from omnitok.nn.steps import Axis, Linear, Step
from omnitok.sequence import TokenSequence
from omnitok.tokenizer import Channel

from .contract import changed
from .good import GoodTokenizer, LiftModule
from .registry import fault


class Around(LiftModule):
    """Rows as they are, and something of all rows around them."""

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return super().forward(x, ctx) + self.more(x, ctx)

    def more(self, x: Tensor, ctx: Context) -> Tensor:
        raise NotImplementedError


class MeanModule(Around):
    def more(self, x: Tensor, ctx: Context) -> Tensor:
        return x.mean(0) if len(x) else 0 * x


class BatchMean(Step, frozen=True):
    """Adds the mean of the whole batch."""

    def build(self, width: int, dim: int) -> nn.Module:
        return MeanModule(width)


class ScaledModule(LiftModule):
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        y = super().forward(x, ctx)
        if y.requires_grad:
            n = len(y)
            y.register_hook(lambda g: g * n)
        return y


class ScaledBackward(Step, frozen=True):
    """Its gradients grow with the batch."""

    def build(self, width: int, dim: int) -> nn.Module:
        return ScaledModule(width)


class EarlierModule(Around):
    def more(self, x: Tensor, ctx: Context) -> Tensor:
        return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


class Earlier(Step, frozen=True):
    """Adds the row before, whosever it is."""

    def build(self, width: int, dim: int) -> nn.Module:
        return EarlierModule(width)


class LaterModule(Around):
    def more(self, x: Tensor, ctx: Context) -> Tensor:
        parts = x.split(list(ctx.lengths)) if ctx.lengths else [x]
        return torch.cat([torch.cat([p[1:], torch.zeros_like(p[:1])]) for p in parts])


class Later(Step, frozen=True):
    """Adds the row behind, inside its span."""

    def build(self, width: int, dim: int) -> nn.Module:
        return LaterModule(width)


class BeforeModule(Around):
    def more(self, x: Tensor, ctx: Context) -> Tensor:
        parts = x.split(list(ctx.lengths)) if ctx.lengths else [x]
        return torch.cat([torch.cat([torch.zeros_like(p[:1]), p[:-1]]) for p in parts])


class Before(Step, frozen=True):
    """Adds the row before, inside its span."""

    def build(self, width: int, dim: int) -> nn.Module:
        return BeforeModule(width)


class UnusedModule(LiftModule):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.spare = nn.Parameter(torch.ones(width))


class Unused(Step, frozen=True):
    """It has a parameter that nobody uses."""

    def build(self, width: int, dim: int) -> nn.Module:
        return UnusedModule(width)


class HalvingModule(LiftModule):
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return super().forward(x, ctx)[::2]


class Halving(Step, frozen=True):
    """It makes one row of two."""

    def build(self, width: int, dim: int) -> nn.Module:
        return HalvingModule(width)


class FirstModule(LiftModule):
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return super().forward(x, ctx) + 0 * x[0]


class First(Step, frozen=True):
    """It takes for granted that there is a row."""

    def build(self, width: int, dim: int) -> nn.Module:
        return FirstModule(width)


class RootModule(LiftModule):
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return super().forward(x, ctx).sqrt()


class Root(Step, frozen=True):
    """Roots of negative numbers."""

    def build(self, width: int, dim: int) -> nn.Module:
        return RootModule(width)


class Halved(Step, frozen=True):
    """It divides by what is 0 in front of it."""

    def build(self, width: int, dim: int) -> nn.Module:
        return LiftModule(width // (dim - 16))


class Embedded(GoodTokenizer, frozen=True):
    """The good tokenizer with another step in its embedding."""

    def step(self) -> Step:
        raise NotImplementedError

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", embed=(Linear(), self.step()))


@fault("packed-outputs", "when it is packed with others")
class Mixing(Embedded, frozen=True):
    """Its rows know the batch."""

    def step(self) -> Step:
        return BatchMean()


@fault("packed-gradients", "gradients of channels.good/value")
class Heavy(Embedded, frozen=True):
    """Its gradients know the batch."""

    def step(self) -> Step:
        return ScaledBackward()


@fault("neighbours", "when its neighbours hold something else")
class Nosy(Embedded, frozen=True):
    """Its first row is the last of the neighbour's."""

    def step(self) -> Step:
        return Earlier()


@fault("embedding-inside-span", "when they are joined")
class Leaking(Embedded, frozen=True):
    """Its first row is the last of the object's before."""

    def step(self) -> Step:
        return Earlier()


@fault("embedding-looks-back", "rows differ")
class Peeking(Embedded, frozen=True):
    """It sees what it is to predict."""

    def step(self) -> Step:
        return Later()


@fault("cached-is-full", "behind a cache and in a full pass")
class Looking(Embedded, frozen=True):
    """It needs the token before, which a session does not keep."""

    def step(self) -> Step:
        return Before()


@fault("embedding-gradients", "no gradient reaches channels.good/value.2.spare")
class Idle(Embedded, frozen=True):
    """A parameter that learns nothing."""

    def step(self) -> Step:
        return Unused()


@fault("embedding-shape", "makes [2, 16] of 3 tokens")
class Pooling(Embedded, frozen=True):
    """Fewer rows than tokens."""

    def step(self) -> Step:
        return Halving()


@fault("embedding-shape", "rows that are not finite")
class Rooted(Embedded, frozen=True):
    """NaN where a number is negative."""

    def step(self) -> Step:
        return Root()


@fault("embedding-nothing", "IndexError")
class Anchored(Embedded, frozen=True):
    """It breaks where there is nothing."""

    def step(self) -> Step:
        return First()


@fault("model-builds", "build refuses: channels 'good/level' and 'good/value' disagree about axis 'beat'")
class Disagreeing(GoodTokenizer, frozen=True):
    """Two channels size one axis."""

    def channels(self) -> dict[str, Channel]:
        return dict(reversed(changed(self, "level", axes=(Axis("beat", 9), Axis("phase", 2, "linear"))).items()))


@fault("model-builds", "build raised ZeroDivisionError")
class Dividing(Embedded, frozen=True):
    """A step that cannot be built."""

    def step(self) -> Step:
        return Halved()


# -- generation


@fault("place-agrees", "encode puts token 5 at")
class Misplaced(GoodTokenizer, frozen=True):
    """It counts from one."""

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        found = super().place(k, meta)
        return found and (found[0], found[1] | {"beat": k // 2 + 1})


@fault("place-ends", "place puts token 6 of 6")
class OneMore(GoodTokenizer, frozen=True):
    """It goes on for one token."""

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        beats = meta.get("beats")
        return super().place(k, {"beats": beats + 1 if isinstance(beats, int) else beats})


@fault("place-without-meta", "place(0, {}) raised KeyError")
class Presuming(GoodTokenizer, frozen=True):
    """It takes for granted what the meta says."""

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        return super().place(k, {"beats": meta["beats"]})


@fault("any-content-decodes", "decode raised IndexError")
class Believing(GoodTokenizer, frozen=True):
    """It looks generated ids up in a table of its own."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        back = super().decode(tokens)
        for span in tokens.spans:
            if span.ids is not None and len(span.ids) > 1:
                [[0.0] * self.levels][0][int(span.ids.max())]
        return back


@fault("generates", "decode raised AssertionError")
class Precise(GoodTokenizer, frozen=True):
    """It asserts what is true of its own tokens only: that a channel comes in one piece."""

    def decode(self, tokens: TokenSequence) -> list[float]:
        assert len(tokens.channels) == len(tokens.spans), "a channel in two pieces"
        return super().decode(tokens)


# -- training


@fault("targets-fit", "targets that are not finite")
class Tiny(GoodTokenizer, frozen=True):
    """It divides by next to nothing."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", std=1e-45)


@fault("targets-fit", "for a vocab of 4")
class Short(GoodTokenizer, frozen=True):
    """Its ids are more than its head gives."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "level", vocab=4, end=None, mask=None)


@fault("trains", "losses inf")
class Steep(GoodTokenizer, frozen=True):
    """Its targets are so large that their square is none."""

    def channels(self) -> dict[str, Channel]:
        return changed(self, "value", std=1e-25)
