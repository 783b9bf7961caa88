"""The dataset trajectory/minari: Minari's offline reinforcement learning sets, aligned episode by episode."""

from __future__ import annotations

import functools
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from omnitok.errors import ConfigError, InputError

from .datasets import Episodes
from .environments import describe
from .episode import Episode, leaves, tree_map
from .files import shaped
from .spaces import parse


class MinariEpisodes(Episodes, frozen=True, kw_only=True):
    """A Minari data set by its id or by its folder, stored as hdf5 or arrow; fetched first where `download` asks for it.

    Every episode is read by itself with its T + 1 observations and its own ending. Minari stores pictures as JPEG unless the
    set was made with `jpeg_encoding=False` (`omnitok rl collect` does that): a set that lost something so warns.
    """

    name: ClassVar[str] = "trajectory/minari"
    licence: ClassVar[str] = "as the data set's"
    source: ClassVar[str] = "Minari (minari.farama.org)"

    dataset: Annotated[str, msgspec.Meta(description="Minari id such as mujoco/hopper/medium-v0, or the folder of a data set")]
    download: Annotated[bool, msgspec.Meta(description="fetch the set where it is not on this machine")] = False

    def episodes(self) -> Sequence[Episode]:
        return _load(self.dataset, self.download)

    def metadata(self) -> dict[str, Any]:
        opened = open_set(self.dataset, self.download)
        env = opened.env_spec.id if opened.env_spec is not None else None
        return self.about(env, describe(opened.observation_space), describe(opened.action_space))


def library() -> Any:
    """The module minari. Raises ConfigError where it is not installed."""
    try:
        import minari
    except ImportError:
        raise ConfigError('Minari data sets need Minari: pip install "omnitok[minari]"') from None
    return minari


def open_set(dataset: str, download: bool = False) -> Any:
    """The MinariDataset of that id or folder. Raises ConfigError where it is not there or cannot be had."""
    minari, folder = library(), Path(dataset)
    try:
        if folder.is_dir():
            return minari.MinariDataset(folder if (folder / "metadata.json").exists() else folder / "data")
        try:
            return minari.load_dataset(dataset, download=False)
        except FileNotFoundError as error:
            if not download:
                asked, what = f"Minari data set {dataset!r} cannot be opened", str(error).partition(" Use ")[0]
                raise ConfigError(f"{asked}: {what} Set `download = true` to fetch it, or give a folder.") from None
        _check_remote(dataset)
        return minari.load_dataset(dataset, download=True)
    except ConfigError:
        raise
    except Exception as error:  # Minari's remotes raise errors of the libraries that they use
        raise ConfigError(f"Minari data set {dataset!r} cannot be opened: {type(error).__name__}: {error}") from None


def _check_remote(dataset: str, seconds: float = 5.0) -> None:
    """Raises ConfigError at once where the host of the data sets cannot be reached; Minari itself tries for half a minute."""
    from minari.storage.remotes import DEFAULT_REMOTE

    remote = dataset if "://" in dataset else os.environ.get("MINARI_REMOTE", DEFAULT_REMOTE)
    hugging_face = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    address = hugging_face if remote.startswith("hf://") else "https://storage.googleapis.com"
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        raise ConfigError(
            f"Minari data set {dataset!r} is not on this machine, and {address} cannot be reached to fetch it ({error})"
        ) from None


@functools.lru_cache(maxsize=2)
def _load(dataset: str, download: bool) -> tuple[Episode, ...]:
    opened = open_set(dataset, download)
    if opened.storage.jpeg_encoding and any(map(_is_picture, _spaces_in(opened.observation_space, opened.action_space))):
        warnings.warn(
            f"Minari data set {dataset!r} holds its pictures as JPEG: they are not those that were seen; "
            "sets made with jpeg_encoding=False keep every pixel",
            stacklevel=3,
        )
    observed, acted = (parse(describe(space), "space") for space in (opened.observation_space, opened.action_space))
    found = tuple(
        Episode(shaped(observed, e.observations), shaped(acted, e.actions), e.rewards, e.terminated, e.truncated)
        for e in _each(dataset, opened)
    )
    if len(found) != opened.total_episodes:
        raise InputError(f"Minari data set {dataset!r} says {opened.total_episodes} episodes and holds {len(found)}")
    return found


def _each(dataset: str, opened: Any) -> Iterator[Episode]:
    """Every episode, asked for by its own number and held against what was noted when it was written."""
    numbers = [int(i) for i in opened.episode_indices]
    for number, noted in zip(numbers, opened.storage.get_episode_metadata(numbers), strict=True):
        data = list(opened.iterate_episodes([number]))
        steps = noted.get("total_steps", len(data[0].rewards) if data else 0)
        if len(data) != 1 or len(data[0].rewards) != steps:
            got = ", ".join(str(len(part.rewards)) for part in data) or "nothing"
            raise InputError(f"Minari data set {dataset!r}, episode {number}: {steps} steps were written, {got} can be read")
        yield aligned(dataset, data[0])


def aligned(dataset: str, data: Any) -> Episode:
    """One of Minari's episodes. Raises InputError where its parts have not T + 1 and T rows."""
    steps = len(data.rewards)
    observations, actions = (tree_map(np.asarray, tree) for tree in (data.observations, data.actions))  # words come as lists
    rows = {len(x) for x in leaves(observations)}, {len(x) for x in leaves(actions)}
    if rows != ({steps + 1}, {steps}):
        raise InputError(
            f"Minari data set {dataset!r}, episode {data.id}: {steps} rewards need {steps + 1} observations and {steps} actions, "
            f"got {sorted(rows[0])} and {sorted(rows[1])}"
        )
    terminated, truncated = (bool(flags[-1]) if len(flags) else False for flags in (data.terminations, data.truncations))
    return Episode(observations, actions, data.rewards, terminated, truncated)


def _is_picture(space: Any) -> bool:
    from minari.dataset.minari_storage import is_image_space

    return is_image_space(space)


def _spaces_in(*spaces: Any) -> Iterator[Any]:
    """These spaces and all below them."""
    for space in spaces:
        yield space
        below = getattr(space, "spaces", ())  # of Dict and Tuple
        yield from _spaces_in(*(below.values() if isinstance(below, dict) else below))
