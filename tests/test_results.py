"""Acceptance: the committed results of the demos are complete and reach what was promised; `-m train` makes them anew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "demos" / "results"
TARGETS = [25, 50, 100, 200, 350, 500]


def load(name: str) -> dict[str, Any]:
    result = json.loads((RESULTS / name).read_text())
    assert result["command"].startswith("omnitok demo ")
    assert set(result["versions"]) == {"omnitok", "python", "torch", "numpy"}
    return result


def decision_transformer_holds(result: dict[str, Any]) -> None:
    assert len(result["data_sha256"]) == 64
    assert set(result["seeds"]) == {"0", "1", "2"}
    assert all(seed["targets"] == TARGETS for seed in result["seeds"].values())
    pearsons = sorted(seed["pearson"] for seed in result["seeds"].values())
    assert pearsons[1] == result["median_pearson"] >= 0.95


def mixed_is_complete(result: dict[str, Any]) -> None:
    assert set(result["tasks"]) == {"write", "digit", "word", "swing", "atlas"}
    assert result["seed"] == 0
    for task in result["tasks"].values():
        assert len(task["data_sha256"]) == 64
        assert abs(task["alone_samples"] / task["samples"] - 1) < 0.03
        for model in ("baseline", "joint", "alone"):
            low, high = task[model]["interval"]
            assert low <= task[model]["value"] <= high


def missed(result: dict[str, Any]) -> list[str]:
    """Tasks where joint or alone does not beat the baseline outside its interval, or joint keeps less than 0.9 of the gain."""
    out = []
    for name, task in result["tasks"].items():
        low, high = task["baseline"]["interval"]
        lower_is_better = task["metric"] in ("nats", "mse")
        values = [task[model]["value"] for model in ("joint", "alone")]
        won = max(values) < low if lower_is_better else min(values) > high
        if not won or task["kept"] < 0.9:
            out.append(name)
    return out


def test_the_committed_results_are_complete_and_hold() -> None:
    decision_transformer_holds(load("decision-transformer.json"))
    result = load("mixed.json")
    mixed_is_complete(result)
    assert missed(result) == []


def test_a_result_that_misses_is_named() -> None:
    result = load("mixed.json")
    result["tasks"]["digit"]["joint"]["value"] = result["tasks"]["digit"]["baseline"]["value"]
    assert missed(result) == ["digit"]


def run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    subprocess.run([sys.executable, "-m", "omnitok", "demo", *arguments, "--out", str(tmp_path / "run")], cwd=ROOT, check=True)
    return json.loads((tmp_path / "run" / "result.json").read_text())


@pytest.mark.train
def test_decision_transformer(tmp_path: Path) -> None:
    decision_transformer_holds(run(tmp_path, "decision-transformer", "--seeds", "0,1,2"))


@pytest.mark.train
def test_mixed(tmp_path: Path) -> None:
    result = run(tmp_path, "mixed", "--compare")
    mixed_is_complete(result)
    assert missed(result) == []
