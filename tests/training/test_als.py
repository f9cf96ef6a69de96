"""ALS: half-steps are closed forms, the objective never rises, and the loop treats it as any solver."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from listeners import CtrlC, Recorder
from problems import planted_table, random_parameters, same_bits, with_strangers

from bilinear.data.splits import split_random
from bilinear.errors import ParameterValueError
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.fold_in import fold_in
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.als import ALS, AlternatingRun, costs, limits
from bilinear.training.bias_solver import solve_biases
from bilinear.training.implicit_als import BlockCoordinateDescent, Cholesky, ConjugateGradient
from bilinear.training.initialization import Scale, random_start
from bilinear.training.schedules import Constant, Falling, Polynomial, ReduceOnPlateau
from bilinear.training.thread_pool import Workers, workers
from bilinear.training.validation import rmse

TABLE = with_strangers(planted_table(noise=0.3))
SPLIT = split_random(planted_table(), 0.2)
LINK = Identity(-10, 15)
PENALTIES = [L2(0.5, 0.2, 0.0), L2(0.2, 0.1, 0.5), L2(0.05, 0.02, 1.0), L2(0.5, 0.0, 0.5)]
ROW_SOLVERS = [Cholesky(), ConjugateGradient(), ConjugateGradient(1)]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
every_row_solver = pytest.mark.parametrize("row_solver", ROW_SOLVERS, ids=repr)


def problem(table=TABLE, penalty=PENALTIES[1]) -> Objective:
    return Objective(SquaredError(), LINK, penalty, table)


def start(table=TABLE, n_factors=3, seed=0) -> Parameters:
    scale = Scale.of(table, LINK, SquaredError())
    return random_start(table, n_factors, scale, 0.5, np.random.default_rng(seed))


def run_of(objective, begin, row_solver=Cholesky(), pool=None) -> AlternatingRun:  # noqa: B008
    return AlternatingRun(objective, begin, row_solver, np.ones(100), pool or Workers(1))


def minimise(solver, objective=None, begin=None, **options):
    objective = objective or problem()
    begin = begin or start(objective.interactions)
    return solver.minimise(objective, begin, np.random.default_rng(0), **options)


@every_penalty
@every_row_solver
@pytest.mark.parametrize(("dtype", "rounding"), [(np.float64, 1e-13), (np.float32, 1e-6)])
@pytest.mark.parametrize("n_factors", [3, 20])
def test_no_half_step_raises_the_objective(penalty, row_solver, dtype, rounding, n_factors):
    objective = problem(penalty=penalty)
    run = run_of(objective, start(n_factors=n_factors).astype(dtype), row_solver)
    values = []
    for half_step in [run.update_items, run.update_users] * 30:
        values.append(objective.value(run.current().astype(np.float64)))
        half_step()
    values.append(objective.value(run.current().astype(np.float64)))
    assert all(after <= before * (1 + rounding) for before, after in pairwise(values))
    assert values[-1] < 0.5 * values[0]


@every_penalty
@pytest.mark.parametrize("n_factors", [0, 1, 3, 16, 30])
def test_a_half_step_is_ridge_regression_on_the_other_sides_factors_and_a_one(penalty, n_factors):
    objective = problem(penalty=penalty)
    begin = random_parameters(TABLE.shape, n_factors, np.random.default_rng(1))
    run = run_of(objective, begin)
    run.update_users()
    found, rows = run.current(), TABLE.by_user
    for u, (a, b) in enumerate(pairwise(rows.indptr)):
        if a == b:
            assert not found.user_factors[u].any()
            assert found.user_biases[u] == 0
            continue
        items, weight = rows.indices[a:b], float(b - a) ** penalty.exponent
        design = np.hstack([begin.item_factors[items], np.ones((b - a, 1))])
        ridge = weight * np.append(np.full(n_factors, penalty.factors), penalty.biases)
        target = rows.ratings[a:b].astype(float) - begin.global_mean - begin.item_biases[items]
        exact = np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ target)
        np.testing.assert_allclose(found.user_factors[u], exact[:-1], atol=1e-9)
        assert found.user_biases[u] == pytest.approx(exact[-1], abs=1e-9)
    assert same_bits(found.item_factors, begin.item_factors)
    assert same_bits(found.item_biases, begin.item_biases)


@every_penalty
def test_after_a_half_step_the_gradient_by_that_side_is_zero(penalty):
    objective = problem(penalty=penalty)
    run = run_of(objective, start().astype(np.float64))
    run.update_items()
    after_items = objective.gradient(run.current())
    run.update_users()
    after_users = objective.gradient(run.current())
    assert np.abs(after_items.item_factors).max() < 1e-9 > np.abs(after_items.item_biases).max()
    assert np.abs(after_users.user_factors).max() < 1e-9 > np.abs(after_users.user_biases).max()
    assert np.abs(after_users.item_factors).max() > 1e-3


@every_row_solver
def test_each_half_step_tells_the_mean_loss_it_leaves(row_solver):
    objective = problem()
    run = run_of(objective, start().astype(np.float64), row_solver)
    for half_step in [run.update_items, run.update_users] * 2:
        loss = half_step()
        bare = replace(objective, penalty=L2(0, 0)).value(run.current())
        assert loss == pytest.approx(bare / TABLE.n_ratings, rel=1e-9)


@pytest.mark.parametrize("row_solver", ROW_SOLVERS[:2], ids=repr)
def test_a_long_descent_ends_where_all_gradients_vanish(row_solver):
    objective = problem()
    begin = start().astype(np.float64)
    run = run_of(objective, begin, row_solver)
    for _ in range(200):
        run.update_items()
        run.update_users()

    def size(at):
        return max(np.abs(array).max() for array in objective.gradient(at).arrays().values() if array.ndim)

    assert size(run.current()) < 1e-6 * size(begin)


@every_row_solver
def test_any_number_of_threads_gives_the_same_bits(row_solver):
    found = []
    for n_threads in (1, 2, 5):
        with workers(n_threads) as pool:
            run = run_of(problem(), start(n_factors=20), row_solver, pool)
            losses = [half() for half in [run.update_items, run.update_users] * 3]
        found.append((run.current(), losses))
    for parameters, losses in found[1:]:
        assert same_bits(parameters, found[0][0])
        assert losses == found[0][1]
    assert same_bits(*(minimise(ALS(n_epochs=3, n_threads=n))[0] for n in (1, 2)))


def test_a_training_users_ratings_fold_in_to_that_users_row():
    objective = problem()
    for schedule in (Constant(), Falling()):
        parameters, _ = minimise(ALS(n_epochs=6, l2_schedule=schedule), objective)
        rows = TABLE.by_user
        for u, (a, b) in enumerate(pairwise(rows.indptr)):
            user = fold_in(
                parameters, LINK, objective.loss, objective.penalty, rows.indices[a:b], rows.ratings[a:b]
            )
            np.testing.assert_allclose(parameters.user_factors[u], user.factors, atol=2e-5)
            assert parameters.user_biases[u] == pytest.approx(user.bias, abs=2e-5)


def test_without_factors_it_finds_the_closed_form_of_the_bias_model():
    penalty = L2(0.0, 0.4, 0.5)
    found, _ = minimise(ALS(n_epochs=200), problem(penalty=penalty), start(n_factors=0))
    exact = solve_biases(TABLE, penalty)
    np.testing.assert_allclose(found.user_biases, exact.user_biases, atol=1e-5)
    np.testing.assert_allclose(found.item_biases, exact.item_biases, atol=1e-5)


def test_it_recovers_planted_factors_to_nearly_the_noise():
    objective = problem(SPLIT.train, L2(0.1, 0.1))
    parameters, history = minimise(ALS(n_epochs=30), objective, validation=SPLIT.test)
    assert history.best_validation_rmse == rmse(parameters, LINK, SPLIT.test)
    assert history.best_validation_rmse < 0.25  # the noise is 0.1, biases alone reach 0.7


def test_a_warm_start_goes_on_where_it_was():
    through, _ = minimise(ALS(n_epochs=8))
    half, _ = minimise(ALS(n_epochs=4))
    on, _ = minimise(ALS(n_epochs=4), begin=half)
    assert same_bits(on, through)


def test_a_run_goes_on_from_its_state_to_the_same_bits():
    rng, quiet = np.random.default_rng(0), Recorder()
    for n_factors in (5, 16):
        run = run_of(problem(), start(n_factors=n_factors))
        assert run.state() is not None
        run.epoch(1, rng, quiet)
        state = run.state()
        assert state is not None
        kept = {name: array.copy() for name, array in state.items()}
        run.epoch(2, rng, quiet)
        again = run_of(problem(), start(n_factors=n_factors, seed=9))
        again.restore(kept)
        again.epoch(2, rng, quiet)
        assert same_bits(again.current(), run.current())


def test_within_an_epoch_there_is_no_state_to_go_on_from():
    run, seen = run_of(problem(), start()), []

    class Asks(Recorder):
        def advance(self, n_ratings: int, loss: float) -> None:
            seen.append(run.state())

    run.epoch(1, np.random.default_rng(0), Asks())
    assert seen
    assert not any(seen)


def test_the_schedule_multiplies_the_l2_of_the_factors_and_not_of_the_biases():
    by_schedule, _ = minimise(ALS(n_epochs=1, l2_schedule=Falling(9.0, 1.0)))  # 3 in the middle
    penalty = PENALTIES[1]
    by_penalty, _ = minimise(ALS(n_epochs=1), problem(penalty=replace(penalty, factors=3 * penalty.factors)))
    np.testing.assert_allclose(by_schedule.user_factors, by_penalty.user_factors, atol=1e-6)
    np.testing.assert_allclose(by_schedule.item_biases, by_penalty.item_biases, atol=1e-6)


def test_the_start_and_the_table_are_not_changed():
    begin, ratings = start(n_factors=16), TABLE.ratings.copy()
    before = begin.copy()
    minimise(ALS(n_epochs=2), begin=begin)
    assert same_bits(begin, before)
    assert same_bits(TABLE.ratings, ratings)


def test_what_is_auto_and_when_it_stops():
    solver = ALS().resolved(1000)
    assert (solver.n_epochs, solver.patience) == (15, 5)
    noise = replace(SPLIT.train, ratings=np.random.default_rng(0).permutation(SPLIT.train.ratings))
    _, history = minimise(ALS(n_epochs=40, patience=2), problem(noise), validation=SPLIT.test)
    assert history.ended == "stopped early"
    assert len(history.epochs) == 20  # never in the first half
    assert {(epoch.learning_rate, epoch.momentum) for epoch in history.epochs} == {(1.0, 0.0)}


def test_the_progress_of_an_epoch_adds_up_to_the_ratings():
    listener = Recorder()
    minimise(ALS(n_epochs=3), progress=listener, stage="here")
    assert listener.of("stage") == [("here", 3 * TABLE.n_ratings)]
    told = sum(n_ratings for n_ratings, _ in listener.of("advance"))
    assert 3 * (TABLE.n_ratings - 1) <= told <= 3 * TABLE.n_ratings
    assert len(listener.of("epoch")) == 3


def test_ctrl_c_keeps_the_best_epoch_and_before_the_first_it_is_passed_on():
    objective = problem(SPLIT.train)
    with pytest.raises(KeyboardInterrupt):
        minimise(ALS(), objective, progress=CtrlC("advance", 2))
    parameters, history = minimise(ALS(), objective, validation=SPLIT.test, progress=CtrlC("epoch", 3))
    assert history.ended == "interrupted"
    assert len(history.epochs) == 3
    assert rmse(parameters, LINK, SPLIT.test) == history.best_validation_rmse


@pytest.mark.parametrize(
    ("loss", "link"), [(SquaredError(), Sigmoid(0.6, 5.4)), (CrossEntropy(), Sigmoid(0.6, 5.4))]
)
def test_what_is_no_least_squares_is_refused(loss, link):
    objective = Objective(loss, link, L2(0.1, 0.1), TABLE)
    with pytest.raises(ParameterValueError, match=r"least squares.*Sigmoid; for these take solver=SGD"):
        minimise(ALS(), objective)


def test_an_l2_of_zero_is_refused_by_whatever_it_is_zero():
    with pytest.raises(ParameterValueError, match="no single minimum; give a positive l2"):
        minimise(ALS(), problem(penalty=L2(0.0, 0.1)))
    with pytest.raises(ParameterValueError, match="times 0 by l2_schedule"):
        minimise(ALS(n_epochs=3, l2_schedule=lambda share: float(share < 0.5)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_epochs": 0},
        {"patience": 1.5},
        {"row_solver": BlockCoordinateDescent()},
        {"row_solver": "cg"},
        {"l2_schedule": 0.5},
        {"l2_schedule": ReduceOnPlateau()},
        {"n_threads": 0},
    ],
    ids=str,
)
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ParameterValueError, match=next(iter(wrong))):
        ALS(**wrong)


def test_a_schedule_of_any_kind_is_asked_in_the_middle_of_each_epoch():
    assert ALS(n_epochs=2, l2_schedule=Polynomial(1.0)).multipliers().tolist() == [0.75, 0.25]


@pytest.mark.parametrize("k", [16, 32, 64, 128])
@pytest.mark.parametrize("n_steps", [0, 3])
def test_costs_grow_with_the_ratings_and_the_dual_fits_its_room(k, n_steps):
    dual_to, _ = limits(k, n_steps)
    assert dual_to <= k
    cost = costs(np.arange(dual_to + 1), k, n_steps)
    assert (np.diff(cost) > 0).all()
