"""Search for l2_biases, l2 and n_factors on an inner validation part: short and warm-started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from bilinear.compiling import clock
from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split, sample_users
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.losses import Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2, RowWeights
from bilinear.tabular import Tabular, columns_of
from bilinear.training.bias_solver import solve_biases
from bilinear.training.checkpoint import record_once
from bilinear.training.history import CLOSED_FORM, Ended, History
from bilinear.training.initialization import Scale, random_start
from bilinear.training.progress import NullProgress, Progress
from bilinear.training.rating_grid import keeping_grids
from bilinear.training.schedules import Constant
from bilinear.training.sgd import SGD
from bilinear.training.solver import Solver
from bilinear.training.validation import rmse

BIAS_GRID = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2)
L2_PATH = (1.6, 1.13, 0.8, 0.57, 0.4, 0.28, 0.2, 0.14, 0.1, 0.07, 0.05, 0.035, 0.025)
BIAS_PATH = (1.0, 0.5, 0.25, 0.125)
FULL_L2_PATH = (1.41, 2.0, 2.83)
FINALIST_PATH = (1.41, 1.0, 0.71, 0.5)
FACTOR_PATH = (32, 64, 128, 256)
NO_BIASES = 1e9  # a penalty that leaves the mean alone
LARGER_START = 5.0  # times the start, where factors grew from it to nothing
_TOLERANCE = 5e-4  # by which share of the RMSE a trial must be better to be preferred
_CLEAR = 2.0  # standard errors by which the best trial with factors must beat what has none
SEARCHED = 5_000_000  # training ratings; of more, a search takes those of as many users as hold so many
_SHIFT = 0.25  # power of the share of the ratings with which the best l2 of a part grows; measured
_ALIKE = 0.25  # share from which that is not looked at again
_PATH_FACTORS = 32  # while the penalties are chosen
_FIRST_SHARE, _NEXT_SHARE = 2, 4  # of a full run's epochs, inverted, for trials of l2
_OUT_OF_REACH = 0.01  # share of the RMSE that more factors do not make up for
_WORSE = 2e-3  # by which share of the RMSE a trial of l2 must be worse to count against going on


@dataclass(frozen=True)
class Trial:
    """One row of the search table; RMSE is that of the inner validation part."""

    stage: str
    n_factors: int
    l2: float
    l2_biases: float
    validation_rmse: float
    seconds: float
    kept: bool = False
    """Whether it decided its stage."""


@dataclass(frozen=True)
class SearchTable(Tabular):
    """Trials of a search in their order, and the choice."""

    trials: tuple[Trial, ...]
    n_factors: int
    l2: float
    l2_biases: float
    interrupted: bool = False
    start_size: float = 0.1
    """Of the factors, larger than was asked for where they did not grow from that."""
    n_searched: int | None = None
    """Training ratings of the users that all but the finalists were tried on; None: all were tried on all."""

    def to_columns(self) -> dict[str, Any]:
        """One row a trial, see `Trial`."""
        return columns_of(self.trials, Trial)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SearchTable:
        trials = tuple(Trial(**trial) for trial in stored["trials"])
        return cls(**{**stored, "trials": trials})

    def __str__(self) -> str:
        lines = ["stage      factors        l2  l2_biases  validation RMSE  seconds"]
        lines += [
            f"{trial.stage:<10} {trial.n_factors:7d} {trial.l2:9.4g} {trial.l2_biases:10.4g} "
            f"{trial.validation_rmse:16.4f} {trial.seconds:8.2f}{' <- kept' if trial.kept else ''}"
            for trial in self.trials
        ]
        if self.n_searched is not None:
            lines.append(
                f"all but the finalists: tried on {self.n_searched:,} ratings, those of users drawn at random"
            )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The table and the run it chose: weights of its best epoch, and its history."""

    table: SearchTable
    parameters: Parameters
    history: History


