"""Item-to-item weights through the users they share, and scores from them."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.heap import comes_before, rise, sift_down
from bilinear.kernels.order import sort_by_key

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(inline="always")
def _gather(  # type: ignore[no-untyped-def]
    row, indptr, indices, weights, other_indptr, ends, end_weights, sums, touched, is_touched
):
    """Adds to `sums` the weighted paths of a row through `indices` to `ends`; returns how many it reached.

    `touched` lists them; the reader of the sums sets them and `is_touched` back to zero.
    """
    n = 0
    for s in range(indptr[row], indptr[row + 1]):
        other, weight = indices[s], weights[s]
        for t in range(other_indptr[other], other_indptr[other + 1]):
            end = ends[t]
            if not is_touched[end]:
                is_touched[end] = True
                touched[n] = end
                n += 1
            sums[end] += weight * end_weights[t]
    return n


@njit(cache=True, nogil=True)
def nearest_items(  # type: ignore[no-untyped-def]
    first, last, item_indptr, item_users, item_weights, user_indptr, user_items, user_weights,
    left, right, shrinkage, k, rows, values, counts,
):  # fmt: skip
    """The k largest weights[i, j] = shared(i, j) / (left[i] * right[j] + shrinkage) of items first..last - 1.

    shared(i, j) = sum over users of item_weights(i, u) * user_weights(u, j); an item is never its own
    neighbour, and items that share no user are none. Fills rows[i], values[i] (n_items, k), rows ascending,
    and counts[i]. Cost: O(sum over an item's users of their items) an item.
    """
    n_items = len(item_indptr) - 1
    shared = np.zeros(n_items, values.dtype)
    touched = np.empty(n_items, np.int32)
    is_touched = np.zeros(n_items, np.bool_)
    for i in range(first, last):
        n = _gather(
            i, item_indptr, item_users, item_weights, user_indptr, user_items, user_weights,
            shared, touched, is_touched,
        )  # fmt: skip
        found = np.int64(0)
        best_values, best_rows = values[i], rows[i]
        for t in range(n):
            j = touched[t]
            if j != i and shared[j] > 0:
                value = shared[j] / (left[i] * right[j] + shrinkage)
                if found < k:
                    rise(best_values, best_rows, found, value, j)
                    found += 1
                elif comes_before(value, j, best_values[0], best_rows[0]):
                    sift_down(best_values, best_rows, k, value, j)
            shared[j] = 0
            is_touched[j] = False
        sort_by_key(best_rows, best_values, found)
        counts[i] = found


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_neighbours(indptr, items, weights, w_indptr, w_items, w_values, scores):  # type: ignore[no-untyped-def]
    """scores[n] += sum of weights(n, i) * W[i] over the items of history n; W in sparse rows."""
    for n in range(len(indptr) - 1):
        mine = scores[n]
        for s in range(indptr[n], indptr[n + 1]):
            weight, i = weights[s], items[s]
            for t in range(w_indptr[i], w_indptr[i + 1]):
                mine[w_items[t]] += weight * w_values[t]


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_two_steps(  # type: ignore[no-untyped-def]
    indptr, items, weights, item_indptr, item_users, item_weights, user_scales,
    user_indptr, user_items, user_weights, k, scores,
):  # fmt: skip
    """scores[n] += history n, to the k users its items reach most, to the items of those users.

    What reaches user u is the sum of weights * item_weights, times user_scales[u]; of equal ones those
    of lower rows are kept. With k of all users it is the same as `add_neighbours` with
    W = item_weights @ diag(user_scales) @ user_weights, which is never built.

    Cost:
        O(users of the history's items * log k, and the items of k users).
    """
    n_users = len(user_indptr) - 1
    reached = np.zeros(n_users, scores.dtype)
    touched = np.empty(n_users, np.int32)
    is_touched = np.zeros(n_users, np.bool_)
    best_values, best_rows = np.empty(k, scores.dtype), np.empty(k, np.int32)
    for n in range(len(indptr) - 1):
        found = _gather(
            n, indptr, items, weights, item_indptr, item_users, item_weights, reached, touched, is_touched
        )
        kept = np.int64(0)
        for t in range(found):
            u = touched[t]
            value = reached[u] * user_scales[u]
            reached[u] = 0
            is_touched[u] = False
            if found <= k:
                best_values[t], best_rows[t] = value, u
                kept = found
            elif kept < k:
                rise(best_values, best_rows, kept, value, u)
                kept += 1
            elif comes_before(value, u, best_values[0], best_rows[0]):
                sift_down(best_values, best_rows, k, value, u)
        mine = scores[n]
        for t in range(kept):
            weight, u = best_values[t], best_rows[t]
            for s in range(user_indptr[u], user_indptr[u + 1]):
                mine[user_items[s]] += weight * user_weights[s]
