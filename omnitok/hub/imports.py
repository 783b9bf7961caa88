"""A published model as a run: its preset, its channels and tokenizers, its weights, and a recipe to go on from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .. import checkpoint, presets
from ..assemble import bind
from ..config import from_plain, to_plain
from ..errors import CheckpointError, ConfigError, unknown_name
from ..model import Transformer
from ..recipe import Recipe, make_recipe
from ..run import config_of, describe
from ..sources import FILE
from ..tasks import Tasks
from ..tokenizer import Channel
from ..toml import to_toml
from ..weights import Reference, import_weights, renamed
from .files import CONFIG, Published, read_published
from .tokenizers import Served, serve

if TYPE_CHECKING:
    from ..plugins import Host

DATA = "data"
"""the folder that a recipe made here reads, until somebody names another"""
WHOLE = ("next", "masked", "corrupt", "seq2seq")
"""objectives that files alone are enough for; seq2seq reads a file and writes its name"""


@dataclass(frozen=True)
class Imported:
    """What became of a published model."""

    model: Transformer
    tasks: Tasks
    lines: list[str] = field(default_factory=list)
    """what a person should know of it"""


def import_run(
    source: str | Path,
    out: str | Path,
    host: Host,
    preset: str | None = None,
    sets: Mapping[str, Any] | None = None,
    tokenizers: Mapping[str, str] | None = None,
    leave_out: Iterable[str] = (),
    layout: str | None = None,
) -> Imported:
    """Read a published model and write it as a run folder that `load_run` reads.

    `preset` may be left out where `config.json` tells it; `sets` are fields of the preset, or of a role's channel as
    {"tokens": {"vocab": 61}}; `tokenizers` names the plugin of a role; `leave_out` holds patterns of their tensors to drop.
    Raises CheckpointError or ConfigError naming the file, key or field, and writes nothing then.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists already: choose another folder with -o")
    published = read_published(source)
    shape, channels = preset_of(published, preset, sets or {})
    served = serve(published.folder, shape, channels, tokenizers or {}, host)
    recipe = _recipe(shape, served)
    tasks = Tasks(recipe, served.tokenizers, {t.name: t.objective for t in recipe.tasks}, bare=served.bare)
    model = tasks.build()
    try:
        import_weights(model, renamed(model, published.weights), leave_out, layout)
    except CheckpointError as error:
        raise CheckpointError(f"{published.source}: {error}") from None
    facts, states = describe(tasks, host)
    facts["imported"] = {"source": published.source, "left_out": list(leave_out)}
    checkpoint.save(folder, 0, {"model.safetensors": model.state_dict()}, states, facts, keep=1)
    (folder / "recipe.toml").write_text(to_toml(recipe))
    return Imported(model.eval(), tasks, [*_summary(model, published.weights), *served.lines, *_advice(recipe, folder)])


def preset_of(published: Published, name: str | None, sets: Mapping[str, Any]) -> tuple[Reference, dict[str, Channel]]:
    """The preset that the files describe, with `sets` laid over it, and a channel for each of its roles."""
    cls = _class(published, name)
    if published.config is not None:
        shape, channels = cls.from_config(published.config)
    else:
        size = next(iter(cls.published.values()), None)
        shape, channels = cls(), dict(size.channels) if size else {}
    roles = {k: v for k, v in sets.items() if isinstance(v, Mapping) and k not in cls.__struct_fields__}
    fields = {k: v for k, v in sets.items() if k not in roles}
    shape = from_plain(to_plain(shape) | fields, cls, cls.name)  # type: ignore[attr-defined]  # checks what the file says
    return shape, {r: c for r, c in _changed(channels, roles, cls).items() if r != shape.readout}


