"""Series to learn from: windows of a file, cut apart in time, and tides computed from the pull of moon and sun."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from omnitok_tabular.tables import BYTES, CELLS, Csv

from omnitok.data import Dataset, Sample, check_split, hold_out
from omnitok.errors import ConfigError

from .series import Series, read_series

PERIODS = {"M2": 12.4206012, "S2": 12.0, "N2": 12.65834751, "K1": 23.93447213, "O1": 25.81933871}
"""Hours of the five largest constituents of the tide (Schureman 1958, table 2): moon and sun twice and once a day."""
REGIMES = ("semidiurnal", "mixed, mainly semidiurnal", "mixed, mainly diurnal", "diurnal")
FORMS = (0.02, 0.25, 1.5, 3.0, 12.0)
"""Form numbers (K1 + O1) / (M2 + S2) of the amplitudes that bound the regimes (Courtier 1938); the outer two are ours."""


class SeriesFile(Dataset, frozen=True):
    """Windows of one file's series: the first `share` of its time is for training, the rest is held out.

    A window lies on one side of the border, so nothing that is predicted in evaluation was seen in training. Samples:
    `series` of `window` samples, `start` (its first sample in the file).
    """

    name: ClassVar[str] = "timeseries/file"
    licence: ClassVar[str] = "as the file"
    source: ClassVar[str] = "a local file"

    path: Annotated[str, Meta(description="a .csv, .tsv or .parquet file")]
    window: Annotated[int, Meta(ge=1, description="samples of a window")]
    stride: Annotated[int, Meta(ge=1, description="samples from one window to the next; unset: a quarter of a window")] | None = (
        None
    )
    share: Annotated[float, Meta(gt=0, lt=1, description="part of the time that is for training")] = 0.8
    time: Annotated[str, Meta(description="column that says when; empty: the first, where it is one of time")] = ""
    values: Annotated[tuple[str, ...], Meta(description="columns to read; empty: all but the time")] = ()
    csv: Annotated[Csv, Meta(description="how a .csv or .tsv file is written")] = Csv()

    def split(self, name: str) -> Sequence[Sample]:
        series = _file(str(Path(self.path).absolute()), self.csv, self.time, self.values)
        border = int(len(series) * self.share)
        first, last = (0, border) if check_split(self, name) == "train" else (border, len(series))
        stride = self.stride or max(1, self.window // 4)
        if last - first < self.window:
            raise ConfigError(f"{self.path}: {last - first} samples for {name!r}, fewer than window = {self.window}")
        return Windows(series, self.window, range(first, last - self.window + 1, stride))


class Windows(Sequence[Sample]):
    """Windows of a series, cut when they are asked for."""

    def __init__(self, series: Series, window: int, starts: Sequence[int]) -> None:
        self.series, self.window, self.starts = series, window, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: Any) -> Any:
        start = self.starts[i]
        return {"series": self.series[start : start + self.window], "start": start}


class Tides(Dataset, frozen=True):
    """The sea's height at stations that do not exist, hour by hour, with weather; every fifth station is held out.

    height(t) = sum of a_i cos(2 pi t / period_i + phase_i) over five constituents + surge(t), surge(t) = 0.95 surge(t - 1)
    + noise of 3 cm: what harmonic tide tables are made of, without the slow modulation of a_i. A station's amplitudes (5 cm
    to about 2 m), their regime and phases are drawn from the seed. Samples: `series` (one variable `height`, m, float32, with
    times), `label` (number of the regime), `form` (the form number that it follows from).
    """

    name: ClassVar[str] = "timeseries/tides"
    licence: ClassVar[str] = "CC0"
    source: ClassVar[str] = "computed here; periods of Schureman 1958, Manual of Harmonic Analysis and Prediction of Tides"

    stations: Annotated[int, Meta(ge=10, description="stations, a fifth of them held out")] = 400
    hours: Annotated[int, Meta(ge=1, description="samples of a series")] = 384
    seed: Annotated[int, Meta(ge=0, description="draws the stations")] = 0

    def split(self, name: str) -> Sequence[Sample]:
        picked = sorted(hold_out(range(self.stations), check_split(self, name), every=5, seed=self.seed))
        return [_tide(i, self.hours, self.seed) for i in picked]

    def metadata(self) -> dict[str, Any]:
        return {"classes": list(REGIMES)}


@functools.lru_cache(maxsize=2)
def _file(path: str, how: Csv, time: str, values: tuple[str, ...]) -> Series:
    return read_series(Path(path), how, time, values, BYTES, CELLS)


@functools.lru_cache(maxsize=4096)
def _tide(station: int, hours: int, seed: int) -> Sample:
    """One station's sample."""
    rng = np.random.default_rng([seed, station])
    regime = int(rng.integers(len(REGIMES)))
    form = float(np.exp(rng.uniform(*np.log(FORMS[regime : regime + 2]))))
    size = rng.uniform(0.3, 2.0)
    twice = np.array([0.65, 0.22, 0.13]) * rng.uniform(0.7, 1.3, 3)  # M2, S2, N2
    once = np.array([0.58, 0.42]) * rng.uniform(0.7, 1.3, 2)  # K1, O1
    once *= form * twice[:2].sum() / once.sum()
    amplitude = np.concatenate([twice, once])
    amplitude *= size / amplitude.sum()
    start = np.datetime64("2020-01-01T00", "h") + int(rng.integers(24 * 365 * 5))
    time = start + np.arange(hours)
    since = (time - np.datetime64("2000-01-01T12", "h")).astype(np.float64)
    turns = 2 * np.pi * since[:, None] / np.array(list(PERIODS.values())) + rng.uniform(0, 2 * np.pi, len(amplitude))
    surge, noise = np.zeros(hours), rng.normal(0, 0.03, hours)
    surge[0] = noise[0] / np.sqrt(1 - 0.95**2)
    for t in range(1, hours):
        surge[t] = 0.95 * surge[t - 1] + noise[t]
    height = (amplitude * np.cos(turns)).sum(1) + surge
    return {"series": Series(height.astype(np.float32), ("height",), time), "label": regime, "form": form}
