"""Popularity: the baseline that ranks items by their number of interactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.estimators.history_model import HistoryModel
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.progress import Progress


@register
@dataclass(repr=False, eq=False)
class Popularity(HistoryModel):
    """Scores an item by the weight of its interactions: one list for all.

    Args:
        threshold, confidence: see `HistoryModel`.

    Examples:
        >>> from bilinear import Interactions, Popularity
        >>> clicks = Interactions.from_columns([1, 1, 2, 2, 3], ["tea", "jam", "tea", "jam", "salt"])
        >>> model = Popularity().fit(clicks)
        >>> model.recommend(3).items
        array(['jam', 'tea'], dtype=object)
    """

    is_personal = False
    _updates = "exact"

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Counts. Cost: O(n_ratings)."""
        table = self._positives(interactions)
        self.seed_ = None
        self._learn_positives(interactions, table.by_user)
        return self

    def _scores_of(self, weighted: Grouped) -> Array:
        return np.tile(self._scores_for_all(), (len(weighted.counts), 1))