def _class(published: Published, name: str | None) -> type[Reference]:
    """The preset by its name, or the one that reads the configuration's `model_type`."""
    if name is None:
        config = published.config or {}
        kind = config.get("model_type") or str(config.get("architecture", "")).partition("_")[0] or None
        if not isinstance(kind, str):
            where = f"{CONFIG} names no model_type or architecture" if published.config else f"there is no {CONFIG}"
            raise ConfigError(f"{published.source}: {where}: say which preset it is with --preset")
        name = _by_type(kind)
    cls = presets.get(name)
    if not issubclass(cls, Reference):
        raise ConfigError(f"preset {name!r} follows no published model, so it reads none")
    return cls


def _by_type(kind: str) -> str:
    if (name := kind.replace("_", "-")) in presets.names():
        return name
    known = {t: n for n in presets.names() if issubclass(c := presets.get(n), Reference) for t in c.model_types}
    if kind not in known:
        raise unknown_name("model_type", kind, {*known, *presets.names()}, "presets")
    return known[kind]


def _changed(channels: Mapping[str, Channel], sets: Mapping[str, Mapping[str, Any]], cls: type[Reference]) -> dict[str, Channel]:
    """The channels with fields such as {"tokens": {"vocab": 61}} laid over them."""
    out = dict(channels)
    roles: tuple[str, ...] = cls.roles  # type: ignore[attr-defined]
    for role, values in sets.items():
        if role not in roles:
            raise unknown_name(f"role in --set {role}.{next(iter(values), '')}:", role, roles, "roles")
        out[role] = Channel.from_plain(out.get(role, Channel()).to_plain() | dict(values), role)
    return out


def _recipe(shape: Reference, served: Served) -> Recipe:
    """A recipe of the model, with a task where files alone are enough for one."""
    name: str = shape.name  # type: ignore[attr-defined]
    fields = {k: to_plain(getattr(shape, k)) for k in shape.__struct_fields__ if getattr(shape, k) is not None}
    plain = {
        "tokenizers": {i: {"plugin": t.name} | config_of(t) for i, t in served.tokenizers.items()},
        "tasks": _tasks(shape, served),
        "model": {"preset": name, "channels": served.roles} | fields,
    }
    return make_recipe(plain, tasks_needed=False)


def _tasks(shape: Reference, served: Served) -> list[dict[str, Any]]:
    """A task for the first objective that suits, on the first role that a tokenizer fills and the preset has a head for."""
    channels = {c: ch for t in served.tokenizers.values() for c, ch in t.channels().items()} | served.bare
    roles = bind(shape, channels, served.roles)
    streams = shape.model({r: channels.get(c, Channel()) for r, c in roles.items()}, channels).streams
    main = list(streams)[-1]
    if len(streams) > 1 and streams[main].memory is None:
        return []
    for objective in shape.suits:
        for role, instance in served.instances.items():
            channel, head = channels[roles[role]], f"{role}/masked" if objective == "masked" else role
            fields: Any = [{instance: FILE}]
            if objective == "seq2seq":
                fields = {streams[main].memory: fields, main: [{instance: "name"}]}
            if objective in WHOLE and head in streams[main].heads and (objective != "corrupt" or channel.sentinels):
                asked = {"on": roles[role]}
                return [{"name": objective, "data": {"folder": DATA}, "document": fields, "objective": {objective: asked}}]
    return []


def _summary(model: Transformer, weights: Mapping[str, Tensor]) -> list[str]:
    count = sum(p.numel() for n, p in model.named_parameters() if n.startswith("streams."))
    kinds = {str(t.dtype).removeprefix("torch.") for t in weights.values() if t.is_floating_point()}
    change = "" if kinds <= {"float32"} else f", from {', '.join(sorted(kinds))} to float32"
    return [f"{type(model.preset).name}: {count:,} parameters{change}"]  # type: ignore[union-attr]


def _advice(recipe: Recipe, folder: Path) -> list[str]:
    if not recipe.tasks:
        return []
    return [f"to train it further: put files into {DATA}/, and `omnitok train {folder}/recipe.toml --from {folder} --out NEW`"]
