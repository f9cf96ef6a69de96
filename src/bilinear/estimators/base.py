"""What every fitted rating model can do, whatever fitted it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.vocabulary import Id
from bilinear.errors import EmptyDataError, ParameterValueError, RatingValueError
from bilinear.estimators.recommender import Recommender, TensorReader, ids_of
from bilinear.evaluation.ratings import RatingScores, rating_scores
from bilinear.model.blocks import score_block
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.fold_in import FoldedIn, fold_in
from bilinear.objective.losses import Loss
from bilinear.objective.penalties import L2
from bilinear.persistence.codec import checked_number, checked_size, decode, encode
from bilinear.recommend.lists import RankedItems, recommend_users, recommend_vector, similar_rows
from bilinear.training.history import COLUMNS, History
from bilinear.training.progress import Progress
from bilinear.training.search import SearchTable
from bilinear.training.solver import Solver


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted ratings and whose user or item the model did not know.

    Attributes: values (n,) float32 in rating units; unknown_user, unknown_item (n,) bool.
    NumPy sees it as its values. An unknown user is answered by the item's bias, an unknown
    item by the user's, both by the global mean.
    """

    values: Array
    unknown_user: NDArray[np.bool_]
    unknown_item: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return (
            f"Predictions({len(self):,} pairs; unknown user in {int(self.unknown_user.sum()):,}, "
            f"unknown item in {int(self.unknown_item.sum()):,})"
        )


@dataclass(frozen=True, eq=False)
class NewUser:
    """A user folded in from a few ratings: recommends and predicts like one of the model's own."""

    weights: FoldedIn
    rated: NDArray[np.int32]
    unknown_items: tuple[Id, ...]
    """Items of the ratings that the model does not know; they had no part in the fit."""
    model: RatingModel

    def recommend(
        self, n: int = 10, *, exclude_seen: bool = True, candidates: Iterable[Id] | None = None
    ) -> RankedItems:
        """The `n` best items, without those just rated."""
        model = self.model
        allowed = model.allowed(candidates)
        if exclude_seen:
            allowed[self.rated] = False
        return recommend_vector(
            model.parameters_,
            model.link_,
            model.item_vocabulary_,
            self.weights.factors.astype(np.float32),
            self.weights.bias,
            n,
            allowed,
        )

    def predict(self, items: Sequence[Id]) -> Array:
        """(n,) predicted ratings; an unknown item is answered by the user's bias."""
        model = self.model
        rows = model.item_rows(ids_of(items, "items"))
        inside = np.maximum(rows, 0)
        parameters = model.parameters_
        known = rows >= 0
        scores = parameters.item_factors[inside] @ self.weights.factors + parameters.item_biases[inside]
        return model.link_.prediction(parameters.global_mean + self.weights.bias + np.where(known, scores, 0))


