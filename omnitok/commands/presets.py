"""`omnitok presets`: the architectures with their references and sizes, or one of them explained."""

from __future__ import annotations

import inspect
import json as json_
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from .common import console

if TYPE_CHECKING:
    from ..model import Preset
    from ..tokenizer import Channel
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
        size = next(iter(cls.published.values()))
        facts["layouts"] = [name for name in cls(**size.fields).maps(size.channels) if name]
    return facts


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
    "next": '{{ next = {{ on = "{channel}" }} }}',
    "masked": '{{ masked = {{ on = "{channel}", rate = 0.15 }} }}',
    "classify": '{{ classify = {{ label = "folder" }} }}',
}
"""objectives that a folder of files is enough for: a file's label is the folder that it lies in"""


def recipe_of(cls: type[Preset]) -> str:
    """A recipe that trains the preset at its default size on a folder of files; "" where it takes more than one folder."""
    from ..weights import Reference

    suits = cls.suits if issubclass(cls, Reference) else ("next",)
    objective = next((o for o in suits if o in TASKS), None)
    size = next(iter(cls.published.values()), None) if issubclass(cls, Reference) else None
    roles = [r for r in (size.channels if size else ()) if r != cls.readout]
    plugin = _plugin(size.channels[roles[0]] if size and len(roles) == 1 else None)
    if objective is None or plugin is None or len(roles) > 1:
        return ""
    bound = f'channels = {{ {roles[0]} = "{plugin}" }}\n' if roles and roles[0] in getattr(cls, "roles", ()) else ""
    return (
        f'[[tasks]]\nname = "{objective}"\ndata = {{ folder = "data" }}\ndocument = [{{ {plugin} = "file" }}]\n'
        f"objective = {TASKS[objective].format(channel=plugin)}\n\n"
        f'[model]\npreset = "{cls.name}"\n{bound}'  # type: ignore[attr-defined]
    )


def _plugin(wanted: Channel | None) -> str | None:
    """An installed tokenizer that, as it is, makes what a role takes, and nothing else; of several for ids, that with most."""
    from ..errors import OmnitokError
    from ..plugins import load_plugins

    host = load_plugins()
    ids: dict[str, int] = {}
    for record in host.status():
        try:
            channels = list(host.tokenizer(record.name).channels().values()) if record.suffixes else []
        except OmnitokError:
            continue
        if len(channels) != 1:
            continue
        if channels[0].vocab is not None and (wanted is None or wanted.vocab is not None):
            ids[record.name] = channels[0].vocab
        elif wanted is not None and wanted.vocab is None and channels[0].size == wanted.size:
            return record.name
    return max(ids, key=lambda name: ids[name], default=None)
