"""The k best pairs of (score, row) in a bounded heap with the worst kept pair on top.

Higher scores are better, then lower rows.
"""

from bilinear.kernels.cache import njit


@njit(inline="always")
def comes_before(score, row, other_score, other_row):  # type: ignore[no-untyped-def]
    """Whether a pair ranks before another: by score, then by row."""
    return score > other_score or (score == other_score and row < other_row)


@njit(nogil=True)
def sift_down(scores, rows, n, score, row):  # type: ignore[no-untyped-def]
    """Puts a pair at the top of the heap of the first n and lets it sink."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and comes_before(scores[child], rows[child], scores[child + 1], rows[child + 1]):
            child += 1
        if comes_before(scores[child], rows[child], score, row):
            break
        scores[at], rows[at] = scores[child], rows[child]
        at = child
    scores[at], rows[at] = score, row


@njit(nogil=True)
def rise(scores, rows, n, score, row):  # type: ignore[no-untyped-def]
    """Puts a pair at the end of a heap of n and lets it rise."""
    at = n
    while at > 0:
        parent = (at - 1) // 2
        if not comes_before(scores[parent], rows[parent], score, row):
            break
        scores[at], rows[at] = scores[parent], rows[parent]
        at = parent
    scores[at], rows[at] = score, row


@njit(nogil=True)
def offer(scores, rows, n, k, score, row):  # type: ignore[no-untyped-def]
    """Offers a pair to a heap of n pairs, at most k; returns how many it holds.

    Loops that offer every score have these lines themselves: a call each time counts the references to
    the arrays, which takes longer than the comparison.
    """
    if n < k:
        rise(scores, rows, n, score, row)
        return n + 1
    if comes_before(score, row, scores[0], rows[0]):
        sift_down(scores, rows, n, score, row)
    return n


@njit(nogil=True)
def sort_heap(scores, rows, n):  # type: ignore[no-untyped-def]
    """Turns a heap of n into a list, best first."""
    for last in range(n - 1, 0, -1):
        score, row = scores[last], rows[last]
        scores[last], rows[last] = scores[0], rows[0]
        sift_down(scores, rows, last, score, row)
