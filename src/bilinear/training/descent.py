"""The epochs of a descent: validation, the best epoch, early stopping, Ctrl-C. Every solver's loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ClassVar, Literal, NoReturn, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole, kernel_code
from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.kernels.norms import sum_of_squares
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.losses import Loss
from bilinear.objective.objective import Objective
from bilinear.training.checkpoint import journal
from bilinear.training.history import Epoch, History
from bilinear.training.journal import Journal, Saved
from bilinear.training.progress import Progress, Quiet
from bilinear.training.schedules import Schedule

_PART = 1 << 18  # ratings
_SAMPLED = 1000  # rows of a side that tell how far an epoch has moved the factors


class Solver:
    """What descends from a start: the base of `SGD` and `MiniBatch`, frozen dataclasses."""

    n_epochs: int | Literal["auto"]
    patience: int | Literal["auto"]
    l2_schedule: Schedule
    copies_ratings: ClassVar[bool] = False
    """Whether it copies the ratings in an order of its own, and reads those of the table no more."""

    @property
    def n_states(self) -> int:
        """Numbers that it keeps for each weight, beside the weight."""
        return 0

    def resolved(self, n_ratings: int) -> Self:
        """This solver with numbers for what is "auto", for a table of so many ratings."""
        raise NotImplementedError

    def patience_in(self, n_epochs: int) -> int:
        """The patience of so many epochs: "auto" is a fifth of them, at least 5."""
        return max(5, n_epochs // 5) if self.patience == "auto" else self.patience

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raises ParameterValueError for the argument of that name."""
        raise ParameterValueError(f"{name}={getattr(self, name)!r}; {wanted}")

    def check_counts(self, *auto: str) -> None:
        """Refuses epochs, patience and threads that are none; "auto" is for the arguments named so."""
        for name in ("n_epochs", "patience"):
            value = getattr(self, name)
            if not (value == "auto" and name in auto) and not (is_whole(value) and value >= 1):
                wanted = "a whole number of epochs, at least one"
                self.refuse(name, f"'auto' or {wanted}" if name in auto else wanted)
        threads = getattr(self, "threads", None)
        if threads is not None and not (is_whole(threads) and threads >= 1):
            self.refuse("threads", "None or a whole number, at least one")

    def check(self, loss: Loss, link: Link) -> None:
        """Raises ParameterValueError where it cannot descend on this loss with this link.

        As it stands: on those of bilinear's own that its kernels know.
        """
        kernel_code(loss)
        kernel_code(link)

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


@runtime_checkable
class Resumable(Protocol):
    """A run that a checkpoint can save and go on with; others are begun again after a restart."""

    def state(self) -> dict[str, NDArray[Any]] | None:
        """The arrays that later steps depend on, beyond what the run was made of; not copied.

        Asked between epochs and whenever `epoch` calls `progress.advance`; None where the run cannot
        be gone on with from there.
        """

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes back what `state` gave. The next `epoch` gets the generator as it was at the beginning
        of the epoch under way, and does the rest of it."""


@runtime_checkable
class InOwnOrder(Protocol):
    """A run whose weights are in an order of its own: `current` makes a copy in the table's order."""

    def weights(self) -> Parameters:
        """The weights as they are."""

    def measure(self, validation: Interactions) -> float:
        """The bits of `rmse(current(), ...)`, without that copy."""


def descend(
    run: Run | Callable[[], Run],
    solver: Solver,
    objective: Objective,
    rng: np.random.Generator,
    validation: Interactions | None,
    n_run: int | None,
    progress: Progress | None,
    stage: str,
) -> tuple[Parameters, History]:
    """Runs the epochs of a resolved solver, `n_run` of them at most; see `Solver.minimise`.

    Args: run: or what makes it, which is not called where a checkpoint has the result.
    """
    assert solver.n_epochs != "auto"
    assert solver.patience != "auto"
    kept = journal()
    if kept is not None and (done := kept.finished(stage, rng)) is not None:
        return done
    progress = progress or Quiet()
    n_ratings = objective.interactions.n_ratings
    n_run = solver.n_epochs if n_run is None else n_run
    progress.stage(stage, n_ratings * n_run)
    loop = _Loop.start(run() if callable(run) else run, rng, stage)
    if kept is not None:
        saved = kept.begin(stage, loop.snapshot if isinstance(loop.run, Resumable) else None)
        if saved is not None:
            loop.restore(saved)
            if loop.epochs:
                progress.advance(n_ratings * len(loop.epochs), loop.epochs[-1].loss)
        progress = _Watched(progress, kept)
    ended: Any = "all epochs done"
    try:
        while len(loop.epochs) < n_run:
            number = len(loop.epochs) + 1
            loop.began = perf_counter()
            loss = loop.run.epoch(number, rng, progress)
            took = loop.seconds()
            found = None if validation is None else loop.measure(objective.link, validation)
            if found is not None and not np.isfinite(found):
                raise loop.run.diverged(number)
            pace = loop.run.pace(number)
            epoch = Epoch(number, loss, found, *pace, took, n_ratings / max(took, 1e-9), *loop.norms())
            loop.take(epoch)
            progress.epoch(epoch)
            if number - loop.best_epoch >= solver.patience and 2 * number >= solver.n_epochs:
                ended = "stopped early"
                break
            if kept is not None:
                kept.look()
    except KeyboardInterrupt:
        if kept is not None:
            kept.abandon()
        if not loop.epochs:
            raise
        if validation is None:  # the broken epoch's steps are kept: they only lowered the loss
            loop.best_epoch = len(loop.epochs)
        ended = "interrupted"
    best = loop.run.current() if loop.best is None else loop.best
    history = History(tuple(loop.epochs), loop.best_epoch, ended)
    if kept is not None and ended != "interrupted":
        kept.finish(stage, rng, best, history)
    return best, history


