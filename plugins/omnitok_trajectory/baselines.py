"""What a Decision Transformer is held against, made of its own recipe: the same data, backbone and head with less to go by.

- dt: the recipe as it is.
- bc: behaviour cloning, the action from the observation alone: documents of one step without returns.
- best10: the same on the tenth of the training episodes with the highest returns (%BC).
- twin: the same transformer and as many steps of context, without returns.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omnitok import checkpoint
from omnitok.errors import ConfigError
from omnitok.plugins import Host, load_plugins
from omnitok.recipe import Recipe, Task
from omnitok.run import Run, load_run
from omnitok.tasks import open_data
from omnitok.train import train

from .episode import Episode
from .evaluation import fingerprint
from .tokenizer import TrajectoryTokenizer

SHARE = 0.1
ONE_STEP_ACTIONS = 128
"""Most actions in an update of models that see one step: every one is a document, and more only cost time."""


def subject(recipe: Recipe) -> tuple[Task, str]:
    """The task of trajectories and its tokenizer's name. Raises ConfigError where there is not exactly one."""
    found = [
        (task, instance) for task in recipe.tasks for _, instance, _ in task.fields() if recipe.plugin(instance) == "trajectory"
    ]
    if len(found) != 1 or len(recipe.tasks) != 1:
        raise ConfigError(f"baselines need a recipe of one task with one trajectory in its document, this has {len(found)}")
    task, instance = found[0]
    if recipe.config(instance).get("returns") is False:
        raise ConfigError(f"tokenizer {instance!r} leaves returns out already: give the recipe of the Decision Transformer")
    return task, instance


def itself(recipe: Recipe) -> Recipe:
    """The recipe, after a look at whether baselines can be made of it."""
    subject(recipe)
    return recipe


def tokens_per_step(recipe: Recipe) -> int:
    """Of its trajectories: three, or more where the pictures that its data hold become patches."""
    task, instance = subject(recipe)
    config = recipe.config(instance)
    if config.get("patch_size") is None:
        return TrajectoryTokenizer.unit
    host = load_plugins()
    told = open_data(recipe, host)[task.name].metadata()
    spaces = {name: told[name] for name in ("env", "observation_space", "action_space") if told.get(name) and name not in config}
    return host.tokenizer("trajectory", **spaces, **config).unit


def without_returns(recipe: Recipe) -> Recipe:
    """The same steps of context and as many windows in an update, one token less a step."""
    task, instance = subject(recipe)
    whole = tokens_per_step(recipe)
    less = whole - 1
    tokenizers = {**recipe.tokenizers, instance: {**recipe.tokenizers[instance], "returns": False}}
    context = None if task.context is None else max(less, task.context * less // whole)
    budget = max(less, recipe.train.budget * less // whole)
    return recipe.replace(
        tokenizers=tokenizers,
        tasks=(task.replace(context=context),),
        model=_without_condition(recipe, instance),
        train=recipe.train.replace(budget=budget),
    )


def _without_condition(recipe: Recipe, instance: str) -> dict[str, Any]:
    """The [model] table; a role for returns is bound to the observation, which has a role of its own and keeps that."""
    roles = getattr(recipe.preset(), "roles", ())
    if "condition" not in roles:
        return recipe.model
    observation = f"{instance}/observation"
    channels = {"condition": observation, "observation": observation, "action": f"{instance}/action"}
    return {**recipe.model, "channels": channels}


def one_step(recipe: Recipe) -> Recipe:
    """Documents of one observation and its action."""
    less, unit = without_returns(recipe), tokens_per_step(recipe) - 1
    actions = min(less.train.budget // unit, ONE_STEP_ACTIONS)
    return less.replace(tasks=(less.tasks[0].replace(context=unit),), train=less.train.replace(budget=unit * actions))


def best_step(recipe: Recipe) -> Recipe:
    """`one_step` on the best share of the training episodes."""
    derived = one_step(recipe)
    task = derived.tasks[0]
    return derived.replace(tasks=(task.replace(data={**task.data, "best": SHARE}),))


RECIPES: dict[str, Callable[[Recipe], Recipe]] = {
    "dt": itself,
    "bc": one_step,
    "best10": best_step,
    "twin": without_returns,
}


def episodes_of(recipe: Recipe, host: Host) -> list[Episode]:
    """All training episodes of the recipe's data, whatever share of them it keeps."""
    task = recipe.tasks[0]
    field = next(field for _, _, field in task.fields())
    whole = task.replace(data={k: v for k, v in task.data.items() if k != "best"})
    return [sample[field] for sample in open_data(recipe.replace(tasks=(whole,)), host)[task.name].split(task.split)]


def data_hash(recipe: Recipe, host: Host) -> str:
    """sha256 over these episodes."""
    return fingerprint(episodes_of(recipe, host))


def env_of(recipe: Recipe, host: Host) -> str:
    """The environment that the tokenizer or the data names. Raises ConfigError where neither does."""
    task, instance = recipe.tasks[0], next(iter(recipe.tokenizers))
    env = recipe.config(instance).get("env") or open_data(recipe, host)[task.name].metadata().get("env")
    if not env:
        raise ConfigError(f"neither tokenizer {instance!r} nor the data of task {task.name!r} names an environment: set `env`")
    return str(env)


def trained(recipe: Recipe, folder: Path, host: Host, quiet: bool = False) -> Run:
    """The recipe's run in that folder: made now, or the finished one that is there.

    Raises ConfigError where another recipe's run is there or one that was not finished, KeyboardInterrupt where it was stopped.
    """
    if checkpoint.latest(folder) is None:
        if train(recipe, folder, host, quiet=quiet).interrupted:
            raise KeyboardInterrupt  # what was saved can be resumed, but is no result
        return load_run(folder)
    run = load_run(folder)
    if run.recipe != recipe or run.step != recipe.train.steps:
        raise ConfigError(f"{folder} holds the run of another recipe, or one of {run.step} steps: choose another --out")
    return run


def seconds_of(folder: Path) -> float:
    """How long the run in that folder was trained, as its last line of metrics that says so."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return float(next((r["seconds"] for r in reversed(records) if "seconds" in r), 0.0))
