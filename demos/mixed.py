"""One Transformer trained on text, pictures, speech, control and graphs at once, held against simple baselines.

`--compare` also trains each task alone: same backbone, same steps, same number of that task's samples.
Run: omnitok demo mixed [--compare] [--steps 2]. Times and scores to expect: demos/README.md
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
import torch
from _baselines import BASELINES, Score
from _results import data_hash, fresh, versions
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from omnitok import load_plugins, load_run
from omnitok.batch import Document, collate
from omnitok.draws import Draws
from omnitok.generate import Sampler
from omnitok.loader import Loader
from omnitok.plugins import Host
from omnitok.recipe import Recipe, load_recipe
from omnitok.run import Run
from omnitok.tasks import Tasks, prepare
from omnitok.train import train

HERE = Path(__file__).parent
LOWER_IS_BETTER = ("nats", "mse")


@Parameter(name="*")
@dataclass
class Args:
    """Knobs of the demo."""

    steps: Annotated[int | None, Parameter(help="updates; unset: the recipe's")] = None
    seed: Annotated[int, Parameter(help="seeds weights and data order")] = 0
    compare: Annotated[bool, Parameter(help="also train each task alone on as many of its samples")] = False
    out: Annotated[Path, Parameter(help="folder for runs, the picture and result.json; a number is added where it exists")] = (
        Path("runs/mixed")
    )


@dataclass
class Row:
    """One task's held-out scores, per document as (numerator, denominator)."""

    task: str
    metric: str
    baseline_name: str
    samples: int
    baseline: list[Score]
    joint: list[Score]
    chance: float
    data: str
    alone: list[Score] = field(default_factory=list)
    alone_samples: int = 0


def main(args: Args = Args()) -> None:  # noqa: B008
    """Train one backbone on five modalities and print how it does."""
    begin, console, out = time.time(), Console(), fresh(args.out)
    host = load_plugins()
    sets = [f"train.seed={args.seed}", *([f"train.steps={args.steps}"] if args.steps is not None else [])]
    recipe = load_recipe(HERE / "mixed.toml", sets)
    console.print(f"one model, five modalities: {recipe.train.steps} steps of {recipe.train.budget} tokens")
    run, tasks = trained(recipe, out / "joint", host)
    console.print(f"{sum(p.numel() for p in run.model.parameters()):,} parameters; {time.time() - begin:.0f} s so far")
    rows = [measure(run, tasks, task.name) for task in recipe.tasks]
    if args.compare:
        for row in rows:
            compare(row, recipe, tasks, out, host, console)
    console.print(table(rows, args.compare))
    answers(run, tasks, console)
    console.print(f"curves: {draw(out, rows)}   seconds: {time.time() - begin:.0f}")
    write_result(out / "result.json", args, recipe, rows, time.time() - begin)


def trained(recipe: Recipe, out: Path, host: Host) -> tuple[Run, Tasks]:
    """Train, and load what training saved, as anyone else would."""
    train(recipe, out, host)
    run = load_run(out)
    return run, run.tasks.opened(host)


def held_out(tasks: Tasks, task: str) -> list[Document]:
    config = tasks.recipe.task(task)
    return [tasks.document(task, sample, f"{task}/eval/{i}") for i, sample in enumerate(tasks.split(config, config.eval_split))]


def scores(run: Run, tasks: Tasks, task: str, metric: str) -> list[Score]:
    """The model's score on every held-out document, packed 32 at a time (which changes no answer)."""
    objective, schema, out = tasks.objectives[task], tasks.schema(run.model), []
    documents = [d for d in held_out(tasks, task) if len(d.asks[task].weight)]
    with torch.no_grad():
        for start in range(0, len(documents), 32):
            part = documents[start : start + 32]
            answers = run.model(collate(part, schema))[task].split([len(d.asks[task].rows) for d in part])
            out += [objective.score(a, d.asks[task])[metric] for a, d in zip(answers, part, strict=True)]
    return out


