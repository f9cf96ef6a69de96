"""95 % bootstrap intervals over users; every column sees the same resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 1000
_MOST = 10_000
"""Rows that are drawn one by one; of more, as many groups: the width then errs by 0.7 %."""
_COUNTS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    @classmethod
    def of(cls, value: float, resampled: NDArray[np.float64]) -> Interval:
        """The percentile interval of what `value` was in resamples."""
        low, high = np.quantile(resampled, [0.025, 0.975])
        return cls(value, float(low), float(high))


def resampled_sums(values: NDArray[np.float64], rng: int) -> NDArray[np.float64]:
    """(1000, n_columns) sums of each column of values (n, n_columns) over rows drawn with replacement.

    Columns that are resampled together stay paired: a difference or a ratio of columns may be taken
    before or after. Equal `rng` and n give equal draws. More than 10,000 rows are put into that many groups
    at random and the groups are drawn: their sums vary as those of the rows do, so the cost stops growing.
    The groups differ in size by one, so divide by a column of counts and not by n.

    Cost:
        O(n * n_columns) time, and O(1000 * 10,000 * n_columns) at most; 32 MB of counts at once.
    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    draws = np.random.default_rng(rng)
    if len(values) > _MOST:
        groups = draws.permutation(len(values)) % _MOST
        values = np.stack([np.bincount(groups, column, _MOST) for column in values.T], axis=1)
    n = len(values)
    sums = np.empty((_RESAMPLES, values.shape[1]))
    at_once = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, _RESAMPLES, at_once):
        stop = min(start + at_once, _RESAMPLES)
        counts = np.stack([np.bincount(draws.integers(n, size=n), minlength=n) for _ in range(start, stop)])
        sums[start:stop] = counts.astype(np.float64) @ values
    return sums


def mean_intervals(values: NDArray[np.float64], rng: int) -> list[Interval]:
    """The mean of each column with its percentile interval."""
    sums = resampled_sums(np.column_stack([values, np.ones(len(values))]), rng)
    means = sums[:, :-1] / sums[:, -1:]
    return [Interval.of(float(mean), of) for mean, of in zip(values.mean(axis=0), means.T, strict=True)]
