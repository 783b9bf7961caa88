"""`omnitok import`: a published model in, a run folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import ConfigError
from .common import PluginFiles, Sets, console, parse_sets


def import_(
    source: Annotated[str, Parameter(help="A folder with config.json and safetensors, one .safetensors file, or a hub id.")],
    /,
    *,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="The run's folder.")],
    preset: Annotated[str | None, Parameter(help="What it is, where config.json does not say so; see `omnitok presets`.")] = None,
    tokenizer: Annotated[
        tuple[str, ...], Parameter(help="ROLE=PLUGIN: who reads the folder's tokenizer files for a role; else all are tried.")
    ] = (),
    leave_out: Annotated[tuple[str, ...], Parameter(help="A pattern of tensors in the file to drop; may be repeated.")] = (),
    layout: Annotated[str | None, Parameter(help="The library that named the tensors, where it is not plain from them.")] = None,
    set_: Sets = (),
    plugin: PluginFiles = (),
) -> int:
    """Make a run of a published model. `--set` changes fields of the preset, or of a role's channel as tokens.vocab=61."""
    from ..hub import import_run
    from ..plugins import load_plugins

    asked = dict(_pair(text) for text in tokenizer)
    done = import_run(source, out, load_plugins(files=plugin), preset, parse_sets(set_), asked, leave_out, layout)
    for line in done.lines:
        console().print(line, soft_wrap=True)
    console().print(f"the run is in {out}", soft_wrap=True)
    return 0


def _pair(text: str) -> tuple[str, str]:
    role, equals, plugin = text.partition("=")
    if not equals or not role or not plugin:
        raise ConfigError(f"--tokenizer {text!r}: expected ROLE=PLUGIN")
    return role, plugin
