"""The dataset trajectory/minari: Minari's offline reinforcement learning sets, aligned episode by episode."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from omnitok.errors import ConfigError, InputError

from .datasets import Episodes
from .environments import describe
from .episode import Episode, leaves


class MinariEpisodes(Episodes, frozen=True, kw_only=True):
    """A Minari data set that is on this machine, by its id or by its folder; nothing is downloaded.

    Every episode is read by itself with its T + 1 observations. Minari stores pictures as JPEG unless the set was made
    with `jpeg_encoding=False`: what was lost then cannot be given back.
    """

    name: ClassVar[str] = "trajectory/minari"
    licence: ClassVar[str] = "as the data set's"
    source: ClassVar[str] = "Minari (minari.farama.org)"

    dataset: Annotated[str, msgspec.Meta(description="Minari id such as mujoco/hopper/medium-v0, or the folder of a data set")]

    def episodes(self) -> Sequence[Episode]:
        return _load(self.dataset)

    def metadata(self) -> dict[str, Any]:
        opened = _open(self.dataset)
        env = opened.env_spec.id if opened.env_spec is not None else None
        return self.about(env, describe(opened.observation_space), describe(opened.action_space))


def _open(dataset: str) -> Any:
    try:
        import minari
    except ImportError:
        raise ConfigError('trajectory/minari needs Minari: pip install "omnitok[minari]"') from None
    folder = Path(dataset)
    try:
        if folder.is_dir():
            return minari.MinariDataset(folder if (folder / "metadata.json").exists() else folder / "data")
        return minari.load_dataset(dataset, download=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(f"Minari data set {dataset!r} cannot be opened: {error}") from None


@functools.lru_cache(maxsize=2)
def _load(dataset: str) -> tuple[Episode, ...]:
    return tuple(aligned(dataset, data) for data in _open(dataset).iterate_episodes())


def aligned(dataset: str, data: Any) -> Episode:
    """One of Minari's episodes. Raises InputError where its parts have not T + 1 and T rows."""
    steps = len(data.rewards)
    rows = {len(x) for x in leaves(data.observations)}, {len(x) for x in leaves(data.actions)}
    if rows != ({steps + 1}, {steps}):
        raise InputError(
            f"Minari data set {dataset!r}, episode {data.id}: {steps} rewards need {steps + 1} observations and {steps} actions, "
            f"got {sorted(rows[0])} and {sorted(rows[1])}"
        )
    terminated, truncated = (bool(flags[-1]) if len(flags) else False for flags in (data.terminations, data.truncations))
    return Episode(data.observations, data.actions, data.rewards, terminated, truncated)
