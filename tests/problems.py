"""Small problems with a planted truth, for the tests of everything that learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Vocabulary
from bilinear.model.link import Identity, Link, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, Loss, SquaredError

PAIRS = [
    (SquaredError(), Identity(1, 5)),
    (SquaredError(), Sigmoid(0.6, 5.4)),
    (CrossEntropy(), Sigmoid(0.6, 5.4)),
]
"""Every loss with a link that it goes with, into ranges that hold 1 to 5."""


def planted_table(
    n_users: int = 60,
    n_items: int = 40,
    rank: int = 2,
    density: float = 0.4,
    noise: float = 0.1,
    seed: int = 0,
) -> Interactions:
    """Ratings around 3: biases of deviation 0.5 and a low-rank part of deviation 0.7, plus noise.

    User ids are the integers 100, 101, ...; item ids the texts "i00", "i01", ...
    """
    rng = np.random.default_rng(seed)
    user_factors, item_factors = rng.normal(size=(n_users, rank)), rng.normal(size=(n_items, rank))
    ratings = 3 + 0.7 * user_factors @ item_factors.T / np.sqrt(max(rank, 1))
    ratings += 0.5 * rng.normal(size=(n_users, 1)) + 0.5 * rng.normal(size=n_items)
    ratings += noise * rng.normal(size=ratings.shape)
    users, items = np.nonzero(rng.random(ratings.shape) < density)
    names = [f"i{item:02d}" for item in items]
    return Interactions.from_columns(100 + users, names, ratings[users, items], source="planted")


def clustered_table(
    seed: int = 0,
    n_users: int = 70,
    n_items: int = 40,
    n_groups: int = 4,
    within: float = 0.6,
    across: float = 0.05,
) -> Interactions:
    """Users and items in groups that mostly keep to themselves, by the chance of a pair; ratings 1 to 5."""
    rng = np.random.default_rng(seed)
    same = rng.integers(n_groups, size=n_users)[:, None] == rng.integers(n_groups, size=n_items)
    users, items = np.nonzero(rng.random((n_users, n_items)) < np.where(same, within, across))
    names = [f"i{item:02d}" for item in items]
    return Interactions.from_columns(100 + users, names, rng.integers(1, 6, len(users)), source="clusters")


def with_strangers(table: Interactions) -> Interactions:
    """The same ratings, with the first and last user and item of the vocabularies unrated."""
    users = Vocabulary.from_sorted(np.array([-1, *table.user_vocabulary, 10**6]))
    items = Vocabulary.from_sorted(["a", *table.item_vocabulary, "z"])  # type: ignore[list-item]
    return replace(
        table,
        users=table.users + np.int32(1),
        items=table.items + np.int32(1),
        user_vocabulary=users,
        item_vocabulary=items,
    )


def random_table(n_users: int, n_items: int, n_ratings: int, rng: np.random.Generator) -> Interactions:
    """Distinct pairs at random, ratings uniform in [1, 5], times in no order; some rows may be unrated."""
    cells = rng.permutation(n_users * n_items)[:n_ratings]
    return Interactions.from_rows(
        (cells // n_items).astype(np.int32),
        (cells % n_items).astype(np.int32),
        rng.uniform(1, 5, len(cells)),
        rng.permutation(len(cells)).astype(float),
        Vocabulary.from_sorted(np.arange(n_users)),
        Vocabulary.from_sorted(np.arange(n_items)),
        source="random",
    )


def random_parameters(
    shape: tuple[int, int], n_factors: int, rng: np.random.Generator, dtype: Any = np.float64
) -> Parameters:
    """Standard normal weights and mean."""
    n_users, n_items = shape
    return Parameters(
        float(rng.normal()),
        rng.normal(size=n_users).astype(dtype),
        rng.normal(size=n_items).astype(dtype),
        rng.normal(size=(n_users, n_factors)).astype(dtype),
        rng.normal(size=(n_items, n_factors)).astype(dtype),
    )


def same_bits(left: Any, right: Any) -> bool:
    """Equal type, shape and bytes of two arrays or two Parameters."""
    if isinstance(left, Parameters):
        return left.global_mean == right.global_mean and all(
            same_bits(array, right.arrays()[name]) for name, array in left.arrays().items()
        )
    left, right = np.asarray(left), np.asarray(right)
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


def rows_of_grid(grid: Any) -> tuple[Any, Any, Any]:
    """Users, items and ratings of a `Grid` in its order, as rows and numbers of the table."""
    cells = np.repeat(np.arange(len(grid.starts) - 1), np.diff(grid.starts))
    blocks = np.divmod(cells, grid.item_side.n_blocks)
    users, items = (
        side.order[side.starts[block] + places]
        for side, block, places in zip(
            (grid.user_side, grid.item_side), blocks, (grid.users, grid.items), strict=True
        )
    )
    return users, items, grid.values[grid.ratings] if len(grid.values) else grid.ratings


def plain_value(loss: Loss, link: Link, score: float, rating: float) -> float:
    """The loss of one rating, by the formulas of the docstrings."""
    if isinstance(link, Identity):
        return (score - rating) ** 2 / 2
    low, high = link.bounds
    if isinstance(loss, SquaredError):
        return (low + (high - low) / (1 + math.exp(-score)) - rating) ** 2 / 2
    return math.log(1 + math.exp(score)) - (rating - low) / (high - low) * score
