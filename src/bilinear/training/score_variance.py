"""Variance of scores between draws, as one number a user and one an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.model.parameters import Array

_PARTNERS = 8  # sampled for each row
_ROUNDS = 10
_AT_ONCE = 1 << 17  # pairs


@dataclass(frozen=True, eq=False)
class ScoreVariance:
    """Variance of a score over the posterior, as that of its user plus that of its item.

    Attributes:
        users (n_users,), items (n_items,): of rows with ratings, in squared ratings; rows without have
            `new_user` and `new_item`, which come from the prior.
    """

    users: Array
    items: Array
    new_user: float
    new_item: float

    def of_pairs(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) of pairs of rows, -1 being unknown."""
        of_users = of_rows(self.users, users, self.new_user)
        return of_users + of_rows(self.items, items, self.new_item)

    def taken(self, side: Literal["users", "items"], rows: NDArray[np.int32]) -> ScoreVariance:
        """With other rows of a side: those at `rows`, and new ones where it is -1."""
        if side == "users":
            return replace(self, users=of_rows(self.users, rows, self.new_user).astype(np.float32))
        return replace(self, items=of_rows(self.items, rows, self.new_item).astype(np.float32))


def score_variance(
    users: Sequence[Array],
    items: Sequence[Array],
    means: Sequence[float],
    new_user: float,
    new_item: float,
    by_user: Grouped,
) -> ScoreVariance:
    """The variances that fit those of sampled pairs best.

    Args:
        users, items: of each draw, (n, n_factors + 1) with the bias last; `means` the global means.
        new_user, new_item: variances of a row without ratings.
        by_user: the training ratings; partners are drawn like these, so popular items come often.

    Cost:
        O((n_users + n_items) * n_draws * n_factors).
    """
    rng = np.random.default_rng(0)
    counts = by_user.counts
    n_users, n_items, n_ratings = len(counts), len(items[0]), len(by_user.indices)
    raters = np.repeat(np.arange(n_users, dtype=np.int32), counts)
    item_counts = np.bincount(by_user.indices, minlength=n_items)
    rated = [np.flatnonzero(found).astype(np.int32) for found in (counts, item_counts)]
    first = np.concatenate(
        [np.repeat(rated[0], _PARTNERS), raters[rng.integers(n_ratings, size=_PARTNERS * len(rated[1]))]]
    )
    second = np.concatenate(
        [by_user.indices[rng.integers(n_ratings, size=_PARTNERS * len(rated[0]))],
         np.repeat(rated[1], _PARTNERS)]
    )  # fmt: skip
    spread = np.concatenate(
        [
            _pair_variance(users, items, means, first[a : a + _AT_ONCE], second[a : a + _AT_ONCE])
            for a in range(0, len(first), _AT_ONCE)
        ]
    )
    of_users, of_items = np.zeros(n_users), np.zeros(n_items)
    n_first = np.maximum(np.bincount(first, minlength=n_users), 1)
    n_second = np.maximum(np.bincount(second, minlength=n_items), 1)
    for _ in range(_ROUNDS):
        of_users = np.maximum(np.bincount(first, spread - of_items[second], n_users) / n_first, 0)
        of_items = np.maximum(np.bincount(second, spread - of_users[first], n_items) / n_second, 0)
    of_users[counts == 0], of_items[item_counts == 0] = new_user, new_item
    return ScoreVariance(of_users.astype(np.float32), of_items.astype(np.float32), new_user, new_item)


def _pair_variance(
    users: Sequence[Array],
    items: Sequence[Array],
    means: Sequence[float],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
) -> NDArray[np.float64]:
    scores = np.empty((len(users), len(first)), np.float32)
    for s, (p, q, mean) in enumerate(zip(users, items, means, strict=True)):
        own, other = p[first], q[second]
        scores[s] = mean + own[:, -1] + other[:, -1] + np.einsum("nf,nf->n", own[:, :-1], other[:, :-1])
    if len(users) < 2:
        return np.zeros(len(first))
    return np.asarray(scores.var(axis=0, ddof=1), np.float64)


def of_rows(variances: Array, rows: NDArray[np.int32], new: float) -> NDArray[np.float64]:
    """(n,) of each row, `new` for -1."""
    known = variances[np.maximum(rows, 0)] if len(variances) else np.zeros(len(rows))
    return np.where(rows >= 0, known, new)
