"""Popularity: the baseline that ranks items by their number of interactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.estimators.recent_history import DAY, RecentHistoryModel
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.progress import Progress


@register
@dataclass(repr=False, eq=False)
class Popularity(RecentHistoryModel):
    """Scores an item by the weight of its interactions: one list for all.

    With a half-life an interaction counts 0.5^(age / half_life), from the latest of the table; that is the
    order of ages counted from now as well.

    Args:
        threshold, confidence, half_life: see `HistoryModel` and `RecentHistoryModel`.

    Examples:
        >>> from bilinear import Interactions, Popularity
        >>> clicks = Interactions.from_columns([1, 1, 2, 2, 3], ["tea", "jam", "tea", "jam", "salt"])
        >>> model = Popularity().fit(clicks)
        >>> model.recommend(3).items
        array(['jam', 'tea'], dtype=object)
        >>> days = [86400 * day for day in (0, 1, 2, 9, 9)]
        >>> users, items = [1, 1, 2, 2, 3], ["tea", "rye", "tea", "jam", "salt"]
        >>> clicks = Interactions.from_columns(users, items, times=days)
        >>> Popularity(half_life=3).fit(clicks).recommend(4, unknown="non-personal").items
        array(['jam', 'salt', 'tea', 'rye'], dtype=object)
    """

    is_personal = False
    _updates = "exact"

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Counts. Cost: O(n_ratings)."""
        table = self._positives(interactions)
        self.seed_ = None
        self._learn_positives(interactions, table.by_user)
        return self

    def _scores_for_all(self) -> Array:
        if self.half_life_ is None:
            return super()._scores_for_all()
        times, positives = self._positive_times(), self.positives_
        faded = positives.ratings * 0.5 ** ((times.max() - times) / (self.half_life_ * DAY))
        return np.bincount(positives.indices, faded, len(self.item_vocabulary_)).astype(np.float32)

    def _scores_of(self, weighted: Grouped) -> Array:
        return np.tile(self._scores_for_all(), (len(weighted.counts), 1))
