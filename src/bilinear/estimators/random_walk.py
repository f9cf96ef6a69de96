"""Random walks from an item to its users to their items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from bilinear.data.interactions import InteractionsLike
from bilinear.estimators.neighbour_model import NeighbourModel, checked_exponent, checked_neighbours
from bilinear.registry import register
from bilinear.training.neighbours import grouped_the_other_way, sums_by_row, walks
from bilinear.training.progress import Progress
from bilinear.training.thread_pool import workers


@register
@dataclass(repr=False, eq=False)
class RandomWalk(NeighbourModel):
    """weight(i, j) = d_i^-item_exponent d_j^-popularity_exponent sum over shared users of d_u^-user_exponent.

    d is the weight of a row's interactions. Exponents of one are a walk's probability of going from item
    i over a user to item j; alpha for the first two and zero for the third is P3alpha (Cooper et al.,
    "Random walks in recommender systems", WWW 2014), with a popularity exponent it is RP3beta
    (Paudel et al., "Updatable, accurate, diverse, and scalable recommendations for interactive
    applications", TiiS 2016).

    Each item j then keeps the `n_neighbours` items i with the largest weights, and what is left of an
    item i is divided by the `normalization`-th power of its sum: at one, all items speak with one voice.

    Args:
        n_neighbours: sources an item keeps.
        item_exponent, user_exponent, popularity_exponent, normalization: as above.
        n_threads: None takes all cores; the result is the same for any number.
        threshold, confidence, half_life: see `HistoryModel` and `RecentHistoryModel`.

    The learned attributes are those of `NeighbourModel`. Nothing is random.

    Cost:
        O(sum over users of their interactions squared) to fit; 8 bytes a neighbour.

    Examples:
        >>> from bilinear import Interactions, RandomWalk
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> model = RandomWalk().fit(Interactions.from_columns(users, items))
        >>> model.recommend("bob", n=1).items
        array(['scone'], dtype=object)
        >>> model.fold_in(["beer"]).recommend(2).items
        array(['crisps', 'nuts'], dtype=object)
    """

    _updates = "exact"

    n_neighbours: int = 200
    item_exponent: float = 0.6
    user_exponent: float = 0.4
    popularity_exponent: float = 0.0
    normalization: float = 0.5
    n_threads: int | None = None

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Walks from all items; returns self."""
        n_neighbours = checked_neighbours(self.n_neighbours)
        for name in ("item_exponent", "user_exponent", "popularity_exponent", "normalization"):
            checked_exponent(name, getattr(self, name))
        table = self._positives(interactions)
        with workers(self.n_threads) as pool:
            nearest = walks(
                table.by_item,
                table.by_user,
                self.user_exponent,
                self.item_exponent,
                self.popularity_exponent,
                n_neighbours,
                pool,
            )
        weights = grouped_the_other_way(nearest, table.n_items)
        shares = np.maximum(sums_by_row(weights), 1e-30) ** -self.normalization
        self.weights_ = weights._replace(
            ratings=(weights.ratings * np.repeat(shares, weights.counts)).astype(np.float32)
        )
        self.seed_ = None
        self._learn_positives(interactions, table.by_user)
        return self
