"""Sums over the ratings of each row, for the bias equations: one pass, nothing kept for a rating."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def add_residuals(users, items, ratings, mean, user_sums, item_sums, user_counts, item_counts):  # type: ignore[no-untyped-def]
    """Adds each rating less `mean` to the sums of its user and its item, and one to their counts."""
    for n in range(len(users)):
        u, i = users[n], items[n]
        residual = np.float64(ratings[n]) - mean
        user_sums[u] += residual
        item_sums[i] += residual
        user_counts[u] += 1
        item_counts[i] += 1


@njit(cache=True, nogil=True)
def add_partners(users, items, user_biases, item_biases, user_sums, item_sums):  # type: ignore[no-untyped-def]
    """Adds for each rating the item's bias to the user's sum, and the user's bias to the item's."""
    for n in range(len(users)):
        u, i = users[n], items[n]
        user_sums[u] += item_biases[i]
        item_sums[i] += user_biases[u]
