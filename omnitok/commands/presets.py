"""`omnitok presets`: the architectures with their references and sizes, or one of them explained."""

from __future__ import annotations

import inspect
import json as json_
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from ..errors import ConfigError
from .common import console

if TYPE_CHECKING:
    from ..model import Preset, Stream
    from ..plugins import Host
    from ..tokenizer import Channel, Tokenizer
    from ..weights import Reference, Size


def presets(
    name: Annotated[str | None, Parameter(help="Explain this preset: its fields, published sizes and a recipe.")] = None,
    /,
    *,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> int:
    """List the architectures, or explain one. Parameters are counted on models without memory, at the published sizes."""
    from .. import presets as known

    if name is not None:
        facts = describe(known.get(name))
        print(json_.dumps(facts, indent=2)) if json else _explain(facts)
        return 0
    rows = [_row(known.get(n)) for n in known.names()]
    if json:
        print(json_.dumps(rows, indent=2))
        return 0
    table = Table("preset", "reference", "published size", "parameters", "objectives")
    for row in rows:
        size = next(iter(row["published"].items()), None)
        count = "" if size is None else f"{size[1]:,}"
        table.add_row(row["name"], row["source"], "" if size is None else size[0], count, ", ".join(row["suits"]))
    console().print(table)
    return 0


def _row(cls: type[Preset], every: bool = False) -> dict[str, Any]:
    """What the list says of one preset; `every`: all its published sizes, not the default one alone."""
    from ..weights import Reference

    name: str = cls.name  # type: ignore[attr-defined]
    if not issubclass(cls, Reference):
        return {"name": name, "source": "no one reference", "suits": ["all"], "published": {}}
    sizes = list(cls.published)
    counts = {size: parameters(cls, cls.published[size]) for size in (sizes if every else sizes[:1])}
    return {"name": name, "source": cls.source, "suits": list(cls.suits), "published": counts}


def parameters(cls: type[Reference], size: Size) -> int:
    """Trained numbers of the streams at a published size, tied ones once; counted without memory for them."""
    model = shape_of(cls(**size.fields), size.channels)
    return sum(p.numel() for n, p in model.named_parameters() if n.startswith("streams."))


def shape_of(preset: Preset, channels: Mapping[str, Channel]) -> Any:
    """The model of a preset whose roles are bound to channels of the same names, without memory or start values."""
    import torch

    from ..assemble import build

    named = {role: f"{role}-channel" for role in channels if role != preset.readout}
    roles = {role: name for role, name in named.items() if role in getattr(preset, "roles", ())}
    with torch.device("meta"):
        return build(preset, {named[r]: channels[r] for r in named}, roles=roles)


def describe(cls: type[Preset]) -> dict[str, Any]:
    """All that `omnitok presets NAME` prints, as plain values."""
    from ..weights import Reference

    facts = _row(cls, every=True) | {
        "meaning": inspect.cleandoc(cls.__doc__ or ""),
        "roles": list(getattr(cls, "roles", ())),
        "fields": list(_fields(cls)),
        "layouts": [],
        "recipe": recipe_of(cls),
    }
    if issubclass(cls, Reference) and cls.published:
        facts["layouts"] = _layouts(cls)
    return facts


def _layouts(cls: type[Reference]) -> list[str]:
    """The layouts of weights that any of the published sizes has: an option may decide which library a model is."""
    found: dict[str, None] = {}
    for size in cls.published.values():
        with suppress(ConfigError):
            found |= dict.fromkeys(name for name in cls(**size.fields).maps(size.channels) if name)
    return list(found)


def _fields(cls: type[Preset]) -> Iterator[dict[str, str]]:
    import msgspec

    from ..config import field_types
    from ..toml import meanings
    from .explain import default_of, kind_of

    notes, hints = meanings(cls), field_types(cls)
    for field in msgspec.structs.fields(cls):
        default = "required" if field.required else repr(default_of(field))
        yield {"name": field.name, "type": kind_of(hints[field.name]), "default": default, "meaning": notes.get(field.name, "")}


def _explain(facts: Mapping[str, Any]) -> None:
    out = console()
    out.print(f"{facts['name']}: {facts['meaning']}")
    out.print(f"reference: {facts['source']}", soft_wrap=True)
    out.print(f"roles: {', '.join(facts['roles']) or 'none: any channels'}; objectives: {', '.join(facts['suits'])}")
    if facts["layouts"]:
        out.print(f"layouts of weights: {', '.join(facts['layouts'])}")
    if facts["published"]:
        table = Table("published size", "parameters", title="sizes", title_justify="left")
        for name, count in facts["published"].items():
            table.add_row(name, f"{count:,}")
        out.print(table)
    table = Table("field", "type", "default", "meaning", title="configuration", title_justify="left")
    for field in facts["fields"]:
        table.add_row(field["name"], field["type"], field["default"], field["meaning"])
    out.print(table)
    if facts["recipe"]:
        out.print(f"a recipe:\n\n{facts['recipe']}", soft_wrap=True)


TASKS = {
    "next": '{{ next = {{ on = "{plugin}" }} }}',
    "masked": '{{ masked = {{ on = "{plugin}", rate = 0.15 }} }}',
    "seq2seq": '{{ seq2seq = {{ on = "{plugin}", smoothing = 0.1 }} }}',
    "classify": '{{ classify = {{ label = "folder"{read} }} }}',
}
"""objectives that a folder of files is enough for: a file's label is the folder that it lies in, its answer is its name"""


def recipe_of(cls: type[Preset]) -> str:
    """A recipe that trains the preset at its default size on a folder of files; "" where it takes more than one folder."""
    from ..weights import Reference

    name: str = cls.name  # type: ignore[attr-defined]
    size = next(iter(cls.published.values()), None) if issubclass(cls, Reference) else None
    suits = cls.suits if issubclass(cls, Reference) else ("masked" if getattr(cls, "attend", None) == "full" else "next",)
    objective = next((o for o in suits if o in TASKS), None)
    roles = [r for r in (size.channels if size else ()) if r != cls.readout]
    kinds = {(size.channels[r].vocab is None, size.channels[r].size) for r in roles} if size else set()
    tokenizer = _tokenizer(size.channels[roles[0]] if size and roles else None)
    if objective is None or tokenizer is None or len(kinds) > 1 or (len(roles) > 1 and objective != "seq2seq"):
        return ""
    plugin = tokenizer.name
    bound = {role: plugin for role in roles if role in getattr(cls, "roles", ())}
    preset = cls(**size.fields) if size else cls()
    streams = _streams(preset, tokenizer.channels(), bound, objective == "classify")
    read = "" if streams else ', read = "mean"'  # no place for a readout token
    streams = streams or _streams(preset, tokenizer.channels(), bound, False)
    if not streams:
        return ""
    document, (main, stream) = f'[{{ {plugin} = "file" }}]', list(streams.items())[-1]
    if objective == "seq2seq":
        document = f'{{ {stream.memory} = {document}, {main} = [{{ {plugin} = "name" }}] }}'
    channels = ", ".join(f'{role} = "{channel}"' for role, channel in bound.items())
    return (
        f'[[tasks]]\nname = "{objective}"\ndata = {{ folder = "data" }}\ndocument = {document}\n'
        f"objective = {TASKS[objective].format(plugin=plugin, read=read)}\n\n"
        f'[model]\npreset = "{name}"\n' + (f"channels = {{ {channels} }}\n" if channels else "")
    )


def _streams(preset: Preset, channels: Mapping[str, Channel], roles: Mapping[str, str], readout: bool) -> dict[str, Stream]:
    """The streams of the preset over a tokenizer's own channels; none where it cannot be made of them."""
    import torch

    from ..assemble import build
    from ..errors import ConfigError

    try:
        with torch.device("meta"):
            return build(preset, channels, readouts=("label",) if readout else (), roles=roles).config.streams
    except ConfigError:
        return {}


def _tokenizer(wanted: Channel | None) -> Tokenizer | None:
    """A tokenizer that, as it is, makes what a role takes, and nothing else; of several for ids, that with most.

    One of the plugins that come with omnitok; others are imported only where none of those fits.
    """
    from ..plugins import load_plugins
    from ..plugins.api_range import OURS

    host = load_plugins()
    own = [r.name for r in host.status() if r.distribution == OURS]
    return _fitting(host, own, wanted) or _fitting(host, host.usable(), wanted)


def _fitting(host: Host, names: Sequence[str], wanted: Channel | None) -> Tokenizer | None:
    from ..errors import OmnitokError

    found: dict[int, Tokenizer] = {}
    for record in host.status():
        if record.name not in names or not record.suffixes:
            continue
        try:
            tokenizer = host.tokenizer(record.name)
            (channel,) = tokenizer.channels().values()
        except (OmnitokError, ValueError):
            continue
        same = wanted is None or (channel.vocab is None) == (wanted.vocab is None)
        fits = channel.vocab or (wanted is not None and channel.size == wanted.size)
        if same and fits and channel.ordered:
            found[channel.vocab or 0] = tokenizer
    return found[max(found)] if found else None
