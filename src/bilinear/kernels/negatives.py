"""Negatives of a set of users: drawn at random, without the items of each user."""

from collections import namedtuple

import numpy as np

from bilinear.kernels.cache import njit

Sampler = namedtuple("Sampler", "catalogue cumulative guide log_chances key")
"""Where negatives come from.

catalogue (n,) rows of items, ascending; cumulative (n,) sums of their chances, the last is one;
guide (m,) the first place whose sum is above g / m, or empty where all chances are the same, and
cumulative is then (1..n) / n; log_chances (n,); key: uint64, of this epoch.
"""

_MARKS_EACH = 16


@njit(inline="always")
def _mixed(x):  # type: ignore[no-untyped-def]
    """A bijection of 64-bit numbers that looks random (SplitMix64; Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def draw_negatives(sampler, number, items, log_weights):  # type: ignore[no-untyped-def]
    """Fills items (K,), ascending, and log_weights (K,): -log of how often each is expected among them.

    Stratified: one item from each of K equal shares of the chance, by numbers that are a function of
    the key, the number of the set and k alone. As many as the catalogue, at equal chances, is all of it.
    """
    n = len(items)
    catalogue, cumulative, guide = sampler.catalogue, sampler.cumulative, sampler.guide
    log_chances = sampler.log_chances
    start = _mixed(sampler.key + np.uint64(number) * np.uint64(0x9E3779B97F4A7C15))
    scale, equal, n_catalogue = np.log(n), len(guide) == 0, len(catalogue)
    for k in range(n):
        bits = _mixed(start + np.uint64(k + 1) * np.uint64(0x9E3779B97F4A7C15))
        share = (k + np.float64(bits >> np.uint64(32)) * 2.0**-32) / n
        if equal:
            place = int(share * n_catalogue)
            while (place + 1) / n_catalogue <= share:
                place += 1
            while place / n_catalogue > share:
                place -= 1
        else:
            place = guide[int(share * len(guide))]
            while cumulative[place] <= share:
                place += 1
        items[k] = catalogue[place]
        log_weights[k] = -log_chances[0 if equal else place] - scale


@njit(cache=True, nogil=True)
def no_marks(n_negatives):  # type: ignore[no-untyped-def]
    """Marks for so many negatives, none set; their number is a power of two."""
    n = 64
    while n < _MARKS_EACH * n_negatives:
        n *= 2
    return np.zeros(n, np.bool_)


@njit(cache=True, nogil=True)
def mark(marks, negatives, value):  # type: ignore[no-untyped-def]
    """Sets the marks of the negatives: what has none is not among them."""
    for k in range(len(negatives)):
        marks[negatives[k] & (len(marks) - 1)] = value


@njit(cache=True, nogil=True)
def hide(scores, u, negatives, marks, items, start, end):  # type: ignore[no-untyped-def]
    """Minus infinity in scores[u] for the negatives that are among items[start:end], both ascending.

    Returns how many are left. The marks spare nearly all items a search for them.
    """
    left = n_negatives = len(negatives)
    for n in range(start, end):
        item = items[n]
        if not marks[item & (len(marks) - 1)]:
            continue
        low, high = 0, n_negatives
        while low < high:
            middle = (low + high) // 2
            if negatives[middle] < item:
                low = middle + 1
            else:
                high = middle
        while low < n_negatives and negatives[low] == item:
            scores[u, low] = -np.inf
            left -= 1
            low += 1
    return left