class RatingModel(Recommender):
    """A model of ratings by the dot product: everything but `fit`.

    Learned attributes, beyond those of `Recommender`:
        parameters_: Parameters, float32.
        link_, loss_, penalty_: with the numbers that training used.
        history_: History; search_: SearchTable or None, the trials of what was "auto".
        solver_: of MatrixFactorization, the solver with numbers for what was "auto".
    """

    parameters_: Parameters
    link_: Link
    loss_: Loss
    penalty_: L2
    history_: History
    search_: SearchTable | None
    solver_: Solver

    def retrain(self, interactions: Interactions, *, progress: Progress | None = None) -> Self:
        """Trains again on another table with the settings that `fit` found; returns self.

        Nothing is searched and nothing set aside: penalties, factors and the number of epochs
        stay as they are. Use it to train on all ratings once a model has been measured.
        """
        raise NotImplementedError

    def predict_rows(self, users: NDArray[Any], items: NDArray[Any]) -> Array:
        """Predicted ratings for rows of the vocabularies, -1 for unknown. (n,) float32."""
        return self.link_.prediction(score_rows(self.parameters_, users, items))

    def predict(self, users: Iterable[Id], items: Iterable[Id]) -> Predictions:
        """Predicted ratings for pairs of ids of equal length, in order.

        Returns: `Predictions`, which says where the user or the item had no training rating.
        Raises: ParameterValueError: the lengths differ.
        """
        user_rows = self.user_vocabulary_.encode(ids_of(users, "users"))
        item_rows = self.item_rows(ids_of(items, "items"))
        if len(user_rows) != len(item_rows):
            raise ParameterValueError(
                f"{len(user_rows)} users and {len(item_rows)} items; one of each a pair"
            )
        return Predictions(
            self.predict_rows(user_rows, item_rows),
            ~self.has_ratings(user_rows),
            ~self.item_has_ratings(item_rows),
        )

    def evaluate(self, interactions: Interactions, *, rng: int = 0) -> RatingScores:
        """RMSE and MAE on ratings that were not trained on, with 95 % bootstrap intervals.

        Its ids are matched to the model's; what the model does not know counts as unknown.
        """
        if not interactions.n_ratings:
            raise ParameterValueError(f"{interactions.source} has no ratings to evaluate on")
        check_has_ratings(interactions)
        users, items = interactions.aligned_to(self.user_vocabulary_, self.item_vocabulary_)
        return rating_scores(
            self.predict_rows(users, items),
            interactions.ratings,
            interactions.users,
            ~self.has_ratings(users),
            ~self.item_has_ratings(items),
            rng=rng,
        )

    def fold_in(self, items: Sequence[Id], ratings: Sequence[float], *, unknown: str = "error") -> NewUser:
        """A new user from their ratings, at once; the model is not changed.

        An item that is given more than once counts with its last rating.
        Args: unknown: "error", or "skip" to leave out items the model does not know (they are
            listed in `NewUser.unknown_items`).
        Raises:
            UnknownIdError: an item the model does not know (see `unknown`).
            RatingValueError: a rating is not finite, or lies outside the model's rating range.
        Cost: O(n * n_factors^2 + n_factors^3).
        """
        if unknown not in ("error", "skip"):
            raise ParameterValueError(f"unknown={unknown!r}; choose 'error' or 'skip'")
        items = list(ids_of(items, "items"))
        if len(items) != len(ratings):
            raise ParameterValueError(f"{len(items)} items and {len(ratings)} ratings; one of each a pair")
        rows = self.item_rows(items)
        missing = tuple(item for item, row in zip(items, rows, strict=True) if row < 0)
        if missing and unknown == "error":
            self.item_vocabulary_.row(missing[0], "item")
        known = rows >= 0
        values = self._checked_ratings(items, ratings)
        distinct, last = np.unique(rows[known][::-1], return_index=True)  # the last rating of an item counts
        weights = fold_in(
            self.parameters_, self.link_, self.loss_, self.penalty_, distinct, values[known][::-1][last]
        )
        return NewUser(weights, distinct, missing, self)

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """(n, n_items) scores before the link, see `Recommender.score_block`."""
        return score_block(self.parameters_, user_rows)

    def score_histories(self, histories: Grouped) -> Array:
        """Scores of users folded in one by one, see `fold_in` for the cost of each.

        Raises: RatingValueError: a rating lies outside the model's rating range.
        """
        old = self.parameters_
        folded = []
        for begin, end in pairwise(histories.starts.tolist()):
            items, ratings = histories.others[begin:end], histories.ratings[begin:end]
            self._checked_ratings(self.item_vocabulary_.decode(items), ratings)
            folded.append(fold_in(old, self.link_, self.loss_, self.penalty_, items, ratings))
        biases = np.array([user.bias for user in folded], np.float32)
        factors = np.zeros((len(folded), old.n_factors), np.float32)
        for row, user in enumerate(folded):
            factors[row] = user.factors
        users = Parameters(old.global_mean, biases, old.item_biases, factors, old.item_factors)
        return score_block(users, np.arange(len(folded)))

    def dot_product(self) -> Parameters:
        """The parameters: links are monotone, so the scores rank as predictions do."""
        return self.parameters_

    def item_vectors(self) -> Array | None:
        """The item factors, or None without factors."""
        return self.parameters_.item_factors if self.parameters_.n_factors else None

    def _learn(self, interactions: Interactions, parameters: Parameters, history: History) -> None:
        self.parameters_, self.history_ = parameters, history
        self._learn_table(interactions)

    def _rank(
        self, user_rows: NDArray[np.int32], n: int, exclude_seen: bool, allowed: NDArray[np.bool_]
    ) -> list[RankedItems]:
        return recommend_users(
            self.parameters_,
            self.link_,
            self.seen_,
            self.item_vocabulary_,
            user_rows,
            n,
            exclude_seen=exclude_seen,
            allowed=allowed,
        )

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        """By the cosine of the item factors."""
        if not self.parameters_.n_factors:
            raise ParameterValueError(
                f"a {type(self).__name__} without factors cannot say which items are alike; "
                "use MatrixFactorization with n_factors of 1 or more"
            )
        return similar_rows(self.parameters_, item_row, n, allowed)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest = {
            "global_mean": self.parameters_.global_mean,
            "n_factors": self.parameters_.n_factors,
            "link": encode(self.link_),
            "loss": encode(self.loss_),
            "penalty": encode(self.penalty_),
            "history": self.history_.summary() | {"n_epochs": len(self.history_.epochs)},
            "search": None if self.search_ is None else self.search_.to_dict(),
        }
        return manifest, self.parameters_.arrays() | {"epochs": self.history_.table()}

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        n_users, n_items = len(self.user_vocabulary_), len(self.item_vocabulary_)
        n_factors = checked_size(manifest, "n_factors")
        self.parameters_ = Parameters(
            checked_number(manifest["global_mean"]),
            tensor("user_biases", np.float32, n_users),
            tensor("item_biases", np.float32, n_items),
            tensor("user_factors", np.float32, n_users, n_factors),
            tensor("item_factors", np.float32, n_items, n_factors),
        )
        for name, array in self.parameters_.arrays().items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has values that are not finite")
        self.link_ = decode(manifest["link"], Link)
        self.loss_ = decode(manifest["loss"], Loss)
        self.penalty_ = decode(manifest["penalty"], L2)
        self.link_.with_range(*map(checked_number, self.link_.bounds))
        self.loss_.check(self.link_)
        history = dict(manifest["history"])
        epochs = tensor("epochs", np.float64, checked_size(history, "n_epochs"), len(COLUMNS))
        metric = str(history.get("metric", "rmse"))  # models saved before there were others have none
        self.history_ = History.from_table(epochs, history["best_epoch"], history["ended"], metric)
        self.search_ = None if manifest["search"] is None else SearchTable.from_dict(manifest["search"])

    def _checked_ratings(self, items: Iterable[Id], ratings: Iterable[float]) -> NDArray[np.float64]:
        low, high = self.link_.bounds
        # tables hold float32, which may round a rating at the end of the range to beyond it
        least, most = min(low, float(np.float32(low))), max(high, float(np.float32(high)))
        for item, rating in zip(items, ratings, strict=True):
            if not (is_real(rating) and least <= rating <= most):
                raise RatingValueError(
                    f"rating {rating!s} of item {item!r} is no number, or lies outside the model's range "
                    f"[{low:g}, {high:g}]; correct it"
                )
        return np.array(ratings, np.float64)


