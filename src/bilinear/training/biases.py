"""The bias model in closed form: one sparse, symmetric, positive definite linear system."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError
from bilinear.model.parameters import Parameters
from bilinear.objective.penalties import L2

_TOLERANCE = 1e-10
_MAX_ITERATIONS = 10_000


def solve_biases(interactions: Interactions, penalty: L2) -> Parameters:
    """The biases that minimise 1/2 sum (mean + b_u + c_i - r)^2 + penalty, mean being the mean rating.

    Returns: Parameters without factors, float32; rows without ratings are zero.
    Cost: O(n_ratings) a conjugate-gradient step, some tens of steps; solved in float64 until
        the residual is 1e-10 of the right-hand side.
    """
    from scipy.sparse import csr_array

    n_users, _ = interactions.shape
    mean = float(interactions.ratings.mean(dtype=np.float64))
    centred = interactions.ratings.astype(np.float64) - mean
    ones = np.ones(interactions.n_ratings)
    seen = csr_array((ones, interactions.items, interactions.by_user.starts), shape=interactions.shape)
    seen_by_item = seen.T.tocsr()
    users, items = interactions.users, interactions.items
    counts = np.concatenate(
        [np.bincount(users, minlength=n_users), np.bincount(items, minlength=interactions.n_items)]
    )
    right = np.concatenate(
        [
            np.bincount(users, centred, minlength=n_users),
            np.bincount(items, centred, minlength=interactions.n_items),
        ]
    )
    diagonal = counts + penalty.biases * np.where(counts > 0, penalty.row_weights(counts), 0)
    diagonal[counts == 0] = 1

    def apply(biases: NDArray[np.float64]) -> NDArray[np.float64]:
        cross = np.concatenate([seen @ biases[n_users:], seen_by_item @ biases[:n_users]])
        product: NDArray[np.float64] = diagonal * biases + cross
        return product

    solution = _conjugate_gradient(apply, right, diagonal)
    if solution is None:
        raise DivergenceError(
            f"the bias equations did not converge in {_MAX_ITERATIONS:,} steps; raise l2_biases above "
            f"{penalty.biases:g}"
        )
    zeros = Parameters.zeros(interactions.shape, 0, mean)
    return Parameters(
        mean,
        solution[:n_users].astype(np.float32),
        solution[n_users:].astype(np.float32),
        zeros.user_factors,
        zeros.item_factors,
    )


def _conjugate_gradient(
    apply: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    right: NDArray[np.float64],
    diagonal: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Solves apply(x) = right with the Jacobi preconditioner, or None.

    SciPy's `cg` takes its inner products from BLAS, whose bits depend on the number of threads,
    and which waits for a busy core; NumPy's own sums do neither.
    """
    x = np.zeros_like(right)
    residual = right.copy()
    towards = residual / diagonal
    direction = towards.copy()
    decrease = (residual * towards).sum()
    goal = _TOLERANCE**2 * (right * right).sum()
    for _ in range(_MAX_ITERATIONS):
        if (residual * residual).sum() <= goal:
            return x
        product = apply(direction)
        step = decrease / (direction * product).sum()
        x += step * direction
        residual -= step * product
        towards = residual / diagonal
        before, decrease = decrease, (residual * towards).sum()
        direction = towards + (decrease / before) * direction
    return None
