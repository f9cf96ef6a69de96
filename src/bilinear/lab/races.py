"""Optimisers and schedules on one objective and one budget: which helped, by how much, and is it real?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_file, split_random
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.lab.certify import certify
from bilinear.lab.generalisation import rmse
from bilinear.lab.paired import Difference, mean_interval, paired_differences
from bilinear.lab.problem import Problem
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.descent import Solver
from bilinear.training.start import Scale, random_start

Tune = Literal["objective", "validation"]

_FACTOR = 2.0  # between rates that are tried
_MOST_RATES = 12
_HALVINGS = 4  # of a tuned rate at which another seed diverges
_START_SIZE = 0.1


@dataclass(frozen=True)
class Trial:
    """One rate of one method on the tuning seed; None where it diverged."""

    learning_rate: float
    value: float | None


@dataclass(frozen=True)
class Finish:
    """One run: the objective after the budget, and the error on ratings that took no part."""

    seed: int
    loss: float
    test_rmse: float


@dataclass(frozen=True)
class Runner:
    """One method.

    Attributes:
        name: as given.
        learning_rate: the tuned one; trials: what it was chosen from.
        finishes: one a seed, the same seeds for all methods; empty where every rate diverged.
        missing: share of the possible improvement that is missing, one a seed: 0 is the proved lower bound,
            1 the untrained model. Without a certificate the bound is that of a perfect fit.
        n_diverged: runs that diverged even so; a method with any is out of the tests.
    """

    name: str
    learning_rate: float
    trials: tuple[Trial, ...]
    finishes: tuple[Finish, ...]
    missing: tuple[float, ...]
    n_diverged: int

    @property
    def test_rmse(self) -> tuple[float, ...]:
        return tuple(finish.test_rmse for finish in self.finishes)


@dataclass(frozen=True)
class Race:
    """What a race showed.

    Attributes:
        source, n_train, n_test, n_factors, n_epochs: what was run.
        tuned_on: what rates were chosen by: the training objective, or an inner validation part.
        lower_bound: no parameters of any size have a lower objective.
        certified: relative gap of the best certified point, None without a certificate.
        untrained: the objective with all weights zero.
        runners: in the order given; the first is what the others are compared with.
        losses, errors: differences to the first in `missing` and in test RMSE, paired by seed, p values
            corrected for their number (Holm).
    """

    source: str
    n_train: int
    n_test: int
    n_factors: int
    n_epochs: int
    tuned_on: Tune
    penalty: L2
    lower_bound: float
    certified: float | None
    untrained: float
    runners: tuple[Runner, ...]
    losses: tuple[Difference, ...]
    errors: tuple[Difference, ...]

    @property
    def best(self) -> Runner:
        """The smallest mean of `missing` among those that finished."""
        done = [runner for runner in self.runners if runner.finishes and not runner.n_diverged]
        return min(done, key=lambda runner: float(np.mean(runner.missing)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"best": self.best.name, "helped": self.sentences()}

    def to_html(self, path: str | Path) -> None:
        """Writes one page with pictures that needs no network, whole or not at all."""
        from bilinear.lab.race_page import write_race

        write_race(self, Path(path))

    def sentences(self) -> list[str]:
        """For each method what it changed against the first, in words."""
        first, out = self.runners[0].name, []
        for loss, error in zip(self.losses, self.errors, strict=True):
            lower = "lowered" if loss.mean < 0 else "raised"
            words = f"{loss.name} {lower} what is missing of the training loss by "
            words += f"{100 * abs(loss.mean):.3g} points against {first}" + (
                "" if loss.real else ", which may be chance"
            )
            better = "lower" if error.mean < 0 else "higher"
            words += f"; its error on new ratings is {abs(error.mean):.4f} {better}"
            words += "" if error.real else ", which may be chance"
            out.append(words + ".")
        out += [
            f"{runner.name} diverged in {runner.n_diverged} runs and is not compared."
            for runner in self.runners
            if runner.n_diverged
        ]
        return out

    def __str__(self) -> str:
        lines = [
            f"{len(self.runners)} methods, {len(self.best.finishes)} seeds, {self.n_epochs} epochs each over "
            f"{self.n_train:,} ratings, {self.n_factors} factors; rates tuned "
            f"on the {'training objective' if self.tuned_on == 'objective' else 'inner validation part'} "
            "with a seed of its own.",
            f"Missing: share of the way from the untrained model to the lower bound {self.lower_bound:,.6g} "
            + (
                f"({self.certified:.1g} of it below a certified optimum)."
                if self.certified is not None
                else "(a perfect fit; for this loss no certificate exists)."
            ),
            "",
            f"{'method':<24} {'rate':>8}  {'missing [95 % interval]':<28} test RMSE [95 % interval]",
        ]
        for runner in sorted(self.runners, key=lambda runner: float(np.mean(runner.missing or [np.inf]))):
            if not runner.finishes:
                lines.append(f"{runner.name:<24} {runner.learning_rate:8.2g}  diverged at every rate")
                continue
            missing, error = mean_interval(runner.missing), mean_interval(runner.test_rmse)
            lines.append(
                f"{runner.name:<24} {runner.learning_rate:8.2g}  "
                f"{f'{100 * missing[0]:.3f} % [{100 * missing[1]:.3f}, {100 * missing[2]:.3f}]':<28} "
                f"{error[0]:.4f} [{error[1]:.4f}, {error[2]:.4f}]"
            )
        return "\n".join([*lines, "", *self.sentences()])


def race(
    interactions: Interactions,
    methods: Mapping[str, Solver],
    *,
    test: Interactions | None = None,
    penalty: L2 | None = None,
    loss: Loss | None = None,
    link: Link | None = None,
    n_factors: int = 16,
    n_epochs: int = 20,
    n_seeds: int = 10,
    tune: Tune = "objective",
    bound_products: int = 600,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Race:
    """Runs every method from the same starts, on the same objective, for the same number of epochs.

    Args:
        test: ratings measured once, after each run; None holds out a tenth at random. Rates are
            never chosen on it.
        methods: solvers by name; the first is what the others are compared with. Their learning rate is
            where the search for the best one begins: by factors of two, until both neighbours are worse.
            A rate that diverges with another seed is halved, for all seeds.
        tune: what rates are chosen by: the training objective, or the RMSE on a tenth of the training
            ratings that is held out while tuning.
        n_seeds: runs of each method, with seeds that tuning has not seen.
        bound_products: Hessian products for the certified lower bound; any number gives a valid
            one.
    Raises:
        ParameterValueError: fewer than two seeds or methods, no solver, or decoupled weight decay.
        DivergenceError: no method finished at any rate.
    Cost: methods * (n_seeds + some 5) training runs, and one descent to the optimum.
    """
    _check(methods, n_factors, n_epochs, n_seeds, tune)
    tell = tell or _silent
    parts = split_random(interactions, 0.1, seed) if test is None else split_file(interactions, test)
    train, test = parts.train, parts.test
    everything = np.concatenate([train.ratings, test.ratings])  # the range of predictions, not their values
    link = (link or Identity()).resolved(float(everything.min()), float(everything.max()))
    loss, penalty = loss or SquaredError(), penalty or L2(1.0, 1.0)
    track = _Track(Objective(loss, link, penalty, train), test, n_factors, n_epochs)
    bound, certified = track.lower_bound(bound_products, seed, tell)
    untrained = track.problem.value(track.problem.zeros(0))
    runners = []
    for name, solver in methods.items():
        tell(f"{name}: tuning its rate")
        trials = _tuned(track, solver, tune, seed)
        done = [trial for trial in trials if trial.value is not None]
        if not done:
            runners.append(Runner(name, _rate(solver), trials, (), (), n_seeds))
            continue
        rate = min(done, key=lambda trial: trial.value or 0.0).learning_rate
        for _ in range(_HALVINGS):
            tell(f"{name}: {n_seeds} seeds at rate {rate:.3g}")
            finishes = track.finishes(_at_rate(solver, rate), n_seeds, seed)
            if len(finishes) == n_seeds:
                break
            rate /= _FACTOR
        missing = tuple((finish.loss - bound) / (untrained - bound) for finish in finishes)
        runners.append(Runner(name, rate, trials, tuple(finishes), missing, n_seeds - len(finishes)))
    if not any(runner.finishes and not runner.n_diverged for runner in runners):
        raise DivergenceError("no method finished every run at any rate; lower the rates they start from")
    if runners[0].n_diverged:
        raise DivergenceError(
            f"{runners[0].name}, which the others are compared with, diverged; put another first"
        )
    whole = [runner for runner in runners[1:] if not runner.n_diverged]
    return Race(
        interactions.source,
        train.n_ratings,
        test.n_ratings,
        n_factors,
        n_epochs,
        tune,
        penalty,
        bound,
        certified,
        untrained,
        tuple(runners),
        paired_differences(runners[0].missing, {runner.name: runner.missing for runner in whole}),
        paired_differences(runners[0].test_rmse, {runner.name: runner.test_rmse for runner in whole}),
    )


@dataclass(frozen=True, eq=False)
class _Track:
    """What every run has in common."""

    objective: Objective
    test: Interactions
    n_factors: int
    n_epochs: int

    @property
    def mean(self) -> float:
        objective = self.objective
        return objective.link.score(float(objective.interactions.ratings.mean(dtype=np.float64)))

    @property
    def problem(self) -> Problem:
        return Problem.of(self.objective, self.mean)

    def lower_bound(
        self, products: int, seed: int, tell: Callable[[str], None]
    ) -> tuple[float, float | None]:
        """(bound, relative gap of the certified point or None)"""
        from bilinear.lab.certificate import floor, why_no_certificate

        if why_no_certificate(self.problem, 1):
            return floor(self.problem), None
        tell("the certified lower bound")
        objective = self.objective
        found = certify(
            objective.interactions,
            objective.loss,
            objective.link,
            objective.penalty,
            max_products=products,
            seed=seed,
        ).certificate
        return found.lower_bound, found.relative_gap

    def run(
        self, solver: Solver, seed: Sequence[int], objective: Objective | None = None
    ) -> Parameters | None:
        """The weights after the budget, or None where it diverged."""
        objective = objective or self.objective
        table = objective.interactions
        rng = np.random.default_rng(seed)
        start = random_start(
            table, self.n_factors, Scale.of(table, objective.link, objective.loss), _START_SIZE, rng
        )
        try:
            with np.errstate(all="ignore"):
                found, _ = solver.minimise(objective, start, rng)
        except DivergenceError:
            return None
        return found if np.isfinite(objective.value(found.astype(np.float64))) else None

    def finishes(self, solver: Solver, n_seeds: int, seed: int) -> list[Finish]:
        """One for each seed that did not diverge."""
        found = ((number, self.run(solver, [seed, number])) for number in range(1, n_seeds + 1))
        return [Finish(number, self.value(at), self.error(at)) for number, at in found if at is not None]

    def value(self, parameters: Parameters) -> float:
        return self.objective.value(parameters.astype(np.float64))

    def error(self, parameters: Parameters) -> float:
        return rmse(parameters, self.objective.link, self.test)


def _tuned(track: _Track, solver: Solver, tune: Tune, seed: int) -> tuple[Trial, ...]:
    """Rates by factors of two from the solver's own, downhill until both neighbours are worse."""
    inner = None
    if tune == "validation":
        inner = split_random(track.objective.interactions, 0.1, seed)
    tried: dict[int, float] = {}

    def value(power: int) -> float:
        if power not in tried:
            objective = (
                track.objective if inner is None else replace(track.objective, interactions=inner.train)
            )
            found = track.run(_at_rate(solver, rate(power)), [seed, 0], objective)
            if found is None:
                tried[power] = np.inf
            elif inner is None:
                tried[power] = track.value(found)
            else:
                tried[power] = rmse(found, objective.link, inner.test)
        return tried[power]

    def rate(power: int) -> float:
        return float(_rate(solver) * _FACTOR**power)

    at = 0
    while len(tried) < _MOST_RATES:
        here, down, up = value(at), value(at - 1), value(at + 1)
        if np.isinf(here) or (down < here and down <= up):
            at -= 1
        elif up < here:
            at += 1
        else:
            break
    return tuple(
        Trial(rate(power), value if np.isfinite(value) else None) for power, value in sorted(tried.items())
    )


