"""Repeat consumption: the items of a user again, by their own frequency with decay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import numpy as np

from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.estimators.history_model import Confidence
from bilinear.estimators.recent_history import RecentHistoryModel
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.progress import Progress


@register
@dataclass(repr=False, eq=False)
class RepeatConsumption(RecentHistoryModel):
    """score(user, i) = 1 + f(i) / max f for items of the history, else 0.5 popularity(i) / max popularity.

    f is how often the user took the item up (its weight), times 0.5^(age of the last time / half_life). Items
    of the history therefore come first, by what is frequent and recent; all others follow by popularity. It
    is for lists with `exclude_seen=False`, alone or in a `Blend`.

    Args:
        half_life: days, see `RecentHistoryModel`; None takes the frequency alone.
        threshold, confidence: see `HistoryModel`; by default the weight is the count.

    The learned attributes are those of `RecentHistoryModel`. A table keeps of each user and item how often
    and when last.

    Source:
        frequency and recency as in Anderson et al., "The dynamics of repeat consumption", WWW 2014.

    Examples:
        >>> from bilinear import Interactions, RepeatConsumption
        >>> users, songs = [1, 1, 1, 2, 2], ["waltz", "waltz", "polka", "polka", "tango"]
        >>> plays = Interactions.from_columns(users, songs, times=[0, 86400, 90000, 5, 6])
        >>> RepeatConsumption().fit(plays).recommend(1, exclude_seen=False).items
        array(['waltz', 'polka', 'tango'], dtype=object)
    """

    bytes_a_pair: ClassVar[int] = 1

    confidence: Confidence = field(default="ratings", kw_only=True)
    half_life: float | Literal["auto"] | None = field(default=30.0, kw_only=True)

    def needs_ratings(self) -> bool:
        return self.threshold is not None

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Counts. Cost: O(n_ratings)."""
        table = self._positives(interactions)
        self.seed_ = None
        self._learn_positives(interactions, table.by_user)
        return self

    def _scores_of(self, weighted: Grouped) -> Array:
        popular = self._scores_for_all()
        scores: Array = np.tile(popular / (2 * popular.max()), (len(weighted.counts), 1)).astype(np.float32)
        rows = np.repeat(np.arange(len(weighted.counts)), weighted.counts)
        largest = np.maximum.reduceat(weighted.ratings, weighted.indptr[:-1])
        scores[rows, weighted.indices] = 1 + weighted.ratings / np.maximum(largest, 1e-30)[rows]
        return scores
