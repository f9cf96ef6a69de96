"""Mixtures of several models' scores: made comparable, added up, and judged on a few candidates."""

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
def mixture_metrics(  # type: ignore[no-untyped-def]
    starts, scores, relevant, n_relevant, weights, k, recalls, gains
):
    """Fills recalls, gains (n_users,): Recall@k and NDCG@k of the candidates ranked by scores @ weights.

    User n's candidates are starts[n]:starts[n + 1] of scores (n_candidates, n_models) and of the bool
    `relevant`; of n_relevant[n] relevant items those that are no candidates count as not found.
    Equal mixtures rank in the order of the candidates. Cost: O(candidates * (n_models + relevant)).
    """
    most = 0
    for n in range(len(starts) - 1):
        most = max(most, starts[n + 1] - starts[n])
    mixed = np.empty(most, np.float64)
    for n in range(len(starts) - 1):
        first, length = starts[n], starts[n + 1] - starts[n]
        for c in range(length):
            total = 0.0
            for m in range(len(weights)):
                total += weights[m] * scores[first + c, m]
            mixed[c] = total
        found, gained, ideal = 0, 0.0, 0.0
        for c in range(length):
            if relevant[first + c]:
                place = 0
                for other in range(length):
                    place += mixed[other] > mixed[c] or (mixed[other] == mixed[c] and other < c)
                if place < k:
                    found += 1
                    gained += 1 / np.log2(place + 2.0)
        for place in range(min(k, n_relevant[n])):
            ideal += 1 / np.log2(place + 2.0)
        recalls[n] = found / n_relevant[n]
        gains[n] = gained / ideal
