"""`omnitok rl mix`: a data set of mixed quality from the checkpoints of one training. Needs the extra `sb3`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from .tables import show

Positive = validators.Number(gte=1)


def mix(
    env: Annotated[str, Parameter(help="Gymnasium id, such as Pendulum-v1 or Hopper-v5.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The .npz file; checkpoints are saved in the folder OUT.checkpoints beside it.")],
    steps: Annotated[int, Parameter(help="Steps of training.", validator=Positive)] = 10_000,
    checkpoints: Annotated[int, Parameter(help="Saved at even distances.", validator=Positive)] = 8,
    episodes: Annotated[int, Parameter(help="Played by each checkpoint, and as many at random.", validator=Positive)] = 40,
    hidden: Annotated[int, Parameter(help="Width of the two hidden layers.", validator=Positive)] = 64,
    seed: Annotated[int, Parameter(help="Training, start states and actions.", validator=validators.Number(gte=0, lte=9))] = 0,
    force: Annotated[bool, Parameter(help="Replace the file that is there.")] = False,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> int:
    """Train a policy with stable-baselines3 (PPO for choices, SAC for numbers) and play its checkpoints, from random to trained.

    The file has `observations` (T + 1 rows an episode), `actions`, `rewards`, `lengths`, `terminated`, `truncated`, and
    `checkpoint` (steps of training; 0 is random). A recipe reads it as
    `data = { name = "trajectory/file", path = "OUT", env = "ENV" }`.
    """
    import numpy as np

    from omnitok.errors import ConfigError

    from .. import sb3
    from ..collecting import collected, summary
    from ..controllers import at_random
    from ..environments import make
    from ..npz import write_episodes

    if out.suffix != ".npz":
        raise ConfigError(f"--out {out}: give a file that ends in .npz")
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; `--force` replaces it")
    if checkpoints > steps:
        raise ConfigError(f"{checkpoints} checkpoints need as many steps, got {steps}")
    sb3.library()
    saved = sb3.train(env, steps, checkpoints, out.with_suffix(".checkpoints"), seed, hidden)
    made, found, rows = make(env, disable_env_checker=True), [], []
    try:
        for taken, file in [(0, None), *saved]:
            controller = at_random if file is None else sb3.load_policy(file, best=False)
            own = collected(made, controller, (0.0,) * episodes, seed, first=len(found))
            found += own
            rows.append({"checkpoint": taken, "return_mean": summary(env, own)["return_mean"]})
    finally:
        made.close()
    origin = np.repeat([row["checkpoint"] for row in rows], episodes)
    write_episodes(out, found, checkpoint=origin)
    means = rows if json else "  ".join(f"{row['checkpoint']}: {row['return_mean']:.4g}" for row in rows)
    show({"written": str(out), **summary(env, found), "checkpoints": means}, json)
    return 0