def _rate(solver: Solver) -> float:
    """The learning rate that it begins with."""
    return float(getattr(solver, "rate", None) or solver.learning_rate)  # type: ignore[attr-defined]


def _at_rate(solver: Solver, rate: float) -> Solver:
    changed: Solver = replace(solver, learning_rate=rate)  # type: ignore[type-var]
    return changed


def _check(methods: Mapping[str, Solver], n_factors: int, n_epochs: int, n_seeds: int, tune: str) -> None:
    from bilinear.training.minibatch import MiniBatch
    from bilinear.training.optimizers import AdamW

    if len(methods) < 2:
        raise ParameterValueError(f"{len(methods)} methods; a race takes at least two, see `racers`")
    if not 2 <= n_seeds <= 1000:
        raise ParameterValueError(f"n_seeds={n_seeds}; 2 to 1000, and 10 to tell chance from more")
    if n_factors < 1 or n_epochs < 1:
        raise ParameterValueError(f"n_factors={n_factors}, n_epochs={n_epochs}; at least one of each")
    if tune not in ("objective", "validation"):
        raise ParameterValueError(f"tune={tune!r}; 'objective' or 'validation'")
    for name, solver in methods.items():
        if not isinstance(solver, Solver) or not hasattr(solver, "learning_rate"):
            raise ParameterValueError(f"{name}: {solver!r} is no solver with a learning rate, such as SGD()")
        if solver.n_epochs != n_epochs:
            raise ParameterValueError(
                f"{name} runs {solver.n_epochs} epochs, the race {n_epochs}: the budget is the same for all"
            )
        decays = isinstance(solver, MiniBatch) and (
            any(solver.weight_decay.pair) or (isinstance(solver.rule, AdamW) and solver.rule.weight_decay)
        )
        if decays or any(solver.l2_schedule(at) != 1 for at in (0.9, 1.0)):
            raise ParameterValueError(
                f"{name} changes the penalty by decoupled decay or a schedule, so it does not descend on the "
                "objective of the others; leave that out"
            )


def _silent(_: str) -> None:
    """Tells nobody."""
