"""Item-to-item weights through the users they share, and scores from them."""

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True)
def _keep(values, rows, found, k, value, row):  # type: ignore[no-untyped-def]
    """Offers a pair to a bounded heap with the worst kept pair on top; returns how many it holds.

    Larger values are better, then lower rows.
    """
    if found < k:
        at = found
        while at > 0:
            parent = (at - 1) // 2
            if values[parent] < value or (values[parent] == value and rows[parent] > row):
                break
            values[at], rows[at] = values[parent], rows[parent]
            at = parent
        values[at], rows[at] = value, row
        return found + 1
    if values[0] > value or (values[0] == value and rows[0] < row):
        return found
    at = 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        right = child + 1
        if right < k and (
            values[right] < values[child] or (values[right] == values[child] and rows[right] > rows[child])
        ):
            child = right
        if values[child] > value or (values[child] == value and rows[child] < row):
            break
        values[at], rows[at] = values[child], rows[child]
        at = child
    values[at], rows[at] = value, row
    return found


@njit(cache=True, nogil=True)
def nearest_items(  # type: ignore[no-untyped-def]
    first, last, item_starts, item_users, item_weights, user_starts, user_items, user_weights,
    left, right, shrinkage, k, rows, values, counts,
):  # fmt: skip
    """The k largest weights[i, j] = shared(i, j) / (left[i] * right[j] + shrinkage) of items first..last - 1.

    shared(i, j) = sum over users of item_weights(i, u) * user_weights(u, j); an item is never its own
    neighbour, and items that share no user are none. Fills rows[i], values[i] (n_items, k), rows ascending,
    and counts[i]. Cost: O(sum over an item's users of their items) an item.
    """
    n_items = len(item_starts) - 1
    shared = np.zeros(n_items, values.dtype)
    touched = np.empty(n_items, np.int32)
    is_touched = np.zeros(n_items, np.bool_)
    for i in range(first, last):
        n = 0
        for s in range(item_starts[i], item_starts[i + 1]):
            u, weight = item_users[s], item_weights[s]
            for t in range(user_starts[u], user_starts[u + 1]):
                j = user_items[t]
                if not is_touched[j]:
                    is_touched[j] = True
                    touched[n] = j
                    n += 1
                shared[j] += weight * user_weights[t]
        found = 0
        best_values, best_rows = values[i], rows[i]
        for t in range(n):
            j = touched[t]
            if j != i and shared[j] > 0:
                value = shared[j] / (left[i] * right[j] + shrinkage)
                found = _keep(best_values, best_rows, found, k, value, j)
            shared[j] = 0
            is_touched[j] = False
        order = np.argsort(best_rows[:found])
        best_rows[:found] = best_rows[:found][order]
        best_values[:found] = best_values[:found][order]
        counts[i] = found


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_neighbours(starts, items, weights, w_starts, w_items, w_values, scores):  # type: ignore[no-untyped-def]
    """scores[n] += sum of weights(n, i) * W[i] over the items of history n; W in sparse rows."""
    for n in range(len(starts) - 1):
        mine = scores[n]
        for s in range(starts[n], starts[n + 1]):
            weight, i = weights[s], items[s]
            for t in range(w_starts[i], w_starts[i + 1]):
                mine[w_items[t]] += weight * w_values[t]


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_two_steps(  # type: ignore[no-untyped-def]
    starts, items, weights, item_starts, item_users, item_weights, user_scales,
    user_starts, user_items, user_weights, k, scores,
):  # fmt: skip
    """scores[n] += history n, to the k users its items reach most, to the items of those users.

    What reaches user u is the sum of weights * item_weights, times user_scales[u]; of equal ones those
    of lower rows are kept. With k of all users it is the same as `add_neighbours` with
    W = item_weights @ diag(user_scales) @ user_weights, which is never built.
    Cost: O(users of the history's items * log k, and the items of k users).
    """
    n_users = len(user_starts) - 1
    reached = np.zeros(n_users, scores.dtype)
    touched = np.empty(n_users, np.int32)
    is_touched = np.zeros(n_users, np.bool_)
    best_values, best_rows = np.empty(k, scores.dtype), np.empty(k, np.int32)
    for n in range(len(starts) - 1):
        found = 0
        for s in range(starts[n], starts[n + 1]):
            weight, i = weights[s], items[s]
            for t in range(item_starts[i], item_starts[i + 1]):
                u = item_users[t]
                if not is_touched[u]:
                    is_touched[u] = True
                    touched[found] = u
                    found += 1
                reached[u] += weight * item_weights[t]
        kept = 0
        for t in range(found):
            u = touched[t]
            value = reached[u] * user_scales[u]
            reached[u] = 0
            is_touched[u] = False
            if found > k:
                kept = _keep(best_values, best_rows, kept, k, value, u)
            else:
                best_values[t], best_rows[t] = value, u
                kept = found
        mine = scores[n]
        for t in range(kept):
            weight, u = best_values[t], best_rows[t]
            for s in range(user_starts[u], user_starts[u + 1]):
                mine[user_items[s]] += weight * user_weights[s]