def search(
    train: Interactions,
    validation: Interactions,
    link: Link,
    loss: Loss,
    solver: Solver,
    *,
    n_factors: int | None,
    l2: float | None,
    l2_biases: float | None,
    exponent: RowWeights,
    start_size: float,
    seed: int,
    progress: Progress | None = None,
    to_beat: float = np.inf,
) -> SearchResult:
    """Chooses whatever of n_factors, l2 and l2_biases is None by the validation RMSE.

    1. l2_biases by the closed-form bias model; with SGD at most what its longest step can follow.
    2. l2 from large to small with 32 factors, each trial going on from the weights of the one
       before for a quarter of a full run; ends after two trials that were 0.2 % worse.
    3. l2_biases downwards, then l2 and then n_factors upwards, each trial a full run from its own random
       start (columns added to a trained model would need as long); ends at the first that is
       no better by 0.05 %.
    4. Where the best of these is no better than the biases alone, one more from a start five times as
       large, as factors can be stuck at zero. With n_factors None the mean alone and the biases alone
       are choices as well: biases must be better than the mean by 0.05 %, and factors, the best of
       many trials, than either by two standard errors on the validation part too.
    The grids are in units of `Scale`, so they fit any rating scale. The best full run is the
    result: it is not trained again.

    Of more than 5 million training ratings all this happens on those of users drawn at random who have so
    many. What it chose is then trained on all ratings, as a finalist. Items have fewer ratings in a part,
    which moves the best l2: it is divided by the fourth root of the part's share, and where that is less
    than a quarter l2 is looked for once more on all ratings, near there, as in 2.

    Cost:
        some three full runs with 32 factors, and one for each n_factors tried. Ctrl-C ends the search
        with the best so far.
    Raises:
        KeyboardInterrupt: before there are weights for all users.

    An `on_epoch` function that stops a part's search has the finalist trained with the best so far.

    Args:
        to_beat: a validation RMSE without which the result is of no use: more factors are not tried where
            what is best so far is 1 % above it, as they never gave so much.
    """
    problem = link, loss, solver, exponent, start_size, seed, progress or NullProgress(), to_beat
    part = searched_part(Split(train, validation, ""), seed)
    run = _Search(train, validation, *problem)
    interrupted, n_searched = False, None
    try:
        if part.train is train:
            run.choose(n_factors, l2, l2_biases)
        else:
            n_searched = part.train.n_ratings
            small = _Search(part.train, part.test, *problem)
            try:
                small.choose(n_factors, l2, l2_biases)
            except KeyboardInterrupt:
                if small.ended == "interrupted":
                    raise
            del part
            free = {"factors": n_factors is None, "l2": l2 is None, "l2_biases": l2_biases is None}
            run.choose_finalist(small, **free)
    except KeyboardInterrupt:
        if run.best is None:
            raise
        interrupted = True
    assert run.best is not None
    chosen = run.n_factors, run.l2, run.l2_biases
    table = SearchTable(tuple(run.trials), *chosen, interrupted, run.start_size, n_searched)
    parameters, history = run.best
    if interrupted:
        history = replace(history, ended=run.ended)
    return SearchResult(table, parameters, history)


def searched_part(split: Split, seed: int) -> Split:
    """What a search tries its choices on: the split, or a part of its users where they have many ratings."""
    return sample_users(split, SEARCHED, np.random.default_rng([seed, 6]))


def first_choice(scale: Scale) -> SearchTable:
    """The first point of a search."""
    return SearchTable((), _PATH_FACTORS, L2_PATH[4] * scale.l2_factors, BIAS_GRID[4] * scale.l2_biases)


def choose_bias_penalty(
    train: Interactions, validation: Interactions, link: Link, exponent: RowWeights, largest: float = np.inf
) -> SearchTable:
    """The best of `BIAS_GRID` up to `largest` for the closed-form bias model, by validation RMSE.

    The first trial is the mean alone, with a penalty of `NO_BIASES`; it is the choice where no biases are
    better by 0.05 % and `largest` allows it.
    """
    trials = []
    for l2_biases in (NO_BIASES, *BIAS_GRID):
        began = clock()
        found = rmse(solve_biases(train, L2(0, l2_biases, exponent)), link, validation)
        stage = "mean" if l2_biases == NO_BIASES else "biases"
        trials.append(Trial(stage, 0, 0.0, l2_biases, found, clock() - began))
    allowed = [n for n, l2_biases in enumerate(BIAS_GRID, 1) if l2_biases <= largest] or [1]
    best = min(allowed, key=lambda n: trials[n].validation_rmse)
    if largest >= NO_BIASES and not _better(trials[best].validation_rmse, trials[0].validation_rmse):
        best = 0
    trials[best] = replace(trials[best], kept=True)
    return SearchTable(tuple(trials), 0, 0.0, trials[best].l2_biases)


