"""Recipes written as TOML: every value, defaults too, each with what it means."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from . import presets
from .config import field_types, to_plain
from .errors import ConfigError
from .recipe import Recipe, Task, Train

if TYPE_CHECKING:
    from .plugins import Host


def filled(recipe: Recipe, host: Host) -> Recipe:
    """The same recipe with the defaults of its tokenizers, datasets and preset written out."""
    tokenizers = {}
    for instance in recipe.tokenizers:
        tokenizer = host.tokenizer(recipe.plugin(instance), instance=instance, **recipe.config(instance))
        tokenizers[instance] = {"plugin": recipe.plugin(instance)} | _set(_values(tokenizer, tokenizer.config_fields()))
    preset = recipe.preset()
    fields = _set(_values(preset, preset.__struct_fields__))
    model = {"preset": recipe.preset_name, "channels": recipe.roles} | fields
    return recipe.replace(tokenizers=tokenizers, model=model, tasks=tuple(_task(t, host) for t in recipe.tasks))


def _task(task: Task, host: Host) -> Task:
    data = {"split": task.split, "eval": task.eval_split} | task.data
    if "name" in data:
        own = {k: v for k, v in data.items() if k not in ("name", "split", "eval")}
        dataset = host.dataset(data["name"], **own)
        data |= _set(_values(dataset, dataset.__struct_fields__))
    return task.replace(data=data)


def _values(struct: Any, names: Any) -> dict[str, Any]:
    return {name: msgspec.to_builtins(to_plain(getattr(struct, name))) for name in names}


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}


def to_toml(recipe: Recipe, host: Host | None = None) -> str:
    """A recipe as TOML that loads back to an equal one; `host` is asked what the tokenizers' keys mean."""
    lines: list[str] = []
    for instance, values in recipe.tokenizers.items():
        cls = host.tokenizer_class(recipe.plugin(instance)) if host else None
        lines += [f"[tokenizers.{instance}]", *_table(values, cls), ""]
    for task in recipe.tasks:
        lines += ["[[tasks]]", *_table(_task_form(task), Task), ""]
    lines += ["[model]", *_table(recipe.model, presets.get(recipe.preset_name)), ""]
    return "\n".join([*lines, "[train]", *_table(_values(recipe.train, Train.__struct_fields__), Train), ""])


def _task_form(task: Task) -> dict[str, Any]:
    """The task's fields as the recipe writes them."""
    document: Any = {s: list(parts) for s, parts in task.document.items()}
    kind = type(task.objective).__name__.lower()
    objective = _values(task.objective, task.objective.__struct_fields__)
    values = {name: getattr(task, name) for name in Task.__struct_fields__}
    return values | {"document": document["main"] if document.keys() == {"main"} else document, "objective": {kind: objective}}


def _table(values: Mapping[str, Any], cls: type[msgspec.Struct] | None) -> Iterator[str]:
    notes = meanings(cls) if cls else {}
    fields = msgspec.structs.fields(cls) if cls else ()
    unset = [f.name for f in fields if f.default is None and f.name not in ("instance", "state")]
    for key, value in values.items():
        if value is not None:
            yield f"{_key(key)} = {_value(value, key)}" + (f"  # {notes[key]}" if key in notes else "")
    for key in unset:
        if values.get(key) is None:
            yield f"# {key} is not set" + (f"  # {notes[key]}" if key in notes else "")


def meanings(cls: type[msgspec.Struct]) -> dict[str, str]:
    """Field name -> its description, where the annotation carries one."""
    found: dict[str, str] = {}
    for name, hint in field_types(cls).items():
        for part in (hint, *typing.get_args(hint)):
            for meta in getattr(part, "__metadata__", ()):
                if isinstance(meta, msgspec.Meta) and meta.description:
                    found.setdefault(name, " ".join(meta.description.split()))
    return found


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(k)} = {_value(v, f'{where}.{k}')}" for k, v in value.items() if v is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(v, where) for v in value)}]"
    raise ConfigError(f"{where}: TOML cannot hold {value!r}")
