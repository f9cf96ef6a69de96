"""The bias model in closed form: one sparse, symmetric, positive definite linear system."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError
from bilinear.kernels.biases import add_residuals, give_user_biases
from bilinear.model.parameters import Parameters
from bilinear.objective.penalties import L2
from bilinear.training.initialization import mean_of
from bilinear.training.thread_pool import Workers

_TOLERANCE = 1e-10
_MAX_ITERATIONS = 10_000
_SHARED = 1_000_000  # ratings from which a second thread pays
_SHARES = 4  # of the users of such a table; a number of its own, so that bits do not depend on threads


def solve_biases(interactions: Interactions, penalty: L2) -> Parameters:
    """The biases that minimise 1/2 sum (mean + b_u + c_i - r)^2 + penalty, mean being the mean rating.

    The users' equations give their biases once the items' are known, so conjugate gradients only look for
    the items': half the steps that both would take, as singular values are squared.

    Returns:
        Parameters without factors, float32; rows without ratings are zero.
    Cost:
        O(n_ratings) a conjugate-gradient step, a dozen or two of them, on all cores from a million
        ratings on; solved in float64 until the residual is 1e-10 of the right-hand side.
    Memory:
        some numbers a row, none a rating.
    """
    n_users, n_items = interactions.shape
    whole, kept = interactions.stored
    starts, items, ratings = whole.by_user
    mean = mean_of(interactions.ratings)
    user_sums, item_sums, user_biases = np.zeros(n_users), np.zeros(n_items), np.zeros(n_users)
    add_residuals(0, n_users, starts, items, ratings, kept, mean, user_sums, item_sums)
    user_diagonal, item_diagonal = (
        np.where(counts > 0, counts + penalty.biases * penalty.row_weights(counts), 1.0)
        for counts in (interactions.user_counts, interactions.item_counts)
    )
    shares = _SHARES if interactions.n_ratings >= _SHARED else 1
    cuts = np.searchsorted(starts, np.linspace(0, starts[-1], shares + 1))
    cuts[0], cuts[-1] = 0, n_users

    with closing(Workers(None if shares > 1 else 1)) as workers:

        def through_users(sums: NDArray[np.float64], item_biases: NDArray[np.float64]) -> NDArray[np.float64]:
            """Sets the users' biases, and returns what they add to their items' equations."""

            def share(first: int, last: int) -> NDArray[np.float64]:
                added = np.zeros(n_items)
                give_user_biases(
                    first, last, starts, items, kept, sums, user_diagonal, item_biases, user_biases, added
                )
                return added

            total: NDArray[np.float64] = np.sum(list(workers.each(share, cuts)), axis=0)
            return total

        nothing = np.zeros(n_users)
        right = item_sums - through_users(user_sums, np.zeros(n_items))
        item_biases = _conjugate_gradient(
            lambda biases: item_diagonal * biases + through_users(nothing, biases), right, item_diagonal
        )
        if item_biases is None:
            raise DivergenceError(
                f"the bias equations did not converge in {_MAX_ITERATIONS:,} steps; raise l2_biases above "
                f"{penalty.biases:g}"
            )
        through_users(user_sums, item_biases)
    zeros = Parameters.zeros(interactions.shape, 0, mean)
    return Parameters(
        mean,
        user_biases.astype(np.float32),
        item_biases.astype(np.float32),
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
