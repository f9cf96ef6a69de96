"""Lists that explore: ranked by one draw of the posterior instead of its mean (Thompson sampling).

What is uncertain varies between draws, so that an item leads about as often as it is likely to be best.
Source: Thompson, "On the likelihood that one unknown probability exceeds another", Biometrika, 1933.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import draw_seed, is_real
from bilinear.errors import ParameterValueError
from bilinear.estimators.update import rows_from
from bilinear.model.parameters import Parameters
from bilinear.recommend.lists import RankedItems
from bilinear.training.compiling import DrawSet


def explored_lists(
    model: Any,
    rows: NDArray[np.int32],
    known: NDArray[np.bool_],
    explore: float,
    rng: int | None,
    *how: Any,
) -> list[RankedItems]:
    """`Recommender._lists` by the scores mean + explore * (draw - mean).

    Each user has a draw of their own, which depends on the seed and the user alone.

    Args:
        how: The further arguments of `_lists`.
    Raises:
        ParameterValueError: The model has no draws, or `explore` is not a number, zero or more.
    """
    if not (is_real(explore) and explore >= 0):
        raise ParameterValueError(f"explore={explore!r}; a number, zero or more, or None")
    draws: DrawSet | None = getattr(getattr(model, "posterior_", None), "draws", None)
    if draws is None:
        raise ParameterValueError(
            f"explore={explore!r}: this {type(model).__name__} keeps no draws of its weights to rank by; "
            "train MatrixFactorization(solver=Gibbs(keep_draws=True)) (bilinear train --model mf --set "
            "'solver=Gibbs(keep_draws=True)')"
        )
    seed = draw_seed(rng)
    of_users = np.random.default_rng([seed, 0]).integers(len(draws), size=len(model.user_vocabulary_) + 1)
    lists: list[Any] = [None] * len(rows)
    for draw in np.unique(of_users[rows]).tolist():
        at = np.flatnonzero(of_users[rows] == draw)
        one: Any = copy(model)
        one.parameters_ = _explored(one, draws, draw, rows[at], explore, seed)
        for place, ranked in zip(at.tolist(), one._lists(rows[at], known[at], *how), strict=True):
            lists[place] = ranked
    return lists


def _explored(
    model: Any, draws: DrawSet, draw: int, rows: NDArray[np.int32], explore: float, seed: int
) -> Parameters:
    """Weights whose scores are mean + explore * (draw - mean), side by side; only these users have theirs.

    An item without ratings keeps its mean, which its features say, and differs from it as its prior does.
    """
    mean: Parameters = model.parameters_
    rated = model.item_has_ratings(np.arange(mean.n_items))[:, None]
    chance = np.random.default_rng([seed, 1, draw]).standard_normal(draws.items[draw].shape, np.float32)
    added = np.where(rated, draws.items[draw], chance @ draws.new_items[draw])
    kept, share = np.where(rated, np.float32(1 - explore), np.float32(1)), np.float32(explore)
    before = rows_from(np.column_stack([mean.user_factors, mean.user_biases]), rows)
    own = rows_from(draws.users[draw], rows)
    k = mean.n_factors
    factors = np.zeros((mean.n_users, k + own.shape[1] - 1), np.float32)
    biases = np.zeros(mean.n_users, np.float32)
    there = rows >= 0
    factors[rows[there]] = np.hstack([before[:, :k], own[:, :-1]])[there]
    biases[rows[there]] = ((1 - share) * before[:, k] + share * own[:, -1])[there]
    return Parameters(
        (1 - explore) * mean.global_mean + explore * float(draws.global_means[draw]),
        biases,
        kept[:, 0] * mean.item_biases + share * added[:, -1],
        factors,
        np.hstack([kept * mean.item_factors, share * added[:, :-1]]),
    )
