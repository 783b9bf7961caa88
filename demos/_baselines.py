"""Simple baselines for the mixed demo, fitted to the training samples in the same run.

Each gives one (numerator, denominator) per held-out document, in the words of the task's own metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from omnitok.batch import Ask, Document
from omnitok.tasks import Tasks

Score = tuple[float, float]
Documents = Sequence[Document]


def bigram(tasks: Tasks, task: str, train: Documents, held_out: Documents) -> list[Score]:
    """Nats of the best interpolated bigram model over the same tokens (its weight chosen on the training half it did not see)."""
    vocab = tasks.channels["text"].vocab or 0
    sequences = [_ids(d) for d in train]
    half = len(sequences) // 2
    priors = [float(p) for p in 10.0 ** np.arange(-2, 3)]
    tables = {prior: _table(sequences[:half], vocab, prior) for prior in priors}
    best = min(priors, key=lambda prior: sum(_nats(tables[prior], s)[0] for s in sequences[half:]))
    table = _table(sequences, vocab, best)
    return [_nats(table, _ids(d)) for d in held_out]


def _table(sequences: Sequence[np.ndarray], vocab: int, prior: float) -> np.ndarray:
    pairs = np.zeros((vocab, vocab))
    for ids in sequences:
        np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    single = (pairs.sum(0) + 1) / (pairs.sum() + vocab)
    return (pairs + prior * single) / (pairs.sum(1, keepdims=True) + prior)


def _nats(table: np.ndarray, ids: np.ndarray) -> Score:
    return float(-np.log(table[ids[:-1], ids[1:]]).sum()), float(len(ids) - 1)


def _ids(document: Document) -> np.ndarray:
    return np.concatenate([s.ids.numpy() for s in document.main.spans if s.ids is not None])


def nearest_mean(tasks: Tasks, task: str, train: Documents, held_out: Documents) -> list[Score]:
    """Right answers of the nearest class mean, over the mean features of each document's tokens (pixels, log-mel bands)."""
    x, y = _features(train, task), _labels(train, task)
    means = np.stack([x[y == c].mean(0) for c in np.unique(y)])
    guess = np.unique(y)[((_features(held_out, task)[:, None] - means) ** 2).sum(-1).argmin(1)]
    return [(float(g == t), 1.0) for g, t in zip(guess, _labels(held_out, task), strict=True)]


def _features(documents: Documents, task: str) -> np.ndarray:
    rows = []
    for document in documents:
        features = next(s.features for s in document.main.spans if s.features is not None).float()
        rows.append(features.flatten().numpy() if features.dim() == 2 else features.mean((0, 1)).numpy())
    return np.stack(rows)


def _labels(documents: Documents, task: str) -> np.ndarray:
    return np.array([int(d.asks[task].target[0]) for d in documents])


def linear_policy(tasks: Tasks, task: str, train: Documents, held_out: Documents) -> list[Score]:
    """Squared error of the action that least squares reads off the observation, on the model's scale."""
    x, y = (np.concatenate(part) for part in zip(*(_steps(d, d.asks[task]) for d in train), strict=True))
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    out = []
    for document in held_out:
        x, y = _steps(document, document.asks[task])
        error = ((np.c_[x, np.ones(len(x))] @ weights - y) ** 2).mean(-1)
        out.append((float(error.sum()), float(len(error))))
    return out


def _steps(document: Document, ask: Ask) -> tuple[np.ndarray, np.ndarray]:
    observations = next(s for s in document.main.spans if s.channel.endswith("/observation"))
    assert observations.features is not None
    return observations.features[: len(ask.target)].float().numpy(), ask.target.numpy()


def degree_histogram(tasks: Tasks, task: str, train: Documents, held_out: Documents) -> list[Score]:
    """Right answers of logistic regression on how many nodes have each degree."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    guess = model.fit(_degrees(train), _labels(train, task)).predict(_degrees(held_out))
    return [(float(g == t), 1.0) for g, t in zip(guess, _labels(held_out, task), strict=True)]


def _degrees(documents: Documents) -> np.ndarray:
    degrees = [next(s.axes["degree"] for s in d.main.spans if "degree" in s.axes).numpy() for d in documents]
    return np.stack([np.bincount(d, minlength=16)[:16] for d in degrees])


BASELINES: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "write": ("nats", "bigram", bigram),
    "digit": ("accuracy", "nearest class mean of the pixels", nearest_mean),
    "word": ("accuracy", "nearest class mean of the mean log-mel", nearest_mean),
    "swing": ("mse", "linear policy", linear_policy),
    "atlas": ("accuracy", "logistic regression on the degree histogram", degree_histogram),
}
"""task -> (metric, what it is, function)"""
