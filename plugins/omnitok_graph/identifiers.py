"""Node identifiers: vectors that let attention tell nodes apart (TokenGT, arXiv 2207.02505).

n nodes, m edges, k columns. "laplacian" vectors depend on the graph's structure alone up to what eigenvectors leave open:
their sign (fixed here) and, where an eigenvalue is repeated, their rotation (not fixed: the order of the nodes decides).
So renaming the nodes keeps them, and reordering the nodes permutes them only for graphs without repeated eigenvalues among
the first k and without a tie for the largest entry. "orthogonal" vectors depend on the seed, n and the place in the node
order: reordering the nodes hands them to other nodes, always.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

DENSE = 512
"""Nodes up to which the eigenvectors come from a dense matrix."""


def laplacian(ends: np.ndarray, nodes: int, k: int) -> np.ndarray:
    """[n, k] first eigenvectors of the symmetric normalised Laplacian, float32; columns beyond n are zero.

    `ends` [m, 2] are read as a simple undirected graph: directions, parallel edges and self-loops make no difference.
    The largest entry (first of equals) of every vector is positive.
    """
    u, v = ends[ends[:, 0] != ends[:, 1]].T
    columns = min(k, nodes)
    vectors = np.linalg.eigh(_dense(u, v, nodes))[1][:, :columns] if nodes <= DENSE else _lowest(_sparse(u, v, nodes), columns)
    return _fill(fix_sign(vectors), k)


def _dense(u: np.ndarray, v: np.ndarray, nodes: int) -> np.ndarray:
    """[n, n] the Laplacian itself."""
    linked = np.zeros((nodes, nodes))
    linked[u, v] = linked[v, u] = 1.0
    scale = linked.sum(1).clip(min=1.0) ** -0.5
    return np.eye(nodes) - scale[:, None] * linked * scale


def _sparse(u: np.ndarray, v: np.ndarray, nodes: int) -> Any:
    """1 - Laplacian."""
    from scipy import sparse

    linked = sparse.coo_array((np.ones(2 * len(u)), (np.r_[u, v], np.r_[v, u])), shape=(nodes, nodes)).tocsr()
    linked.data[:] = 1.0  # parallel edges were summed
    scale = sparse.diags_array(np.asarray(linked.sum(axis=1)).clip(min=1.0) ** -0.5)
    return scale @ linked @ scale


def _lowest(matrix: Any, k: int) -> np.ndarray:
    """Eigenvectors of the k smallest eigenvalues of 1 - matrix, by Lanczos iterations with seeded starts and restarts.

    Dense graphs converge fast as they are, and would fill a factorisation; long thin ones need the factorisation.
    """
    from scipy import sparse
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    def solve(a: Any, **how: Any) -> np.ndarray:
        rng = np.random.default_rng(0)
        values, vectors = eigsh(a, k=k, v0=rng.standard_normal(a.shape[0]), rng=rng, **how)
        return vectors[:, np.argsort(values, kind="stable")]

    if matrix.nnz > 10 * matrix.shape[0]:
        with contextlib.suppress(ArpackNoConvergence):
            return solve(matrix, which="LA", maxiter=2000)[:, ::-1]
    return solve((sparse.eye_array(matrix.shape[0]) - matrix).tocsc(), sigma=-0.1, which="LM")


def fix_sign(vectors: np.ndarray) -> np.ndarray:
    """Columns turned so that the entry of largest size is positive; of nearly equal ones the first decides."""
    if not vectors.size:
        return vectors
    size = np.abs(vectors)
    first = np.argmax(size >= size.max(0) - 1e-6, axis=0)  # round-off must not choose between entries that are equal
    return vectors * np.where(vectors[first, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def orthogonal(nodes: int, k: int, seed: int) -> np.ndarray:
    """[n, k] rows of a random orthogonal matrix, float32; the same for all graphs of n nodes."""
    noise = np.random.default_rng([seed, nodes]).standard_normal((nodes, nodes if nodes < k else k))
    vectors, scale = np.linalg.qr(noise)
    return _fill(vectors * np.where(np.diag(scale) < 0, -1.0, 1.0), k)


def _fill(vectors: np.ndarray, k: int) -> np.ndarray:
    return np.pad(vectors, ((0, 0), (0, k - vectors.shape[1]))).astype(np.float32)
