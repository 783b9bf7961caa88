"""A Decision Transformer in gymnasium: ask for a return, and see which return the model achieves.

Recipes: cartpole and cartpole-mix, pendulum (return tracking), shortest-path, shortest-path-pixels and key-to-door (success
beside the same transformer without returns). Discrete actions are sampled, because the best action hides what was asked for.
Run: omnitok demo decision-transformer [--recipe cartpole] [--seeds 0,1,2] [--steps 2]. Times and scores: demos/README.md
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from _results import fresh, versions
from cyclopts import Parameter
from omnitok_trajectory.baselines import data_hash, trained, without_returns
from omnitok_trajectory.evaluation import policy_of
from omnitok_trajectory.rollout import ModelPolicy, rollout
from omnitok_trajectory.tracking import Tracking
from rich.console import Console
from rich.table import Table

from omnitok import load_plugins
from omnitok.errors import unknown_name
from omnitok.recipe import Recipe, load_recipe
from omnitok.tasks import open_data

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """What a recipe's model is asked for. Declared before any run."""

    env: str
    targets: tuple[float, ...] = ()
    """none: every episode is asked for the best return that the data holds from where it starts"""
    success: float | None = None
    """the return above which an episode counts as a success"""


CARTPOLE = Setting("CartPole-v1", (25.0, 50.0, 100.0, 200.0, 350.0, 500.0))
SETTINGS = {
    "cartpole": CARTPOLE,
    "cartpole-mix": CARTPOLE,
    "pendulum": Setting("Pendulum-v1", (-1500.0, -1200.0, -900.0, -600.0, -300.0, -150.0)),
    "shortest-path": Setting("omnitok/ShortestPath-v0", success=-15.0),  # -10 at worst; one that misses has -20
    "shortest-path-pixels": Setting("omnitok/ShortestPathPixels-v0", success=-15.0),
    "key-to-door": Setting("omnitok/KeyToDoor-v0", success=0.5),
}


@Parameter(name="*")
@dataclass
class Args:
    """Knobs of the demo."""

    recipe: Annotated[str, Parameter(help=f"one of {', '.join(SETTINGS)}")] = "cartpole"
    steps: Annotated[int | None, Parameter(help="updates; unset: the recipe's")] = None
    seeds: Annotated[str, Parameter(help="seeds of weights and data order, such as 0,1,2")] = "0"
    episodes: Annotated[int, Parameter(help="episodes per target, or in all (times six) where success is counted")] = 32
    out: Annotated[Path, Parameter(help="folder for runs, the picture and result.json; a number is added where it exists")] = (
        Path("runs/decision-transformer")
    )


def main(args: Args = Args()) -> None:  # noqa: B008
    """Train, ask for returns and show what was achieved."""
    if args.recipe not in SETTINGS:
        raise unknown_name("recipe", args.recipe, SETTINGS, "recipes")
    begin, console, out = time.time(), Console(), fresh(args.out)
    setting, seeds = SETTINGS[args.recipe], [int(s) for s in args.seeds.split(",")]
    recipe = load_recipe(HERE / "decision_transformer" / f"{args.recipe.replace('-', '_')}.toml")
    if args.steps is not None:
        recipe = recipe.replace(train=recipe.train.replace(steps=args.steps))
    facts: dict[str, Any]
    if setting.targets:
        tracked = {seed: track(seeded(recipe, seed), setting, seed, args.episodes, out) for seed in seeds}
        console.print(tracking_table(tracked))
        facts = tracking_facts(tracked)
        console.print(f"median Pearson of asked and achieved return over {len(seeds)} seed(s): {facts['median_pearson']:.3f}")
        console.print(f"picture: {draw(out, setting, tracked)}   seconds: {time.time() - begin:.0f}")
    else:
        found = {seed: succeed(seeded(recipe, seed), setting, seed, 6 * args.episodes, out) for seed in seeds}
        console.print(success_table(found))
        facts = {"seeds": {str(seed): row for seed, row in found.items()}}
        console.print(f"seconds: {time.time() - begin:.0f}")
    write_result(out / "result.json", args, facts, data_hash(recipe, load_plugins()), time.time() - begin)


def seeded(recipe: Recipe, seed: int) -> Recipe:
    return recipe.replace(train=recipe.train.replace(seed=seed))


# -- asked and achieved returns


def track(recipe: Recipe, setting: Setting, seed: int, episodes: int, out: Path) -> Tracking:
    """Train, then play every target, all episodes side by side."""
    run = trained(recipe, out / f"seed-{seed}", load_plugins())
    return rollout(policy_of(run, seed), setting.env, setting.targets, episodes)


def tracking_facts(results: Mapping[int, Tracking]) -> dict[str, Any]:
    seeds = {
        str(seed): {
            "targets": list(t.targets),
            "means": t.means.round(2).tolist(),
            "intervals": t.interval().round(2).tolist(),
            "pearson": t.pearson,
            "slope": t.slope,
        }
        for seed, t in results.items()
    }
    medians = {f"median_{name}": float(np.median([s[name] for s in seeds.values()])) for name in ("pearson", "slope")}
    return {**medians, "seeds": seeds}


