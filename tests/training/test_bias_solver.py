"""The bias model against a dense solver, and against its own stationarity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import planted_table, random_table, same_bits, with_strangers

from bilinear.data.row_subset import Part
from bilinear.errors import DivergenceError
from bilinear.model.link import Identity
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training import bias_solver
from bilinear.training.bias_solver import solve_biases
from bilinear.training.thread_pool import Workers


def dense_solution(table, penalty):
    """The normal equations of the biases, written out as one matrix."""
    n_users, n_items = table.shape
    design = np.zeros((table.n_ratings, n_users + n_items))
    design[np.arange(table.n_ratings), table.users] = 1
    design[np.arange(table.n_ratings), n_users + table.items] = 1
    counts = design.sum(axis=0)
    ridge = np.diag(np.where(counts > 0, penalty.biases * counts**penalty.exponent, 1))
    centred = table.ratings.astype(np.float64) - table.ratings.mean(dtype=np.float64)
    return np.linalg.solve(design.T @ design + ridge, design.T @ centred)


@pytest.mark.parametrize("exponent", [0, 0.5, 1])
@pytest.mark.parametrize("l2_biases", [0.01, 0.4, 6.4])
def test_biases_equal_a_dense_solve(exponent, l2_biases):
    table, penalty = with_strangers(planted_table()), L2(0, l2_biases, exponent)
    parameters = solve_biases(table, penalty)
    found = np.concatenate([parameters.user_biases, parameters.item_biases])
    np.testing.assert_allclose(found, dense_solution(table, penalty), atol=1e-6)
    assert parameters.global_mean == pytest.approx(table.ratings.mean(dtype=np.float64), rel=1e-12)
    assert parameters.n_factors == 0
    for array in (parameters.user_biases, parameters.item_biases):
        assert array.dtype == np.float32
        assert not array[[0, -1]].any()


def test_part_of_a_table_and_several_threads(monkeypatch):
    table, penalty = with_strangers(planted_table()), L2(0, 0.4, 0.5)
    part = Part(table, np.random.default_rng(0).random(table.n_ratings) < 0.8)
    whole = solve_biases(part.gathered(), penalty)
    assert same_bits(solve_biases(part, penalty), whole)
    monkeypatch.setattr(bias_solver, "_SHARED", 0)
    shared = solve_biases(part, penalty)
    for name, array in shared.arrays().items():
        np.testing.assert_allclose(array, whole.arrays()[name], rtol=1e-5, atol=1e-7)
    monkeypatch.setattr(bias_solver, "Workers", lambda _: Workers(3))
    assert same_bits(solve_biases(part, penalty), shared)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 8), st.integers(2, 8), st.floats(0.01, 10), st.floats(0, 1), st.integers(0, 2**32))
def test_no_direction_leads_down_from_it(n_users, n_items, l2_biases, exponent, seed):
    rng = np.random.default_rng(seed)
    table = random_table(n_users, n_items, int(rng.integers(1, n_users * n_items + 1)), rng)
    objective = Objective(SquaredError(), Identity(1, 5), L2(0, l2_biases, exponent), table)
    parameters = solve_biases(table, objective.penalty).astype(np.float64)
    gradient = objective.gradient(parameters)
    assert np.abs(gradient.user_biases).max() < 1e-5
    assert np.abs(gradient.item_biases).max() < 1e-5


def test_without_a_penalty_the_predictions_are_those_of_least_squares():
    """Then the biases are free up to a constant moved from users to items; the predictions are not."""
    table = planted_table()
    parameters = solve_biases(table, L2())
    found = parameters.user_biases[table.users] + parameters.item_biases[table.items]
    design = np.zeros((table.n_ratings, sum(table.shape)))
    design[np.arange(table.n_ratings), table.users] = 1
    design[np.arange(table.n_ratings), table.n_users + table.items] = 1
    centred = table.ratings.astype(np.float64) - table.ratings.mean(dtype=np.float64)
    expected = design @ np.linalg.lstsq(design, centred, rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_table_explained_by_biases_alone_is_recovered():
    rng = np.random.default_rng(0)
    table = planted_table()
    a, b = rng.normal(size=table.n_users), rng.normal(size=table.n_items)
    exact = replace(table, ratings=(3 + a[table.users] + b[table.items]).astype(np.float32))
    parameters = solve_biases(exact, L2(0, 1e-6))
    found = parameters.global_mean + parameters.user_biases[table.users] + parameters.item_biases[table.items]
    np.testing.assert_allclose(found, exact.ratings, atol=1e-4)


def test_equations_that_do_not_converge_say_what_to_raise(monkeypatch):
    monkeypatch.setattr(bias_solver, "_MAX_ITERATIONS", 2)
    with pytest.raises(DivergenceError, match=r"raise l2_biases above 0\.1"):
        solve_biases(planted_table(), L2(0, 0.1))
