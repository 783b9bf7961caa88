"""The dataset trajectory/bridge: real robot-arm episodes with an instruction and two cameras (BridgeData)."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from omnitok.data import Sample
from omnitok.errors import InputError

from .datasets import Episodes
from .episode import Episode
from .files import find

_STATE = {"type": "Box", "shape": [7], "dtype": "float64"}
_PICTURE = {"type": "Box", "shape": [64, 64, 3], "low": 0, "high": 255, "dtype": "uint8"}


class Bridge(Episodes, frozen=True, kw_only=True):
    """Samples `{"episode", "instruction", "picture"}`; the picture is what camera 0 sees first, uint8 [64, 64, 3].

    The sample holds the first 10 steps of each episode, with 10 observations and no ending.
    """

    name: ClassVar[str] = "trajectory/bridge"
    licence: ClassVar[str] = "CC BY 4.0 (BridgeData); packaging MIT"
    source: ClassVar[str] = "BridgeData V2, the debugging sample of octo-models/octo"

    path: Annotated[str, msgspec.Meta(description="the zip file; a relative one is also looked up below OMNITOK_DATA")] = (
        "rl/bridge_debug.zip"
    )
    camera: Annotated[
        int | None, msgspec.Meta(description="observe this camera (0 or 1); none: the arm's state of 7 numbers", ge=0, le=1)
    ] = None

    def episodes(self) -> Sequence[Episode]:
        return tuple(sample["episode"] for sample in _load(str(find(self.path)), self.camera))

    def samples(self) -> Sequence[Sample]:
        return _load(str(find(self.path)), self.camera)

    def metadata(self) -> dict[str, Any]:
        return self.about(None, _STATE if self.camera is None else _PICTURE, _STATE)


@functools.lru_cache(maxsize=4)
def _load(path: str, camera: int | None) -> tuple[dict[str, Any], ...]:
    try:
        with zipfile.ZipFile(path) as file:
            rows = [json.loads(line) for line in file.read("episodes.jsonl").decode().splitlines()]
            return tuple(_sample(file, row, camera) for row in rows)
    except (zipfile.BadZipFile, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not the robot episodes that were expected ({type(error).__name__}: {error})") from None


def _sample(file: zipfile.ZipFile, row: dict[str, Any], camera: int | None) -> dict[str, Any]:
    steps = len(row["action"])
    pictures = [_picture(file, row["episode"], k, camera or 0) for k in range(1 if camera is None else steps)]
    episode = Episode(
        np.array(row["state"], np.float64) if camera is None else np.stack(pictures),
        np.array(row["action"], np.float64),
        np.array(row["reward"], np.float64),
        row["is_terminal"][-1],
        row["is_last"][-1] and not row["is_terminal"][-1],
    )
    first = _picture(file, row["episode"], 0, 0) if camera else pictures[0]
    return {"episode": episode, "instruction": row["instruction"], "picture": first}


def _picture(file: zipfile.ZipFile, episode: str, step: int, camera: int) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(file.read(f"{Path(episode).name}/step{step:02d}_cam{camera}.jpg"))) as picture:
        return np.asarray(picture.convert("RGB"))
