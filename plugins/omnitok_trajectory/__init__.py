"""Trajectories: episodes of gymnasium environments as return-to-go, observation and action tokens."""

from __future__ import annotations

from typing import Any

from omnitok.hookspecs import hookimpl


@hookimpl
def register_tokenizers() -> list[Any]:
    """The trajectory tokenizer."""
    from .tokenizer import TrajectoryTokenizer

    return [TrajectoryTokenizer]


@hookimpl
def register_datasets() -> list[Any]:
    """Scripted episodes, those of checkpoints, files, Minari and a robot arm."""
    from .bridge import Bridge
    from .files import EpisodeFile, PendulumCheckpoints
    from .minari import MinariEpisodes
    from .prompted import PromptedEpisodes
    from .scripted import (
        CartPoleMix,
        KeyToDoorPixelWalks,
        KeyToDoorWalks,
        PendulumMix,
        ShortestPathPixelWalks,
        ShortestPathWalks,
    )

    scripted = [CartPoleMix, PendulumMix, ShortestPathWalks, KeyToDoorWalks, PromptedEpisodes]
    pixels = [ShortestPathPixelWalks, KeyToDoorPixelWalks]
    return [*scripted, *pixels, PendulumCheckpoints, EpisodeFile, MinariEpisodes, Bridge]
