"""Differences between methods that ran with the same seeds, and whether chance explains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
"""Of all tests together."""
_EXACT = 14  # seeds up to which every pattern of signs is counted


@dataclass(frozen=True)
class Difference:
    """A method less the one it is compared with, paired by seed.

    Attributes:
        mean, low, high: mean difference and its 95 % interval (Student's t over seeds).
        p: of a sign-flip test of the mean, exact for up to 14 seeds; p_corrected: for the number of
            methods, after Holm.
    """

    name: str
    mean: float
    low: float
    high: float
    p: float
    p_corrected: float

    @property
    def real(self) -> bool:
        """Whether chance is ruled out at 5 %, all comparisons together."""
        return self.p_corrected < LEVEL


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95 % interval."""
    from scipy.stats import t

    array = np.asarray(values, np.float64)
    mean, n = float(array.mean()), len(array)
    if n < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.975, n - 1) * array.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def paired_differences(
    first: Sequence[float], others: Mapping[str, Sequence[float]]
) -> tuple[Difference, ...]:
    """Each of the others less the first, value by value.

    Under the hypothesis that two methods are the same, each seed's difference might as well have
    the other sign: the p value is the share of sign patterns whose mean is at least as far from zero.
    """
    from scipy.stats import permutation_test

    found = []
    for name, values in others.items():
        differences = np.asarray(values, np.float64) - np.asarray(first, np.float64)
        mean, low, high = mean_interval(differences.tolist())
        p = 1.0
        if differences.any():
            n_patterns = np.inf if len(differences) <= _EXACT else 19_999
            p = float(
                permutation_test(
                    (differences,),
                    np.mean,
                    permutation_type="samples",
                    n_resamples=n_patterns,
                    rng=np.random.default_rng(0),
                ).pvalue
            )
        found.append((name, mean, low, high, p))
    corrected = holm([row[-1] for row in found])
    return tuple(Difference(*row, by) for row, by in zip(found, corrected, strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number. Source: Holm, Scand. J. Statist. 6 (1979)."""
    order = np.argsort(p_values, kind="stable")
    out, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        out[place] = highest
    return out