@dataclass
class _Loop:
    """Where a descent stands, between epochs and within one."""

    run: Run
    rng: np.random.Generator
    stage: str
    drawn: Any
    """State of `rng` at the beginning of the epoch under way."""
    sample: list[Array]
    """Some rows of either side's factors, as they were then."""
    spent: float = 0.0
    """Seconds of it before a restart."""
    began: float = 0.0
    """When it began or was gone on with, on the clock of `perf_counter`."""
    best: Parameters | None = None
    """None without validation: the last weights are the best."""
    best_epoch: int = 0
    epochs: list[Epoch] = field(default_factory=list)

    @classmethod
    def start(cls, run: Run, rng: np.random.Generator, stage: str) -> _Loop:
        return cls(run, rng, stage, rng.bit_generator.state, _sample(_weights(run)))

    def seconds(self) -> float:
        """That the epoch under way has taken."""
        return self.spent + perf_counter() - self.began

    def measure(self, link: Link, validation: Interactions) -> float:
        if isinstance(self.run, InOwnOrder):
            return self.run.measure(validation)
        return rmse(self.run.current(), link, validation)

    def norms(self) -> tuple[float, float, float]:
        """Norms of user factors, item factors and of how far the epoch under way has moved both."""
        weights = _weights(self.run)
        moved = 0.0
        for before, now, factors in zip(
            self.sample, _sample(weights), (weights.user_factors, weights.item_factors), strict=True
        ):
            moved += sum_of_squares(now - before) * len(factors) / max(len(now), 1)
        users, items = sum_of_squares(weights.user_factors), sum_of_squares(weights.item_factors)
        return float(users) ** 0.5, float(items) ** 0.5, float(moved) ** 0.5

    def take(self, epoch: Epoch) -> None:
        """Notes an epoch that is done; the next one begins."""
        measured = epoch.validation_rmse
        better = measured is None or measured < self.best_rmse
        if measured is not None and better:
            current = self.run.current()
            self.best = current if isinstance(self.run, InOwnOrder) else current.copy()
        self.epochs.append(epoch)  # after the best is safe, as Ctrl-C may come between
        if better:
            self.best_epoch = epoch.number
        self.run.observe(epoch.loss if measured is None else measured)
        self.drawn, self.sample = self.rng.bit_generator.state, _sample(_weights(self.run))
        self.spent = 0.0

    @property
    def best_rmse(self) -> float:
        found = self.epochs[self.best_epoch - 1].validation_rmse if self.best_epoch else None
        return np.inf if found is None else found

    def snapshot(self) -> Saved | None:
        assert isinstance(self.run, Resumable)
        state = self.run.state()
        if state is None:
            return None
        tensors = {f"run.{name}": array for name, array in state.items()}
        tensors |= {f"sample.{n}": rows for n, rows in enumerate(self.sample)}
        tensors["history"] = History(tuple(self.epochs), self.best_epoch, "interrupted").table()
        values = {"stage": self.stage, "rng": self.drawn, "best_epoch": self.best_epoch}
        values["seconds"] = self.seconds()
        if self.best is not None:
            values["global_mean"] = self.best.global_mean
            tensors |= {f"best.{name}": array for name, array in self.best.arrays().items()}
        return Saved(values, tensors)

    def restore(self, saved: Saved) -> None:
        assert isinstance(self.run, Resumable)
        values, tensors = saved.values, saved.tensors
        self.rng.bit_generator.state = self.drawn = values["rng"]
        self.best_epoch = values["best_epoch"]
        self.epochs = list(History.from_table(tensors["history"], self.best_epoch, "interrupted").epochs)
        for epoch in self.epochs:
            self.run.observe(epoch.loss if epoch.validation_rmse is None else epoch.validation_rmse)
        if "global_mean" in values:
            names = _weights(self.run).arrays()
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


def _weights(run: Run) -> Parameters:
    return run.weights() if isinstance(run, InOwnOrder) else run.current()


def _sample(weights: Parameters) -> list[Array]:
    """Copies of about `_SAMPLED` rows of either side's factors, evenly spread."""
    sides = (weights.user_factors, weights.item_factors)
    return [factors[:: max(1, len(factors) // _SAMPLED)].copy() for factors in sides]


def random_order(n_ratings: int, rng: np.random.Generator) -> NDArray[Any]:
    """The permutation that `rng.permutation(n_ratings)` draws, in 4 bytes a rating where they can hold it."""
    order = np.arange(n_ratings, dtype=np.int32 if n_ratings < 2**31 else np.int64)
    rng.shuffle(order)
    return order


def rmse(parameters: Parameters, link: Link, table: Interactions) -> float:
    """Root mean squared error of the predictions for a table with the same rows."""
    return rmse_of(score_rows(parameters, table.users, table.items), link, table.ratings)


def rmse_of(scores: Array, link: Link, ratings: Array) -> float:
    """Likewise from their scores. Memory: that of a part of them."""
    total = 0.0
    for first in range(0, len(scores), _PART):
        errors = link.prediction(scores[first : first + _PART]) - ratings[first : first + _PART]
        total += float((errors.astype(np.float64) ** 2).sum())
    return float((total / len(scores)) ** 0.5)
