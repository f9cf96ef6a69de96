"""The one training loop: validation, best epoch, early stopping, Ctrl-C, checkpoints, for every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bilinear.compiling import clock
from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError
from bilinear.evaluation.metrics import Metric
from bilinear.kernels.norms import sum_of_squares
from bilinear.model.parameters import Array, Parameters
from bilinear.model.scoring import score_rows
from bilinear.training.callbacks import listeners
from bilinear.training.checkpoint import journal
from bilinear.training.checkpoint_journal import Journal, Saved
from bilinear.training.history import Ended, Epoch, History
from bilinear.training.progress import NullProgress, Progress

_SAMPLED = 1000  # rows of a side that tell how far an epoch has moved the factors


class Run:
    """A descent under way, as the loop needs it: the base class of those of all solvers."""

    resumable: ClassVar[bool] = False
    """Whether there are `state` and `restore`; other runs are begun again after a restart."""
    own_order: ClassVar[bool] = False
    """Whether the weights are kept in an order of the run's own, of which `current` makes a copy."""
    rotates: ClassVar[bool] = False
    """Whether an epoch turns the factors, so that how far they move says nothing."""
    reopened: ClassVar[bool] = False
    """Whether a restart restores a run that is done, of which more is asked than its weights."""

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass over the interactions in an order that `rng` draws; returns the mean loss."""
        raise NotImplementedError

    def current(self) -> Parameters:
        """The weights to measure and to keep now; later epochs may change them in place."""
        raise NotImplementedError

    def weights(self) -> Parameters:
        """The weights without a copy, in any order."""
        return self.current()

    def scores(self, table: Interactions) -> Array:
        """(n_ratings,) the scores of `current()` for a table with the same rows."""
        return score_rows(self.weights(), table.users, table.items)

    def pace(self, number: int) -> tuple[float, float]:
        """(learning rate, momentum) in the middle of an epoch, for the history."""
        return 1.0, 0.0

    def observe(self, measured: float) -> None:
        """Takes note of a validation, smaller being better, or of the loss where there is none."""

    def finish(self) -> None:
        """Work after the last epoch."""

    def last(self) -> Parameters:
        """The weights to return where none were measured to be the best."""
        return self.current()

    def diverged(self, number: int) -> DivergenceError:
        """The error to raise when training diverged in epoch `number`; its message says what to lower."""
        raise NotImplementedError

    def diagnostics(self) -> dict[str, float]:
        """What else the history says of the run, by name."""
        return {}

    def state(self) -> dict[str, NDArray[Any]] | None:
        """The arrays that change during training and decide all later steps; not copied.

        Asked between epochs and whenever `epoch` calls `progress.advance`; None where the run cannot
        be gone on with from there.
        """
        return None

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Sets the arrays that `state` returned.

        The next `epoch` gets the generator as it was at the beginning of the interrupted epoch, and does
        the rest of that epoch.
        """
        raise NotImplementedError


class Validation:
    """A metric of the weights on an inner validation part, after every `every` epochs and the last."""

    metric: Metric
    every: int = 1

    def __call__(self, parameters: Parameters) -> float:
        """The metric of these weights."""
        raise NotImplementedError

    def measure(self, run: Run) -> float:
        """The metric of a run's current weights."""
        return self(run.current())


