"""A user from their ratings, by kind of model: weights to rank with, and what each rating added."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.estimators.auto import AutoRanker
from bilinear.estimators.base import RatingModel
from bilinear.estimators.history_model import HistoryModel
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.recommender import Recommender
from bilinear.model.parameters import Array
from bilinear.objective.fold_in import fold_in

_AT_ONCE = 1 << 22


class Weights(NamedTuple):
    """What ranks items for a user: score(i) = offset + item_biases[i] + <vector, item_factors[i]>."""

    vector: Array
    offset: float


class Folding(Protocol):
    """Folds ratings (rows of items, ascending, and their values) into one model."""

    has_weights: bool
    """Whether a folded user ranks by weights; else the model scores the history."""

    beyond_bias: bool
    """Whether contributions come on top of the item's bias, or hold all of the score."""

    def weights(self, items: NDArray[np.int32], ratings: NDArray[np.float32]) -> Weights: ...

    def contributions(
        self, items: NDArray[np.int32], ratings: NDArray[np.float32], item: int
    ) -> NDArray[np.float64]:
        """(n,) what each rating adds to the score of `item`."""
        ...

    def usable(self, ratings: NDArray[np.float32]) -> NDArray[np.float32]:
        """The ratings as the model can take them; NaN where it cannot."""
        ...


