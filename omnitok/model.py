"""The model: named streams of blocks, the channels' embeddings and the objectives' heads, joined by `build`.

Parameters live in scopes: `streams.*` (the preset), `channels.<name>.*`, `axes.<name>.*` (axes that channels share) and
`heads.<name>.*`. Shape letters: N flat tokens, D model dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from .batch import MASKED, Ask, PackedBatch, Schema
from .batch import Stream as PackedStream
from .config import Config
from .errors import ConfigError, LengthError, did_you_mean, unknown_name
from .nn.attention import Attention
from .nn.cache import Cache
from .nn.context import Context
from .nn.mixers import Residual
from .nn.norms import Norm, NormModule
from .nn.positions import PairTable
from .nn.steps import Axis, AxisModule, Linear, Logits, Pipeline, Step, Table, TableModule, Tied
from .tokenizer import Channel

CONTROL = "control"
"""The core's own channel: id 0 is the vector of masked content, id 1 + i the readout of the i-th task that reads one."""


class Stream(Config, frozen=True):
    """Embedding steps -> blocks -> norm -> head steps."""

    dim: int
    blocks: tuple[tuple[Residual, ...], ...] = ()
    norm: Norm | None = None
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

    def mixers(self) -> Iterator[Config]:
        return (r.mixer for block in self.blocks for r in block)


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

    def model(self, bound: Mapping[str, Channel], channels: Mapping[str, Channel]) -> Model:
        """The configuration, sized by the channels bound to its roles; `channels` are all of them."""
        raise NotImplementedError


