"""`omnitok rl eval`: ask a run for returns, and report which it achieves."""

from __future__ import annotations

import json as json_
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omnitok.commands.common import PluginFiles, console
from omnitok.errors import ConfigError


def evaluate(
    run: Annotated[Path, Parameter(help="The folder that `omnitok train` wrote; its last checkpoint is used.")],
    /,
    *,
    targets: Annotated[
        str, Parameter(help="Returns to ask for, such as 25,50,100; auto: six quantiles of the training episodes' returns.")
    ] = "auto",
    episodes: Annotated[int, Parameter(help="Episodes per target; every target meets the same start states.")] = 32,
    env: Annotated[str | None, Parameter(help="gymnasium id; the data's by default.")] = None,
    task: Annotated[str | None, Parameter(help="The task, where the run has several of trajectories.")] = None,
    seed: Annotated[int, Parameter(help="Seeds start states and drawn actions.")] = 0,
    greedy: Annotated[bool, Parameter(help="Take the best action instead of drawing one (discrete actions).")] = False,
    reference: Annotated[
        str | None,
        Parameter(help="Returns that count as 0 and 100, such as --reference=-1230,-154; else random play and the data's best."),
    ] = None,
    prompt: Annotated[tuple[str, ...], Parameter(help="field=value of what stands in front of the trajectory.")] = (),
    banded: Annotated[
        bool, Parameter(help="Keep the cache beyond the context: for models whose every attention has a window.")
    ] = False,
    json: Annotated[Path | None, Parameter(help="Write all numbers to this file.")] = None,
    picture: Annotated[Path | None, Parameter(help="Write the curve to this .png file.")] = None,
    device: Annotated[str, Parameter(help="auto, cpu or cuda.")] = "cpu",
    plugin: PluginFiles = (),
) -> int:
    """Ask a run for returns in its environment and report which it achieves.

    Example: omnitok rl eval runs/pendulum --targets=-1200,-600,-300 --json tracking.json --picture tracking.png
    """
    from omnitok.run import load_run
    from omnitok.update import device_of

    from .. import evaluation, report

    if episodes < 1:
        raise ConfigError(f"--episodes {episodes}: at least one is needed")
    for path in (json, picture):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent} to write to")
    loaded = load_run(run, plugin, str(device_of(device)))
    subject = evaluation.subject_of(loaded, task, env)
    data = subject.episodes()
    returns = evaluation.episode_returns(data)
    asked, warnings = evaluation.parse_targets(targets, returns)
    for warning in warnings:
        console().print(f"warning: {warning}", style="yellow")
    lead = evaluation.prompt_of(subject, prompt)
    scale = evaluation.reference_of(reference, subject.env, returns, episodes, seed, subject.tokenizer.max_steps)
    tracking = evaluation.evaluate_run(subject, asked, episodes, seed, greedy, lead, banded)
    support = float(returns.min()), float(returns.max())
    console().print(report.table(tracking, scale, support))
    console().print(f"normalised: 0 = {scale.low:.5g} ({scale.low_from}), 100 = {scale.high:.5g} ({scale.high_from})")
    if flat := evaluation.flattened(tracking, subject, greedy):
        warnings.append(flat)
        console().print(f"warning: {flat}", style="yellow")
    way = "predicted" if not subject.discrete else "best" if greedy else "drawn"
    console().print(f"step {loaded.step} of {run}; actions {way}; seed {seed}")
    if picture is not None:
        console().print(f"picture: {report.draw(picture, {f'step {loaded.step}': tracking}, support, returns.tolist())}")
    if json is not None:
        facts = {
            "command": " ".join(["omnitok", *sys.argv[1:]]),
            "checkpoint": {"step": loaded.step, "which": "last"},
            "seed": seed,
            "actions": way,
            "past": "cache with a band" if banded else "window computed anew",
            "support": list(support),
            "warnings": warnings,
            "versions": report.versions(),
            "data_sha256": evaluation.fingerprint(data),
        }
        json.write_text(json_.dumps({**facts, **report.numbers(tracking, scale)}, indent=1) + "\n")
        console().print(f"numbers: {json}")
    return 0
