"""Small environments of our own: importing this file registers them with gymnasium as `omnitok/...`.

They need numpy only, pillow to be drawn. Each is there twice: seen as numbers, and as a small picture (`...Pixels-v0`).
All give a reward that says little until the end, which is what asking for a return is good for.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .pixels import network_pixels, room_pixels
from .scenes import network, rooms

STEP, MISSED = -1.0, -10.0


class ShortestPath(gymnasium.Env):  # type: ignore[misc]
    """Walk from a random node of a fixed random network to its most remote one (Decision Transformer, arXiv 2106.01345, fig. 2).

    Observation: the node. Action: the node to go to; one that is no neighbour leaves the walker where it is. Every step
    costs 1, running out of `horizon` steps 10 more. `info["success"]` says whether the goal was reached, `info["distance"]`
    (at reset) how many steps the shortest path has.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 3}

    def __init__(
        self, nodes: int = 20, degree: float = 3.0, horizon: int = 10, network: int = 0, render_mode: str | None = None
    ) -> None:
        if nodes < 2 or horizon < 1 or not 0 < degree < nodes:
            raise ValueError("ShortestPath needs 2 nodes or more, a horizon of 1 or more, and a mean degree below the nodes")
        self.observation_space, self.action_space = spaces.Discrete(nodes), spaces.Discrete(nodes)
        self.horizon, self.render_mode = horizon, render_mode
        self.links = random_network(nodes, degree, network)
        """[nodes, nodes] bool, symmetric, connected"""
        self.goal = int(np.argmax([distances_to(self.links, n).sum() for n in range(nodes)]))
        self.distances = distances_to(self.links, self.goal)
        self.starts = np.flatnonzero((self.distances > 0) & (self.distances <= horizon))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.node, self.steps = int(self.np_random.choice(self.starts)), 0
        self.path = [self.node]
        return self._observed(), {"distance": int(self.distances[self.node])}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.links[self.node, int(action)]:
            self.node = int(action)
            self.path.append(self.node)
        self.steps += 1
        arrived, late = self.node == self.goal, self.steps >= self.horizon
        reward = STEP + (MISSED if late and not arrived else 0.0)
        return self._observed(), reward, arrived, late and not arrived, {"success": arrived}

    def render(self) -> np.ndarray:
        """The network with the walker and its path: [h, w, 3] uint8."""
        return network(self.links, self.node, self.goal, self.path)

    def neighbours(self) -> np.ndarray:
        """Nodes that one step reaches from here."""
        return np.flatnonzero(self.links[self.node])

    def _observed(self) -> Any:
        return np.int64(self.node)


class ShortestPathPixels(ShortestPath):
    """ShortestPath seen from above: uint8 [side, side, 3], nodes on a circle, the goal green, the walker blue."""

    def __init__(self, side: int = 24, **options: Any) -> None:
        super().__init__(**options)
        if side < len(self.links):
            raise ValueError(f"ShortestPathPixels needs as many pixels a side as nodes, got {side} for {len(self.links)}")
        self.side, self.observation_space = side, spaces.Box(0, 255, (side, side, 3), np.uint8)

    def _observed(self) -> np.ndarray:
        return network_pixels(len(self.links), self.node, self.goal, self.side)


def random_network(nodes: int, degree: float, seed: int) -> np.ndarray:
    """A connected network: a random tree and random links up to the mean degree. [nodes, nodes] bool."""
    rng, links = np.random.default_rng(seed), np.zeros((nodes, nodes), bool)
    for node in range(1, nodes):
        other = int(rng.integers(node))
        links[node, other] = links[other, node] = True
    most = nodes * (nodes - 1) // 2
    while links.sum() // 2 < min(most, round(nodes * degree / 2)):
        a, b = rng.integers(nodes, size=2)
        links[a, b] = links[b, a] = links[a, b] or a != b
    return links