def solve_without_factors(table: Interactions, penalty: L2, link: Link, loss: Loss) -> Parameters:
    """Biases alone in closed form; the mean alone with a penalty of `NO_BIASES` or another link."""
    if isinstance(link, Identity) and isinstance(loss, SquaredError):
        return solve_biases(table, penalty)
    return Parameters.zeros(table.shape, 0, Scale.of(table, link, loss).centre)


def _better(found: float, simpler: float) -> bool:
    """Whether an RMSE is worth more than that of something simpler."""
    return found < simpler * (1 - _TOLERANCE)


class _Search:
    """The data, the choices so far, and the trials so far."""

    def __init__(
        self,
        train: Interactions,
        validation: Interactions,
        link: Link,
        loss: Loss,
        solver: Solver,
        exponent: RowWeights,
        start_size: float,
        seed: int,
        progress: Progress,
        to_beat: float,
    ) -> None:
        self.to_beat = to_beat
        self.train, self.validation, self.link, self.loss = train, validation, link, loss
        self.solver, self.exponent, self.start_size = solver, exponent, start_size
        self.seed, self.progress = seed, progress
        self.scale = Scale.of(train, link, loss)
        self.trials: list[Trial] = []
        first = first_choice(self.scale)
        self.n_factors, self.l2, self.l2_biases = first.n_factors, first.l2, first.l2_biases
        self.best: tuple[Parameters, History] | None = None
        self.ended: Ended = "interrupted"
        """Why the search ended, if it was cut short."""

    def choose(self, n_factors: int | None, l2: float | None, l2_biases: float | None) -> None:
        """All stages, for what is None."""
        self.n_factors = _PATH_FACTORS if n_factors is None else n_factors
        if l2_biases is None:
            self.choose_l2_biases()
        else:
            self.l2_biases = l2_biases
        with keeping_grids(self.seed):
            if l2 is not None:
                self.l2 = l2
            elif self.n_factors:
                self.choose_l2([unit * self.scale.l2_factors for unit in L2_PATH])
            penalties = self.n_factors > 0
            self.choose_by_full_runs(
                biases=l2_biases is None and penalties,
                l2=l2 is None and penalties,
                factors=n_factors is None,
            )
        if n_factors is None:
            self.choose_without_factors(mean=l2_biases is None)

    def choose_finalist(self, of_part: _Search, *, factors: bool, l2: bool, l2_biases: bool) -> None:
        """What was chosen on a part of the users, on all ratings; what is true was chosen there."""
        self.n_factors, self.l2, self.l2_biases = of_part.n_factors, of_part.l2, of_part.l2_biases
        self.start_size = of_part.start_size
        share = of_part.train.n_ratings / self.train.n_ratings
        if l2:
            self.l2 *= share**-_SHIFT
        if factors and not self.n_factors:
            if l2_biases:
                self.choose_l2_biases()
            self.choose_without_factors(mean=l2_biases)
        else:
            with keeping_grids(self.seed):
                if l2 and self.n_factors and share < _ALIKE:
                    self.n_factors = min(self.n_factors, _PATH_FACTORS)
                    self.choose_l2([share * self.l2 for share in FINALIST_PATH])
                    self.n_factors = of_part.n_factors
                self.choose_by_full_runs(biases=False, l2=False, factors=False, stage="finalist")
        self.trials = [*(replace(trial, kept=False) for trial in of_part.trials), *self.trials]

    def choose_l2_biases(self) -> None:
        """By the closed-form bias model on the bare ratings."""
        identity = Identity(*self.link.bounds)
        # a step multiplies the bias of a row with one rating by 1 - rate * penalty: beyond two it grows
        largest = 2 / self.solver.rate if isinstance(self.solver, SGD) else BIAS_GRID[-1]
        choose = partial(choose_bias_penalty, self.train, self.validation, identity, self.exponent, largest)
        table = SearchTable.from_dict(record_once(lambda: choose().to_dict()))
        self.l2_biases = table.l2_biases * self.scale.l2_biases
        unit = self.scale.l2_biases
        self.trials += [replace(trial, l2_biases=trial.l2_biases * unit) for trial in table.trials]

    def choose_l2(self, path: Sequence[float]) -> None:
        """From large to small, each trial going on from the weights of the one before."""
        best, chosen, worse = np.inf, self.l2, 0
        rng = np.random.default_rng([self.seed, 1])
        parameters = random_start(self.train, self.n_factors, self.scale, self.start_size, rng)
        short = self._shortened(_FIRST_SHARE)
        try:
            for self.l2 in path:
                parameters, history, trial = self._descend("l2", short, parameters, rng)
                short = self._shortened(_NEXT_SHARE)
                better = trial.validation_rmse < best
                self._add(trial, better)
                if better:
                    best, chosen, worse = trial.validation_rmse, self.l2, 0
                    self.best = parameters, history
                elif trial.validation_rmse > best * (1 + _WORSE):
                    worse += 1
                if history.cut_short:
                    raise KeyboardInterrupt
                if worse == 2:
                    break
        finally:
            self.l2 = chosen

    def _shortened(self, share: int) -> Solver:
        n_epochs = self.solver.resolved(self.train.n_ratings).n_epochs
        assert n_epochs != "auto"
        return replace(  # type: ignore[type-var]  # every solver is a dataclass
            self.solver, n_epochs=max(1, n_epochs // share), patience=n_epochs, l2_schedule=Constant()
        )

    def choose_by_full_runs(self, *, biases: bool, l2: bool, factors: bool, stage: str = "full run") -> None:
        """l2_biases downwards, l2 and then n_factors upwards, each until a full run is no better."""
        start_biases, start_l2, best = self.l2_biases, self.l2, np.inf

        def better(
            *,
            n_factors: int | None = None,
            l2: float | None = None,
            l2_biases: float | None = None,
            stage: str = stage,
        ) -> bool:
            nonlocal best
            before, wins = (self.n_factors, self.l2, self.l2_biases), False
            self.n_factors = self.n_factors if n_factors is None else n_factors
            self.l2 = self.l2 if l2 is None else l2
            self.l2_biases = self.l2_biases if l2_biases is None else l2_biases
            rng = np.random.default_rng([self.seed, 2])
            start = random_start(self.train, self.n_factors, self.scale, self.start_size, rng)
            try:
                parameters, history, trial = self._descend(stage, self.solver, start, rng)
                interrupted = history.cut_short
                to_beat = min(best, self._best_rmse()) if interrupted else best
                wins = trial.validation_rmse < to_beat * (1 - _TOLERANCE)
                self._add(trial, wins)
                if wins:
                    best, self.best = trial.validation_rmse, (parameters, history)
                if interrupted:
                    raise KeyboardInterrupt
            finally:  # what was chosen must describe the weights that are kept
                if not wins:
                    self.n_factors, self.l2, self.l2_biases = before
            return wins

        for share in BIAS_PATH if biases else BIAS_PATH[:1]:
            if not better(l2_biases=start_biases * share):
                break
        for factor in FULL_L2_PATH if l2 else ():
            if not better(l2=start_l2 * factor):
                break
        for n_factors in FACTOR_PATH if factors and best < self.to_beat * (1 + _OUT_OF_REACH) else ():
            if n_factors > self.n_factors and not better(n_factors=n_factors):
                break
        if stage == "full run" and self.n_factors and not _better(best, self.best_simple):
            self.start_size *= LARGER_START
            if not better(stage="larger start"):
                self.start_size /= LARGER_START

    @property
    def best_simple(self) -> float:
        """The lowest validation RMSE of the trials without factors; infinite without any."""
        return min((trial.validation_rmse for trial in self.trials if not trial.n_factors), default=np.inf)

    def choose_without_factors(self, *, mean: bool) -> None:
        """The biases alone, or the mean alone, unless more is better on the validation part."""
        of_factors, of_mean = self._best_rmse(), self._trial_of_mean() if mean else None
        parameters, history, trial = self._biases_alone()
        if of_mean is not None and not _better(trial.validation_rmse, of_mean.validation_rmse):
            trial = replace(of_mean, stage="no factors")
            penalty = L2(0.0, trial.l2_biases, self.exponent)
            parameters = solve_without_factors(self.train, penalty, self.link, self.loss)
            history = CLOSED_FORM
        wins = not (_better(of_factors, trial.validation_rmse) and self._clearly_better_than(parameters))
        if wins or history.epochs:  # else the table has it as one of the stage "biases"
            self._add(trial, wins)
        if wins:
            self.best = parameters, history
            self.n_factors, self.l2, self.l2_biases = 0, 0.0, trial.l2_biases

    def _clearly_better_than(self, simpler: Parameters) -> bool:
        """Whether the squared errors of the best so far are lower, by two standard errors."""
        assert self.best is not None
        table = self.validation
        errors = [
            self.link.prediction(score_rows(parameters, table.users, table.items)).astype(np.float64)
            - table.ratings
            for parameters in (simpler, self.best[0])
        ]
        gains = errors[0] ** 2 - errors[1] ** 2
        return bool(gains.mean() > _CLEAR * gains.std() / len(gains) ** 0.5)

    def _trial_of_mean(self) -> Trial:
        return next(trial for trial in self.trials if trial.stage == "mean")

    def _biases_alone(self) -> tuple[Parameters, History, Trial]:
        """In closed form where there is one, with the best penalty that was tried; else a full run."""
        if not (isinstance(self.link, Identity) and isinstance(self.loss, SquaredError)):
            rng = np.random.default_rng([self.seed, 2])
            start = random_start(self.train, 0, self.scale, self.start_size, rng)
            before, self.n_factors = self.n_factors, 0
            try:
                return self._descend("no factors", self.solver, start, rng)
            finally:
                self.n_factors = before
        tried = [trial for trial in self.trials if trial.stage == "biases"]
        best = min(tried, key=lambda trial: trial.validation_rmse).l2_biases if tried else self.l2_biases
        began = clock()
        parameters = solve_biases(self.train, L2(0.0, best, self.exponent))
        found = rmse(parameters, self.link, self.validation)
        trial = Trial("no factors", 0, 0.0, best, found, clock() - began)
        return parameters, CLOSED_FORM, trial

    def _descend(
        self, stage: str, solver: Solver, start: Parameters, rng: np.random.Generator
    ) -> tuple[Parameters, History, Trial]:
        began = clock()
        penalty = L2(self.l2, self.l2_biases, self.exponent)
        parameters, history = solver.minimise(
            Objective(self.loss, self.link, penalty, self.train),
            start,
            rng,
            validation=self.validation,
            progress=self.progress,
            stage=f"search {stage}, {self.n_factors} factors",
        )
        if history.cut_short:
            self.ended = history.ended
        found = history.best_validation_rmse
        assert found is not None
        took = max(clock() - began, history.seconds)  # after a restart it may be from a checkpoint
        return parameters, history, Trial(stage, self.n_factors, self.l2, self.l2_biases, found, took)

    def _best_rmse(self) -> float:
        found = None if self.best is None else self.best[1].best_validation_rmse
        return np.inf if found is None else found

    def _add(self, trial: Trial, kept: bool) -> None:
        """Appends a trial; if it is the one to keep, the others of its stage are not."""
        if kept:
            self.trials = [replace(t, kept=t.kept and t.stage != trial.stage) for t in self.trials]
        self.trials.append(replace(trial, kept=kept))
