"""Which installed tokenizer serves which role of a published model: asked for by name, or tried one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, OmnitokError, PluginError, did_you_mean
from ..tokenizer import Channel, Tokenizer
from ..weights import Reference

if TYPE_CHECKING:
    from ..plugins import Host


@dataclass
class Served:
    """Roles and what fills them."""

    roles: dict[str, str] = field(default_factory=dict)
    """role -> channel"""
    tokenizers: dict[str, Tokenizer] = field(default_factory=dict)
    """instance -> tokenizer"""
    instances: dict[str, str] = field(default_factory=dict)
    """role -> instance, for roles that a tokenizer fills"""
    bare: dict[str, Channel] = field(default_factory=dict)
    """channels that no tokenizer fills, named as their roles"""
    lines: list[str] = field(default_factory=list)


def serve(folder: Path, preset: Reference, channels: Mapping[str, Channel], asked: Mapping[str, str], host: Host) -> Served:
    """Find a tokenizer for every role, by its `from_pretrained`. A role without one keeps a bare channel, and a line says so.

    Raises ConfigError where the plugin that was asked for a role reads nothing here, or something of another size.
    """
    for role in asked:
        if role not in channels:
            raise ConfigError(f"--tokenizer {role}=...: no such role; {did_you_mean(role, channels, 'roles')}")
    served, refusals = Served(), {}
    found: dict[str, Tokenizer] = {}
    others = host.usable() if channels.keys() - asked.keys() else ()
    for name in dict.fromkeys([*asked.values(), *others]):
        try:
            found[name] = _read(name, folder, host)
        except OmnitokError as error:
            if name in asked.values():
                raise ConfigError(f"tokenizer {name!r} reads nothing in {folder}: {error}") from None
            refusals[name] = str(error)
    for role, wanted in channels.items():
        reasons: list[str] = []
        for name in [asked[role]] if role in asked else found:
            channel = next(_fitting(found[name], role, wanted, reasons), None)
            if channel is not None:
                served.roles[role], served.instances[role] = channel, name
                served.tokenizers[name] = found[name]
                served.lines.append(f"{role}: tokenizer {name!r} of {folder}")
                break
        else:
            if role in asked:
                raise ConfigError(f"--tokenizer {role}={asked[role]}: {'; '.join(reasons)}")
            _bare(served, role, wanted, [*reasons, *refusals.values()])
    return served


def _read(name: str, folder: Path, host: Host) -> Tokenizer:
    cls = host.tokenizer_class(name)
    if cls.from_pretrained.__func__ is Tokenizer.from_pretrained.__func__:  # type: ignore[attr-defined]
        raise PluginError(f"tokenizer {name!r} has no published file format")
    return cls.from_pretrained(folder).named(name)


def _fitting(tokenizer: Tokenizer, role: str, wanted: Channel, reasons: list[str]) -> Iterator[str]:
    """Channels of the tokenizer that the model can read in this role; why the others cannot be."""
    channels = tokenizer.channels()
    named = {n: c for n, c in channels.items() if len(channels) == 1 or n.rpartition("/")[2] == role}
    for name, channel in named.items():
        if channel.vocab == wanted.vocab and channel.size == wanted.size:
            yield name
        elif (channel.vocab is None) == (wanted.vocab is None):
            reasons.append(f"tokenizer {tokenizer.name!r} makes {_holds(channel)}, and the model reads {_holds(wanted)}")
        else:
            reasons.append(f"tokenizer {tokenizer.name!r} makes {_holds(channel)}")


def _holds(channel: Channel) -> str:
    return f"{channel.size} numbers per token" if channel.vocab is None else f"ids below {channel.vocab}"


def _bare(served: Served, role: str, wanted: Channel, reasons: list[str]) -> None:
    served.roles[role], served.bare[role] = role, wanted
    why = "; ".join(r for r in reasons if "no published file format" not in r) or "no installed plugin reads these files"
    served.lines.append(f"{role}: no tokenizer, so tokens of channel {role!r} ({_holds(wanted)}) are yours to make; {why}")
