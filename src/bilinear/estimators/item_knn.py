"""Nearest neighbours among items, by the users they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.neighbour_model import NeighbourModel, checked_neighbours
from bilinear.registry import register
from bilinear.training.neighbours import grouped_the_other_way, nearest_sources
from bilinear.training.progress import Progress
from bilinear.training.similarities import BM25, CosineSimilarity, Similarity
from bilinear.training.thread_pool import workers


@register
@dataclass(repr=False, eq=False)
class ItemKNN(NeighbourModel):
    """weight(i, j): how alike the items are, where i is one of the `n_neighbours` most like j.

    Args:
        n_neighbours: most similar items an item keeps.
        similarity: `CosineSimilarity()`, `TFIDF()` or `BM25()`. Shrinkage matters most: without it
            two items of one and the same user have the similarity one.
        n_threads: None takes all cores; the result is the same for any number.
        threshold, confidence: see `HistoryModel`.

    The learned attributes are those of `NeighbourModel`. Nothing is random.

    Cost:
        O(sum over users of their interactions squared) to fit; 8 bytes a neighbour.

    Examples:
        >>> from bilinear import CosineSimilarity, Interactions, ItemKNN
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> model = ItemKNN(n_neighbours=2, similarity=CosineSimilarity(shrinkage=1.0))
        >>> model.fit(Interactions.from_columns(users, items)).similar("tea", n=2).items
        array(['jam', 'scone'], dtype=object)
    """

    n_neighbours: int = 100
    similarity: Similarity = field(default_factory=lambda: CosineSimilarity(30.0))
    n_threads: int | None = None

    def fit(self, interactions: Interactions, *, progress: Progress | bool = False) -> Self:
        """Compares all items that share a user; returns self."""
        n_neighbours = checked_neighbours(self.n_neighbours)
        if not isinstance(self.similarity, (CosineSimilarity, BM25)):
            raise ParameterValueError(
                f"similarity={self.similarity!r}; CosineSimilarity(), TFIDF() or BM25()"
            )
        table = self._positives(interactions)
        by_item = table.by_item._replace(ratings=self.similarity.weigh(table.by_item, table.n_users))
        lengths = self.similarity.length(by_item)
        lengths = np.where(lengths > 0, lengths, 1).astype(np.float32)
        with workers(self.n_threads) as pool:
            nearest = nearest_sources(
                by_item,
                grouped_the_other_way(by_item, table.n_users),
                lengths,
                lengths,
                self.similarity.shrinkage,
                n_neighbours,
                pool,
            )
        self.weights_ = grouped_the_other_way(nearest, table.n_items)
        self.seed_ = None
        self._learn_positives(interactions, table.by_user)
        return self
