"""Differences between methods that ran with the same seeds, with intervals and p values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
"""Significance level of all tests together."""
_EXACT = 14  # seeds up to which every pattern of signs is enumerated


@dataclass(frozen=True)
class Difference:
    """The difference of a method to the first one, paired by seed.

    Attributes:
        name: Of the method.
        mean: Mean difference.
        low: Lower end of its 95 % interval (Student's t over seeds).
        high: Upper end.
        p: Of a sign-flip test of the mean, exact for up to 14 seeds.
        p_corrected: Corrected for the number of methods, after Holm.

    Examples:
        >>> from bilinear import lab
        >>> lab.Difference("adam", -0.2, -0.3, -0.1, 0.002, 0.01).real
        True
    """

    name: str
    mean: float
    low: float
    high: float
    p: float
    p_corrected: float

    @property
    def real(self) -> bool:
        """Whether the difference is significant at 5 %, over all comparisons together."""
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
    """The differences of other methods to the first, paired by seed.

    Where two methods are equal, each seed's difference is as likely to have the other sign: the
    p value is the share of sign patterns whose mean is at least as far from zero.

    Args:
        first: One value for each seed.
        others: By method, one value for each of the same seeds.

    Returns:
        One difference for each of `others`.
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
    """P values corrected for multiple comparisons. Source: Holm, Scand. J. Statist. 6 (1979)."""
    order = np.argsort(p_values, kind="stable")
    out, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        out[place] = highest
    return out
