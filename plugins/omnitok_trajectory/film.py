"""An episode as a moving picture: what the environment shows, with the asked, earned and remaining return drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from omnitok.errors import ConfigError

from .environments import make
from .rollout import Policy

BAND = 58
"""Height of the strip with the numbers."""
ASKED, EARNED, INK = (204, 204, 204), (44, 120, 190), (30, 30, 30)
SHORTEST, FASTEST = 200, 50


@dataclass(frozen=True)
class Film:
    """Frames [h, w, 3] uint8 and what was earned before each."""

    frames: list[np.ndarray]
    earned: list[float]
    rate: float

    @property
    def total(self) -> float:
        return self.earned[-1]


def filmed(policy: Policy, env: str, target: float, seed: int, longest: int) -> Film:
    """One episode, frame by frame. Raises ConfigError where the environment draws no pictures."""
    made = make(env, render_mode="rgb_array", disable_env_checker=True) if _renders(env) else None
    if made is None:
        raise ConfigError(f"env {env!r} draws no pictures: it has no render mode rgb_array")
    try:
        observation, _ = made.reset(seed=seed)
        policy.reset(1)
        frames, earned = [_frame(made, env)], [0.0]
        for _ in range(longest):
            (action,) = policy.act([0], np.array([target - earned[-1]]), [observation])
            observation, reward, terminated, truncated, _ = made.step(action)
            frames.append(_frame(made, env))
            earned.append(earned[-1] + float(reward))
            if terminated or truncated:
                break
        return Film(frames, earned, float(made.metadata.get("render_fps") or 15))
    finally:
        made.close()


def _renders(env: str) -> bool:
    plain = make(env, disable_env_checker=True)
    modes = plain.metadata.get("render_modes") or ()
    plain.close()
    return "rgb_array" in modes


def _frame(made: Any, env: str) -> np.ndarray:
    try:
        frame = made.render()
    except Exception as error:  # drawing libraries raise anything where no display or driver is there
        raise ConfigError(f"env {env!r} cannot be drawn here: {type(error).__name__}: {error}") from None
    return np.asarray(frame, np.uint8)


def drawn(film: Film, target: float) -> list[Image.Image]:
    """The frames with a strip above: numbers, and a bar from what the least to what the most of asked and earned was."""
    values = [0.0, target, *film.earned]
    low, high = min(values), max(values)
    font = ImageFont.load_default(13)
    return [_captioned(f, i, e, target, (low, high), font) for i, (f, e) in enumerate(zip(film.frames, film.earned, strict=True))]


def _captioned(frame: np.ndarray, step: int, earned: float, target: float, span: tuple[float, float], font: Any) -> Image.Image:
    scale = max(1, -(-SHORTEST // frame.shape[1]))
    shown = Image.fromarray(frame).resize((frame.shape[1] * scale, frame.shape[0] * scale), Image.Resampling.NEAREST)
    wide = max(shown.width, 300)
    picture = Image.new("RGB", (wide, shown.height + BAND), "white")
    picture.paste(shown, ((wide - shown.width) // 2, BAND))
    pen = ImageDraw.Draw(picture)
    pen.text((8, 5), f"asked {target:g}   remaining {target - earned:.4g}", fill=INK, font=font)
    pen.text((8, 22), f"step {step}   earned {earned:.4g}", fill=EARNED, font=font)
    left, right, (low, high) = 8, wide - 8, span

    def at(value: float) -> float:
        return left + (right - left) * (value - low) / ((high - low) or 1.0)

    pen.rectangle((left, 44, right, 51), fill=(240, 240, 240))
    pen.rectangle((min(at(0), at(target)), 44, max(at(0), at(target)), 51), fill=ASKED)
    pen.rectangle((min(at(0), at(earned)), 46, max(at(0), at(earned)), 49), fill=EARNED)
    pen.line((at(target), 42, at(target), 53), fill=INK, width=2)
    return picture


def save(path: Path, frames: Sequence[Image.Image], rate: float) -> Path:
    """A .gif, or an .mp4 where imageio and ffmpeg are there."""
    rate = min(rate, FASTEST)
    if path.suffix == ".gif":
        small = [f.quantize(64, dither=Image.Dither.NONE) for f in frames]
        small[0].save(path, save_all=True, append_images=small[1:], duration=round(1000 / rate), loop=0, optimize=False)
    elif path.suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
            from imageio import v2 as imageio
        except ImportError:
            raise ConfigError(f"{path}: .mp4 needs `pip install omnitok[film]`; a .gif needs nothing more") from None
        even = [np.asarray(f.crop((0, 0, f.width // 2 * 2, f.height // 2 * 2))) for f in frames]
        imageio.mimwrite(path, even, fps=rate, macro_block_size=2)
    else:
        raise ConfigError(f"{path}: write to a .gif or an .mp4 file")
    return path
