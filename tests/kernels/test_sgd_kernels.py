"""The compiled steps against plain Python steps, and against the gradient they sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from problems import PAIRS, random_parameters, random_table, same_bits

from bilinear.kernels.sgd import CROSS_ENTROPY, IDENTITY, SGD_CELLS, SIGMOID, SQUARED_ERROR, VELOCITY
from bilinear.kernels.sgd import loss_and_gradient as inlined
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.rating_grid import Rows
from bilinear.training.sgd import weights_per_rating

every_pair = pytest.mark.parametrize(
    ("loss", "link"), PAIRS, ids=["squared", "sigmoid squared", "cross-entropy"]
)
CUTS = np.array([0, 11, 11, 30])  # of 30 ratings into cells; the second is empty
RATES = np.array([[0.02, 0.03], [1.0, 1.0], [0.05, 0.01]])  # of factors and of biases, of each cell
MOMENTA = np.array([0.5, 0.0, 0.9])


@njit
def loss_and_gradient(score, rating, link, loss, low, span):
    return inlined(score, rating, link, loss, low, span)


def problem(loss, link, exponent, n_factors, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    table = random_table(9, 7, 30, rng)
    parameters = random_parameters(table.shape, n_factors, rng, dtype)
    for array in parameters.arrays().values():
        array *= dtype(0.5)
    return Objective(loss, link, L2(0.3, 0.2, exponent), table), parameters, rng.permutation(table.n_ratings)


def descended(objective, parameters, order, rates=RATES, momenta=None, cuts=CUTS, cells=None, plain=False):
    """What the kernel makes of the ratings listed in `order`, cut into cells.

    Returns (parameters, velocities, losses of the cells, whether they are finite).
    """
    table, (low, high) = objective.interactions, objective.link.bounds
    dtype, moving = parameters.user_biases.dtype.type, momenta is not None
    shares = [
        weights_per_rating(objective.penalty, c, dtype)
        for c in (objective.user_counts, objective.item_counts)
    ]
    users, items = (
        Rows.of(biases, share, factors, np.arange(len(biases)), moving)
        for biases, share, factors in (
            (parameters.user_biases, shares[0], parameters.user_factors),
            (parameters.item_biases, shares[1], parameters.item_factors),
        )
    )
    cells, losses = np.arange(len(cuts) - 1) if cells is None else cells, np.zeros(len(cuts) - 1)
    rates = np.broadcast_to(rates, (len(cuts) - 1, 2))[cells]
    numbers = np.ascontiguousarray(rates.T), np.zeros(len(cells)) if momenta is None else momenta[cells]
    blocks = np.zeros(len(cuts), np.int64), np.zeros(2, np.int64)  # a user block a cell, all from row 0
    data = (
        cuts,
        *blocks,
        table.users[order],
        table.items[order],
        table.ratings[order],
        np.empty(0, np.float32),
        np.float64(parameters.global_mean),
    )
    weights = (
        users.bias_columns,
        items.bias_columns,
        users.factors,
        items.factors,
        users.velocities,
        items.velocities,
        users.shape,
    )
    codes = (objective.link.code, objective.loss.code, low, high - low)
    kernel = SGD_CELLS[objective.link.code == IDENTITY and not plain, moving]
    fine = kernel(
        cells,
        *numbers[0],
        numbers[1],
        *data,
        *weights,
        *codes,
        objective.penalty.factors,
        objective.penalty.biases,
        losses,
    )
    if fine:
        k = parameters.n_factors
        assert not users.factors[:, k:].any()
        assert not items.factors[:, k:].any()
    moved = Parameters(parameters.global_mean, users.biases, items.biases, users.weights, items.weights)
    velocities = None
    if moving:
        k = parameters.n_factors
        velocities = Parameters(
            0.0,
            users.bias_columns[:, VELOCITY],
            items.bias_columns[:, VELOCITY],
            users.velocities[:, :k],
            items.velocities[:, :k],
        )
    return moved, velocities, losses, fine


def plain_steps(objective, parameters, order, rates=RATES, momenta=None, cuts=CUTS):
    """The twin: float64 steps on a copy, one rating at a time, all gradients before all updates."""
    table, l2 = objective.interactions, objective.penalty
    at = parameters.astype(np.float64)
    velocity = Parameters.zeros(table.shape, at.n_factors, dtype=np.float64)
    losses = np.zeros(len(cuts) - 1)
    for n, row in enumerate(order):
        cell = int(np.searchsorted(cuts, n, side="right")) - 1
        u, i, rating = table.users[row], table.items[row], float(table.ratings[row])
        p, q = at.user_factors[u].copy(), at.item_factors[i].copy()
        score = np.array([at.global_mean + at.user_biases[u] + at.item_biases[i] + p @ q])
        losses[cell] += float(objective.loss.value(score, rating, objective.link)[0])
        slope = float(objective.loss.gradient(score, rating, objective.link)[0])
        # a row's penalty n^exponent, spread over its n ratings
        w_u = float(objective.user_counts[u]) ** (l2.exponent - 1)
        w_i = float(objective.item_counts[i]) ** (l2.exponent - 1)
        pulls = (
            (at.user_biases, velocity.user_biases, u, slope + l2.biases * w_u * at.user_biases[u], 1),
            (at.item_biases, velocity.item_biases, i, slope + l2.biases * w_i * at.item_biases[i], 1),
            (at.user_factors, velocity.user_factors, u, slope * q + l2.factors * w_u * p, 0),
            (at.item_factors, velocity.item_factors, i, slope * p + l2.factors * w_i * q, 0),
        )
        for array, velocities, place, gradient, kind in pulls:
            velocities[place] = (0 if momenta is None else momenta[cell]) * velocities[place] + gradient
            array[place] -= rates[cell][kind] * velocities[place]
    return at, velocity, losses


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
def test_loss_and_gradient_equal_those_of_the_objects(loss, link, score, rating):
    low, high = link.bounds
    value, slope = loss_and_gradient(score, rating, link.code, loss.code, low, high - low)
    at = np.array([score])
    assert value == pytest.approx(float(loss.value(at, rating, link)[0]), rel=1e-12, abs=1e-12)
    assert slope == pytest.approx(float(loss.gradient(at, rating, link)[0]), rel=1e-12, abs=1e-12)


precisions = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
# less than a register, one, several, pieces
widths = pytest.mark.parametrize("n_factors", [0, 5, 16, 50, 112, 200])


@every_pair
@pytest.mark.parametrize("exponent", [0, 0.5, 1])
@precisions
def test_a_pass_equals_plain_steps(loss, link, exponent, dtype, tolerance):
    objective, parameters, order = problem(loss, link, exponent, 5, dtype)
    expected, _, expected_losses = plain_steps(objective, parameters, order)
    found, _, losses, fine = descended(objective, parameters, order)
    assert fine
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance)
    assert_close(found, expected, tolerance)


@widths
@precisions
@pytest.mark.parametrize("momenta", [None, MOMENTA])
def test_so_does_one_of_any_width(n_factors, dtype, tolerance, momenta):
    objective, parameters, order = problem(*PAIRS[0], 0.5, n_factors, dtype)
    for factors in (parameters.user_factors, parameters.item_factors):
        factors /= dtype(max(1, n_factors) ** 0.5)
    expected, _, expected_losses = plain_steps(objective, parameters, order, momenta=momenta)
    found, _, losses, _ = descended(objective, parameters, order, momenta=momenta)
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance)
    assert_close(found, expected, tolerance)


@pytest.mark.parametrize("apart", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("momenta", [None, MOMENTA])
def test_ratings_whose_rows_recur_at_any_distance_equal_plain_steps(apart, momenta):
    """`apart` ratings of a user follow each other, then those of the next; 0: rows differ for 8 steps."""
    objective, parameters, _ = problem(*PAIRS[0], 0.5, 20)
    table = random_table(8, 8, 64, np.random.default_rng(0))
    objective = Objective(objective.loss, objective.link, objective.penalty, table)
    parameters = random_parameters(table.shape, 20, np.random.default_rng(1), np.float64)
    diagonal, users = (table.items - table.users) % 8, table.users
    order = np.lexsort((users, diagonal) if apart == 0 else (diagonal, users, diagonal // apart))
    cuts = np.array([0, 37, 37, 64])  # not a whole number of turns
    expected, _, expected_losses = plain_steps(objective, parameters, order, momenta=momenta, cuts=cuts)
    found, _, losses, _ = descended(objective, parameters, order, momenta=momenta, cuts=cuts)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-11)
    assert_close(found, expected, 1e-11)


@every_pair
@precisions
def test_a_pass_with_momentum_equals_plain_steps_with_momentum(loss, link, dtype, tolerance):
    objective, parameters, order = problem(loss, link, 0.5, 5, dtype)
    expected, expected_velocity, expected_losses = plain_steps(objective, parameters, order, momenta=MOMENTA)
    found, velocity, losses, fine = descended(objective, parameters, order, momenta=MOMENTA)
    assert fine
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance)
    assert_close(found, expected, tolerance)
    assert_close(velocity, expected_velocity, tolerance)


def test_no_momentum_is_plain_descent():
    objective, parameters, order = problem(*PAIRS[0], 0.5, 5)
    plain, moving = (descended(objective, parameters, order, momenta=m)[0] for m in (None, np.zeros(3)))
    assert_close(moving, plain, 1e-13)


@pytest.mark.parametrize("momenta", [None, MOMENTA])
def test_the_kernel_for_the_identity_does_what_the_one_for_all_links_does(momenta):
    objective, parameters, order = problem(*PAIRS[0], 0.5, 5)
    found = [descended(objective, parameters, order, momenta=momenta, plain=plain) for plain in (False, True)]
    assert_close(found[0][0], found[1][0], 1e-13)
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-13)


@every_pair
@pytest.mark.parametrize("exponent", [0, 0.5, 1])
def test_as_the_rate_goes_to_zero_a_pass_is_one_step_down_the_full_gradient(loss, link, exponent):
    """The sum of the steps of all ratings is the gradient, penalty included: nothing twice, nothing lost."""
    objective, parameters, order = problem(loss, link, exponent, 4)
    rate = 1e-7
    moved, *_ = descended(objective, parameters, order, np.full(2, rate))
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


def test_cells_that_are_not_listed_are_not_met():
    objective, parameters, order = problem(*PAIRS[0], 0.5, 3)
    moved, _, losses, _ = descended(objective, parameters, order, cells=np.array([1, 0]))
    expected, _, expected_losses = plain_steps(objective, parameters, order[:11], cuts=np.array([0, 11]))
    assert_close(moved, expected, 1e-13)
    np.testing.assert_allclose(losses, [expected_losses[0], 0, 0], rtol=1e-13)
    untouched = np.setdiff1d(np.arange(9), objective.interactions.users[order[:11]])
    assert len(untouched)
    assert same_bits(moved.user_factors[untouched], parameters.user_factors[untouched])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("momenta", [None, MOMENTA])
def test_a_pass_ends_with_the_first_cell_whose_loss_is_not_finite(momenta, dtype):
    objective, parameters, order = problem(*PAIRS[0], 0.5, 3, dtype)
    table = objective.interactions
    parameters.item_biases[table.items[order[7]]] = np.nan
    moved, _, losses, fine = descended(objective, parameters, order, momenta=momenta)
    assert not fine
    assert np.isnan(losses[0])
    assert losses[2] == 0
    untouched = np.setdiff1d(np.arange(9), table.users[order[:11]])
    assert same_bits(moved.user_factors[untouched], parameters.user_factors[untouched])
