"""`omnitok rl compare`: a Decision Transformer and its baselines, trained on the same data and played in the same environment."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omnitok.commands.common import PluginFiles, console
from omnitok.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from omnitok.plugins import Host
    from omnitok.recipe import Recipe
    from omnitok.run import Run

    from ..comparison import Entry
    from ..rollout import Policy

DEFAULT = "dt,bc,best10,twin"


def compare(
    recipe: Annotated[Path, Parameter(help="The Decision Transformer's recipe, a TOML file.")],
    /,
    *,
    only: Annotated[
        str, Parameter(help="Models among dt, bc, best10, twin and gail (online; asks for the environment).")
    ] = DEFAULT,
    seeds: Annotated[str, Parameter(help="Seeds of weights and data order, such as 0,1,2.")] = "0",
    targets: Annotated[str, Parameter(help="Returns to ask for, such as 25,100,500; auto: quantiles of the data's.")] = "auto",
    at: Annotated[float | None, Parameter(help="The target at which models are compared; unset: the highest.")] = None,
    scale: Annotated[str | None, Parameter(help="Returns that count 0 and 100, such as -1230,-154.")] = None,
    episodes: Annotated[int, Parameter(help="Episodes per target, on start states that no data set uses.")] = 32,
    out: Annotated[Path, Parameter(help="Folder of the runs; finished ones that are there are used.")] = Path("runs/compare"),
    json_: Annotated[Path | None, Parameter(name="--json", help="Write the results to this file.")] = None,
    show: Annotated[bool, Parameter(help="Print the recipes and train nothing.")] = False,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", help="Lay a value over the recipe, such as train.steps=100.")] = (),
    plugin: PluginFiles = (),
) -> int:
    """Train a recipe and its baselines on the same data, play them all, and print one table.

    dt is the recipe itself, bc the action from one observation, best10 that on the best tenth of the episodes, twin the
    same transformer without returns. All make as many updates, and the weights of the last one are what is played.
    """
    from omnitok.plugins import load_plugins
    from omnitok.recipe import load_recipe

    from ..baselines import RECIPES, data_hash, env_of, itself
    from ..comparison import Comparison, Entry, Scale
    from ..report import versions

    begin, host = time.monotonic(), load_plugins(files=plugin)
    base = itself(load_recipe(recipe, set_))
    names = _names(only, (*RECIPES, "gail"))
    derived = {name: RECIPES[name](base) for name in names if name in RECIPES}
    if show:
        _show(derived)
        return 0
    sha = _one_hash({name: data_hash(r, host) for name, r in {"dt": base, **derived}.items()})
    asked, chosen = _targets(targets, at, base, host)
    env, numbers = env_of(base, host), [int(s) for s in _numbers("--seeds", seeds)]
    scales = None if scale is None else Scale(*_numbers("--scale", scale, 2))
    console().print(f"data {sha[:16]}: the same for {', '.join(names)}; targets {', '.join(f'{t:g}' for t in asked)}")
    entries = [Entry(name, asked=name == "dt") for name in names]
    for seed in numbers:
        for entry in entries:
            if entry.name == "gail":
                _gail(entry, base, host, env, seed, asked, episodes)
            else:
                seeded = derived[entry.name].replace(train=base.train.replace(seed=seed, budget=derived[entry.name].train.budget))
                _offline(entry, seeded, out / f"{entry.name}-seed-{seed}", host, env, seed, asked, episodes)
    result = Comparison(env, asked, chosen, scales, tuple(entries))
    console().print(result.table())
    if json_ is not None:
        command = _command(recipe, only, seeds, targets, at, scale, episodes, set_)
        about = {"command": command, "data_sha256": sha, "episodes": episodes, "seeds": numbers, "versions": versions()}
        facts = {**about, "seconds": round(time.monotonic() - begin), **result.plain()}
        json_.parent.mkdir(parents=True, exist_ok=True)
        json_.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")
        console().print(f"written: {json_}")
    return 0


def _offline(
    entry: Entry, recipe: Recipe, folder: Path, host: Host, env: str, seed: int, targets: tuple[float, ...], episodes: int
) -> None:
    """Train one recipe of one seed and play it."""
    from ..baselines import seconds_of, trained

    run = trained(recipe, folder, host)
    entry.facts |= {
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "steps": run.step,
        "actions_per_step": recipe.train.budget * recipe.train.accumulate // (3 if entry.asked else 2),
        "train_seconds": round(entry.facts.get("train_seconds", 0) + seconds_of(folder)),
    }
    _play(entry, run, env, seed, targets, episodes)


def _play(entry: Entry, run: Run, env: str, seed: int, targets: tuple[float, ...], episodes: int) -> None:
    """Sampled and greedy where actions are ids; models that are not asked play as many start states once."""
    from ..evaluation import policy_of

    discrete = policy_of(run).channel.vocab is not None
    for way in ("sampled", "greedy") if discrete else ("predicted",):
        _roll(entry, way, policy_of(run, seed, greedy=way == "greedy"), env, seed, targets, episodes)


def _roll(entry: Entry, way: str, policy: Policy, env: str, seed: int, targets: tuple[float, ...], episodes: int) -> None:
    from ..rollout import rollout

    entry.add(way, seed, rollout(policy, env, targets if entry.asked else targets[-1:], episodes))


def _gail(entry: Entry, recipe: Recipe, host: Host, env: str, seed: int, targets: tuple[float, ...], episodes: int) -> None:
    """Imitate the best share of the same episodes online, and play what came of it."""
    from ..gail import Gail, experts

    clock, gail = time.monotonic(), Gail(env, experts(recipe, host), seed=seed)
    gail.run()
    seconds = round(entry.facts.get("train_seconds", 0) + time.monotonic() - clock)
    entry.facts |= {"parameters": gail.parameters, "online_steps": gail.online_steps, "train_seconds": seconds}
    console().print(f"gail, seed {seed}: {gail.online_steps} online steps of {env}")
    for way in ("sampled", "greedy"):
        _roll(entry, way, gail.policy(way == "sampled"), env, seed, targets, episodes)


def _names(only: str, known: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown_name("model in --only:", name, known, "models")
    if not names:
        raise ConfigError(f"--only names no model; there are {', '.join(known)}")
    return list(dict.fromkeys(names))


def _numbers(option: str, value: str, count: int | None = None) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or (count is not None and len(numbers) != count):
        raise ConfigError(f"{option} {value!r}: give {count or 'some'} numbers with commas between them")
    return numbers


def _targets(targets: str, at: float | None, recipe: Recipe, host: Host) -> tuple[tuple[float, ...], float]:
    """The returns to ask for, in rising order, and the one at which models are compared."""
    from ..baselines import episodes_of
    from ..evaluation import episode_returns, parse_targets

    asked, warnings = parse_targets(targets, episode_returns(episodes_of(recipe, host)))
    for warning in warnings:
        console().print(f"warning: {warning}")
    chosen = asked[-1] if at is None else at
    if chosen not in asked:
        raise ConfigError(f"--at {chosen:g} is not one of the targets {', '.join(f'{t:g}' for t in asked)}")
    return asked, chosen


def _one_hash(hashes: dict[str, str]) -> str:
    """The hash of the data that all models are trained on. Raises ConfigError where they differ."""
    if len(set(hashes.values())) != 1:
        raise ConfigError(f"the models would not see the same data: {', '.join(f'{n} {h[:16]}' for n, h in hashes.items())}")
    return next(iter(hashes.values()))


def _show(recipes: dict[str, Recipe]) -> None:
    from omnitok.toml import to_toml

    for name, recipe in recipes.items():
        print(f"# ---- {name}\n{to_toml(recipe)}")


def _command(
    recipe: Path,
    only: str,
    seeds: str,
    targets: str,
    at: float | None,
    scale: str | None,
    episodes: int,
    sets: tuple[str, ...],
) -> str:
    """What makes these numbers anew."""
    more = f" --at {at:g}" if at is not None else ""
    more += f" --scale={scale}" if scale is not None else ""
    more += "".join(f" --set {change}" for change in sets)
    return f"omnitok rl compare {recipe} --only {only} --seeds {seeds} --targets={targets} --episodes {episodes}{more}"
