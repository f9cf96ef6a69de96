"""The prior that folds new users into a compiled model, estimated from the users it was trained on.

In each draw a new user's weights have a prior and a posterior of their own, and the model's answer would
be the mean of 32 posteriors. Compiled weights are averages over draws, so their prior is none of the draws':
its covariance is that of the compiled users themselves (empirical Bayes), and its scale is the one with which
folding in the ratings of trained users comes nearest to their trained weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.row_prior import RowPrior

_SCALES = 2.0 ** np.arange(-2, 2.5, 0.5)
_USERS = 200  # that decide the scale
_LEAST = 1e-6  # of the mean variance: a direction that no user has


def estimate_user_prior(
    parameters: Parameters,
    by_user: Grouped,
    noise: NDArray[np.float32],
    new_noise: float,
    weights: NDArray[np.float64],
    history: Array | None,
) -> RowPrior:
    """The prior of the users' compiled weights.

    Args:
        by_user: the training ratings.
        noise: (n_users,) variances of their ratings; `new_noise` is that of a new user.
        weights: (n_items,) of the ratings of each item, see `RowPrior`.
        history: (n_items, n_factors + 1) the compiled map of the items rated, or None.

    Cost:
        O(n_users * n_factors^2), and the fold-in of 200 users, solved for nine scales.
    """
    d = parameters.n_factors + 1
    rated = np.flatnonzero(by_user.counts)
    rows = np.column_stack([parameters.user_factors, parameters.user_biases])
    if history is not None:
        from scipy.sparse import csr_array

        values = np.repeat(1 / np.sqrt(np.maximum(by_user.counts, 1)), by_user.counts).astype(np.float32)
        shape = len(rows), parameters.n_items
        rows -= csr_array((values, by_user.indices, by_user.indptr), shape) @ history
    known = rows[rated].astype(np.float64)
    covariance = known.T @ known / max(len(known), 1)
    covariance += np.eye(d) * (_LEAST * max(float(np.trace(covariance)) / d, 1e-12))
    precision = np.linalg.inv(covariance)
    precision = (precision + precision.T) / 2
    weights = np.clip(weights, 1e-6, 1).astype(np.float32)
    some = rated[np.linspace(0, len(rated) - 1, min(_USERS, len(rated))).astype(np.int64)]
    of_scores = _score_metric(parameters, by_user)

    bare, distances = RowPrior(np.zeros((d, d)), weights, history), np.zeros(len(_SCALES))
    for user in some.tolist():
        rated_by = slice(by_user.indptr[user], by_user.indptr[user + 1])
        items = by_user.indices[rated_by]
        design, offsets, gram = bare.equations(parameters, items)
        scales = _SCALES * float(noise[user])
        right = design.T @ (by_user.ratings[rated_by].astype(np.float64) - offsets)
        rights = right + scales[:, None] * (precision @ bare.mean(items))
        found = np.linalg.solve(gram + scales[:, None, None] * precision, rights[..., None])[..., 0]
        off = found - np.append(parameters.user_factors[user], parameters.user_biases[user])
        distances += ((off @ of_scores) * off).sum(axis=1)
    scale = float(_SCALES[distances.argmin()])
    return RowPrior(precision * (scale * new_noise), weights, history)


def _score_metric(parameters: Parameters, by_user: Grouped) -> NDArray[np.float64]:
    """(d, d) of the mean squared score of a difference of user weights, over the rated items."""
    design = np.column_stack([parameters.item_factors, np.ones(parameters.n_items)]).astype(np.float64)
    counts = np.bincount(by_user.indices, minlength=parameters.n_items).astype(np.float64)
    found: NDArray[np.float64] = design.T @ (design * counts[:, None]) / max(counts.sum(), 1)
    return found
