"""Words in front of an episode choose how well one model plays CartPole and Pendulum.

One model is trained on scripted episodes of experts and beginners behind the words that say which it is. It sees no
returns: what it is told is the text. Run: omnitok demo prompt [--seeds 0,1,2] [--steps 2]. Scores: demos/README.md
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from _results import data_hash, fresh, versions
from cyclopts import Parameter
from omnitok_trajectory.prompted import PROMPTS
from omnitok_trajectory.rollout import ModelPolicy, rollout
from omnitok_trajectory.tracking import Tracking
from rich.console import Console
from rich.table import Table

from omnitok import load_plugins, load_run
from omnitok.recipe import load_recipe
from omnitok.run import Run
from omnitok.train import train

HERE = Path(__file__).parent
TASKS = {"balance": ("cartpole", "CartPole-v1"), "swing": ("pendulum", "Pendulum-v1")}


@Parameter(name="*")
@dataclass
class Args:
    """Knobs of the demo."""

    steps: Annotated[int | None, Parameter(help="updates; unset: the recipe's")] = None
    seeds: Annotated[str, Parameter(help="seeds of weights and data order, such as 0,1,2")] = "0"
    episodes: Annotated[int, Parameter(help="episodes per prompt and environment")] = 32
    out: Annotated[Path, Parameter(help="folder for runs and result.json; a number is added where it exists")] = Path(
        "runs/prompt"
    )


def main(args: Args = Args()) -> None:  # noqa: B008
    """Train, then play both environments behind both prompts."""
    begin, out, table = time.time(), fresh(args.out), Table("seed", "environment", "prompt", "mean return [95 %]")
    seeds: dict[str, Any] = {}
    for seed in (int(s) for s in args.seeds.split(",")):
        sets = [f"train.seed={seed}", *([f"train.steps={args.steps}"] if args.steps is not None else [])]
        train(load_recipe(HERE / "prompt.toml", sets), out / f"seed-{seed}", load_plugins())
        run = load_run(out / f"seed-{seed}")
        rows: dict[str, Any] = {}
        for task, (_, env) in TASKS.items():
            for prompt in PROMPTS:
                played = play(run, task, prompt, seed, args.episodes)
                low, high = played.interval()[0].round(1).tolist()
                table.add_row(str(seed), env, prompt, f"{played.means[0]:.1f} [{low:.1f}, {high:.1f}]")
                rows.setdefault(env, {})[prompt] = {"mean": round(float(played.means[0]), 2), "interval": [low, high]}
        seeds[str(seed)] = rows
    Console().print(table)
    steps = f" --steps {args.steps}" if args.steps is not None else ""
    result = {
        "command": f"omnitok demo prompt --seeds {args.seeds} --episodes {args.episodes}{steps}",
        "seconds": round(time.time() - begin),
        "versions": versions(),
        "data_sha256": hashed(run),
        "seeds": seeds,
    }
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")


def play(run: Run, task: str, prompt: str, seed: int, episodes: int) -> Tracking:
    """Episodes behind one prompt; without returns there is no target to ask for."""
    instance, env = TASKS[task]
    words = run.tasks.encode("text", "prompt", {"prompt": prompt})
    policy = ModelPolicy(run.tokenizers[instance], run.model, prompt=words, seed=seed)  # type: ignore[arg-type]
    return rollout(policy, env, (0.0,), episodes)


def hashed(run: Run) -> str:
    """Over the training documents of both tasks."""
    tasks = run.tasks.opened(load_plugins())
    return data_hash(tasks.compose(config, sample) for config in run.recipe.tasks for sample in tasks.split(config, config.split))


if __name__ == "__main__":
    cyclopts.run(main)
