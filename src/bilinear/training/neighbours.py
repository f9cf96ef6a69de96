"""Sparse item-to-item weights from the users that items share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped, stable_order
from bilinear.kernels.neighbours import nearest_items
from bilinear.model.parameters import Array
from bilinear.training.thread_pool import Workers

_LEAST = 1e-30  # what a row without weights is divided by


def nearest_sources(
    by_item: Grouped,
    by_user: Grouped,
    left: Array,
    right: Array,
    shrinkage: float,
    n_neighbours: int,
    pool: Workers,
) -> Grouped:
    """For each item j the `n_neighbours` items i that say most about it, grouped by j, ascending.

    weight(i, j) = sum over users of by_item(j, u) * by_user(u, i) / (left[j] * right[i] + shrinkage);
    an item says nothing about itself. left, right: (n_items,) float32, positive.

    Cost:
        O(sum over users of their interactions squared) time, 16 bytes a neighbour.
    """
    n_items = len(by_item.indptr) - 1
    k = min(n_neighbours, max(n_items - 1, 1))
    rows, values = np.empty((n_items, k), np.int32), np.empty((n_items, k), np.float32)
    counts = np.zeros(n_items, np.int64)
    reached = np.concatenate([[0], np.cumsum(by_user.counts[by_item.indices])])[by_item.indptr]

    def nearest(a: int, b: int) -> None:
        nearest_items(a, b, *by_item, *by_user, left, right, np.float32(shrinkage), k, rows, values, counts)

    pool.run(nearest, pool.shares(np.diff(reached) + 100))
    found = np.arange(k) < counts[:, None]
    return Grouped(np.concatenate([[0], np.cumsum(counts)]), rows[found], values[found])


def walks(
    by_item: Grouped,
    by_user: Grouped,
    user_exponent: float,
    item_exponent: float,
    popularity_exponent: float,
    n_neighbours: int,
    pool: Workers,
) -> Grouped:
    """`nearest_sources` by d_i^-item_exponent d_j^-popularity_exponent sum over users of d_u^-user_exponent.

    d is the sum of a row's weights, which also weigh each step.
    """
    items = np.maximum(sums_by_row(by_item), _LEAST)
    users = np.maximum(sums_by_row(by_user), _LEAST)
    steps = (by_item.ratings * users[by_item.indices] ** -user_exponent).astype(np.float32)
    return nearest_sources(
        by_item._replace(ratings=steps),
        by_user,
        (items**popularity_exponent).astype(np.float32),
        (items**item_exponent).astype(np.float32),
        0.0,
        n_neighbours,
        pool,
    )


def grouped_the_other_way(grouped: Grouped, n_others: int) -> Grouped:
    """A table grouped by its other side, rows ascending within a group. Cost: O(n_ratings)."""
    rows = np.repeat(np.arange(len(grouped.indptr) - 1, dtype=np.int32), grouped.counts)
    order, starts = stable_order(grouped.indices, n_others)
    return Grouped(starts, rows[order], grouped.ratings[order])


def sums_by_row(grouped: Grouped) -> NDArray[np.float64]:
    """(n_rows,) the sum of each row's values."""
    rows = np.repeat(np.arange(len(grouped.indptr) - 1), grouped.counts)
    sums = np.bincount(rows, grouped.ratings.astype(np.float64), len(grouped.indptr) - 1)
    return sums.astype(np.float64, copy=False)
