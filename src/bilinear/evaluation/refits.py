"""Differences of two recipes rather than of two fitted models: intervals from repeated splits, refitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.evaluation.bootstrap import Interval
from bilinear.evaluation.ratings import interval_columns
from bilinear.tabular import Tabular

_NORMAL = 1.959963984540054  # the 97.5 % quantile


@dataclass(frozen=True)
class Refits(Tabular):
    """Differences over repeated splits of one table, with all models fitted on each.

    Attributes:
        n_splits: how many, the one of the measurement among them.
        differences: by model, then by metric ("rmse" of ratings): the mean difference to the baseline, with
            a 95 % interval about other samples of users, other splits and other fits.
    """

    n_splits: int
    differences: Mapping[str, Mapping[str, Interval]]

    def to_columns(self) -> dict[str, Any]:
        """model, metric, and the mean difference to the baseline: value, low, high."""
        rows = [(model, metric, by) for model, of in self.differences.items() for metric, by in of.items()]
        names = {"model": [row[0] for row in rows], "metric": [row[1] for row in rows]}
        return {**names, **interval_columns(row[2] for row in rows)}

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "n_splits": self.n_splits,
            "differences": {
                name: {metric: [by.value, by.low, by.high] for metric, by in differences.items()}
                for name, differences in self.differences.items()
            },
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Refits:
        return cls(
            stored["n_splits"],
            {
                name: {metric: Interval(*by) for metric, by in differences.items()}
                for name, differences in stored["differences"].items()
            },
        )


@dataclass(frozen=True, eq=False)
class SplitDifference:
    """One metric's difference of two models on one split, and what each test case adds to it.

    Attributes:
        influences, users: (n,) by test rating or test user; the influences average to zero.
    """

    value: float
    influences: NDArray[np.float64]
    users: NDArray[Any]

    @classmethod
    def of_means(cls, differences: NDArray[np.float64], users: NDArray[Any]) -> SplitDifference:
        """Of a metric that is a mean over users, from each user's difference."""
        value = float(differences.mean())
        return cls(value, differences - value, users)

    @classmethod
    def of_rmse(
        cls, first: NDArray[Any], second: NDArray[Any], ratings: NDArray[Any], users: NDArray[Any]
    ) -> SplitDifference:
        """RMSE of the first predictions less that of the second; influences to first order."""
        influences, roots = [], []
        for predictions in (first, second):
            squares = (predictions.astype(np.float64) - ratings.astype(np.float64)) ** 2
            root = float(np.sqrt(squares.mean()))
            influences.append((squares - root**2) / (2 * root) if root else np.zeros(len(squares)))
            roots.append(root)
        return cls(roots[0] - roots[1], influences[0] - influences[1], users)


def interval_over_refits(splits: Sequence[SplitDifference], test_to_train: float) -> Interval:
    """The mean difference with its 95 % interval over samples of users, splits and fits.

    Its variance has two parts. Users: what each adds, summed over all splits and test cases, is one draw
    (a sandwich estimate clustered by user). Fits: the variance between splits times n_test / n_train, which
    Nadeau and Bengio add because training parts overlap, and without which fitted models would count as
    fixed. Coverage by simulation: docs/benchmarks.md.

    Args:
        splits: two or more, of one table, users in the rows of its vocabulary.
    Cost:
        O(all test cases).
    Source:
        Nadeau & Bengio, Inference for the generalization error, Machine Learning 52, 2003.
    """
    values = np.array([split.value for split in splits])
    n_rows = 1 + max(int(split.users.max()) for split in splits)
    added, met = np.zeros(n_rows), np.zeros(n_rows, bool)
    for split in splits:
        weights = split.influences / (len(split.influences) * len(splits))
        added += np.bincount(split.users, weights, minlength=n_rows)
        met[split.users] = True
    n_users = int(met.sum())
    of_users = float((added**2).sum()) * n_users / max(n_users - 1, 1)
    of_fits = test_to_train * float(values.var(ddof=1))
    reach, mean = _NORMAL * (of_users + of_fits) ** 0.5, float(values.mean())
    return Interval(mean, mean - reach, mean + reach)
