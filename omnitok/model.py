"""The model: named streams of blocks, the channels' embeddings and the objectives' heads. `omnitok/assemble.py` joins them.

Parameters live in scopes: `streams.*` (the preset), `channels.<name>.*`, `axes.<name>.*` (axes that channels share) and
`heads.<name>.*`. Shape letters: N flat tokens, D model dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch import MASKED, Ask, Document, PackedBatch, Schema
from .batch import Stream as PackedStream
from .config import Config
from .errors import ConfigError, LengthError, unknown_name
from .layout import Layout
from .nn.attention import Attention
from .nn.cache import Cache
from .nn.context import Context
from .nn.initial import Initial
from .nn.inline import Function, Functions, function_of
from .nn.losses import ExtraLoss as ExtraLoss
from .nn.mixers import Mixer
from .nn.norms import Norm
from .nn.residual import Residual
from .nn.steps import Axis, AxisModule, Linear, Logits, Pipeline, Step, TableModule, Tied
from .sequence import Span, TokenSequence
from .tokenizer import Channel

CONTROL = "control"
"""The core's own channel: id 0 is the vector of masked content, id 1 the start of a sequence whose channel has no id for
it, id 2 + i the readout of the i-th task that reads one."""
START = 1
READOUT = 2


def start_of(name: str, channel: Channel) -> TokenSequence:
    """The token that a decoder of this channel begins with: the channel's own `start`, or the core's."""
    own = channel.start is not None
    return TokenSequence((Span(name if own else CONTROL, torch.tensor([channel.start if own else START])),))


Memory = Mapping[str, tuple[Tensor, Layout]]
"""stream -> its last hidden rows and their layout"""


class Stream(Config, frozen=True):
    """Embedding steps -> blocks -> norm -> head steps."""

    dim: int
    blocks: tuple[tuple[Residual, ...], ...] = ()
    norm: Norm | None = None
    dropout: float = 0.0
    """share of the last rows' numbers that are dropped in training, behind the norm"""
    embed: dict[str, tuple[Step, ...]] = {}
    """role -> steps, for presets that bring their own"""
    steps: tuple[Step, ...] = ()
    """on the assembled stream"""
    heads: dict[str, tuple[Step, ...]] = {}
    """"<role>" or "<role>/masked" -> steps"""
    memory: str | None = None
    """an earlier stream that cross-attention reads"""
    attend: Literal["causal", "full"] | None = None
    """a rule fixed for all channels"""
    like: str | None = None
    """an earlier stream whose blocks and norm this one uses too, and its embedding and heads where `embed`, `steps` and
    `heads` are all empty; beside these, `memory`, `attend` and `losses` are its own"""
    schedule: tuple[int, ...] | None = None
    """numbers of the blocks in the order in which they run, where not each runs once (weights shared across depth)"""
    losses: tuple[ExtraLoss, ...] = ()
    """what is added to the losses of the tasks, in training"""
    width: int | None = None
    """columns of what is embedded, where it is the first layer that makes them `dim`; None: dim"""

    def mixers(self) -> Iterator[Mixer]:
        return (part for block in self.blocks for r in block for part in r.mixer.parts())

    def owns(self) -> bool:
        """Whether it embeds and answers in its own way, where its blocks are another stream's."""
        return bool(self.embed or self.steps or self.heads)

    def embedded(self) -> int:
        """Columns in front of the first block."""
        return self.width or self.dim


class Model(Config, frozen=True):
    """Named streams, in order; a next-token head shares the embedding table where `tie` says so."""

    streams: dict[str, Stream]
    tie: bool = False


class Preset(Config, frozen=True):
    """A published or generic architecture: fields that people set, and the model they make.

    `name` is the recipe's word for it, `roles` the channels that it names. `readout` is the role that readout tokens
    take, first in their document; None: the core's own channel, last in it.
    """

    readout: ClassVar[str | None] = None
    channel_norm: ClassVar[Norm | None] = Norm("rms")
    """what closes the embedding of channels that no role takes: their scales start far apart without it"""

    def prepare(self, document: Document) -> Document:
        """The document with the tokens that the architecture itself adds: latents, a class token. Objectives come later."""
        return document

    def initial(self) -> Sequence[tuple[str, Initial]]:
        """(pattern of parameter names below `streams.`, start values): the first match counts; without one a module's own."""
        return ()

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        """The configuration, sized by the channels bound to its roles; `channels` are all of them."""
        raise NotImplementedError


