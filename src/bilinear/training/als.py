"""Exact alternating least squares for ratings: each side to its minimum with the other fixed.

With the items fixed the objective is, user by user, ridge regression on the item factors and a one
for the bias, and the reverse. An epoch solves all items, then all users, so that afterwards a user's
bias and factors are what `fold_in` gives for the same ratings. No step raises the objective, and
it has no learning rate. Source: Zhou, Wilkinson, Schreiber, Pan, "Large-scale parallel collaborative
filtering for the Netflix prize", 2008 (its penalty is ours with exponent one); the conjugate
gradients: Takacs, Pilaszy, Tikk, RecSys 2011.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import check_known
from bilinear.data.interactions import Grouped
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.kernels.explicit_als import improve_rows
from bilinear.kernels.normal_equations import LINE
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.losses import Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.registry import register
from bilinear.training.history import History
from bilinear.training.implicit_als import Cholesky, ConjugateGradient
from bilinear.training.loop import Run
from bilinear.training.progress import NullProgress, Progress
from bilinear.training.schedules import Constant, ReduceOnPlateau, Schedule
from bilinear.training.solver import Epochs, Solver
from bilinear.training.thread_pool import Workers, aligned, workers


@register
@dataclass(frozen=True)
class ALS(Solver):
    """Alternating least squares: exact half-steps, items then users, `n_epochs` times.

    For squared error with the identity; any L2 exponent: 0 is plain ridge, 1 counts the penalty once a
    rating (ALS-WR). The penalty of the factors must be positive; that of the biases may be zero.

    Args:
        n_epochs: times that both sides are solved; "auto" is 15.
        row_solver: `Cholesky()` takes a row to its exact minimum, through the smaller of the systems
            of its factors and of its ratings. `ConjugateGradient(n_steps)` goes so many steps from where
            the row was, in the epoch before or at the start, which costs less for many factors; it still
            solves a row exactly where that is no dearer.
        l2_schedule: multiplies the L2 of the factors, epoch by epoch, as a function of progress in [0, 1].
            Each epoch descends on the objective with its own L2: the objective proper never rises
            once the multiplier stays at one.
        patience: epochs without a better validation RMSE before training stops, never in the first
            half; "auto" is a fifth of n_epochs, at least 5.
        n_threads: cores to use, None being all; the bits of the result do not depend on it.

    In the history, `loss` is that after the epoch; rate and momentum are one and zero.

    Cost:
        O(n_ratings * n_factors^2 + (n_users + n_items) * n_factors^3) an epoch, conjugate gradients
        O(n_steps * n_ratings * n_factors); memory: two copies of the parameters, 8 bytes a rating.

    Examples:
        >>> from bilinear import ALS, MatrixFactorization, synthetic_ratings
        >>> solver = ALS(n_epochs=5)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    n_epochs: int | Literal["auto"] = "auto"
    row_solver: Cholesky | ConjugateGradient = field(default_factory=Cholesky)
    l2_schedule: Schedule = field(default_factory=Constant)
    patience: int | Literal["auto"] = "auto"
    n_threads: int | None = None

    def __post_init__(self) -> None:
        self.check_counts("n_epochs", "patience")
        if type(self.row_solver) not in (Cholesky, ConjugateGradient):
            self.refuse("row_solver", "Cholesky() or ConjugateGradient()")
        if not callable(self.l2_schedule):
            self.refuse("l2_schedule", "Constant() or another schedule")
        if isinstance(self.l2_schedule, ReduceOnPlateau):
            self.refuse("l2_schedule", "ReduceOnPlateau is for learning rates")

    def epochs_for(self, n_ratings: int) -> int:
        return 15

    def _descend(
        self, objective: Objective, start: Parameters, rng: np.random.Generator, epochs: Epochs
    ) -> tuple[Parameters, History]:
        self.check(objective.loss, objective.link)
        check_known(objective.penalty)
        multipliers = self.multipliers()
        if start.n_factors and not (objective.penalty.factors * multipliers > 0).all():
            raise ParameterValueError(
                f"ALS with an L2 of the factors of {objective.penalty.factors:g} (times "
                f"{multipliers.min():g} by l2_schedule): a row of fewer ratings than factors then has no "
                "single minimum; give a positive l2, such as 0.01"
            )
        with workers(self.n_threads) as pool:
            run = partial(AlternatingRun, objective, start, self.row_solver, multipliers, pool)
            return epochs.run(self, run, objective, rng)

    def check(self, loss: Loss, link: Link) -> None:
        """Raises ParameterValueError unless the half problems are least squares."""
        if not (type(loss) is SquaredError and type(link) is Identity):
            raise ParameterValueError(
                "ALS solves least squares: it needs loss=SquaredError() and link=Identity(), not "
                f"{type(loss).__name__} with {type(link).__name__}; for these take solver=SGD()"
            )

    def multipliers(self) -> NDArray[np.float64]:
        """(n_epochs,) what multiplies the L2 of the factors, each epoch at its middle."""
        assert self.n_epochs != "auto"
        shares = (np.arange(self.n_epochs) + 0.5) / self.n_epochs
        return np.array([float(self.l2_schedule(float(share))) for share in shares])


