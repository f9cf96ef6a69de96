"""Small problems for the lab's tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.lab import Problem
from bilinear.model.link import Identity, Link, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2

HIDDEN = np.nan

SETTINGS: dict[str, tuple[Loss, Link]] = {
    "squared": (SquaredError(), Identity(0.5, 5.0)),
    "cross-entropy": (CrossEntropy(), Sigmoid(0.0, 5.5)),
    "sigmoid squared": (SquaredError(), Sigmoid(0.0, 5.5)),
}


def table_of(matrix: Any) -> Interactions:
    """A dense matrix as interactions; HIDDEN cells are not rated. Rows and columns are the ids."""
    values = np.asarray(matrix, np.float64)
    users, items = np.nonzero(~np.isnan(values))
    return Interactions.from_columns(users, items, values[users, items])


def plain(matrix: Any, l2: float, **options: Any) -> Problem:
    """Squared error, plain L2, no biases, mean 0: the setting of most closed forms."""
    table = table_of(matrix)
    objective = Objective(SquaredError(), Identity(-10, 10), L2(l2, 0.0, 0.0), table)
    return Problem.of(objective, 0.0, **({"has_biases": False} | options))


def random_table(
    rng: np.random.Generator, n_users: int = 7, n_items: int = 6, share: float = 0.6
) -> Interactions:
    """Half-star ratings in a random pattern where every row has at least one."""
    mask = rng.random((n_users, n_items)) < share
    mask[np.arange(n_users), np.arange(n_users) % n_items] = True
    mask[np.arange(n_items) % n_users, np.arange(n_items)] = True
    ratings = np.where(mask, rng.integers(1, 11, mask.shape) / 2, HIDDEN)
    return table_of(ratings)


def random_objective(name: str, rng: np.random.Generator, l2: L2 | None = None, **shape: Any) -> Objective:
    loss, link = SETTINGS[name]
    return Objective(loss, link, l2 or L2(0.7, 0.4, 0.5), random_table(rng, **shape))


def random_parameters(
    shape: tuple[int, int], n_factors: int, rng: np.random.Generator, mean: float = 0.3, size: float = 0.7
) -> Parameters:
    return Parameters(
        mean,
        size * rng.standard_normal(shape[0]),
        size * rng.standard_normal(shape[1]),
        size * rng.standard_normal((shape[0], n_factors)),
        size * rng.standard_normal((shape[1], n_factors)),
    )


def finite_difference_hessian(
    problem: Problem, at: NDArray[np.float64], step: float = 1e-5
) -> NDArray[np.float64]:
    """By central differences of the gradient."""
    axes = step * np.eye(len(at))
    rows = [(problem.gradient(at + axis) - problem.gradient(at - axis)) / (2 * step) for axis in axes]
    return np.array(rows)
