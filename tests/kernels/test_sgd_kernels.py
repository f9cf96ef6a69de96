"""The compiled steps against plain Python steps, and against the gradient they sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from problems import PAIRS, random_parameters, random_table, same_bits

from bilinear.kernels.sgd import CROSS_ENTROPY, IDENTITY, SIGMOID, SQUARED_ERROR, momentum_block, sgd_block
from bilinear.kernels.sgd import loss_and_slope as inlined
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.sgd import weights_per_rating

every_pair = pytest.mark.parametrize(
    ("loss", "link"), PAIRS, ids=["squared", "sigmoid squared", "cross-entropy"]
)
RATES = (np.array([0.02, 0.05]), np.array([0.03, 0.01]))  # of factors and of biases: first, last


@njit
def loss_and_slope(score, rating, link, loss, low, span):
    return inlined(score, rating, link, loss, low, span)


def problem(loss, link, exponent, n_factors, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    table = random_table(9, 7, 30, rng)
    parameters = random_parameters(table.shape, n_factors, rng, dtype)
    for array in parameters.arrays().values():
        array *= dtype(0.5)
    return Objective(loss, link, L2(0.3, 0.2, exponent), table), parameters, rng.permutation(table.n_ratings)


def arguments(objective, parameters, order):
    """The kernel's arguments up to the arrays it updates, and those after."""
    table, (low, high), dtype = (
        objective.interactions,
        objective.link.bounds,
        parameters.user_biases.dtype.type,
    )
    data = (order, table.users, table.items, table.ratings, np.float64(parameters.global_mean))
    weights = (
        weights_per_rating(objective.penalty, objective.user_counts, dtype),
        weights_per_rating(objective.penalty, objective.item_counts, dtype),
    )
    codes = (objective.link.code, objective.loss.code, low, high - low)
    return data, (*codes, *weights, objective.penalty.factors, objective.penalty.biases)


def plain_steps(objective, parameters, order, rates, momentum=None):
    """The twin: float64 steps on a copy, one rating at a time, all gradients before all updates.

    `momentum` None is plain descent; else the (first, last) momentum, and the speeds come back.
    """
    table, l2 = objective.interactions, objective.penalty
    at = parameters.astype(np.float64)
    speed = Parameters.zeros(table.shape, at.n_factors, dtype=np.float64)
    total = 0.0
    for n, row in enumerate(order):
        u, i, rating = table.users[row], table.items[row], float(table.ratings[row])
        p, q = at.user_factors[u].copy(), at.item_factors[i].copy()
        score = np.array([at.global_mean + at.user_biases[u] + at.item_biases[i] + p @ q])
        total += float(objective.loss.value(score, rating, objective.link)[0])
        slope = float(objective.loss.gradient(score, rating, objective.link)[0])
        # a row's penalty n^exponent, spread over its n ratings
        w_u = float(objective.user_counts[u]) ** (l2.exponent - 1)
        w_i = float(objective.item_counts[i]) ** (l2.exponent - 1)
        pulls = (
            (at.user_biases, speed.user_biases, u, slope + l2.biases * w_u * at.user_biases[u], 1),
            (at.item_biases, speed.item_biases, i, slope + l2.biases * w_i * at.item_biases[i], 1),
            (at.user_factors, speed.user_factors, u, slope * q + l2.factors * w_u * p, 0),
            (at.item_factors, speed.item_factors, i, slope * p + l2.factors * w_i * q, 0),
        )
        share = n / len(order)
        for array, speeds, place, gradient, kind in pulls:
            rate = (1 - share) * rates[kind][0] + share * rates[kind][1]
            keep = 0 if momentum is None else (1 - share) * momentum[0] + share * momentum[1]
            speeds[place] = keep * speeds[place] + gradient
            array[place] -= rate * speeds[place]
    return at, speed, total


