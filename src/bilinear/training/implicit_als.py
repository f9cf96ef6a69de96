"""Implicit alternating least squares: the objective, and three ways to descend.

The objective of factors x_u and y_i is, with confidences c of the observed pairs S and the weight
alpha on all pairs,

    1/2 sum_S |c_ui| (<x_u, y_i> - [c_ui > 0])^2 + 1/2 alpha sum_all <x_u, y_i>^2
    + 1/2 l2 (sum_u w_u^e |x_u|^2 + sum_i w_i^e |y_i|^2),

where w_r is the weight of all terms of a row: its confidences plus alpha times the length of the other
side; a negative confidence is that of a dislike, whose target is zero. Source: Rendle, Krichene, Zhang,
Koren, "Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022; there
c is 1, the penalty is twice ours.

The middle sum is alpha <X^T X, Y^T Y>, so unobserved pairs cost nothing. Before one side is solved,
the other is turned to where its Gramian is diagonal: scores do not change if both sides turn, and
then the weight on all pairs is a diagonal for every row (see `bilinear.kernels.implicit_als`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped
from bilinear.eigen import symmetric_eigen
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.kernels.dense import add_column_products, multiply
from bilinear.kernels.implicit_als import descend_rows, descend_rows_by_blocks, observed_loss, solve_rows
from bilinear.model.parameters import Array, Parameters
from bilinear.registry import register
from bilinear.training.history import History
from bilinear.training.loop import Run, train
from bilinear.training.progress import Progress
from bilinear.training.thread_pool import Workers, aligned, fixed_cuts

_GRAM_ROWS = 2048
_TURN_ROWS = 512


@dataclass(frozen=True, eq=False)
class ImplicitObjective:
    """The objective above as a function of the factors of both sides.

    Args:
        by_user, by_item: the observed pairs grouped either way, `ratings` the confidences; a negative one
            has the target zero instead of one.
        unobserved_weight: alpha, zero or more.
        l2: positive.
        l2_exponent: e, in [0, 1]; 0 is plain ridge.
    """

    by_user: Grouped
    by_item: Grouped
    unobserved_weight: float
    l2: float
    l2_exponent: float

    def __post_init__(self) -> None:
        if not (is_real(self.unobserved_weight) and self.unobserved_weight >= 0):
            raise ParameterValueError(f"unobserved_weight={self.unobserved_weight!r}; zero or more")
        if not (is_real(self.l2) and self.l2 > 0):
            raise ParameterValueError(f"l2={self.l2!r}; a positive number")
        if not (is_real(self.l2_exponent) and 0 <= self.l2_exponent <= 1):
            raise ParameterValueError(f"l2_exponent={self.l2_exponent!r}; a number in [0, 1]")

    @cached_property
    def user_penalties(self) -> NDArray[np.float32]:
        """(n_users,) l2 w_u^e."""
        return self.penalties(_sums(self.by_user), len(self.by_item.indptr) - 1).astype(np.float32)

    @cached_property
    def item_penalties(self) -> NDArray[np.float32]:
        """(n_items,) l2 w_i^e."""
        return self.penalties(_sums(self.by_item), len(self.by_user.indptr) - 1).astype(np.float32)

    def penalties(self, confidences: NDArray[np.float64], n_others: int) -> NDArray[np.float64]:
        """The L2 weight of rows by the sum of their confidences."""
        weights: NDArray[np.float64] = (
            self.l2 * (confidences + self.unobserved_weight * n_others) ** self.l2_exponent
        )
        return weights

    def value(self, user_factors: Array, item_factors: Array, pool: Workers | None = None) -> float:
        """The objective, exactly. Cost: O(n_pairs * k + (n_users + n_items) * k^2)."""
        pool = pool or Workers(1)
        rows = self.by_user

        def loss(a: int, b: int) -> float:
            return float(observed_loss(a, b, *rows, user_factors, item_factors))

        total = float(sum(pool.each(loss, fixed_cuts(len(user_factors), _GRAM_ROWS))))
        products = gramian(user_factors, pool) * gramian(item_factors, pool)
        total += 0.5 * self.unobserved_weight * float(products.sum())
        for penalties, factors in (
            (self.user_penalties, user_factors),
            (self.item_penalties, item_factors),
        ):
            lengths = np.einsum("rf,rf->r", factors, factors, dtype=np.float64)
            total += 0.5 * float(penalties.astype(np.float64) @ lengths)
        return total


class ALSSolver(Protocol):
    """Method that updates the rows of one side with the other side fixed."""

    def descend(self, side: Side, a: int, b: int) -> None:
        """Fills side.out[a:b]."""

    def cost(self, n: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        """About how long rows of `n` interactions take, in any unit."""


@dataclass(frozen=True, eq=False)
class Side:
    """One half step: the rows to fill, and the other side, turned so that its Gramian is diagonal."""

    rows: Grouped
    fixed: Array
    spectrum: Array
    penalties: Array
    rotation: Array
    before: Array
    out: Array


@register
@dataclass(frozen=True)
class Cholesky:
    """Each row to its exact minimum, by Cholesky factors of size min(interactions, factors).

    Cost:
        O(n * k * min(n, k)) a row of n interactions: for most rows less than conjugate gradients.

    Examples:
        >>> from bilinear import ALS, Cholesky, ImplicitALS
        >>> ImplicitALS(solver=Cholesky()).solver, ALS(row_solver=Cholesky()).row_solver
        (Cholesky(), Cholesky())
    """

    def descend(self, side: Side, a: int, b: int) -> None:
        solve_rows(a, b, *side.rows, side.fixed, side.spectrum, side.penalties, side.out)

    def cost(self, n: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        length = n.astype(np.float64)
        least = np.minimum(length, float(k))
        cost: NDArray[np.float64] = length * (k * least / 2 + k) + least**3 / 2 + 10 * k
        return cost


@register
@dataclass(frozen=True)
class ConjugateGradient:
    """A few conjugate gradient steps a row, from where it was, the weight on all pairs as preconditioner.

    Rows of fewer than k / 8 interactions are solved exactly, as that costs less than three steps.

    Source:
        Takacs, Pilaszy, Tikk, "Applications of the conjugate gradient method for implicit feedback
        collaborative filtering", RecSys 2011.
    Cost:
        O(n_steps * n * k) a row.

    Examples:
        >>> from bilinear import ALS, ConjugateGradient, ImplicitALS, synthetic_catalogue
        >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
        >>> model = ImplicitALS(n_factors=8, solver=ConjugateGradient(n_steps=2), rng=0).fit(clicks)
        >>> model.item_factors_.shape
        (60, 8)
        >>> ALS(row_solver=ConjugateGradient()).row_solver
        ConjugateGradient(n_steps=3)
    """

    n_steps: int = 3

    def __post_init__(self) -> None:
        if not (is_whole(self.n_steps) and self.n_steps >= 1):
            raise ParameterValueError(f"n_steps={self.n_steps!r}; a whole number of steps, at least one")

    def descend(self, side: Side, a: int, b: int) -> None:
        exact_to = side.fixed.shape[1] // 8
        descend_rows(
            a, b, *side.rows, side.fixed, side.spectrum, side.penalties,
            side.rotation, side.before, self.n_steps, exact_to, side.out,
        )  # fmt: skip

    def cost(self, n: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        length = n.astype(np.float64)
        cost: NDArray[np.float64] = 2 * k * (self.n_steps + 1) * length + np.where(n > k // 8, k * k / 4, 0)
        return cost


@register
@dataclass(frozen=True)
class BlockCoordinateDescent:
    """Exact minimum over `size` factors at a time, once through all of them: iALS++.

    For many factors and long rows, where whole systems of k x k are dear. Rows of at most 4 * size
    interactions are solved exactly, as that costs less. Source: Rendle, Krichene, Zhang, Koren,
    "iALS++: speeding up matrix factorization with subspace optimization", 2021.

    Cost:
        O(n * k * size) a row.

    Examples:
        >>> from bilinear import BlockCoordinateDescent, ImplicitALS, synthetic_catalogue
        >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
        >>> model = ImplicitALS(n_factors=8, solver=BlockCoordinateDescent(size=4), rng=0).fit(clicks)
        >>> model.item_factors_.shape
        (60, 8)
    """

    size: int = 32

    def __post_init__(self) -> None:
        if not (is_whole(self.size) and self.size >= 4 and self.size % 4 == 0):
            raise ParameterValueError(f"size={self.size!r}; a multiple of 4")

    def descend(self, side: Side, a: int, b: int) -> None:
        exact_to = min(4 * self.size, side.fixed.shape[1])
        descend_rows_by_blocks(
            a, b, *side.rows, side.fixed, side.spectrum, side.penalties,
            side.rotation, side.before, self.size, exact_to, side.out,
        )  # fmt: skip

    def cost(self, n: NDArray[np.int64], k: int) -> NDArray[np.float64]:
        length = n.astype(np.float64)
        whole = np.minimum(length, 4.0 * self.size)
        cost: NDArray[np.float64] = length * k * (whole / 2 + 2) + whole**3 / 2 + k * k / 4
        return cost


@dataclass(eq=False)
class AlternatingLeastSquares:
    """The factors of both sides and the steps that improve them; a step never raises the objective.

    Attributes:
        user_factors, item_factors: float32, as wide as `n_factors` rounded up to a multiple of 4 (the
            last columns are zero).
    Memory:
        two copies of the factors.
    """

    objective: ImplicitObjective
    n_factors: int
    user_factors: Array
    item_factors: Array
    pool: Workers
    _spare: list[Array] = field(init=False)

    @classmethod
    def start(
        cls,
        objective: ImplicitObjective,
        n_factors: int,
        size: float,
        rng: np.random.Generator,
        pool: Workers,
    ) -> AlternatingLeastSquares:
        """Normal factors of standard deviation size / sqrt(n_factors); rows without interactions are zero."""
        width = -(-n_factors // 4) * 4
        sides = []
        for rows in (objective.by_user, objective.by_item):
            factors = aligned(len(rows.counts), width)
            factors[:, :n_factors] = rng.standard_normal((len(factors), n_factors), dtype=np.float32)
            factors[:, :n_factors] *= np.float32(size / np.sqrt(n_factors))
            factors[:, n_factors:] = 0
            factors[rows.counts == 0] = 0
            sides.append(factors)
        return cls(objective, n_factors, sides[0], sides[1], pool)

    def __post_init__(self) -> None:
        self._spare = [aligned(*self.user_factors.shape), aligned(*self.item_factors.shape)]

    def update_users(self, solver: ALSSolver) -> None:
        """A step of the users with the items fixed; both sides come out turned alike."""
        rows, penalties = self.objective.by_user, self.objective.user_penalties
        side = self._turned(
            rows, penalties, self.item_factors, self._spare[1], self.user_factors, self._spare[0]
        )
        self._descend(solver, side)
        self._spare = [self.user_factors, self.item_factors]
        self.user_factors, self.item_factors = side.out, side.fixed

    def update_items(self, solver: ALSSolver) -> None:
        """A step of the items with the users fixed; both sides come out turned alike."""
        rows, penalties = self.objective.by_item, self.objective.item_penalties
        side = self._turned(
            rows, penalties, self.user_factors, self._spare[0], self.item_factors, self._spare[1]
        )
        self._descend(solver, side)
        self._spare = [self.user_factors, self.item_factors]
        self.user_factors, self.item_factors = side.fixed, side.out

    def factors(self) -> dict[str, Array]:
        """Both sides by name; not copied."""
        return {"user_factors": self.user_factors, "item_factors": self.item_factors}

    def value(self) -> float:
        """The objective now."""
        return self.objective.value(self.user_factors, self.item_factors, self.pool)

    def _turned(
        self, rows: Grouped, penalties: Array, fixed: Array, turned: Array, before: Array, out: Array
    ) -> Side:
        """Fills `turned` with `fixed` in the eigenbasis of its Gramian, the largest direction first."""
        sizes, directions = symmetric_eigen(gramian(fixed, self.pool))
        sizes, directions = sizes[::-1], directions[:, ::-1]
        sizes[self.n_factors :], directions[:, self.n_factors :] = 0, 0  # what was padded
        rotation = aligned(*directions.shape)
        rotation[:] = directions
        cuts = fixed_cuts(len(fixed), _TURN_ROWS)
        self.pool.run(lambda a, b: multiply(fixed[a:b], rotation, turned[a:b]), cuts)
        spectrum = (self.objective.unobserved_weight * np.maximum(sizes, 0)).astype(np.float32)
        return Side(rows, turned, spectrum, penalties, rotation, before, out)

    def _descend(self, solver: ALSSolver, side: Side) -> None:
        costs = solver.cost(side.rows.counts, side.fixed.shape[1])
        self.pool.run(lambda a, b: solver.descend(side, a, b), self.pool.shares(costs))


class _ImplicitRun(Run):
    """Users, then items, epoch by epoch; at last the users exactly, given the final items.

    The last step makes a user's factors what `fold_in` gives for the same interactions.
    """

    resumable, rotates = True, True

    def __init__(self, als: AlternatingLeastSquares, solver: ALSSolver) -> None:
        self.als, self.solver, self.between = als, solver, True
        self.n_pairs = len(als.objective.by_user.indices)

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """Both sides; returns the objective after them per interaction."""
        self.between = False
        self.als.update_users(self.solver)
        self.als.update_items(self.solver)
        loss = self.als.value() / self.n_pairs
        if not np.isfinite(loss):
            raise self.diverged(number)
        progress.advance(self.n_pairs, loss)
        self.between = True
        return loss

    def finish(self) -> None:
        self.als.update_users(Cholesky())

    def weights(self) -> Parameters:
        """With the columns that pad the factors, which are zero."""
        users, items = self.als.user_factors, self.als.item_factors
        zeros = np.zeros(len(users), np.float32), np.zeros(len(items), np.float32)
        return Parameters(0.0, *zeros, users, items)

    def current(self) -> Parameters:
        found, k = self.weights(), self.als.n_factors
        return replace(found, user_factors=found.user_factors[:, :k], item_factors=found.item_factors[:, :k])

    def state(self) -> dict[str, NDArray[Any]] | None:
        """The factors; None within an epoch, when they are being written."""
        return self.als.factors() if self.between else None

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        for name, factors in self.als.factors().items():
            factors[:] = state[name]

    def diverged(self, number: int) -> DivergenceError:
        return DivergenceError(
            f"training diverged in epoch {number}: the objective is not finite; raise l2, or lower the "
            "confidences"
        )


def minimise(
    als: AlternatingLeastSquares,
    solver: ALSSolver,
    n_epochs: int,
    tolerance: float = 0.0,
    progress: Progress | None = None,
) -> tuple[Parameters, History]:
    """Users, then items, `n_epochs` times; at last the users exactly, given the final items.

    Args:
        tolerance: end after an epoch that lowered the objective by less than this share of it.
    Returns:
        views of the factors of `als`, or copies where a checkpoint has the result; and the history,
        whose losses are the objective after an epoch per interaction.
    Raises:
        DivergenceError: the objective is not finite.
        KeyboardInterrupt: only during the first epoch; later the epochs so far are kept.
    """
    return train(
        _ImplicitRun(als, solver),
        np.random.default_rng(0),  # nothing is drawn
        n_ratings=len(als.objective.by_user.indices),
        n_epochs=n_epochs,
        patience=n_epochs,
        tolerance=tolerance,
        progress=progress,
        stage=f"iALS, {als.n_factors} factors",
    )


def gramian(factors: Array, pool: Workers) -> NDArray[np.float64]:
    """(k, k) factors.T @ factors: float32 within 2,048 rows, float64 beyond. Cost: O(n * k^2)."""
    k = factors.shape[1]

    def part(a: int, b: int) -> Array:
        out = aligned(k, k)
        out[:] = 0
        add_column_products(factors[a:b], b - a, out)
        return out

    total = np.zeros((k, k))
    for products in pool.each(part, fixed_cuts(len(factors), _GRAM_ROWS)):
        total += products
    lower: NDArray[np.float64] = np.tril(total)
    lower += np.tril(lower, -1).T
    return lower


def _sums(rows: Grouped) -> NDArray[np.float64]:
    """(n_rows,) the sum of each row's confidences, without their signs."""
    total: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(np.abs(rows.ratings), dtype=np.float64)])
    return np.diff(total[rows.indptr])