def tracking_table(results: Mapping[int, Tracking]) -> Table:
    out = Table("asked", *(f"achieved, seed {seed}" for seed in results), title="mean return [95 % bootstrap interval]")
    intervals = [t.interval() for t in results.values()]
    for i, target in enumerate(next(iter(results.values())).targets):
        cells = [f"{t.means[i]:.1f} [{ci[i][0]:.1f}, {ci[i][1]:.1f}]" for t, ci in zip(results.values(), intervals, strict=True)]
        out.add_row(f"{target:g}", *cells)
    out.add_row("Pearson", *(f"{t.pearson:.3f}" for t in results.values()))
    out.add_row("slope", *(f"{t.slope:.2f}" for t in results.values()))
    return out


def draw(out: Path, setting: Setting, results: Mapping[int, Tracking]) -> Path:
    """Achieved against asked returns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
    ends = [min(0.0, *setting.targets), max(0.0, *setting.targets)]
    ax.plot(ends, ends, color="0.7", linewidth=1, label="asked = achieved")
    for seed, tracking in results.items():
        spread = np.abs(tracking.interval().T - tracking.means)
        ax.errorbar(tracking.targets, tracking.means, yerr=spread, marker="o", markersize=4, capsize=2, label=f"seed {seed}")
    ax.set(xlabel="asked return", ylabel="achieved return (mean, 95 % interval)", title=setting.env)
    ax.legend()
    path = out / "tracking.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


# -- success, beside the same transformer without returns


class BestFromHere:
    """Asks every episode for the best return that the data holds from its first observation, or from any."""

    def __init__(self, policy: ModelPolicy, best: Mapping[bytes, float]) -> None:
        self.policy, self.best = policy, best
        self.asked: dict[int, float] = {}

    def reset(self, n: int) -> None:
        self.policy.reset(n)
        self.asked = {}

    def act(self, rows: Sequence[int], returns_to_go: np.ndarray, observations: Sequence[Any]) -> Sequence[Any]:
        for row, observation in zip(rows, observations, strict=True):
            self.asked.setdefault(row, self.best.get(np.asarray(observation).tobytes(), max(self.best.values())))
        return self.policy.act(rows, returns_to_go + [self.asked[row] for row in rows], observations)


def best_from(recipe: Recipe) -> tuple[dict[bytes, float], np.ndarray]:
    """Best return of the training episodes by first observation, and the returns of all of them."""
    task = recipe.tasks[0]
    episodes = [s["episode"] for s in open_data(recipe, load_plugins())[task.name].split(task.split)]
    best: dict[bytes, float] = {}
    for episode in episodes:
        start, got = np.asarray(episode.observations[0]).tobytes(), float(episode.rewards.sum())
        best[start] = max(got, best.get(start, got))
    return best, np.array([e.rewards.sum() for e in episodes])


def succeed(recipe: Recipe, setting: Setting, seed: int, episodes: int, out: Path) -> dict[str, Any]:
    """Train with and without returns and play both: shares of episodes that succeed, with intervals, and the data's."""
    assert setting.success is not None
    best, seen = best_from(recipe)
    facts: dict[str, Any] = {"data": round(float((seen > setting.success).mean()), 4)}
    for name, made in {"asked": recipe, "twin": without_returns(recipe)}.items():
        policy = policy_of(trained(made, out / f"{name}-{seed}", load_plugins()), seed)
        played = rollout(BestFromHere(policy, best), setting.env, (0.0,), episodes)
        won = Tracking(setting.env, (0.0,), (played.returns > setting.success).astype(float))
        facts[name] = {"success": round(float(won.means[0]), 4), "interval": won.interval()[0].round(4).tolist()}
    return facts


def success_table(results: Mapping[int, dict[str, Any]]) -> Table:
    out = Table("seed", "asked for the best", "the same without returns", "in the data", title="episodes that succeed [95 %]")

    def cell(row: dict[str, Any]) -> str:
        return f"{row['success']:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]"

    for seed, row in results.items():
        out.add_row(str(seed), cell(row["asked"]), cell(row["twin"]), f"{row['data']:.3f}")
    means = [np.mean([row[name]["success"] for row in results.values()]) for name in ("asked", "twin")]
    out.add_row("mean", *(f"{m:.3f}" for m in means))
    return out


def write_result(path: Path, args: Args, facts: dict[str, Any], data: str, seconds: float) -> None:
    steps = f" --steps {args.steps}" if args.steps is not None else ""
    recipe = "" if args.recipe == "cartpole" else f" --recipe {args.recipe}"
    result = {
        "command": f"omnitok demo decision-transformer{recipe} --seeds {args.seeds} --episodes {args.episodes}{steps}",
        "seconds": round(seconds),
        "versions": versions(),
        "data_sha256": data,
        **facts,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    cyclopts.run(main)