def assert_close(found, expected, tolerance):
    for name, array in found.arrays().items():
        np.testing.assert_allclose(
            array, expected.arrays()[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


def test_the_codes_of_kernels_and_objects_are_the_same():
    assert (Identity.code, Sigmoid.code) == (IDENTITY, SIGMOID)
    assert (SquaredError.code, CrossEntropy.code) == (SQUARED_ERROR, CROSS_ENTROPY)


@every_pair
@settings(deadline=None)
@given(st.floats(-30, 30), st.floats(1, 5))
def test_loss_and_slope_equal_those_of_the_objects(loss, link, score, rating):
    low, high = link.bounds
    value, slope = loss_and_slope(score, rating, link.code, loss.code, low, high - low)
    at = np.array([score])
    assert value == pytest.approx(float(loss.value(at, rating, link)[0]), rel=1e-12, abs=1e-12)
    assert slope == pytest.approx(float(loss.gradient(at, rating, link)[0]), rel=1e-12, abs=1e-12)


@every_pair
@pytest.mark.parametrize("exponent", [0, 0.5, 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("n_factors", [0, 5])
def test_a_pass_equals_plain_steps(loss, link, exponent, dtype, tolerance, n_factors):
    objective, parameters, order = problem(loss, link, exponent, n_factors, dtype)
    expected, _, expected_loss = plain_steps(objective, parameters, order, RATES)
    data, numbers = arguments(objective, parameters, order)
    total, done = sgd_block(*data, *parameters.arrays().values(), *numbers, *RATES)
    assert done == len(order)
    assert total == pytest.approx(expected_loss, rel=tolerance)
    assert_close(parameters, expected, tolerance)


@every_pair
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_a_pass_with_momentum_equals_plain_steps_with_momentum(loss, link, dtype, tolerance):
    objective, parameters, order = problem(loss, link, 0.5, 5, dtype)
    momenta = np.array([0.5, 0.9])
    expected, expected_speed, expected_loss = plain_steps(objective, parameters, order, RATES, momenta)
    speed = Parameters.zeros((9, 7), 5, 0, dtype)
    data, numbers = arguments(objective, parameters, order)
    total, done = momentum_block(
        *data, *parameters.arrays().values(), *speed.arrays().values(), *numbers, *RATES, momenta
    )
    assert (done, total) == (len(order), pytest.approx(expected_loss, rel=tolerance))
    assert_close(parameters, expected, tolerance)
    assert_close(speed, expected_speed, tolerance)


def test_no_momentum_is_plain_descent():
    objective, parameters, order = problem(*PAIRS[0], 0.5, 5)
    plain, speed = parameters.copy(), Parameters.zeros((9, 7), 5, 0, np.float64)
    data, numbers = arguments(objective, parameters, order)
    sgd_block(*data, *plain.arrays().values(), *numbers, *RATES)
    momentum_block(
        *data, *parameters.arrays().values(), *speed.arrays().values(), *numbers, *RATES, np.zeros(2)
    )
    assert_close(parameters, plain, 1e-13)


@every_pair
@pytest.mark.parametrize("exponent", [0, 0.5, 1])
def test_as_the_rate_goes_to_zero_a_pass_is_one_step_down_the_full_gradient(loss, link, exponent):
    """The sum of the steps of all ratings is the gradient, penalty included: nothing twice, nothing lost."""
    objective, parameters, order = problem(loss, link, exponent, 4)
    rate, moved = 1e-7, parameters.copy()
    data, numbers = arguments(objective, parameters, order)
    sgd_block(*data, *moved.arrays().values(), *numbers, np.full(2, rate), np.full(2, rate))
    gradient = objective.gradient(parameters)
    for name, before in parameters.arrays().items():
        steps = (before - moved.arrays()[name]) / rate
        np.testing.assert_allclose(steps, gradient.arrays()[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("exponent", [0, 0.5, 1])
def test_shares_of_a_penalty_add_up_to_the_row_weight_and_unrated_rows_have_none(exponent):
    counts = np.array([0, 1, 2, 10])
    shares = weights_per_rating(L2(1, 1, exponent), counts, np.float64)
    np.testing.assert_allclose((shares * counts)[1:], counts[1:] ** exponent, rtol=1e-15)
    assert shares[0] == 0


def test_rows_outside_the_block_do_not_move():
    objective, parameters, _ = problem(*PAIRS[0], 0.5, 3)
    table, before = objective.interactions, parameters.copy()
    order = np.flatnonzero(table.users == 4)
    data, numbers = arguments(objective, parameters, order)
    sgd_block(*data, *parameters.arrays().values(), *numbers, *RATES)
    moved = (parameters.user_factors != before.user_factors).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [4]
    moved = (parameters.item_factors != before.item_factors).any(axis=1)
    assert np.flatnonzero(moved).tolist() == table.items[order].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", [sgd_block, momentum_block])
def test_a_pass_stops_at_the_first_loss_that_is_not_finite(kernel, dtype):
    objective, parameters, order = problem(*PAIRS[0], 0.5, 3, dtype)
    broken = objective.interactions.items[order[7]]
    parameters.item_biases[broken] = np.nan
    first = int(np.argmax(objective.interactions.items[order] == broken))
    untouched = np.setdiff1d(np.arange(9), objective.interactions.users[order[:first]])
    before = parameters.copy()
    data, numbers = arguments(objective, parameters, order)
    speed, momenta = Parameters.zeros((9, 7), 3, 0, dtype), np.zeros(2)
    extra = (speed.arrays().values(), (momenta,)) if kernel is momentum_block else ((), ())
    total, done = kernel(*data, *parameters.arrays().values(), *extra[0], *numbers, *RATES, *extra[1])
    assert (done, np.isnan(total)) == (first, True)
    assert same_bits(parameters.user_factors[untouched], before.user_factors[untouched])
