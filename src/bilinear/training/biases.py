"""The bias model in closed form: one sparse, symmetric, positive definite linear system."""

from __future__ import annotations

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
    from scipy.sparse.linalg import LinearOperator, cg

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
        biases = biases.ravel()
        cross = np.concatenate([seen @ biases[n_users:], seen_by_item @ biases[:n_users]])
        product: NDArray[np.float64] = diagonal * biases + cross
        return product

    size = (len(right), len(right))
    system = LinearOperator(size, matvec=apply, dtype=np.float64)
    jacobi = LinearOperator(size, matvec=lambda x: x.ravel() / diagonal, dtype=np.float64)
    solution, failed = cg(system, right, rtol=_TOLERANCE, atol=0, maxiter=_MAX_ITERATIONS, M=jacobi)
    if failed:
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
