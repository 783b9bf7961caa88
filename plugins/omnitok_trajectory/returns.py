"""Returns-to-go of an episode, and its rewards back from them. Shape letters: T steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from omnitok.errors import InputError

from .episode import Episode


def returns_to_go(episode: Episode) -> np.ndarray:
    """[T + 1] float32: the sum of the rewards from each step on, 0 behind the last.

    Raises InputError where a reward, or a sum of them, is not finite.
    """
    if not np.isfinite(episode.rewards).all():
        raise InputError(f"rewards: NaN or infinity at step {int((~np.isfinite(episode.rewards)).argmax())}")
    with np.errstate(over="ignore"):
        returns = np.append(episode.rewards.astype(np.float64)[::-1].cumsum()[::-1], 0.0).astype(np.float32)
    if not np.isfinite(returns).all():
        raise InputError("rewards: their sum is too large for float32; scale them first")
    return returns


def differences(returns: np.ndarray, steps: int) -> np.ndarray:
    """[steps] rewards as far as float32 returns-to-go tell them."""
    return -np.diff(np.append(returns.astype(np.float64), 0.0))[:steps]


def rewards_of(returns: Tensor | None, steps: int, meta: Mapping[str, Any]) -> np.ndarray:
    """[steps] rewards: those kept in the meta where differences of returns-to-go do not give them back.

    Raises InputError where there are neither.
    """
    rewards = meta.get("rewards")
    if rewards is None and returns is None:
        raise InputError("these tokens hold no return-to-go and their meta no rewards, so the rewards are not known")
    kept = np.array(rewards) if rewards is not None or returns is None else differences(returns[:, 0].cpu().numpy(), steps)
    return kept.astype(meta.get("reward_dtype", "float32"))