class RatingFolding:
    """Of models of ratings: the exact minimum over one user's weights (docs/theory/fold_in.md)."""

    has_weights = beyond_bias = True

    def __init__(self, model: RatingModel) -> None:
        self.model = model

    def weights(self, items: NDArray[np.int32], ratings: NDArray[np.float32]) -> Weights:
        model = self.model
        folded = fold_in(model.parameters_, model.link_, model.loss_, model.penalty_, items, ratings)
        return Weights(folded.factors.astype(np.float32), model.parameters_.global_mean + folded.bias)

    def contributions(
        self, items: NDArray[np.int32], ratings: NDArray[np.float32], item: int
    ) -> NDArray[np.float64]:
        """The fold-in is the solution of one linear system with a term a rating, so its terms add up.

        At the minimum x, with H = A^T B A + D (B the curvatures b_j of the loss, D the ridge) and
        l'_j its slopes, H x = sum over j of a_j (b_j <a_j, x> - l'_j). So the score of an item with row
        a gets <a, H^-1 a_j> (b_j <a_j, x> - l'_j) from rating j. With squared error and the identity this
        is ridge regression's own decomposition, <a, H^-1 a_j> (r_j - o_j).
        """
        model, parameters = self.model, self.model.parameters_
        folded = fold_in(parameters, model.link_, model.loss_, model.penalty_, items, ratings)
        x = np.append(folded.factors, folded.bias)
        design = np.hstack([parameters.item_factors[items].astype(np.float64), np.ones((len(items), 1))])
        own = design @ x
        scores = parameters.global_mean + parameters.item_biases[items].astype(np.float64) + own
        targets = ratings.astype(np.float64)
        bends = model.loss_.curvature(scores, targets, model.link_)
        slopes = model.loss_.gradient(scores, targets, model.link_)
        weight = float(model.penalty_.row_weights(np.array([len(items)]))[0])
        ridge = np.full(len(x), model.penalty_.factors * weight)
        ridge[-1] = model.penalty_.biases * weight
        system = design.T @ (bends[:, None] * design) + np.diag(ridge)
        asked = np.append(parameters.item_factors[item].astype(np.float64), 1.0)
        reach: NDArray[np.float64] = design @ np.linalg.lstsq(system, asked, rcond=None)[0]
        added: NDArray[np.float64] = reach * (bends * own - slopes)
        return added

    def usable(self, ratings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut to the range that the model was trained on."""
        low, high = self.model.link_.bounds
        clipped: NDArray[np.float32] = np.clip(ratings, np.float32(low), np.float32(high))
        return clipped


class FactorFolding:
    """Of ranking models with user factors of their own making; the mean user is the one without history."""

    has_weights = beyond_bias = True

    def __init__(self, model: ImplicitALS | RankingFactorization) -> None:
        self.model = model

    def weights(self, items: NDArray[np.int32], ratings: NDArray[np.float32]) -> Weights:
        factors = self.model.fold_in_factors(_one(items, ratings))[0]
        return Weights((factors - self.model.mean_user_).astype(np.float32), 0.0)

    def contributions(
        self, items: NDArray[np.int32], ratings: NDArray[np.float32], item: int
    ) -> NDArray[np.float64]:
        """What a user with this one rating would get beyond the mean user."""
        return _one_by_one(self.model, items, ratings, item) - float(self.model.parameters_.item_biases[item])

    def usable(self, ratings: NDArray[np.float32]) -> NDArray[np.float32]:
        return _positive_if_weights(self.model, ratings)


class ALSFolding(FactorFolding):
    """Of `ImplicitALS`: one half-step of it, which is a linear system."""

    beyond_bias = False

    def __init__(self, model: ImplicitALS) -> None:
        super().__init__(model)
        self.model: ImplicitALS = model

    def contributions(
        self, items: NDArray[np.int32], ratings: NDArray[np.float32], item: int
    ) -> NDArray[np.float64]:
        """By the linear system that gives the user's factors; ratings below the threshold add nothing."""
        model = self.model
        weighted = model._weighted(_one(items, ratings), None, model.item_vocabulary_, "ratings")
        added = np.zeros(len(items))
        if not len(weighted.others):
            return added
        factors = model.parameters_.item_factors.astype(np.float64)
        model.fold_in_factors(_one(items, ratings))  # which fills the part that all users share
        assert model._system is not None
        taken, weights = factors[weighted.others], weighted.ratings.astype(np.float64)
        penalty = model._objective(weighted, weighted).penalties(np.array([weights.sum()]), len(factors))[0]
        system = model._system + taken.T @ (weights[:, None] * taken) + penalty * np.eye(taken.shape[1])
        reach = taken @ np.linalg.solve(system, factors[item])
        added[np.searchsorted(items, weighted.others)] = weights * reach
        return added


class HistoryFolding:
    """Of models that score a history at once, without weights of the user."""

    has_weights = beyond_bias = False

    def __init__(self, model: Recommender) -> None:
        self.model = model

    def weights(self, items: NDArray[np.int32], ratings: NDArray[np.float32]) -> Weights:
        raise NotImplementedError

    def contributions(
        self, items: NDArray[np.int32], ratings: NDArray[np.float32], item: int
    ) -> NDArray[np.float64]:
        """What a user with this one rating would get; adds up where the model is linear in histories."""
        if isinstance(self.model, Popularity):  # one list for all, whatever a user rated
            return np.zeros(len(items))
        return _one_by_one(self.model, items, ratings, item)

    def usable(self, ratings: NDArray[np.float32]) -> NDArray[np.float32]:
        return _positive_if_weights(self.model, ratings)


def folding_of(model: Recommender) -> Folding:
    """How this model folds in."""
    if isinstance(model, AutoRanker):
        return folding_of(model.model_)
    if isinstance(model, RatingModel):
        return RatingFolding(model)
    if isinstance(model, ImplicitALS):
        return ALSFolding(model)
    return FactorFolding(model) if isinstance(model, RankingFactorization) else HistoryFolding(model)


def _one_by_one(
    model: Recommender, items: NDArray[np.int32], ratings: NDArray[np.float32], item: int
) -> NDArray[np.float64]:
    """(n,) scores of one item for users with one rating each."""
    scores = np.zeros(len(items))
    step = max(1, _AT_ONCE // max(1, len(model.item_vocabulary_)))
    for start in range(0, len(items), step):
        part = slice(start, start + step)
        ones = Grouped(np.arange(len(items[part]) + 1), items[part], ratings[part])
        scores[part] = model.score_histories(ones)[:, item]
    return scores


def _positive_if_weights(model: Recommender, ratings: NDArray[np.float32]) -> NDArray[np.float32]:
    """NaN for ratings that are no weights where the model needs weights."""
    if isinstance(model, HistoryModel) and model.confidence != "equal":
        return np.where(ratings > 0, ratings, np.float32(np.nan))
    return ratings


def _one(items: NDArray[np.int32], ratings: NDArray[np.float32]) -> Grouped:
    return Grouped(np.array([0, len(items)], np.int64), items, ratings)
