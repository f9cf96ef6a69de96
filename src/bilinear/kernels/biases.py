"""Sums over the ratings of each row, for the bias equations: user by user, nothing kept for a rating.

All take the users `first` to `last` of ratings grouped by user (starts, items, ratings), of which those
with `kept` (n_ratings,) count, or all where it is empty. Cost: O(n_ratings).
"""

import numpy as np

from bilinear.kernels.cache import njit


@njit(cache=True, nogil=True)
def add_residuals(first, last, starts, items, ratings, kept, mean, user_sums, item_sums):  # type: ignore[no-untyped-def]
    """Adds each rating less `mean` to the sums of its user and its item."""
    some = len(kept) > 0
    for u in range(first, last):
        for n in range(starts[u], starts[u + 1]):
            if some and not kept[n]:
                continue
            residual = np.float64(ratings[n]) - mean
            user_sums[u] += residual
            item_sums[items[n]] += residual


@njit(cache=True, nogil=True, error_model="numpy")
def give_user_biases(  # type: ignore[no-untyped-def]
    first, last, starts, items, kept, sums, diagonal, item_biases, user_biases, item_sums
):  # fmt: skip
    """The users' biases that their equations ask for, given the items'; adds them to their items' sums.

    user_biases[u] = (sums[u] - the item biases of u's ratings) / diagonal[u].
    """
    some = len(kept) > 0
    for u in range(first, last):
        left = sums[u]
        for n in range(starts[u], starts[u + 1]):
            if not some or kept[n]:
                left -= item_biases[items[n]]
        user_biases[u] = left / diagonal[u]
        for n in range(starts[u], starts[u + 1]):
            if not some or kept[n]:
                item_sums[items[n]] += user_biases[u]
