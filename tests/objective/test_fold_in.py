"""A new user's weights: ridge regression in closed form, else a stationary point of the objective."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import PAIRS, random_parameters, random_table
from scipy.optimize import minimize

from bilinear.model.link import Identity
from bilinear.objective.fold_in import fold_in
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2

IDENTITY = (Identity(1, 5), SquaredError())


def problem(n_ratings=12, n_factors=4, seed=0):
    rng = np.random.default_rng(seed)
    parameters = random_parameters((3, 20), n_factors, rng)
    return parameters, rng.permutation(20)[:n_ratings], rng.uniform(1, 5, n_ratings)


@pytest.mark.parametrize("exponent", [0, 0.5, 1])
@pytest.mark.parametrize(("n_ratings", "n_factors"), [(12, 4), (2, 4), (1, 1), (12, 0)])
def test_with_the_identity_it_is_ridge_regression(exponent, n_ratings, n_factors):
    parameters, items, ratings = problem(n_ratings, n_factors)
    found = fold_in(parameters, *IDENTITY, L2(0.3, 0.2, exponent), items, ratings)
    design = np.column_stack([parameters.item_factors[items], np.ones(n_ratings)])
    ridge = n_ratings**exponent * np.diag([0.3] * n_factors + [0.2])
    targets = ratings - parameters.global_mean - parameters.item_biases[items]
    expected = np.linalg.solve(design.T @ design + ridge, design.T @ targets)
    np.testing.assert_allclose([*found.factors, found.bias], expected, rtol=1e-9, atol=1e-12)
    assert found.steps == 1
    assert found.factors.shape == (n_factors,)


def test_without_a_penalty_and_with_few_ratings_it_is_the_shortest_exact_fit():
    parameters, items, ratings = problem(3, 8)
    found = fold_in(parameters, *IDENTITY, L2(), items, ratings)
    design = np.column_stack([parameters.item_factors[items], np.ones(3)])
    targets = ratings - parameters.global_mean - parameters.item_biases[items]
    np.testing.assert_allclose([*found.factors, found.bias], np.linalg.pinv(design) @ targets, rtol=1e-9)


@pytest.mark.parametrize(("loss", "link"), PAIRS)
@pytest.mark.parametrize("exponent", [0, 0.5, 1])
@pytest.mark.parametrize("seed", range(5))
def test_the_user_is_a_minimum_of_the_training_objective(loss, link, exponent, seed):
    rng = np.random.default_rng(seed)
    table = random_table(1, 20, 12, rng)
    parameters, penalty = random_parameters((1, 20), 4, rng), L2(0.3, 0.2, exponent)
    found = fold_in(parameters, link, loss, penalty, table.items, table.ratings)
    assert found.relative_gradient < 1e-6
    objective = Objective(loss, link, penalty, table)
    start, parameters.user_biases[0], parameters.user_factors[0] = (
        parameters.copy(),
        found.bias,
        found.factors,
    )
    start.user_biases[0], start.user_factors[0] = 0, 0
    gradient, before = objective.gradient(parameters), objective.gradient(start)
    size = np.hypot(before.user_biases[0], np.linalg.norm(before.user_factors[0]))
    assert abs(gradient.user_biases[0]) < 1e-6 * size
    assert np.linalg.norm(gradient.user_factors[0]) < 1e-6 * size
    least = objective.value(parameters)
    assert least < objective.value(start)
    for _ in range(20):  # no direction leads down
        moved = parameters.copy()
        moved.user_biases[0] += 0.01 * rng.normal()
        moved.user_factors[0] += 0.01 * rng.normal(size=4)
        assert objective.value(moved) > least


@pytest.mark.parametrize(("loss", "link"), PAIRS)
def test_no_ratings_give_a_user_of_zeros(loss, link):
    parameters, _, _ = problem()
    found = fold_in(parameters, link, loss, L2(0.1, 0.1), np.array([], np.int32), np.array([]))
    assert (found.bias, found.steps, found.relative_gradient) == (0, 0, 0)
    assert found.factors.tolist() == [0, 0, 0, 0]


def test_a_user_who_is_already_fitted_needs_no_step():
    parameters, items, _ = problem()
    ratings = parameters.global_mean + parameters.item_biases[items]
    found = fold_in(parameters, *IDENTITY, L2(0.1, 0.1), items, ratings)
    assert (found.bias, found.steps) == (0, 0)
    assert not found.factors.any()


def test_ratings_at_the_end_of_the_range_end_in_finite_weights_even_without_a_penalty():
    loss, link = PAIRS[2]
    parameters, items, _ = problem()
    found = fold_in(parameters, link, loss, L2(), items, np.full(12, link.bounds[1]))
    assert np.isfinite([found.bias, *found.factors]).all()


@pytest.mark.parametrize("seed", range(6))
def test_far_from_the_ratings_newton_steps_are_shortened_until_they_lead_down(seed):
    """On the flat end of the sigmoid a full Newton step would overshoot to the other flat end."""
    loss, link = PAIRS[2]
    rng = np.random.default_rng(seed)
    parameters = replace(random_parameters((3, 20), 4, rng), global_mean=9.0)
    items, ratings = rng.permutation(20)[:12], rng.uniform(1, 2, 12)
    found = fold_in(parameters, link, loss, L2(0.01, 0.01), items, ratings)
    assert found.relative_gradient < 1e-9
    assert found.steps < 15


def objective_of_one_user(parameters, link, loss, penalty, items, ratings):
    """(value, gradient) by bias and factors together, in float64, written out."""
    design = np.column_stack([parameters.item_factors[items], np.ones(len(items))]).astype(float)
    offset = parameters.global_mean + parameters.item_biases[items].astype(float)
    ridge = len(items) ** penalty.exponent * np.array(
        [penalty.factors] * parameters.n_factors + [penalty.biases]
    )

    def both(x):
        scores = offset + design @ x
        value = loss.value(scores, ratings, link).sum() + (ridge * x**2).sum() / 2
        return value, design.T @ loss.gradient(scores, ratings, link) + ridge * x

    return both


RATINGS = {
    "spread": lambda rng, n: rng.uniform(1, 5, n),
    "at the ends": lambda rng, n: rng.choice([1.0, 5.0], n),
    "all at the top": lambda rng, n: np.full(n, 5.0),
    "one": lambda rng, n: rng.uniform(1, 5, 1),
}


@pytest.mark.parametrize(("loss", "link"), PAIRS)
@pytest.mark.parametrize("ratings", RATINGS)
@pytest.mark.parametrize("n_factors", [3, 24])
@pytest.mark.parametrize("l2", [0.02, 0.5])
def test_it_is_the_minimum_that_scipy_finds(loss, link, ratings, n_factors, l2):
    """Newton's last steps lead to the bottom of the valley that the first steps are in."""
    rng = np.random.default_rng(n_factors)
    parameters = random_parameters((3, 80), n_factors, rng)
    given = RATINGS[ratings](rng, 60)
    items, penalty = rng.permutation(80)[: len(given)], L2(l2, l2 / 2)
    found = fold_in(parameters, link, loss, penalty, items, given)
    both = objective_of_one_user(parameters, link, loss, penalty, items, given)
    at = np.append(found.factors, found.bias)
    value, gradient = both(at)
    assert np.linalg.norm(gradient) < 2e-9 * np.linalg.norm(both(np.zeros(n_factors + 1))[1])
    scipys = minimize(
        both, at + 0.02 * rng.normal(size=len(at)), jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    np.testing.assert_allclose(at, scipys.x, atol=1e-6)
    far = minimize(both, np.zeros(len(at)), jac=True, method="BFGS", options={"gtol": 1e-9})
    if loss.convex_in_score(link):
        np.testing.assert_allclose(at, far.x, atol=1e-6)
    assert value < both(np.zeros(len(at)))[0]


@pytest.mark.parametrize("seed", range(4))
def test_after_a_sigmoid_squared_error_needs_few_steps(seed):
    """Gauss-Newton steps alone need thirty and more for residuals of this size."""
    loss, link = PAIRS[1]
    rng = np.random.default_rng(seed)
    parameters = random_parameters((3, 200), 16, rng)
    items, ratings = rng.permutation(200)[:150], rng.uniform(1, 5, 150)
    found = fold_in(parameters, link, loss, L2(0.1, 0.1), items, ratings)
    assert found.relative_gradient < 1e-9
    assert found.steps <= 12
