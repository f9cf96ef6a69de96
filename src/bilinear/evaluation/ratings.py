"""Evaluation of predicted ratings: RMSE and MAE with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.storage import parts
from bilinear.data.vocabulary import Vocabulary
from bilinear.evaluation.bootstrap import Interval, resampled_sums
from bilinear.tabular import Tabular


@dataclass(frozen=True)
class RatingScores(Tabular):
    """Errors on held-out ratings, in rating units.

    `unknown_users` and `unknown_items` are shares of the held-out rows whose user or item had
    no training rating; their predictions use the known terms alone (item bias, user bias, global
    mean), and they count like all others.
    """

    rmse: Interval
    mae: Interval
    n_ratings: int
    n_users: int
    unknown_users: float
    unknown_items: float
    n_unknown: int
    """Rows with an unknown user, an unknown item or both."""
    rmse_known: float | None
    """RMSE of the rows whose user and item are both known."""
    rmse_unknown: float | None
    """RMSE of the other rows."""

    def intervals(self) -> dict[str, Interval]:
        """By the name of the metric."""
        return {"rmse": self.rmse, "mae": self.mae}

    def to_columns(self) -> dict[str, Any]:
        """metric, value, low, high."""
        return {"metric": list(self.intervals()), **interval_columns(self.intervals().values())}

    def _caption(self) -> str:
        return f"{self.n_ratings:,} ratings of {self.n_users:,} users; 95 % bootstrap over users"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RatingScores:
        values = dict(stored)
        for name in ("rmse", "mae"):
            values[name] = Interval(**values[name])
        return cls(**values)

    def __str__(self) -> str:
        lines = [
            f"RMSE {self.rmse}   MAE {self.mae}   ({self.n_ratings:,} ratings of "
            f"{self.n_users:,} users; 95 % bootstrap over users)"
        ]
        if self.unknown_users or self.unknown_items:
            lines.append(
                f"unknown user: {self.unknown_users:.1%} of the rows, unknown item: {self.unknown_items:.1%}"
                + (f"; RMSE of these rows {self.rmse_unknown:.4f}" if self.rmse_unknown is not None else "")
            )
        return "\n".join(lines)


def interval_columns(
    intervals: Iterable[Interval | None], prefix: str = ""
) -> dict[str, NDArray[np.float64]]:
    """The columns value, low and high of intervals, NaN for None; or `prefix`, prefix_low, prefix_high."""
    parts = [(np.nan,) * 3 if one is None else (one.value, one.low, one.high) for one in intervals]
    names = (prefix, f"{prefix}_low", f"{prefix}_high") if prefix else ("value", "low", "high")
    return dict(zip(names, np.array(parts, np.float64).reshape(-1, 3).T, strict=True))


def comparison_columns(
    scores: Mapping[str, Any], differences: Mapping[str, Mapping[str, Interval]]
) -> dict[str, Any]:
    """One row a model and metric: the score and the paired difference to the baseline, with their ends."""
    rows = [(model, metric, one) for model, of in scores.items() for metric, one in of.intervals().items()]
    paired = [differences.get(model, {}).get(metric) for model, metric, _ in rows]
    names = {"model": [row[0] for row in rows], "metric": [row[1] for row in rows]}
    scored = interval_columns(row[2] for row in rows)
    return {**names, **scored, **interval_columns(paired, "difference")}


def rating_scores(
    predictions: NDArray[Any],
    ratings: NDArray[Any],
    users: NDArray[Any],
    unknown_user: NDArray[np.bool_],
    unknown_item: NDArray[np.bool_],
    *,
    rng: int = 0,
) -> RatingScores:
    """RMSE and MAE with percentile intervals from 1,000 resamples of the users.

    Whole users are drawn, because one user's errors are alike: drawing single ratings would
    make the interval too narrow. Of more than 10,000 users random groups are drawn, see `resampled_sums`.

    Args:
        predictions, ratings, users: (n,) each; `users` are any integer labels.
    Cost:
        O(n) time, beside at most 0.1 s.
    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993 (cluster resampling).
    """
    _, cluster = Vocabulary.factorize(users)
    sums = ErrorSums(int(cluster.max()) + 1)
    for part in parts(len(cluster)):
        errors = predictions[part], ratings[part], cluster[part]
        sums.add(*errors, unknown_user[part], unknown_item[part])
    return sums.scores(rng)


class ErrorSums:
    """What `rating_scores` needs of held-out ratings, added up part by part.

    Args:
        n_users: labels of users are below.
    """

    def __init__(self, n_users: int) -> None:
        self.by_user = np.zeros((n_users, 3))
        """Squared errors, absolute errors and ratings."""
        self.by_known = np.zeros((2, 2))
        """Squared errors and ratings: where user and item are known, and elsewhere."""
        self.n_unknown = np.zeros(2, np.int64)
        """Ratings of unknown users, and of unknown items."""

    def add(
        self,
        predictions: NDArray[Any],
        ratings: NDArray[Any],
        users: NDArray[Any],
        unknown_user: NDArray[np.bool_],
        unknown_item: NDArray[np.bool_],
    ) -> None:
        """Further ratings, as `rating_scores` takes them. Memory: that of a part of some million."""
        errors = predictions.astype(np.float64) - ratings.astype(np.float64)
        squared, n = errors**2, len(self.by_user)
        for at, weights in enumerate((squared, np.abs(errors), None)):
            self.by_user[:, at] += np.bincount(users, weights, n)
        unknown = unknown_user | unknown_item
        for at, rows in enumerate((~unknown, unknown)):
            self.by_known[at] += squared[rows].sum(), np.count_nonzero(rows)
        self.n_unknown += np.count_nonzero(unknown_user), np.count_nonzero(unknown_item)

    def scores(self, rng: int) -> RatingScores:
        """Of all ratings; users without any do not count."""
        sums = self.by_user[self.by_user[:, 2] > 0]
        squared, absolute, n = sums.sum(axis=0)
        totals = resampled_sums(sums, rng)
        mse, mae = totals[:, 0] / totals[:, 2], totals[:, 1] / totals[:, 2]
        known, unknown = (float(np.sqrt(sum_ / rows)) if rows else None for sum_, rows in self.by_known)
        return RatingScores(
            Interval.of(float(np.sqrt(squared / n)), np.sqrt(mse)),
            Interval.of(float(absolute / n), mae),
            int(n),
            len(sums),
            float(self.n_unknown[0] / n),
            float(self.n_unknown[1] / n),
            int(self.by_known[1, 1]),
            known,
            unknown,
        )


def rmse_difference(
    first: NDArray[Any], second: NDArray[Any], ratings: NDArray[Any], users: NDArray[Any], *, rng: int = 0
) -> Interval:
    """RMSE of the first predictions minus that of the second, on the same ratings: paired.

    Both are resampled together, user by user, so that what makes a user hard for both models does
    not widen the interval: it can be clear of zero where the two models' own intervals overlap.

    Args:
        first, second, ratings, users: (n,) each; `users` are any integer labels.
    Cost:
        as `rating_scores`.
    """
    errors = [(part.astype(np.float64) - ratings.astype(np.float64)) ** 2 for part in (first, second)]
    counts, *sums = _of_users(users, *errors)
    totals = resampled_sums(np.stack([*sums, counts], axis=1), rng)
    mine, other = (np.sqrt(totals[:, n] / totals[:, 2]) for n in range(2))
    value = float(np.sqrt(np.mean(errors[0])) - np.sqrt(np.mean(errors[1])))
    return Interval.of(value, mine - other)


def _of_users(users: NDArray[Any], *values: NDArray[np.float64]) -> list[NDArray[Any]]:
    """By user: how many rows, then the sums of the values."""
    _, rows = Vocabulary.factorize(users)
    return [np.bincount(rows, column) for column in (np.ones(len(rows)), *values)]
