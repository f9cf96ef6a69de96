"""Scores by look-up, and the same scores through one-hot matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.kernels.scores import score_pairs
from bilinear.kernels.views import read_only
from bilinear.model.parameters import Array, Parameters


def score_rows(parameters: Parameters, users: NDArray[Any], items: NDArray[Any]) -> Array:
    """Scores of pairs of rows; -1 stands for a row the model does not have.

    Args:
        users, items: (n,) integer rows.
    Returns:
        (n,) scores in the type of the parameters. An unknown user or item adds nothing: what is left
        is the other side's bias and the global mean.
    Cost:
        O(n * n_factors) time.
    """
    users, items = (np.ascontiguousarray(rows, np.int32) for rows in (users, items))
    return _scores(parameters, users, items)


def score_one_hot(parameters: Parameters, user_rows: Any, item_rows: Any) -> Array:
    """Scores of pairs given as one-hot (or any) rows: the model as what it is, bilinear.

    Args:
        user_rows, item_rows: of shape (n, n_users) and (n, n_items), dense or SciPy sparse, in the type
            of the parameters.
    Returns:
        (n,) scores; for one-hot rows the very bits of `score_rows`.
    Cost:
        O(stored entries * n_factors).
    """
    multiplied = Parameters(
        parameters.global_mean,
        user_rows @ parameters.user_biases,
        item_rows @ parameters.item_biases,
        user_rows @ parameters.user_factors,
        item_rows @ parameters.item_factors,
    )
    pairs = np.arange(user_rows.shape[0], dtype=np.int32)
    return _scores(multiplied, pairs, pairs)


def _scores(parameters: Parameters, users: NDArray[np.int32], items: NDArray[np.int32]) -> Array:
    scores = np.empty(len(users), parameters.user_biases.dtype)
    arrays = (np.ascontiguousarray(array) for array in parameters.arrays().values())
    score_pairs(
        parameters.global_mean, *arrays, parameters.n_factors, read_only(users), read_only(items), scores
    )
    return scores
