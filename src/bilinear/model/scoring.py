"""Scores by look-up, and the same scores through one-hot matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.model.parameters import Array, Parameters

_BLOCK = 1 << 16


def score_rows(parameters: Parameters, users: NDArray[Any], items: NDArray[Any]) -> Array:
    """Scores of pairs of rows; -1 stands for a row the model does not have.

    Args: users, items: (n,) integer rows.
    Returns: (n,) scores in the type of the parameters. An unknown user or item adds nothing:
        what is left is the other side's bias and the global mean.
    Cost: O(n * n_factors) time, blocks of 65,536 pairs.
    """
    out = np.empty(len(users), parameters.user_biases.dtype)
    for start in range(0, len(users), _BLOCK):
        u, i = users[start : start + _BLOCK], items[start : start + _BLOCK]
        out[start : start + _BLOCK] = _combine(
            parameters.global_mean,
            _looked_up(parameters.user_biases, u),
            _looked_up(parameters.item_biases, i),
            _looked_up(parameters.user_factors, u),
            _looked_up(parameters.item_factors, i),
        )
    return out


def score_one_hot(parameters: Parameters, user_rows: Any, item_rows: Any) -> Array:
    """Scores of pairs given as one-hot (or any) rows: the model as what it is, bilinear.

    Args: user_rows (n, n_users) and item_rows (n, n_items), dense or SciPy sparse, in the
        type of the parameters.
    Returns: (n,) scores; for one-hot rows the very bits of `score_rows`.
    Cost: O(stored entries * n_factors).
    """
    return _combine(
        parameters.global_mean,
        user_rows @ parameters.user_biases,
        item_rows @ parameters.item_biases,
        user_rows @ parameters.user_factors,
        item_rows @ parameters.item_factors,
    )


def _combine(mean: float, user_bias: Array, item_bias: Array, user: Array, item: Array) -> Array:
    scores: Array = np.einsum("nf,nf->n", user, item)
    scores += user_bias
    scores += item_bias
    scores += mean
    return scores


def _looked_up(table: Array, rows: NDArray[Any]) -> Array:
    found: Array = table[rows]
    found[rows < 0] = 0
    return found
