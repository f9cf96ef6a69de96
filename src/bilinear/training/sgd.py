"""Stochastic gradient descent: the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError
from bilinear.kernels.grid import sgd_cells
from bilinear.kernels.sgd import momentum_block, sgd_block
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.descent import Solver, descend, random_order
from bilinear.training.descent import rmse as rmse
from bilinear.training.grid import Grid, Pool, pool
from bilinear.training.history import History
from bilinear.training.progress import Progress
from bilinear.training.schedules import Falling, OneCycle, Schedule, after
from bilinear.training.start import Scale

_FEWEST_STEPS = 500_000
_ON_GRID = 20_000  # ratings from which the grid pays
_SHARED = 500_000  # ratings from which a second thread pays
_TOLD = 32  # strata of the grid between two looks at the clock and at Ctrl-C
_BLOCK = 1 << 18  # ratings between two looks at the clock and at Ctrl-C


@dataclass(frozen=True)
class SGD(Solver):
    """One step a rating, over the shuffled ratings, `n_epochs` times.

    Args:
        n_epochs: passes over the ratings; the schedules span all of them. "auto" is 17 for 80,000
            ratings, less for more (9 for a million, 8 from 2 million on) and more for less, so that
            factors have half a million steps to grow from their small start (170 passes at most).
            A smaller learning_rate needs more in proportion.
        learning_rate: the largest step, for ratings of standard deviation one; it is converted
            to the scale of the data (see `Scale`).
        momentum: heavy-ball momentum in [0, 1), row-sparse; a step is then
            learning_rate * (1 - momentum) long, so that the sum of steps stays the same.
        schedule: multiplies the rate, as a function of progress in [0, 1].
        l2_schedule: multiplies the L2 of the factors, likewise, epoch by epoch.
        patience: epochs without a better validation RMSE before training stops; "auto" is a
            fifth of n_epochs. Never in the first half: biases may overfit before factors have
            grown, and the error falls again.

        threads: cores to use from 500,000 ratings on, None being all; the bits of the result do not
            depend on it.

    Tables of 20,000 ratings and more are laid out as a grid of cells whose factor rows fit into
    cache (see `bilinear.training.grid`), without momentum. That changes the order of the steps and
    nothing else.

    Cost: O(n_ratings * n_factors) an epoch; memory: two copies of the parameters (three with
    momentum), and 4 bytes a rating, on the grid 12.
    """

    n_epochs: int | Literal["auto"] = "auto"
    learning_rate: float = 0.06
    momentum: float = 0.0
    schedule: Schedule = field(default_factory=OneCycle)
    l2_schedule: Schedule = field(default_factory=Falling)
    patience: int | Literal["auto"] = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        self.check_counts("n_epochs", "patience")
        if not (is_real(self.learning_rate) and self.learning_rate > 0):
            self.refuse("learning_rate", "a positive number")
        if not (is_real(self.momentum) and 0 <= self.momentum < 1):
            self.refuse("momentum", "zero or more, below one")
        for name in ("schedule", "l2_schedule"):
            if not callable(getattr(self, name)):
                self.refuse(name, "Constant() or another schedule")

    def resolved(self, n_ratings: int) -> SGD:
        """This solver with numbers for what is "auto", for a table of so many ratings."""
        n_epochs = self.n_epochs
        if n_epochs == "auto":
            n_ratings = max(n_ratings, 1)
            n_epochs = round(
                np.clip(max(17 * (80_000 / n_ratings) ** 0.25, _FEWEST_STEPS / n_ratings), 8, 170)
            )
        assert n_epochs != "auto"
        return replace(self, n_epochs=n_epochs, patience=self.patience_in(n_epochs))

    def minimise(
        self,
        objective: Objective,
        start: Parameters,
        rng: np.random.Generator,
        *,
        validation: Interactions | None = None,
        n_epochs: int | None = None,
        progress: Progress | None = None,
        stage: str = "training",
    ) -> tuple[Parameters, History]:
        """Descends from `start`; returns the parameters of the best epoch and the history.

        Args:
            validation: decides the best epoch and early stopping; without it all epochs run
                and the last is kept.
            n_epochs: how many of the solver's epochs to run, the schedule unchanged.
        Raises:
            DivergenceError: a score or the loss is no finite number any more.
            KeyboardInterrupt: only before the first epoch is done; later the best epoch is kept.
        """
        solver = self.resolved(objective.interactions.n_ratings)
        n_ratings = objective.interactions.n_ratings
        with pool(self.threads if n_ratings >= _SHARED else 1) as threads:
            on_grid = self.on_grid(n_ratings)
            make = partial(_GridRun.on, threads, rng) if on_grid else SGDRun.of
            run = partial(make, solver, objective, start)
            return descend(run, solver, objective, rng, validation, n_epochs, progress, stage)

    @property
    def n_states(self) -> int:
        return 1 if self.momentum else 0

    def on_grid(self, n_ratings: int) -> bool:
        """Whether a table of so many ratings is laid out as a grid."""
        return not self.momentum and n_ratings >= _ON_GRID


@dataclass
class SGDRun:
    """The arrays and numbers of one descent, as the kernels take them."""

    solver: SGD
    n_epochs: int
    objective: Objective
    parameters: Parameters
    speed: Parameters | None
    scale: Scale
    user_weights: Array
    item_weights: Array
    measured: list[float] = field(default_factory=list)
    """Of the epochs so far, for schedules that look at it."""
    done: int = 0
    """Ratings (on the grid: strata) of the epoch under way that are done."""
    total: float = 0.0
    """Their summed loss."""

    @classmethod
    def of(cls, solver: SGD, objective: Objective, start: Parameters) -> SGDRun:
        assert solver.n_epochs != "auto"
        dtype = start.user_biases.dtype.type
        return cls(
            solver,
            solver.n_epochs,
            objective,
            start.copy(),
            Parameters.zeros((start.n_users, start.n_items), start.n_factors, 0, dtype)
            if solver.momentum
            else None,
            Scale.of(objective.interactions, objective.link, objective.loss),
            weights_per_rating(objective.penalty, objective.user_counts, dtype),
            weights_per_rating(objective.penalty, objective.item_counts, dtype),
        )

    def current(self) -> Parameters:
        return self.parameters

    def state(self) -> dict[str, NDArray[Any]]:
        state: dict[str, NDArray[Any]] = {"done": np.array([self.done]), "total": np.array([self.total])}
        state |= self.parameters.arrays()
        if self.speed is not None:
            state |= {f"speed.{name}": array for name, array in self.speed.arrays().items()}
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.done, self.total = int(state["done"][0]), float(state["total"][0])
        for name, array in self.state().items():
            if name not in ("done", "total"):
                array[:] = state[name]

    def pace(self, number: int) -> tuple[float, float]:
        share = (number - 0.5) / self.n_epochs
        return self.solver.learning_rate * self.solver.schedule(share) * self.reduction, self.solver.momentum

    def observe(self, measured: float) -> None:
        self.measured.append(measured)

    @property
    def reduction(self) -> float:
        return after(self.solver.schedule, self.measured)

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass in an order that `rng` draws; returns the mean loss."""
        n_ratings, solver = self.objective.interactions.n_ratings, self.solver
        order = random_order(n_ratings, rng)
        l2_factors = self.objective.penalty.factors * solver.l2_schedule((number - 0.5) / self.n_epochs)
        for start in range(self.done, n_ratings, _BLOCK):
            block = order[start : start + _BLOCK]
            shares = (number - 1 + np.array([start, start + len(block)]) / n_ratings) / self.n_epochs
            rates = np.array([solver.schedule(float(share)) for share in shares]) * solver.learning_rate
            loss, done = self.step(block, rates * self.reduction, l2_factors)
            if done < len(block) or not np.isfinite(loss):
                raise self.diverged(number)
            self.done, self.total = start + len(block), self.total + loss
            progress.advance(len(block), loss / len(block))
        mean, self.done, self.total = self.total / n_ratings, 0, 0.0
        return mean

    def step(
        self, block: NDArray[np.int64], rates: NDArray[np.float64], l2_factors: float
    ) -> tuple[float, int]:
        """A step for each rating of `block`, at rates from the first to the second of `rates`.

        Returns (summed loss before the steps, ratings done): fewer than asked where it diverged.
        """
        solver, parameters, table = self.solver, self.parameters, self.objective.interactions
        low, high = self.objective.link.bounds
        rates = rates * (1 - solver.momentum)
        data = (block, table.users, table.items, table.ratings)
        weights = (np.float64(parameters.global_mean), *parameters.arrays().values())
        problem = (
            self.objective.link.code,
            self.objective.loss.code,
            low,
            high - low,
            self.user_weights,
            self.item_weights,
            l2_factors,
            self.objective.penalty.biases,
            rates * self.scale.factor_rate,
            rates * self.scale.bias_rate,
        )
        if self.speed is None:
            loss, done = sgd_block(*data, *weights, *problem)
        else:
            momenta = np.full(2, solver.momentum)
            loss, done = momentum_block(*data, *weights, *self.speed.arrays().values(), *problem, momenta)
        return float(loss), int(done)

    def diverged(self, epoch: int) -> DivergenceError:
        rate = self.solver.learning_rate
        return DivergenceError(
            f"the training loss is no finite number any more in epoch {epoch}: the steps are too long. "
            f"Lower learning_rate (now {rate:g}; try {rate / 4:g})"
            + (f" or momentum (now {self.solver.momentum:g})" if self.solver.momentum else "")
        )


