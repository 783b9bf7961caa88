"""The random state of this process, taken and put back: torch (CPU and GPU), numpy and Python."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed every generator from one number."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def take() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state as tensors and JSON values."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    assert kind == "MT19937" and isinstance(keys, np.ndarray)
    version, words, python_gauss = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(keys.astype(np.int64)),
        "python": torch.tensor(words, dtype=torch.int64),
    }
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return tensors, {"numpy": [int(place), int(has_gauss), float(gauss)], "python": [version, python_gauss]}


def put(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Put back what `take` gave; states of GPUs that are not here are left out."""
    torch.set_rng_state(tensors["torch"])
    place, has_gauss, gauss = facts["numpy"]
    np.random.set_state(("MT19937", tensors["numpy"].numpy().astype(np.uint32), place, has_gauss, gauss))
    version, python_gauss = facts["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), python_gauss))
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{i}"], i)