def train(
    run: Run | Callable[[], Run],
    rng: np.random.Generator,
    *,
    n_ratings: int,
    n_epochs: int,
    patience: int,
    planned: int | None = None,
    validation: Validation | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
    stage: str = "training",
) -> tuple[Parameters, History]:
    """Runs the epochs of a descent; returns the weights of the best epoch and the history.

    Args:
        run: or what makes it, which is not called where a checkpoint has the result.
        n_ratings: of an epoch, for the progress bar.
        planned: epochs that the schedules span; early stopping waits for half of them. None: n_epochs.
        patience: epochs since the best one that end training.
        validation: decides the best epoch and early stopping; without it all epochs run and the last is
            kept.
        tolerance: end after an epoch that lowered the loss by less than this share of it.
    Raises:
        DivergenceError: the loss is not finite; the message says what to lower.
        KeyboardInterrupt: only before the first epoch is done; later the best epoch is kept.
    """
    kept, heard = journal(), listeners()
    if kept is not None and (done := kept.finished(stage, rng)) is not None:
        weights, history, state = done
        if state is not None and isinstance(run, Run):
            run.restore(state)
        return weights, history
    progress = progress or NullProgress()
    progress.stage(stage, n_ratings * n_epochs)
    loop = _Loop.start(run() if callable(run) else run, rng, stage, validation)
    if kept is not None:
        saved = kept.begin(stage, loop.snapshot if loop.run.resumable else None)
        if saved is not None:
            loop.restore(saved)
            if loop.epochs:
                progress.advance(n_ratings * len(loop.epochs), loop.epochs[-1].loss)
        progress = _Watched(progress, kept)
    ended: Ended = "all epochs done"
    try:
        while len(loop.epochs) < n_epochs:
            number = len(loop.epochs) + 1
            loop.began = clock()
            loss = loop.run.epoch(number, rng, progress)
            took = loop.seconds()
            found = None
            if validation is not None and (number % validation.every == 0 or number == n_epochs):
                found = validation.measure(loop.run)
                if not np.isfinite(found):
                    raise loop.run.diverged(number)
            pace = loop.run.pace(number)
            epoch = Epoch(number, loss, found, *pace, took, n_ratings / max(took, 1e-9), *loop.norms())
            loop.take(epoch)
            progress.epoch(epoch)
            if heard is not None and heard.call(stage, loop.history("under way"), loop.run.current):
                ended = "stopped by on_epoch"
                break
            if number - loop.best_epoch >= patience and 2 * number >= (planned or n_epochs):
                ended = "stopped early"
                break
            if tolerance is not None and loop.converged(tolerance):
                ended = "converged"
                break
            if kept is not None:
                kept.look()
    except KeyboardInterrupt:
        if kept is not None:
            kept.interrupt()
        if not loop.epochs:
            raise
        ended = "interrupted"
    loop.run.finish()
    if loop.best is None:  # a broken epoch's steps are kept: they only lowered the loss
        loop.best_epoch = len(loop.epochs)
    best = loop.run.last() if loop.best is None else loop.best
    history = loop.history(ended)
    if kept is not None and ended != "interrupted":
        kept.finish(stage, rng, best, history, loop.run.state() if loop.run.reopened else None)
    return best, history


def train_again(
    descend: Callable[..., tuple[Parameters, History]], parameters: Parameters, history: History
) -> tuple[Parameters, History]:
    """Trains again for the best number of epochs; returns the given weights if that is interrupted.

    The history stays that of the choice, but for `ended`.
    """
    with suppress(KeyboardInterrupt):
        again, ran = descend(n_epochs=history.best_epoch)
        return (parameters, replace(history, ended=ran.ended)) if ran.cut_short else (again, history)
    return parameters, replace(history, ended="interrupted")


