"""Planted minima, saddles, runaways and unfinished runs: every verdict must be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from lab_cases import HIDDEN, SETTINGS, plain, random_objective, random_parameters, random_table, table_of
from numpy.typing import NDArray

from bilinear.lab import Problem, certify, diagnose_endpoint, polish
from bilinear.lab.endpoint import Verdict
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.bias_solver import solve_biases
from bilinear.training.sgd import SGD

Vector = NDArray[np.float64]
Case = tuple[Problem, Parameters]

DIAGONAL = np.diag([5.0, 3.0, 2.0, 1.0])
THREE = np.array([[1, HIDDEN, 2], [HIDDEN, 2, HIDDEN], [2, -2, HIDDEN]])
RUNAWAY = np.array([[HIDDEN, 1], [1, 0]])


def point(problem: Problem, vector: Vector) -> Case:
    return problem, problem.unpack(vector)


def subset(kept: list[int], n_factors: int, l2: float = 0.5) -> Case:
    """A critical point of diag(5, 3, 2, 1): some singular values kept, shrunken."""
    problem = plain(DIAGONAL, l2)
    columns = np.zeros((4, n_factors))
    for column, row in enumerate(kept):
        columns[row, column] = np.sqrt(DIAGONAL[row, row] - l2)
    return point(problem, problem.join(None, None, None, columns, columns))


def three_cells(n_factors: int, seed: int) -> Case:
    problem = plain(THREE, 0.1)
    start = np.random.default_rng(seed).standard_normal(problem.size(n_factors))
    return point(problem, polish(problem, start).at)


def runaway() -> Case:
    problem = plain(RUNAWAY, 0.0)
    return point(problem, np.random.default_rng(0).standard_normal(problem.size(1)))


def weighted(extra: float, seed: int) -> Case:
    problem = plain([[1, 1.1], [1, -1]], 0.0, weights=np.array([1 + extra, 1, 1, 1 + extra]))
    return point(problem, polish(problem, np.random.default_rng(seed).standard_normal(4)).at)


def exact_fit(float32: bool) -> Case:
    u, v = np.random.default_rng(0).standard_normal((2, 6, 2))
    problem = plain((u @ v.T).astype(np.float32), 0.0)
    start = problem.join(None, None, None, u, v)
    at = start if float32 else polish(problem, start).at
    return point(problem, at)


def trained(
    name: str, n_factors: int, l2: float, *, to_the_end: bool = True, dtype: Any = np.float64
) -> Case:
    objective = random_objective(name, np.random.default_rng(3), L2(l2, 0.3, 0.5), n_users=20, n_items=15)
    problem = Problem.of(objective, 0.3 if name != "squared" else 2.7)
    start = 0.5 * np.random.default_rng(1).standard_normal(problem.size(n_factors))
    parameters = problem.unpack(polish(problem, start).at if to_the_end else start)
    return problem, parameters.astype(dtype)


def sigmoid_origin(share: float) -> Case:
    """Zero factors after a sigmoid with squares, l2 a share of the spectral norm of the slopes there."""
    table = random_table(np.random.default_rng(5), 8, 6, 0.8)
    loss, link = SETTINGS["sigmoid squared"]
    free = Problem.of(Objective(loss, link, L2(1, 1, 0), table), 0.0, has_biases=False)
    norm = np.linalg.norm(free.matrix(free.loss_gradient(np.zeros(table.n_ratings))).toarray(), 2)
    objective = Objective(loss, link, L2(share * norm, 1, 0), table)
    problem = Problem.of(objective, 0.0, has_biases=False)
    return point(problem, problem.zeros(2))


def by_sgd(n_epochs: int) -> Case:
    objective = random_objective(
        "squared", np.random.default_rng(3), L2(0.3, 0.3, 0.5), n_users=20, n_items=15
    )
    start = random_parameters((20, 15), 3, np.random.default_rng(0), mean=2.7, size=0.1)
    parameters, _ = SGD(n_epochs=n_epochs).minimise(
        objective, start.astype(np.float32), np.random.default_rng(0)
    )
    return Problem.of(objective, 2.7), parameters


def biases_alone(l2: float) -> Case:
    table = random_table(np.random.default_rng(9), 20, 15, 0.5)
    objective = Objective(SquaredError(), Identity(0.5, 5.0), L2(l2, 0.5, 0.5), table)
    parameters = solve_biases(table, objective.penalty)
    return Problem.of(objective, parameters.global_mean), parameters


def optimum(n_factors: int | None, dtype: Any) -> Case:
    table = random_table(np.random.default_rng(2), 30, 20, 0.4)
    found = certify(table, penalty=L2(0.8, 0.5, 0.5), max_factors=n_factors)
    return Problem.of(found.objective, found.parameters.global_mean), found.parameters.astype(dtype)


def separable() -> Case:
    """A user who gave the top of the range only, and a bias that nothing holds: it grows for ever."""
    table = table_of([[5.0, 5.0], [0.0, 2.0], [3.0, 1.0]])
    objective = Objective(CrossEntropy(), Sigmoid(0.0, 5.0), L2(0.5, 0.0, 0.0), table)
    problem = Problem.of(objective, 0.0)
    return point(problem, problem.zeros(1))


def disturbed(case: Case, size: float) -> Case:
    problem, parameters = case
    at = problem.pack(parameters)
    return point(problem, at + size * np.random.default_rng(4).standard_normal(len(at)))


NORMALISATIONS: dict[str, Callable[[], Problem]] = {
    "mean squared error": lambda: _normalised("squared", L2(0.02, 0.02, 0.0), weights=2 / 150),
    "two-sided l2": lambda: _normalised("squared", L2(0.9, 0.5, 0.0), l2_sides=(0.4, 2.0)),
    "l2 by count": lambda: _normalised("squared", L2(0.3, 0.2, 1.0)),
    "cross-entropy, l2 by count": lambda: _normalised("cross-entropy", L2(0.03, 0.02, 1.0)),
    "cross-entropy, mean, two-sided": lambda: _normalised(
        "cross-entropy", L2(0.002, 0.002, 0.0), weights=1 / 150, l2_sides=(0.001, 0.004)
    ),
    "free mean": lambda: _normalised("squared", L2(0.9, 0.4, 0.5), free_mean=True),
    "free mean and biases": lambda: _normalised("squared", L2(0.9, 0.0, 0.0), free_mean=True),
}


def _normalised(name: str, l2: L2, **options: Any) -> Problem:
    objective = random_objective(name, np.random.default_rng(3), l2, n_users=20, n_items=15)
    return Problem.of(objective, 0.3 if name != "squared" else 2.7, **options)


def normalised(name: str, n_factors: int, empty: int = 0) -> Case:
    """Trained to the end from a random start; then `empty` columns of zeros beside the factors."""
    problem = NORMALISATIONS[name]()
    start = 0.5 * np.random.default_rng(1).standard_normal(problem.size(n_factors))
    parts = problem.parts(polish(problem, start).at)
    sides = (np.pad(side, ((0, 0), (0, empty))) for side in parts[3:])
    return point(problem, problem.join(*parts[:3], *sides))


def without_factors(name: str, l2_times: float, n_factors: int) -> Case:
    """Biases solved for, factors zero; l2 is a multiple of the spectral norm of the slopes there."""
    given = NORMALISATIONS[name]()
    parts = given.parts(polish(given, given.zeros(0)).at)
    at = given.join(*parts[:3], *(np.zeros((n, n_factors)) for n in (given.n_users, given.n_items)))
    norm = np.linalg.norm(given.matrix(given.loss_gradient(given.scores(at))).toarray(), 2)
    return point(replace(given, l2=l2_times * float(norm)), at)


_BY_NORMALISATION: dict[str, tuple[Verdict, Callable[[], Case]]] = {}
for _name in NORMALISATIONS:
    _BY_NORMALISATION |= {
        f"{_name}, many factors": ("certified global", partial(normalised, _name, 14)),
        f"{_name}, one factor": ("rank-limited", partial(normalised, _name, 1)),
        f"{_name}, one factor and an empty column": ("strict saddle", partial(normalised, _name, 1, 1)),
        f"{_name}, zero factors, little l2": ("strict saddle", partial(without_factors, _name, 0.7, 2)),
        f"{_name}, zero factors, much l2": ("certified global", partial(without_factors, _name, 1.2, 2)),
    }

CASES: dict[str, tuple[Verdict, Callable[[], Case]]] = {
    "diagonal, k=1, nothing kept": ("strict saddle", lambda: subset([], 1)),
    "diagonal, k=1, {5}": ("rank-limited", lambda: subset([0], 1)),
    "diagonal, k=1, {3}": ("strict saddle", lambda: subset([1], 1)),
    "diagonal, k=1, {2}": ("strict saddle", lambda: subset([2], 1)),
    "diagonal, k=1, {1}": ("strict saddle", lambda: subset([3], 1)),
    "diagonal, k=2, {5, 3}": ("rank-limited", lambda: subset([0, 1], 2)),
    "diagonal, k=2, {5} and an empty column": ("strict saddle", lambda: subset([0], 2)),
    "diagonal, k=2, {3, 2}": ("strict saddle", lambda: subset([1, 2], 2)),
    "diagonal, k=4, all": ("certified global", lambda: subset([0, 1, 2, 3], 4)),
    "diagonal, k=6, all and two empty columns": ("certified global", lambda: subset([0, 1, 2, 3], 6)),
    "diagonal, l2 above 5, origin": ("certified global", lambda: subset([], 3, l2=5.5)),
    "saddle, disturbed by 1e-6": ("strict saddle", lambda: disturbed(subset([1], 1), 1e-6)),
    "minimum, disturbed by 1e-4": ("rank-limited", lambda: disturbed(subset([0], 1), 1e-4)),
    "minimum, disturbed by 1": ("not converged", lambda: disturbed(subset([0], 1), 1.0)),
    "three cells, k=1, seed 0": ("rank-limited", lambda: three_cells(1, 0)),
    "three cells, k=1, seed 1": ("rank-limited", lambda: three_cells(1, 1)),
    "three cells, k=2": ("certified global", lambda: three_cells(2, 0)),
    "three cells, k=3": ("certified global", lambda: three_cells(3, 1)),
    "runaway": ("no minimiser", runaway),
    "separable with a free bias": ("no minimiser", separable),
    "equal weights, no l2": ("minimum", lambda: weighted(0.0, 0)),
    "unequal weights, no l2": ("minimum", lambda: weighted(1.0, 0)),
    "exact fit, no l2": ("certified global", lambda: exact_fit(False)),
    "exact fit, no l2, as float32": ("certified global", lambda: exact_fit(True)),
    "sigmoid and squares, trained": ("minimum", lambda: trained("sigmoid squared", 2, 0.2)),
    "sigmoid and squares, untrained": (
        "not converged",
        lambda: trained("sigmoid squared", 2, 0.2, to_the_end=False),
    ),
    "sigmoid and squares, origin, little l2": ("strict saddle", lambda: sigmoid_origin(0.5)),
    "sigmoid and squares, origin, much l2": ("minimum", lambda: sigmoid_origin(1.5)),
    "sigmoid and squares, origin, border": ("second-order point", lambda: sigmoid_origin(1.0)),
    "cross-entropy, k=1": ("rank-limited", lambda: trained("cross-entropy", 1, 0.05)),
    "cross-entropy, k=10": ("certified global", lambda: trained("cross-entropy", 10, 0.3)),
    "cross-entropy, k=10, as float32": (
        "certified global",
        lambda: trained("cross-entropy", 10, 0.3, dtype=np.float32),
    ),
    "squared, k=1": ("rank-limited", lambda: trained("squared", 1, 0.3)),
    "one epoch of SGD": ("not converged", lambda: by_sgd(1)),
    "biases alone": ("certified global", lambda: biases_alone(0.0)),
    "biases alone, where a factor would help": ("rank-limited", lambda: biases_alone(0.3)),
    "biases alone, where none would": ("certified global", lambda: biases_alone(30.0)),
    "certified": ("certified global", lambda: optimum(None, np.float64)),
    "certified, as float32": ("certified global", lambda: optimum(None, np.float32)),
    "certified growth cut off": ("rank-limited", lambda: optimum(2, np.float64)),
} | _BY_NORMALISATION


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 70
    assert {verdict for verdict, _ in CASES.values()} == {
        "certified global",
        "rank-limited",
        "minimum",
        "strict saddle",
        "second-order point",
        "not converged",
        "no minimiser",
    }


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    expected, build = CASES[name]
    problem, parameters = build()
    before = {name: array.copy() for name, array in parameters.arrays().items()}
    found = diagnose_endpoint(parameters, problem)
    assert found.verdict == expected, found.to_dict()
    assert str(found).endswith(".")
    json.dumps(found.to_dict(), allow_nan=False)
    for name_, array in parameters.arrays().items():  # the model is as it was
        np.testing.assert_array_equal(array, before[name_])
    if expected == "strict saddle":
        assert found.escape is not None
        assert found.escape.loss < found.polished.loss
        assert found.escape.loss_after_descent <= found.escape.loss
        there = problem.value(problem.pack(found.escape.parameters))
        assert there == pytest.approx(found.escape.loss, rel=1e-9)
    else:
        assert found.escape is None or expected == "not converged"


@pytest.mark.parametrize(
    ("kept", "loss", "curvature"),
    [([], 19.5, -4.5), ([0], 9.375, 1), ([1], 16.375, -2), ([2], 18.375, -3), ([3], 19.375, -4)],
)
def test_critical_points_of_the_diagonal_with_one_factor(
    kept: list[int], loss: float, curvature: float
) -> None:
    found = diagnose_endpoint(subset(kept, 1)[1], subset(kept, 1)[0])
    assert found.polished.loss == pytest.approx(loss, abs=1e-12)
    assert found.curvature is not None
    assert found.curvature.smallest == pytest.approx(curvature, abs=1e-9)
    omitted = [value for row, value in enumerate((5.0, 3.0, 2.0, 1.0)) if row not in kept]
    assert found.certificate.spectral_norm == pytest.approx(max(0.5, *omitted), abs=1e-9)


def test_two_factors_keep_the_two_largest() -> None:
    problem, parameters = subset([0, 1], 2)
    assert problem.value(problem.pack(parameters)) == pytest.approx(6.25)
    rng = np.random.default_rng(0)
    for _ in range(5):
        found = polish(problem, rng.standard_normal(problem.size(2)))
        assert found.loss == pytest.approx(6.25, abs=1e-9)


def test_minima_of_the_three_cell_problem() -> None:
    """k=1 has four minima, each a strict one; with k=2 and 3 every start reaches the optimum."""
    problem = plain(THREE, 0.1)
    rng = np.random.default_rng(0)
    seen: dict[float, tuple[float, float]] = {}
    starts = [1.5 * rng.standard_normal(problem.size(1)) for _ in range(60)]
    for start in [*starts, np.array([0.46, -3.04, -0.91, -1.19, -0.42, 2.95])]:  # few reach the fourth
        found = diagnose_endpoint(problem.unpack(polish(problem, start).at), problem)
        if found.verdict == "rank-limited":
            assert found.curvature is not None
            seen[round(found.polished.loss, 4)] = (
                found.curvature.smallest,
                found.polished_certificate.ratio,
            )
    losses = sorted(seen)
    assert losses == pytest.approx([0.64674, 2.07926, 4.19084, 5.95223], abs=6e-5)
    assert [seen[loss][0] for loss in losses] == pytest.approx([0.2] * 4, abs=1e-6)
    assert [seen[loss][1] for loss in losses] == pytest.approx([2.81, 15.6, 25.0, 27.16], rel=5e-3)
    for k in (2, 3):
        for _ in range(5):
            at = polish(problem, rng.standard_normal(problem.size(k)))
            found = diagnose_endpoint(problem.unpack(at.at), problem)
            assert at.loss == pytest.approx(0.585436, abs=1e-6)
            assert found.certificate.ratio == pytest.approx(1, abs=1e-6)


def test_minima_of_the_weighted_problem() -> None:
    """weights [[1+a, 1], [1, 1+a]], R = [[1, 1.1], [1, -1]], rank 1, no l2."""
    for extra, expected in ((0.0, [0.98]), (1.0, [1.134566, 1.304282])):
        losses = set()
        for seed in range(25):
            problem, parameters = weighted(extra, seed)
            found = diagnose_endpoint(parameters, problem)
            if found.nearby == "minimum":
                losses.add(round(found.polished.loss, 6))
        assert sorted(losses) == pytest.approx(expected, abs=2e-6)


def test_escape_from_an_empty_column_gains_what_the_certificate_says() -> None:
    problem, parameters = subset([0], 2)
    found = diagnose_endpoint(parameters, problem)
    assert found.escape is not None
    assert found.escape.curvature == pytest.approx(0.5 - 3.0, abs=1e-9)
    assert found.polished.loss - found.escape.loss == pytest.approx(found.certificate.gain, rel=1e-6)
    assert found.escape.loss_after_descent == pytest.approx(6.25, abs=1e-4)


def test_a_budget_that_is_too_small_is_told() -> None:
    problem, parameters = trained("squared", 3, 0.3, to_the_end=False)
    found = diagnose_endpoint(parameters, problem, max_products=3)
    assert found.verdict == "not converged"
    assert found.certificate.gap > 0
