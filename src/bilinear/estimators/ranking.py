"""What every fitted ranking model can do: lists from clicks, plays and ratings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.splits import Split
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import ParameterValueError, RatingValueError
from bilinear.estimators.recommender import Recommender, ids_of
from bilinear.evaluation.ranking import RankingProtocol, RankingScores, evaluate_ranking
from bilinear.kernels.top_k_blocks import hide_seen, top_k_scores
from bilinear.model.parameters import Array
from bilinear.recommend.lists import RankedItems

_SCORES_AT_ONCE = 1 << 23


class RankingModel(Recommender):
    """A model of who takes up what: `score_block` and `score_histories` make the rest.

    Scores order items for a user and have no unit. A user without interactions is answered by one
    list for all.
    """

    def evaluate(
        self,
        test: Interactions | Split,
        protocol: RankingProtocol | None = None,
        *,
        n_threads: int | None = None,
    ) -> RankingScores:
        """Ranking metrics on interactions that were not trained on, see `evaluate_ranking`."""
        return evaluate_ranking(self, test, protocol, n_threads=n_threads)

    def fold_in(
        self, items: Sequence[Id], ratings: Sequence[float] | None = None, *, unknown: str = "error"
    ) -> FoldedUser:
        """A new user from the items they took up, at once; the model is not changed.

        Args:
            ratings: one an item; only a model with a threshold or a confidence by rating needs them.
            unknown: "error", or "skip" to leave out items the model does not know (they are listed
                in `FoldedUser.unknown_items`).
        Raises:
            UnknownIdError: an item the model does not know (see `unknown`).
            ParameterValueError: ratings are missing or of another number.
            RatingValueError: a rating is not finite, or not positive where it is a confidence.
        Cost: of one row of `score_histories`.
        """
        if unknown not in ("error", "skip"):
            raise ParameterValueError(f"unknown={unknown!r}; choose 'error' or 'skip'")
        items = list(ids_of(items, "items"))
        if ratings is None:
            if self.needs_ratings():
                raise ParameterValueError(
                    f"this {type(self).__name__} weighs interactions by their ratings; give one an item"
                )
            ratings = [1.0] * len(items)
        if len(items) != len(ratings):
            raise ParameterValueError(f"{len(items)} items and {len(ratings)} ratings; one of each a pair")
        for item, rating in zip(items, ratings, strict=True):
            if not is_real(rating):
                raise RatingValueError(f"rating {rating!s} of item {item!r} is no finite number; correct it")
        rows = self.item_rows(items)
        missing = tuple(item for item, row in zip(items, rows, strict=True) if row < 0)
        if missing and unknown == "error":
            self.item_vocabulary_.row(missing[0], "item")
        known = rows >= 0
        values = np.array(ratings, np.float32)[known]
        distinct, last = np.unique(rows[known][::-1], return_index=True)  # the last rating of an item counts
        history = Grouped(np.array([0, len(distinct)]), distinct, values[::-1][last])
        return FoldedUser(self.score_histories(history)[0], distinct, missing, self)

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        """Memory that `fit` takes at its peak, about, beside the table and the process."""
        raise NotImplementedError

    def needs_ratings(self) -> bool:
        """Whether what a user took up says nothing without ratings."""
        return False

    def _rank(
        self, user_rows: NDArray[np.int32], n: int, exclude_seen: bool, allowed: NDArray[np.bool_]
    ) -> list[RankedItems]:
        size = max(1, _SCORES_AT_ONCE // max(len(allowed), 1))
        ranked = []
        for start in range(0, len(user_rows), size):
            rows = user_rows[start : start + size]
            scores = self.score_block(rows)
            if exclude_seen:
                hide_seen(scores, rows, self.seen_.starts, self.seen_.others)
            ranked += ranked_lists(scores, n, allowed, self.item_vocabulary_)
        return ranked


@dataclass(frozen=True, eq=False)
class FoldedUser:
    """A user the model was not trained on: recommends like one of the model's own.

    Attributes:
        scores: (n_items,) of all items.
        rated: rows of the items just given.
        unknown_items: items given that the model does not know; they had no part in it.
    """

    scores: Array
    rated: NDArray[np.int32]
    unknown_items: tuple[Id, ...]
    model: RankingModel

    def recommend(
        self, n: int = 10, *, exclude_seen: bool = True, candidates: Iterable[Id] | None = None
    ) -> RankedItems:
        """The `n` best items, without those just given."""
        allowed = self.model.allowed(candidates)
        if exclude_seen:
            allowed[self.rated] = False
        return ranked_lists(self.scores[None], n, allowed, self.model.item_vocabulary_)[0]


def rows_of(grouped: Grouped, rows: NDArray[Any]) -> Grouped:
    """Some rows of a grouped table, as a grouped table; row -1 is empty."""
    known = rows >= 0
    inside = np.where(known, rows, 0)
    counts = np.where(known, grouped.counts[inside], 0) if len(grouped.counts) else np.zeros(len(rows), int)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    first = grouped.starts[inside] - starts[:-1]
    at = np.arange(starts[-1]) + np.repeat(first, counts)
    return Grouped(starts, grouped.others[at], grouped.ratings[at])


def best_rows(scores: Array, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
    """Rows and scores of the `n` best allowed items of scores (1, n_items), best first; ties by row."""
    if not (is_whole(n) and n >= 1):
        raise ParameterValueError(f"n={n!r}: the length of a list is a whole number, one or more")
    k = min(int(n), scores.shape[1])
    rows, best = np.empty((1, k), np.int32), np.empty((1, k), scores.dtype)
    counts = np.zeros(1, np.int64)
    top_k_scores(scores, allowed, k, rows, best, counts)
    return rows[0, : counts[0]], best[0, : counts[0]]


def ranked_lists(scores: Array, n: int, allowed: NDArray[np.bool_], items: Vocabulary) -> list[RankedItems]:
    """One list a row of scores (n_lists, n_items); NaN is left out."""
    lists = []
    for row in range(len(scores)):
        rows, best = best_rows(scores[row : row + 1], n, allowed)
        lists.append(RankedItems(items.decode(rows), best))
    return lists
