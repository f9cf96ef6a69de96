"""Support: how many ratings an item needs before it may lead a list that is the same for everyone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped

_RELIABILITY = 0.9
_FEWEST_ITEMS = 20
_AT_ONCE = 1 << 11  # ratings


def needed_support(seen: Grouped, user_biases: NDArray[Any], n_items: int) -> int:
    """Ratings from which on the mean rating of an item is reliable: n such that n / (n + noise) = 0.9.

    `noise` is the variance of ratings of one item over the variance of items, both from the one-way
    random-effects analysis of the table without the biases of users. n / (n + noise) is the share of the
    variance of means of n ratings that is the items' own. It is never so much that fewer than 20 items
    (all, of fewer) have it.

    Args:
        seen: the training table by user.
        user_biases: (n_users,) in rating units.
    Returns:
        A number of ratings; 1 where ratings of an item do not differ.
    Source:
        Searle, Casella, McCulloch, "Variance components", 1992, chapter 3; docs/decisions/0019-support.md.
    Cost:
        O(n_ratings).

    Examples:
        >>> import numpy as np
        >>> from bilinear import synthetic_ratings
        >>> from bilinear.estimators.support import needed_support
        >>> seen = synthetic_ratings(200, 60, 4000, rng=0).by_user
        >>> needed_support(seen, np.zeros(200), 60)
        34
    """
    counts, sums, squares = np.zeros(n_items, np.int64), np.zeros(n_items), 0.0
    for items, values in _parts(seen, user_biases):
        np.add.at(counts, items, 1)
        np.add.at(sums, items, values)
    n_rated, n = int((counts > 0).sum()), len(seen.indices)
    if not n_rated:
        return 1
    most = int(np.sort(counts)[-min(_FEWEST_ITEMS, n_rated)])
    if n_rated < 2 or n <= n_rated:
        return most
    means = sums / np.maximum(counts, 1)
    for items, values in _parts(seen, user_biases):
        squares += float(((values - means[items]) ** 2).sum())
    within = squares / (n - n_rated)
    spread = float((counts * (means - sums.sum() / n) ** 2).sum()) - (n_rated - 1) * within
    between = spread / (n - float((counts.astype(np.float64) ** 2).sum()) / n)
    if between <= 0:
        return most
    needed = _RELIABILITY / (1 - _RELIABILITY) * within / between
    return max(1, min(most, int(np.ceil(needed))))


def _parts(seen: Grouped, user_biases: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[np.float64]]]:
    """Items and ratings without the biases of users, a part of the table at a time."""
    for start in range(0, len(seen.indices), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        items, ratings = seen.indices[part], seen.ratings[part].astype(np.float64)
        users = np.searchsorted(seen.indptr, np.arange(start, start + len(items)), "right") - 1
        yield items, ratings - user_biases[users]
