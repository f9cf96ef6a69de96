"""Intervals of point estimates: conformal, from residuals on the inner validation part.

A further rating's residual, over what is usual for its user, ranks among those of the validation part as if
drawn with them. So their quantile times the user's spread holds that share of further ratings, whatever the
distribution, of users and items with training ratings.
Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005; Lei et al., "Distribution-free
predictive inference for regression", JASA 2018, for residuals over a scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.data.splits import Split
from bilinear.data.storage import parts
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import TensorReader
from bilinear.model.link import Link
from bilinear.model.parameters import Parameters
from bilinear.model.scoring import score_rows
from bilinear.persistence.codec import checked_number, checked_size
from bilinear.training.score_variance import of_rows

_MOST = 2000  # quantiles that are stored
_STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1e9)
"""Of the mean spread, as so many ratings of each user; the last is one spread for all."""


@dataclass(frozen=True, eq=False)
class Conformal:
    """What the intervals of a point estimate are made of.

    Attributes:
        spreads (n_users,): standard deviation of each user's training residuals, drawn to that of all.
        new: that of a user without ratings in the part that was trained on, the median of all.
        ratios (n,): sizes of validation residuals over their users' spreads, ascending: all of them, or 2,000
            evenly spaced ones.
        n_ratings: of the validation part, of users and items with training ratings.
    """

    spreads: NDArray[np.float64]
    new: float
    ratios: NDArray[np.float64]
    n_ratings: int

    @classmethod
    def of(cls, parameters: Parameters, link: Link, inner: Split) -> Self | None:
        """From a model of the training part; None where no rating can be used.

        A user's training residuals are those of the model, or of its biases alone: factors fit some away,
        most where ratings are few. Which, and how much they count beside those of all, is what makes the
        validation residuals likeliest, as Gaussian.

        Cost:
            O(n_ratings * n_factors).
        """
        train, test = inner.train, inner.test
        users, items = train.user_counts, train.item_counts
        warm = (users[test.users] > 0) & (items[test.items] > 0)
        if not warm.any():
            return None
        who = test.users[warm]
        residuals = link.prediction(score_rows(parameters, who, test.items[warm])) - test.ratings[warm]
        sizes = np.abs(residuals.astype(np.float64))

        def surprise(spreads: NDArray[np.float64]) -> float:
            own = spreads[who]
            return float(np.log(own).mean() + np.log(((sizes / own) ** 2).mean() + 1e-300) / 2)

        candidates = []
        for predictor in (parameters, _biases_of(parameters)):
            squares = _squares_of_users(predictor, link, inner)
            mean = float(squares.sum() / max(train.n_ratings, 1)) or 1.0
            candidates += [np.sqrt((s * mean + squares) / (s + users)) for s in _STRENGTHS]
        chosen = min(candidates, key=surprise)
        ratios = np.sort(sizes / chosen[who])
        kept = ratios[_places(len(ratios)) - 1]
        return cls(chosen, float(np.median(chosen)), kept, len(ratios))

    @property
    def limit(self) -> float:
        """The largest share that these residuals can promise."""
        return self.n_ratings / (self.n_ratings + 1)

    def half_widths(self, users: NDArray[np.int32], level: float) -> NDArray[np.float64]:
        """(n,) of rows of users.

        Raises:
            ParameterValueError: The level is above `limit`.
        """
        needed = ceil((self.n_ratings + 1) * level - 1e-9)
        if needed > self.n_ratings:
            raise ParameterValueError(
                f"interval={level!r}: {self.n_ratings:,} validation residuals can promise {self.limit:.4g} "
                "at most; ask for less, or train on more ratings"
            )
        at = int(np.searchsorted(_places(self.n_ratings), needed))
        found: NDArray[np.float64] = self.ratios[at] * self.spreads[users]
        return found

    def taken(self, rows: NDArray[np.int32]) -> Self:
        """With other users: those at `rows`, and new ones where it is -1."""
        return replace(self, spreads=of_rows(self.spreads, rows, self.new))

    def scaled(self, by: float) -> Self:
        """In other units of the ratings."""
        return replace(self, spreads=self.spreads * by, new=self.new * by)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and tensors."""
        manifest = {"new": self.new, "n_ratings": self.n_ratings}
        return manifest, {"user_spreads": self.spreads, "residual_ratios": self.ratios}

    @classmethod
    def restored(cls, manifest: Mapping[str, Any], n_users: int, tensor: TensorReader) -> Self:
        """The inverse of `state`; ValueError for what it could not have made."""
        n = checked_size(manifest, "n_ratings")
        spreads = tensor("user_spreads", np.float64, n_users)
        ratios = np.array(tensor("residual_ratios", np.float64, len(_places(n))))
        if tensor.scans and not (np.isfinite(spreads).all() and (spreads >= 0).all()):
            raise ValueError("user_spreads has values that are not deviations")
        if not (len(ratios) and np.isfinite(ratios).all() and (np.diff(ratios, prepend=0) >= 0).all()):
            raise ValueError("residual_ratios are not ascending sizes")
        return cls(spreads, checked_number(manifest["new"]), ratios, n)


def _places(n: int) -> NDArray[np.int64]:
    """Which of n ascending ratios are stored, counted from one: the last is."""
    stored = min(n, _MOST)
    return -(-n * np.arange(1, stored + 1) // max(stored, 1))


def _biases_of(parameters: Parameters) -> Parameters:
    nothing = (np.zeros((n, 0), np.float32) for n in (parameters.n_users, parameters.n_items))
    return Parameters(parameters.global_mean, parameters.user_biases, parameters.item_biases, *nothing)


def _squares_of_users(parameters: Parameters, link: Link, inner: Split) -> NDArray[np.float64]:
    """(n_users,) sums of squared training residuals, read block by block."""
    table, kept = inner.train.stored
    total = np.zeros(parameters.n_users)
    for part in parts(table.n_ratings):
        chosen = kept[part] if len(kept) else slice(None)
        users, items, ratings = (column[part][chosen] for column in (table.users, table.items, table.ratings))
        off = link.prediction(score_rows(parameters, users, items)) - ratings
        total += np.bincount(users, off.astype(np.float64) ** 2, parameters.n_users)
    return total
