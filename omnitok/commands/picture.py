"""Draws a `Picture`: the tokens laid over their source. Knows the kinds of pictures, and nothing of plugins."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import InputError, did_you_mean
from ..tokenizer import Picture

DRAWN = 3000
"""tokens that are drawn; more could not be told apart."""
COLUMNS, LINES = 80, 150
"""of characters."""
CELLS = (40, 24)
"""rows and columns of a strip."""
PIXELS = 2000
"""pixels of a side that are drawn."""
COLOURS = colormaps["Pastel1"].colors + colormaps["Pastel2"].colors  # type: ignore[attr-defined]


def draw_picture(picture: Picture, path: Path) -> None:
    """Write the drawing to `path` (.png, .svg, .pdf). Raises InputError for a kind or a file type that is not known."""
    if picture.kind not in KINDS:
        raise InputError(f"unknown kind of picture {picture.kind!r}; {did_you_mean(picture.kind, KINDS)}")
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    drawn = KINDS[picture.kind](figure, axes, picture)
    less = f" (the first {drawn} of {len(picture.marks)} tokens are drawn)" if drawn < len(picture.marks) else ""
    axes.set_title(_plain(picture.title)[:200] + less, fontsize=9, parse_math=False)
    try:
        with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "omnitok"}):
            warnings.simplefilter("ignore")  # signs that the font does not have are drawn as boxes
            figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({error})") from None


def _words(figure: Figure, axes: Axes, picture: Picture) -> int:
    """Characters in lines, each token with its own colour; the tokens of one character share its box."""
    owners: dict[int, list[int]] = {}
    for number, (start, stop) in enumerate(picture.marks[:DRAWN]):
        for i in range(start, stop):
            owners.setdefault(i, []).append(number)
    line, column, drawn = 0, 0, 0
    boxes, colours = [], []
    for i in sorted(owners):
        sign, width = picture.data[i], 1 / len(owners[i])
        for part, number in enumerate(owners[i]):
            boxes.append(Rectangle((column + part * width, line - 0.75), width, 1))
            colours.append(COLOURS[number % len(COLOURS)])
        words = axes.text(column + 0.5, line, _plain(sign), fontsize=7, family="monospace", ha="center", parse_math=False)
        words.set_in_layout(False)  # inside the axes anyway, and slow to measure
        column, drawn = column + 1, max(drawn, owners[i][-1] + 1)
        if sign == "\n" or column == COLUMNS:
            line, column = line + 1, 0
        if line == LINES:
            break
    else:
        drawn = min(DRAWN, len(picture.marks))  # tokens without a character among them
    axes.add_collection(PatchCollection(boxes, facecolor=colours, edgecolor="none"))
    width = COLUMNS if line else max(column, 24)
    figure.set_size_inches(width / 8, max(1.2, 0.22 * (line + 2) + 0.5))
    axes.set(xlim=(0, width), ylim=(line + 0.6, -1.2))
    axes.axis("off")
    return drawn


def _raster(figure: Figure, axes: Axes, picture: Picture) -> int:
    """Pixels, each token a rectangle. Whole numbers are colours; other values are a map of time against something."""
    height, width = picture.data.shape[:2]
    step = max(1, max(height, width) // PIXELS)
    pixels = picture.data[::step, ::step]
    colours = pixels.dtype.kind in "iu"
    axes.imshow(
        pixels,
        cmap="gray" if colours else "magma",
        vmin=0 if colours else None,
        vmax=255 if colours else None,
        interpolation="nearest",
        aspect="equal" if colours else "auto",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    boxes = [Rectangle((x - 0.5, y - 0.5), w, h) for x, y, w, h in picture.marks[:DRAWN]]
    faint = min(1.0, 60 / max(1, len(boxes)))  # many lines would hide the picture
    axes.add_collection(PatchCollection(boxes, facecolor="none", edgecolor="red", linewidth=0.5, alpha=faint))
    axes.axis("off")
    return len(boxes)


def _strip(figure: Figure, axes: Axes, picture: Picture) -> int:
    """Rows of labels, each token one cell."""
    longest, rows = max(map(len, picture.data), default=0), min(len(picture.data), CELLS[0])
    shown = min(longest, CELLS[1])
    cells = [(row, column) for row, column in picture.marks if row < rows and column < shown]
    for row, column in cells:
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=COLOURS[row % len(COLOURS)], edgecolor="white"))
        label = _plain(str(picture.data[row][column]))[:14]
        axes.text(column + 0.5, row + 0.5, label, fontsize=6, ha="center", va="center", parse_math=False)
    figure.set_size_inches(max(4, 0.7 * shown), 0.6 * rows + 1)
    axes.set(xlim=(0, max(shown, 1)), ylim=(max(rows, 1), 0), yticks=[])
    return len(cells)


def _network(figure: Figure, axes: Axes, picture: Picture) -> int:
    """Nodes and edges; a token is a node, or an edge in colour."""
    nodes, edges = picture.data["nodes"], picture.data["edges"]
    tokens = picture.marks[:DRAWN]
    marked = [tuple(m) for m in tokens if isinstance(m, tuple | list)]
    axes.add_collection(LineCollection([(nodes[i], nodes[j]) for i, j in edges], colors="lightgrey", linewidths=1))
    axes.add_collection(LineCollection([(nodes[i], nodes[j]) for i, j in marked], colors="tab:red", linewidths=1))
    points = [m for m in tokens if not isinstance(m, tuple | list)]
    axes.scatter([nodes[i][0] for i in points], [nodes[i][1] for i in points], s=90, color=COLOURS[1], zorder=3)
    for i in points[:300]:
        axes.text(nodes[i][0], nodes[i][1], str(i), fontsize=6, ha="center", va="center", zorder=4)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.axis("off")
    return len(tokens)


KINDS = {"text": _words, "image": _raster, "strip": _strip, "network": _network}


def _plain(text: str) -> str:
    """Signs that can be drawn: line breaks and tabs as arrows, other control signs as a box."""
    return "".join({"\n": "\u21b5", "\t": "\u21e5"}.get(c, c if c.isprintable() else "\u25a1") for c in text)
