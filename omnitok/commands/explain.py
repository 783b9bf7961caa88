"""`omnitok plugins NAME`: what a plugin's tokens hold, and what its configuration fields mean; or why it is broken."""

from __future__ import annotations

import inspect
import json as json_
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec
from rich.table import Table

from ..errors import ConfigError, PluginError
from ..plugins import Host
from ..plugins.refusals import command, remedies
from ..tokenizer import Bounded, Channel, Exact, RoundTrip, Tokenizer
from .common import console


def explain(host: Host, name: str, config: Mapping[str, Any], json: bool) -> int:
    """Import the plugin and print what it offers; of a broken one the traceback and what to do. The exit code is then 1."""
    try:
        cls = host.tokenizer_class(name)
    except PluginError:
        record = next(r for r in host.status() if r.name == name)
        if record.status != "broken":
            raise
        advice = [r for r in remedies(record) if not r.startswith(command(name))]
        facts = {"name": name, "status": record.status, "error": record.error, "remedies": advice}
        print(json_.dumps(facts, indent=2) if json else f"{record.error}\n\n{name}: {', or '.join(advice)}")
        return 1
    facts = describe(cls, host, config)
    if json:
        print(json_.dumps(facts, indent=2))
    else:
        _print(facts)
    return 0


def describe(cls: type[Tokenizer], host: Host, config: Mapping[str, Any]) -> dict[str, Any]:
    """All that `omnitok plugins NAME` prints, as plain values."""
    facts: dict[str, Any] = {
        "name": cls.name,
        "meaning": inspect.cleandoc(cls.__doc__ or ""),
        "round_trip": round_trip(cls.round_trip),
        "unit": cls.unit,
        "fields": _fields(cls),
        "datasets": list(host.datasets(cls.name)),
        "channels": {},
    }
    try:
        tokenizer = host.tokenizer(cls.name, **config)
        facts["channels"] = {name: _channel(channel) for name, channel in tokenizer.channels().items()}
    except ConfigError as error:  # some tokenizers say nothing before they are configured
        if config:
            raise
        facts["channels_need"] = str(error)
    return facts


def round_trip(rule: RoundTrip) -> str:
    """The declared round trip in words."""
    match rule:
        case Exact():
            return "exact"
        case Bounded(error=error):
            return f"within {error:g}"
    return "one-way"


def _fields(cls: type[Tokenizer]) -> list[dict[str, str]]:
    hints = get_type_hints(cls, include_extras=True)
    fields = []
    for name, field in cls.config_fields().items():
        meta = next((m for m in getattr(hints[name], "__metadata__", ()) if isinstance(m, msgspec.Meta)), None)
        default = "required" if field.required else repr(default_of(field))
        fields.append(
            {"name": name, "type": kind_of(hints[name]), "default": default, "meaning": (meta and meta.description) or ""}
        )
    return fields


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """The value of a field that is left out."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def strip_annotations(hint: Any) -> Any:
    """`int | None` for an annotation that carries limits and descriptions at any depth."""
    return get_type_hints(type("_", (), {"__annotations__": {"it": hint}}))["it"]


def kind_of(hint: Any) -> str:
    """An annotation in words, without what it carries beside the type."""
    kind = strip_annotations(hint)
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind).replace("typing.", "")


def _channel(channel: Channel) -> dict[str, Any]:
    """What the channel declares, without what is at its default."""
    facts: dict[str, Any] = {"holds": f"ids below {channel.vocab}" if channel.width is None else f"features {channel.width}"}
    facts["attend"] = channel.attend if channel.ordered else f"{channel.attend}, a set"
    facts["axes"] = {a.axis: f"{a.kind}, {a.size}" for a in channel.axes}
    facts["pairs"] = dict(channel.pairs)
    facts["end"] = channel.end
    facts["embedding"] = [type(step).__name__ for step in channel.steps()]
    return facts


def _print(facts: Mapping[str, Any]) -> None:
    out = console()
    out.print(f"{facts['name']}: {facts['meaning']}")
    out.print(f"round trip: {facts['round_trip']}; a crop starts at a multiple of {facts['unit']}")
    table = Table("channel", "holds", "attends", "axes", "pairs", "end", "embedding", title="tokens", title_justify="left")
    for name, c in facts["channels"].items():
        axes = "; ".join(f"{axis} ({what})" for axis, what in c["axes"].items())
        pairs = ", ".join(f"{pair} ({labels})" for pair, labels in c["pairs"].items())
        end = "" if c["end"] is None else str(c["end"])
        table.add_row(name, c["holds"], c["attend"], axes, pairs, end, " -> ".join(c["embedding"]))
    out.print(f"tokens: {facts['channels_need']}" if "channels_need" in facts else table)
    table = Table("field", "type", "default", "meaning", title="configuration", title_justify="left")
    for field in facts["fields"]:
        table.add_row(field["name"], field["type"], field["default"], field["meaning"])
    out.print(table)
    out.print(f"datasets: {', '.join(facts['datasets']) or 'none'}")
