"""Shortest paths between all nodes, as labelled pairs: how far, and along which edges (Graphormer, arXiv 2106.05234).

n nodes, m edges, h hops. A pair is (query, key), and its path runs from the query to the key along the edges' direction.
"""

from __future__ import annotations

import numpy as np
import torch

Pairs = tuple[torch.Tensor, torch.Tensor]


def path_pairs(ends: np.ndarray, labels: np.ndarray, nodes: int, farthest: int, hops: int) -> dict[str, Pairs]:
    """Pairs "distance" between all nodes, and "hop1" to "hop<hops>" where the path is that long.

    `ends` [m, 2] are source and target (both ways for undirected edges), `labels` [m] theirs; of parallel edges the first
    counts. A distance label is 0 (the node itself) to `farthest`, and one more for what is farther or cannot be reached.
    Of several shortest paths one is taken, by the order of the nodes: with labelled edges, reordering them may change it.
    """
    length, before = _shortest(ends, nodes)
    far = np.where(np.isfinite(length) & (length <= farthest), length, farthest + 1).astype(np.int64)
    found = {"distance": _pairs(np.ones_like(far, dtype=bool), far)} if farthest else {}
    if hops:
        ways = _ways(ends, labels, length, before, hops)
        found |= {f"hop{k + 1}": _pairs(ways[:, :, k] >= 0, ways[:, :, k]) for k in range(hops)}
    return found


def _shortest(ends: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """[n, n] lengths from row to column, infinite where there is no way, and the node in front of the column."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    if not nodes:
        return np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64)
    linked = coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(nodes, nodes)).tocsr()
    length, before = shortest_path(linked, unweighted=True, return_predecessors=True)
    return length, before


def _ways(ends: np.ndarray, labels: np.ndarray, length: np.ndarray, before: np.ndarray, hops: int) -> np.ndarray:
    """[n, n, h] label of every hop, -1 behind the last: the way to a node is the way to the one before it, and one more."""
    nodes = len(length)
    ways = np.full((nodes, nodes, hops), -1, dtype=np.int64)
    of_edge = np.zeros((nodes, nodes), dtype=np.int64)
    first = np.unique(ends[:, 0] * nodes + ends[:, 1], return_index=True)[1]
    of_edge[tuple(ends[first].T)] = labels[first]
    longest = int(length[np.isfinite(length)].max(initial=0))
    for d in range(1, longest + 1):
        i, j = np.nonzero(length == d)
        last = before[i, j]
        ways[i, j] = ways[i, last]
        if d <= hops:
            ways[i, j, d - 1] = of_edge[last, j]
    return ways


def _pairs(where: np.ndarray, labels: np.ndarray) -> Pairs:
    rows = np.stack(np.nonzero(where))
    return torch.from_numpy(rows), torch.from_numpy(labels[where])
