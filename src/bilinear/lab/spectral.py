"""The largest singular values of a sparse matrix, by products with it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.errors import DivergenceError
from bilinear.lab.numerics.problem import Vector

_SMALL_SIDE = 1000  # up to which all eigenvalues of the Gram matrix take about a second
_GRAM_SIDE = 3000
_GRAM_MARGIN = 1e-10
_TOLERANCES = (1e-8, 1e-6)  # residuals of the squared singular value; the second where many are equal


@dataclass(frozen=True, eq=False)
class SingularValues:
    """The largest singular values, descending, with left and right vectors as columns.

    Attributes: margin: by which share the first may be too small.
    """

    values: Vector
    left: Vector
    right: Vector
    margin: float

    @property
    def norm(self) -> float:
        """The spectral norm as found: never too large."""
        return float(self.values[0])

    @property
    def bound(self) -> float:
        """The spectral norm with its margin, for wherever too small a one would prove too much."""
        return self.norm * (1 + self.margin)


def top_singular(matrix: Any, n: int = 1, *, seed: int = 0) -> SingularValues:
    """The `n` largest singular values of a SciPy sparse (n_rows, n_columns) matrix.

    From the Gram matrix where the smaller side has at most 1,000 rows, or at most 3,000 and many
    values are wanted; else by Lanczos, to 1e-8 or, where it does not get there because many values
    are all but equal, to 1e-6. A random start makes the chance to miss the largest value that of
    drawing a vector orthogonal to it.

    Raises: DivergenceError: Lanczos did not converge.
    Cost: some tens of products with the matrix and memory for some 60 vectors a side; for the Gram
        matrix O(side^3) time and O(side^2) memory.
    """
    from scipy.sparse.linalg import ArpackError, svds

    n_rows, n_columns = matrix.shape
    side = min(n_rows, n_columns)
    n = min(n, side)
    if not n or not np.any(matrix.data):
        return SingularValues(np.zeros(n), np.eye(n_rows, n), np.eye(n_columns, n), 0.0)
    if side <= _SMALL_SIDE or (n > side // 20 and side <= _GRAM_SIDE):
        return _by_gram(matrix, n)
    v0 = np.random.default_rng(seed).standard_normal(side)
    n_vectors = min(side - 1, max(2 * n + 1, 60))
    for tolerance in _TOLERANCES:
        try:
            left, values, right = svds(
                matrix, k=n, v0=v0, ncv=n_vectors, tol=np.sqrt(tolerance), maxiter=300, solver="arpack"
            )
        except ArpackError as error:
            if tolerance != _TOLERANCES[-1]:
                continue
            if side <= _GRAM_SIDE:
                return _by_gram(matrix, n)
            raise DivergenceError(
                f"Lanczos did not find {n} singular values of a {n_rows} x {n_columns} matrix: {error}"
            ) from error
        order = np.argsort(values)[::-1]
        return SingularValues(values[order], left[:, order], right[order].T, tolerance)
    raise AssertionError("unreachable")


def spectral_norm_by_gram(matrix: Any, *, at_most: int = _GRAM_SIDE) -> float | None:
    """The spectral norm, with its margin, from a Gram matrix; None if its side is larger than `at_most`.

    Independent of Lanczos, and misses nothing. Cost: O(side^3) time, O(side^2) memory.
    """
    return None if min(matrix.shape) > at_most else _by_gram(matrix, 1).bound


def _by_gram(matrix: Any, n: int) -> SingularValues:
    from scipy.linalg import eigh

    wide = matrix.shape[0] <= matrix.shape[1]
    rows = matrix if wide else matrix.T
    side = rows.shape[0]
    values, near = eigh((rows @ rows.T).toarray(), subset_by_index=[side - n, side - 1])
    sizes, near = np.sqrt(np.maximum(values[::-1], 0)), near[:, ::-1]
    far = rows.T @ near
    lengths = np.linalg.norm(far, axis=0)
    far = far / np.where(lengths > 0, lengths, 1)
    return SingularValues(sizes, *((near, far) if wide else (far, near)), _GRAM_MARGIN)
