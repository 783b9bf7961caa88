"""Makes the spoken digits that this plugin ships: python -m omnitok_audio.make_spoken_digits [FOLDER]

Needs the program espeak-ng (1.51 made the shipped files). Writes `digits.flac`, all clips in a row, 8 kHz mono with
8 bits a sample (840 clips in 1.4 MB), and `digits.tsv`, where each begins. The eval split speaks in voices *and* at speeds
that the train split does not know.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np

from .datasets import DIGITS

RATE = 8000
PEAK = 127
EDGE = 160
"""Samples kept before and after what is loud enough to be heard."""

VOICES = {
    "train": (
        "en-us+m1", "en-us+f1", "en-gb+m2", "en-gb+f2", "en-gb-scotland+m3", "en-gb-scotland+f3", "en-029+m4", "en-029+f4",
        "en-gb-x-rp+m5", "en-gb-x-rp+Annie", "en-us-nyc+m6", "en-gb-x-gbclan+m7", "en-us+Andy", "en-gb+linda", "en-us+klatt2",
    ),
    "eval": ("en-us+m8", "en-gb-x-gbcwmd+f5", "en-gb-scotland+Alicia", "en-029+michael", "en-us-nyc+steph", "en-gb+klatt4"),
}  # fmt: skip
SPEEDS = {"train": (140, 180, 220, 260), "eval": (160, 200, 240, 280)}
"""Words per minute."""


def speak(voice: str, speed: int, pitch: int, word: str) -> np.ndarray:
    """One word as whole numbers in -PEAK..PEAK at RATE, without the silence around it."""
    import soundfile
    from scipy.signal import resample_poly

    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", word]
    wave, rate = soundfile.read(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout))
    wave = resample_poly(wave, RATE, rate)
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    wave = wave[max(0, loud[0] - EDGE) : loud[-1] + EDGE]
    return np.round(wave / np.abs(wave).max() * PEAK).astype(np.int16)


def main(folder: Path) -> None:
    import soundfile

    rows, clips, start = [], [], 0
    for split, voices in VOICES.items():
        for v, voice in enumerate(voices):
            for s, speed in enumerate(SPEEDS[split]):
                pitch = 30 + (7 * v + 11 * s) % 45
                for digit, word in enumerate(DIGITS):
                    clips.append(speak(voice, speed, pitch, word))
                    rows.append((split, voice, speed, pitch, digit, start, len(clips[-1])))
                    start += len(clips[-1])
    folder.mkdir(parents=True, exist_ok=True)
    samples = np.concatenate(clips) * 256  # libsndfile takes the upper 8 of 16 bits
    soundfile.write(folder / "digits.flac", samples.astype(np.int16), RATE, subtype="PCM_S8", compression_level=1.0)
    with (folder / "digits.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerows([("split", "voice", "speed", "pitch", "digit", "start", "samples"), *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "spoken_digits")
