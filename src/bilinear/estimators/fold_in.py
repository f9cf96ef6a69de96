"""Fold-in: scores and recommendations for users outside the training table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.foreign_arrays import plain_column
from bilinear.data.interactions import Grouped
from bilinear.data.vocabulary import Id
from bilinear.errors import ParameterValueError
from bilinear.kernels.top_k_blocks import top_k_scores
from bilinear.model.parameters import Array
from bilinear.objective.fold_in import FoldedIn
from bilinear.recommend.lists import RankedItems

if TYPE_CHECKING:
    from bilinear.estimators.recommender import NewItems, Recommender


@dataclass(frozen=True, eq=False)
class FoldedUser:
    """A user the model was not trained on: recommends and predicts like one of the model's own.

    Attributes:
        model: The model, which is not changed.
        rated: Rows of the items just given, ascending.
        unknown_items: Items given that the model does not know; they had no part in it.
        weights: The user's bias and factors, of a model of ratings; else None.
        scores: (n_items,) of all items, in the rows of the model.
        by_features: Whether features of the user were given.
        disliked: Rows among `rated` that are never recommended: of weights of zero or less, see
            `read_interactions`.

    Examples:
        >>> from bilinear import EASE, synthetic_ratings
        >>> user = EASE().fit(synthetic_ratings(20, 15, 150, rng=0)).fold_in([3, 5])
        >>> len(user.recommend(4)), len(user.rated), user.unknown_items
        (4, 2, ())
    """

    model: Recommender
    rated: NDArray[np.int32]
    unknown_items: tuple[Id, ...]
    found: Array | FoldedIn = field(repr=False)
    by_features: bool = False
    disliked: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    @property
    def weights(self) -> FoldedIn | None:
        return self.found if isinstance(self.found, FoldedIn) else None

    @cached_property
    def scores(self) -> Array:
        scores: Array = self.model._scores_of_folded([self.found])[0]
        return scores

    def recommend(
        self,
        n: int = 10,
        *,
        exclude_seen: bool = True,
        candidates: Iterable[Id] | None = None,
        exclude: Iterable[Id] | None = None,
        new: NewItems = "mixed",
    ) -> RankedItems:
        """The `n` best items, without those just given; see `Recommender.recommend` for the arguments."""
        model = self.model
        allowed = model.allowed(candidates, new, exclude)
        allowed[self.rated if exclude_seen else self.disliked] = False
        if len(self.rated) or self.by_features:
            return model._titled([model._rank_folded(self, n, allowed)])[0]
        enough = model.supported()
        ranked = model._rank_folded(self, n, allowed & enough)
        if len(ranked) < n:
            ranked = ranked.followed_by(model._rank_folded(self, n, allowed & ~enough), n)
        return model._titled([ranked])[0]

    def predict(self, items: Sequence[Id]) -> Array:
        """(n,) predicted ratings; an unknown item is answered by the user's bias.

        Raises:
            ParameterValueError: The model predicts no ratings.
        """
        if self.weights is None:
            raise ParameterValueError(
                f"predict: expected a model that predicts ratings, got {type(self.model).__name__}; "
                "use recommend"
            )
        model: Any = self.model
        rows = model.item_rows(ids_of(items, "items"))
        known, inside = rows >= 0, np.maximum(rows, 0)
        parameters = model.parameters_
        own = parameters.item_factors[inside] @ self.weights.factors + parameters.item_biases[inside]
        predicted: Array = model.predictions(
            parameters.global_mean + self.weights.bias + np.where(known, own, 0)
        )
        return predicted


def one_history(items: NDArray[np.int32], ratings: NDArray[Any]) -> Grouped:
    """The history of a single user as a grouped table of one row."""
    return Grouped(np.array([0, len(items)], np.int64), items, np.asarray(ratings, np.float32))


def last_of_each(rows: NDArray[np.int32], values: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Distinct known rows, ascending, each with its last value; row -1 is left out."""
    known = rows >= 0
    distinct, last = np.unique(rows[known][::-1], return_index=True)
    return distinct, values[known][::-1][last]


def best_rows(scores: Array, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
    """Rows and scores of the `n` best allowed items of scores (1, n_items), best first; ties by row."""
    if not (is_whole(n) and n >= 1):
        raise ParameterValueError(f"n={n!r}: the length of a list is a whole number, one or more")
    k = min(int(n), scores.shape[1])
    rows, best = np.empty((1, k), np.int32), np.empty((1, k), scores.dtype)
    counts = np.zeros(1, np.int64)
    top_k_scores(scores, allowed, k, rows, best, counts)
    return rows[0, : counts[0]], best[0, : counts[0]]


def ids_of(values: Iterable[Id], what: str) -> list[Id] | NDArray[Any]:
    """The ids as a list or array. A single one is refused: text would fall into letters."""
    if is_single(values):
        raise ParameterValueError(f"{what} takes several ids, not {values!r} alone; give [{values!r}]")
    plain: Iterable[Id] = plain_column(values)
    return plain if isinstance(plain, np.ndarray) else list(plain)


def is_single(value: object) -> bool:
    """Whether a value is one id rather than several: text, a number, or another single thing."""
    return isinstance(value, (str, bytes)) or not isinstance(value, Iterable)
