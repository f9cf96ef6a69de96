"""Nearest neighbours among items, by the users they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions, InteractionsLike
from bilinear.errors import ParameterValueError
from bilinear.estimators.ease import default_l2
from bilinear.estimators.neighbour_model import NeighbourModel, checked_neighbours
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.update import Change
from bilinear.persistence.codec import checked_number
from bilinear.registry import register
from bilinear.training.neighbours import grouped_the_other_way, nearest_sources, sums_by_row
from bilinear.training.progress import Progress
from bilinear.training.similarities import BM25, CosineSimilarity, Similarity
from bilinear.training.thread_pool import workers

_SHARE_OF_RIDGE = 0.6


class _Learned(NeighbourModel):
    similarity_: Similarity


@register
@dataclass(repr=False, eq=False)
class ItemKNN(_Learned):
    """weight(i, j): how alike the items are, where i is one of the `n_neighbours` most like j.

    Args:
        n_neighbours: most similar items an item keeps.
        similarity: `CosineSimilarity()`, `TFIDF()` or `BM25()`. Shrinkage matters most: without it
            two items of one and the same user have the similarity one. "auto" is the cosine with a
            shrinkage of 0.6 times the ridge that `EASE` would have, see `default_l2` of
            `bilinear.estimators.ease`.
        n_threads: None takes all cores; the result is the same for any number.
        threshold, confidence, half_life: see `HistoryModel` and `RecentHistoryModel`.

    It has the learned attributes of `NeighbourModel` and these. Nothing is random.

    Learned attributes:
        similarity_: the one that was used.

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

    _updates = "exact"

    n_neighbours: int = 100
    similarity: Similarity | Literal["auto"] = "auto"
    n_threads: int | None = None

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Compares all items that share a user; returns self."""
        n_neighbours = checked_neighbours(self.n_neighbours)
        if self.similarity != "auto" and not isinstance(self.similarity, (CosineSimilarity, BM25)):
            raise ParameterValueError(
                f"similarity={self.similarity!r}; CosineSimilarity(), TFIDF(), BM25() or 'auto'"
            )
        return self._compare(interactions, n_neighbours, self.similarity)

    def _compare(
        self, interactions: Interactions, n_neighbours: int, similarity: Similarity | Literal["auto"]
    ) -> Self:
        table = self._positives(interactions)
        if similarity == "auto":
            similarity = default_similarity(table)
        by_item = table.by_item._replace(ratings=similarity.weigh(table.by_item, table.n_users))
        lengths = similarity.length(by_item)
        lengths = np.where(lengths > 0, lengths, 1).astype(np.float32)
        with workers(self.n_threads) as pool:
            nearest = nearest_sources(
                by_item,
                grouped_the_other_way(by_item, table.n_users),
                lengths,
                lengths,
                similarity.shrinkage,
                n_neighbours,
                pool,
            )
        self.weights_ = grouped_the_other_way(nearest, table.n_items)
        self.similarity_, self.seed_ = similarity, None
        self._learn_positives(interactions, table.by_user)
        return self

    def _update(self, change: Change) -> None:
        self._compare(change.table, self.n_neighbours, self.similarity_)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest, tensors = super()._state()
        return manifest | {"shrinkage": self.similarity_.shrinkage}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        if self.similarity == "auto":
            self.similarity_ = CosineSimilarity(checked_number(manifest["shrinkage"]))
        else:
            self.similarity_ = self.similarity


def default_similarity(table: Interactions) -> CosineSimilarity:
    """The similarity where it is "auto": the cosine, its shrinkage 0.6 times the ridge of `EASE`.

    Examples:
        >>> from bilinear import Interactions
        >>> from bilinear.estimators.item_knn import default_similarity
        >>> round(default_similarity(Interactions.from_columns([1, 1, 2], [1, 2, 1])).shrinkage, 2)
        32.86
    """
    by_item = table.by_item
    squares = sums_by_row(by_item._replace(ratings=by_item.ratings**2))
    return CosineSimilarity(_SHARE_OF_RIDGE * default_l2(squares, table.by_user.counts))
