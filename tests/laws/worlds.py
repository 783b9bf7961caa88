"""Toy channels, documents and tasks for the laws: every kind of token that the core tells apart, and no plugin."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from omnitok.assemble import build
from omnitok.batch import Document
from omnitok.model import Model, Preset, Stream, Transformer
from omnitok.nn.attention import Attention
from omnitok.nn.context import Context
from omnitok.nn.conv import Conv
from omnitok.nn.linear_attention import LinearAttention
from omnitok.nn.mixers import MLP, Mixer
from omnitok.nn.norms import Norm
from omnitok.nn.recurrent import Recurrent
from omnitok.nn.residual import Residual
from omnitok.nn.steps import Axis, Linear, Step
from omnitok.objectives import At, Classify, Ctc, Masked, Next, Objective, Regress
from omnitok.presets.generic import Decoder
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel


class Blur(Step, frozen=True):
    """A front end that looks across tokens: every row becomes the mean of itself and its neighbours of the same span."""

    def build(self, width: int, dim: int) -> nn.Module:
        return BlurModule()


class BlurModule(nn.Module):
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        padded = [nn.functional.pad(part.flatten(1), (0, 0, 1, 1)) for part in x.split(list(ctx.lengths))]
        return torch.cat([(p[:-2] + p[1:-1] + p[2:]) / 3 for p in padded])


STEP = (Axis("step", 32),)
CHANNELS: dict[str, Channel] = {
    "words": Channel(vocab=11, end=10),
    "codes": Channel(vocab=7, mask=6, attend="full"),
    "tags": Channel(vocab=5),  # two ids per token
    "patches": Channel(width=(2, 2), mean=0.5, std=2.0, attend="full", axes=(Axis("h", 6), Axis("w", 6))),
    "nodes": Channel(width=(3,), attend="full", ordered=False, axes=(Axis("degree", 8),), pairs={"edge": 3}),
    "sound": Channel(width=(2, 3), attend="full", embed=(Blur(), Linear()), axes=(Axis("time", 0, "sinusoid"),)),
    "cart/return": Channel(width=(1,), axes=STEP),
    "cart/observation": Channel(width=(4,), mean=(0.0, 1.0, 2.0, 3.0), std=2.0, axes=STEP),
    "cart/action": Channel(vocab=3, axes=STEP),
}

Maker = torch.Generator


def maker(seed: int) -> Maker:
    return torch.Generator().manual_seed(seed)


def ids(channel: str, n: int, g: Maker) -> TokenSequence:
    """n ids; never the one that closes or masks."""
    info = CHANNELS[channel]
    top = min(v for v in (info.vocab, info.end, info.mask) if v is not None)
    shape = (n, 2) if channel == "tags" else (n,)
    return TokenSequence((Span(channel, ids=torch.randint(top, shape, generator=g)),))


def words(n: int, g: Maker) -> TokenSequence:
    return ids("words", n, g)


def codes(n: int, g: Maker) -> TokenSequence:
    return ids("codes", n, g)


def tags(n: int, g: Maker) -> TokenSequence:
    return ids("tags", n, g)


def patches(n: int, g: Maker) -> TokenSequence:
    k = torch.arange(n)
    return TokenSequence((Span("patches", features=torch.randn(n, 2, 2, generator=g), axes={"h": k // 3, "w": k % 3}),))


def sound(n: int, g: Maker) -> TokenSequence:
    return TokenSequence((Span("sound", features=torch.randn(n, 2, 3, generator=g), axes={"time": torch.arange(n)}),))


def nodes(n: int, g: Maker) -> TokenSequence:
    """A set with labelled pairs, parallel pairs and self-loops among them."""
    ends = torch.randint(max(n, 1), (2, 2 * n), generator=g)
    label = torch.randint(3, (2 * n,), generator=g)
    degree = torch.bincount(ends[0], minlength=n)[:n].clamp(max=7)
    span = Span("nodes", features=torch.randn(n, 3, generator=g), axes={"degree": degree})
    return TokenSequence((span,), {"edge": (ends, label)} if n else {})


def cart(n: int, g: Maker) -> TokenSequence:
    """n steps of three interleaved tokens."""
    step = torch.arange(n)
    axes = {"step": step}
    return TokenSequence(
        (
            Span("cart/return", features=torch.randn(n, 1, generator=g), axes=axes, index=3 * step),
            Span("cart/observation", features=torch.randn(n, 4, generator=g), axes=axes, index=3 * step + 1),
            Span("cart/action", ids=torch.randint(3, (n,), generator=g), axes=axes, index=3 * step + 2),
        )
    )


DECODER = Decoder(dim=16, depth=2, heads=2)


class Absolute(Preset, frozen=True):
    """Learned positions added to the stream, norms behind the sums, gated layers and tied tables."""

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        attention, mlp = Attention(2, kv_heads=1), MLP(24, "silu", gated=True)
        block = (Residual("attention", attention, branch=Norm("rms")), Residual("mlp", mlp, post=Norm(), scale=0.5))
        return Model({"main": Stream(16, (block, block), steps=(Axis("position", 99),))}, tie=True)


class Stateful(Preset, frozen=True):
    """Layers that keep a state of the past instead of keys and values."""

    mixer: Mixer

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        block = (Residual("state", self.mixer, pre=Norm()), Residual("mlp", MLP(24), pre=Norm()))
        return Model({"main": Stream(16, (block, block), Norm())})


STATEFUL = {
    "lstm": Stateful(Recurrent("lstm")),
    "gru": Stateful(Recurrent("gru")),
    "linear attention": Stateful(LinearAttention(2, chunk=3)),
    "causal convolution": Stateful(Conv(4, causal=True)),
    "causal convolution, layer norm": Stateful(Conv(3, Norm("layer"), causal=True)),
}


TASKS: dict[str, Objective] = {
    "write": Next("words"),
    "act": Next("cart/action"),
    "foresee": Next("cart/observation"),
    "unmask-codes": Masked("codes"),
    "unmask-words": Masked("words"),
    "unmask-patches": Masked("patches"),
    "unmask-sound": Masked("sound", rate=0.3),
    "kind": Classify("label", classes=4),
    "mood": Classify("label", "mean", classes=3),
    "parts": Classify("labels", "tokens", classes=3),
    "size": Regress("number"),
    "spell": Ctc("words"),
}
FULL_TASKS = tuple(name for name, objective in TASKS.items() if not isinstance(objective, Next))
"""tasks that a model whose every token sees the whole document can be asked."""
READOUTS = tuple(name for name, objective in TASKS.items() if objective.reads_out())


def sequence_for(task: str, n: int, g: Maker) -> TokenSequence:
    """A document of the kind that this task is asked of, longer with n."""
    match task:
        case "write":
            return patches(n, g) + words(n + 1, g) + tags(2, g) + words(2, g)
        case "act" | "foresee":
            return cart(n, g)
        case "unmask-codes":
            return codes(n, g)
        case "unmask-words":
            return words(n, g) + codes(3, g)
        case "unmask-patches":
            return words(2, g) + patches(n, g)
        case "unmask-sound" | "size":
            return sound(n, g) + sound(3, g)
        case "kind" | "parts":
            return nodes(n, g)
        case "mood":
            return nodes(3, g) + words(n, g)
        case _:
            return sound(2 * n + 3, g) + words(n, g)


def document(task: str, n: int, seed: int) -> Document:
    """A marked document. Equal `n` and task give equal structure; only the content follows `seed`, except masks."""
    g = maker(seed)
    sequence = sequence_for(task, n, g)
    sample = {
        "label": int(torch.randint(3, (), generator=g)),
        "labels": torch.randint(-1, 3, (len(sequence),), generator=g),
        "number": float(torch.randn((), generator=g)),
    }
    return mark(task, TASKS[task], sequence, sample, f"{task}-{n}-{seed}")


def mark(
    task: str, objective: Objective, sequence: TokenSequence, sample: Mapping[str, Any] | None = None, name: str = ""
) -> Document:
    """One sequence with one objective's asks."""
    readout = READOUTS.index(task) + 1 if task in READOUTS else 1
    at = At(task, CHANNELS, random.Random(0), readout=readout)
    return objective.mark(Document({"main": sequence}, name=name or task), sample or {}, at)


