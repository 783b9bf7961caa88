"""Waves -> log-mel frames, by torchaudio; imported on first use."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from omnitok.errors import PluginError

FLOOR = 1e-6
"""Power below which a mel band counts as silent."""
LARGEST_RATIO = 2000
"""Rates are matched by a ratio of whole numbers up to this, which bounds the filter bank that resampling needs. Every
common pair of rates is exact; an odd one (15,999 to 16,000 Hz) is off by 0.025 % at most."""


def resample(wave: Tensor, rate: int, to: int, length: int) -> Tensor:
    """[n] samples at `rate` -> [length] samples at the rate `to`."""
    ratio = Fraction(to, rate).limit_denominator(LARGEST_RATIO)
    if ratio == 0:  # a rate thousands of times too high: next to nothing is left
        ratio = Fraction(1, LARGEST_RATIO)
    if ratio != 1:
        wave = _resampler(ratio.denominator, ratio.numerator)(wave)
    return F.pad(wave, (0, max(0, length - len(wave))))[:length]


def log_mel(wave: Tensor, rate: int, window: int, hop: int, mels: int) -> Tensor:
    """[n] samples -> [n // hop + 1, mels] natural logarithms of power; beyond both ends is silence."""
    return _mel(rate, window, hop, mels)(wave).clamp(min=FLOOR).log().T.contiguous()


@functools.lru_cache(maxsize=8)
def _resampler(rate: int, to: int) -> Any:
    return _transforms().Resample(rate, to)


@functools.lru_cache(maxsize=8)
def _mel(rate: int, window: int, hop: int, mels: int) -> Any:
    return _transforms().MelSpectrogram(
        rate, _fft_size(rate, window, mels), win_length=window, hop_length=hop, n_mels=mels, pad_mode="constant"
    )


def _fft_size(rate: int, window: int, mels: int) -> int:
    """The power of two that holds the window and leaves no mel band without a frequency."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    lowest = 700 * (10 ** (2 * top / (mels + 1) / 2595) - 1)  # hertz from end to end of the first band
    return 1 << math.ceil(math.log2(max(window, rate / lowest + 1)))


@functools.cache
def _transforms() -> Any:
    try:
        from torchaudio import transforms
    except (ImportError, OSError, RuntimeError) as error:
        raise PluginError(
            f"torchaudio cannot be imported ({' '.join(str(error).split())}); it must be built for the torch beside it: "
            "torch>=2.11,<2.15 goes with torchaudio>=2.11,<2.12, both for the same CUDA version or both for the CPU"
        ) from None
    return transforms
