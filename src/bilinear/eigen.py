"""Eigenvalues of symmetric matrices, counted and checked.

LAPACK's subset drivers (evr, evx) can return fewer eigenvalues than asked for where many coincide, and
ARPACK restarts from random vectors of its own where it meets an invariant subspace. Everything that
needs eigenvalues asks here: the number of values is checked, and the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import DivergenceError

Array = NDArray[Any]

_SMALL_SIDE = 500  # up to which all eigenvalues take a fraction of a second


class Eigen(NamedTuple):
    """Eigenvalues, and eigenvectors as columns in the same order."""

    values: Array
    vectors: Array


def symmetric_eigen(matrix: Array) -> Eigen:
    """All eigenvalues of a dense symmetric (n, n) matrix, ascending.

    Divide and conquer, which finds coinciding eigenvalues too.

    Raises:
        DivergenceError: the matrix has values that are not finite.
    Cost:
        O(n^3) time, O(n^2) memory.
    """
    try:
        values, vectors = np.linalg.eigh(matrix)
    except np.linalg.LinAlgError as error:
        raise DivergenceError(f"eigenvalues of a {_shape(matrix)} matrix: {error}") from error
    return _checked(values, vectors, len(matrix), matrix.shape)


def largest_eigen(matrix: Array, n: int) -> Eigen:
    """The `n` largest eigenvalues of a dense symmetric matrix, descending.

    Raises:
        DivergenceError: the matrix has values that are not finite.
    Cost:
        as `symmetric_eigen`; about a third of it where n is small and the eigenvalues are distinct.
    """
    from scipy.linalg import LinAlgError, eigh

    side, found = len(matrix), None
    if side > _SMALL_SIDE and n < side // 4:
        try:
            found = eigh(matrix, subset_by_index=[side - n, side - 1])
        except (LinAlgError, ValueError):  # a driver that failed, or values that are not finite
            found = None
    if found is None or len(found[0]) != n or found[1].shape[1] != n:
        found = symmetric_eigen(matrix)
    values, vectors = found
    return _checked(values[::-1][:n], vectors[:, ::-1][:, :n], n, matrix.shape)


def largest_eigen_by_products(
    product: Callable[[Array], Array],
    start: Array,
    n: int,
    *,
    tolerance: float,
    n_vectors: int | None = None,
    max_restarts: int | None = None,
) -> Eigen:
    """The `n` largest eigenvalues of a symmetric operator, descending, by Lanczos.

    Args:
        product: the operator applied to a vector of the shape and type of `start`.
        start: (size,) a random vector; its type is the precision of the work.
        n: below `size`.
        tolerance: relative accuracy of the eigenvalues.
        n_vectors: dimension of the Krylov space, at least n + 1 and at most size.
        max_restarts: before it counts as not converged; by default ten times the size.
    Raises:
        DivergenceError: not converged, or values that are not finite.
    Cost:
        some tens of products and n_vectors vectors.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    size = len(start)
    if not np.any(product(start)):  # a random vector: the operator is zero
        return Eigen(np.zeros(n, start.dtype), np.eye(size, n, dtype=start.dtype))
    operator = LinearOperator((size, size), matvec=lambda x: product(x.ravel()), dtype=start.dtype)
    restarts = np.random.default_rng(0)  # ARPACK's own vectors, where the space it spans is invariant
    try:
        values, vectors = eigsh(
            operator,
            k=n,
            which="LA",
            v0=start,
            ncv=n_vectors,
            tol=tolerance,
            maxiter=max_restarts,
            rng=restarts,
        )
    except ArpackError as error:
        raise DivergenceError(
            f"Lanczos did not find {n} eigenvalues of a {size} x {size} operator: {error}"
        ) from error
    order = np.argsort(-values, kind="stable")
    return _checked(values[order], vectors[:, order], n, (size, size))


def _checked(values: Array, vectors: Array, n: int, shape: tuple[int, ...]) -> Eigen:
    if len(values) != n or vectors.shape[1] != n or not np.isfinite(values).all():
        raise DivergenceError(
            f"of a {shape[0]} x {shape[1]} matrix {n} finite eigenvalues were asked for, and "
            f"{int(np.isfinite(values).sum())} were found; are all its entries finite numbers?"
        )
    return Eigen(values, vectors)


def _shape(matrix: Array) -> str:
    return " x ".join(map(str, matrix.shape))
