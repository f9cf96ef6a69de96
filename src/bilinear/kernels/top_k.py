"""The largest scores of a user, without storing all of them."""

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(inline="always")
def _comes_before(score, item, other_score, other_item):  # type: ignore[no-untyped-def]
    """Whether a pair ranks before another: by score, then by row."""
    return score > other_score or (score == other_score and item < other_item)


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
    n = 0
    for i in range(n_items):
        if not allowed[i] or hidden[i] == mark:
            continue
        q = item_factors[i]
        score = start + item_biases[i]
        for f in range(n_factors):
            score += vector[f] * q[f]
        if n < k:
            at = n
            n += 1
            while at > 0:
                parent = (at - 1) // 2
                if not _comes_before(scores[parent], rows[parent], score, i):
                    break
                scores[at], rows[at] = scores[parent], rows[parent]
                at = parent
            scores[at], rows[at] = score, i
        elif _comes_before(score, i, scores[0], rows[0]):
            _sift_down(scores, rows, n, score, i)
    for last in range(n - 1, 0, -1):
        score, row = scores[last], rows[last]
        scores[last], rows[last] = scores[0], rows[0]
        _sift_down(scores, rows, last, score, row)
    return n


@njit(cache=True, nogil=True)
def _sift_down(scores, rows, n, score, row):  # type: ignore[no-untyped-def]
    """Puts a pair at the top of the heap of the first n and lets it sink."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and _comes_before(scores[child], rows[child], scores[child + 1], rows[child + 1]):
            child += 1
        if _comes_before(scores[child], rows[child], score, row):
            break
        scores[at], rows[at] = scores[child], rows[child]
        at = child
    scores[at], rows[at] = score, row


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def top_k_users(  # type: ignore[no-untyped-def]
    users, user_factors, offsets, item_factors, item_biases, allowed,
    seen_starts, seen_items, exclude_seen, k, rows, scores, counts,
):  # fmt: skip
    """`top_k_rows` for each listed user; a user's own seen items are left out if asked.

    rows, scores (n, k) and counts (n,) are filled. User -1 has no vector and has seen nothing.
    """
    hidden = np.full(len(item_biases), -1, np.int64)
    nobody = np.zeros(user_factors.shape[1], user_factors.dtype)
    for n in range(len(users)):
        u = users[n]
        if exclude_seen and u >= 0:
            for s in range(seen_starts[u], seen_starts[u + 1]):
                hidden[seen_items[s]] = n
        vector = user_factors[u] if u >= 0 else nobody
        counts[n] = top_k_rows(
            vector, offsets[n], item_factors, item_biases, allowed, hidden, n, k, rows[n], scores[n]
        )
    return len(users)
