"""The implicit objective against a loop over all pairs, and a descent that never climbs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from problems import random_table, same_bits

from bilinear.errors import ParameterValueError
from bilinear.training.history import History
from bilinear.training.implicit_als import (
    AlternatingLeastSquares,
    BlockCoordinateDescent,
    Cholesky,
    ConjugateGradient,
    ImplicitObjective,
    gramian,
    minimise,
)
from bilinear.training.thread_pool import Workers, aligned, fixed_cuts, workers

SOLVERS = [Cholesky(), ConjugateGradient(), ConjugateGradient(1), BlockCoordinateDescent(4)]
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=repr)


def objective(seed=0, *, weight=0.05, l2=0.3, exponent=0.5, shape=(60, 45), n=700) -> ImplicitObjective:
    table = random_table(*shape, n, np.random.default_rng(seed))
    return ImplicitObjective(table.by_user, table.by_item, weight, l2, exponent)


def start(problem, k=10, n_threads=1, seed=1) -> AlternatingLeastSquares:
    return AlternatingLeastSquares.start(problem, k, 0.5, np.random.default_rng(seed), Workers(n_threads))


def value_by_loop(problem: ImplicitObjective, users, items) -> float:
    """The objective as it is written down, pair by pair."""
    rows, alpha = problem.by_user, problem.unobserved_weight
    confidence = np.zeros((len(users), len(items)))
    for u, (a, b) in enumerate(pairwise(rows.indptr)):
        confidence[u, rows.indices[a:b]] = rows.ratings[a:b]
    total = 0.0
    for u, x in enumerate(users.astype(np.float64)):
        weight = confidence[u].sum() + alpha * len(items)
        total += 0.5 * problem.l2 * weight**problem.l2_exponent * (x @ x)
        for i, y in enumerate(items.astype(np.float64)):
            total += 0.5 * confidence[u, i] * (x @ y - 1) ** 2 + 0.5 * alpha * (x @ y) ** 2
    for i, y in enumerate(items.astype(np.float64)):
        weight = confidence[:, i].sum() + alpha * len(users)
        total += 0.5 * problem.l2 * weight**problem.l2_exponent * (y @ y)
    return total


@pytest.mark.parametrize(("weight", "exponent"), [(0.05, 0.5), (0.0, 1.0), (0.3, 0.0)])
def test_the_objective_is_the_sum_over_all_pairs_observed_or_not(weight, exponent):
    problem = objective(weight=weight, exponent=exponent)
    als = start(problem)
    expected = value_by_loop(problem, als.user_factors, als.item_factors)
    assert als.value() == pytest.approx(expected, rel=1e-6)


@every_solver
@pytest.mark.parametrize("seed", range(3))
def test_no_half_step_raises_the_objective(solver, seed):
    als = start(objective(seed))
    values = [als.value()]
    for _ in range(8):
        als.update_users(solver)
        values.append(als.value())
        als.update_items(solver)
        values.append(als.value())
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(values))
    assert values[-1] < 0.9 * values[0]


def test_after_an_exact_half_step_the_slope_by_that_side_is_zero():
    problem = objective()
    als = start(problem)
    als.update_users(Cholesky())
    rows, users, items = problem.by_user, als.user_factors.astype(float), als.item_factors.astype(float)
    slope = problem.unobserved_weight * users @ (items.T @ items)
    slope += problem.user_penalties[:, None] * users
    size = np.abs(slope).max()
    for u, (a, b) in enumerate(pairwise(rows.indptr)):
        near = items[rows.indices[a:b]]
        slope[u] += near.T @ (rows.ratings[a:b] * (near @ users[u] - 1))
    assert np.abs(slope).max() < 1e-4 * size


def test_a_half_step_turns_the_other_side_and_changes_no_distance():
    als = start(objective())
    before = als.item_factors.astype(float)
    als.update_users(Cholesky())
    after = als.item_factors.astype(float)
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-5)
    products = gramian(als.item_factors, als.pool)
    assert np.abs(products - np.diag(products.diagonal())).max() < 1e-4 * products.max()
    assert (np.diff(products.diagonal()) <= 1e-4).all()


@every_solver
def test_any_number_of_threads_gives_the_same_bits(solver):
    found = []
    for n_threads in (1, 2, 5):
        with workers(n_threads) as pool:
            als = AlternatingLeastSquares.start(objective(), 12, 0.5, np.random.default_rng(1), pool)
            minimise(als, solver, 3)
        found.append((als.user_factors, als.item_factors))
    assert all(same_bits(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("k", [1, 3, 4, 6, 9])
def test_factors_that_are_no_multiple_of_four_are_padded_with_zeros(k):
    als = start(objective(), k)
    _, history = minimise(als, Cholesky(), 3)
    assert als.user_factors.shape[1] % 4 == 0
    assert not als.user_factors[:, k:].any()
    assert not als.item_factors[:, k:].any()
    assert len(history.epochs) == 3


def test_more_factors_than_users_or_items_are_no_problem():
    als = start(objective(shape=(7, 5), n=20), 12)
    _, history = minimise(als, Cholesky(), 5)
    assert np.isfinite(als.user_factors).all()
    assert history.epochs[-1].loss <= history.epochs[0].loss


def test_rows_without_interactions_are_zero_whatever_the_weights():
    problem = objective(shape=(60, 45), n=40, weight=0.0, exponent=1.0)
    als = start(problem)
    minimise(als, BlockCoordinateDescent(4), 2)
    assert not als.user_factors[problem.by_user.counts == 0].any()
    assert not als.item_factors[problem.by_item.counts == 0].any()
    assert np.isfinite(als.item_factors).all()


def test_training_ends_when_the_objective_hardly_falls_any_more():
    _, history = minimise(start(objective()), Cholesky(), 200, tolerance=1e-3)
    assert history.ended == "converged"
    assert len(history.epochs) < 200
    falls = [1 - b.loss / a.loss for a, b in pairwise(history.epochs)]
    assert falls[-1] < 1.1e-3 < falls[0]
    assert History.from_dict(history.to_dict()) == history


def test_ctrl_c_keeps_the_epochs_that_are_done():
    class Interrupts:
        def stage(self, name, n_ratings): ...
        def advance(self, n_ratings, loss): ...
        def note(self, text): ...
        def epoch(self, epoch):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    progress = Interrupts()
    progress.left = 2
    als = start(objective())
    _, history = minimise(als, Cholesky(), 9, progress=progress)
    assert (history.ended, len(history.epochs)) == ("interrupted", 2)
    twin = start(objective())
    minimise(twin, Cholesky(), 2)
    assert same_bits(als.user_factors, twin.user_factors)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"weight": -1}, "unobserved_weight"), ({"l2": 0}, "l2=0"), ({"exponent": 2}, "l2_exponent")],
)
def test_arguments_that_make_no_objective_are_refused(change, message):
    with pytest.raises(ParameterValueError, match=message):
        objective(**change)


@pytest.mark.parametrize(
    "make",
    [lambda: BlockCoordinateDescent(6), lambda: BlockCoordinateDescent(0), lambda: ConjugateGradient(0)],
)
def test_solvers_refuse_sizes_that_are_none(make):
    with pytest.raises(ParameterValueError, match=r"size|n_steps"):
        make()


def test_gramian_is_the_product_over_any_number_of_rows():
    factors = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    np.testing.assert_allclose(gramian(factors, Workers(2)), factors.T.astype(float) @ factors, atol=0.02)


def test_cuts_cover_all_rows_once():
    assert fixed_cuts(10, 4).tolist() == [0, 4, 8, 10]
    assert fixed_cuts(0, 4).tolist() == [0]
    costs = np.array([100, 1, 1, 1, 1, 100.0])
    cuts = Workers(2).shares(costs)
    assert (cuts[0], cuts[-1]) == (0, 6)
    assert (np.diff(cuts) > 0).all()


def test_an_error_in_a_task_is_the_callers_and_ends_the_others():
    pool = Workers(2)

    def task(a, b):
        raise ValueError(a)

    with pytest.raises(ValueError, match="0"):
        pool.run(task, fixed_cuts(50, 1))
    pool.close()


def test_aligned_arrays_start_at_a_cache_line():
    for shape in ((3,), (5, 7), (1000, 64)):
        array = aligned(*shape)
        assert array.shape == shape
        assert array.ctypes.data % 64 == 0
        assert array.dtype == np.float32