def measure(run: Run, tasks: Tasks, task: str) -> Row:
    """The joint model and the baseline, fitted to the whole training split, on the same held-out documents."""
    metric, name, baseline = BASELINES[task]
    whole = tasks.recipe.replace(tasks=tuple(t.replace(context=None) for t in tasks.recipe.tasks))
    uncut = Tasks(whole, tasks.tokenizers, tasks.objectives, tasks.datasets)
    config = whole.task(task)
    fit_to = [uncut.document(task, sample) for sample in uncut.split(config, config.split)]
    documents = held_out(tasks, task)
    targets = torch.cat([d.asks[task].target for d in documents])
    chance = tasks.objectives[task].chance(targets)[metric]
    base = baseline(tasks, task, fit_to, documents)
    return Row(
        task, metric, name, drawn(run, task), base, scores(run, tasks, task, metric), chance, data_hash([*fit_to, *documents])
    )


def drawn(run: Run, task: str) -> int:
    """How many samples of a task the run was trained on."""
    newest = sorted((run.folder / "checkpoints").glob("step-*"))[-1]
    draws = json.loads((newest / "manifest.json").read_text())["data"]["draws"]
    return int(draws["positions"][[t.name for t in run.recipe.tasks].index(task)])


def compare(row: Row, recipe: Recipe, tasks: Tasks, out: Path, host: Host, console: Console) -> None:
    """Train one task alone. Its batches hold as many tokens as its share of the joint ones did."""
    config = recipe.task(row.task)
    instances = {instance: recipe.tokenizers[instance] for _, instance, _ in config.fields()}
    alone = recipe.replace(tasks=(config,), tokenizers=instances)
    budget = matching_budget(alone, tasks, row, host)
    alone = alone.replace(train=recipe.train.replace(budget=budget))
    console.print(f"{row.task} alone: {alone.train.steps} steps of {budget} tokens")
    run, own = trained(alone, out / row.task, host)
    row.alone, row.alone_samples = scores(run, own, row.task, row.metric), drawn(run, row.task)


def matching_budget(alone: Recipe, tasks: Tasks, row: Row, host: Host) -> int:
    """Tokens per batch with which as many steps draw as many samples; found by packing without training."""
    ready, config = prepare(alone, host), alone.tasks[0]
    sizes = [len(tasks(row.task, i, f"size/{i}")) for i in range(min(200, len(tasks.split(config, config.split))))]
    schema, steps = ready.schema(ready.build()), alone.train.steps
    budget = max(max(sizes), round(float(np.mean(sizes)) * row.samples / max(1, steps)))
    for _ in range(4):
        loader = Loader(ready, Draws(ready.sources(), alone.train.seed), budget, schema)
        for _ in zip(range(steps), loader, strict=False):
            pass
        samples = loader.state()["draws"]["positions"][0]
        if not samples or abs(samples / row.samples - 1) < 0.005:
            break
        budget = max(max(sizes), round(budget * row.samples / samples))
    return budget


def value(scored: Sequence[Score]) -> float:
    return float(np.sum([s[0] for s in scored]) / max(1e-9, np.sum([s[1] for s in scored])))


