"""`omnitok eval`: a run's scores on held-out samples, each beside that of the best constant answer."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .common import PluginFiles, console


def evaluate(
    run: Annotated[Path, Parameter(help="The folder that `omnitok train` wrote.")],
    /,
    *,
    split: Annotated[str | None, Parameter(help="Another split than the one that the tasks hold out.")] = None,
    samples: Annotated[int | None, Parameter(help="Most samples per task; the recipe's eval_samples by default.")] = None,
    device: Annotated[str, Parameter(help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
    plugin: PluginFiles = (),
) -> int:
    """Score a run on held-out samples."""
    from ..evaluate import evaluate as score
    from ..evaluate import table
    from ..run import load_run
    from ..update import cast_of, device_of

    place = device_of(device)
    loaded = load_run(run, plugin, str(place))
    cast = cast_of(loaded.recipe.train.precision, place)
    report = score(loaded.model, loaded.tasks.opened(loaded.host), split, samples, cast)
    if json:
        print(json_.dumps(report, indent=2))
    else:
        console().print(table(report))
        console().print(f"step {loaded.step} of {run}")
    return 0
