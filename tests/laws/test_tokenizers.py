"""Every check of the contract over every installed tokenizer: what plugin authors are held to, we are held to."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import omnitok as ot
from omnitok.checks import GROUPS, check_tokenizer
from omnitok.testing import load, parametrize_with_checks

PULSE = Path(__file__).parents[1] / "pulse.py"
OURS = [r.name for r in ot.load_plugins().status() if r.distribution == "omnitok"]
"""Those that come along; distributions under `plugins/` have tests of their own."""


SLOW = ("image", "trajectory")
"""Plugins whose datasets take a while to open."""


@parametrize_with_checks([PULSE, *OURS], only=[group for group in GROUPS if group != "datasets"])
def test_tokenizer_keeps_the_promise(tokenizer, check):
    check(tokenizer)


@parametrize_with_checks([PULSE, *(name for name in OURS if name not in SLOW)], only=["datasets"])
def test_datasets_keep_the_promise(tokenizer, check):
    check(tokenizer)


@pytest.mark.slow
@parametrize_with_checks(SLOW, only=["datasets"])
def test_large_datasets_keep_the_promise(tokenizer, check):
    check(tokenizer)


def test_all_five_are_checked() -> None:
    assert {"text", "image", "audio", "trajectory", "graph"} <= set(OURS)


# -- files that are cut off: the checks need some that are whole


def picture(folder: Path, suffix: str) -> Path:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"example{suffix}")
    return folder / f"example{suffix}"


def sound(folder: Path, suffix: str) -> Path:
    import soundfile

    wave = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    soundfile.write(folder / f"example{suffix}", wave, 8000)
    return folder / f"example{suffix}"


def graph(folder: Path, suffix: str) -> Path:
    import networkx as nx

    file, karate = folder / f"example{suffix}", nx.cycle_graph(12)
    if suffix == ".json":
        file.write_text(json.dumps({"nodes": list(karate), "edges": list(karate.edges)}))
    else:
        (nx.write_graphml if suffix == ".graphml" else nx.write_gml)(karate, file)
    return file


def episodes(folder: Path, suffix: str) -> Path:
    (episode,) = [e for e in load("trajectory").samples(0) if len(e) == 7]  # type: ignore[arg-type]
    np.savez(folder / f"example{suffix}", observations=episode.observations, actions=episode.actions, rewards=episode.rewards)
    return folder / f"example{suffix}"


def words(folder: Path, suffix: str) -> Path:
    (folder / f"example{suffix}").write_text("Some words, and then some more. " * 9)
    return folder / f"example{suffix}"


@pytest.mark.parametrize(
    ("name", "make", "suffix"),
    [
        *(("image", picture, s) for s in (".png", ".jpg", ".bmp", ".gif", ".tiff", ".webp", ".ppm")),
        *(("audio", sound, s) for s in (".wav", ".flac", ".ogg", ".mp3", ".aiff")),
        *(("graph", graph, s) for s in (".json", ".graphml", ".gml")),
        ("trajectory", episodes, ".npz"),
        ("text", words, ".txt"),
    ],
)
def test_a_file_that_is_cut_off_is_refused(name: str, make: Callable[[Path, str], Path], suffix: str, tmp_path: Path) -> None:
    (outcome,) = check_tokenizer(load(name), only=["read-truncated"], files=[make(tmp_path, suffix)])
    assert outcome.result == "ok", str(outcome)
