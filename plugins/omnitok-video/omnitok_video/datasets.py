"""Clips drawn on the spot: which way does the shape move?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta

from omnitok.data import Dataset, Sample, check_split

from .clip import Video

DIRECTIONS = {"right": (0, 1), "down": (1, 0), "left": (0, -1), "up": (-1, 0)}
SHAPES = ("disc", "square", "cross", "ring")
MILLISECONDS = 80


class Motion(Dataset, frozen=True):
    """Grey clips of one shape that moves by 1 to 3 pixels a frame over a noisy ground, and wraps round at the edges.

    Where the shape starts, which it is and how fast it moves are drawn evenly for every direction, so a single frame, and
    any set of frames whose order is lost, says nothing of the label. Samples: `clip` (`Video`), `label`, `direction`, `shape`.
    """

    name: ClassVar[str] = "video/motion"
    licence: ClassVar[str] = "none needed: drawn by omnitok-video"
    source: ClassVar[str] = "drawn by omnitok-video"

    count: Annotated[int, Meta(ge=4, description="clips for training; a quarter as many are held out")] = 1200
    frames: Annotated[int, Meta(ge=2, description="frames of a clip")] = 8
    side: Annotated[int, Meta(ge=12, description="height and width in pixels")] = 16
    seed: Annotated[int, Meta(ge=0, description="seed of everything that is drawn")] = 0

    def split(self, name: str) -> Sequence[Sample]:
        held_out = check_split(self, name) == "eval"
        return Clips(self, range(self.count, self.count + max(4, self.count // 4)) if held_out else range(self.count))

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(DIRECTIONS)}

    def draw(self, number: int) -> Sample:
        """Clip of that number."""
        rng = np.random.default_rng([self.seed, number])
        label = number % len(DIRECTIONS)
        shape = SHAPES[rng.integers(len(SHAPES))]
        down, right = np.array(list(DIRECTIONS.values())[label]) * rng.integers(1, 4)
        ground = _shape(shape, self.side, rng.uniform(2.5, 4.0)) * rng.integers(90, 200)
        ground = np.roll(ground, rng.integers(0, self.side, 2), (0, 1))
        films = [np.roll(ground, (t * down, t * right), (0, 1)) for t in range(self.frames)]
        noisy = np.stack(films) + rng.normal(30, 12, (self.frames, self.side, self.side))
        video = Video(noisy.round().clip(0, 255).astype(np.uint8), (MILLISECONDS,) * self.frames, 0)
        return {"clip": video, "label": label, "direction": list(DIRECTIONS)[label], "shape": shape}


class Clips(Sequence[Sample]):
    """Drawn when they are asked for."""

    def __init__(self, dataset: Motion, numbers: range) -> None:
        self.dataset, self.numbers = dataset, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: Any) -> Any:
        return self.dataset.draw(self.numbers[i])


def _shape(shape: str, side: int, radius: float) -> np.ndarray:
    """[side, side] 0 or 1, in the middle; every shape is the same seen from all four sides."""
    y, x = np.abs(np.mgrid[:side, :side] - (side - 1) / 2)
    far = np.hypot(x, y)
    inside = {
        "disc": far <= radius,
        "square": np.maximum(x, y) <= radius * 0.9,
        "cross": (np.minimum(x, y) <= 1) & (np.maximum(x, y) <= radius),
        "ring": (far <= radius + 0.5) & (far >= radius - 1),
    }
    return inside[shape].astype(np.float64)
