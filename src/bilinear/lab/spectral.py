"""The largest singular values of a sparse matrix, by products with it alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from bilinear.errors import DivergenceError
from bilinear.lab.problem import Vector

_SMALL_SIDE = 1000
_GRAM_SIDE = 3000
_TOLERANCE = 1e-8  # residual of the squared singular value, relative to it
NORM_MARGIN = 1e-8
"""A spectral norm is taken this share larger wherever too small a one would prove too much."""


def top_singular(matrix: Any, n: int = 1, *, seed: int = 0) -> tuple[Vector, Vector, Vector]:
    """The `n` largest singular values, descending, with left and right vectors as columns.

    Lanczos on the Gram operator of the smaller side, to 1e-8; where that side has at most 1,000
    rows, or at most 3,000 and many values are wanted, its Gram matrix instead. A random start
    makes the chance to miss the largest value that of drawing a vector orthogonal to it.

    Args: matrix: (m, n) SciPy sparse.
    Cost: some tens of products with the matrix, and memory for some 60 vectors a side.
    """
    from scipy.sparse.linalg import ArpackError, svds

    m_rows, n_columns = matrix.shape
    n = min(n, m_rows, n_columns)
    if not n or not np.any(matrix.data):
        return np.zeros(n), np.eye(m_rows, n), np.eye(n_columns, n)
    side = min(matrix.shape)
    if side <= _SMALL_SIDE or (n > side // 20 and side <= _GRAM_SIDE):
        return _by_gram(matrix, n)
    v0 = np.random.default_rng(seed).standard_normal(side)
    n_vectors = min(side - 1, max(2 * n + 1, 60))
    try:
        left, sizes, right = svds(
            matrix, k=n, v0=v0, ncv=n_vectors, tol=np.sqrt(_TOLERANCE), maxiter=1000, solver="arpack"
        )
    except ArpackError as error:
        raise DivergenceError(
            f"Lanczos did not find {n} singular values of a {m_rows} x {n_columns} matrix: {error}"
        ) from error
    order = np.argsort(sizes)[::-1]
    return sizes[order], left[:, order], right[order].T


def spectral_norm_by_gram(matrix: Any, *, at_most: int = _GRAM_SIDE) -> float | None:
    """The spectral norm from all eigenvalues of the smaller Gram matrix; None if that side is larger.

    Independent of Lanczos, and misses nothing. Cost: O(side^3) time, O(side^2) memory.
    """
    if min(matrix.shape) > at_most:
        return None
    return float(_by_gram(matrix, 1)[0][0])


def _by_gram(matrix: Any, n: int) -> tuple[Vector, Vector, Vector]:
    wide = matrix.shape[0] <= matrix.shape[1]
    rows = matrix if wide else matrix.T
    from scipy.linalg import eigh

    side = rows.shape[0]
    values, near = eigh((rows @ rows.T).toarray(), subset_by_index=[side - n, side - 1])
    sizes, near = np.sqrt(np.maximum(values[::-1], 0)), near[:, ::-1]
    far = rows.T @ near
    lengths = np.linalg.norm(far, axis=0)
    far = far / np.where(lengths > 0, lengths, 1)
    return (sizes, near, far) if wide else (sizes, far, near)
