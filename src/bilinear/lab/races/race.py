"""Optimisers and schedules compared on one objective and one budget, with intervals and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_file, split_random
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.lab.numerics.problem import Problem
from bilinear.lab.numerics.summaries import rmse
from bilinear.lab.proofs.certify import certify
from bilinear.lab.races.paired_differences import Difference, mean_interval, paired_differences
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.tabular import Shown
from bilinear.training.initialization import Scale, random_start
from bilinear.training.solver import Solver

Tune = Literal["objective", "validation"]

_FACTOR = 2.0  # between rates that are tried
_MOST_RATES = 12
_HALVINGS = 4  # of a tuned rate at which another seed diverges
_START_SIZE = 0.1


@dataclass(frozen=True)
class RateTrial:
    """One learning rate of one method on the tuning seed.

    Attributes:
        learning_rate: The rate.
        value: The tuned quantity, smaller is better; None where training diverged.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> methods = lab.race_methods("sgd", "adam", n_epochs=2)
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.race(ratings, methods, n_factors=2, n_epochs=2, n_seeds=2)
        >>> trial = found.methods[0].trials[0]
        >>> trial.learning_rate > 0, trial.value > 0
        (True, True)
    """

    learning_rate: float
    value: float | None


@dataclass(frozen=True)
class RunResult:
    """One run of a method.

    Attributes:
        seed: Of its start.
        loss: The objective after the budget.
        test_rmse: On held-out ratings.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> methods = lab.race_methods("sgd", "adam", n_epochs=2)
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.race(ratings, methods, n_factors=2, n_epochs=2, n_seeds=2)
        >>> [run.seed for run in found.methods[0].runs]
        [1, 2]
    """

    seed: int
    loss: float
    test_rmse: float


@dataclass(frozen=True)
class MethodResult:
    """All runs of one method.

    Attributes:
        name: As it was given.
        learning_rate: The tuned one.
        trials: The learning rates it was chosen from.
        runs: One a seed, the same seeds for all methods; empty where every rate diverged.
        missing: Share of the possible improvement that is missing, one a seed: 0 is the proved lower
            bound, 1 the untrained model. Without a certificate the bound is that of a perfect fit.
        n_diverged: Runs that diverged at every rate; a method with any is not tested.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> methods = lab.race_methods("sgd", "adam", n_epochs=2)
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.race(ratings, methods, n_factors=2, n_epochs=2, n_seeds=2)
        >>> found.methods[0].name, len(found.methods[0].runs)
        ('sgd', 2)
    """

    name: str
    learning_rate: float
    trials: tuple[RateTrial, ...]
    runs: tuple[RunResult, ...]
    missing: tuple[float, ...]
    n_diverged: int

    @property
    def test_rmse(self) -> tuple[float, ...]:
        """Held-out RMSE, one a seed."""
        return tuple(run.test_rmse for run in self.runs)


@dataclass(frozen=True)
class Race(Shown):
    """The results of a race.

    Attributes:
        source: The ratings.
        n_train: Training ratings.
        n_test: Held-out ratings.
        n_factors: Of every model.
        n_epochs: Of every run.
        tuned_on: What learning rates were chosen by: the training objective, or a validation part.
        penalty: Of the objective.
        lower_bound: No parameters of any size have a lower objective.
        certified: Relative gap of the best certified point; None without a certificate.
        untrained: The objective with all weights zero.
        methods: In the order given; the others are compared with the first.
        losses: Differences to the first in `missing`, paired by seed, p values corrected (Holm).
        errors: The same in test RMSE.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> methods = lab.race_methods("sgd", "adam", n_epochs=2)
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.race(ratings, methods, n_factors=2, n_epochs=2, n_seeds=2)
        >>> found.n_epochs, [result.name for result in found.methods]
        (2, ['sgd', 'adam'])
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
    methods: tuple[MethodResult, ...]
    losses: tuple[Difference, ...]
    errors: tuple[Difference, ...]

    @property
    def best(self) -> MethodResult:
        """The method with the smallest mean of `missing` among those that never diverged."""
        done = [result for result in self.methods if result.runs and not result.n_diverged]
        return min(done, key=lambda result: float(np.mean(result.missing)))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"best": self.best.name, "helped": self.sentences()}

    def to_html(self, path: str | Path) -> None:
        """Writes one page with pictures that can be read without a network, whole or not at all."""
        from bilinear.lab.races.page import write_race

        write_race(self, Path(path))

    def sentences(self) -> list[str]:
        """The difference of each method to the first, in words."""
        first, out = self.methods[0].name, []
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
            f"{result.name} diverged in {result.n_diverged} runs and is not compared."
            for result in self.methods
            if result.n_diverged
        ]
        return out

    def __str__(self) -> str:
        lines = [
            f"{len(self.methods)} methods, {len(self.best.runs)} seeds, {self.n_epochs} epochs each over "
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
        for result in sorted(self.methods, key=lambda result: float(np.mean(result.missing or [np.inf]))):
            if not result.runs:
                lines.append(f"{result.name:<24} {result.learning_rate:8.2g}  diverged at every rate")
                continue
            missing, error = mean_interval(result.missing), mean_interval(result.test_rmse)
            lines.append(
                f"{result.name:<24} {result.learning_rate:8.2g}  "
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
    rng: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Race:
    """Runs every method from the same starts, on the same objective, for the same number of epochs.

    Cost:
        methods * (n_seeds + some 5) training runs, and one descent to the optimum.

    Args:
        interactions: The ratings.
        methods: Solvers by name, such as those of `race_methods`; the others are compared with the
            first. Their learning rate is the start of the search for the best one: by factors of two,
            until both neighbours are worse. A rate that diverges with another seed is halved, for all
            seeds.
        test: Ratings measured once, after each run; None holds out a tenth at random. Learning
            rates are never chosen on it.
        penalty: `L2(1.0, 1.0)` by default.
        loss: `SquaredError()` by default.
        link: `Identity()` by default.
        n_factors: Of every model.
        n_epochs: Of every run.
        n_seeds: Runs of each method, with seeds that tuning has not used.
        tune: What learning rates are chosen by: the training objective, or the RMSE on a tenth of
            the training ratings that is held out during tuning.
        bound_products: Hessian products for the certified lower bound; any number gives a valid one.
        rng: Seed of split, starts and tuning.
        on_progress: Called with a line about each step.

    Returns:
        All runs, and differences to the first method with intervals and p values.

    Raises:
        ParameterValueError: There are fewer than two seeds or methods, something is not a solver, or
            a solver has decoupled weight decay.
        DivergenceError: No method finished at any rate, or the first one diverged.

    Examples:
        >>> from bilinear import lab, synthetic_ratings
        >>> methods = lab.race_methods("sgd", "adam+one-cycle", n_epochs=2)
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.race(ratings, methods, n_factors=2, n_epochs=2, n_seeds=2)
        >>> [result.name for result in found.methods]
        ['sgd', 'adam+one-cycle']
    """
    _check(methods, n_factors, n_epochs, n_seeds, tune)
    on_progress = on_progress or _silent
    parts = split_random(interactions, 0.1, rng) if test is None else split_file(interactions, test)
    train, test = parts.train, parts.test
    everything = np.concatenate([train.ratings, test.ratings])  # only for the range of predictions
    link = (link or Identity()).resolved(float(everything.min()), float(everything.max()))
    loss, penalty = loss or SquaredError(), penalty or L2(1.0, 1.0)
    setting = _Setting(Objective(loss, link, penalty, train), test, n_factors, n_epochs)
    bound, certified = setting.lower_bound(bound_products, rng, on_progress)
    untrained = setting.problem.value(setting.problem.zeros(0))
    results = []
    for name, solver in methods.items():
        on_progress(f"{name}: tuning its rate")
        trials = _tuned(setting, solver, tune, rng)
        done = [trial for trial in trials if trial.value is not None]
        if not done:
            results.append(MethodResult(name, _rate(solver), trials, (), (), n_seeds))
            continue
        rate = min(done, key=lambda trial: trial.value or 0.0).learning_rate
        for _ in range(_HALVINGS):
            on_progress(f"{name}: {n_seeds} seeds at rate {rate:.3g}")
            runs = setting.runs(_at_rate(solver, rate), n_seeds, rng)
            if len(runs) == n_seeds:
                break
            rate /= _FACTOR
        missing = tuple((run.loss - bound) / (untrained - bound) for run in runs)
        results.append(MethodResult(name, rate, trials, tuple(runs), missing, n_seeds - len(runs)))
    if not any(result.runs and not result.n_diverged for result in results):
        raise DivergenceError(
            "methods: expected one that finishes every run at some learning rate, got none; start from "
            "lower rates"
        )
    if results[0].n_diverged:
        raise DivergenceError(
            f"{results[0].name}: expected the first method, which the others are compared with, to "
            "finish, but "
            "it diverged; put another first"
        )
    whole = [result for result in results[1:] if not result.n_diverged]
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
        tuple(results),
        paired_differences(results[0].missing, {result.name: result.missing for result in whole}),
        paired_differences(results[0].test_rmse, {result.name: result.test_rmse for result in whole}),
    )


@dataclass(frozen=True, eq=False)
class _Setting:
    """The objective, test ratings and budget that all runs share."""

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
        self, products: int, rng: int, on_progress: Callable[[str], None]
    ) -> tuple[float, float | None]:
        """(lower bound, relative gap of the certified point or None)."""
        from bilinear.lab.proofs.certificate import certificate_refusal, floor

        if certificate_refusal(self.problem, 1):
            return floor(self.problem), None
        on_progress("the certified lower bound")
        objective = self.objective
        found = certify(
            objective.interactions,
            objective.loss,
            objective.link,
            objective.penalty,
            max_products=products,
            rng=rng,
        ).certificate
        return found.lower_bound, found.relative_gap

    def run(
        self, solver: Solver, rng: Sequence[int], objective: Objective | None = None
    ) -> Parameters | None:
        """The weights after the budget, or None where it diverged."""
        objective = objective or self.objective
        table = objective.interactions
        generator = np.random.default_rng(rng)
        start = random_start(
            table, self.n_factors, Scale.of(table, objective.link, objective.loss), _START_SIZE, generator
        )
        try:
            with np.errstate(all="ignore"):
                found, _ = solver.minimise(objective, start, generator)
        except DivergenceError:
            return None
        return found if np.isfinite(objective.value(found.astype(np.float64))) else None

    def runs(self, solver: Solver, n_seeds: int, rng: int) -> list[RunResult]:
        """One result for each seed that did not diverge."""
        found = ((number, self.run(solver, [rng, number])) for number in range(1, n_seeds + 1))
        return [RunResult(number, self.value(at), self.error(at)) for number, at in found if at is not None]

    def value(self, parameters: Parameters) -> float:
        return self.objective.value(parameters.astype(np.float64))

    def error(self, parameters: Parameters) -> float:
        return rmse(parameters, self.objective.link, self.test)


