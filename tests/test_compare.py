"""Comparing what was given back with what was tokenized."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from omnitok.compare import difference


@dataclass(frozen=True)
class Box:
    """Something with an array in it, which has no truth value of its own."""

    numbers: np.ndarray
    name: str = ""


class Opaque:
    pass


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a", "a", 0.0),
        ("a", "b", math.inf),
        (1, 1.5, 0.5),
        (2**60, 2**60 + 1, 1.0),
        (None, None, 0.0),
        (None, 0, math.inf),
        ([1, [2.0, "x"]], [1, [2.25, "x"]], 0.25),
        ([1], [1, 2], math.inf),
        ((1, 2), [1, 2], math.inf),
        ({"a": 1}, {"a": 3}, 2.0),
        ({"a": 1}, {"b": 1}, math.inf),
        (np.arange(3), np.arange(3), 0.0),
        (np.zeros(3), np.full(3, 0.5), 0.5),
        (np.zeros(3), np.zeros(4), math.inf),
        (np.array(["a"]), np.array(["b"]), math.inf),
        (torch.ones(2), torch.ones(2), 0.0),
        (Box(np.ones(2), "x"), Box(np.ones(2), "x"), 0.0),
        (Box(np.ones(2), "x"), Box(np.zeros(2), "x"), 1.0),
        (Box(np.ones(2), "x"), Box(np.ones(2), "y"), math.inf),
    ],
)
def test_difference(a: object, b: object, expected: float) -> None:
    assert difference(a, b) == expected
    assert difference(b, a) == expected


def test_the_smallest_difference_is_one() -> None:
    near = np.array([2**53], dtype=np.int64)
    assert difference(near, near + 1) > 0  # equal once they are floats


def test_nan_is_never_close() -> None:
    assert difference([math.nan], [1.0]) != 0


def test_objects_without_equality_cannot_be_compared() -> None:
    assert difference(Opaque(), Opaque()) is None
    assert difference([Opaque(), 1], [Opaque(), 1]) is None
    assert difference([Opaque(), 1], [Opaque(), 2]) == 1.0
