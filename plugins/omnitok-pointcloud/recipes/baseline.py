"""The shapes by moments alone: what logistic regression and a random forest make of a few numbers of each cloud."""

from __future__ import annotations

import numpy as np
from omnitok_pointcloud.cloud import PointCloud
from omnitok_pointcloud.datasets import Shapes
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def moments(cloud: PointCloud) -> np.ndarray:
    """Second to fourth moments along the principal axes, of the distance from the middle, and of the height with the
    distance from the vertical: [25], in the cloud's size.
    """
    x = cloud.points.astype(np.float64)
    x -= x.mean(0)
    x /= np.sqrt((x**2).sum(1).mean())
    spread, turn = np.linalg.eigh(x.T @ x / len(x))
    far, p = np.linalg.norm(x, axis=1), x @ turn
    height, out = x[:, 2], np.linalg.norm(x[:, :2], axis=1)
    upright = [(height**k * out**m).mean() for k in range(5) for m in range(5 - k) if k + m > 1]
    return np.r_[spread, abs((p**3).mean(0)), (p**4).mean(0), (far**3).mean(), (far**4).mean(), far.min(), far.max(), upright]


def main() -> None:
    data = Shapes()
    (x, y), (there, truth) = (
        (np.stack([moments(s["cloud"]) for s in split]), np.array([s["label"] for s in split]))
        for split in map(data.split, ("train", "eval"))
    )
    for name, model, columns in (
        ("logistic regression on second moments", LogisticRegression(max_iter=3000), 3),
        ("logistic regression on moments up to the fourth", LogisticRegression(max_iter=3000), None),
        ("random forest on moments up to the fourth", RandomForestClassifier(300, random_state=0), None),
    ):
        fitted = make_pipeline(StandardScaler(), model).fit(x[:, :columns], y)
        print(f"{name}: accuracy {(fitted.predict(there[:, :columns]) == truth).mean():.3f}")


if __name__ == "__main__":
    main()
