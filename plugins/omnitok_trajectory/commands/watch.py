"""`omnitok rl watch`: one episode of a run as a moving picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omnitok.commands.common import PluginFiles, console
from omnitok.errors import ConfigError


def watch(
    run: Annotated[Path, Parameter(help="The folder that `omnitok train` wrote; its last checkpoint is used.")],
    /,
    *,
    target: Annotated[float, Parameter(help="The return to ask for.")],
    out: Annotated[Path, Parameter(name=("--out", "-o"), help="Write to this .gif or .mp4 file.")] = Path("episode.gif"),
    attention: Annotated[
        Path | None, Parameter(help="Also draw what the model reads in the last window of the episode, to this .png file.")
    ] = None,
    env: Annotated[str | None, Parameter(help="gymnasium id; the data's by default.")] = None,
    task: Annotated[str | None, Parameter(help="The task, where the run has several of trajectories.")] = None,
    seed: Annotated[int, Parameter(help="Seeds the start state and drawn actions.")] = 0,
    greedy: Annotated[bool, Parameter(help="Take the best action instead of drawing one (discrete actions).")] = False,
    steps: Annotated[int, Parameter(help="Stop after so many steps.")] = 1000,
    prompt: Annotated[tuple[str, ...], Parameter(help="field=value of what stands in front of the trajectory.")] = (),
    plugin: PluginFiles = (),
) -> int:
    """Ask a run for a return, play one episode, and save it with the asked and the remaining return drawn in.

    Example: omnitok rl watch runs/cartpole --target 200 -o cartpole.gif
    """
    from omnitok.run import load_run

    from .. import evaluation, film, gaze

    if out.suffix not in (".gif", ".mp4"):
        raise ConfigError(f"{out}: write to a .gif or an .mp4 file")
    for path in (out, attention):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent} to write to")
    subject = evaluation.subject_of(load_run(run, plugin), task, env)
    policy = subject.policy(seed, greedy, evaluation.prompt_of(subject, prompt))
    shown = film.filmed(policy, subject.env, target, evaluation.start_of(seed), min(steps, subject.tokenizer.max_steps))
    film.save(out, film.drawn(shown, target), shown.rate)
    console().print(f"asked {target:g}, earned {shown.total:.5g} in {len(shown.frames) - 1} steps: {out}")
    if attention is not None:
        document = policy.window.document()
        layers = gaze.attention(subject.run.model, document)
        console().print(f"attention: {gaze.draw(attention, layers, document.main, policy.window.unit)}")
    return 0
