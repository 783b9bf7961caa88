"""Pictures of our own environments, drawn with pillow: [h, w, 3] uint8."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 300
INK, PALE, WALKER, GOAL, KEY = (40, 40, 40), (222, 222, 222), (44, 120, 190), (46, 150, 80), (214, 160, 20)


def network(links: np.ndarray, node: int, goal: int, path: list[int]) -> np.ndarray:
    """Nodes on a circle with their links; the walker blue, its path blue too, the goal green."""
    picture, pen = _canvas()
    font, count, radius = ImageFont.load_default(10), len(links), SIDE / 2 - 18
    angles = [2 * math.pi * n / count - math.pi / 2 for n in range(count)]
    places = [(SIDE / 2 + radius * math.cos(a), SIDE / 2 + radius * math.sin(a)) for a in angles]
    for a, b in np.argwhere(np.triu(links)).tolist():
        pen.line((*places[a], *places[b]), fill=PALE, width=1)
    for a, b in itertools.pairwise(path):
        pen.line((*places[a], *places[b]), fill=WALKER, width=2)
    for n, place in enumerate(places):
        fill = WALKER if n == node else GOAL if n == goal else "white"
        pen.circle(place, 10, fill=fill, outline=GOAL if n == goal else INK, width=2)
        pen.text(place, str(n), fill="white" if n in (node, goal) else INK, font=font, anchor="mm")
    return np.asarray(picture)


def rooms(size: int, room: int, place: tuple[int, int], thing: tuple[int, int] | None, has_key: bool) -> np.ndarray:
    """The room where the walker is: fields, the key or the door, the walker, and which room it is."""
    picture, pen = _canvas()
    font, top = ImageFont.load_default(14), 30
    cell = (SIDE - top - 10) // size
    left = (SIDE - cell * size) // 2

    def middle(field: tuple[int, int]) -> tuple[float, float]:
        return left + (field[1] + 0.5) * cell, top + (field[0] + 0.5) * cell

    pen.text(
        (left, 8),
        f"{('key room', 'empty room', 'door room')[room]}   {'has the key' if has_key else 'no key'}",
        fill=INK,
        font=font,
    )
    for row in range(size):
        for column in range(size):
            x, y = left + column * cell, top + row * cell
            pen.rectangle((x, y, x + cell, y + cell), outline=INK, fill=(250, 250, 250))
    if thing is not None:
        x, y = middle(thing)
        if room == 0:
            pen.circle((x - cell * 0.15, y), cell * 0.13, outline=KEY, width=5)
            pen.line((x - cell * 0.02, y, x + cell * 0.3, y), fill=KEY, width=5)
            pen.line((x + cell * 0.25, y, x + cell * 0.25, y + cell * 0.12), fill=KEY, width=5)
        else:
            pen.rectangle((x - cell * 0.2, y - cell * 0.35, x + cell * 0.2, y + cell * 0.35), fill=GOAL, outline=INK, width=2)
    pen.circle(middle(place), cell * 0.22, fill=WALKER, outline=INK, width=2)
    if has_key:
        x, y = middle(place)
        pen.circle((x, y), cell * 0.07, fill=KEY)
    return np.asarray(picture)


def _canvas() -> tuple[Any, Any]:
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    return picture, ImageDraw.Draw(picture)
