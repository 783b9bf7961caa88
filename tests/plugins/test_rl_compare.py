"""Baselines: recipes derived from a Decision Transformer's, one data hash, the comparison's numbers, and GAIL."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omnitok_trajectory import baselines
from omnitok_trajectory.baselines import RECIPES, data_hash, seconds_of, trained
from omnitok_trajectory.comparison import Comparison, Entry, Scale, interval
from omnitok_trajectory.episode import Episode
from omnitok_trajectory.evaluation import policy_of
from omnitok_trajectory.gail import Gail, Rows, Settings
from omnitok_trajectory.rollout import rollout
from omnitok_trajectory.scripted import CartPoleMix
from omnitok_trajectory.tracking import Tracking

from omnitok import load_plugins
from omnitok.cli import run as cli
from omnitok.errors import ConfigError
from omnitok.recipe import Recipe, make_recipe
from omnitok.tasks import prepare
from omnitok.train import Result

HOST = load_plugins(only=["trajectory"])
PLAIN: dict[str, Any] = {
    "tokenizers": {"cart": {"plugin": "trajectory"}},
    "tasks": [
        {
            "name": "balance",
            "data": {"name": "trajectory/cartpole-mix", "count": 40},
            "document": [{"cart": "episode"}],
            "objective": {"next": {"on": "cart/action"}},
            "context": 12,
        }
    ],
    "model": {"dim": 8, "depth": 1, "heads": 1},
    "train": {"steps": 2, "budget": 120, "threads": 1, "evaluate_every": 0},
}
LOGGED = {**PLAIN["train"], "log_every": 1}
TOML = """
[tokenizers.cart]
plugin = "trajectory"
[[tasks]]
name = "balance"
data = { name = "trajectory/cartpole-mix", count = 40 }
document = [{ cart = "episode" }]
objective = { next = { on = "cart/action" } }
context = 12
[model]
dim = 8
depth = 1
heads = 1
[train]
steps = 2
budget = 120
threads = 1
"""


def recipe(**changes: Any) -> Recipe:
    return make_recipe({**PLAIN, **changes})


# -- derived recipes


def test_baselines_keep_the_model_and_the_number_of_actions() -> None:
    made = {name: derive(recipe()) for name, derive in RECIPES.items()}
    assert made["dt"] == recipe()
    assert {n: r.tasks[0].context for n, r in made.items()} == {"dt": 12, "bc": 2, "best10": 2, "twin": 8}
    assert {n: r.train.budget for n, r in made.items()} == {"dt": 120, "bc": 80, "best10": 80, "twin": 80}
    for name, derived in made.items():
        assert (derived.model, derived.train.steps, derived.tasks[0].objective) == (
            recipe().model,
            2,
            recipe().tasks[0].objective,
        )
        assert derived.tokenizers["cart"].get("returns", True) == (name == "dt")
        assert derived.tasks[0].data.get("best") == (0.1 if name == "best10" else None)
    assert recipe() == make_recipe(PLAIN)


def test_a_preset_with_a_role_for_returns_does_without() -> None:
    model = {"preset": "decision-transformer", "dim": 8, "depth": 1, "heads": 1}
    for name in ("bc", "twin"):
        tasks = prepare(RECIPES[name](recipe(model=model)), HOST)
        built = tasks.build()
        assert set(tasks.channels) == {"cart/observation", "cart/action"}
        assert built.preset_heads["cart/action"] == ("main", "action")


def test_documents_of_one_step_hold_one_observation_and_its_action() -> None:
    tasks = prepare(RECIPES["bc"](recipe()), HOST)
    for key in "abcdef":
        document = tasks("balance", 3, key)
        assert document.main.channels == ("cart/observation", "cart/action") and len(document) == 2
        first, second = (int(s.axes["step"][0]) for s in document.main.spans)
        assert first == second and document.asks["balance"].rows.tolist() == [0]


def test_what_no_baseline_can_be_made_of_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves returns out already"):
        RECIPES["twin"](RECIPES["twin"](recipe()))
    twice = [*PLAIN["tasks"], {**PLAIN["tasks"][0], "name": "again"}]
    with pytest.raises(ConfigError, match="one task"):
        RECIPES["bc"](recipe(tasks=twice))


def test_every_model_sees_the_same_data() -> None:
    hashes = {name: data_hash(derive(recipe()), HOST) for name, derive in RECIPES.items()}
    assert len(set(hashes.values())) == 1
    other = {**PLAIN["tasks"][0], "data": {"name": "trajectory/cartpole-mix", "count": 40, "seed": 1}}
    assert data_hash(recipe(tasks=[other]), HOST) != hashes["dt"]


# -- playing


def test_a_model_of_one_step_forgets_what_was_before(tmp_path: Path) -> None:
    run = trained(RECIPES["bc"](recipe()), tmp_path / "bc", HOST, quiet=True)
    seen = [np.full(4, 0.1, np.float32), np.full(4, -0.2, np.float32)]
    answers = []
    for first in (0, 1):
        policy = policy_of(run)
        policy.reset(1)
        policy.act([0], np.zeros(1), [seen[first]])
        answers.append(policy.window.answer(policy._new(np.zeros(1), [seen[0]])))
    assert torch.equal(*answers)
    assert trained(RECIPES["bc"](recipe(train=LOGGED)), tmp_path / "logged", HOST, quiet=True).step == 2
    assert 0 < seconds_of(tmp_path / "logged") < 60
    assert trained(RECIPES["bc"](recipe()), tmp_path / "bc", HOST).step == 2
    with pytest.raises(ConfigError, match="another recipe"):
        trained(recipe(), tmp_path / "bc", HOST)


def test_a_training_that_was_stopped_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "train", lambda *a, **k: Result(1, None, interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        trained(recipe(), tmp_path / "dt", HOST)


# -- numbers


def test_the_comparison_counts_at_the_named_target() -> None:
    returns = np.array([[10.0, 30.0], [100.0, 140.0]])
    asked, bare = Entry("dt", True), Entry("bc", False)
    for seed in (0, 1):
        asked.add("sampled", seed, Tracking("CartPole-v1", (25.0, 100.0), returns + seed))
        bare.add("greedy", seed, Tracking("CartPole-v1", (100.0,), returns[1:] / 2))
    plain = Comparison("CartPole-v1", (25.0, 100.0), 100.0, Scale(20.0, 220.0), (asked, bare)).plain()
    dt, bc = plain["models"]["dt"]["sampled"], plain["models"]["bc"]["greedy"]
    assert (dt["seeds"]["0"]["return"], dt["seeds"]["1"]["return"], dt["all"]["return"]) == (120, 121, 120.5)
    assert (dt["seeds"]["0"]["normalised"], bc["all"]["normalised"]) == (50, 20)
    assert dt["seeds"]["0"]["achieved"] == [20, 120] and dt["seeds"]["0"]["slope"] == pytest.approx(100 / 75, abs=1e-4)
    assert bc["all"]["return"] == 60 and "pearson" not in bc["all"]
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_intervals_grow_with_the_spread_of_seeds_and_episodes() -> None:
    assert interval(np.full((3, 8), 7.0)) == [7, 7]
    low, high = interval(np.array([[0.0] * 8, [10.0] * 8]))
    assert (low, high) == (0, 10)
    low, high = interval(np.arange(100.0)[None])
    assert low == pytest.approx(49.5 - 1.96 * 2.89, abs=1) and high == pytest.approx(49.5 + 1.96 * 2.89, abs=1)


# -- the command


def test_compare_prints_a_table_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text(TOML)
    command = [
        "rl",
        "compare",
        str(tmp_path / "r.toml"),
        "--targets",
        "20,40",
        "--episodes",
        "2",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert cli([*command, "--only", "dt,best10", "--seeds", "0,1", "--scale=0,500", "--json", str(tmp_path / "r.json")]) == 0
    shown = capsys.readouterr().out
    assert "10% BC" in shown and "the same for dt, best10" in shown
    found = json.loads((tmp_path / "r.json").read_text())
    assert set(found["models"]) == {"dt", "best10"} and len(found["data_sha256"]) == 64
    assert set(found["models"]["best10"]["sampled"]["seeds"]) == {"0", "1"} == set(found["models"]["dt"]["greedy"]["seeds"])
    assert found["models"]["dt"]["parameters"] > found["models"]["best10"]["parameters"]
    assert {f.name for f in (tmp_path / "runs").iterdir()} == {f"{n}-seed-{s}" for n in ("dt", "best10") for s in (0, 1)}


def test_compare_shows_recipes_and_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text(TOML)
    command = ["rl", "compare", str(tmp_path / "r.toml"), "--out", str(tmp_path / "runs")]
    assert cli([*command, "--show", "--only", "bc"]) == 0
    assert "returns = false" in capsys.readouterr().out
    for more, message in (
        (["--only", "bd"], "unknown model in --only: 'bd'"),
        (["--targets", "a,b"], "--targets 'a,b'"),
        (["--targets", "1,2", "--at", "3"], "--at 3 is not one of"),
        (["--scale", "1"], "give 2 numbers"),
        (["--seeds", "x"], "--seeds 'x'"),
    ):
        assert cli([*command, *more]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and message in error, error
    assert not (tmp_path / "runs").exists()


# -- GAIL


def experts() -> list[Episode]:
    return [s["episode"] for s in CartPoleMix(count=40, best=0.1).split("train")]


def test_two_updates_of_gail_count_their_online_steps() -> None:
    settings = Settings(updates=2, envs=2, steps=32, rows=16, epochs=1, dim=8)
    gail, again = (Gail("CartPole-v1", experts(), settings, seed=3) for _ in range(2))
    before = [p.clone() for p in gail.actor.model.parameters()]
    means = gail.run(quiet=True)
    assert gail.online_steps == 2 * 2 * 32 and len(means) == 2 and math.isfinite(means[0])
    assert any(not torch.equal(a, b) for a, b in zip(before, gail.actor.model.parameters(), strict=True))
    again.run(quiet=True)
    policies = [g.policy(True) for g in (gail, again)]
    first, second = (rollout(p, "CartPole-v1", [500.0], 2).returns for p in policies)
    assert np.array_equal(first, second)


def test_rows_of_one_step_are_computed_apart() -> None:
    gail = Gail("CartPole-v1", experts(), Settings(dim=8), seed=0)
    seen, acted = torch.randn(5, 4), torch.tensor([0, 1, 1, 0, 1])
    together = gail.score(seen, acted)
    assert torch.allclose(together, torch.cat([gail.score(seen[i : i + 1], acted[i : i + 1]) for i in range(5)]), atol=1e-6)
    assert torch.allclose(together[[4, 2]], gail.score(seen[[4, 2]], acted[[4, 2]]), atol=1e-6)
    assert isinstance(gail.judge, Rows) and not torch.equal(together, gail.score(seen, 1 - acted))


def test_advantages_stop_at_the_end_of_an_episode() -> None:
    gail = Gail("CartPole-v1", experts(), Settings(dim=8, discount=0.5, trace=1.0), seed=0)
    rewards, values = torch.ones(3, 1), torch.tensor([[10.0], [20.0], [30.0]])
    stops = torch.zeros(3, 1, 2)
    on = gail._advantages(rewards, values, stops, torch.tensor([40.0]))
    assert (on + values)[:, 0].tolist() == [1 + 0.5 * (1 + 0.5 * 21), 1 + 0.5 * 21, 21]
    stops[1, 0, 0] = 1
    ended = gail._advantages(rewards, values, stops, torch.tensor([40.0]))
    assert (ended + values)[:, 0].tolist() == [1.5, 1, 21]
    stops[1, 0, 1] = 8
    assert (gail._advantages(rewards, values, stops, torch.tensor([40.0])) + values)[:, 0].tolist() == [3.5, 5, 21]


def test_gail_refuses_spaces_it_is_not_for() -> None:
    with pytest.raises(ConfigError, match="discrete actions"):
        Gail("Pendulum-v1", [])


@pytest.mark.train
def test_gail_balances() -> None:
    gail = Gail("CartPole-v1", [s["episode"] for s in CartPoleMix(best=0.1).split("train")], seed=0)
    gail.run()
    assert gail.online_steps == 40 * 8 * 256
    assert rollout(gail.policy(True), "CartPole-v1", [500.0], 32).means[0] >= 400


def test_the_committed_comparison_is_complete() -> None:
    result = json.loads((Path(__file__).parents[2] / "demos" / "results" / "compare-cartpole.json").read_text())
    assert result["command"].startswith("omnitok rl compare demos/decision_transformer/cartpole.toml ")
    assert result["targets"] == [25, 50, 100, 200, 350, 500] and result["episodes"] == 32 and len(result["data_sha256"]) == 64
    assert set(result["models"]) == {"dt", "bc", "best10", "twin", "gail"}
    models = {name: {way: model[way]["all"] for way in ("sampled", "greedy")} for name, model in result["models"].items()}
    assert models["bc"]["greedy"]["return"] >= 475
    assert models["dt"]["sampled"]["pearson"] >= 0.95 and 0.8 <= models["dt"]["sampled"]["slope"] <= 1.2
    assert models["gail"]["sampled"]["return"] >= 400 and result["models"]["gail"]["online_steps"] == 40 * 8 * 256