class StreamModule(nn.Module):
    """One stream's own parameters; `sizes` are the numbers per token of the channels bound to its roles, 0 for ids."""

    def __init__(self, config: Stream, sizes: Mapping[str, int]) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.embed = named_modules({r: Pipeline(s, sizes.get(r, 0), dim) for r, s in config.embed.items()}, "role")
        self.steps = Pipeline(config.steps, dim, dim)
        self.blocks = nn.ModuleList(nn.ModuleDict({r.name: r.build(dim) for r in block}) for block in config.blocks)
        self.norm = config.norm.build(dim, dim) if config.norm else None
        self.heads = named_modules({h: Pipeline(s, dim, dim) for h, s in config.heads.items()}, "head")
        tables = [s.size for s in config.steps if isinstance(s, Axis) and s.axis == "position" and s.kind == "learned"]
        self.longest = min(tables, default=None)
        self.shared_keys: list[Any] = []
        self.shared = nn.ModuleList()
        for mixer in config.mixers():
            for p in getattr(mixer, "positions", ()):
                assert isinstance(mixer, Attention)
                key = (p, mixer.heads, mixer.head_dim or dim // mixer.heads)
                if p.shared and key not in self.shared_keys:
                    self.shared_keys.append(key)
                    self.shared.append(p.build(*key[1:]))
        self._damp()

    def _damp(self) -> None:
        """Maps that write into the residual stream start smaller, by 1 / sqrt(number of residuals) (GPT-2)."""
        writers = [m for n, m in self.blocks.named_modules() if n.endswith((".o", ".down", "mixer.out"))]
        for module in writers:
            module.weight.data.mul_(1 / math.sqrt(max(1, sum(map(len, self.config.blocks)))))

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        x = self.steps(x, ctx)
        for block in self.blocks:
            for residual in cast(nn.ModuleDict, block).values():
                x = residual(x, ctx)
        return self.norm(x, ctx) if self.norm else x


class Transformer(nn.Module):
    """The whole model; made by `build`. Call it with a batch: {task: answers at the rows that were asked}."""

    def __init__(
        self,
        config: Model,
        channels: Mapping[str, Channel],
        heads: Mapping[str, tuple[Step, ...]],
        roles: Mapping[str, str],
        readouts: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.config, self.channel_info, self.readouts = config, dict(channels), readouts
        self.roles = dict(roles)
        self.preset: Preset | None = None
        dims = {s.dim for s in config.streams.values()}
        self.dim = next(iter(dims))
        bound = set(roles.values())
        free = {n: c for n, c in channels.items() if n not in bound or n == CONTROL}
        sizes = {role: channels[c].size for role, c in roles.items()}
        self.streams = nn.ModuleDict({n: StreamModule(s, sizes) for n, s in config.streams.items()})
        rms = Norm("rms")
        self.channels = named_modules({n: Pipeline((*c.steps(), rms), c.size, self.dim) for n, c in free.items()}, "channel")
        self.axis_names = {n: tuple(a.axis for a in c.axes) for n, c in free.items()}
        self.axes = named_modules({a.axis: a.build(self.dim, self.dim) for a in shared_axes(free)}, "axis")
        self.preset_heads: dict[str, tuple[str, str]] = {}
        """head -> (stream, name there)"""
        self.heads = named_modules(dict(self._own_heads(heads)), "head")
        self.schema = schema_of(config, channels, bound)

    def _own_heads(self, heads: Mapping[str, tuple[Step, ...]]) -> Iterator[tuple[str, Pipeline]]:
        """Heads that no preset brings, with what they ask for resolved."""
        of_channel = {c: r for r, c in self.roles.items()}
        for name, steps in heads.items():
            channel, slash, rest = name.rpartition("/masked")
            role = of_channel.get(channel if slash else name)
            preset_head = None if role is None else f"{role}{'/masked' if slash else ''}{rest if slash else ''}"
            stream = next((n for n, s in self.config.streams.items() if preset_head in s.heads), None)
            if stream is not None and preset_head is not None:
                self.preset_heads[name] = (stream, preset_head)
            else:
                yield name, Pipeline([self._resolve(s) for s in steps], self.dim, self.dim)

    def _resolve(self, step: Step) -> Step:
        if not isinstance(step, Logits):
            return step
        tied = self.config.tie and step.channel in self.tables()
        return Tied(step.channel, step.vocab) if tied else Linear(step.vocab, bias=False)

    def stream_modules(self) -> Iterator[tuple[str, StreamModule]]:
        return ((name, cast(StreamModule, module)) for name, module in self.streams.items())

    def tables(self) -> dict[str, Tensor]:
        """Embedding tables by channel, and by role for bound channels."""
        found: dict[str, Tensor] = {}
        for name, pipe in self.channels.items():
            if isinstance(first := cast(Pipeline, pipe)[0], TableModule):
                found[name] = first.weight
        for _, stream in self.stream_modules():
            for role, pipe in stream.embed.items():
                if len(steps := cast(Pipeline, pipe)) and isinstance(first := steps[0], TableModule):
                    found.setdefault(role, first.weight)
                    found.setdefault(self.roles.get(role, role), first.weight)
        return found

    def forward(self, batch: PackedBatch, cache: Cache | None = None, backend: str = "auto") -> dict[str, Tensor]:
        """Answers by task: [R, ...] per asked row, or [G, ...] per group where the head pools."""
        hidden = self.hidden(batch, cache, backend)
        return {task: self.answer(hidden[ask.stream], ask) for task, ask in batch.asks.items()}

    def hidden(self, batch: PackedBatch, cache: Cache | None = None, backend: str = "auto") -> dict[str, Tensor]:
        """The last layer's [N, D] of every stream in the batch."""
        out: dict[str, Tensor] = {}
        done: dict[str, Any] = {}
        tables = self.tables()
        for name, module in self.stream_modules():
            if name not in batch.streams:
                continue
            packed = batch.streams[name]
            layout = cache.extend(packed.layout) if cache is not None else packed.layout
            refuse_long(max(layout.lengths, default=0) if cache is None else cache.width, module.longest, name)
            shared = dict(zip(module.shared_keys, module.shared, strict=True))
            ctx = Context(layout, done.get(module.config.memory or ""), shared, tables, cache=cache, backend=backend)
            out[name] = module(self.embed(packed, module, layout, ctx), ctx)
            done[name] = (out[name], layout)
        return out

    def embed(self, packed: PackedStream, module: StreamModule, layout: Any, ctx: Context) -> Tensor:
        """Every channel's content -> vectors, put back into the order of the stream: [N, D]."""
        of_channel = {c: r for r, c in self.roles.items()}
        parts, rows = [], []
        for name, content in packed.content.items():
            local = Context(layout, tables=ctx.tables, lengths=content.lengths)
            role = of_channel.get(name)
            if role is not None and role in module.embed:
                y = self._masked(module.embed[role](content.value, local), content.rows, layout)
            elif name in self.channels:
                y = self._masked(self.channels[name](content.value, local), content.rows, layout)
                for axis in self.axis_names[name]:
                    y = cast(AxisModule, self.axes[axis]).add(y, layout.axes[axis][content.rows])
            else:
                raise unknown_name("channel", name, self.channel_info, "this model's channels")
            parts.append(y)
            rows.append(content.rows)
        if not parts:
            return next(self.parameters()).new_zeros(0, self.dim)
        place = torch.cat(rows)
        back = torch.empty_like(place)
        back[place] = torch.arange(len(place), device=place.device)
        return torch.cat(parts)[back]

    def _masked(self, y: Tensor, rows: Tensor, layout: Any) -> Tensor:
        """Masked rows lose their content; positions are added later and stay."""
        if MASKED not in layout.axes:
            return y
        hidden = layout.axes[MASKED][rows] >= 0
        blank = self.channels[CONTROL](rows.new_zeros(1), Context())
        return torch.where(hidden[:, None], blank.to(y.dtype), y)

    def answer(self, hidden: Tensor, ask: Ask) -> Tensor:
        """One head at the rows that an ask names."""
        ctx = Context(tables=self.tables(), group=ask.group, groups=len(ask.weight))
        return self.head(ask.head)(hidden[ask.rows], ctx)

    def head(self, name: str) -> nn.Module:
        """A head by name: the preset's, or one that an objective asked for."""
        if name in self.preset_heads:
            stream, own = self.preset_heads[name]
            return cast(StreamModule, self.streams[stream]).heads[own]
        if name not in self.heads:
            raise unknown_name("head", name, [*self.heads, *self.preset_heads], "this model's heads")
        return self.heads[name]


def build(
    preset: Preset | Model,
    channels: Mapping[str, Channel],
    heads: Mapping[str, tuple[Step, ...]] | None = None,
    readouts: tuple[str, ...] = (),
    roles: Mapping[str, str] | None = None,
) -> Transformer:
    """Join a preset (or your own Model), the tokenizers' channels and the objectives' heads into one model.

    `roles` binds a preset's roles to channels; one candidate binds itself. Raises ConfigError by name where a role,
    channel, axis or attention rule does not fit.
    """
    channels = dict(channels)
    bound_roles = bind(preset, channels, roles or {}) if isinstance(preset, Preset) else {}
    channels[CONTROL] = Channel(vocab=1 + len(readouts), attend="full")
    bound = {r: channels[c] for r, c in bound_roles.items()}
    config = preset.model(bound, channels) if isinstance(preset, Preset) else preset
    if len({s.dim for s in config.streams.values()}) != 1:
        raise ConfigError("all streams of a model share one dim")
    check_memory(config.streams)
    model = Transformer(config, channels, heads or {}, bound_roles, readouts)
    check_rules(model)
    model.preset = preset if isinstance(preset, Preset) else None
    return model


def check_memory(streams: Mapping[str, Stream]) -> None:
    """ConfigError where a stream's memory is not an earlier stream, or its attention reads a memory that it does not have."""
    earlier: list[str] = []
    for name, stream in streams.items():
        if stream.memory is not None and stream.memory not in earlier:
            raise ConfigError(f"stream {name!r} reads {stream.memory!r}; earlier streams: {', '.join(earlier) or 'none'}")
        if stream.memory is None and any(isinstance(m, Attention) and m.source == "memory" for m in stream.mixers()):
            raise ConfigError(f"stream {name!r} attends to a memory: set `memory` to an earlier stream")
        earlier.append(name)


def check_rules(model: Transformer) -> None:
    """ConfigError where a stream looks at later tokens beside its attention, and yet leaves it to channels to be causal."""
    for name, stream in model.config.streams.items():
        if stream.attend == "full":
            continue
        ahead = [type(m).__name__ for m in stream.mixers() if not m.steps_alone]  # type: ignore[attr-defined]
        modules = model.streams[name].modules()
        ahead += ['a "segment" norm' for m in modules if isinstance(m, NormModule) and m.config.kind == "segment"]
        if ahead:
            raise ConfigError(f'stream {name!r} holds {ahead[0]}, which looks at later tokens: set its `attend` to "full"')


def bind(preset: Preset, channels: Mapping[str, Channel], given: Mapping[str, str]) -> dict[str, str]:
    """role -> channel: as given, else the one channel with a part of that name, else the one that is left for the one
    role that is left. Raises ConfigError naming a role that stays free.
    """
    roles: tuple[str, ...] = getattr(preset, "roles", ())
    for role, channel in given.items():
        if role not in roles:
            raise ConfigError(f"this preset has no role {role!r}; {did_you_mean(role, roles, 'roles')}")
        if channel not in channels:
            raise unknown_name(f"channel for role {role!r}:", channel, channels, "channels")
    out = dict(given)
    if preset.readout is not None:
        out.setdefault(preset.readout, CONTROL)
    for role in roles:
        named = [c for c in channels if c.rpartition("/")[2] == role]
        if role not in out and len(named) == 1:
            out[role] = named[0]
    free, left = [r for r in roles if r not in out], [c for c in channels if c not in out.values()]
    if len(free) == len(left) == 1:
        return {**out, free[0]: left[0]}
    if free:
        known = ", ".join(sorted(left)) or "none is left"
        raise ConfigError(f"this preset needs a channel for role {free[0]!r}: set model.channels.{free[0]} ({known})")
    return out


def refuse_long(tokens: int, longest: int | None, stream: str) -> None:
    """LengthError for a document that a learned table of positions does not reach."""
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
            for axis in mixer.axes():  # type: ignore[attr-defined]
                if axis != "position":
                    axes.setdefault(axis, 0)
            if isinstance(mixer, Attention):
                pairs |= {p.name for p in mixer.positions if isinstance(p, PairTable)} | ({mixer.over} if mixer.over else set())
    rules = {n: c.attend for n, c in channels.items()}
    sets = frozenset(n for n, c in channels.items() if not c.ordered)
    return Schema(rules, axes, tuple(sorted(pairs)), sets, {n: s.attend for n, s in config.streams.items()})


def named_modules(modules: Mapping[str, nn.Module], kind: str) -> nn.ModuleDict:
    """A ModuleDict, with an error for the few names that torch keeps for itself."""
    for name in modules:
        if "." in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"{kind} name {name!r} cannot be used in a model: choose another")
    return nn.ModuleDict(modules)


__all__ = ["CONTROL", "Model", "Preset", "Stream", "Table", "Transformer", "build"]
