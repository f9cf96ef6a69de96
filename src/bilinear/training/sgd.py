"""Stochastic gradient descent: the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import check_known, is_real, kernel_code
from bilinear.data.interactions import Interactions
from bilinear.data.outliers import cause_of_divergence
from bilinear.errors import DivergenceError
from bilinear.formulas import with_functions
from bilinear.kernels.scores import score_pairs
from bilinear.kernels.sgd import IDENTITY, SGD_CELLS
from bilinear.kernels.views import read_only
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.losses import rating_functions
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.registry import register
from bilinear.training.checkpoint import journal
from bilinear.training.history import History
from bilinear.training.initialization import Scale
from bilinear.training.loop import Run
from bilinear.training.progress import Progress
from bilinear.training.rating_grid import Grid, Rows, grid_for
from bilinear.training.schedules import Falling, OneCycle, Schedule, after
from bilinear.training.solver import Epochs, Solver
from bilinear.training.thread_pool import Workers

_FEWEST_STEPS = 500_000
_RATE = 0.06
_LOWER, _LOWEST = 0.25, 1e-9  # what a rate that diverged is multiplied by; no rate below is tried
_BLOWN = 10.0  # times the loss at the start
_SHARED = 1_000_000  # ratings from which a second thread pays
_BLOCK = 1 << 20  # ratings between two looks at the clock and at Ctrl-C, where a stratum has no more


@register
@dataclass(frozen=True)
class SGD(Solver):
    """One step a rating, over all ratings in a random order, `n_epochs` times.

    Args:
        n_epochs: passes over the ratings; the schedules span all of them. "auto" is 17 for 80,000
            ratings, less for more (9 for a million, 8 from 2 million on) and more for less, so that
            factors have half a million steps to grow from their small start (170 passes at most).
            A smaller learning_rate needs more in proportion.
        learning_rate: the largest step, for ratings of standard deviation one; it is converted
            to the scale of the data (see `Scale`). "auto" is 0.06; where training diverges with that, it
            is begun again with a quarter of the rate, until it does not. A number is taken as it is.
        momentum: heavy-ball momentum in [0, 1), row-sparse; a step is then
            learning_rate * (1 - momentum) long, so that the sum of steps stays the same.
        schedule: multiplies the rate, as a function of progress in [0, 1].
        l2_schedule: multiplies the L2 of the factors, likewise, epoch by epoch.
        patience: epochs without a better validation RMSE before training stops; "auto" is a
            fifth of n_epochs. Never in the first half: biases may overfit before factors have
            grown, and the error falls again.
        n_threads: cores to use from a million ratings on, None being all; the bits of the result do not
            depend on it.

    Ratings are laid out as a grid of cells whose factor rows fit into cache (`training.rating_grid`).
    The order of the cells is drawn for each epoch, that within a cell once.

    Cost:
        O(n_ratings * n_factors) an epoch; memory: two copies of the parameters (three with momentum),
        rows of the factors filled up to 64 bytes, and 5 bytes a rating (8 with more than 256 different
        ratings), of a packed table on disk.

    Examples:
        >>> from bilinear import SGD, Constant, MatrixFactorization, synthetic_ratings
        >>> solver = SGD(n_epochs=5, learning_rate=0.02, schedule=Constant())
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    n_epochs: int | Literal["auto"] = "auto"
    learning_rate: float | Literal["auto"] = "auto"
    momentum: float = 0.0
    schedule: Schedule = field(default_factory=OneCycle)
    l2_schedule: Schedule = field(default_factory=Falling)
    patience: int | Literal["auto"] = "auto"
    n_threads: int | None = None

    def __post_init__(self) -> None:
        self.check_counts("n_epochs", "patience")
        if self.learning_rate != "auto" and not (is_real(self.learning_rate) and self.learning_rate > 0):
            self.refuse("learning_rate", "'auto' or a positive number")
        if not (is_real(self.momentum) and 0 <= self.momentum < 1):
            self.refuse("momentum", "zero or more, below one")
        for name in ("schedule", "l2_schedule"):
            if not callable(getattr(self, name)):
                self.refuse(name, "Constant() or another schedule")

    def epochs_for(self, n_ratings: int) -> int:
        n_ratings = max(n_ratings, 1)
        wanted: float = max(17 * (80_000 / n_ratings) ** 0.25, _FEWEST_STEPS / n_ratings)
        return round(min(max(wanted, 8), 170))

    copies_ratings: ClassVar[bool] = True

    @property
    def rate(self) -> float:
        """The learning rate that training begins with."""
        return _RATE if self.learning_rate == "auto" else self.learning_rate

    @property
    def n_states(self) -> int:
        return 1 if self.momentum else 0

    def _descend(
        self, objective: Objective, start: Parameters, rng: np.random.Generator, epochs: Epochs
    ) -> tuple[Parameters, History]:
        n_ratings, solver, stage = objective.interactions.n_ratings, self, epochs.stage
        automatic, drawn, kept = self.learning_rate == "auto", rng.bit_generator.state, journal()
        with closing(Workers(self.n_threads if n_ratings >= _SHARED else 1)) as workers:
            while True:
                run = partial(SGDRun.of, solver, objective, start, rng, workers, watched=automatic)
                try:
                    if not (automatic and kept is not None and kept.gave_up(stage)):
                        return epochs.run(solver, run, objective, rng)
                except DivergenceError:
                    if not automatic or solver.rate < _LOWEST:
                        raise
                    if kept is not None:
                        kept.give_up(stage)
                solver, rng.bit_generator.state = replace(solver, learning_rate=_LOWER * solver.rate), drawn


