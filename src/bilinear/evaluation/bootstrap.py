"""95 % bootstrap intervals of means over users; every column sees the same resamples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bilinear.evaluation.ratings import Interval

_RESAMPLES = 1000
_COUNTS_AT_ONCE = 1 << 22


def resampled_means(values: NDArray[np.float64], rng: int) -> NDArray[np.float64]:
    """(1000, n_columns) means of each column of values (n, n_columns) over rows drawn with replacement.

    Columns that are resampled together stay paired: a difference of columns may be taken before or
    after. Equal `rng` and n give equal draws.

    Cost:
        O(1000 * n * n_columns) time, 32 MB of counts at once.
    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    n = len(values)
    draws = np.random.default_rng(rng)
    means = np.empty((_RESAMPLES, values.shape[1]))
    at_once = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, _RESAMPLES, at_once):
        stop = min(start + at_once, _RESAMPLES)
        counts = np.stack([np.bincount(draws.integers(n, size=n), minlength=n) for _ in range(start, stop)])
        means[start:stop] = counts.astype(np.float64) @ values / n
    return means


def mean_intervals(values: NDArray[np.float64], rng: int) -> list[Interval]:
    """The mean of each column with its percentile interval."""
    lows, highs = np.quantile(resampled_means(values, rng), [0.025, 0.975], axis=0)
    return [
        Interval(float(mean), float(low), float(high))
        for mean, low, high in zip(values.mean(axis=0), lows, highs, strict=True)
    ]