@dataclass
class _Loop:
    """Where a descent stands, between epochs and within one."""

    run: Run
    rng: np.random.Generator
    stage: str
    validation: Validation | None
    drawn: Any
    """State of `rng` at the beginning of the epoch under way."""
    sample: list[Array]
    """Some rows of either side's factors, as they were then."""
    spent: float = 0.0
    """Seconds of it before a restart."""
    began: float = 0.0
    """When it began or was gone on with, on the clock of `bilinear.compiling.clock`."""
    best: Parameters | None = None
    """None without validation: the last weights are the best."""
    best_epoch: int = 0
    epochs: list[Epoch] = field(default_factory=list)

    @classmethod
    def start(cls, run: Run, rng: np.random.Generator, stage: str, validation: Validation | None) -> _Loop:
        return cls(run, rng, stage, validation, rng.bit_generator.state, _sample(run.weights()))

    def seconds(self) -> float:
        """That the epoch under way has taken."""
        return self.spent + clock() - self.began

    def history(self, ended: Ended) -> History:
        metric = "" if self.validation is None else self.validation.metric.name
        return History(tuple(self.epochs), self.best_epoch, ended, metric, self.run.diagnostics())

    def norms(self) -> tuple[float, float, float | None]:
        """Norms of user factors, item factors and of how far the epoch under way has moved both."""
        weights = self.run.weights()
        moved = 0.0
        for before, now, factors in zip(
            self.sample, _sample(weights), (weights.user_factors, weights.item_factors), strict=True
        ):
            moved += sum_of_squares(now - before) * len(factors) / max(len(now), 1)
        users, items = sum_of_squares(weights.user_factors), sum_of_squares(weights.item_factors)
        return float(users) ** 0.5, float(items) ** 0.5, None if self.run.rotates else float(moved) ** 0.5

    def take(self, epoch: Epoch) -> None:
        """Notes an epoch that is done; the next one begins."""
        better = self.validation is None
        if self.validation is not None and epoch.validation is not None:
            better = self.validation.metric.better(epoch.validation, self.best_found)
            if better:
                current = self.run.current()
                self.best = current if self.run.own_order else current.copy()
        self.epochs.append(epoch)  # after the best is safe, as Ctrl-C may come between
        if better:
            self.best_epoch = epoch.number
        self.observe(epoch)
        self.drawn, self.sample = self.rng.bit_generator.state, _sample(self.run.weights())
        self.spent = 0.0

    def observe(self, epoch: Epoch) -> None:
        if self.validation is None:
            self.run.observe(epoch.loss)
        elif epoch.validation is not None:
            larger = self.validation.metric.larger_is_better
            self.run.observe(1 - epoch.validation if larger else epoch.validation)

    def converged(self, tolerance: float) -> bool:
        losses = [epoch.loss for epoch in self.epochs[-2:]]
        return len(losses) > 1 and losses[0] - losses[1] < tolerance * losses[1]

    @property
    def best_found(self) -> float:
        assert self.validation is not None
        found = self.epochs[self.best_epoch - 1].validation if self.best_epoch else None
        return self.validation.metric.worst if found is None else found

    def snapshot(self) -> Saved | None:
        state = self.run.state()
        if state is None:
            return None
        tensors = {f"run.{name}": array for name, array in state.items()}
        tensors |= {f"sample.{n}": rows for n, rows in enumerate(self.sample)}
        tensors["history"] = self.history("under way").table()
        values = {"stage": self.stage, "rng": self.drawn, "best_epoch": self.best_epoch}
        values["seconds"] = self.seconds()
        if self.best is not None:
            values["global_mean"] = self.best.global_mean
            tensors |= {f"best.{name}": array for name, array in self.best.arrays().items()}
        return Saved(values, tensors)

    def restore(self, saved: Saved) -> None:
        values, tensors = saved.values, saved.tensors
        self.rng.bit_generator.state = self.drawn = values["rng"]
        self.best_epoch = values["best_epoch"]
        table = tensors["history"]
        self.epochs = list(History.from_table(table, len(table), "under way").epochs)
        for epoch in self.epochs:
            self.observe(epoch)
        if "global_mean" in values:
            names = self.run.weights().arrays()
            self.best = Parameters(
                values["global_mean"], **{name: np.array(tensors[f"best.{name}"]) for name in names}
            )
        self.sample = [np.array(tensors[f"sample.{n}"]) for n in range(2)]
        self.spent = values["seconds"]
        head = "run."
        self.run.restore({name.removeprefix(head): a for name, a in tensors.items() if name.startswith(head)})


class _Watched:
    """Progress that also asks the journal whether it is time to write."""

    def __init__(self, progress: Progress, kept: Journal) -> None:
        self._progress, self._kept = progress, kept
        self.stage, self.epoch, self.note = progress.stage, progress.epoch, progress.note

    def advance(self, n_ratings: int, loss: float) -> None:
        self._progress.advance(n_ratings, loss)
        self._kept.look()


def _sample(weights: Parameters) -> list[Array]:
    """Copies of about `_SAMPLED` rows of either side's factors, evenly spread."""
    sides = (weights.user_factors, weights.item_factors)
    return [factors[:: max(1, len(factors) // _SAMPLED)].copy() for factors in sides]
