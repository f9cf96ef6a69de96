"""Base of ranking models whose score is a dot product of factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.estimators.capabilities import Contributions, ItemWeights, Rows, UserWeights, Values
from bilinear.estimators.fold_in import one_history
from bilinear.estimators.history_model import HistoryModel
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.ridge_map import HALF_WEIGHT
from bilinear.estimators.with_features import WithFeatures
from bilinear.model.blocks import score_block
from bilinear.model.parameters import Array, Parameters
from bilinear.persistence.codec import checked_size
from bilinear.recommend.lists import similar_rows

MOST_FACTORS = 4096


class FactorRanking(WithFeatures, HistoryModel):
    """Keeps, folds in and stores factors; a subclass trains them and folds in (`_folded`).

    It has the learned attributes of `HistoryModel` and these.

    Learned attributes:
        parameters_: Parameters whose scores are the model's. An item's bias holds its score for the
            mean user, and a user's factors are kept less the mean user's: so a user without
            interactions, whose factors are zero, is the mean user.
        mean_user_: (n_factors,).
    """

    parameters_: Parameters
    mean_user_: Array

    @property
    def user_factors_(self) -> Array:
        """(n_users, n_factors), new; a user without interactions has the mean user's."""
        factors: Array = self.parameters_.user_factors + self.mean_user_
        return factors

    @property
    def item_factors_(self) -> Array:
        """(n_items, n_factors)."""
        return self.parameters_.item_factors

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """(n, n_items) scores, see `Recommender.score_block`."""
        return score_block(self.parameters_, user_rows)

    def dot_product(self) -> Parameters:
        """The parameters."""
        return self.parameters_

    def item_vectors(self) -> Array:
        """The item factors."""
        return self.parameters_.item_factors

    def fold_in_weights(
        self, items: Rows, ratings: Values, centre: NDArray[np.float64] | None = None
    ) -> UserWeights:
        """Factors less those of the mean user, which stand for a user without interactions.

        With a centre they are between it and what the n ratings say, which weighs n / (n + 8).
        """
        vector: Array = np.zeros_like(self.mean_user_)
        if len(items):
            factors = self.fold_in_factors(one_history(items, ratings))[0]
            vector = (factors - self.mean_user_).astype(np.float32)
        if centre is not None:
            share = len(items) / (len(items) + HALF_WEIGHT)
            vector = (share * vector + (1 - share) * centre[1:]).astype(np.float32)
        return UserWeights(vector, 0.0)

    def fold_in_factors(self, histories: Grouped) -> NDArray[Any]:
        """New users' factors, the items held fixed.

        Args:
            histories: one row a user; `indices` are rows of items, `ratings` as in training.
        Returns:
            (n, n_factors); the mean user's where a history is empty.

        Examples:
            >>> from bilinear import ImplicitALS, synthetic_catalogue
            >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
            >>> model = ImplicitALS(n_factors=8, rng=0).fit(clicks)
            >>> model.fold_in_factors(clicks.by_user).shape
            (40, 8)
        """
        return self._folded(self._weighted(histories, None, self.item_vocabulary_, "histories"))

    def _folded_towards(
        self, rated: Rows, ratings: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> Array:
        vector = self.fold_in_weights(rated, ratings.astype(np.float32), centre).vector
        old, zeros = self.parameters_, np.zeros(1, np.float32)
        one = Parameters(0.0, zeros, old.item_biases, vector[None], old.item_factors)
        scores: Array = score_block(one, np.arange(1))[0]
        return scores

    def contributions(self, items: Rows, ratings: Values, item: int | ItemWeights) -> Contributions:
        """Scores of a user with this one rating, less those of the mean user."""
        vector, bias = ItemWeights.of(self.parameters_, item)
        ones = Grouped(np.arange(len(items) + 1), items, ratings)
        factors = self._folded(self._weighted(ones, None, self.item_vocabulary_, "ratings"))
        found: NDArray[np.float64] = (factors - self.mean_user_).astype(np.float64) @ vector
        return Contributions(found, bias)

    def _folded(self, weighted: Grouped) -> NDArray[Any]:
        """(n, n_factors) factors of weighted histories; the mean user's where one is empty."""
        raise NotImplementedError

    def _scores_of(self, weighted: Grouped) -> Array:
        return self._scores_or_list_for_all(weighted)

    def _scores_or_list_for_all(self, weighted: Grouped) -> Array:
        factors = (self._folded(weighted) - self.mean_user_).astype(np.float32)
        old, zeros = self.parameters_, np.zeros(len(factors), np.float32)
        new = Parameters(0.0, zeros, old.item_biases, factors, old.item_factors)
        return score_block(new, np.arange(len(factors)))

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        """By the cosine of the item factors."""
        return similar_rows(self.parameters_, item_row, n, allowed)

    def _keep_factors(
        self, users: Array, items: Array, item_biases: Array, trained: NDArray[np.bool_]
    ) -> None:
        """Stores the factors; `users` is changed. `trained`: (n_users,) users with interactions."""
        mean = users[trained].mean(axis=0, dtype=np.float64).astype(np.float32)
        users[trained] -= mean
        users[~trained] = 0
        biases = (item_biases + items @ mean).astype(np.float32)
        self.parameters_ = Parameters(0.0, np.zeros(len(users), np.float32), biases, users, items)
        self.mean_user_ = mean

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        parameters = self.parameters_
        tensors = {
            "item_biases": parameters.item_biases,
            "user_factors": parameters.user_factors,
            "item_factors": parameters.item_factors,
            "mean_user": self.mean_user_,
        }
        return {"n_factors": parameters.n_factors}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        n_users, n_items = len(self.user_vocabulary_), len(self.item_vocabulary_)
        n_factors = checked_size(manifest, "n_factors")
        self.parameters_ = Parameters(
            0.0,
            np.zeros(n_users, np.float32),
            tensor("item_biases", np.float32, n_items),
            tensor("user_factors", np.float32, n_users, n_factors),
            tensor("item_factors", np.float32, n_items, n_factors),
        )
        self.mean_user_ = tensor("mean_user", np.float32, n_factors)
        tensor.check_finite(self.parameters_.arrays() | {"mean_user": self.mean_user_})