@dataclass
class SGDRun(Run):
    """One descent under way: a grid, and rows in its order."""

    resumable, own_order = True, True

    solver: SGD
    n_epochs: int
    objective: Objective
    grid: Grid
    users: Rows
    items: Rows
    global_mean: float
    scale: Scale
    workers: Workers
    bound: float
    """The mean loss from which an epoch counts as diverged."""
    losses: NDArray[np.float64]
    """(n_cells,) summed over the ratings of each; zero for those that the epoch under way has not met."""
    measured: list[float] = field(default_factory=list)
    """Of the epochs so far, for schedules that look at it."""
    done: int = 0
    """Strata of the epoch under way that are done."""
    asked: tuple[Interactions, Interactions] | None = None
    """A validation part, and the same in the rows of the grid."""

    @classmethod
    def of(
        cls,
        solver: SGD,
        objective: Objective,
        start: Parameters,
        rng: np.random.Generator,
        workers: Workers,
        *,
        watched: bool = False,
    ) -> SGDRun:
        """Args: watched: take a loss far above that of the start for divergence, before it is infinite."""
        assert solver.n_epochs != "auto"
        solver.check(objective.loss, objective.link)
        check_known(objective.penalty)
        row_bytes = start.n_factors * start.user_factors.itemsize + 16
        grid, moving = grid_for(objective.interactions, row_bytes, rng, workers), solver.momentum > 0
        scale = Scale.of(objective.interactions, objective.link, objective.loss)
        shares = [
            weights_per_rating(objective.penalty, counts, start.user_biases.dtype.type)
            for counts in (objective.user_counts, objective.item_counts)
        ]
        return cls(
            solver,
            solver.n_epochs,
            objective,
            grid,
            Rows.of(start.user_biases, shares[0], start.user_factors, grid.user_side.order, moving),
            Rows.of(start.item_biases, shares[1], start.item_factors, grid.item_side.order, moving),
            start.global_mean,
            scale,
            workers,
            _BLOWN * loss_at_start(objective, scale, start.global_mean) if watched else np.inf,
            np.zeros(len(grid.starts) - 1),
        )

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass in an order of strata that `rng` draws; returns the mean loss."""
        solver, n_ratings = self.solver, self.objective.interactions.n_ratings
        l2_factors = self.objective.penalty.factors * solver.l2_schedule((number - 0.5) / self.n_epochs)
        strata = self.grid.strata(rng)
        # cells of two strata may share rows: one thread alone does more than one stratum in a call
        together = 1 if self.workers.n_threads > 1 else max(1, _BLOCK * len(strata) // n_ratings)
        told = float(self.losses.sum())
        for first in range(self.done, len(strata), together):
            turn = strata[first : first + together]
            shares = (number - 1 + (first + np.arange(len(turn)) + 0.5) / len(strata)) / self.n_epochs
            rates = [solver.rate * solver.schedule(float(share)) for share in shares]
            cells = turn.reshape(-1)
            if not self.step(cells, np.repeat(rates, turn.shape[1]) * self.reduction, l2_factors):
                raise self.diverged(number)
            self.done = first + len(turn)
            met, total = int(self.grid.sizes[cells].sum()), float(self.losses.sum())
            progress.advance(met, (total - told) / max(met, 1))
            told = total
        self.losses[:], self.done = 0, 0
        if told / n_ratings > self.bound:
            raise self.diverged(number)
        return told / n_ratings

    def step(self, cells: NDArray[np.int64], rates: NDArray[np.float64], l2_factors: float) -> bool:
        """A step for each rating of `cells`, which share no row if there is more than one thread.

        Args:
            rates: (n_cells,) of `cells`, as `SGD.learning_rate`.
        Returns:
            whether the losses stayed finite.
        """
        objective, grid, users, items = self.objective, self.grid, self.users, self.items
        momentum, (low, high) = self.solver.momentum, objective.link.bounds
        rates = rates * (1 - momentum)
        factor_rates, bias_rates = rates * self.scale.factor_rate, rates * self.scale.bias_rate
        momenta = np.full(len(cells), momentum)
        link, loss = kernel_code(objective.link), kernel_code(objective.loss)
        functions = rating_functions(objective.loss, objective.link)
        kernel = with_functions(SGD_CELLS[link == IDENTITY, momentum > 0], functions)

        def descend_cells(first: int, end: int) -> bool:
            return bool(
                kernel(
                    cells[first:end],
                    factor_rates[first:end],
                    bias_rates[first:end],
                    momenta[first:end],
                    grid.starts,
                    grid.user_side.starts,
                    grid.item_side.starts,
                    grid.users,
                    grid.items,
                    grid.ratings,
                    grid.values,
                    np.float64(self.global_mean),
                    users.bias_columns,
                    items.bias_columns,
                    users.factors,
                    items.factors,
                    users.velocities,
                    items.velocities,
                    users.shape,
                    link,
                    loss,
                    low,
                    high - low,
                    l2_factors,
                    objective.penalty.biases,
                    self.losses,
                )
            )

        return all(list(self.workers.each(descend_cells, self.workers.evenly(len(cells)))))

    def current(self) -> Parameters:
        return self.grid.restored(self._parameters())

    def weights(self) -> Parameters:
        """In the order of the grid; the factors end with columns of zeros."""
        return replace(self._parameters(), user_factors=self.users.factors, item_factors=self.items.factors)

    def _parameters(self) -> Parameters:
        users, items = self.users, self.items
        return Parameters(self.global_mean, users.biases, items.biases, users.weights, items.weights)

    def scores(self, table: Interactions) -> Array:
        if self.asked is None or self.asked[0] is not table:
            self.asked = table, self.grid.relabelled(table)
        asked, users, items = self.asked[1], self.users, self.items
        pairs = read_only(asked.users), read_only(asked.items)
        biases = np.ascontiguousarray(users.biases), np.ascontiguousarray(items.biases)
        weights = (self.global_mean, *biases, users.factors, items.factors, users.n_factors)
        scores = np.empty(asked.n_ratings, users.bias_columns.dtype)

        def score(first: int, end: int) -> None:
            score_pairs(*weights, *(rows[first:end] for rows in pairs), scores[first:end])

        self.workers.run(score, self.workers.evenly(asked.n_ratings))
        return scores

    def state(self) -> dict[str, NDArray[Any]]:
        state = {"done": np.array([self.done]), "losses": self.losses}
        for side, rows in (("users", self.users), ("items", self.items)):
            state |= {f"{side}.{name}": array for name, array in rows.arrays().items()}
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        for name, array in self.state().items():
            array[:] = state[name]
        self.done = int(state["done"][0])

    def pace(self, number: int) -> tuple[float, float]:
        share = (number - 0.5) / self.n_epochs
        return self.solver.rate * self.solver.schedule(share) * self.reduction, self.solver.momentum

    def observe(self, measured: float) -> None:
        self.measured.append(measured)

    @property
    def reduction(self) -> float:
        return after(self.solver.schedule, self.measured)

    def diverged(self, epoch: int) -> DivergenceError:
        rate = self.solver.rate
        odd = cause_of_divergence(self.objective.interactions)
        return DivergenceError(
            f"training diverged in epoch {epoch}: the loss is not finite, as the steps are too long. "
            f"Lower learning_rate (now {rate:g}; try {rate / 4:g})"
            + (f" or momentum (now {self.solver.momentum:g})" if self.solver.momentum else "")
            + ", or leave learning_rate out, and one is found"
            + (f". {odd}" if odd else "")
        )


def loss_at_start(objective: Objective, scale: Scale, global_mean: float) -> float:
    """About the mean loss of `global_mean` as every score: that at the mean rating, and of the spread."""
    at, mean = np.array([global_mean]), objective.link.prediction(np.array([scale.centre]))
    of_mean = float(objective.loss.value(at, mean, objective.link)[0])
    return of_mean + 0.5 * scale.curvature * scale.spread**2


def weights_per_rating(penalty: L2, counts: NDArray[np.int64], dtype: type[np.floating[Any]]) -> Array:
    """(n,) the share of a row's penalty that falls on each of its ratings; zero without ratings."""
    shares = penalty.row_weights(counts) / np.maximum(counts, 1)
    return np.where(counts > 0, shares, 0).astype(dtype)
