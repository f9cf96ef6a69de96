"""The bias model in closed form: one sparse, symmetric, positive definite linear system."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError
from bilinear.kernels.biases import add_partners, add_residuals
from bilinear.model.parameters import Parameters
from bilinear.objective.penalties import L2
from bilinear.training.start import mean_of

_TOLERANCE = 1e-10
_MAX_ITERATIONS = 10_000


def solve_biases(interactions: Interactions, penalty: L2) -> Parameters:
    """The biases that minimise 1/2 sum (mean + b_u + c_i - r)^2 + penalty, mean being the mean rating.

    Returns: Parameters without factors, float32; rows without ratings are zero.
    Cost: O(n_ratings) a conjugate-gradient step, some tens of steps; solved in float64 until
        the residual is 1e-10 of the right-hand side. Memory: some numbers a row, none a rating.
    """
    n_users, n_items = interactions.shape
    users, items, ratings = interactions.users, interactions.items, interactions.ratings
    mean = mean_of(ratings)
    right, counts = np.zeros(n_users + n_items), np.zeros(n_users + n_items, np.int64)
    sides = slice(None, n_users), slice(n_users, None)
    add_residuals(users, items, ratings, mean, *(part[side] for part in (right, counts) for side in sides))
    diagonal = counts + penalty.biases * np.where(counts > 0, penalty.row_weights(counts), 0)
    diagonal[counts == 0] = 1

    def apply(biases: NDArray[np.float64]) -> NDArray[np.float64]:
        cross = np.zeros_like(biases)
        add_partners(users, items, *(part[side] for part in (biases, cross) for side in sides))
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