def interval(scored: Sequence[Score], draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval over documents."""
    pairs = np.array(scored)
    picked = pairs[np.random.default_rng(0).integers(0, len(pairs), (draws, len(pairs)))].sum(1)
    low, high = np.quantile(picked[:, 0] / picked[:, 1], [0.025, 0.975])
    return float(low), float(high)


def beats(scored: Sequence[Score], row: Row) -> bool:
    """Outside the baseline's interval, on the better side."""
    low, high = interval(row.baseline)
    return value(scored) < low if row.metric in LOWER_IS_BETTER else value(scored) > high


def kept(row: Row) -> float:
    """(joint - baseline) / (alone - baseline)"""
    base = value(row.baseline)
    return (value(row.joint) - base) / ((value(row.alone) - base) or float("nan"))


def table(rows: Sequence[Row], compared: bool) -> Table:
    """One task a row: score and interval of the baseline, the joint model and, compared, the one trained alone."""
    extra = ("alone", "kept") if compared else ()
    out = Table("task", "chance", "baseline", "joint", *extra, "beats it", title="held-out samples [95 % interval]")
    for row in rows:
        cells = [show(row.joint), *([show(row.alone), f"{kept(row):.2f}"] if compared else [])]
        won = all(beats(s, row) for s in ((row.joint, row.alone) if compared else (row.joint,)))
        arrow = "\u2193" if row.metric in LOWER_IS_BETTER else "\u2191"
        out.add_row(f"{row.task}\n{row.metric} {arrow}", f"{row.chance:.3f}", show(row.baseline), *cells, "yes" if won else "no")
    legend = "; ".join(f"{row.task}: {row.baseline_name}" for row in rows)
    out.caption = f"baselines - {legend}" + (". kept: (joint - baseline) / (alone - baseline)" if compared else "")
    return out


def show(scored: Sequence[Score]) -> str:
    low, high = interval(scored)
    return f"{value(scored):.3f}\n[{low:.3f}, {high:.3f}]"


def answers(run: Run, tasks: Tasks, console: Console) -> None:
    """A few decoded answers, one model for all."""
    out = Table("task", "given", "answer", "right", title="decoded answers")
    for task in ("digit", "word", "atlas"):
        config, objective = tasks.recipe.task(task), tasks.objectives[task]
        samples = tasks.split(config, config.eval_split)
        for i in (0, len(samples) // 2):
            names = getattr(objective, "names", ())
            right = samples[i]["label"]
            out.add_row(
                task, f"held-out sample {i}", str(run.answers(task, samples[i])[0]), str(names[right] if names else right)
            )
    text = run.tokenizers["text"]
    prompt = text.encode("The following")
    made = run.generate(prompt, "text", 40, Sampler(0.7, top_k=20, seed=0))
    out.add_row("write", "The following", text.decode(made), "")
    console.print(out)


def draw(out: Path, rows: Sequence[Row]) -> Path:
    """The loss of every task over the joint run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    records = [json.loads(line) for line in (out / "joint" / "metrics.jsonl").read_text().splitlines()]
    figure, axes = plt.subplots(1, len(rows), figsize=(3.2 * len(rows), 2.8), layout="constrained")
    for row, ax in zip(rows, axes, strict=True):
        points = [(r["step"], r["losses"][row.task]) for r in records if row.task in r.get("losses", {})]
        if points:
            ax.plot(*zip(*points, strict=True), linewidth=1)
        ax.set(title=row.task, xlabel="step", ylabel="training loss")
    path = out / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def write_result(path: Path, args: Args, recipe: Recipe, rows: Sequence[Row], seconds: float) -> None:
    """Everything that the table says, with what reproduces it."""
    command = f"omnitok demo mixed{' --compare' if args.compare else ''} --seed {args.seed}"
    result = {
        "command": command + (f" --steps {args.steps}" if args.steps is not None else ""),
        "seed": args.seed,
        "steps": recipe.train.steps,
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "tasks": {r.task: summary(r, args.compare) for r in rows},
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


def summary(row: Row, compared: bool) -> dict[str, object]:
    out: dict[str, object] = {
        "metric": row.metric,
        "chance": row.chance,
        "held_out": len(row.joint),
        "samples": row.samples,
        "data_sha256": row.data,
    }
    for name in ("baseline", "joint", *(("alone",) if compared else ())):
        scored = getattr(row, name)
        out[name] = {"value": value(scored), "interval": interval(scored)}
    return out | ({"alone_samples": row.alone_samples, "kept": kept(row) if np.isfinite(kept(row)) else None} if compared else {})


if __name__ == "__main__":
    cyclopts.run(main)
