"""The files of a published model: `config.json`, and weights in safetensors, whole or in parts. Pickles are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError, did_you_mean

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MOST_JSON = 1 << 26
"""bytes of a JSON file; the largest published index has about a tenth of it"""
CODE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz", ".npy", ".h5", ".msgpack", ".joblib", ".tar")
"""suffixes of files that can run code when they are read, or that their library alone reads"""
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
"""what is fetched from a hub"""


@dataclass(frozen=True)
class Published:
    """A published model as its files hold it."""

    source: str
    """as it was asked for"""
    folder: Path
    """where its files lie"""
    config: Mapping[str, Any] | None
    """of `config.json`, where there is one"""
    weights: Mapping[str, Tensor]


def read_published(source: str | Path) -> Published:
    """Read a folder, one .safetensors file, or a hub id.

    Raises CheckpointError naming the file that is missing, damaged, cut short or of a kind that is not read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        _refuse_code(path, path.parent)
        return Published(str(source), path.parent, None, dict(_tensors(path)))
    folder = path if path.is_dir() else _fetched(str(source))
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    return Published(str(source), folder, config, _weights(folder))


def _fetched(source: str) -> Path:
    """The folder of a hub id, downloaded where it is not there yet."""
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        raise CheckpointError(f"{source}: no such file or folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CheckpointError(
            f"{source}: no such file or folder; to read it as a hub id, install the extra: pip install 'omnitok[hub]'"
        ) from None
    try:
        return Path(snapshot_download(source, allow_patterns=list(WANTED)))
    except Exception as error:  # the library raises its own errors, and those of three network libraries
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{source}: no such file or folder, and not fetched as a hub id ({reason})") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError naming the file."""
    try:
        if path.stat().st_size > MOST_JSON:
            raise CheckpointError(f"{path}: more than {MOST_JSON} bytes, which no such file needs")
        plain = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(plain, dict):
        raise CheckpointError(f"{path}: holds a {type(plain).__name__} where an object belongs")
    return plain


def _weights(folder: Path) -> dict[str, Tensor]:
    if (folder / INDEX).is_file():
        return _sharded(folder)
    if (folder / WHOLE).is_file():
        return dict(_tensors(folder / WHOLE))
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return dict(_tensors(found[0]))
    if found:
        raise CheckpointError(f"{folder}: has no {WHOLE} and no {INDEX}; name one of {', '.join(p.name for p in found)}")
    for path in sorted(folder.iterdir()):
        _refuse_code(path, folder)
    raise CheckpointError(f"{folder}: has no {WHOLE} and no {INDEX}")


def _refuse_code(path: Path, folder: Path) -> None:
    """CheckpointError with the way out, for a file of weights that is not safetensors."""
    if path.suffix.lower() not in CODE:
        return
    architectures = (read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}).get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else "AutoModel"
    raise CheckpointError(
        f"{path}: reading a {path.suffix} file can run code that is hidden in it, so it is refused; if you trust it, convert it "
        f'once with its own library: python -c "from transformers import {name} as M; '
        f"M.from_pretrained('{folder}').save_pretrained('{folder}', safe_serialization=True)\""
    )


def _sharded(folder: Path) -> dict[str, Tensor]:
    """All parts that an index names; every tensor must lie in the part that it is said to lie in."""
    index = folder / INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f"{index}: has no weight_map from tensors to files")
    found: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index}: names the part {name!r}, which is no .safetensors file of this folder")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: is missing; {index.name} says that it holds a part of the weights")
        for key, tensor in _tensors(folder / name):
            if places.get(key) != name:
                raise CheckpointError(f"{folder / name}: holds {key!r}, which {index.name} places in {places.get(key)!r}")
            found[key] = tensor
    if missing := sorted(places.keys() - found.keys()):
        raise CheckpointError(f"{folder / places[missing[0]]}: lacks {missing[0]!r}, which {index.name} places there")
    return found


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: is no .safetensors file; {did_you_mean(path.suffix, ['.safetensors'], 'read')}")
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (it is no mapping)
                yield key, file.get_tensor(key)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged or cut short ({error})") from None
