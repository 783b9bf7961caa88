"""Draws the pictures of plugins/README.md from real tokens: `python plugins/pictures/draw.py`, into this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import omnitok as ot
from omnitok import TokenSequence

HERE = Path(__file__).parent
COLOURS = {"image": "#8ecae6", "text": "#ffd27f", "return_to_go": "#b7e4c7", "observation": "#8ecae6", "action": "#f4acb7"}


def token_rows(ax: Axes, tokens: TokenSequence, rows: list[tuple[str, list[str]]], colours: list[str], title: str) -> None:
    """A column for every token, a row for everything that is known of it; the first row is coloured by channel."""
    for y, (label, cells) in enumerate(rows):
        ax.text(-0.7, y, label, ha="right", va="center", fontsize=8)
        for x, cell in enumerate(cells):
            face = colours[x] if y == 0 else "white"
            ax.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, facecolor=face, edgecolor="0.75", linewidth=0.6))
            ax.text(x, y, cell, ha="center", va="center", fontsize=7, color="black" if cell != "-" else "0.6")
    ax.set(xlim=(-2.2, len(tokens) - 0.4), ylim=(len(rows) - 0.4, -0.7))
    ax.axis("off")
    ax.set_title(title, fontsize=9)


def facts(tokens: TokenSequence, axes: tuple[str, ...]) -> tuple[list[str], dict[str, list[str]]]:
    """For every place: the channel, and the value on each axis or "-"."""
    channels = [""] * len(tokens)
    values = {a: ["-"] * len(tokens) for a in axes}
    for span, places in zip(tokens.spans, tokens.places, strict=True):
        for i, place in enumerate(places.tolist()):
            channels[place] = span.channel
            for a in axes:
                if a in span.axes:
                    values[a][place] = str(int(span.axes[a][i]))
    return channels, values


def document() -> Figure:
    """A picture between words: channels, axes, orders, and who sees whom."""
    host = ot.load_plugins(only=["image", "text"])
    image, text = host.tokenizer("image", patch_size=4, mode="L"), host.tokenizer("text")
    sample = host.dataset("image/digits").split("train")[0]
    tokens = text.encode("see:") + image.encode(sample["picture"]) + text.encode(sample["word"])
    (batch,) = ot.pack([tokens], budget=64, tokenizers=[image, text])
    layout = batch.streams["main"].layout
    channels, values = facts(tokens, ("h", "w"))
    letters = iter("see:" + sample["word"])
    content = [repr(next(letters)) if c == "text" else "4x4" for c in channels]
    rows = [("channel", channels), ("content", content), *((f"axis {a}", values[a]) for a in ("h", "w"))]
    rows += [(name, [str(int(v)) for v in getattr(layout, name)]) for name in ("position", "order")]
    colours = [COLOURS[c] for c in channels]
    figure = Figure(figsize=(10.5, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.6, 1))
    token_rows(left, tokens, rows, colours, 'text.encode("see:") + image.encode(picture) + text.encode("one")')
    seen = (layout.segment[:, None] == layout.segment) & (layout.order <= layout.order[:, None])
    right.imshow(seen.int().numpy(), cmap="Blues", vmin=0, vmax=1.6)
    right.set(xticks=range(len(tokens)), yticks=range(len(tokens)), xlabel="key", ylabel="query")
    for side in (right.get_xticklabels(), right.get_yticklabels()):
        for label, colour in zip(side, colours, strict=True):
            label.set(fontsize=7, backgroundcolor=colour)
    right.set_title("order[key] <= order[query]", fontsize=9)
    return figure


def axes() -> Figure:
    """What an axis is: where a token stands in its own object, by names that several channels may share."""
    host = ot.load_plugins(only=["image", "trajectory"])
    figure = Figure(figsize=(10.5, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.6))
    picture = host.dataset("image/digits").split("train")[0]["picture"]
    image = host.tokenizer("image", patch_size=4, mode="L")
    (span,) = image.encode(picture).spans
    pixels = np.asarray(picture)
    left.imshow(pixels, cmap="gray_r", vmax=pixels.max() * 1.6)
    for h, w in zip(span.axes["h"].tolist(), span.axes["w"].tolist(), strict=True):
        left.add_patch(Rectangle((4 * w - 0.5, 4 * h - 0.5), 4, 4, fill=False, edgecolor="#1d6fa5", linewidth=1.5))
        left.text(4 * w + 1.5, 4 * h + 1.5, f"h={h}\nw={w}", ha="center", va="center", fontsize=9, color="#1d6fa5")
    left.axis("off")
    left.set_title("a picture: axes h and w", fontsize=9)
    trajectory = host.tokenizer("trajectory")
    episode = host.dataset("trajectory/cartpole-mix", count=4).split("train")[0]["episode"]
    tokens = trajectory.encode(episode)[:12]
    channels, values = facts(tokens, ("step",))
    parts = [c.partition("/")[2] for c in channels]
    content = []
    for part, place in zip(parts, range(len(tokens)), strict=True):
        (one,) = tokens[place : place + 1].spans
        content.append(f"{one.content.reshape(-1)[0].item():.3g}" + (" .." if part == "observation" else ""))
    short = [{"return_to_go": "return", "observation": "observ."}.get(p, p) for p in parts]
    rows = [("channel", short), ("content", content), ("axis step", values["step"])]
    token_rows(right, tokens, rows, [COLOURS[p] for p in parts], "an episode: three channels share the axis step")
    return figure


def steps() -> Figure:
    """From content to the stream: embedding steps by channel, then axes, then one flat tensor."""
    figure = Figure(figsize=(10.5, 2.9), layout="constrained")
    ax = figure.add_subplot()
    boxes = [
        (0.0, "#8ecae6", "image\nfeatures [4, 4, 4, 1] uint8"),
        (1.5, "#ffd27f", "text\nids [7]"),
    ]
    for y, colour, words in boxes:
        _box(ax, 0, y, 2.5, colour, words)
    _box(ax, 3.2, 0, 3.1, "#e8f4fa", "Affine(mean, std), Linear()\nor your own Step with weights")
    _box(ax, 3.2, 1.5, 3.1, "#fff3da", "Table(vocab)")
    _box(ax, 7.0, 0, 2.5, "#e8f4fa", "[4, dim]\n+ Axis h + Axis w")
    _box(ax, 7.0, 1.5, 2.5, "#fff3da", "[7, dim]")
    _box(ax, 10.2, 0.75, 2.7, "#eeeeee", "one stream [11, dim]\nno padding, any mixture")
    for x0, y0, x1, y1 in ((2.5, 0.5, 3.2, 0.5), (2.5, 2, 3.2, 2), (6.3, 0.5, 7.0, 0.5), (6.3, 2, 7.0, 2)):
        ax.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "->", "color": "0.4"})
    for y in (0.5, 2):
        ax.annotate("", (10.2, 1.25), (9.5, y), arrowprops={"arrowstyle": "->", "color": "0.4"})
    for x, words in ((1.25, "what encode gives"), (4.75, "Channel.embed"), (8.25, "Channel.axes"), (11.55, "what blocks read")):
        ax.text(x, -0.35, words, ha="center", fontsize=9, color="0.3")
    ax.set(xlim=(-0.1, 13), ylim=(2.7, -0.7))
    ax.axis("off")
    return figure


def _box(ax: Axes, x: float, y: float, width: float, colour: str, words: str) -> None:
    ax.add_patch(Rectangle((x, y), width, 1, facecolor=colour, edgecolor="0.6"))
    ax.text(x + width / 2, y + 0.5, words, ha="center", va="center", fontsize=8.5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for draw in (document, axes, steps):
        draw().savefig(HERE / f"{draw.__name__}.png", dpi=130)
