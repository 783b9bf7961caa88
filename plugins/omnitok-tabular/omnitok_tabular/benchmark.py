"""The table in this plugin's README: a small Transformer on each bundled table beside linear models and boosted trees.

Run: python -m omnitok_tabular.benchmark
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from omnitok.data import Dataset, Sample
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.train import train

TABLES = ("iris", "wine", "cancer", "diabetes")
SPLITS = 3
"""Ways in which a fifth is held out; scores are their means."""


def recipe(table: str, seed: int, steps: int, bins: int) -> dict[str, Any]:
    """The same settings for every table; a regression is told the mean and deviation of its target."""
    regress = {"regress": {"label": "target", "mean": 152.0, "std": 77.0}}
    return {
        "tokenizers": {"tabular": {"bins": bins}},
        "tasks": [
            {
                "name": table,
                "data": {"name": f"tabular/{table}", "seed": seed},
                "document": [{"tabular": "row"}],
                "objective": regress if table == "diabetes" else {"classify": {"label": "class"}},
            }
        ],
        "model": {"preset": "encoder", "dim": 64, "depth": 2, "heads": 4, "dropout": 0.1},
        "train": {
            "steps": steps, "budget": 1024, "threads": 1, "seed": seed, "lr": 1e-3, "warmup": 20, "weight_decay": 0.1,
            "evaluate_every": 0, "checkpoint_every": 0, "log_every": 1000,
        },
    }  # fmt: skip


def ours(table: str, seed: int, steps: int, bins: int) -> tuple[float, float]:
    """Score on the held-out rows (accuracy, or root mean square error), and seconds of processor time."""
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        report = train(make_recipe(recipe(table, seed, steps, bins)), folder, load_plugins(), quiet=True).report
    assert report is not None
    score = report[table]
    return score["mse"] ** 0.5 if "mse" in score else score["accuracy"], time.process_time() - begin


def theirs(dataset: Dataset, seed: int) -> tuple[float, float, float]:
    """Scores of the best constant, of a linear model of standardised columns, and of boosted trees, on the same split."""
    x, y = _arrays(dataset.split("train"))
    x_eval, y_eval = _arrays(dataset.split("eval"))
    if "classes" in dataset.metadata():
        models = [LogisticRegression(max_iter=1000), HistGradientBoostingClassifier(random_state=seed)]
        constant = float((y_eval == np.bincount(y.astype(int)).argmax()).mean())
        scores = [float(make_pipeline(StandardScaler(), m).fit(x, y).score(x_eval, y_eval)) for m in models]
    else:
        models = [RidgeCV(), HistGradientBoostingRegressor(random_state=seed)]
        constant = _rmse(np.full(len(y_eval), y.mean()), y_eval)
        scores = [_rmse(make_pipeline(StandardScaler(), m).fit(x, y).predict(x_eval), y_eval) for m in models]
    return constant, scores[0], scores[1]


def _arrays(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([list(s["row"].values()) for s in samples]), np.array([s["target"] for s in samples])


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120, help="updates of the weights")
    parser.add_argument("--splits", type=int, default=SPLITS, help="held-out choices, 0 to this minus one")
    parser.add_argument("--bins", type=int, default=16, help="quantile bins of the numbers' embedding; 0: linear")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="which of them")
    args = parser.parse_args()
    host = load_plugins()
    print("| table | score | constant | linear | boosted trees | omnitok | CPU s per run |\n|---|---|---|---|---|---|---|")
    for table in args.tables:
        rows = []
        for seed in range(args.splits):
            score, seconds = ours(table, seed, args.steps, args.bins)
            rows.append((*theirs(host.dataset(f"tabular/{table}", seed=seed), seed), score, seconds))
        *scores, seconds = np.mean(rows, 0)
        digits = 1 if table == "diabetes" else 3
        words = " | ".join(f"{s:.{digits}f}" for s in scores)
        print(f"| {table} | {'RMSE (lower is better)' if digits == 1 else 'accuracy'} | {words} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
