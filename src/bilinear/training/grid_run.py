"""One descent over the grid: what `SGD` does with large tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bilinear.kernels.grid import sgd_cells
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.objective import Objective
from bilinear.training.grid import Grid, Pool
from bilinear.training.progress import Progress
from bilinear.training.start import Scale

_TOLD = 32  # strata between two looks at the clock and at Ctrl-C


class GridRun:
    """The weights, in the order of the grid, and the passes over it.

    Args:
        weights: (users, items), the share of each row's penalty that falls on one of its ratings.
        pace: progress through training in [0, 1] to the learning rate there.
        l2: the same to the L2 of the factors.
    """

    def __init__(
        self,
        grid: Grid,
        pool: Pool,
        objective: Objective,
        start: Parameters,
        weights: tuple[Array, Array],
        pace: Callable[[float], float],
        l2: Callable[[float], float],
        n_epochs: int,
    ) -> None:
        self.grid, self.pool, self.objective = grid, pool, objective
        self.weights = weights[0][grid.user_side.order], weights[1][grid.item_side.order]
        self.scale = Scale.of(objective.interactions, objective.link, objective.loss)
        self.parameters, self.n_epochs = grid.renumbered(start), n_epochs
        self.pace, self.l2 = pace, l2

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass, in an order drawn by `rng`; the mean loss, NaN if it stopped being finite."""
        grid, parameters, objective = self.grid, self.parameters, self.objective
        low, high = objective.link.bounds
        losses = np.zeros(len(grid.starts) - 1)
        l2_factors = self.l2((number - 0.5) / self.n_epochs)
        strata = list(grid.strata(rng))
        done, told = 0, 0.0
        for n, cells in enumerate(strata):
            rate = self.pace((number - 1 + (n + 0.5) / len(strata)) / self.n_epochs)
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
                *self.weights,
                l2_factors,
                objective.penalty.biases,
                rate * self.scale.factor_rate,
                rate * self.scale.bias_rate,
                losses,
            )
            if not all(self.pool.run(lambda part, problem=problem: sgd_cells(part, *problem), cells)):
                return float("nan")
            done += int((grid.starts[cells + 1] - grid.starts[cells]).sum())
            if (n + 1) % _TOLD == 0 or n + 1 == len(strata):
                total = float(losses.sum())
                progress.advance(done, (total - told) / max(done, 1))
                done, told = 0, total
        return float(losses.sum()) / max(objective.interactions.n_ratings, 1)

    def current(self) -> Parameters:
        """The weights in the order of the table; a copy."""
        return self.grid.restored(self.parameters)
