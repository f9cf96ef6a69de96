"""Descent, polishing, and the kernels below them."""

from __future__ import annotations

import numpy as np
import pytest
from lab_cases import HIDDEN, SETTINGS, plain, random_objective

from bilinear.kernels.second_order import gradient_pairs, hessian_product_pairs, pair_products
from bilinear.lab import Hessian, Problem, polish, relative_gradient, smallest_curvature
from bilinear.lab.numerics import two_threads
from bilinear.lab.numerics.polish import newton
from bilinear.lab.numerics.row_blocks import RowBlocks
from bilinear.lab.numerics.trust_region import trust_region_newton
from bilinear.objective.penalties import L2


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_pair_kernels_agree_with_their_numpy_twins(rng: np.random.Generator) -> None:
    m, n, k, n_pairs = 6, 5, 3, 17
    users, items = rng.integers(0, m, n_pairs, np.int32), rng.integers(0, n, n_pairs, np.int32)
    u, v, du, dv = (rng.standard_normal((rows, k)) for rows in (m, n, m, n))
    scales, bends, slopes, dz = (rng.standard_normal(n_pairs) for _ in range(4))
    out = np.empty(n_pairs)
    pair_products(users, items, u, v, scales, out)
    np.testing.assert_allclose(out, scales * (u[users] * v[items]).sum(1), rtol=1e-12)
    out_u, out_v = np.zeros((m, k)), np.zeros((n, k))
    gradient_pairs(users, items, slopes, u, v, out_u, out_v)
    dense = np.zeros((m, n))
    np.add.at(dense, (users, items), slopes)
    np.testing.assert_allclose(out_u, dense @ v, atol=1e-12)
    np.testing.assert_allclose(out_v, dense.T @ u, atol=1e-12)
    found, out_u, out_v = dz.copy(), np.zeros((m, k)), np.zeros((n, k))
    hessian_product_pairs(users, items, scales, bends, slopes, u, v, du, dv, found, out_u, out_v)
    change = dz + scales * ((du[users] * v[items]).sum(1) + (u[users] * dv[items]).sum(1))
    np.testing.assert_allclose(found, bends * change, rtol=1e-12)
    outer, inner = np.zeros((m, n)), np.zeros((m, n))
    np.add.at(outer, (users, items), bends * change * scales)
    np.add.at(inner, (users, items), slopes * scales)
    np.testing.assert_allclose(out_u, outer @ v + inner @ dv, atol=1e-12)
    np.testing.assert_allclose(out_v, outer.T @ u + inner.T @ du, atol=1e-12)


@pytest.mark.parametrize("n_factors", [1, 3, 12])
@pytest.mark.parametrize("has_biases", [True, False])
def test_blocks_invert_each_row_of_the_gauss_newton_matrix(
    n_factors: int, has_biases: bool, rng: np.random.Generator
) -> None:
    """Rows with fewer and with more ratings than factors; the Gauss-Newton matrix by brute force."""
    problem = Problem.of(random_objective("cross-entropy", rng), 0.3, has_biases=has_biases)
    at = 0.5 * rng.standard_normal(problem.size(n_factors))
    hessian = Hessian(problem, at)
    jacobian = np.array([_score_change(problem, at, axis) for axis in np.eye(len(at))])
    parts = problem.parts(np.arange(len(at), dtype=float))
    ridge = np.full(len(at), problem.l2)
    for biases in parts[1:3]:
        ridge[biases.astype(int)] = problem.l2_biases
    matrix = jacobian @ np.diag(hessian.loss_curvature) @ jacobian.T + np.diag(ridge)
    direction = rng.standard_normal(len(at))
    found = RowBlocks.of(hessian).solve(direction)
    for biases, factors in zip(parts[1:3], parts[3:], strict=True):
        for row in range(len(factors)):
            own = [*factors[row].astype(int), *([int(biases[row])] if has_biases else [])]
            expected = np.linalg.solve(matrix[np.ix_(own, own)], direction[own])
            np.testing.assert_allclose(found[own], expected, rtol=1e-9)


def _score_change(problem: Problem, at: np.ndarray, axis: np.ndarray) -> np.ndarray:
    here, change = problem.parts(at), problem.parts(axis)
    return (
        problem.bias_scores(change)
        + problem.pair_products(change.user_factors, here.item_factors)
        + problem.pair_products(here.user_factors, change.item_factors)
    )


def test_two_threads_give_what_one_gives(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem.of(random_objective("squared", rng, n_users=30, n_items=20), 0.3)
    at, direction = rng.standard_normal((2, problem.size(4)))
    found = []
    for worth_it in (1e18, 0):
        monkeypatch.setattr(two_threads, "_WORTH_IT", worth_it)
        hessian = Hessian(problem, at)
        found.append((hessian.times(direction), RowBlocks.of(hessian).solve(direction)))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_polishing_reaches_a_stationary_point_that_is_no_saddle(
    name: str, exponent: float, rng: np.random.Generator
) -> None:
    objective = random_objective(name, rng, L2(0.3, 0.2, exponent), n_users=25, n_items=18)
    problem = Problem.of(objective, 0.3)
    found = polish(problem, 0.5 * rng.standard_normal(problem.size(3)))
    assert found.stationary
    assert found.loss < found.loss_before
    assert found.loss == pytest.approx(problem.value(found.at))
    assert found.distance > 0.1
    assert not smallest_curvature(problem, found.at).negative


def test_descent_leaves_a_saddle_that_it_starts_beside(rng: np.random.Generator) -> None:
    problem = plain(np.diag([5.0, 3.0, 2.0, 1.0]), 0.5)
    start = 1e-6 * rng.standard_normal(problem.size(1))
    assert relative_gradient(problem, start) > 0
    found = trust_region_newton(problem, start, tolerance=1e-9, max_products=10_000)
    assert found.value == pytest.approx(9.375, abs=1e-6)


def test_newton_stays_at_the_saddle_beside_it(rng: np.random.Generator) -> None:
    """Singletons of diag(5, 3, 2, 1) are saddles at k = 1; a disturbed one is found again."""
    problem = plain(np.diag([5.0, 3.0, 2.0, 1.0]), 0.5)
    column = np.sqrt(1.5) * np.eye(4)[:, [2]]
    saddle = problem.join(None, None, None, column, column)
    start = saddle + 1e-4 * rng.standard_normal(len(saddle))
    at, gradient, _ = newton(problem, start, max_products=1000)
    assert gradient < 1e-10
    assert problem.value(at) == pytest.approx(18.375, abs=1e-9)
    found = polish(problem, saddle + 1e-7 * rng.standard_normal(len(saddle)))
    assert found.stationary
    assert found.loss == pytest.approx(18.375, abs=1e-9)
    assert found.distance < 1e-5


def test_polishing_a_stationary_point_moves_nothing() -> None:
    problem = plain([[1.0, HIDDEN], [0.5, 2.0]], 0.5)
    found = polish(problem, problem.zeros(2))
    assert found.stationary
    assert found.distance == 0
    assert found.n_products == 0


def test_descent_stops_at_its_budget(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("squared", rng, n_users=25, n_items=18), 0.3)
    start = rng.standard_normal(problem.size(4))
    found = trust_region_newton(problem, start, tolerance=0.0, max_products=7)
    assert found.n_products == 7
    assert found.value < problem.value(start)
