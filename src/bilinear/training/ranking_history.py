"""The epochs of a descent on a ranking loss: validation, the best epoch, early stopping, Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from bilinear.model.parameters import Parameters
from bilinear.training.progress import Progress
from bilinear.training.sampled import SampledRun

Measure = Callable[[Parameters], float]
"""A ranking metric on the inner validation part; larger is better."""


@dataclass(frozen=True)
class RankingEpoch:
    """One pass over the positives.

    `loss` is the mean training loss (before each step, without the penalty), `validation` the metric
    where it was measured after this epoch.
    """

    number: int
    loss: float
    validation: float | None
    learning_rate: float
    momentum: float
    seconds: float


@dataclass(frozen=True)
class RankingHistory:
    """The epochs, which of them was kept, by which metric, and why training ended."""

    epochs: tuple[RankingEpoch, ...]
    best_epoch: int
    metric: str
    ended: Literal["all epochs done", "stopped early", "interrupted"]

    @property
    def best_validation(self) -> float | None:
        """The metric on the inner validation part at the epoch that was kept."""
        return self.epochs[self.best_epoch - 1].validation

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RankingHistory:
        epochs, best_epoch = tuple(RankingEpoch(**epoch) for epoch in stored["epochs"]), stored["best_epoch"]
        if not (isinstance(best_epoch, int) and 1 <= best_epoch <= len(epochs)):
            raise ValueError(f"epoch {best_epoch!r} was kept, of {len(epochs)}")
        return cls(epochs, best_epoch, str(stored["metric"]), stored["ended"])

    def __str__(self) -> str:
        lines = [f"epoch     loss {self.metric:>10}     rate  seconds"]
        for epoch in self.epochs:
            found = "" if epoch.validation is None else f"{epoch.validation:.4f}"
            kept = " <- kept" if epoch.number == self.best_epoch else ""
            lines.append(
                f"{epoch.number:5d} {epoch.loss:8.4f} {found:>10} {epoch.learning_rate:8.2g} "
                f"{epoch.seconds:8.2f}{kept}"
            )
        return "\n".join([*lines, self.ended])


def descend_on_ranking(
    run: SampledRun,
    rng: np.random.Generator,
    progress: Progress,
    stage: str,
    *,
    measure: Measure | None = None,
    metric: str = "",
    every: int = 1,
    n_epochs: int | None = None,
) -> tuple[Parameters, RankingHistory]:
    """Runs the epochs of a descent; returns the weights of the best one and the history.

    Args:
        measure: asked after each `every` epochs and the last; without it all epochs run and the last
            is kept. The solver's patience counts epochs since the best, never in the first half.
        n_epochs: how many of the solver's epochs to run, the schedules unchanged.
    Raises:
        DivergenceError: the loss is no finite number any more.
        KeyboardInterrupt: only before the first epoch is done; later the best so far is kept.
    """
    solver = run.solver
    assert solver.patience != "auto"
    n_run = solver.n_epochs if n_epochs is None else n_epochs
    progress.stage(stage, run.objective.positives.n_ratings * n_run)
    best, best_found, best_epoch = run.current(), -np.inf, 0
    epochs: list[RankingEpoch] = []
    ended: Literal["all epochs done", "stopped early", "interrupted"] = "all epochs done"
    try:
        for number in range(1, n_run + 1):
            began = perf_counter()
            loss = run.epoch(number, rng, progress)
            took = perf_counter() - began
            found = None
            if measure is not None and (number % every == 0 or number == n_run):
                current = run.current()
                found = measure(current)
                if found > best_found:
                    best, best_found, best_epoch = current.copy(), found, number
            epochs.append(RankingEpoch(number, loss, found, *run.pace(number), took))
            if measure is None or found is not None:
                run.observe(loss if found is None else 1 - found)
            if measure is not None and number - best_epoch >= solver.patience and 2 * number >= n_run:
                ended = "stopped early"
                break
    except KeyboardInterrupt:
        if not epochs:
            raise
        ended = "interrupted"
    if measure is None or best_epoch == 0:
        best, best_epoch = run.current(), len(epochs)
    return best, RankingHistory(tuple(epochs), best_epoch, metric, ended)
