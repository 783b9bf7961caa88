"""Sounds as tokens: each is a few frames of a log-mel spectrogram."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from omnitok.errors import ConfigError, InputError
from omnitok.nn.steps import Axis
from omnitok.sequence import Span, TokenSequence
from omnitok.tokenizer import Channel, OneWay, Picture, RoundTrip, Tokenizer

from .features import FLOOR, log_mel, resample
from .sound import MAX_VALUES, Sound, looks_like_sound, read_sound
from .subsample import Subsample


class AudioTokenizer(Tokenizer, frozen=True):
    """A `Sound` (or an array of samples at `rate`) as groups of log-mel frames.

    The channels of a sound are mixed, it is brought to `rate`, and frame t is the spectrum of the window around
    sample t * hop. A token holds `frames` of them: features are [n, frames, mels] float32, natural logarithms of
    power; what the last token lacks is filled with silence. A sound of zero samples has zero tokens.
    """

    name: ClassVar[str] = "audio"
    round_trip: ClassVar[RoundTrip] = OneWay()

    rate: Annotated[int, Meta(description="samples per second that every sound is brought to", ge=1000, le=192_000)] = 16_000
    window: Annotated[float, Meta(description="length of a frame's window in milliseconds", gt=0, le=1000)] = 25.0
    hop: Annotated[float, Meta(description="from one frame to the next in milliseconds", gt=0, le=1000)] = 10.0
    mels: Annotated[int, Meta(description="mel bands of a frame", ge=1, le=1024)] = 80
    frames: Annotated[int, Meta(description="frames of a token; with the stem 'conv' a power of two", ge=1, le=1024)] = 4
    stem: Annotated[
        Literal["patch", "conv"],
        Meta(description="how a token is embedded: one linear map, or the convolutions of a Conformer's front end"),
    ] = "patch"
    downmix: Annotated[Literal["mean", "first"], Meta(description="what a sound of several channels becomes")] = "mean"
    positions: Annotated[
        int, Meta(description="rows of the learned table of the axis time; later tokens share the last", ge=1)
    ] = 1024
    max_seconds: Annotated[
        float,
        Meta(
            description=f"longer sounds are refused, from the header; so are more than {MAX_VALUES} samples over all channels",
            gt=0,
        ),
    ] = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stem == "conv" and (self.frames < 2 or self.frames & (self.frames - 1)):
            raise ConfigError(f"audio tokenizer, field 'frames': the stem 'conv' needs a power of two from 2, got {self.frames}")
        for name in ("window", "hop"):
            if self._samples_in(getattr(self, name)) < 1:
                raise ConfigError(f"audio tokenizer, field {name!r}: {getattr(self, name)} ms are no sample at {self.rate} Hz")

    def channels(self) -> dict[str, Channel]:
        mean, std = _statistics(self.state)
        embed = (Subsample(self.frames, self.mels),) if self.stem == "conv" else None
        axes = (Axis("time", self.positions),)
        return {
            self.channel(): Channel(width=(self.frames, self.mels), mean=mean, std=std, attend="full", embed=embed, axes=axes)
        }

    def encode(self, raw: Any) -> TokenSequence:
        frames = self.spectrogram(raw)
        n = -(-len(frames) // self.frames)
        features = F.pad(frames, (0, 0, 0, n * self.frames - len(frames)), value=math.log(FLOOR))
        features = features.view(n, self.frames, self.mels)
        meta = {"samples": self._length(*_length_and_rate(raw, self.rate)), "rate": self.rate}
        return TokenSequence((Span(self.channel(), features=features, axes={"time": torch.arange(n)}, meta=meta),))

    def place(self, k: int, meta: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        samples = meta.get("samples")
        if not isinstance(samples, int) or samples < 0:
            raise InputError(f"a sound's meta needs 'samples', their number at {self.rate} Hz, got {samples!r}")
        return (self.channel(), {"time": k}) if k < self._tokens(samples) else None

    def count(self, raw: Any) -> int:
        return self._tokens(self._length(*_length_and_rate(raw, self.rate)))

    def read(self, path: Path) -> Sound:
        return read_sound(Path(path), str(path), self.max_seconds)

    def sniff(self, path: Path, head: bytes) -> bool:
        return looks_like_sound(head)

    def fit(self, samples: Iterable[Any]) -> Self:
        """Mean and deviation of every mel band over all frames of the samples."""
        count, total, square = 0, torch.zeros(self.mels).double(), torch.zeros(self.mels).double()
        for raw in samples:
            frames = self.spectrogram(raw).double()
            count, total, square = count + len(frames), total + frames.sum(0), square + (frames**2).sum(0)
        if not count:
            return self
        mean = total / count
        std = (square / count - mean**2).clamp(min=0.01).sqrt()
        state = {"mean": mean.tolist(), "std": std.tolist()}
        return msgspec.structs.replace(self, state=json.dumps(state).encode())

    def spectrogram(self, raw: Any) -> Tensor:
        """[frames, mels] natural logarithms of power, without what fills up the last token."""
        samples, rate = _samples(raw, self.rate)
        if len(samples) > self.max_seconds * rate:
            raise InputError(f"a sound of {len(samples) / rate:.1f} seconds is over the limit max_seconds = {self.max_seconds:g}")
        if samples.ndim == 2:
            samples = samples.mean(1) if self.downmix == "mean" else samples[:, 0]
        length = self._length(len(samples), rate)
        if not length:
            return torch.zeros(0, self.mels)
        wave = resample(torch.from_numpy(np.ascontiguousarray(samples)), rate, self.rate, length)
        frames = log_mel(wave, self.rate, self._samples_in(self.window), self._samples_in(self.hop), self.mels)
        if not bool(frames.isfinite().all()):
            raise InputError(f"samples as large as {np.abs(samples).max():.3g} overflow; full scale is 1")
        return frames

    def samples(self, seed: int = 0) -> Iterable[Sound]:
        rng = np.random.default_rng(seed)

        def tone(seconds: float, rate: int, *channels: int) -> Sound:
            time = np.arange(int(seconds * rate)).reshape(-1, *(1 for _ in channels)) / rate
            wave = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 400) * time) + rng.normal(0, 0.02, (len(time), *channels))
            return Sound(wave.astype(np.float32), rate)

        yield tone(0.5, self.rate)
        yield tone(0.31, 44_100, 2)
        yield tone(0.2, 8000)
        yield Sound(np.full(1, 0.5, np.float32), self.rate)
        yield Sound(np.zeros(0, np.float32), self.rate)

    def show(self, raw: Any, tokens: TokenSequence) -> Picture:
        features = tokens.spans[0].features
        assert features is not None
        picture = features.flatten(0, 1).T.flip(0).numpy()  # low bands at the bottom
        marks = [(k * self.frames, 0, self.frames, self.mels) for k in range(len(features))]
        seconds = tokens.spans[0].meta["samples"] / self.rate
        return Picture(
            "image", picture, marks, f"{seconds:.2f} s, {len(marks)} tokens of {self.frames} x {self.hop:g} ms, {self.mels} mels"
        )

    def save_pretrained(self, folder: Path) -> None:
        """Write the constants of a feature extractor as `preprocessor_config.json`, the rest under "omnitok"."""
        published = {
            "feature_size": self.mels,
            "sampling_rate": self.rate,
            "hop_length": self._samples_in(self.hop),
            "n_fft": self._samples_in(self.window),
        }
        own = {name: getattr(self, name) for name in ("frames", "stem", "downmix", "positions", "max_seconds")}
        own["state"] = None if self.state is None else json.loads(self.state)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "preprocessor_config.json").write_text(json.dumps(published | {"omnitok": own}, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Read rate, window, hop and mels of a published feature extractor (Whisper's file, for one).

        The constants only: the mel scale and the logarithm stay this tokenizer's own. Raises InputError where one is missing.
        """
        path = Path(folder) / "preprocessor_config.json"
        try:
            values = json.loads(path.read_text())
            own, rate = values.get("omnitok", {}), values["sampling_rate"]
            state = own.pop("state", None)
            times = {"window": 1000 * values["n_fft"] / rate, "hop": 1000 * values["hop_length"] / rate}
            return cls(
                rate=rate,
                mels=values["feature_size"],
                **times,
                **own,
                state=None if state is None else json.dumps(state).encode(),
            )
        except KeyError as error:
            raise InputError(f"{path}: no {error.args[0]!r}, so not a log-mel feature extractor") from None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None

    def _samples_in(self, milliseconds: float) -> int:
        return round(self.rate * milliseconds / 1000)

    def _length(self, n: int, rate: int) -> int:
        """Samples at `self.rate` of n samples at `rate`."""
        return -(-n * self.rate // rate)

    def _tokens(self, samples: int) -> int:
        """Tokens of so many samples at `self.rate`."""
        return -(-(samples // self._samples_in(self.hop) + 1) // self.frames) if samples else 0


def _length_and_rate(raw: Any, rate: int) -> tuple[int, int]:
    """Raises InputError for what has no samples."""
    samples, rate = _samples(raw, rate)
    return len(samples), rate


def _samples(raw: Any, rate: int) -> tuple[np.ndarray, int]:
    """float32 [n] or [n, channels], and their rate. Raises InputError."""
    samples, rate = (raw.samples, raw.rate) if isinstance(raw, Sound) else (raw, rate)
    array = np.asarray(samples)
    if rate < 1 or rate != int(rate):
        raise InputError(f"a sound's rate is a positive whole number of samples per second, not {rate}")
    if array.dtype == np.int16:
        array = array.astype(np.float32) / 32768
    if array.dtype not in (np.float32, np.float64) or array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise InputError(f"a sound is float or int16 samples [n] or [n, channels], not {array.dtype} {list(array.shape)}")
    if array.size > MAX_VALUES:
        raise InputError(f"a sound of {array.size} samples over all channels is over the limit of {MAX_VALUES}")
    if not np.isfinite(array).all():
        raise InputError(f"a sound with {np.sum(~np.isfinite(array))} samples that are NaN or infinite")
    return array.astype(np.float32, copy=False), int(rate)


@functools.lru_cache(maxsize=16)
def _statistics(state: bytes | None) -> tuple[Any, Any]:
    """Mean and deviation by mel band; before `fit`, about what speech has."""
    if state is None:
        return -5.0, 4.3
    values = json.loads(state)
    return tuple(values["mean"]), tuple(values["std"])
