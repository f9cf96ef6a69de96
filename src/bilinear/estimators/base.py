"""What every fitted rating model can do, whatever fitted it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import (
    NotFittedError,
    ParameterValueError,
    RatingValueError,
)
from bilinear.estimators.configurable import Configurable
from bilinear.evaluation.ratings import RatingScores, rating_scores
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.fold_in import FoldedIn, fold_in
from bilinear.objective.losses import Loss
from bilinear.objective.penalties import L2
from bilinear.recommend.lists import (
    RankedItems,
    Recommendations,
    recommend_users,
    recommend_vector,
    similar_rows,
)
from bilinear.training.history import History
from bilinear.training.progress import Progress
from bilinear.training.search import SearchTable


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
        rows = model.item_rows(items)
        inside = np.maximum(rows, 0)
        parameters = model.parameters_
        known = rows >= 0
        scores = parameters.item_factors[inside] @ self.weights.factors + parameters.item_biases[inside]
        return model.link_.prediction(parameters.global_mean + self.weights.bias + np.where(known, scores, 0))


class RatingModel(Configurable):
    """The interface of all rating models; subclasses are dataclasses of arguments with a `fit`.

    Learned attributes:
        parameters_: Parameters, float32.
        link_, loss_, penalty_: with the numbers that training used.
        user_vocabulary_, item_vocabulary_: external ids of the rows.
        seen_: the training ratings grouped by user.
        history_: History; search_: SearchTable or None; seed_: int or None.
        source_: what it was trained on, for people.
        item_texts_: titles and other text columns of the items by name, each in row order.
        report_: what a command measured with this model (JSON values).
    """

    parameters_: Parameters
    link_: Link
    loss_: Loss
    penalty_: L2
    user_vocabulary_: Vocabulary
    item_vocabulary_: Vocabulary
    seen_: Grouped
    history_: History
    search_: SearchTable | None
    seed_: int | None
    source_: str
    item_texts_: dict[str, PackedText]
    report_: dict[str, Any]

    def fit(self, interactions: Interactions) -> Self:
        """Learns from `interactions`; returns self."""
        raise NotImplementedError

    def retrain(self, interactions: Interactions, *, progress: Progress | None = None) -> Self:
        """Trains again on another table with the settings that `fit` found; returns self.

        Nothing is searched and nothing set aside: penalties, factors and the number of epochs
        stay as they are. Use it to train on all ratings once a model has been measured.
        """
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_") and not name.startswith("_"):
            raise NotFittedError(
                f"this {type(self).__name__} has no {name} yet: call fit(interactions) first"
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def predict_rows(self, users: NDArray[Any], items: NDArray[Any]) -> Array:
        """Predicted ratings for rows of the vocabularies, -1 for unknown. (n,) float32."""
        return self.link_.prediction(score_rows(self.parameters_, users, items))

    def predict(self, users: Iterable[Id], items: Iterable[Id]) -> Predictions:
        """Predicted ratings for pairs of ids of equal length, in order.

        Returns: `Predictions`, which says where the user or the item had no training rating.
        Raises: ParameterValueError: the lengths differ.
        """
        user_rows, item_rows = self.user_vocabulary_.encode(users), self.item_rows(items)
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
        users, items = interactions.aligned_to(self.user_vocabulary_, self.item_vocabulary_)
        return rating_scores(
            self.predict_rows(users, items),
            interactions.ratings,
            interactions.users,
            ~self.has_ratings(users),
            ~self.item_has_ratings(items),
            rng=rng,
        )

    def count_trained_pairs(self, interactions: Interactions) -> int:
        """How many of these pairs were trained on: zero for an honest test. O(n log n)."""
        users, items = interactions.aligned_to(self.user_vocabulary_, self.item_vocabulary_)
        n_items = len(self.item_vocabulary_)
        rows = np.repeat(np.arange(len(self.user_vocabulary_)), self.seen_.counts)
        trained = rows * n_items + self.seen_.others  # ascending: seen_ is sorted by user, then item
        asked = (users.astype(np.int64) * n_items + items)[(users >= 0) & (items >= 0)]
        at = np.minimum(np.searchsorted(trained, asked), max(len(trained) - 1, 0))
        return int((trained[at] == asked).sum()) if len(trained) else 0

    def recommend(
        self,
        users: Id | Sequence[Id] | None = None,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Iterable[Id] | None = None,
        unknown: str = "error",
    ) -> RankedItems | Recommendations:
        """The `n` items with the highest scores for each user.

        Args:
            users: one id gives `RankedItems`; a sequence gives `Recommendations`; None is all users.
            exclude_seen: leave out what the user rated in training.
            candidates: only these items; a list is shorter when they run out.
            unknown: "error", or "non-personal" to answer unknown users by item bias, marked as such.
        Raises:
            UnknownIdError: a user (see `unknown`) or a candidate that the model does not know.
        Cost: O(users * n_items * n_factors).
        """
        if unknown not in ("error", "non-personal"):
            raise ParameterValueError(f"unknown={unknown!r}; choose 'error' or 'non-personal'")
        single = isinstance(users, (str, int, np.integer))
        asked: list[Any] = [users] if single else list(self.user_vocabulary_ if users is None else users)  # type: ignore[arg-type]
        rows = self.user_vocabulary_.encode(asked)
        if unknown == "error" and (rows < 0).any():
            self.user_vocabulary_.row(asked[int(np.argmax(rows < 0))], "user")
        lists = recommend_users(
            self.parameters_,
            self.link_,
            self.seen_,
            self.item_vocabulary_,
            rows,
            n,
            exclude_seen=exclude_seen,
            allowed=self.allowed(candidates),
        )
        return lists[0] if single else Recommendations(tuple(asked), self.has_ratings(rows), tuple(lists))

    def similar(self, item: Id, n: int = 10, *, candidates: Iterable[Id] | None = None) -> RankedItems:
        """The `n` items whose factors point most nearly the same way; scores are cosines.

        Raises:
            UnknownIdError: the model does not know the item.
            ParameterValueError: the model has no factors, or this item has no training ratings.
        """
        row = self.item_vocabulary_.row(item, "item")
        if not self.parameters_.n_factors:
            raise ParameterValueError(
                f"a {type(self).__name__} without factors cannot say which items are alike; "
                "use MatrixFactorization with n_factors of 1 or more"
            )
        if not self.parameters_.item_factors[row].any():
            raise ParameterValueError(
                f"item {item!r} has no training ratings, so nothing is known to be like it"
            )
        rows, cosines = similar_rows(self.parameters_, row, n, self.allowed(candidates))
        return RankedItems(self.item_vocabulary_.decode(rows), cosines)

    def fold_in(self, items: Sequence[Id], ratings: Sequence[float], *, unknown: str = "error") -> NewUser:
        """A new user from their ratings, at once; the model is not changed.

        Args: unknown: "error", or "skip" to leave out items the model does not know (they are
            listed in `NewUser.unknown_items`).
        Raises:
            UnknownIdError: an item the model does not know (see `unknown`).
            RatingValueError: a rating is not finite, or lies outside the model's rating range.
        Cost: O(n * n_factors^2 + n_factors^3).
        """
        if unknown not in ("error", "skip"):
            raise ParameterValueError(f"unknown={unknown!r}; choose 'error' or 'skip'")
        if len(items) != len(ratings):
            raise ParameterValueError(f"{len(items)} items and {len(ratings)} ratings; one of each a pair")
        rows = self.item_rows(items)
        missing = tuple(item for item, row in zip(items, rows, strict=True) if row < 0)
        if missing and unknown == "error":
            self.item_vocabulary_.row(missing[0], "item")
        known = rows >= 0
        values = np.asarray(ratings, np.float64)
        self._check_ratings(items, values)
        distinct, last = np.unique(rows[known][::-1], return_index=True)  # the last rating of an item counts
        weights = fold_in(
            self.parameters_, self.link_, self.loss_, self.penalty_, distinct, values[known][::-1][last]
        )
        return NewUser(weights, distinct, missing, self)

    def save(self, path: str | Path) -> None:
        """Writes the model as a folder, whole or not at all; see `bilinear.load`."""
        from bilinear.estimators.storage import save

        save(self, Path(path))

    def item_rows(self, items: Iterable[Id]) -> NDArray[np.int32]:
        """Rows of items, -1 where unknown."""
        return self.item_vocabulary_.encode(items)

    def has_ratings(self, user_rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each user row (-1: unknown) had a training rating."""
        return _positive(self.seen_.counts, user_rows)

    def item_has_ratings(self, item_rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether each item row (-1: unknown) had a training rating."""
        return _positive(np.bincount(self.seen_.others, minlength=len(self.item_vocabulary_)), item_rows)

    def allowed(self, candidates: Iterable[Id] | None) -> NDArray[np.bool_]:
        """(n_items,) which items may be listed: all, or the candidates."""
        n_items = len(self.item_vocabulary_)
        if candidates is None:
            return np.ones(n_items, bool)
        wanted = list(candidates)
        rows = self.item_rows(wanted)
        if (rows < 0).any():
            self.item_vocabulary_.row(wanted[int(np.argmax(rows < 0))], "item")
        allowed = np.zeros(n_items, bool)
        allowed[rows] = True
        return allowed

    def _learn(self, interactions: Interactions, parameters: Parameters, history: History) -> None:
        """Stores what every model keeps of its training table."""
        self.parameters_, self.history_ = parameters, history
        self.user_vocabulary_ = interactions.user_vocabulary
        self.item_vocabulary_ = interactions.item_vocabulary
        self.seen_ = interactions.by_user
        self.source_ = interactions.source
        self.item_texts_, self.report_ = {}, {}

    def title(self, item: Id) -> str:
        """The item's title where the model has one, else its id."""
        titles = self.item_texts_.get("title")
        row = int(self.item_rows([item])[0])
        return str(item) if titles is None or row < 0 else titles[row] or str(item)

    def _check_ratings(self, items: Sequence[Id], values: NDArray[np.float64]) -> None:
        low, high = self.link_.bounds
        for item, value in zip(items, values.tolist(), strict=True):
            if not (np.isfinite(value) and low <= value <= high):
                raise RatingValueError(
                    f"rating {value:g} of item {item!r} lies outside the model's range [{low:g}, {high:g}]; "
                    "correct it"
                )


def resolve_link(link: Link, rating_range: tuple[float, float] | None, interactions: Interactions) -> Link:
    """The link with its range: the one given, which must hold all ratings, or the data's own."""
    ratings = interactions.ratings
    low, high = float(ratings.min()), float(ratings.max())
    if rating_range is not None:
        link = link.with_range(*rating_range)
        bounds = link.bounds
        outside = np.flatnonzero((ratings < np.float32(bounds[0])) | (ratings > np.float32(bounds[1])))
        if len(outside):
            first = outside[0]
            raise RatingValueError(
                f"{interactions.source}: user {interactions.user_vocabulary[interactions.users[first]]!r} "
                f"rated item {interactions.item_vocabulary[interactions.items[first]]!r} {ratings[first]:g}, "
                f"outside [{bounds[0]:g}, {bounds[1]:g}] ({len(outside):,} such ratings); drop them, or "
                "widen it with rating_range=(low, high)"
            )
        return link
    return link.resolved(low, high)


def _positive(counts: NDArray[np.int64], rows: NDArray[Any]) -> NDArray[np.bool_]:
    if not len(counts):
        return np.zeros(len(rows), bool)
    positive: NDArray[np.bool_] = (rows >= 0) & (counts[np.maximum(rows, 0)] > 0)
    return positive
