"""Nearest items by the cosine of their factors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.vocabulary import Id
from bilinear.estimators.rating_model import RatingModel
from bilinear.inspection.items import (
    check_model,
    enough_ratings,
    no_factors,
    rating_counts,
    shown,
    whole_number,
)
from bilinear.kernels.top_k import top_k_users
from bilinear.model.parameters import Array
from bilinear.recommend.lists import similar_rows
from bilinear.tabular import Tabular, columns_of


@dataclass(frozen=True)
class Neighbour:
    """An item and the cosine between its factors and those of the item asked for."""

    id: Id
    title: str
    cosine: float
    n_ratings: int


@dataclass(frozen=True)
class Neighbourhood(Tabular):
    """An item and the items most like it, nearest first."""

    id: Id
    title: str
    n_ratings: int
    neighbours: tuple[Neighbour, ...]

    def to_columns(self) -> dict[str, Any]:
        """id, title, cosine and n_ratings of each neighbour."""
        return columns_of(self.neighbours, Neighbour)

    def _caption(self) -> str:
        return f"{self.title} ({self.n_ratings:,} ratings)"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{shown(self.title, 60)} ({self.n_ratings:,} ratings)"]
        lines += [
            f"    {near.cosine:5.2f}  {shown(near.title, 60):<60} {near.n_ratings:8,} ratings"
            for near in self.neighbours
        ]
        return "\n".join(lines)


def neighbours(
    model: RatingModel, n: int = 10, *, n_neighbours: int = 5, min_ratings: int | None = None
) -> tuple[Neighbourhood, ...]:
    """The `n` most rated items, each with the items nearest to it by the cosine of their factors.

    The cosines are those of `model.similar`; candidates are items with `min_ratings` training
    ratings or more (None: as for `items_by_bias`), because the direction of an item that two
    people rated is theirs more than its own. A model without factors gives ().

    Cost:
        O(n * n_items * n_factors).
    """
    check_model(model)
    n, n_neighbours = whole_number("n", n), whole_number("n_neighbours", n_neighbours)
    counts = rating_counts(model)
    enough = counts >= enough_ratings(counts, min_ratings, 2 * n)
    if no_factors(model):
        return ()
    placed = enough & model.parameters_.item_factors.any(axis=1)
    most_rated = np.argsort(-counts, kind="stable")
    most_rated = most_rated[placed[most_rated]][:n]
    ids = model.item_vocabulary_

    def neighbourhood(row: int) -> Neighbourhood:
        rows, cosines = similar_rows(model.parameters_, row, n_neighbours, enough)
        near = tuple(
            Neighbour(ids[int(other)], model.title(ids[int(other)]), float(cosine), int(counts[other]))
            for other, cosine in zip(rows, cosines, strict=True)
        )
        return Neighbourhood(ids[row], model.title(ids[row]), int(counts[row]), near)

    return tuple(neighbourhood(int(row)) for row in most_rated)


def nearest_of_each(
    unit_factors: Array, rows: NDArray[np.int32], k: int
) -> tuple[NDArray[np.int32], Array, NDArray[np.int64]]:
    """For each of `rows` its `k` nearest other rows of unit length factors, by cosine.

    Rows of zeros have no direction and are not a neighbour of any row.

    Returns:
        rows (len(rows), k), cosines alike, and how many of the k there are (len(rows),).
    Cost:
        O(len(rows) * n * n_factors).
    """
    n = len(unit_factors)
    k = min(k, n)
    found, cosines = np.empty((len(rows), k), np.int32), np.empty((len(rows), k), unit_factors.dtype)
    counts = np.zeros(len(rows), np.int64)
    nothing = np.zeros(n, unit_factors.dtype)
    # The kernel of the recommendations, with items in the place of users: each has seen itself.
    itself = np.arange(n + 1)
    top_k_users(
        rows,
        unit_factors,
        np.zeros(len(rows), unit_factors.dtype),
        unit_factors,
        nothing,
        unit_factors.any(axis=1),
        itself,
        itself[:n].astype(np.int32),
        True,
        k,
        found,
        cosines,
        counts,
    )
    return found, cosines, counts
