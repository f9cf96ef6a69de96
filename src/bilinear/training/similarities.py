"""Weights of interactions for the similarity of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Grouped
from bilinear.errors import ParameterValueError
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.neighbours import sums_by_row


class Similarity(Protocol):
    """Similarity of two items: the product of their weighted columns over a normalisation."""

    @property
    def shrinkage(self) -> float:
        """Constant added to the product of the lengths."""

    def weigh(self, by_item: Grouped, n_users: int) -> Array:
        """The weight of each interaction, in the order of `by_item`."""

    def length(self, weighted: Grouped) -> NDArray[np.float64]:
        """(n_items,) what an item's products are divided by."""


@register
@dataclass(frozen=True)
class CosineSimilarity:
    """`<i, j> / (|i| |j| + shrinkage)`; shrinkage lowers what few shared users support.

    Examples:
        >>> from bilinear import CosineSimilarity, Interactions, ItemKNN
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam tea".split()
        >>> clicks = Interactions.from_columns(users, items)
        >>> model = ItemKNN(similarity=CosineSimilarity()).fit(clicks)
        >>> model.similar("jam", n=1).scores.round(2)
        array([0.82], dtype=float32)
    """

    shrinkage: float = 0.0

    def __post_init__(self) -> None:
        if not (is_real(self.shrinkage) and self.shrinkage >= 0):
            raise ParameterValueError(f"shrinkage={self.shrinkage!r}; a number, zero or more")

    def weigh(self, by_item: Grouped, n_users: int) -> Array:
        return by_item.ratings

    def length(self, weighted: Grouped) -> NDArray[np.float64]:
        squares = sums_by_row(weighted._replace(ratings=weighted.ratings**2))
        lengths: NDArray[np.float64] = np.sqrt(squares)
        return lengths


@register
@dataclass(frozen=True)
class TFIDF(CosineSimilarity):
    """The cosine of interactions weighted by log((1 + n_items) / (1 + items of the user)) + 1.

    Items are the documents, users the terms: a user with very many items tells little about each of them.

    Examples:
        >>> from bilinear import TFIDF, Interactions, ItemKNN
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam tea".split()
        >>> clicks = Interactions.from_columns(users, items)
        >>> model = ItemKNN(similarity=TFIDF(shrinkage=1.0)).fit(clicks)
        >>> model.similar("jam", n=1).scores.round(2)
        array([0.52], dtype=float32)
    """

    def weigh(self, by_item: Grouped, n_users: int) -> Array:
        counts = np.bincount(by_item.indices, minlength=n_users)
        rarity: NDArray[np.float64] = np.log(len(by_item.indptr) / (1 + counts)) + 1
        return (by_item.ratings * rarity[by_item.indices]).astype(np.float32)


@register
@dataclass(frozen=True)
class BM25:
    """<i, j> of interactions weighted as Okapi BM25 weighs terms: users are terms, items documents.

    `weight = idf_u c (k1 + 1) / (c + k1 (1 - b + b |i| / mean |i|))`, idf_u = log((1 + n_items) /
    (1 + items of the user)) + 1. Source: Robertson, Zaragoza, "The probabilistic relevance framework:
    BM25 and beyond", 2009.

    Examples:
        >>> from bilinear import BM25, Interactions, ItemKNN
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea jam tea".split()
        >>> clicks = Interactions.from_columns(users, items)
        >>> model = ItemKNN(similarity=BM25(b=0.5)).fit(clicks)
        >>> model.similar("jam", n=1).items
        array(['tea'], dtype=object)
    """

    k1: float = 1.2
    b: float = 0.75

    shrinkage = 0.0

    def __post_init__(self) -> None:
        if not (is_real(self.k1) and self.k1 >= 0):
            raise ParameterValueError(f"k1={self.k1!r}; a number, zero or more")
        if not (is_real(self.b) and 0 <= self.b <= 1):
            raise ParameterValueError(f"b={self.b!r}; a number in [0, 1]")

    def weigh(self, by_item: Grouped, n_users: int) -> Array:
        rare = TFIDF().weigh(by_item._replace(ratings=np.ones_like(by_item.ratings)), n_users)
        lengths = sums_by_row(by_item)
        norms = 1 - self.b + self.b * lengths / lengths[lengths > 0].mean()
        c = by_item.ratings
        saturated = c * (self.k1 + 1) / (c + self.k1 * np.repeat(norms, by_item.counts))
        return (rare * saturated).astype(np.float32)

    def length(self, weighted: Grouped) -> NDArray[np.float64]:
        return np.ones(len(weighted.indptr) - 1)
