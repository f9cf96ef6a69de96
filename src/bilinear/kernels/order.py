"""Counts and stable counting sorts by a small integer key, in linear time."""

import numpy as np
from numpy.typing import NDArray

from bilinear.kernels.cache import njit

Order = NDArray[np.int64]


@njit(cache=True, nogil=True)
def counting_order(keys, n_keys, before):  # type: ignore[no-untyped-def]
    """The stable order by `keys` of the rows listed in `before`, and each key's start in it.

    `keys` (n,) int32 in [0, n_keys); `before` (n,) int64 or int32, a permutation.
    Returns (order (n,) in the type of `before`, starts (n_keys + 1,) int64). Cost: O(n + n_keys).
    """
    starts = np.zeros(n_keys + 1, np.int64)
    for n in range(len(keys)):
        starts[keys[n] + 1] += 1
    for key in range(n_keys):
        starts[key + 1] += starts[key]
    free = np.empty(n_keys, np.int64)
    for key in range(n_keys):
        free[key] = starts[key]
    order = np.empty(len(before), before.dtype)
    for n in range(len(before)):
        row = before[n]
        order[free[keys[row]]] = row
        free[keys[row]] += 1
    return order, starts


@njit(cache=True, nogil=True)
def count_keys(keys, kept, counts):  # type: ignore[no-untyped-def]
    """Adds one to counts[key] for each of `keys` (n,), or for those where `kept` (n,) is true.

    `kept` may be empty: all then count. Cost: O(n).
    """
    if len(kept) == 0:
        for n in range(len(keys)):
            counts[keys[n]] += 1
    else:
        for n in range(len(keys)):
            if kept[n]:
                counts[keys[n]] += 1


@njit(nogil=True)
def sort_by_key(keys, values, n):  # type: ignore[no-untyped-def]
    """Sorts the first n of `keys`, ascending, and `values`, which may be the same array, along with them.

    Shell's sort, with Knuth's steps: `np.sort` inside a kernel takes seconds to compile.
    """
    step = 1
    while step < n // 3:
        step = 3 * step + 1
    while step > 0:
        for start in range(step, n):
            key, value = keys[start], values[start]
            at = start
            while at >= step and keys[at - step] > key:
                keys[at], values[at] = keys[at - step], values[at - step]
                at -= step
            keys[at], values[at] = key, value
        step //= 3
