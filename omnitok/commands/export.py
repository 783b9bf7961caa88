"""`omnitok export`: a run in, a folder that the reference library reads out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .common import PluginFiles, console


def export(
    run: Annotated[Path, Parameter(help="The folder of a run whose preset follows a published model.")],
    /,
    *,
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="A new folder for config.json, model.safetensors and the rest.")],
    layout: Annotated[str | None, Parameter(help="The library whose names the tensors get; see `omnitok presets NAME`.")] = None,
    leave_out: Annotated[
        tuple[str, ...], Parameter(help="A channel, a head or a pattern of parameters that stays here; may be repeated.")
    ] = (),
    plugin: PluginFiles = (),
) -> int:
    """Write a run's model as the folder that the reference library's own `from_pretrained` reads."""
    from ..hub import export_run
    from ..run import load_run

    for line in export_run(load_run(run, plugin), out, layout, leave_out):
        console().print(line, soft_wrap=True)
    console().print(f"written to {out}", soft_wrap=True)
    return 0