def mixed(tasks: Sequence[str], seed: int = 0, sizes: Sequence[int] = (4, 1, 7)) -> list[Document]:
    """One document per task, and one more of every fourth task: different lengths, some alike."""
    twice = [*tasks, *tasks[::4]]
    return [document(task, sizes[i % len(sizes)], 100 * seed + i) for i, task in enumerate(twice)]


def alike_before_the_first_target(task: str) -> tuple[Document, Document]:
    """Two documents that differ in content from the first token that is asked for."""
    one, other = document(task, 4, 1), document(task, 4, 2)
    source = one.asks[task].source
    assert source is not None
    begin = int(source.min())
    return one, mark(task, TASKS[task], one.main[:begin] + other.main[begin:], name=one.name)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Every parameter and running statistic away from its start value, so that zeros and ones hide nothing."""
    g = maker(seed)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1 * torch.randn(value.shape, generator=g)
        for name, value in model.named_buffers():
            if name.endswith((".mean", ".var")) and ".norm." in name:
                value.copy_(0.5 + torch.rand(value.shape, generator=g))


def world_model(preset: Preset | Model, tasks: Sequence[str] = tuple(TASKS), seed: int = 0) -> Transformer:
    """A small model that knows all toy channels and answers all these tasks, with random parameters, in eval mode."""
    heads: dict[str, tuple[Step, ...]] = {}
    for task in tasks:
        heads |= TASKS[task].heads(task, CHANNELS)
    torch.manual_seed(seed)
    model = build(preset, CHANNELS, heads, READOUTS)
    randomise(model, seed)
    return model.eval()
