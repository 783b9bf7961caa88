"""`omnitok config`: every value of a recipe, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from .common import PluginFiles

app = cyclopts.App(name="config", help="Show every value of a recipe and what it means.", help_format="plaintext")


@app.command
def show(
    recipe: Annotated[Path, Parameter(help="A TOML file.")],
    /,
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", help="Lay a value over the recipe, such as train.seed=1.")] = (),
    plugin: PluginFiles = (),
) -> int:
    """Print the whole recipe as TOML, defaults too, each key with its meaning."""
    from ..plugins import load_plugins
    from ..recipe import load_recipe
    from ..toml import filled, to_toml

    host = load_plugins(files=plugin)
    print(to_toml(filled(load_recipe(recipe, set_), host), host), end="")
    return 0
