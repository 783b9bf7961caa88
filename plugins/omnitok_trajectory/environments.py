"""Reading gymnasium: its space objects and registered environments as descriptions."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from omnitok.errors import ConfigError


def describe(space: Any) -> dict[str, Any]:
    """A gymnasium space -> its JSON description. Raises ConfigError for a kind that is not supported."""
    from gymnasium import spaces as gym

    if isinstance(space, gym.Box):
        low, high = _bound(space.low), _bound(space.high)
        return {"type": "Box", "shape": list(space.shape), "low": low, "high": high, "dtype": str(space.dtype)}
    if isinstance(space, gym.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, gym.MultiDiscrete):
        flat = {"nvec": space.nvec.ravel().tolist(), "start": space.start.ravel().tolist()}
        return {"type": "MultiDiscrete", **flat, "dims": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, gym.MultiBinary):
        return {"type": "MultiBinary", "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, gym.Text):
        lengths = {"min_length": int(space.min_length), "max_length": int(space.max_length)}
        return {"type": "Text", "characters": "".join(sorted(space.character_set)), **lengths}
    if isinstance(space, gym.Dict):
        return {"type": "Dict", "spaces": {key: describe(branch) for key, branch in space.spaces.items()}}
    if isinstance(space, gym.Tuple):
        return {"type": "Tuple", "spaces": [describe(branch) for branch in space.spaces]}
    raise ConfigError(
        f"spaces of kind {type(space).__name__} are not supported; "
        "Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict and Tuple are"
    )


def _bound(values: np.ndarray) -> Any:
    plain = [float(v) if np.isfinite(v) else None for v in values.ravel()]
    return plain[0] if len(set(plain)) == 1 else plain


def make(env: str, **options: Any) -> Any:
    """A registered environment, ours among them; `options` as `gymnasium.make` takes them.

    Raises ConfigError for an unknown id, and for an id that names a module to import: configuration names no code.
    """
    import gymnasium

    from . import worlds  # noqa: F401 (registers ours)

    if ":" in env:
        raise ConfigError(f"env {env!r} names a module; import it in your own code and give the id behind the colon")
    try:
        return gymnasium.make(env, **options)
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise ConfigError(f'env {env!r} needs more than is installed: pip install "omnitok[rl]" ({error})') from None
    except (gymnasium.error.Error, TypeError) as error:
        raise ConfigError(f"env {env!r}: {error}") from None


@functools.lru_cache(maxsize=64)
def environment_spaces(env: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(observation, action) descriptions of a registered gymnasium environment. Raises ConfigError as `make` does."""
    made = make(env)
    try:
        return describe(made.observation_space), describe(made.action_space)
    finally:
        made.close()
