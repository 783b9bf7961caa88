"""A run written as the folder that the reference library's own `from_pretrained` reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch

from ..errors import CheckpointError, ConfigError, InputError
from ..model import Transformer
from ..run import Run
from ..tokenizer import Tokenizer
from ..weights import Reference, export_weights
from .files import CONFIG, WHOLE

LIBRARY = "transformers"
"""the layout that is written unless another is asked for, where a preset has it"""
SAYS = {"timm": "architecture"}
"""the key that a library's `config.json` must have, where it is not `model_type`"""


def export_run(run: Run, out: str | Path, layout: str | None = None, leave_out: Iterable[str] = ()) -> list[str]:
    """`export_model` of a run's model with its tokenizers."""
    return export_model(run.model, out, run.tokenizers, layout, leave_out)


def export_model(
    model: Transformer,
    out: str | Path,
    tokenizers: Mapping[str, Tokenizer] | None = None,
    layout: str | None = None,
    leave_out: Iterable[str] = (),
) -> list[str]:
    """Write config.json, model.safetensors and the tokenizers' published files into a new folder; lines that say what.

    `layout` names the library whose names the weights get; `leave_out` holds patterns of our parameters that the
    reference has no place for, or channels and heads by name. Raises CheckpointError or ConfigError, and writes nothing then.
    """
    folder = Path(out)
    work = folder.resolve().with_name(f"{folder.resolve().name}.tmp")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists already: choose another folder")
    files, lines = _files(model, layout, leave_out)
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        for name, data in files.items():
            (work / name).write_bytes(data)
        lines += _tokenizers(model, tokenizers or {}, work)
        if folder.exists():
            folder.rmdir()
        os.replace(work, folder)
    except OSError as error:
        raise CheckpointError(f"could not write {folder} ({error.strerror or error})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return lines


def _files(model: Transformer, layout: str | None, leave_out: Iterable[str]) -> tuple[dict[str, bytes], list[str]]:
    """The weights and the configuration as bytes."""
    preset = model.preset
    if not isinstance(preset, Reference):
        name = getattr(preset, "name", "your own")
        raise ConfigError(f"preset {name!r} follows no published model, so it cannot be exported as one")
    bound = {role: model.channel_info[channel] for role, channel in model.roles.items()}
    layouts = list(preset.maps(bound))
    layout = layout if layout is not None else LIBRARY if LIBRARY in layouts else layouts[0]
    weights = export_weights(model, _patterns(model, leave_out), layout)
    files = {WHOLE: safetensors.torch.save({k: v.contiguous() for k, v in weights.items()}, {"format": "pt"})}
    lines = [f"{WHOLE}: {len(weights)} tensors" + (f" in the layout of {layout}" if layout else "")]
    try:
        config = preset.to_config(bound)
    except ConfigError as error:
        return files, [*lines, f"no {CONFIG}: {error}"]
    key = SAYS.get(layout.partition(" ")[0], "model_type")
    if key not in config:
        return files, [*lines, f"no {CONFIG}: it has no key {key!r} for the layout {layout!r}"]
    files[CONFIG] = (json.dumps(config, indent=2) + "\n").encode()
    return files, [*lines, f"{CONFIG}: {config[key]}"]


def _patterns(model: Transformer, leave_out: Iterable[str]) -> list[str]:
    """Patterns as they are; the name of a channel, head or axis stands for all parameters of it."""
    found: list[str] = []
    for asked in leave_out:
        scopes = [s for s in ("channels", "heads", "axes") if asked in getattr(model, s)]
        own = [f"{scope}.{asked}.*" for scope in scopes]
        if "channels" in scopes:
            own += [f"axes.{axis}.*" for axis in _axes_of(model, asked)]
        found += [*own, f"heads.{asked}/*"] if own else [asked]
    return found


def _axes_of(model: Transformer, channel: str) -> list[str]:
    """The axes that no other channel has."""
    names = model.axis_names
    others = {axis for name, axes in names.items() if name != channel for axis in axes}
    return [axis for axis in names[channel] if axis not in others]


def _tokenizers(model: Transformer, tokenizers: Mapping[str, Tokenizer], folder: Path) -> list[str]:
    """Let the tokenizers of the preset's roles write their files."""
    lines = []
    bound = set(model.roles.values())
    for instance, tokenizer in tokenizers.items():
        if bound.isdisjoint(tokenizer.channels()):
            continue
        before = {p.name for p in folder.iterdir()}
        try:
            tokenizer.save_pretrained(folder)
        except InputError as error:
            lines.append(f"no files of tokenizer {instance!r}: {error}")
            continue
        lines.append(f"{', '.join(sorted({p.name for p in folder.iterdir()} - before))}: tokenizer {instance!r}")
    return lines
