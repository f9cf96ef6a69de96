"""The Gaussian prior of one side's rows, and the fold-in of a new row with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bilinear.model.parameters import Array, Parameters
from bilinear.objective.fold_in import FoldedIn


@dataclass(frozen=True, eq=False)
class RowPrior:
    """Weights (factors, bias) of a user: N(x A, noise * precision^-1), x the history of rated items.

    Attributes:
        precision: (n_factors + 1, n_factors + 1) of the weights times the variance of a rating's noise, so
            that it stands beside the sum of squared residuals as an L2 penalty does.
        weights: (n_items,) of the ratings of each item, one or less: less where the item's own weights are
            uncertain.
        history: (n_items, n_factors + 1) the map A of the items rated, of which a user with n of them has the
            sum over sqrt(n) as the prior's mean; None: the mean is zero.

    Source:
        docs/theory/gibbs.md.
    """

    precision: NDArray[np.float64]
    weights: Array
    history: Array | None = None

    def mean(self, items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n_factors + 1,) of a user with these items."""
        if self.history is None or not len(items):
            return np.zeros(len(self.precision))
        found: NDArray[np.float64] = self.history[items].astype(np.float64).sum(axis=0) / np.sqrt(len(items))
        return found

    def taken(self, rows: NDArray[np.int32], weight: float) -> RowPrior:
        """With other items: those at `rows`; where it is -1, one that counts `weight` and moves no mean."""
        known = rows >= 0
        weights = np.full(len(rows), weight, np.float32)
        weights[known] = self.weights[rows[known]]
        if self.history is None:
            return RowPrior(self.precision, weights)
        history = np.zeros((len(rows), self.history.shape[1]), np.float32)
        history[known] = self.history[rows[known]]
        return RowPrior(self.precision, weights, history)

    def equations(
        self, parameters: Parameters, items: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(weighted design (n, d), offsets (n,), system (d, d)): the minimum solves
        system x = weighted design^T (ratings - offsets) + precision mean."""
        design = np.hstack([parameters.item_factors[items].astype(np.float64), np.ones((len(items), 1))])
        offsets = parameters.global_mean + parameters.item_biases[items].astype(np.float64)
        weighted = design * self.weights[items].astype(np.float64)[:, None]
        return weighted, offsets, weighted.T @ design + self.precision

    def fold_in(
        self,
        parameters: Parameters,
        items: NDArray[np.int32],
        ratings: NDArray[np.floating],
        *,
        centre: NDArray[np.float64] | None = None,
    ) -> FoldedIn:
        """The posterior mean of a new user's weights, the items held fixed.

        Args:
            items: (n,) rows of known items.
            ratings: (n,) their ratings.
            centre: (n_factors + 1,) a prior mean in place of this one, as from features, the bias in front.

        Returns:
            The weights; for no ratings those of the centre, or zeros.

        Cost:
            O(n * n_factors^2 + n_factors^3).
        """
        prior = None if centre is None else np.roll(centre, -1)
        if not len(items):
            prior = np.zeros(parameters.n_factors + 1) if prior is None else prior
            return FoldedIn(float(prior[-1]), prior[:-1], 0, 0.0)
        design, offsets, system = self.equations(parameters, items)
        right = design.T @ (ratings.astype(np.float64) - offsets)
        right += self.precision @ (self.mean(items) if prior is None else prior)
        found = np.linalg.solve(system, right)
        return FoldedIn(float(found[-1]), found[:-1], 1, 0.0)