@dataclass(frozen=True, eq=False)
class _Side:
    """One side's rows and weights; factors (n_rows, k padded to a multiple of `LINE`)."""

    rows: Grouped
    weights: NDArray[np.float64]
    factors: Array
    biases: Array
    losses: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Grouped, weights: NDArray[np.float64], factors: Array, biases: Array) -> _Side:
        n, k = factors.shape
        padded = aligned(n, -(-k // LINE) * LINE, dtype=factors.dtype)
        padded[:, :k], padded[:, k:] = factors, 0
        return cls(rows, weights, padded, biases.copy(), np.zeros(n))


class AlternatingRun(Run):
    """One descent under way; a half-step never raises the objective."""

    resumable, own_order = True, True

    def __init__(
        self,
        objective: Objective,
        start: Parameters,
        row_solver: Cholesky | ConjugateGradient,
        multipliers: NDArray[np.float64],
        pool: Workers,
    ) -> None:
        table, penalty = objective.interactions, objective.penalty
        self.objective, self.pool, self.multipliers = objective, pool, multipliers
        self.n_factors, self.global_mean = start.n_factors, start.global_mean
        self.between = True
        self.n_steps = row_solver.n_steps if isinstance(row_solver, ConjugateGradient) else 0
        self.users = _Side.of(
            table.by_user, penalty.row_weights(objective.user_counts), start.user_factors, start.user_biases
        )
        self.items = _Side.of(
            table.by_item, penalty.row_weights(objective.item_counts), start.item_factors, start.item_biases
        )

    def update_users(self, multiplier: float = 1.0, progress: Progress | None = None) -> float:
        """The users with the items fixed; returns the mean loss afterwards."""
        return self._update(self.users, self.items, multiplier, progress or NullProgress())

    def update_items(self, multiplier: float = 1.0, progress: Progress | None = None) -> float:
        """The items with the users fixed; returns the mean loss afterwards."""
        return self._update(self.items, self.users, multiplier, progress or NullProgress())

    def _update(self, side: _Side, fixed: _Side, multiplier: float, progress: Progress) -> float:
        penalty, k = self.objective.penalty, side.factors.shape[1]
        l2, l2_biases = penalty.factors * multiplier * side.weights, penalty.biases * side.weights
        dual_to, exact_from = limits(k, self.n_steps)
        self.between = False

        def improve(a: int, b: int) -> tuple[int, int]:
            improve_rows(
                a, b, *side.rows, float(self.global_mean), fixed.factors, fixed.biases, l2, l2_biases,
                self.n_steps, dual_to, exact_from, side.factors, side.biases, side.losses,
            )  # fmt: skip
            return a, b

        cuts = self.pool.shares(costs(side.rows.counts, k, self.n_steps))
        for a, b in self.pool.each(improve, cuts):
            begin, end = int(side.rows.indptr[a]), int(side.rows.indptr[b])
            loss = float(side.losses[a:b].sum()) / max(end - begin, 1)
            progress.advance(end // 2 - begin // 2, loss)  # the other half by the other side
        return float(side.losses.sum()) / self.objective.interactions.n_ratings

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """Items, then users; returns the mean loss afterwards."""
        multiplier = float(self.multipliers[number - 1])
        self.update_items(multiplier, progress)
        loss = self.update_users(multiplier, progress)
        if not np.isfinite(loss):
            raise self.diverged(number)
        self.between = True
        return loss

    def weights(self) -> Parameters:
        """The weights, which later epochs change in place."""
        users, items, k = self.users, self.items, self.n_factors
        factors = users.factors[:, :k], items.factors[:, :k]
        return Parameters(self.global_mean, users.biases, items.biases, *factors)

    def current(self) -> Parameters:
        """A copy of the weights, without what they are padded with."""
        return self.weights().copy()

    def state(self) -> dict[str, NDArray[Any]] | None:
        """The weights; None within an epoch, when threads are writing them."""
        return self.weights().arrays() if self.between else None

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        for name, array in self.weights().arrays().items():
            array[:] = state[name]

    def diverged(self, number: int) -> DivergenceError:
        return DivergenceError(
            f"the loss is not finite in epoch {number}: raise l2 (now {self.objective.penalty.factors:g})"
        )


def limits(k: int, n_steps: int) -> tuple[int, int]:
    """(dual_to, exact_from) of `improve_rows`, where measured times cross."""
    if not n_steps:
        return 3 * k // 4, 0
    return min(16, 3 * k // 4), 3 * k * k // 8 if k <= 64 else np.iinfo(np.int64).max


def costs(n: NDArray[np.int64], k: int, n_steps: int) -> NDArray[np.float64]:
    """(n_rows,) about how long rows of so many ratings take, in any unit."""
    length = n.astype(np.float64)
    dual_to, exact_from = limits(k, n_steps)
    dual = length * (length * k / 2 + length**2 + 20 * k)
    exact = length * (k * k / 2 + 8 * k) + k**3
    steps = length * k * (8 + 4 * n_steps) + 8 * k
    larger = np.where(n >= exact_from, exact, steps) if n_steps else exact
    found: NDArray[np.float64] = np.where(n <= dual_to, dual, larger) + 50
    return found
