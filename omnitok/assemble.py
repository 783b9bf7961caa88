"""Building a model: presets bound to channels, what does not fit refused by name, start values put in."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from .errors import ConfigError, did_you_mean, unknown_name
from .model import CONTROL, READOUT, Model, Preset, Stream, Transformer
from .nn.attention import Attention
from .nn.norms import NormModule
from .nn.steps import Step
from .tokenizer import Channel


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
    channels[CONTROL] = Channel(vocab=READOUT + len(readouts), attend="full")
    bound = {r: channels[c] for r, c in bound_roles.items()}
    config = preset.model(bound, channels) if isinstance(preset, Preset) else preset
    check_streams(config.streams)
    norm = preset.channel_norm if isinstance(preset, Preset) else Preset.channel_norm
    model = Transformer(config, channels, heads or {}, bound_roles, readouts, norm)
    check_rules(model)
    if isinstance(preset, Preset):
        model.preset = preset
        initialise(model, preset)
    return model


def initialise(model: Transformer, preset: Preset) -> None:
    """Give the streams' parameters the start values that the preset names."""
    values = preset.initial()
    for path, module in model.streams.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            found = next((v for pattern, v in values if fnmatchcase(f"{path}.{name}", pattern)), None)
            if found is not None:
                found.fill(parameter, module)


def check_streams(streams: Mapping[str, Stream]) -> None:
    """ConfigError where a stream names one that does not come before it, or its attention reads a memory it does not have."""
    earlier: list[str] = []
    for name, stream in streams.items():
        if stream.like is not None and (stream.like not in earlier or streams[stream.like].like is not None):
            raise ConfigError(f"stream {name!r} is like {stream.like!r}; earlier streams: {', '.join(earlier) or 'none'}")
        if stream.like is not None and stream.dim != streams[stream.like].dim:
            raise ConfigError(
                f"stream {name!r} of dim {stream.dim} is like {stream.like!r} of dim {streams[stream.like].dim}: make them equal"
            )
        if stream.schedule is not None and set(stream.schedule) != set(range(len(stream.blocks))):
            raise ConfigError(
                f"stream {name!r}: the schedule must name each of its {len(stream.blocks)} blocks, got {list(stream.schedule)}"
            )
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
        module = model.stream(name)
        ahead = [type(m).__name__ for m in module.config.mixers() if m.ahead()]
        ahead += ['a "segment" norm' for m in module.modules() if isinstance(m, NormModule) and m.config.kind == "segment"]
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
