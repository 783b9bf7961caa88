"""Sampled surfaces: which solid is it, however it is stretched, turned and moved?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta

from omnitok.data import Dataset, Sample, check_split

from .cloud import PointCloud

SHAPES = ("sphere", "box", "cylinder", "cone", "torus", "tetrahedron")


class Shapes(Dataset, frozen=True):
    """Points drawn evenly from the surfaces of six solids, with noise, each stretched by its own three factors, seen from
    one side (the points farthest in a drawn direction are missing), turned about the vertical (or in space), scaled and moved.

    Samples: `cloud` (`PointCloud`, float32), `label`, `shape`.
    """

    name: ClassVar[str] = "pointcloud/shapes"
    licence: ClassVar[str] = "none needed: drawn by omnitok-pointcloud"
    source: ClassVar[str] = "drawn by omnitok-pointcloud"

    count: Annotated[int, Meta(ge=6, description="clouds for training")] = 6000
    held_out: Annotated[int, Meta(ge=6, description="clouds of the eval split")] = 600
    points: Annotated[int, Meta(ge=1, description="points of a cloud")] = 256
    noise: Annotated[float, Meta(ge=0, description="deviation of every coordinate, in the solid's radius")] = 0.02
    stretch: Annotated[float, Meta(ge=1, description="largest factor between a solid's axes")] = 1.6
    missing: Annotated[float, Meta(ge=0, lt=1, description="share of the surface that was not seen")] = 0.25
    upright: Annotated[bool, Meta(description="turned about the vertical axis only, as ModelNet40 usually is; else anyhow")] = (
        True
    )
    seed: Annotated[int, Meta(ge=0, description="seed of everything that is drawn")] = 0

    def split(self, name: str) -> Sequence[Sample]:
        numbers = range(self.count) if check_split(self, name) == "train" else range(self.count, self.count + self.held_out)
        return Clouds(self, numbers)

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(SHAPES)}

    def draw(self, number: int) -> Sample:
        """Cloud of that number."""
        rng = np.random.default_rng([self.seed, number])
        label = number % len(SHAPES)
        points = _surface(SHAPES[label], round(self.points / (1 - self.missing)), rng)
        points = points * self.stretch ** rng.uniform(-0.5, 0.5, 3) + rng.normal(0, self.noise, points.shape)
        points = points[np.argsort(points @ rng.normal(size=3))[: self.points]]
        points = points @ _turn(rng, self.upright) * rng.uniform(0.5, 2.0) + rng.uniform(-5, 5, 3)
        return {"cloud": PointCloud(points.astype(np.float32)), "label": label, "shape": SHAPES[label]}


class Clouds(Sequence[Sample]):
    """Drawn when they are asked for."""

    def __init__(self, dataset: Shapes, numbers: range) -> None:
        self.dataset, self.numbers = dataset, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: Any) -> Any:
        return self.dataset.draw(self.numbers[i])


def _turn(rng: np.random.Generator, upright: bool) -> np.ndarray:
    """[3, 3] a rotation, evenly drawn; in space it is the orthogonal part of a matrix of normal numbers, not mirrored."""
    if upright:
        turn = rng.uniform(0, 2 * np.pi)
        return np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def _surface(shape: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """[n, 3] points spread evenly over a solid of radius about 1 around the origin."""
    turn = rng.uniform(0, 2 * np.pi, n)
    around = np.stack([np.cos(turn), np.sin(turn)], 1)
    if shape == "sphere":
        x = rng.normal(size=(n, 3))
        return x / np.linalg.norm(x, axis=1, keepdims=True)
    if shape == "box":
        x = rng.uniform(-1, 1, (n, 3))
        x[np.arange(n), rng.integers(0, 3, n)] = rng.choice([-1.0, 1.0], n)
        return x * 0.75
    if shape == "cylinder":  # mantle 2 pi r 2h and two lids of pi r^2, with r = h = 1
        lid = rng.random(n) < 1 / 3
        radius = np.where(lid, np.sqrt(rng.random(n)), 1.0)
        height = np.where(lid, rng.choice([-1.0, 1.0], n), rng.uniform(-1, 1, n))
        return np.c_[around * radius[:, None], height] * 0.8
    if shape == "cone":  # mantle pi r s and a ground of pi r^2, with r = 1 and height 2
        ground = rng.random(n) < 1 / (1 + np.sqrt(5))
        radius = np.sqrt(rng.random(n))
        return np.c_[around * radius[:, None], np.where(ground, -0.7, 1.3 - 2 * radius)]
    if shape == "torus":
        return _torus(n, rng)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.75
    faces = corners[np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])[rng.integers(0, 4, n)]]
    weights = rng.dirichlet((1, 1, 1), n)
    return (faces * weights[..., None]).sum(1)


def _torus(n: int, rng: np.random.Generator) -> np.ndarray:
    """Radii 0.8 and 0.3; the outer side is longer, so angles are drawn by rejection."""
    found = np.zeros((0, 3))
    while len(found) < n:
        (u, v), keep = rng.uniform(0, 2 * np.pi, (2, n)), rng.random(n)
        radius = 0.8 + 0.3 * np.cos(v)
        ring = np.stack([radius * np.cos(u), radius * np.sin(u), 0.3 * np.sin(v)], 1)
        found = np.r_[found, ring[keep < radius / 1.1]]
    return found[:n]
