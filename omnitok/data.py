"""Datasets: plain dict samples by split, with their metadata. Plugins register them by name."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from .errors import ConfigError, did_you_mean

Sample = Mapping[str, Any]
Folder = Annotated[str, msgspec.Meta(description="folder of the files; unset: the dataset's own under $OMNITOK_DATA")]


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source of samples. Its fields are the recipe's keys beside `name` and `split`; each has a description.

    Splits are made by sample (episode, file, graph), never by window of one. The same sample stands at the same place at
    every visit and in every worker; nothing is drawn from the process's generators.
    """

    name: ClassVar[str]
    """"<plugin>/<dataset>"."""
    licence: ClassVar[str]
    source: ClassVar[str]

    def split(self, name: str) -> Sequence[Sample]:
        """The samples of "train", "eval" or another split that `splits` names; items are made when asked for.

        A field of every sample is an object that the plugin's tokenizer takes. Raises ConfigError naming the splits there
        are (`check_split`), or what is missing to open it.
        """
        raise NotImplementedError

    def splits(self) -> tuple[str, ...]:
        return ("train", "eval")

    def weights(self, name: str) -> Sequence[float] | None:
        """How often each sample of the split is drawn, relative to the others; None: all alike, each once per epoch."""
        return None

    def metadata(self) -> dict[str, Any]:
        """What tokenizers and objectives take from the data, as JSON values: class lists, spaces, sample rates."""
        return {}


def check_split(dataset: Dataset, name: str) -> str:
    """The split's name, or ConfigError with the splits that exist."""
    if name not in dataset.splits():
        raise ConfigError(f"dataset {dataset.name!r} has no split {name!r}; {did_you_mean(name, dataset.splits())}")
    return name


def hold_out(rows: Sequence[Any], name: str, every: int = 10, seed: int = 0) -> list[Any]:
    """Every `every`-th row of a seeded shuffle for "eval", the others for "train"."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    return [rows[i] for k, i in enumerate(order) if (k % every == 0) == (name == "eval")]


def data_folder(dataset: Dataset, folder: str, default: str) -> Path:
    """The folder that was set, or `default` under $OMNITOK_DATA. Raises ConfigError where neither is there."""
    root = os.environ.get("OMNITOK_DATA")
    if not folder and not root:
        raise ConfigError(f"dataset {dataset.name!r}: set its field 'folder', or OMNITOK_DATA to a folder that holds {default!r}")
    path = Path(folder) if folder else Path(root or "", default)
    if not path.is_dir():
        raise ConfigError(f"dataset {dataset.name!r}: no folder {path}; get the files from {dataset.source}")
    return path
