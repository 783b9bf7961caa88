"""Acceptance of the recipes for trajectories: what each must reach. `-m train` trains them (hours on one core in all).

A result file under demos/results that is there must hold as well; commands stand in demos/README.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "demos" / "results"
CARTPOLE = [25, 50, 100, 200, 350, 500]
PENDULUM = [-1500, -1200, -900, -600, -300, -150]


def seeds_of(result: dict[str, Any], model: str, way: str) -> dict[str, dict[str, Any]]:
    """What `omnitok rl compare` says of every seed."""
    return dict(result["models"][model][way]["seeds"])


def pendulum_holds(result: dict[str, Any]) -> None:
    """Tracking, and the lead over behaviour cloning at -300, in every seed."""
    assert (result["env"], result["targets"], result["at"]) == ("Pendulum-v1", PENDULUM, -300)
    assert result["scale"] == {"random": -1230, "expert": -154}
    asked, cloned = (seeds_of(result, model, "predicted") for model in ("dt", "bc"))
    assert set(asked) == set(cloned) == {"0", "1", "2"}
    assert {"best10", "twin"} <= set(result["models"])
    for seed, row in asked.items():
        assert row["pearson"] >= 0.95 and 0.75 <= row["slope"] <= 1.15, (seed, row)
        assert row["normalised"] >= 75 and row["normalised"] >= cloned[seed]["normalised"] + 15, (seed, row, cloned[seed])


def cartpole_mix_holds(result: dict[str, Any]) -> None:
    """Medians over seeds, actions sampled; behaviour cloning balances when it takes the best action."""
    assert (result["env"], result["targets"], result["episodes"]) == ("CartPole-v1", CARTPOLE, 32)
    rows = list(seeds_of(result, "dt", "sampled").values())
    assert len(rows) == 3
    assert np.median([row["pearson"] for row in rows]) >= 0.95
    assert 0.8 <= np.median([row["slope"] for row in rows]) <= 1.2
    assert np.median([row["return"] for row in seeds_of(result, "bc", "greedy").values()]) >= 475


def shortest_path_holds(result: dict[str, Any]) -> None:
    """Success over five seeds, beside the same transformer without returns."""
    asked, twin = (np.mean([s[name]["success"] for s in result["seeds"].values()]) for name in ("asked", "twin"))
    assert set(result["seeds"]) == {"0", "1", "2", "3", "4"}
    assert asked >= 0.6 and asked >= 3 * twin, (asked, twin)


def pixels_hold(result: dict[str, Any]) -> None:
    """Success over three seeds of a model that sees four patches a step, in each well above the twin without returns."""
    assert set(result["seeds"]) == {"0", "1", "2"}
    for seed, row in result["seeds"].items():
        assert row["asked"]["interval"][0] >= 0.5 and row["asked"]["success"] >= 5 * row["twin"]["success"], (seed, row)


def key_to_door_holds(result: dict[str, Any]) -> None:
    """Success (the mean return) beside that of behaviour cloning, actions sampled."""
    asked, cloned = (np.mean([row["return"] for row in seeds_of(result, model, "sampled").values()]) for model in ("dt", "bc"))
    assert asked >= 3 * cloned, (asked, cloned)


def prompt_holds(result: dict[str, Any]) -> None:
    """In both environments the expert's words achieve more, and the intervals lie apart."""
    for seed in result["seeds"].values():
        assert set(seed) == {"CartPole-v1", "Pendulum-v1"}
        for told in seed.values():
            assert told["an expert player"]["interval"][0] > told["a beginner"]["interval"][1], told


COMPARE = "rl compare demos/decision_transformer/{} --seeds 0,1,2 --targets={} {}"
BARS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "pendulum": (
        COMPARE.format("pendulum.toml", ",".join(map(str, PENDULUM)), "--at -300 --scale=-1230,-154 --episodes 32"),
        pendulum_holds,
    ),
    "cartpole-mix": (
        COMPARE.format("cartpole_mix.toml", ",".join(map(str, CARTPOLE)), "--only dt,bc --episodes 32"),
        cartpole_mix_holds,
    ),
    "shortest-path": ("demo decision-transformer --recipe shortest-path --seeds 0,1,2,3,4", shortest_path_holds),
    "shortest-path-pixels": ("demo decision-transformer --recipe shortest-path-pixels --seeds 0,1,2", pixels_hold),
    "prompt": ("demo prompt", prompt_holds),
    "key-to-door": (COMPARE.format("key_to_door.toml", "1", "--only dt,bc --episodes 200"), key_to_door_holds),
}


@pytest.mark.parametrize("name", [name for name in BARS if (RESULTS / f"{name}.json").exists()])
def test_committed_results_hold(name: str) -> None:
    result = json.loads((RESULTS / f"{name}.json").read_text())
    assert result["command"].startswith("omnitok ") and len(result["data_sha256"]) == 64
    BARS[name][1](result)


@pytest.mark.train
@pytest.mark.parametrize("name", BARS)
def test_trained_anew(name: str, tmp_path: Path, data_folder: Path) -> None:
    command, holds = BARS[name]
    words = [sys.executable, "-m", "omnitok", *command.split(), "--out", str(tmp_path / "run")]
    target = tmp_path / "run" / "result.json"
    subprocess.run([*words, *(["--json", str(target)] if command.startswith("rl") else [])], cwd=ROOT, check=True)
    holds(json.loads(target.read_text()))
