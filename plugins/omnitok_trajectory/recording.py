"""Writing episodes as a Minari data set, and a digest of episodes."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omnitok.errors import ConfigError

from .episode import Episode, leaves, tree_map
from .minari import library

ID = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*-v\d+")
FORMATS = ("hdf5", "arrow")


def place(out: str) -> tuple[str, Path]:
    """(Minari id, folder) of `out`: an id such as mine/cartpole-v0 lies below Minari's own folder, anything else is a folder."""
    library()
    from minari.storage.datasets_root_dir import get_dataset_path

    if ID.fullmatch(out):
        return out, Path(get_dataset_path(out)).resolve()
    path = Path(out).expanduser().resolve()  # Minari loses its way in relative folders
    own = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name).strip("-") or "episodes"
    return (own if ID.fullmatch(own) else f"{own}-v0"), path


def write_minari(
    out: str,
    episodes: Sequence[Episode],
    env: Any,
    format: str = "hdf5",
    seeds: Sequence[int] | None = None,
    force: bool = False,
    facts: dict[str, str] | None = None,
) -> Path:
    """Write episodes of `env` (a made environment) losslessly and give the folder; what is there is replaced by `force` only.

    The set appears whole or not at all. `facts` may hold Minari's `algorithm_name` and `description`.
    """
    name, folder = place(out)
    check_free(folder, force)
    if format not in FORMATS:
        raise ConfigError(f"no format {format!r}; there are {' and '.join(FORMATS)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".omnitok-") as unfinished:
        made = Path(unfinished) / "set"
        _write(made / "data", name, episodes, env, format, seeds, facts or {})
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return folder


def check_free(folder: Path, force: bool) -> None:
    """Raises ConfigError where something is there that may not be replaced: never anything but a Minari data set."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "data" / "metadata.json").exists():
        raise ConfigError(f"{folder} is there and is no Minari data set; choose another place")
    if not force:
        raise ConfigError(f"{folder} is there already; `--force` replaces it")


def _write(
    data: Path, name: str, episodes: Sequence[Episode], env: Any, format: str, seeds: Sequence[int] | None, facts: dict[str, str]
) -> None:
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    data.mkdir(parents=True)
    try:
        storage = MinariStorage.new(
            data,
            observation_space=env.observation_space,
            action_space=env.action_space,
            env_spec=env.spec,
            data_format=format,
            jpeg_encoding=False,
        )
    except ImportError as error:
        raise ConfigError(f'format {format!r}: {error} (or "omnitok[minari]")') from None
    spec = {"eval_env_spec": env.spec.to_json()} if env.spec is not None else {}
    storage.update_metadata({"dataset_id": name, "minari_version": library().__version__, **spec, **facts})
    storage.update_episodes(
        EpisodeBuffer(
            seed=None if seeds is None else int(seeds[i]),
            observations=tree_map(_stored, e.observations),
            actions=tree_map(_stored, e.actions),
            rewards=e.rewards,
            terminations=_at_the_end(len(e), e.terminated),
            truncations=_at_the_end(len(e), e.truncated),
        )
        for i, e in enumerate(episodes)
    )


def _stored(rows: np.ndarray) -> Any:
    """Rows as Minari takes them: strings as a list."""
    return rows.tolist() if rows.dtype.kind == "U" else rows


def _at_the_end(steps: int, flag: bool) -> np.ndarray:
    """[steps] bool: False, and the flag last."""
    flags = np.zeros(steps, bool)
    flags[-1:] = flag
    return flags


def digest(episodes: Sequence[Episode]) -> str:
    """sha256 over every number of every episode and its ending: the same however and wherever they are stored."""
    found = hashlib.sha256()
    for episode in episodes:
        for part in (episode.observations, episode.actions, episode.rewards):
            for x in leaves(part):
                found.update(f"{x.dtype.str}{x.shape}".encode())
                found.update(np.ascontiguousarray(x).tobytes())
        found.update(bytes([episode.terminated, episode.truncated]))
    return found.hexdigest()
