"""Every kind of odd input has a documented result: the README's table, row by row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import soundfile
from omnitok_audio.sound import Sound
from omnitok_trajectory.episode import Episode
from PIL import Image

from omnitok import Tokenizer, load_plugins, pack
from omnitok.batch import Document
from omnitok.errors import InputError, LengthError
from omnitok.objectives import At, Classify, Regress

ROOT = Path(__file__).parents[1]
HOST = load_plugins()
ROWS: dict[str, Callable[[Path], None]] = {}


def row(name: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def keep(check: Callable[[Path], None]) -> Callable[[Path], None]:
        ROWS[name] = check
        return check

    return keep


def tokenizer(name: str, **config: Any) -> Tokenizer:
    return HOST.tokenizer(name, **config)


def episode(steps: int, **changes: Any) -> Episode:
    parts = {
        "observations": np.zeros((steps + 1, 4), np.float32),
        "actions": np.zeros(steps, np.int64),
        "rewards": np.ones(steps, np.float32),
    }
    return Episode(**(parts | changes), terminated=True, truncated=False)


def refused(made: Callable[[], Any], *words: str) -> None:
    with pytest.raises(InputError) as error:
        made()
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


@row("empty text")
def _(tmp_path: Path) -> None:
    text = tokenizer("text")
    assert len(text.encode("")) == 0
    assert text.decode(text.encode("")) == ""


@row("a lone surrogate in a text")
def _(tmp_path: Path) -> None:
    refused(lambda: tokenizer("text").encode("a\ud800"), "surrogate")


@row("zero samples of sound")
def _(tmp_path: Path) -> None:
    assert len(tokenizer("audio").encode(Sound(np.zeros(0, np.float32), 16000))) == 0


@row("a picture smaller than a patch")
def _(tmp_path: Path) -> None:
    image, pixels = tokenizer("image"), np.arange(9, dtype=np.uint8).reshape(3, 3)
    tokens = image.encode(np.stack([pixels] * 3, -1))
    assert len(tokens) == 1
    assert np.array_equal(np.asarray(image.decode(tokens))[..., 0], pixels)


@row("a picture without pixels")
def _(tmp_path: Path) -> None:
    refused(lambda: tokenizer("image").encode(np.zeros((0, 4, 3), np.uint8)))


@row("an episode of 0 steps")
def _(tmp_path: Path) -> None:
    trajectory = tokenizer("trajectory")
    tokens = trajectory.encode(episode(0))
    assert len(tokens) == 2
    assert len(trajectory.decode(tokens).rewards) == 0


@row("a graph of 0 nodes")
def _(tmp_path: Path) -> None:
    graph = tokenizer("graph")
    assert len(graph.encode(nx.Graph())) == 0
    assert graph.decode(graph.encode(nx.Graph())).number_of_nodes() == 0


@row("self-loops and parallel edges")
def _(tmp_path: Path) -> None:
    graph, made = tokenizer("graph"), nx.MultiGraph([(0, 0), (0, 1), (0, 1)])
    back = graph.decode(graph.encode(made))
    assert sorted(back.edges()) == sorted(made.edges())


@row("an unseen label")
def _(tmp_path: Path) -> None:
    ask = Classify("kind", names=("cat", "dog"))
    document = Document({"main": tokenizer("text").encode("x")}, name="t/3")
    at = At("t", {}, None)  # type: ignore[arg-type]
    refused(lambda: ask.mark(document, {"kind": "cow"}, at), "t/3", "cow")
    refused(lambda: ask.mark(document, {"kind": 7}, at), "t/3", "2 classes")


@row("NaN or infinity in samples, observations, actions, rewards, features, targets")
def _(tmp_path: Path) -> None:
    bad = np.array([0.0, np.nan], np.float32)
    refused(lambda: tokenizer("audio").encode(Sound(bad, 16000)))
    refused(lambda: tokenizer("trajectory").encode(episode(1, observations=np.full((2, 4), np.inf, np.float32))))
    refused(lambda: tokenizer("trajectory").encode(episode(2, rewards=bad)))
    swing = tokenizer("trajectory", env="Pendulum-v1")
    wrong = episode(2, observations=np.zeros((3, 3), np.float32), actions=bad[:, None])
    refused(lambda: swing.encode(wrong))
    graph = tokenizer("graph", node_features="x", feature_size=2)
    made = nx.Graph()
    made.add_node(0, x=[0.0, float("nan")])
    refused(lambda: graph.encode(made))
    document = Document({"main": tokenizer("text").encode("x")}, name="t/3")
    refused(lambda: Regress("y").mark(document, {"y": float("inf")}, At("t", {}, None)), "t/3")  # type: ignore[arg-type]


@row("over a limit: pixels, seconds, steps, nodes, bytes")
def _(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "big.png")
    refused(lambda: tokenizer("image", max_pixels=1000).read(tmp_path / "big.png"), "big.png", "max_pixels")
    soundfile.write(tmp_path / "long.wav", np.zeros(16000), 8000)
    refused(lambda: tokenizer("audio", max_seconds=1).read(tmp_path / "long.wav"), "long.wav", "max_seconds")
    refused(lambda: tokenizer("trajectory", max_steps=3).encode(episode(4)), "max_steps")
    refused(lambda: tokenizer("graph", max_nodes=3).encode(nx.path_graph(4)), "max_nodes")
    (tmp_path / "long.txt").write_text("x" * 100)
    refused(lambda: tokenizer("text", max_bytes=10).read(tmp_path / "long.txt"), "long.txt", "max_bytes")


@row("a truncated file")
def _(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    soundfile.write(tmp_path / "cut.wav", np.sin(np.arange(8000)), 8000)
    np.savez(tmp_path / "cut.npz", observations=noise)
    for name, path in (("image", "cut.png"), ("audio", "cut.wav"), ("trajectory", "cut.npz")):
        whole = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(whole[: len(whole) // 2])
        refused(lambda name=name, path=path: tokenizer(name).read(tmp_path / path), path)


@row("a document over the budget")
def _(tmp_path: Path) -> None:
    text = tokenizer("text")
    with pytest.raises(LengthError, match="10"):
        pack([text.encode("x" * 11)], budget=10, tokenizers=[text])


@pytest.mark.parametrize("name", ROWS)
def test_edge(name: str, tmp_path: Path) -> None:
    ROWS[name](tmp_path)


def test_the_readme_lists_them_all() -> None:
    section = (ROOT / "README.md").read_text().partition("## Odd input")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| ([^|]+?) +\|", section, re.MULTILINE)[1:]
    assert sorted(listed) == sorted(ROWS)
