"""Metrics of a run: one JSON line per record, sums over a window of steps, TensorBoard where it is wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError


class Metrics:
    """The file `metrics.jsonl` of a run, and TensorBoard's event files beside it."""

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        """Raises ConfigError where TensorBoard is asked for and not installed."""
        self.path = folder / "metrics.jsonl"
        self.board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ConfigError("train.tensorboard: pip install 'omnitok[tensorboard]', or leave it out") from None
            self.board = SummaryWriter(str(folder / "tensorboard"))

    def rewind(self, step: int) -> None:
        """Drop the records after `step`: a resumed run writes them again."""
        if self.path.exists():
            lines = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            self.path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; it has a "step". NaN and infinity become null."""
        with open(self.path, "a") as file:
            file.write(json.dumps(_clean(record)) + "\n")
        if self.board is not None:
            for name, value in _numbers(record):
                self.board.add_scalar(name, value, record["step"])

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of nested records, by path."""
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append((prefix + name, value))
    return found


class Window:
    """Sums since the last record; JSON in and out, so that a resumed run writes the same lines."""

    def __init__(self, sums: Mapping[str, float] | None = None) -> None:
        self.sums = dict(sums or {})

    def add(self, **values: float) -> None:
        """Add to the sums by name."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def add_loss(self, task: str, total: float, weight: float) -> None:
        """Add one task's sum of losses and of weights."""
        self.add(**{f"loss:{task}": total, f"weight:{task}": weight})

    def record(self) -> dict[str, Any]:
        """Mean loss by task, and the other sums; starts a new window."""
        tasks = [name.removeprefix("loss:") for name in self.sums if name.startswith("loss:")]
        losses = {t: self.sums[f"loss:{t}"] / self.sums[f"weight:{t}"] for t in tasks if self.sums[f"weight:{t}"]}
        others = {k: v for k, v in self.sums.items() if not k.startswith(("loss:", "weight:"))}
        self.sums = {}
        return {"losses": losses, **others}
