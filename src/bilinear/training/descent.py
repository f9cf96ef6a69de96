"""The epochs of a descent: validation, the best epoch, early stopping, Ctrl-C. Every solver's loop."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Literal, Protocol, Self

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError
from bilinear.model.link import Link
from bilinear.model.parameters import Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.objective import Objective
from bilinear.training.history import Epoch, History
from bilinear.training.progress import Progress, Quiet
from bilinear.training.schedules import Schedule


class Solver:
    """What descends from a start: the base of `SGD` and `MiniBatch`, frozen dataclasses."""

    n_epochs: int | Literal["auto"]
    patience: int | Literal["auto"]
    l2_schedule: Schedule

    def resolved(self, n_ratings: int) -> Self:
        """This solver with numbers for what is "auto", for a table of so many ratings."""
        raise NotImplementedError

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
        """Descends from `start`; returns the parameters of the best epoch and the history."""
        raise NotImplementedError


class Run(Protocol):
    """One descent under way."""

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass over the ratings in an order that `rng` draws; returns the mean loss."""

    def current(self) -> Parameters:
        """The weights to measure and to keep now; later epochs may change them in place."""

    def pace(self, number: int) -> tuple[float, float]:
        """(learning rate, momentum) in the middle of an epoch, for the history."""

    def observe(self, measured: float) -> None:
        """Takes note of an epoch's validation RMSE, or of its loss where there is none."""

    def diverged(self, number: int) -> DivergenceError:
        """What to raise when epoch `number` led to infinity; the message says what to lower."""


def descend(
    run: Run,
    solver: Solver,
    objective: Objective,
    rng: np.random.Generator,
    validation: Interactions | None,
    n_run: int | None,
    progress: Progress | None,
    stage: str,
) -> tuple[Parameters, History]:
    """Runs the epochs of a resolved solver, `n_run` of them at most; see `Solver.minimise`."""
    assert solver.n_epochs != "auto"
    assert solver.patience != "auto"
    progress = progress or Quiet()
    n_ratings = objective.interactions.n_ratings
    n_run = solver.n_epochs if n_run is None else n_run
    progress.stage(stage, n_ratings * n_run)
    best, best_rmse, best_epoch = run.current(), np.inf, 0
    epochs: list[Epoch] = []
    ended: Any = "all epochs done"
    try:
        for number in range(1, n_run + 1):
            began = perf_counter()
            loss = run.epoch(number, rng, progress)
            took = perf_counter() - began
            found = None
            if validation is not None:
                current = run.current()
                found = rmse(current, objective.link, validation)
                if not np.isfinite(found):
                    raise run.diverged(number)
            epoch = Epoch(number, loss, found, *run.pace(number), took, n_ratings / max(took, 1e-9))
            if found is None:
                best_epoch = number
            elif found < best_rmse:
                best, best_rmse, best_epoch = current.copy(), found, number
            epochs.append(epoch)  # after the best is safe, as Ctrl-C may come between
            progress.epoch(epoch)
            run.observe(loss if found is None else found)
            if number - best_epoch >= solver.patience and 2 * number >= solver.n_epochs:
                ended = "stopped early"
                break
    except KeyboardInterrupt:
        if not epochs:
            raise
        if validation is None:  # the broken epoch's steps are kept: they only lowered the loss
            best_epoch = len(epochs)
        ended = "interrupted"
    if validation is None:
        best = run.current()
    return best, History(tuple(epochs), best_epoch, ended)


def rmse(parameters: Parameters, link: Link, table: Interactions) -> float:
    """Root mean squared error of the predictions for a table with the same rows."""
    errors = link.prediction(score_rows(parameters, table.users, table.items)) - table.ratings
    return float(np.sqrt(np.mean(errors.astype(np.float64) ** 2)))