def distances_to(links: np.ndarray, goal: int) -> np.ndarray:
    """[nodes] steps of the shortest path to the goal."""
    found, queue = {goal: 0}, deque([goal])
    while queue:
        node = queue.popleft()
        for other in np.flatnonzero(links[node]).tolist():
            if other not in found:
                found[other] = found[node] + 1
                queue.append(other)
    return np.array([found[n] for n in range(len(links))])


MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])


class KeyToDoor(gymnasium.Env):  # type: ignore[misc]
    """Find the key in the first room, cross the second, and open the door in the third (Mesnard et al. 2021, arXiv 2011.09464).

    Rooms are `size` x `size` fields; `steps` steps in each, then the walker is put into the middle of the next one. The
    only reward is 1 for reaching the door with the key: what earned it happened long before, and nothing in the
    last room tells whether the key was picked up. Random actions succeed in about 4 % of the episodes.
    Observation: (room, row, column, row and column of the key or door, or `size` twice where the room has none).
    Actions: up, down, left, right.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 3}

    def __init__(self, size: int = 4, steps: int = 5, render_mode: str | None = None) -> None:
        if size < 2 or steps < 1:
            raise ValueError("KeyToDoor needs rooms of 2 fields or more a side, and 1 step or more in each")
        self.size, self.per_room, self.render_mode = size, steps, render_mode
        self.observation_space = spaces.MultiDiscrete([3, size, size, size + 1, size + 1])
        self.action_space = spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        fields = [(r, c) for r in range(self.size) for c in range(self.size) if (r, c) != (self.size // 2, self.size // 2)]
        key, door = (fields[int(i)] for i in self.np_random.integers(len(fields), size=2))
        self.things: list[tuple[int, int] | None] = [key, None, door]
        self.has_key, self.taken = False, 0
        self.place = np.array([self.size // 2] * 2)
        return self._observed(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = np.clip(self.place + MOVES[int(action)], 0, self.size - 1)
        room = self.room
        here = self.things[room] is not None and tuple(self.place.tolist()) == self.things[room]
        if here and room == 0:
            self.has_key, self.things[0] = True, None
        opened = here and room == 2
        self.taken += 1
        success = opened and self.has_key
        done = opened or self.taken >= 3 * self.per_room
        if not done and self.taken % self.per_room == 0:
            self.place = np.array([self.size // 2] * 2)
        return self._observed(), float(success), done, False, {"success": success}

    def render(self) -> np.ndarray:
        """The room where the walker is: [h, w, 3] uint8."""
        row, column = self.place.tolist()
        return rooms(self.size, self.room, (row, column), self.thing(), self.has_key)

    @property
    def room(self) -> int:
        return min(2, self.taken // self.per_room)

    def thing(self) -> tuple[int, int] | None:
        """The field of the key or door in this room."""
        return self.things[self.room]

    def _observed(self) -> Any:
        return np.array([self.room, *self.place, *(self.thing() or (self.size, self.size))], dtype=np.int64)


class KeyToDoorPixels(KeyToDoor):
    """KeyToDoor seen from above: uint8 [field * size, field * size, 3], the floor says which room it is."""

    def __init__(self, field: int = 6, **options: Any) -> None:
        super().__init__(**options)
        if field < 4:
            raise ValueError(f"KeyToDoorPixels needs fields of 4 pixels or more a side, got {field}")
        self.field, side = field, field * self.size
        self.observation_space = spaces.Box(0, 255, (side, side, 3), np.uint8)

    def _observed(self) -> np.ndarray:
        row, column = self.place.tolist()
        return room_pixels(self.size, self.room, (row, column), self.thing(), self.field)


for _world in (ShortestPath, ShortestPathPixels, KeyToDoor, KeyToDoorPixels):
    if f"omnitok/{_world.__name__}-v0" not in gymnasium.registry:  # by name: a specification is written into data sets
        gymnasium.register(f"omnitok/{_world.__name__}-v0", entry_point=f"{__name__}:{_world.__name__}")
