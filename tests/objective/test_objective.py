"""The objective and its gradient against explicit loops and against finite differences."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from problems import PAIRS, plain_value, random_parameters, random_table

from bilinear.errors import ParameterValueError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2

every_objective = pytest.mark.parametrize(("loss", "link"), PAIRS)
every_exponent = pytest.mark.parametrize("exponent", [0, 0.5, 1])


def problem(loss, link, exponent, n_factors=3, seed=0):
    rng = np.random.default_rng(seed)
    table = random_table(9, 7, 30, rng)
    parameters = random_parameters(table.shape, n_factors, rng)
    for array in parameters.arrays().values():
        array *= 0.5
    return Objective(loss, link, L2(0.3, 0.2, exponent), table), parameters


def plain_score(parameters, user, item):
    dot = sum(
        p * q for p, q in zip(parameters.user_factors[user], parameters.item_factors[item], strict=True)
    )
    return parameters.global_mean + parameters.user_biases[user] + parameters.item_biases[item] + dot


def plain_penalty(l2, parameters, table):
    total = 0.0
    sides = (
        (table.users, parameters.user_biases, parameters.user_factors),
        (table.items, parameters.item_biases, parameters.item_factors),
    )
    for column, biases, factors in sides:
        for row in range(len(biases)):
            weight = float((column == row).sum()) ** l2.exponent
            total += weight * l2.biases / 2 * biases[row] ** 2
            for factor in factors[row]:
                total += weight * l2.factors / 2 * factor**2
    return total


def plain_gradient(objective, parameters):
    """One rating and one row at a time."""
    table, l2 = objective.interactions, objective.penalty
    mean, gradient = 0.0, {name: np.zeros_like(array) for name, array in parameters.arrays().items()}
    for user, item, rating in zip(table.users, table.items, table.ratings.astype(float), strict=True):
        score = np.array([plain_score(parameters, user, item)])
        slope = float(objective.loss.gradient(score, rating, objective.link)[0])
        mean += slope
        gradient["user_biases"][user] += slope
        gradient["item_biases"][item] += slope
        gradient["user_factors"][user] += slope * parameters.item_factors[item]
        gradient["item_factors"][item] += slope * parameters.user_factors[user]
    for side, column in (("user", table.users), ("item", table.items)):
        for row in range(len(gradient[f"{side}_biases"])):
            weight = float((column == row).sum()) ** l2.exponent
            for kind, strength in (("biases", l2.biases), ("factors", l2.factors)):
                name = f"{side}_{kind}"
                gradient[name][row] += strength * weight * parameters.arrays()[name][row]
    return mean, gradient


@every_objective
@every_exponent
def test_value_equals_a_loop_over_ratings_and_rows(loss, link, exponent):
    objective, parameters = problem(loss, link, exponent)
    table = objective.interactions
    expected = plain_penalty(objective.penalty, parameters, table)
    for user, item, rating in zip(table.users, table.items, table.ratings.tolist(), strict=True):
        expected += plain_value(loss, link, plain_score(parameters, user, item), rating)
    assert objective.value(parameters) == pytest.approx(expected, rel=1e-12)
    counts = objective.user_counts, objective.item_counts
    assert objective.penalty.value(parameters, *counts) == pytest.approx(
        plain_penalty(objective.penalty, parameters, table), rel=1e-12
    )


@every_objective
@every_exponent
@pytest.mark.parametrize("n_factors", [0, 1, 4])
def test_gradient_equals_an_explicit_loop(loss, link, exponent, n_factors):
    objective, parameters = problem(loss, link, exponent, n_factors, seed=1)
    mean, expected = plain_gradient(objective, parameters)
    found = objective.gradient(parameters)
    assert found.global_mean == pytest.approx(mean, rel=1e-10, abs=1e-10)
    for name, array in found.arrays().items():
        assert array.shape == expected[name].shape
        np.testing.assert_allclose(array, expected[name], rtol=1e-10, atol=1e-10, err_msg=name)


@every_objective
@every_exponent
def test_gradient_equals_finite_differences_in_every_coordinate(loss, link, exponent):
    objective, parameters = problem(loss, link, exponent, n_factors=2, seed=2)
    found, step = objective.gradient(parameters), 1e-5

    def slope(above, below):
        return (objective.value(above) - objective.value(below)) / (2 * step)

    ends = (replace(parameters, global_mean=parameters.global_mean + side) for side in (step, -step))
    assert found.global_mean == pytest.approx(slope(*ends), abs=1e-6)
    for name, array in found.arrays().items():
        for place in np.ndindex(array.shape):
            moved = [parameters.copy(), parameters.copy()]
            moved[0].arrays()[name][place] += step
            moved[1].arrays()[name][place] -= step
            assert array[place] == pytest.approx(slope(*moved), abs=1e-6), (name, place)


def test_rows_without_ratings_are_pulled_by_nothing_when_they_are_zero():
    objective, parameters = problem(*PAIRS[0], exponent=0, seed=3)
    table = objective.interactions.take(objective.interactions.users < 6)
    parameters.user_biases[6:], parameters.user_factors[6:] = 0, 0
    gradient = replace(objective, interactions=table).gradient(parameters)
    assert not gradient.user_biases[6:].any()
    assert not gradient.user_factors[6:].any()
    assert gradient.user_factors[:6].any(axis=1).all()


def test_the_exponent_goes_from_once_a_row_to_once_a_rating():
    counts = np.array([0, 1, 4, 9])
    assert L2(exponent=0).row_weights(counts).tolist() == [1, 1, 1, 1]
    assert L2(exponent=0.5).row_weights(counts).tolist() == [0, 1, 2, 3]
    assert L2(exponent=1).row_weights(counts).tolist() == [0, 1, 4, 9]


@pytest.mark.parametrize("name", ["factors", "biases", "exponent"])
@pytest.mark.parametrize("value", [-0.1, nan, inf, "auto", None, True])
def test_a_penalty_that_is_no_weight_is_refused_by_name(name, value):
    with pytest.raises(ParameterValueError, match=name) as caught:
        L2(**{name: value})
    assert repr(value) in str(caught.value)


def test_an_exponent_above_one_is_refused():
    with pytest.raises(ParameterValueError, match=r"exponent is 1\.5"):
        L2(exponent=1.5)
