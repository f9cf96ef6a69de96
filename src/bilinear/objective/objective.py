"""The training objective as a function of all parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.losses import Loss
from bilinear.objective.penalties import L2


@dataclass(frozen=True, eq=False)
class Objective:
    """sum over ratings of loss(score, rating) + penalty; a sum, not a mean.

    Cost of value and gradient: O(n_ratings * n_factors) time; never an n_users x n_items array.
    """

    loss: Loss
    link: Link
    penalty: L2
    interactions: Interactions

    def __post_init__(self) -> None:
        self.loss.check(self.link)

    @property
    def user_counts(self) -> NDArray[np.int64]:
        return self.interactions.user_counts

    @property
    def item_counts(self) -> NDArray[np.int64]:
        return self.interactions.item_counts

    def value(self, parameters: Parameters) -> float:
        """The objective, in loss units."""
        scores = self._scores(parameters)
        losses = self.loss.value(scores, self.interactions.ratings, self.link)
        return float(losses.sum(dtype=np.float64)) + self.penalty.value(
            parameters, self.user_counts, self.item_counts
        )

    def gradient(self, parameters: Parameters) -> Parameters:
        """The gradient, shaped as the parameters; its `global_mean` is d objective / d global_mean."""
        from scipy.sparse import csr_array

        table = self.interactions
        score_gradients = self.loss.gradient(self._scores(parameters), table.ratings, self.link)
        by_user = csr_array((score_gradients, table.items, table.by_user.indptr), shape=table.shape)
        user_weights = self.penalty.row_weights(self.user_counts)
        item_weights = self.penalty.row_weights(self.item_counts)
        l2 = self.penalty
        return Parameters(
            float(score_gradients.sum(dtype=np.float64)),
            by_user @ np.ones(table.n_items) + l2.biases * user_weights * parameters.user_biases,
            by_user.T @ np.ones(table.n_users) + l2.biases * item_weights * parameters.item_biases,
            by_user @ parameters.item_factors + l2.factors * user_weights[:, None] * parameters.user_factors,
            by_user.T @ parameters.user_factors
            + l2.factors * item_weights[:, None] * parameters.item_factors,
        )

    def _scores(self, parameters: Parameters) -> Array:
        return score_rows(parameters, self.interactions.users, self.interactions.items)
