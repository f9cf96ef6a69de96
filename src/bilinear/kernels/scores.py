"""Scores of listed pairs of rows."""

from bilinear.kernels.cache import njit
from bilinear.kernels.rows import prefetch_row

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

_AHEAD = 16  # pairs


@njit(cache=True, nogil=True, fastmath=_FAST)
def score_pairs(  # type: ignore[no-untyped-def]
    global_mean, user_biases, item_biases, user_factors, item_factors, n_factors, users, items, scores
):  # fmt: skip
    """scores[n] = mean + biases + product of the first n_factors columns, for users[n] and items[n].

    A negative row is an unknown user or item and adds nothing. A pair's score depends on the two rows alone,
    not on other pairs. Rows are prefetched, as they may lie anywhere in memory.

    Cost:
        O(n * n_factors).
    """
    real = user_factors.dtype.type
    mean = real(global_mean)
    last = len(users) - 1
    for n in range(len(users)):
        ahead = min(n + _AHEAD, last)
        if users[ahead] >= 0 and items[ahead] >= 0:
            prefetch_row(user_factors, users[ahead])
            prefetch_row(item_factors, items[ahead])
        u, i = users[n], items[n]
        product = real(0)
        if u >= 0 and i >= 0:
            p, q = user_factors[u], item_factors[i]
            for f in range(n_factors):
                product += p[f] * q[f]
        user_bias = user_biases[u] if u >= 0 else real(0)
        item_bias = item_biases[i] if i >= 0 else real(0)
        scores[n] = mean + (product + user_bias + item_bias)
