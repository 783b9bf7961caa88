"""What our environments look like to a model that sees them: small pictures uint8 [h, w, 3], made with numpy alone."""

from __future__ import annotations

import numpy as np

FLOORS = np.array([[70, 50, 20], [30, 30, 30], [20, 60, 40]], np.uint8)
"""of the room with the key, the empty one, that with the door"""
NODE, WALKER, GOAL, KEY, DOOR = (110, 110, 110), (60, 140, 255), (40, 200, 90), (255, 200, 40), (40, 220, 110)


def network_pixels(nodes: int, node: int, goal: int, side: int) -> np.ndarray:
    """Nodes as blocks on a circle, clockwise from the top; of the walker's and the goal's the walker's is seen."""
    block = max(1, side // 12)
    angles = 2 * np.pi * np.arange(nodes) / nodes
    centre, radius = (side - block) / 2, (side - block) / 2
    rows = np.rint(centre - radius * np.cos(angles)).astype(int)
    columns = np.rint(centre + radius * np.sin(angles)).astype(int)
    picture = np.zeros((side, side, 3), np.uint8)
    for n in (*range(nodes), goal, node):
        picture[rows[n] : rows[n] + block, columns[n] : columns[n] + block] = WALKER if n == node else GOAL if n == goal else NODE
    return picture


def room_pixels(size: int, room: int, place: tuple[int, int], thing: tuple[int, int] | None, field: int) -> np.ndarray:
    """A room of size x size fields: its floor, the key or the door, and the walker, smaller, over it."""
    picture = np.empty((size * field, size * field, 3), np.uint8)
    picture[:] = FLOORS[room]
    if thing is not None:
        _block(picture, thing, field, field - 2, KEY if room == 0 else DOOR)
    _block(picture, place, field, field // 3, WALKER)
    return picture


def _block(picture: np.ndarray, where: tuple[int, int], field: int, side: int, colour: tuple[int, int, int]) -> None:
    """A square in the middle of a field."""
    row, column = (at * field + (field - side) // 2 for at in where)
    picture[row : row + side, column : column + side] = colour
