"""Series as patches of time: one token for each variable, or one for all, with gaps and uneven steps where asked.

Shape letters: T samples, C variables, P patches, q samples of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
import torch
from einops import rearrange, repeat
from msgspec import Meta
from omnitok_tabular.tables import BYTES, Csv, begins_with_time

from omnitok.errors import InputError
from omnitok.nn.steps import Axis, Linear
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, Exact, Picture, RoundTrip, Tokenizer

from . import clock
from .moments import Moments
from .series import Series, read_series
from .steps import Levelled

VARIABLES = 256
"""Rows of the table of the axis `channel`; variables further on share the last."""
TALL, DRAWN = 32, 1 << 20
"""Pixels of a variable in the picture; beyond so many values it is a line of colours."""


class Learned(msgspec.Struct, frozen=True):
    """What `fit` knows: per variable of a joint token, or (one name, "*") of all values alike."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    step_mean: float
    step_std: float


class TimeSeriesTokenizer(Tokenizer, frozen=True, kw_only=True):
    """A `Series` as patches of `patch_size` samples (PatchTST, arXiv 2211.14730, with patches that do not overlap).

    One token for each patch and variable, with the axes `time` (of patches) and `channel`; all variables share one mean and
    deviation, so they should share a unit. With `joint`, and once `fit` knows the variables, one token for each patch holds
    all of them, each with its own mean and deviation. Values are kept as they are: no instance normalisation.

    The last patch ends with the last sample, so that what a model adds begins where the series ends; the first patch is
    filled up in front with the first sample. Gaps: `gaps` puts a flag beside every value, and without it they are refused.
    Times: kept exactly; `clock` says what the model may know of them (`seen`: the logarithm of the step joins every sample).
    Features are float64, so every float, and every whole number within 2**53, comes back; no sample is no token.
    """

    name: ClassVar[str] = "timeseries"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".parquet")
    round_trip: ClassVar[RoundTrip] = Exact()

    patch_size: Annotated[int, Meta(ge=1, le=4096, description="samples of a patch")] = 16
    joint: Annotated[bool, Meta(description="one token for all variables at a time, each normalised by itself; after `fit`")] = (
        False
    )
    gaps: Annotated[bool, Meta(description="values may be missing: every value has a flag that says whether it is there")] = False
    clock: Annotated[
        Literal["regular", "ignored", "seen"],
        Meta(description="uneven times are refused, kept but unknown to the model, or seen: the time since the sample before"),
    ] = "regular"
    time: Annotated[str, Meta(description="column of a file that says when; empty: the first, where it is one of time")] = ""
    values: Annotated[tuple[str, ...], Meta(description="columns of a file to read; empty: all but the time")] = ()
    csv: Annotated[Csv, Meta(description="how .csv and .tsv files are written")] = Csv()
    max_values: Annotated[int, Meta(ge=0, description="longer series are refused")] = 1 << 22
    max_bytes: Annotated[int, Meta(ge=1, description="longer files are refused")] = BYTES

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state is not None:
            _learned(self.state)

    @property
    def learned(self) -> Learned | None:
        """What `fit` knows, once it was called."""
        return None if self.state is None else _learned(self.state)

    @property
    def variables(self) -> tuple[str, ...] | None:
        """The variables of a joint token."""
        return self.learned.names if self.joint and self.learned else None

    def channels(self) -> dict[str, Channel]:
        known = self.learned or Learned(("*",), (0.0,), (1.0,), 0.0, 1.0)
        flags, steps = len(known.names) * self.gaps, int(self.clock == "seen")
        mean = (*known.mean, *(0.0,) * flags, *(known.step_mean,) * steps)
        std = (*known.std, *(1.0,) * flags, *(known.step_std,) * steps)
        axes = (Axis("time", 1, "sinusoid"), *(() if self.variables else (Axis("channel", VARIABLES),)))
        width = (self.patch_size, len(mean))
        return {self.channel(): Channel(width=width, mean=mean, std=std, attend="full", embed=(Levelled(), Linear()), axes=axes)}

    def encode(self, raw: Any) -> TokenSequence:
        """Raises InputError for what is no `Series`, over the limit, for gaps and uneven steps that are not asked for, and
        for other variables than those of a joint token."""
        series = self._checked(raw)
        pad, count = -len(series) % self.patch_size, len(series.names)
        front = ((pad, 0), (0, 0))
        parts = [np.pad(series.values.astype(np.float64), front, "edge" if len(series) else "constant")]
        if self.gaps:
            there = np.pad(np.ones(series.values.shape, bool) if series.observed is None else series.observed, front)
            parts = [np.where(there, parts[0], self._middle(count)), there.astype(np.float64)]
        grid = np.stack(parts)  # [1 or 2, pad + T, C]
        if self.variables:
            features = rearrange(grid, "k (p q) c -> p q (k c)", q=self.patch_size)
        else:
            features = rearrange(grid, "k (p q) c -> (p c) q k", q=self.patch_size)
        if self.clock == "seen":
            steps = np.pad(clock.steps_of(series.time, len(series)), (pad, 0), "edge" if len(series) else "constant")
            each = 1 if self.variables else count
            features = np.concatenate([features, repeat(steps, "(p q) -> (p c) q 1", q=self.patch_size, c=each)], 2)
        meta = {
            "names": list(series.names),
            "dtype": str(series.values.dtype),
            "samples": len(series),
            "pad": pad,
            "gaps": series.observed is not None,
            "time": clock.describe(series.time),
        }
        content = torch.from_numpy(np.ascontiguousarray(features))
        return TokenSequence((Span(self.channel(), features=content, axes=self._axes(len(content), count), meta=meta),))

    def _checked(self, raw: Any) -> Series:
        if not isinstance(raw, Series):
            raise InputError(f"tokenizer 'timeseries' wants an omnitok_timeseries.series.Series, got {type(raw).__name__}")
        if raw.values.size > self.max_values:
            raise InputError(f"{len(raw)} samples of {len(raw.names)} variables are more than max_values = {self.max_values}")
        if self.variables and raw.names != self.variables:
            raise InputError(f"a series of {', '.join(raw.names)}; this tokenizer has learned {', '.join(self.variables)}")
        if not self.gaps and raw.observed is not None and not raw.observed.all():
            sample, variable = np.argwhere(~raw.observed)[0]
            missing = int((~raw.observed).sum())
            raise InputError(f"{missing} values are missing, {raw.names[variable]!r} at sample {sample} first; set gaps = true")
        if self.clock == "regular" and (sample := clock.uneven(raw.time)) is not None:
            raise InputError(f"the step from sample {sample} to the next is another one than the first; set `clock`")
        return raw

    def _middle(self, variables: int) -> np.ndarray:
        """[C] what stands where nothing was observed: the mean, so that it is 0 when embedded."""
        known = self.learned
        return np.zeros(variables) if known is None else np.broadcast_to(np.array(known.mean), (variables,))

    def _axes(self, tokens: int, variables: int) -> dict[str, torch.Tensor]:
        k = torch.arange(tokens)
        return {"time": k} if self.variables else {"time": k // variables, "channel": k % variables}

    def decode(self, tokens: TokenSequence) -> Series:
        """The series; tokens that a model added behind it are further samples, as many as their `meta` says.

        Raises InputError for a cropped one.
        """
        name = self.channel()
        for span in tokens.spans:
            if span.channel != name or span.features is None:
                raise InputError(f"channel {span.channel!r} is not {name!r}: select the series first")
            if span.part is not None:
                raise InputError(f"cannot decode a cropped series: it holds part of the {span.part[1]} tokens of {name!r}")
        if not tokens.spans or "names" not in (meta := tokens.spans[0].meta):
            raise InputError(f"the tokens of {name!r} do not say which series they are (no names in `meta`)")
        features = np.concatenate([span.content.cpu().numpy() for span in tokens.spans])
        count, width = len(meta["names"]), self.channels()[name].width
        if width is None or features.shape[1:] != width or (not self.variables and len(features) % count):
            raise InputError(f"{name!r}: features {list(features.shape)} are no whole patches of {count} variables")
        samples, held = tokens.spans[-1].meta.get("samples", 0), features.size // (width[1] * (1 if self.variables else count))
        if not 0 <= samples <= held - meta["pad"]:
            raise InputError(f"{name!r}: {held - meta['pad']} samples are here, and the series has {samples}")
        here, steps = slice(meta["pad"], meta["pad"] + samples), None
        if self.clock == "seen":
            steps = features[:: 1 if self.variables else count, :, -1].reshape(-1)[here]
            features = features[:, :, :-1]
        pattern = "p q (k c) -> k (p q) c" if self.variables else "(p c) q k -> k (p q) c"
        grid = rearrange(features, pattern, c=count)[:, here]
        observed = grid[1] > 0.5 if self.gaps else np.ones(grid[0].shape, bool)
        time = clock.restore(meta["time"], len(grid[0]), steps)
        values = _cast(grid[0], np.dtype(meta["dtype"]), observed)
        return Series(values, tuple(meta["names"]), time, None if observed.all() and not meta["gaps"] else observed)

    def count(self, raw: Any) -> int:
        series = self._checked(raw)
        return -(-len(series) // self.patch_size) * (1 if self.variables else len(series.names))

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The series is complete after the `samples` of its `meta`: name more than it has, and the others are a forecast."""
        if not {"names", "samples", "pad"} <= meta.keys():
            raise InputError("a series' meta needs its names, samples and pad")
        each = 1 if self.variables else len(meta["names"])
        patch, variable = divmod(k, each)
        if patch * self.patch_size >= meta["pad"] + meta["samples"]:
            return None
        return self.channel(), {"time": patch} | ({} if self.variables else {"channel": variable})

    def fit(self, samples: Iterable[Any]) -> Self:
        """Learn means and deviations of the observed values and of the steps; with `joint`, the variables."""
        names: tuple[str, ...] | None = None
        known, steps = Moments(), Moments()
        for series in samples:
            if self.joint and series.names != (names or series.names):
                raise InputError(f"a joint token needs the same variables everywhere: {names} and {series.names}")
            names = names or series.names
            there = np.ones(series.values.shape, bool) if series.observed is None else series.observed
            values = series.values.astype(np.float64)
            known.add(*((values, there) if self.joint else (values.reshape(-1, 1), there.reshape(-1, 1))))
            step = clock.steps_of(series.time, len(series))[1:, None]
            steps.add(step, np.ones(step.shape, bool))
        if names is None:
            raise InputError("tokenizer 'timeseries' cannot learn from no series")
        (mean, std), (step_mean, step_std) = known.known(), steps.known()
        learned = Learned(names if self.joint else ("*",), mean, std, step_mean[0], step_std[0])
        return msgspec.structs.replace(self, state=msgspec.json.encode(learned))

    def read(self, path: Path) -> Series:
        """Columns of a .csv, .tsv or .parquet file. Raises InputError naming file, line and column."""
        return read_series(Path(path), self.csv, self.time, self.values, self.max_bytes, self.max_values)

    def sniff(self, path: Path, head: bytes) -> bool:
        """Where the first column says when."""
        return begins_with_time(path, head)

    def samples(self, seed: int = 0) -> Iterable[Series]:
        rng, q = np.random.default_rng(seed), self.patch_size
        names = self.variables or ("north", "south (m/s)")
        hours = np.datetime64("2024-02-28T22", "us") + np.arange(4 * q) * np.timedelta64(1, "h")
        walk = rng.normal(0, 3, (4 * q, len(names))).cumsum(0)
        yield Series(walk[:0], names)
        yield Series(walk[:1], names, hours[:1])
        yield Series(walk.astype(np.float32), names, hours)
        yield Series(walk[: 2 * q + 1].round().astype(np.int16), names, np.arange(2 * q + 1) * 5)
        if self.clock != "regular":
            yield Series(walk[: q + 3], names, np.cumsum(rng.uniform(0.1, 9, q + 3)))
        if self.gaps:
            yield Series(walk[: 3 * q - 1], names, None, rng.random((3 * q - 1, len(names))) < 0.7)

    def show(self, raw: Series, tokens: TokenSequence) -> Picture:
        """Every variable as an area from its lowest to its highest value, one above the other, and the patches over them."""
        low, high = (f(raw.values, axis=0) if len(raw) else np.zeros(len(raw.names)) for f in (np.min, np.max))
        level = (raw.values - low) / np.where(high > low, high - low, 1)  # [T, C]
        tall = TALL if level.size <= DRAWN else 1
        under = level.T[:, None, :] >= np.linspace(1, 0, tall)[None, :, None] if tall > 1 else level.T[:, None, :]
        pad, rows = -len(raw) % self.patch_size, len(raw.names)
        marks = []
        for span in tokens.spans:
            for i, k in enumerate(span.axes["time"].tolist()):
                start = max(0, k * self.patch_size - pad)
                row = 0 if self.variables else int(span.axes["channel"][i])
                stop = (k + 1) * self.patch_size - pad
                marks.append((start, row * tall, stop - start, (rows if self.variables else 1) * tall))
        data = rearrange(under.astype(np.float32) * 0.8, "c h t -> (c h) t") if len(raw) else np.zeros((rows, 1))
        return Picture("image", data, marks, f"{', '.join(raw.names)}: {len(raw)} samples, {len(tokens)} tokens")


@lru_cache(maxsize=16)
def _learned(state: bytes) -> Learned:
    try:
        return msgspec.json.decode(state, type=Learned)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError(f"state of tokenizer 'timeseries': not what `fit` learned ({error})") from None


def _cast(values: np.ndarray, dtype: np.dtype, observed: np.ndarray) -> np.ndarray:
    """Features (a model's may be any numbers) -> values of the series' dtype."""
    values = np.where(observed, values, 0)
    if dtype.kind == "f":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.clip(np.round(values), max(info.min, -(2**53)), min(info.max, 2**53)).astype(dtype)
