"""The table in this plugin's README: formats of sectors, told apart by a small Transformer and by byte frequencies.

Run: python -m omnitok_bytes.benchmark
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from omnitok.batch import collate
from omnitok.data import Sample
from omnitok.plugins import load_plugins
from omnitok.recipe import make_recipe
from omnitok.run import Run, load_run
from omnitok.train import train

from .datasets import FORMATS, Formats

ALIKE = (("utf-16-le", "utf-16-be"), ("float32-le", "float32-be"))
"""Formats with the same bytes in another order."""


def recipe(steps: int) -> dict[str, Any]:
    return {
        "tokenizers": {"bytes": {"patch_size": 8}},
        "tasks": [
            {
                "name": "format",
                "data": {"name": "bytes/formats"},
                "document": [{"bytes": "bytes"}],
                "objective": {"classify": {"label": "label"}},
            }
        ],
        "model": {"preset": "encoder", "dim": 96, "depth": 2, "heads": 4},
        "train": {
            "steps": steps, "budget": 1056, "threads": 1, "lr": 2e-3, "warmup": 30, "floor": 0.02, "weight_decay": 0.1,
            "evaluate_every": 0, "checkpoint_every": 0, "log_every": 1000,
        },
    }  # fmt: skip


def guesses(run: Run, samples: Sequence[Sample]) -> np.ndarray:
    """[samples] numbers of the classes that a run answers."""
    objective, schema, found = run.tasks.objectives["format"], run.tasks.schema(run.model), []
    for sample in samples:
        batch = collate([run.document("format", sample)], schema)
        found += objective.answers(run.model(batch)["format"], batch.asks["format"])
    names = list(FORMATS)
    return np.array([names.index(word) for word in found])


def frequencies(samples: Sequence[Sample]) -> np.ndarray:
    """[samples, 256] how often each byte occurs (the byte frequency distribution of file forensics)."""
    counts = np.stack([np.bincount(np.frombuffer(s["bytes"], np.uint8), minlength=256) for s in samples])
    return np.sqrt(counts / counts.sum(1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="updates of the weights")
    args = parser.parse_args()
    parts = {name: Formats().split(name) for name in ("train", "eval")}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        train(make_recipe(recipe(args.steps)), folder, load_plugins(), quiet=True)
        seconds = time.process_time() - begin
        own = guesses(load_run(folder), parts["eval"])
    labels = {name: np.array([s["label"] for s in part]) for name, part in parts.items()}
    x, held_out = frequencies(parts["train"]), frequencies(parts["eval"])
    linear = LogisticRegression(max_iter=2000, C=100).fit(x, labels["train"]).predict(held_out)
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(x, labels["train"]).predict(held_out)
    methods = {"logistic regression on byte frequencies": linear, "boosted trees on byte frequencies": trees, "omnitok": own}
    names, truth = list(FORMATS), labels["eval"]
    order = np.isin(truth, [names.index(n) for pair in ALIKE for n in pair])
    packed = np.isin(truth, [names.index(n) for n in ("gzip", "bzip2", "xz")])
    cost = f"{len(labels['train'])} to train on, trained in {seconds:.0f} s of processor time"
    print(f"{len(truth)} held-out sectors of 256 bytes, {cost}\n")
    print("| accuracy | all ten | byte orders (4) | compressed (3) | the others (3) |\n|---|---|---|---|---|")
    for name, guess in methods.items():
        right = guess == truth
        scores = [right.mean(), right[order].mean(), right[packed].mean(), right[~order & ~packed].mean()]
        print(f"| {name} | {' | '.join(f'{s:.3f}' for s in scores)} |")


if __name__ == "__main__":
    main()
