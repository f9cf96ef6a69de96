"""Synthetic tables: distinct items for each user, and ratings of a planted model."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.order import sort_by_key


@njit(cache=True, nogil=True)
def draw_distinct_items(starts, cumulative, rng, items):  # type: ignore[no-untyped-def]
    """Fill items[starts[u]:starts[u + 1]] of every user u with distinct items, ascending.

    An item is drawn in proportion to its weight and drawn again if the user has it already:
    successive sampling without replacement. `starts` (n_users + 1,) int64; `cumulative`
    (n_items,) float64, the running sum of the weights divided by their total; `items`
    (starts[-1],) int32. Returns the number of draws. Cost: O(draws * log n_items); the draws
    stay close to the number of items wanted until a user takes most of the weight.
    """
    n_items = len(cumulative)
    taken_by = np.full(n_items, -1, np.int64)
    n_draws = 0
    for user in range(len(starts) - 1):
        place, stop = starts[user], starts[user + 1]
        while place < stop:
            n_draws += 1
            # rounding may leave the last running sum below 1
            item = min(np.searchsorted(cumulative, rng.random(), side="right"), n_items - 1)
            if taken_by[item] != user:
                taken_by[item] = user
                items[place] = item
                place += 1
        mine = items[starts[user] : stop]
        sort_by_key(mine, mine, len(mine))
    return n_draws


@njit(cache=True, nogil=True)
def planted_ratings(  # type: ignore[no-untyped-def]
    starts, items, global_mean, user_biases, item_biases, user_factors, item_factors, noise, rng, ratings
):
    """Fill ratings (n_ratings,) float32 with the planted score plus Gaussian noise.

    User u owns the places starts[u]:starts[u + 1] of `items`. Cost: O(n_ratings * n_factors).
    """
    n_factors = user_factors.shape[1]
    for user in range(len(starts) - 1):
        p = user_factors[user]
        for place in range(starts[user], starts[user + 1]):
            item = items[place]
            q = item_factors[item]
            score = 0.0
            for f in range(n_factors):
                score += p[f] * q[f]
            score += global_mean + user_biases[user] + item_biases[item]
            ratings[place] = score + noise * rng.standard_normal()
