"""Base of ranking models that score a user from the items of their history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Grouped, Interactions, taken_pairs
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import EmptyDataError, ParameterValueError, RatingValueError
from bilinear.estimators.capabilities import UsesWeights
from bilinear.estimators.fold_in import best_rows, one_history
from bilinear.estimators.ranking_model import RankingModel, rows_of
from bilinear.estimators.recommender import TensorReader
from bilinear.memory import REMEDY, require
from bilinear.model.parameters import Array
from bilinear.persistence.codec import checked_number

_BYTES_A_ROW = 20
_BYTES_A_PAIR_KEPT = 19  # of the rows from `threshold` on, copied

Confidence = Literal["auto", "equal", "ratings", "log"]
"""How much an interaction counts: all the same, as its rating says, or as log(1 + rating).

"auto" is "ratings" of tables with weights of events, else "equal"."""


@dataclass(repr=False, eq=False)
class HistoryModel(RankingModel):
    """A ranking model of interactions: ratings say at most how sure they are, never how liked.

    A subclass gives the scores of weighted histories (`_scores_of`). A user without interactions is
    answered by popularity, unless the subclass says otherwise.

    Args:
        threshold: learn only from interactions rated at least this; None learns from all, and refuses
            ratings that are all yes or no (1 or 0, 1 or -1). What lies below still counts as seen and is not
            recommended again.
        confidence: "equal", or "ratings" or "log" for the rating or log(1 + rating) as the weight of an
            interaction; these need positive ratings. "auto" is "ratings" where the table has weights of
            events, see `read_interactions`, else "equal".

    A pair whose weights add up to zero or less is a dislike: it is not among the positives, unless the model
    learns from it (`uses_weights` is "confidence and zeros"); it is never recommended.

    It has the learned attributes of `Recommender` and these.

    Learned attributes:
        positives_: what was learned from, grouped by user; its `ratings` are the weights.
    """

    threshold: float | None = field(default=None, kw_only=True)
    confidence: Confidence = field(default="auto", kw_only=True)

    uses_weights: ClassVar[UsesWeights] = "confidence"
    bytes_a_pair: ClassVar[int] = 5
    """Memory that `fit` takes for an interaction, beside the table; measured."""
    remedy: ClassVar[str] = REMEDY
    """What to do where that is too much."""

    @cached_property
    def positives_(self) -> Grouped:
        """What was learned from; `fit` sets it."""
        return self._weighted(self.seen_, self.user_vocabulary_, self.item_vocabulary_, "seen")

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        """Memory that `fit` takes at its peak, about, beside the table and the process."""
        copied = 0 if self.threshold is None else _BYTES_A_PAIR_KEPT
        return (self.bytes_a_pair + copied) * n_pairs + _BYTES_A_ROW * (n_users + n_items)

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """(n, n_items) scores of users by row, see `Recommender.score_block`."""
        return self._scores_or_list_for_all(rows_of(self.positives_, user_rows))

    def score_histories(self, histories: Grouped) -> Array:
        """(n, n_items) scores of users from what they have seen, see `Recommender.score_histories`."""
        return self._scores_or_list_for_all(
            self._weighted(histories, None, self.item_vocabulary_, "histories")
        )

    @property
    def weighs_interactions(self) -> bool:
        return resolved(self.confidence, self.weighted_) != "equal"

    def needs_ratings(self) -> bool:
        return self.threshold is not None or self.confidence in ("ratings", "log")

    def _scores_of(self, weighted: Grouped) -> Array:
        """(n, n_items) float32 scores of histories that are weighted and not empty, a new array."""
        raise NotImplementedError

    def _scores_or_list_for_all(self, weighted: Grouped) -> Array:
        """`_scores_of`; empty histories get the list for all."""
        some = weighted.counts > 0
        if some.all():
            return self._scores_of(weighted)
        popular = self._scores_for_all()
        scores: Array = np.empty((len(some), len(popular)), np.float32)
        scores[~some] = popular
        if some.any():
            scores[some] = self._scores_of(rows_of(weighted, np.flatnonzero(some)))
        return scores

    def _scores_for_all(self) -> Array:
        """(n_items,) float32 scores of the list that is not personal: the weight of each item."""
        weights = self.positives_.ratings.astype(np.float64)
        total = np.bincount(self.positives_.indices, weights, len(self.item_vocabulary_))
        return total.astype(np.float32)

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        """What a user with only this item would be recommended; nothing that scores exactly zero."""
        if not self.is_personal:
            return super()._alike(item_row, n, allowed)
        scores = self._scores_of(one_history(np.array([item_row], np.int32), np.ones(1)))
        possible = allowed & (scores[0] != 0)
        possible[item_row] = False
        return best_rows(scores, n, possible)

    def _learn_positives(self, interactions: Interactions, positives: Grouped) -> None:
        self._learn_table(interactions)
        self.positives_ = positives

    def _positives(self, interactions: Interactions) -> Interactions:
        """What is learned from: the table from `threshold` on, its ratings the weights.

        Raises:
            ParameterValueError, EmptyDataError, RatingValueError: nothing can be learned from it.
            MemoryLimitError: to fit would take more memory than is free.
        """
        if self.threshold is not None and not is_real(self.threshold):
            raise ParameterValueError(f"threshold={self.threshold!r}; a rating, or None")
        if self.confidence not in get_args(Confidence):
            raise ParameterValueError(f"confidence={self.confidence!r}; 'auto', 'equal', 'ratings' or 'log'")
        needed = self.bytes_to_fit(interactions.n_ratings, *interactions.shape)
        require(needed, f"{type(self).__name__} of {interactions.n_ratings:,} interactions", self.remedy)
        table = interactions
        if self.threshold is None and (signs := interactions.signs()) is not None:
            no, yes = signs
            raise ParameterValueError(
                f"{interactions.source}: every rating is {no:g} or {yes:g}, and {no:g} seems to be a no, "
                f"which a ranking must not learn from: threshold={yes:g} (--threshold {yes:g}) leaves it "
                f"out, threshold={no:g} learns from all"
            )
        if self.threshold is not None:
            table = table.take(table.ratings >= self.threshold)
            if interactions.n_ratings and not table.n_ratings:
                raise EmptyDataError(
                    f"{interactions.source}: no rating reaches threshold={self.threshold:g} "
                    f"(the largest is {interactions.ratings.max():g}); lower it"
                )
        if table.weighted and self.uses_weights == "confidence":
            table = table.take(table.ratings > 0)
            if interactions.n_ratings and not table.n_ratings:
                raise EmptyDataError(
                    f"{interactions.source}: no pair has a weight above zero, so nothing is there to "
                    "recommend by; give some events a positive weight"
                )
        table.check_trainable()
        weighted = self._weighted(
            table.by_user, table.user_vocabulary, table.item_vocabulary, table.source, table.weighted
        )
        # Kept in the table's order, so that both groupings of it carry the weights.
        return Interactions(
            table.users,
            table.items,
            weighted.ratings,
            table.times if self.uses_times else None,
            table.user_vocabulary,
            table.item_vocabulary,
            table.source,
            table.n_rows_read,
            table.duplicates,
            weighted=table.weighted,
        )

    def _weighted(
        self,
        histories: Grouped,
        users: Vocabulary | None,
        items: Vocabulary,
        source: str,
        has_weights: bool | None = None,
    ) -> Grouped:
        """Histories from `threshold` on, without dislikes, with weights for ratings.

        Args:
            has_weights: whether ratings are weights of events; None: as in the training table.
        """
        has_weights = self.weighted_ if has_weights is None else has_weights
        histories = taken_pairs(histories, self._are_positive(histories.ratings, has_weights))
        ratings, confidence = histories.ratings, resolved(self.confidence, has_weights)
        if confidence == "equal":
            return histories._replace(ratings=np.sign(ratings) if has_weights else np.ones_like(ratings))
        wrong = np.flatnonzero(~(ratings > 0)) if not has_weights else np.empty(0, int)
        if len(wrong):
            at = int(wrong[0])
            who = ""
            if users is not None:
                who = f"user {users[int(np.searchsorted(histories.indptr, at, side='right')) - 1]!r}, "
            raise RatingValueError(
                f"{source}: {who}item {items[int(histories.indices[at])]!r} has the rating {ratings[at]:g} "
                f"({len(wrong):,} such ratings); confidence={self.confidence!r} needs positive ones: choose "
                "threshold=... to leave them out, or confidence='equal'"
            )
        if confidence == "log":
            ratings = np.sign(ratings) * np.log1p(np.abs(ratings))
        return histories._replace(ratings=ratings)

    def _are_positive(self, ratings: NDArray[Any], has_weights: bool) -> NDArray[np.bool_]:
        """(n,) which ratings are learned from: from `threshold` on, and dislikes only as zeros."""
        kept = np.ones(len(ratings), bool) if self.threshold is None else ratings >= self.threshold
        if has_weights:
            kept &= ratings != 0 if self.uses_weights == "confidence and zeros" else ratings > 0
        return kept

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {}

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        if tensor.scans:
            _ = self.positives_  # raises for ratings that it could not have learned from


def resolved(confidence: Confidence, weighted: bool) -> Confidence:
    """What "auto" is for a table with weights of events, or without; others as they are."""
    return ("ratings" if weighted else "equal") if confidence == "auto" else confidence


def value_used(argument: Any, manifest: Mapping[str, Any], name: str) -> float:
    """The number, zero or more, that a stored model was trained with, where the argument may be "auto"."""
    if argument != "auto" and name not in manifest:  # stored before there was "auto"
        return float(argument)
    value = checked_number(manifest[name])
    if value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value
