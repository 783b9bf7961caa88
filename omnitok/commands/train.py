"""`omnitok train`: a recipe in, a run folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .common import PluginFiles, console


def train(
    recipe: Annotated[Path, Parameter(help="A TOML file; `omnitok config show` explains its keys.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The run's folder: metrics.jsonl, recipe.toml and checkpoints/.")],
    resume: Annotated[bool, Parameter(help="Continue the run in that folder from its newest checkpoint.")] = False,
    from_: Annotated[
        Path | None, Parameter(name="--from", help="Start with the model, tokenizers and weights of this run.")
    ] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", help="Lay a value over the recipe, such as train.seed=1.")] = (),
    plugin: PluginFiles = (),
) -> int:
    """Train a model from a recipe. Ctrl-C saves a checkpoint and stops; `--resume` continues exactly."""
    from ..evaluate import table
    from ..plugins import load_plugins
    from ..recipe import load_recipe
    from ..run import load_run
    from ..train import train as run

    start = None if from_ is None else load_run(from_, plugin)
    result = run(load_recipe(recipe, set_), out, load_plugins(files=plugin), resume, start=start)
    if result.interrupted:
        console().print(f"stopped and saved at step {result.step}; --resume continues")
        return 130
    if result.report is not None:
        console().print(table(result.report))
    console().print(f"{result.step} steps; the run is in {out}")
    return 0
