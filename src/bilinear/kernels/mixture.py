"""Mixtures of several models' scores: made comparable, added up, and ranked among a few candidates."""

import numpy as np

from bilinear.kernels.cache import njit

_FAST = {"reassoc", "contract", "nsz", "arcp"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_standardised(scores, weight, out):  # type: ignore[no-untyped-def]
    """out[n] += weight * (scores[n] - mean) / deviation, by row; a row of equal scores adds nothing.

    scores, out: (n, n_items). Sums are float64, in the order of the items.
    """
    for n in range(len(scores)):
        mine, into = scores[n], out[n]
        total = np.float64(0)
        for i in range(len(mine)):
            total += mine[i]
        mean = total / len(mine)
        squares = np.float64(0)
        for i in range(len(mine)):
            squares += (mine[i] - mean) ** 2
        deviation = np.sqrt(squares / len(mine))
        if not deviation > 1e-12 * abs(mean):
            continue
        scale = out.dtype.type(weight / deviation)
        shift = scores.dtype.type(mean)
        for i in range(len(mine)):
            into[i] += scale * (mine[i] - shift)


@njit(cache=True, nogil=True)
def mixture_lists(starts, scores, weights, places):  # type: ignore[no-untyped-def]
    """Fills places (n_users, k): the best candidates of each user by scores @ weights, best first; then -1.

    User n's candidates are starts[n]:starts[n + 1] of scores (n_candidates, n_models). Equal mixtures rank in
    the order of the candidates. Cost: O(n_candidates * (n_models + 1)), and k steps for each that enters.
    """
    k = places.shape[1]
    values = np.empty(k, np.float64)
    for n in range(len(starts) - 1):
        mine, found = places[n], 0
        mine[:] = -1
        for c in range(starts[n], starts[n + 1]):
            total = 0.0
            for m in range(len(weights)):
                total += weights[m] * scores[c, m]
            if found == k and not total > values[k - 1]:
                continue
            at = found if found < k else k - 1
            found = min(found + 1, k)
            while at > 0 and total > values[at - 1]:
                values[at], mine[at] = values[at - 1], mine[at - 1]
                at -= 1
            values[at], mine[at] = total, c