@dataclass
class _GridRun(SGDRun):
    """The same over the grid; `parameters` and weights are in the order of the grid."""

    grid: Grid = field(kw_only=True)
    pool: Pool = field(kw_only=True)
    losses: NDArray[np.float64] = field(kw_only=True)
    """(n_cells,) of the epoch under way."""
    asked: tuple[Interactions, Interactions] | None = None
    """A validation part, and the same in the rows of the grid."""

    @classmethod
    def on(
        cls, pool: Pool, rng: np.random.Generator, solver: SGD, objective: Objective, start: Parameters
    ) -> _GridRun:
        assert solver.n_epochs != "auto"
        row_bytes = start.n_factors * start.user_factors.itemsize + 16
        dtype = start.user_biases.dtype.type
        user_weights = weights_per_rating(objective.penalty, objective.user_counts, dtype)
        item_weights = weights_per_rating(objective.penalty, objective.item_counts, dtype)
        scale = Scale.of(objective.interactions, objective.link, objective.loss)
        grid = Grid.of(objective.interactions, row_bytes, rng, pool)
        return cls(
            solver,
            solver.n_epochs,
            objective,
            grid.renumbered(start),
            None,
            scale,
            user_weights[grid.user_side.order],
            item_weights[grid.item_side.order],
            grid=grid,
            pool=pool,
            losses=np.zeros(len(grid.starts) - 1),
        )

    def current(self) -> Parameters:
        return self.grid.restored(self.parameters)

    def weights(self) -> Parameters:
        return self.parameters

    def measure(self, validation: Interactions) -> float:
        if self.asked is None or self.asked[0] is not validation:
            self.asked = validation, self.grid.relabelled(validation)
        return rmse(self.parameters, self.objective.link, self.asked[1])

    def state(self) -> dict[str, NDArray[Any]]:
        return super().state() | {"losses": self.losses}

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass in an order of strata that `rng` draws; returns the mean loss."""
        grid, parameters, objective, solver = self.grid, self.parameters, self.objective, self.solver
        low, high = objective.link.bounds
        l2_factors = objective.penalty.factors * solver.l2_schedule((number - 0.5) / self.n_epochs)
        strata = list(grid.strata(rng))
        met, told = 0, self.total
        for n in range(self.done, len(strata)):
            cells = strata[n]
            share = (number - 1 + (n + 0.5) / len(strata)) / self.n_epochs
            rate = solver.learning_rate * solver.schedule(share) * self.reduction
            problem = (
                grid.starts,
                grid.users,
                grid.items,
                grid.ratings,
                np.float64(parameters.global_mean),
                *parameters.arrays().values(),
                objective.link.code,
                objective.loss.code,
                low,
                high - low,
                self.user_weights,
                self.item_weights,
                l2_factors,
                objective.penalty.biases,
                rate * self.scale.factor_rate,
                rate * self.scale.bias_rate,
                self.losses,
            )
            if not all(self.pool.run(partial(_descend_cells, problem), cells)):
                raise self.diverged(number)
            met += int((grid.starts[cells + 1] - grid.starts[cells]).sum())
            if (n + 1) % _TOLD == 0 or n + 1 == len(strata):
                self.done, self.total = n + 1, float(self.losses.sum())
                progress.advance(met, (self.total - told) / max(met, 1))
                met, told = 0, self.total
        mean = float(self.losses.sum()) / objective.interactions.n_ratings
        self.losses[:], self.done, self.total = 0, 0, 0.0
        return mean


def _descend_cells(problem: tuple[Any, ...], cells: NDArray[np.int64]) -> bool:
    return bool(sgd_cells(cells, *problem))


def weights_per_rating(penalty: L2, counts: NDArray[np.int64], dtype: type[np.floating[Any]]) -> Array:
    """(n,) the share of a row's penalty that falls on each of its ratings; zero without ratings."""
    shares = penalty.row_weights(counts) / np.maximum(counts, 1)
    return np.where(counts > 0, shares, 0).astype(dtype)