class StreamModule(nn.Module):
    """One stream's own parameters; `sizes` are the numbers per token of the channels bound to its roles, 0 for ids.

    With a `tower`, blocks, norm and shared positions are those of that other stream, which keeps them.
    """

    def __init__(self, config: Stream, sizes: Mapping[str, int], tower: StreamModule | None = None) -> None:
        super().__init__()
        dim, width = config.dim, config.embedded()
        self.embed = named_modules({r: Pipeline(s, sizes.get(r, 0), width) for r, s in config.embed.items()}, "role")
        self.steps = Pipeline(config.steps, width, width)
        self.heads = named_modules({h: Pipeline(s, dim, dim) for h, s in config.heads.items()}, "head")
        tables = [s for s in config.steps if isinstance(s, Axis) and s.axis == "position" and s.kind != "linear"]
        self.longest = min((s.size for s in tables if s.size), default=None)  # sinusoids without a size have no end
        self.config, self.shared_keys = config, list[Any]()
        if tower is not None:
            own = tower.config
            self.config = config.replace(blocks=own.blocks, norm=own.norm, schedule=own.schedule, dropout=own.dropout)
            for name in ("blocks", "norm", "shared_keys", "shared"):
                object.__setattr__(self, name, getattr(tower, name))  # not registered a second time
            return
        self.blocks = nn.ModuleList(nn.ModuleDict({r.name: r.build(dim) for r in block}) for block in config.blocks)
        self.norm = config.norm.build(dim, dim) if config.norm else None
        self.shared = nn.ModuleList()
        self._share()
        self._damp()

    def _share(self) -> None:
        """One module for positions of equal configuration."""
        for mixer in self.config.mixers():
            if not isinstance(mixer, Attention):
                continue
            for p in mixer.positions:
                key = (p, mixer.heads, mixer.head_dim or self.config.dim // mixer.heads)
                if p.shared and key not in self.shared_keys:
                    self.shared_keys.append(key)
                    self.shared.append(p.build(*key[1:]))

    def _damp(self) -> None:
        """Maps that write into the residual stream start smaller, by 1 / sqrt(number of residuals) (GPT-2)."""
        writers = [m for n, m in self.blocks.named_modules() if n.endswith((".o", ".down", "mixer.out"))]
        for module in writers:
            module.weight.data.mul_(1 / math.sqrt(max(1, sum(map(len, self.config.blocks)))))

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        for part in self.parts():
            x = part(x, ctx)
        return F.dropout(x, self.config.dropout) if self.config.dropout and self.training else x

    def parts(self) -> list[nn.Module]:
        """What rows pass through, in order."""
        order = self.config.schedule or range(len(self.blocks))
        residuals = [r for number in order for r in cast(nn.ModuleDict, self.blocks[number]).values()]
        return [self.steps, *residuals, *((self.norm,) if self.norm is not None else ())]


@function_of(StreamModule)
def _stream(module: StreamModule, by: Functions) -> Function:
    return by.chain(module.parts())


class Transformer(nn.Module):
    """The whole model; made by `build`. Call it with a batch: {task: answers at the rows that were asked}."""

    def __init__(
        self,
        config: Model,
        channels: Mapping[str, Channel],
        heads: Mapping[str, tuple[Step, ...]],
        roles: Mapping[str, str],
        readouts: tuple[str, ...] = (),
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.config, self.channel_info, self.readouts = config, dict(channels), readouts
        self.roles = dict(roles)
        self.preset: Preset | None = None
        self.main = list(config.streams)[-1]
        """the stream that tasks read and sessions extend: the last"""
        self.dim, self.width = config.streams[self.main].dim, config.streams[self.main].embedded()
        bound = set(roles.values())
        free = {n: c for n, c in channels.items() if n not in bound or n == CONTROL}
        sizes = {role: channels[c].size for role, c in roles.items()}
        self.streams = nn.ModuleDict()
        for name, stream in config.streams.items():
            if stream.like is None or stream.owns():
                self.streams[name] = StreamModule(stream, sizes, self.stream(stream.like) if stream.like else None)
        close = (norm,) if norm is not None else ()
        self.channels = named_modules({n: Pipeline((*c.steps(), *close), c.size, self.width) for n, c in free.items()}, "channel")
        self.axis_names = {n: tuple(a.axis for a in c.axes) for n, c in free.items()}
        self.axes = named_modules({a.axis: a.build(self.width, self.width) for a in shared_axes(free)}, "axis")
        self.table_modules = self._table_modules()
        self.own_pipes = {s: self._own_pipes(s) for s in config.streams}
        self.preset_heads = {f"{s}:{h}": (s, h) for s, c in config.streams.items() for h in c.heads}
        """head -> (stream, name there): as "<stream>:<head>", and by the name that an objective gives it"""
        self.heads = named_modules(dict(self._own_heads(heads)), "head")
        self.schema = schema_of(config, channels, bound)

    def _own_heads(self, heads: Mapping[str, tuple[Step, ...]]) -> Iterator[tuple[str, Pipeline]]:
        """Heads that no preset brings, with what they ask for resolved; "<stream>:<head>" reads that stream."""
        for name, steps in heads.items():
            channel, slash, rest = name.rpartition("/masked")
            roles = [r for r, c in self.roles.items() if c == (channel if slash else name)]
            own = [r + (f"/masked{rest}" if slash else "") for r in roles]
            found = [(s, h) for s, c in reversed(self.config.streams.items()) for h in own if h in c.heads]
            if found:
                self.preset_heads[name] = found[0]
            elif name not in self.preset_heads:
                stream, colon, _ = name.partition(":")
                if colon and stream not in self.config.streams:
                    raise unknown_name("stream", stream, self.config.streams, "this model's streams")
                dim = self.stream(stream).config.dim if colon else self.dim
                yield name, Pipeline([self._resolve(s) for s in steps], dim, dim)

    def _resolve(self, step: Step) -> Step:
        if not isinstance(step, Logits):
            return step
        tied = self.config.tie and self.width == self.dim and step.channel in self.tables()
        return Tied(step.channel, step.vocab) if tied else Linear(step.vocab, bias=False)

    def stream_modules(self) -> Iterator[tuple[str, StreamModule]]:
        """Every stream and the module that computes it."""
        return ((name, self.stream(name)) for name in self.config.streams)

    def stream(self, name: str) -> StreamModule:
        return cast(StreamModule, self.streams[name if name in self.streams else self.config.streams[name].like or name])

    def tables(self) -> dict[str, Tensor]:
        """Embedding tables by channel, and by role for bound channels."""
        return {name: module.weight for name, module in self.table_modules.items()}

    def _own_pipes(self, stream: str) -> dict[str, nn.Module]:
        """Channel -> the embedding that the stream itself brings for it."""
        embed = self.stream(stream).embed
        return {channel: embed[role] for role, channel in self.roles.items() if role in embed}

    def _table_modules(self) -> dict[str, TableModule]:
        found: dict[str, TableModule] = {}
        for name, pipe in self.channels.items():
            if isinstance(first := cast(Pipeline, pipe)[0], TableModule):
                found[name] = first
        for _, stream in self.stream_modules():
            for role, pipe in stream.embed.items():
                if len(steps := cast(Pipeline, pipe)) and isinstance(first := steps[0], TableModule):
                    found.setdefault(role, first)
                    found.setdefault(self.roles.get(role, role), first)
        return found

    def cache(self, documents: int) -> Cache:
        """An empty cache for so many documents of the main stream."""
        mixers = list(self.config.streams[self.main].mixers())
        placed = any(isinstance(m, Attention) and m.positions for m in mixers)
        return Cache(documents, axes={axis for m in mixers for axis in m.axes()} | ({"position"} if placed else set()))

    def forward(
        self, batch: PackedBatch, cache: Cache | None = None, backend: str = "auto", extra: list[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Answers by task: [R, ...] per asked row, or [G, ...] per group where the head pools.

        The streams' own losses (`Stream.losses`) are appended to `extra`, each times its weight.
        """
        hidden = self.hidden(batch, cache, backend, extra=extra)
        return {task: self.answer(hidden, ask) for task, ask in batch.asks.items()}

    def hidden(
        self,
        batch: PackedBatch,
        cache: Cache | None = None,
        backend: str = "auto",
        memory: Memory | None = None,
        extra: list[Tensor] | None = None,
        functions: Functions | None = None,
    ) -> dict[str, Tensor]:
        """The last layer's [N, D] of every stream in the batch; `memory` holds streams that were computed before.

        The cache is the main stream's. `functions` stand for modules where steps are small and many.
        """
        out: dict[str, Tensor] = {}
        done: dict[str, tuple[Tensor, Layout]] = dict(memory or {})
        tables = self.tables()
        for name, module in self.stream_modules():
            if name not in batch.streams:
                continue
            config, packed, own = self.config.streams[name], batch.streams[name], cache if name == self.main else None
            layout = own.extend(packed.layout) if own is not None else packed.layout
            refuse_long(max(layout.lengths, default=0) if own is None else own.tokens, module.longest, name)
            shared = dict(zip(module.shared_keys, module.shared, strict=True))
            ctx = Context(layout, done.get(config.memory or ""), shared, tables, cache=own, backend=backend, functions=functions)
            ctx.notes = [] if extra is not None else None
            out[name] = ctx.run(module)(self.embed(packed, name, layout, ctx), ctx)
            done[name] = (out[name], layout)
            if extra is not None:
                extra += [loss.weight * loss.value(ctx.notes or (), layout) for loss in config.losses]
        return out

    def embed(self, packed: PackedStream, name: str, layout: Layout, ctx: Context) -> Tensor:
        """Every channel's content -> vectors, put back into the order of the stream: [N, D]."""
        module, parts, of_channel = self.stream(name), [], self.own_pipes[name]
        local = Context(layout, tables=ctx.tables)
        for channel, content in packed.content.items():
            if content.lengths != local.lengths:
                local = Context(layout, tables=ctx.tables, lengths=content.lengths)
            own = of_channel.get(channel)
            if own is None and channel not in self.channels:
                raise unknown_name("channel", channel, self.channel_info, f"channels of stream {name!r}")
            if own is None and module.config.embedded() != self.width:
                raise ConfigError(f"channel {channel!r} is embedded for stream {self.main!r}; {name!r} is of another dim")
            y = ctx.run(own if own is not None else self.channels[channel])(content.value, local)
            y = self._masked(y, content.rows, layout)
            if own is None:
                for axis in self.axis_names[channel]:
                    y = cast(AxisModule, self.axes[axis]).add(y, layout.axes[axis][content.rows])
            parts.append(y)
        if not parts:
            return next(self.parameters()).new_zeros(0, module.config.embedded())
        y = torch.cat(parts) if len(parts) > 1 else parts[0]
        return y if packed.back is None else y.index_select(0, packed.back)

    def _masked(self, y: Tensor, rows: Tensor, layout: Any) -> Tensor:
        """Masked rows lose their content; positions are added later and stay."""
        if MASKED not in layout.axes:
            return y
        hidden = layout.axes[MASKED][rows] >= 0
        if y.shape[1] != self.width:
            return y
        blank = self.channels[CONTROL](rows.new_zeros(1), Context())
        return torch.where(hidden[:, None], blank.to(y.dtype), y)

    def answer(self, hidden: Mapping[str, Tensor], ask: Ask, functions: Functions | None = None) -> Tensor:
        """One head at the rows that an ask names; with `other`, both answers side by side: [G, 2, ...]."""
        ctx = Context(tables=self.tables(), group=ask.group, groups=ask.weight.shape[0], functions=functions)
        out = ctx.run(self.head(ask.head))(hidden[ask.stream][ask.rows], ctx)
        return out if ask.other is None else torch.stack([out, self.answer(hidden, ask.other)], 1)

    def head(self, name: str) -> nn.Module:
        """A head by name: the preset's, or one that an objective asked for."""
        if name in self.preset_heads:
            stream, own = self.preset_heads[name]
            return self.stream(stream).heads[own]
        if name not in self.heads:
            raise unknown_name("head", name, [*self.heads, *self.preset_heads], "this model's heads")
        return self.heads[name]


def refuse_long(tokens: int, longest: int | None, stream: str) -> None:
    """LengthError for a document that a table of positions does not reach."""
    if longest is not None and tokens > longest:
        raise LengthError(
            f"a document of {tokens} tokens in stream {stream!r}, whose positions end at {longest}: "
            "crop it (`context`), or give the preset more positions"
        )


def shared_axes(channels: Mapping[str, Channel]) -> list[Axis]:
    """One axis step per axis name. Raises ConfigError where two channels disagree about it."""
    found: dict[str, tuple[str, Axis]] = {}
    for name, channel in channels.items():
        for axis in channel.axes:
            other = found.setdefault(axis.axis, (name, axis))
            if other[1] != axis:
                raise ConfigError(f"channels {other[0]!r} and {name!r} disagree about axis {axis.axis!r}: {other[1]} and {axis}")
    return [axis for _, axis in found.values()]


def schema_of(config: Model, channels: Mapping[str, Channel], bound: set[str]) -> Schema:
    """All that batches for this model must be filled up to."""
    axes = {
        a.axis: a.size if a.kind == "linear" else 0 for a in shared_axes({n: c for n, c in channels.items() if n not in bound})
    }
    pairs = {p for c in channels.values() for p in c.pairs}
    for stream in config.streams.values():
        for step in stream.steps:
            if isinstance(step, Axis) and step.axis != "position":
                axes.setdefault(step.axis, step.size if step.kind == "linear" else 0)
        for mixer in stream.mixers():
            axes |= {axis: 0 for axis in mixer.axes() if axis != "position" and axis not in axes}
            pairs |= set(mixer.pairs())
    rules = {n: c.attend for n, c in channels.items()}
    sets = frozenset(n for n, c in channels.items() if not c.ordered)
    return Schema(rules, axes, tuple(sorted(pairs)), sets, {n: s.attend for n, s in config.streams.items()})


def named_modules(modules: Mapping[str, nn.Module], kind: str) -> nn.ModuleDict:
    """A ModuleDict, with an error for the few names that torch keeps for itself."""
    for name in modules:
        if "." in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"{kind} name {name!r} cannot be used in a model: choose another")
    return nn.ModuleDict(modules)
