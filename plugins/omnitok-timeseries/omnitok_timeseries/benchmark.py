"""The tables in this plugin's README: tides forecast two days ahead and told apart, beside simple methods on the same data.

Run: python -m omnitok_timeseries.benchmark
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from omnitok.data import Sample
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.run import load_run
from omnitok.train import train

from .datasets import PERIODS, Tides
from .forecast import continued
from .tokenizer import TimeSeriesTokenizer

PATCH, HORIZON = 12, 48
"""Hours of a patch, and hours that are forecast."""
DAY, LUNAR_DAY = 24, 25
"""Hours after which the tide is about where it was; the moon's day has 24.84."""


def recipe(steps: int) -> dict[str, Any]:
    """Both questions in one run: the next patch, and the regime."""
    data, document = {"name": "timeseries/tides"}, [{"timeseries": "series"}]
    return {
        "tokenizers": {"timeseries": {"patch_size": PATCH}},
        "tasks": [
            {"name": "next", "data": data, "document": document, "objective": {"next": {"on": "timeseries"}}},
            {"name": "regime", "data": data, "document": document, "objective": {"classify": {"label": "label"}}},
        ],
        "model": {"preset": "decoder", "dim": 96, "depth": 3, "heads": 4},
        "train": {
            "steps": steps, "budget": 1056, "threads": 1, "lr": 2e-3, "warmup": 30, "floor": 0.02,
            "evaluate_every": 0, "checkpoint_every": 0, "log_every": 1000,
        },
    }  # fmt: skip


def last_value(past: np.ndarray) -> np.ndarray:
    return np.full(HORIZON, past[-1])


def seasonal(lag: int) -> Callable[[np.ndarray], np.ndarray]:
    """Seasonal naive: what was there `lag` hours before, again and again."""
    return lambda past: np.resize(past[-lag:], HORIZON)


def harmonic(past: np.ndarray) -> np.ndarray:
    """Least squares of the true constituents: what a tide table does, told what no other method here knows."""
    hours = np.arange(len(past) + HORIZON)[:, None] * 2 * np.pi / np.array(list(PERIODS.values()))
    waves = np.concatenate([np.cos(hours), np.sin(hours), np.ones((len(hours), 1))], 1)
    return waves[len(past) :] @ np.linalg.lstsq(waves[: len(past)], past, rcond=None)[0]


def errors(predict: Callable[[np.ndarray], np.ndarray], samples: Sequence[Sample]) -> np.ndarray:
    """[stations, HORIZON] absolute errors in metres of a method that sees all but the last hours."""
    whole = np.stack([s["series"].values[:, 0] for s in samples]).astype(np.float64)
    return np.stack([np.abs(predict(row[:-HORIZON]) - row[-HORIZON:]) for row in whole])


def spectra(samples: Sequence[Sample]) -> np.ndarray:
    """[stations, frequencies] share of the variance at each frequency."""
    whole = np.stack([s["series"].values[:, 0] for s in samples])
    power = np.abs(np.fft.rfft(whole - whole.mean(1, keepdims=True)))[:, 1:64]
    return power / power.sum(1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="updates of the weights")
    args = parser.parse_args()
    held_out = Tides().split("eval")
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        report = train(make_recipe(recipe(args.steps)), Path(folder), load_plugins(), quiet=True).report
        seconds = time.process_time() - begin
        run = load_run(folder)
        tokenizer = run.tokenizers["timeseries"]
        assert isinstance(tokenizer, TimeSeriesTokenizer) and report is not None
        own = [continued(run, tokenizer, s["series"][:-HORIZON], HORIZON).values[:, 0] for s in held_out]
    truth = np.stack([s["series"].values[-HORIZON:, 0] for s in held_out])
    methods = {
        "last value": errors(last_value, held_out),
        "seasonal naive, 24 h": errors(seasonal(DAY), held_out),
        "seasonal naive, 25 h (lunar day)": errors(seasonal(LUNAR_DAY), held_out),
        "omnitok": np.abs(np.stack(own) - truth),
        "harmonic analysis with the true periods": errors(harmonic, held_out),
    }
    print(f"{len(held_out)} held-out stations, trained in {seconds:.0f} s of processor time\n")
    print("| forecast | MAE, first 12 h [m] | MAE, 48 h [m] |\n|---|---|---|")
    for name, wrong in methods.items():
        print(f"| {name} | {wrong[:, :PATCH].mean():.3f} | {wrong.mean():.3f} |")
    training = Tides().split("train")
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    linear.fit(spectra(training), [s["label"] for s in training])
    baseline = linear.score(spectra(held_out), [s["label"] for s in held_out])
    print("\n| regime | accuracy |\n|---|---|")
    own_score = report["regime"]
    scores = {"most frequent": own_score["chance"]["accuracy"], "logistic regression on the spectrum": baseline}
    for name, score in {**scores, "omnitok": own_score["accuracy"]}.items():
        print(f"| {name} | {score:.3f} |")


if __name__ == "__main__":
    main()
