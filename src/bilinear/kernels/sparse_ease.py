"""Ridge regression of each item on its own few sources, and the dense products of all items."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.dense import cholesky_of_one_plus, solve_factored


@njit(cache=True, nogil=True)
def regress_items(  # type: ignore[no-untyped-def]
    first, last, source_starts, sources, item_starts, item_users, item_weights,
    user_starts, user_items, user_weights, l2, out,
):  # fmt: skip
    """Fills out, which is laid out as `sources`, with the weights of the sources of items first..last - 1.

    The weights w minimise sum over users of v_u (x_uj - sum over sources i of w_i x_ui)^2 + l2 `|w|^2`, where
    user_weights hold x and item_weights v x. Cost: O(m^3 + m times the items of an item's users) an item.
    """
    n_items = len(item_starts) - 1
    place = np.full(n_items, -1, np.int32)
    most = 0
    for j in range(first, last):
        most = max(most, source_starts[j + 1] - source_starts[j])
    most = (most + 3) // 4 * 4
    system, inverses = np.empty((most, most), out.dtype), np.empty(most, out.dtype)
    solution = np.empty(most, out.dtype)
    scale = out.dtype.type(1.0 / l2)
    for j in range(first, last):
        begin, n = source_starts[j], source_starts[j + 1] - source_starts[j]
        padded = (n + 3) // 4 * 4
        system[:padded, :padded] = 0
        solution[:padded] = 0
        for t in range(n):
            place[sources[begin + t]] = t
        for t in range(n):
            i, row = sources[begin + t], system[t]
            for s in range(item_starts[i], item_starts[i + 1]):
                u, weight = item_users[s], item_weights[s] * scale
                for p in range(user_starts[u], user_starts[u + 1]):
                    other = user_items[p]
                    at = place[other]
                    if 0 <= at <= t:  # the lower triangle
                        row[at] += weight * user_weights[p]
                    elif other == j:
                        solution[t] += weight * user_weights[p]
        cholesky_of_one_plus(system, padded, inverses)
        solve_factored(system, inverses, padded, solution)
        for t in range(n):
            out[begin + t] = solution[t]
            place[sources[begin + t]] = -1


@njit(cache=True, nogil=True)
def item_products(  # type: ignore[no-untyped-def]
    first, last, item_starts, item_users, item_weights, user_starts, user_items, user_weights, out
):  # fmt: skip
    """The lower triangle of out = X^T X for rows first..last - 1 of items, which are zeroed before."""
    for i in range(first, last):
        row = out[i]
        row[:] = 0
        for s in range(item_starts[i], item_starts[i + 1]):
            u, weight = item_users[s], item_weights[s]
            for p in range(user_starts[u], user_starts[u + 1]):
                j = user_items[p]
                if j > i:
                    break  # a user's items ascend
                row[j] += weight * user_weights[p]


@njit(cache=True, nogil=True)
def add_dense_rows(starts, items, weights, table, scores):  # type: ignore[no-untyped-def]
    """scores[n] += sum of weights(n, i) * table[i] over the items of history n."""
    for n in range(len(starts) - 1):
        mine = scores[n]
        for s in range(starts[n], starts[n + 1]):
            weight, row = weights[s], table[items[s]]
            for j in range(len(mine)):
                mine[j] += weight * row[j]
