"""A video in memory, and choosing frames from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omnitok.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Video:
    """Frames uint8 [t, height, width] or [t, height, width, colours], each with how long it is shown, in milliseconds.

    `loop` is how often the file asks to be played (0: for ever; None: it does not say). Raises InputError where the parts
    do not fit together.
    """

    frames: np.ndarray
    durations: tuple[float, ...]
    loop: int | None = None

    def __post_init__(self) -> None:
        frames, durations = self.frames, tuple(self.durations)
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim not in (3, 4):
            found = f"{frames.dtype} {list(frames.shape)}" if isinstance(frames, np.ndarray) else type(frames).__name__
            raise InputError(f"frames of a video are uint8 [t, height, width] or [t, height, width, colours], not {found}")
        if frames.ndim == 4 and frames.shape[3] not in (1, 2, 3, 4):
            raise InputError(f"frames of a video have 1 to 4 colours, not {frames.shape[3]}")
        if 0 in frames.shape:
            raise InputError(f"a video of shape {list(frames.shape)} is empty")
        if len(durations) != len(frames):
            raise InputError(f"{len(durations)} durations for {len(frames)} frames")
        for i, duration in enumerate(durations):
            if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < float("inf"):
                raise InputError(f"duration {duration!r} of frame {i} is no number of milliseconds")
        if self.loop is not None and (not isinstance(self.loop, int) or self.loop < 0):
            raise InputError(f"loop is a count of plays, 0 for ever, or None; not {self.loop!r}")
        object.__setattr__(self, "durations", durations)

    def __len__(self) -> int:
        return len(self.frames)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Video):
            return NotImplemented
        same = self.frames.shape == other.frames.shape and bool((self.frames == other.frames).all())
        return same and (self.durations, self.loop) == (other.durations, other.loop)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        t, height, width, *_ = self.frames.shape
        return f"Video({t} frames of {width}x{height}, {self.seconds:g} s)"

    @property
    def seconds(self) -> float:
        return sum(self.durations) / 1000


def spread(video: Video, count: int) -> Video:
    """At most `count` frames, evenly spaced from the first on; each is shown until the next one that was kept."""
    n = len(video)
    if n <= count:
        return video
    rows = [i * n // count for i in range(count)]
    durations = [sum(video.durations[a:b]) for a, b in zip(rows, [*rows[1:], n], strict=True)]
    return Video(video.frames[rows], tuple(durations), video.loop)


def at_rate(video: Video, fps: float, max_frames: int) -> Video:
    """What is seen in the middle of every 1/fps of a second; frames are left out or repeated.

    Doing it twice changes nothing more. Raises InputError over `max_frames`, and where no frame has a duration.
    """
    period, ends = 1000 / fps, np.cumsum(video.durations)
    count = max(1, round(ends[-1] / period))
    if ends[-1] == 0:
        raise InputError(f"the frames have no durations, so they cannot be brought to fps = {fps:g}")
    if count > max_frames:
        raise InputError(f"{ends[-1] / 1000:g} s at fps = {fps:g} are {count} frames, more than max_frames = {max_frames}")
    rows = np.searchsorted(ends, (np.arange(count) + 0.5) * period, side="right").clip(max=len(video) - 1)
    return Video(video.frames[rows], (period,) * count, video.loop)