def _tuned(setting: _Setting, solver: Solver, tune: Tune, rng: int) -> tuple[RateTrial, ...]:
    """Rates by factors of two from the solver's own, downhill until both neighbours are worse."""
    inner = None
    if tune == "validation":
        inner = split_random(setting.objective.interactions, 0.1, rng)
    tried: dict[int, float] = {}

    def value(power: int) -> float:
        if power not in tried:
            objective = (
                setting.objective if inner is None else replace(setting.objective, interactions=inner.train)
            )
            found = setting.run(_at_rate(solver, rate(power)), [rng, 0], objective)
            if found is None:
                tried[power] = np.inf
            elif inner is None:
                tried[power] = setting.value(found)
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
        RateTrial(rate(power), value if np.isfinite(value) else None)
        for power, value in sorted(tried.items())
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
        raise ParameterValueError(f"methods: expected at least two, see `race_methods`, got {len(methods)}")
    if not 2 <= n_seeds <= 1000:
        raise ParameterValueError(
            f"n_seeds: expected 2 to 1000, such as 10 for significant differences, got {n_seeds}"
        )
    if n_factors < 1 or n_epochs < 1:
        raise ParameterValueError(
            f"n_factors, n_epochs: expected at least one of each, got {n_factors} and {n_epochs}"
        )
    if tune not in ("objective", "validation"):
        raise ParameterValueError(f"tune: expected 'objective' or 'validation', got {tune!r}")
    for name, solver in methods.items():
        if not isinstance(solver, Solver) or not hasattr(solver, "learning_rate"):
            raise ParameterValueError(
                f"{name}: expected a solver with a learning rate, such as SGD(), got {solver!r}"
            )
        if solver.n_epochs != n_epochs:
            raise ParameterValueError(
                f"{name}: expected {n_epochs} epochs, as the budget is the same for all, got "
                f"{solver.n_epochs}"
            )
        decays = isinstance(solver, MiniBatch) and (
            any(solver.weight_decay.pair) or (isinstance(solver.rule, AdamW) and solver.rule.weight_decay)
        )
        if decays or any(solver.l2_schedule(at) != 1 for at in (0.9, 1.0)):
            raise ParameterValueError(
                f"{name}: expected a solver that minimises the given objective, got one that changes the "
                "penalty "
                "by decoupled weight decay or a schedule; remove that"
            )


def _silent(_: str) -> None:
    """Reports nothing."""
