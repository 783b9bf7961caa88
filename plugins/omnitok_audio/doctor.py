"""What `omnitok doctor` says of sound: the decoder with its formats, and torchaudio, which must fit the torch beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from omnitok.doctor import Complaint, Finding, fine
from omnitok.doctor.libraries import asked_for

from .sound import FORMATS

NO_DECODER = Complaint(
    "sound-decoder", "problem", "soundfile cannot be imported: {error}", "`pip install --force-reinstall {soundfile}`"
)
NO_FORMAT = Complaint(
    "sound-formats",
    "warning",
    "libsndfile {version} does not read {formats}",
    "a soundfile wheel brings a libsndfile that does: `pip install --force-reinstall --only-binary soundfile {soundfile}`",
)
NOT_GIVEN_BACK = Complaint(
    "sound-round-trip",
    "problem",
    "libsndfile {version} does not give back a {format} that it wrote itself: {error}",
    "`pip install --force-reinstall {soundfile}`",
)
OTHER_CUDA = Complaint(
    "torchaudio-cuda",
    "problem",
    "torchaudio {version} was built for another CUDA than torch {torch} ({error}), so no sound can be tokenized",
    "install both anew from one index: `pip install --force-reinstall {both}`",
)
OTHER_TORCH = Complaint(
    "torchaudio-torch",
    "problem",
    "torchaudio {version} was built for another torch than {torch} ({error}), so no sound can be tokenized",
    "`pip install --force-reinstall {both}`",
)
NO_TORCHAUDIO = Complaint(
    "torchaudio-broken", "problem", "torchaudio cannot be imported: {error}", "`pip install --force-reinstall {both}`"
)
NO_SPECTROGRAM = Complaint(
    "torchaudio-fails",
    "problem",
    "torchaudio {version} makes no spectrogram: {error}",
    "`pip install --force-reinstall {both}`",
)


def examine() -> list[Finding]:
    """The whole way of a sound: decoded, and made a spectrogram."""
    return [*decoder(), *spectrogram()]


def decoder() -> Iterator[Finding]:
    """soundfile and the libsndfile in it: which formats it reads, and whether a tiny sound comes back."""
    line = asked_for("soundfile")
    try:
        import soundfile
    except (ImportError, OSError, AttributeError) as error:
        yield NO_DECODER(error=_words(error), soundfile=line)
        return
    version = soundfile.__libsndfile_version__
    lacking = [f for f in FORMATS if f not in soundfile.available_formats()]
    if lacking:
        yield NO_FORMAT(version=version, formats=", ".join(lacking), soundfile=line)
    wrong = False
    for kind in ("WAV", "FLAC"):
        reason = _comes_back(soundfile, kind)
        if reason:
            wrong = True
            yield NOT_GIVEN_BACK(version=version, format=kind, error=reason, soundfile=line)
    if not lacking and not wrong:
        yield fine("sound", f"soundfile {soundfile.__version__} with libsndfile {version} reads {', '.join(FORMATS)}")


def _comes_back(soundfile: Any, kind: str) -> str:
    """Why 800 samples of 16 bits do not survive this format; "" where they do."""
    import numpy as np

    wave = (np.sin(np.arange(800) / 10) * 20000).astype(np.int16)
    try:
        file = io.BytesIO()
        soundfile.write(file, wave, 8000, format=kind, subtype="PCM_16")
        file.seek(0)
        back, rate = soundfile.read(file, dtype="int16")
    except Exception as error:
        return _words(error)
    return "" if rate == 8000 and np.array_equal(back, wave) else "other samples come back"


def spectrogram() -> Iterator[Finding]:
    """torchaudio: imported beside this torch, and used once."""
    lines = {"both": asked_for("torch", "torchaudio")}
    versions = {"version": _version("torchaudio"), "torch": _version("torch")}
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:
        words = _words(error)
        found = OTHER_CUDA if _names_cuda(words) else OTHER_TORCH if _names_torch(words) else NO_TORCHAUDIO
        yield found(error=words, **versions, **lines)
        return
    try:
        import torch

        from .features import log_mel

        frames = log_mel(torch.zeros(1600), 16000, 400, 160, 40)
        assert tuple(frames.shape) == (11, 40) and bool(frames.isfinite().all()), f"{tuple(frames.shape)} frames came out"
    except Exception as error:
        yield NO_SPECTROGRAM(error=_words(error), **versions, **lines)
        return
    yield fine("torchaudio", f"torchaudio {torchaudio.__version__} makes spectrograms beside torch {versions['torch']}")


def _names_cuda(words: str) -> bool:
    """Whether a library of CUDA, or of torch's CUDA part, was not found; or torchaudio compared the two and says so."""
    return any(name in words for name in ("libcudart", "libtorch_cuda", "libc10_cuda", "libcublas", "CUDA version"))


def _names_torch(words: str) -> bool:
    return any(name in words for name in ("undefined symbol", "Symbol not found", "libtorch", "libc10"))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _words(error: BaseException, limit: int = 300) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= limit else f"{words[: limit - 4]} ..."
