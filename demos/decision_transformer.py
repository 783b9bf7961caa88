"""A Decision Transformer on CartPole: ask for a return, and see which return the model achieves.

Trained on scripted episodes of mixed quality; actions are sampled, because the best action hides what was asked for.
Run: omnitok demo decision-transformer [--seeds 0,1,2] [--steps 2]. Times and scores to expect: demos/README.md
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from _results import data_hash, fresh, versions
from cyclopts import Parameter
from omnitok_trajectory.rollout import ModelPolicy, rollout
from omnitok_trajectory.tracking import Tracking
from rich.console import Console
from rich.table import Table

from omnitok import load_plugins, load_run
from omnitok.batch import Document
from omnitok.recipe import load_recipe
from omnitok.run import Run
from omnitok.train import train

HERE = Path(__file__).parent
TARGETS = (25.0, 50.0, 100.0, 200.0, 350.0, 500.0)
"""Declared before any run; 500 is the environment's cap."""


@Parameter(name="*")
@dataclass
class Args:
    """Knobs of the demo."""

    steps: Annotated[int | None, Parameter(help="updates; unset: the recipe's")] = None
    seeds: Annotated[str, Parameter(help="seeds of weights and data order, such as 0,1,2")] = "0"
    episodes: Annotated[int, Parameter(help="episodes per target")] = 32
    out: Annotated[Path, Parameter(help="folder for runs, the picture and result.json; a number is added where it exists")] = (
        Path("runs/decision-transformer")
    )


def main(args: Args = Args()) -> None:  # noqa: B008
    """Train, ask for six returns and show what was achieved."""
    begin, console, out = time.time(), Console(), fresh(args.out)
    results = []
    for seed in (int(s) for s in args.seeds.split(",")):
        run = trained(seed, args.steps, out / f"seed-{seed}")
        console.print(f"seed {seed}: {len(TARGETS)} targets, {args.episodes} episodes each, actions sampled")
        results.append((seed, track(run, seed, args.episodes)))
    console.print(table(results))
    pearson = float(np.median([t.pearson for _, t in results]))
    console.print(f"median Pearson of asked and achieved return over {len(results)} seed(s): {pearson:.3f}")
    console.print(f"picture: {draw(out, results)}   seconds: {time.time() - begin:.0f}")
    write_result(out / "result.json", args, results, pearson, data_hash(episodes(run)), time.time() - begin)


def trained(seed: int, steps: int | None, out: Path) -> Run:
    sets = [f"train.seed={seed}", *([f"train.steps={steps}"] if steps is not None else [])]
    train(load_recipe(HERE / "decision_transformer.toml", sets), out, load_plugins())
    return load_run(out)


def track(run: Run, seed: int, episodes: int) -> Tracking:
    """Play every target, all episodes side by side behind one cache."""
    tokenizer, task = run.tokenizers["cartpole"], run.recipe.task("balance")
    policy = ModelPolicy(tokenizer, run.model, task.context, seed=seed)  # type: ignore[arg-type]
    return rollout(policy, "CartPole-v1", TARGETS, episodes)


def episodes(run: Run) -> list[Document]:
    """Every training episode as its document, whole."""
    tasks = run.tasks.opened(load_plugins())
    config = run.recipe.task("balance")
    whole = config.replace(context=None)
    return [tasks.compose(whole, sample) for sample in tasks.split(config, config.split)]


def table(results: list[tuple[int, Tracking]]) -> Table:
    out = Table("asked", *(f"achieved, seed {seed}" for seed, _ in results), title="mean return [95 % bootstrap interval]")
    intervals = [t.interval() for _, t in results]
    for i, target in enumerate(TARGETS):
        cells = [f"{t.means[i]:.1f} [{ci[i][0]:.1f}, {ci[i][1]:.1f}]" for (_, t), ci in zip(results, intervals, strict=True)]
        out.add_row(f"{target:g}", *cells)
    out.add_row("Pearson", *(f"{t.pearson:.3f}" for _, t in results))
    out.add_row("slope", *(f"{t.slope:.2f}" for _, t in results))
    return out


def draw(out: Path, results: list[tuple[int, Tracking]]) -> Path:
    """Achieved against asked returns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
    ax.plot([0, 500], [0, 500], color="0.7", linewidth=1, label="asked = achieved")
    for seed, tracking in results:
        spread = np.abs(tracking.interval().T - tracking.means)
        ax.errorbar(tracking.targets, tracking.means, yerr=spread, marker="o", markersize=4, capsize=2, label=f"seed {seed}")
    ax.set(xlabel="asked return", ylabel="achieved return (mean, 95 % interval)", title="CartPole-v1")
    ax.legend()
    path = out / "tracking.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def write_result(path: Path, args: Args, results: list[tuple[int, Tracking]], pearson: float, data: str, seconds: float) -> None:
    steps = f" --steps {args.steps}" if args.steps is not None else ""
    result = {
        "command": f"omnitok demo decision-transformer --seeds {args.seeds} --episodes {args.episodes}{steps}",
        "median_pearson": pearson,
        "seconds": round(seconds),
        "versions": versions(),
        "data_sha256": data,
        "seeds": {
            str(seed): {
                "targets": list(t.targets),
                "means": t.means.round(2).tolist(),
                "intervals": t.interval().round(2).tolist(),
                "pearson": t.pearson,
                "slope": t.slope,
            }
            for seed, t in results
        },
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    cyclopts.run(main)
