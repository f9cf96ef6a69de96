"""The largest singular values of a sparse matrix, by its Gram matrix or by products with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bilinear.eigen import largest_eigen, largest_eigen_by_products
from bilinear.errors import DivergenceError
from bilinear.lab.numerics.problem import Vector

_SMALL_SIDE = 1000  # up to which all eigenvalues of the Gram matrix take about a second
_GRAM_SIDE = 3000
_GRAM_MARGIN = 1e-10
_TOLERANCES = (1e-8, 1e-6)  # residuals of the squared singular value; the second where many are equal


@dataclass(frozen=True, eq=False)
class SingularValues:
    """The largest singular values, descending, with left and right vectors as columns.

    Attributes:
        values: (n,) singular values.
        left: (n_rows, n) left singular vectors.
        right: (n_columns, n) right singular vectors.
        margin: The share by which the first value may be too small.
    """

    values: Vector
    left: Vector
    right: Vector
    margin: float

    @property
    def norm(self) -> float:
        """The computed spectral norm: never too large."""
        return float(self.values[0])

    @property
    def bound(self) -> float:
        """The spectral norm plus its margin, for proofs that a smaller norm would invalidate."""
        return self.norm * (1 + self.margin)


def top_singular(matrix: Any, n: int = 1, *, rng: int = 0) -> SingularValues:
    """The `n` largest singular values of a SciPy sparse (n_rows, n_columns) matrix.

    From the Gram matrix where the smaller side has at most 1,000 rows, or at most 3,000 and many
    values are needed; else by Lanczos, to 1e-8 or, where it does not converge because many values
    are close, to 1e-6. With a random start, the probability of missing the largest value is that of
    drawing a vector orthogonal to it. Cost: some tens of products with the matrix and memory for some
    60 vectors a side; for the Gram matrix O(side^3) time and O(side^2) memory.

    Args:
        matrix: SciPy sparse.
        n: Singular values to compute.
        rng: Seed of the start vector.

    Returns:
        Values and vectors, descending.

    Raises:
        DivergenceError: Lanczos did not converge.
    """
    n_rows, n_columns = matrix.shape
    side = min(n_rows, n_columns)
    n = min(n, side)
    if not n or not np.any(matrix.data):
        return SingularValues(np.zeros(n), np.eye(n_rows, n), np.eye(n_columns, n), 0.0)
    scale = float(np.abs(matrix.data).max())  # squares of tiny values would be zero, of huge ones infinite
    found = _scaled(matrix / scale, n, rng)
    return replace(found, values=scale * found.values)


def _scaled(matrix: Any, n: int, rng: int) -> SingularValues:
    side = min(matrix.shape)
    if side <= _SMALL_SIDE or (n > side // 20 and side <= _GRAM_SIDE):
        return _by_gram(matrix, n)
    v0 = np.random.default_rng(rng).standard_normal(side)
    n_vectors = min(side - 1, max(2 * n + 1, 60))
    wide = matrix.shape[0] <= matrix.shape[1]
    rows = matrix if wide else matrix.T
    for tolerance in _TOLERANCES:
        try:
            _, near = largest_eigen_by_products(
                lambda x: rows @ (rows.T @ x), v0, n,
                tolerance=tolerance, n_vectors=n_vectors, max_restarts=300,
            )  # fmt: skip
        except DivergenceError:
            if tolerance != _TOLERANCES[-1]:
                continue
            if side <= _GRAM_SIDE:
                return _by_gram(matrix, n)
            raise
        near, _ = np.linalg.qr(near)  # the vectors of clustered values are not quite orthogonal
        far, values, turn = np.linalg.svd(rows.T @ near, full_matrices=False)
        near = near @ turn.T
        left, right = (near, far) if wide else (far, near)
        return SingularValues(values, left, right, tolerance)
    raise AssertionError("unreachable")


def spectral_norm_by_gram(matrix: Any, *, at_most: int = _GRAM_SIDE) -> float | None:
    """The spectral norm, with its margin, from a Gram matrix; None if its side is larger than `at_most`.

    Independent of Lanczos; it cannot miss a value. Cost: O(side^3) time, O(side^2) memory.
    """
    if min(matrix.shape) > at_most:
        return None
    if not np.any(matrix.data):
        return 0.0
    scale = np.abs(matrix.data).max()
    largest = np.linalg.eigvalsh(_gram(matrix / scale))[-1]
    return float(scale * np.sqrt(max(largest, 0.0)) * (1 + _GRAM_MARGIN))


def _by_gram(matrix: Any, n: int) -> SingularValues:
    wide = matrix.shape[0] <= matrix.shape[1]
    rows = matrix if wide else matrix.T
    values, near = largest_eigen(_gram(matrix), n)
    sizes = np.sqrt(np.maximum(values, 0))
    far = rows.T @ near
    lengths = np.linalg.norm(far, axis=0)
    far = far / np.where(lengths > 0, lengths, 1)
    left, right = (near, far) if wide else (far, near)
    return SingularValues(sizes, left, right, _GRAM_MARGIN)


def _gram(matrix: Any) -> Vector:
    """The products of all pairs of rows, or of columns where those are fewer."""
    gram: Vector = (matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix).toarray()
    return gram