def check_table(interactions: Interactions) -> None:
    """Raises ParameterValueError or EmptyDataError unless a model of ratings can learn from it."""
    if not isinstance(interactions, Interactions):
        raise ParameterValueError(
            f"fit takes Interactions, not {type(interactions).__name__}; "
            "make them with bilinear.read_ratings(file or frame)"
        )
    check_has_ratings(interactions)
    interactions.check_trainable()
    if interactions.ratings.min() == interactions.ratings.max():
        raise EmptyDataError(
            f"{interactions.source}: every rating is {interactions.ratings[0]:g}, so there is nothing to "
            "tell apart; clicks and plays need a ranking model"
        )


def check_has_ratings(interactions: Interactions) -> None:
    """Raises ParameterValueError for a table of clicks: a count says nothing of how an item was liked."""
    if not interactions.has_ratings:
        raise ParameterValueError(
            f"{interactions.source} has no ratings, and this is a model of ratings; rank instead, with "
            "RandomWalk, GraphFilter, ImplicitALS, EASE, SparseEASE, ItemKNN or Popularity (bilinear train "
            "--task ranking), or read a rating column with bilinear.read_ratings"
        )


def resolve_link(link: Link, rating_range: tuple[float, float] | None, interactions: Interactions) -> Link:
    """The link with its range: the one given, which must hold all ratings, or the data's own."""
    ratings = interactions.ratings
    if rating_range is None:
        link = link.resolved(float(ratings.min()), float(ratings.max()))
    elif isinstance(rating_range, (tuple, list)) and len(rating_range) == 2:
        link = link.with_range(*rating_range)
    else:
        raise ParameterValueError(f"rating_range={rating_range!r}; two numbers (low, high), or None")
    low, high = link.bounds
    outside = np.flatnonzero((ratings < np.float32(low)) | (ratings > np.float32(high)))
    if len(outside):
        first = outside[0]
        raise RatingValueError(
            f"{interactions.source}: user {interactions.user_vocabulary[interactions.users[first]]!r} "
            f"rated item {interactions.item_vocabulary[interactions.items[first]]!r} {ratings[first]:g}, "
            f"outside [{low:g}, {high:g}] ({len(outside):,} such ratings); drop them, or "
            "widen it with rating_range=(low, high)"
        )
    return link
