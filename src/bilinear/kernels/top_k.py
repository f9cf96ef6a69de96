"""The largest scores of a user, without storing all of them."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.heap import comes_before, rise, sift_down, sort_heap

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def top_k_rows(  # type: ignore[no-untyped-def]
    vector, offset, item_factors, item_biases, allowed, hidden, mark, k, rows, scores
):  # fmt: skip
    """Fills rows[:n], scores[:n] with the n = min(k, items left) best, best first; returns n.

    score(i) = offset + item_biases[i] + <vector, item_factors[i]>. Items left are those with
    allowed[i] true and hidden[i] not equal to `mark`; both are (n_items,).
    A bounded heap with the worst kept pair on top: O(n_items * n_factors + k log k) time.
    """
    n_items, n_factors = item_factors.shape
    start = item_factors.dtype.type(offset)  # scores of one type only, or ties would not be ties
    n = np.int64(0)  # a literal would be a type of its own: what takes it would be compiled twice
    for i in range(n_items):
        if not allowed[i] or hidden[i] == mark:
            continue
        q = item_factors[i]
        score = start + item_biases[i]
        for f in range(n_factors):
            score += vector[f] * q[f]
        if n < k:
            rise(scores, rows, n, score, np.int32(i))
            n += 1
        elif comes_before(score, i, scores[0], rows[0]):
            sift_down(scores, rows, n, score, np.int32(i))
    sort_heap(scores, rows, n)
    return n


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def top_k_users(  # type: ignore[no-untyped-def]
    users, user_factors, offsets, item_factors, item_biases, allowed,
    seen_indptr, seen_items, exclude_seen, k, rows, scores, counts,
):  # fmt: skip
    """`top_k_rows` for each listed user; a user's own seen items are left out if asked.

    rows, scores (n, k) and counts (n,) are filled. User -1 has no vector and has seen nothing.
    """
    hidden = np.full(len(item_biases), -1, np.int64)
    no_factors = np.zeros(user_factors.shape[1], user_factors.dtype)
    for n in range(len(users)):
        u = users[n]
        if exclude_seen and u >= 0:
            for s in range(seen_indptr[u], seen_indptr[u + 1]):
                hidden[seen_items[s]] = n
        vector = user_factors[u] if u >= 0 else no_factors
        counts[n] = top_k_rows(
            vector, offsets[n], item_factors, item_biases, allowed, hidden, n, k, rows[n], scores[n]
        )
    return len(users)
