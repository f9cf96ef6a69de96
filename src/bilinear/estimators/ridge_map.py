"""Rows without ratings from their features: a linear map to the rows of a fitted model, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import FeatureColumnError
from bilinear.model.parameters import Array

HALF_WEIGHT = 8
"""Ratings at which a row has half of the weight of one with very many: n / (n + 8)."""
MOST_UNKNOWNS = 4096
"""Columns, or rows with ratings, whichever are fewer, that a map is solved for."""
_PENALTIES = np.logspace(-2, 6, 33)
_ROWS_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class RidgeMap:
    """row = mean + features @ weights, see `fit_ridge_map`.

    Attributes:
        mean: (n_factors + 1,) of the bias, then the factors.
        weights: (n_columns, n_factors + 1).
        penalty: The ridge that leaving one out chose.
        share: How much of the rows' variance the map explains where a row is left out; at most one, and zero
            or less where the features tell nothing.
    """

    mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    penalty: float
    share: float

    def rows(self, features: Any) -> NDArray[np.float64]:
        """(n, n_factors + 1) rows for a sparse matrix of features (n, n_columns)."""
        found: NDArray[np.float64] = self.mean + features @ self.weights
        return found


def fit_ridge_map(features: Any, rows: Array, counts: NDArray[Any], metric: NDArray[np.float64]) -> RidgeMap:
    """B = (Z'WZ + l I)^-1 Z'W (Q - m), with l by leaving one row out.

    Z are the features and Q the rows of what has ratings, W = n / (n + 8) for n ratings, and m the weighted
    mean of Q. The error that chooses l is that of scores, averaged over the rows of the other side. It needs
    no refits: row i without itself misses by its residual / (1 - h_i), h_i the diagonal of the hat matrix.

    Args:
        features: Sparse (n, n_columns).
        rows: (n, n_factors + 1), the bias in front.
        counts: (n,) ratings of each row, above zero.
        metric: (n_factors + 1, n_factors + 1), the mean of (1, p)(1, p)' over the other side.
    Raises:
        FeatureColumnError: Too many columns and rows.
    Cost:
        O(u^3 + nnz * u + u^2 n_factors), u the smaller of columns and rows.
    Source:
        docs/theory/ridge_map.md.
    """
    n, n_columns = features.shape
    if min(n, n_columns) > MOST_UNKNOWNS:
        raise FeatureColumnError(
            f"the features have {n_columns:,} columns for {n:,} rows with ratings, and one of both must be "
            f"at most {MOST_UNKNOWNS:,}; leave features out, or raise their min_count"
        )
    weights = counts / (counts + float(HALF_WEIGHT))
    mean = weights @ rows / weights.sum()
    targets = rows - mean
    roots = np.sqrt(weights)
    scaled = features.multiply(roots[:, None]).tocsr()
    aims = roots[:, None] * targets
    if n_columns <= n:
        values, vectors = np.linalg.eigh((scaled.T @ scaled).toarray())
        inner = vectors.T @ (scaled.T @ aims)
    else:
        values, vectors = np.linalg.eigh((scaled @ scaled.T).toarray())
        inner = vectors.T @ aims
    values = np.maximum(values, 0.0)
    shrinking = 1.0 / (values + _PENALTIES[:, None])
    if n_columns <= n:
        hats = _hat_diagonals(scaled, vectors, shrinking)
    else:
        hats = (values * shrinking) @ np.square(vectors).T
    error = np.empty(len(_PENALTIES))
    for at, penalty in enumerate(_PENALTIES):
        solved = vectors @ (inner * shrinking[at][:, None])
        left = aims - scaled @ solved if n_columns <= n else penalty * solved
        missed = left / np.maximum(1.0 - hats[at], 1e-9)[:, None]
        error[at] = np.einsum("ij,jk,ik->", missed, metric, missed)
    best = int(np.argmin(error))
    solved = vectors @ (inner * shrinking[best][:, None])
    whole = np.einsum("ij,jk,ik->", aims, metric, aims)
    share = 1.0 - error[best] / whole if whole > 0 else 0.0
    found = solved if n_columns <= n else scaled.T @ solved
    return RidgeMap(mean, found, float(_PENALTIES[best]), float(share))


def _hat_diagonals(scaled: Any, vectors: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_penalties, n) diagonals of Z V diag(by[p]) V' Z', some rows at a time."""
    step = max(1, _ROWS_AT_ONCE // max(len(vectors), 1))
    parts = [np.square(scaled[at : at + step] @ vectors) @ by.T for at in range(0, scaled.shape[0], step)]
    found: NDArray[np.float64] = np.concatenate(parts).T
    return found
