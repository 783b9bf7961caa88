"""`omnitok forecast`: a run and a file in, the samples that follow the file's last one out, as CSV with their times."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import numpy as np
from cyclopts import Parameter

from omnitok.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from omnitok.run import Run

    from .series import Series
    from .tokenizer import TimeSeriesTokenizer


def forecast(
    run: Annotated[Path, Parameter(help="The folder that `omnitok train` wrote.")],
    file: Annotated[Path, Parameter(help="A .csv, .tsv or .parquet file with the columns that the run was trained on.")],
    /,
    *,
    samples: Annotated[int, Parameter(help="Samples to add behind the last one.")] = 16,
    tokenizer: Annotated[
        str | None, Parameter(help="The run's tokenizer of series, by its name; the only one by default.")
    ] = None,
    history: Annotated[
        int | None, Parameter(help="Read this many last samples only; a model knows no longer series than it was trained on.")
    ] = None,
    out: Annotated[Path | None, Parameter(help="Write to this file instead of the screen.")] = None,
) -> int:
    """Continue a series with a run that was trained by `next` on its channel. Raises ConfigError where none was."""
    from omnitok.run import load_run

    loaded = load_run(run)
    own = tokenizer_of(loaded, tokenizer)
    series = own.read(file)
    made = continued(loaded, own, series if history is None else series[-history:], samples)
    if out is None:
        write(made, sys.stdout)
    else:
        with out.open("w", encoding="utf-8", newline="") as stream:
            write(made, stream)
    return 0


def tokenizer_of(run: Run, instance: str | None) -> TimeSeriesTokenizer:
    """A run's tokenizer of series. Raises ConfigError where there is none of that name, or not exactly one."""
    from .tokenizer import TimeSeriesTokenizer

    found = {name: t for name, t in run.tokenizers.items() if isinstance(t, TimeSeriesTokenizer)}
    if instance is None and len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise ConfigError(f"{run.folder}: this run knows no series; its tokenizers: {', '.join(run.tokenizers)}")
    if instance is None:
        raise ConfigError(f"--tokenizer: choose one of {', '.join(found)}")
    if instance not in found:
        raise unknown_name("tokenizer of series", instance, found, "in this run")
    return found[instance]


def continued(run: Run, tokenizer: TimeSeriesTokenizer, series: Series, samples: int) -> Series:
    """The `samples` that a run expects behind a series. Raises ConfigError where the run does not predict its channel."""
    tokens = tokenizer.encode(series)
    meta = {**tokens.spans[0].meta, "samples": len(series) + samples}
    most = -(-samples // tokenizer.patch_size) * len(series.names)  # it stops at the last of them, or with a token for all
    made = run.generate(tokens, tokenizer.channel(), most, meta=meta)
    return tokenizer.decode(tokens + made)[len(series) :]


def write(series: Series, stream: TextIO) -> None:
    """A series as CSV: the time, where there is one, and its variables; what is missing is an empty cell."""
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow([*(["time"] if series.time is not None else []), *series.names])
    there = np.ones(series.values.shape, bool) if series.observed is None else series.observed
    digits = {"f4": 9, "f8": 17}.get(series.values.dtype.str[1:], 0)
    for t in range(len(series)):
        cells = [_number(v, digits) if o else "" for v, o in zip(series.values[t], there[t], strict=True)]
        rows.writerow([*([str(series.time[t])] if series.time is not None else []), *cells])


def _number(value: np.generic, digits: int) -> str:
    return f"{value:.{digits}g}" if digits else str(value)
