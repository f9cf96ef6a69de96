"""The training loop: it finds what a solver finds, keeps the best epoch, and stops when told."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from listeners import CtrlC, Recorder
from problems import planted_table, same_bits, with_strangers

from bilinear.data.splits import split_random
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.scoring import score_rows
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training import sgd
from bilinear.training.bias_solver import solve_biases
from bilinear.training.initialization import Scale, random_start
from bilinear.training.schedules import Constant
from bilinear.training.sgd import SGD
from bilinear.training.validation import rmse

TABLE = planted_table()
SPLIT = split_random(TABLE, 0.2)
LONG = SGD(n_epochs=200, learning_rate=0.05, patience=40)
PAIRS = [(SquaredError(), Identity()), (SquaredError(), Sigmoid()), (CrossEntropy(), Sigmoid())]
every_pair = pytest.mark.parametrize(
    ("loss", "link"), PAIRS, ids=["squared", "sigmoid squared", "cross-entropy"]
)


def objective_on(table, loss=PAIRS[0][0], link=PAIRS[0][1], penalty=None):
    link = link.resolved(float(TABLE.ratings.min()), float(TABLE.ratings.max()))
    scale = Scale.of(TABLE, link, loss)
    return Objective(loss, link, penalty or L2(0.1 * scale.l2_factors, 0.1 * scale.l2_biases), table)


def descend(solver, objective, n_factors=4, seed=0, **options):
    rng = np.random.default_rng(seed)
    scale = Scale.of(objective.interactions, objective.link, objective.loss)
    start = random_start(objective.interactions, n_factors, scale, 0.1, rng)
    return solver.minimise(objective, start, rng, **options)


@every_pair
def test_it_recovers_planted_factors_to_nearly_the_noise(loss, link):
    objective = objective_on(SPLIT.train, loss, link)
    parameters, history = descend(LONG, objective, validation=SPLIT.test)
    assert history.best_validation_rmse == rmse(parameters, objective.link, SPLIT.test)
    assert history.best_validation_rmse < 0.25  # the noise is 0.1, biases alone reach 0.7


@every_pair
def test_a_long_descent_ends_where_the_gradient_vanishes(loss, link):
    objective = objective_on(TABLE, loss, link)
    start = random_start(TABLE, 4, Scale.of(TABLE, objective.link, loss), 0.1, np.random.default_rng(0))
    parameters, _ = descend(LONG, objective)

    def size(at):
        gradient = objective.gradient(at.astype(np.float64)).arrays().values()
        return np.sqrt(sum((array**2).sum() for array in gradient))

    assert size(parameters) < 0.01 * size(start)
    assert objective.value(parameters) < objective.value(start)


def test_without_factors_it_finds_the_closed_form_of_the_bias_model():
    penalty = L2(0, 0.4, 0.5)
    solver = SGD(n_epochs=300, learning_rate=0.05)
    parameters, _ = descend(solver, objective_on(TABLE, penalty=penalty), n_factors=0)
    exact = solve_biases(TABLE, penalty)
    assert parameters.global_mean == exact.global_mean
    np.testing.assert_allclose(parameters.user_biases, exact.user_biases, atol=2e-3)
    np.testing.assert_allclose(parameters.item_biases, exact.item_biases, atol=2e-3)


def test_momentum_reaches_the_same_minimum():
    objective = objective_on(TABLE)
    plain, _ = descend(LONG, objective)
    with_momentum, history = descend(replace(LONG, momentum=0.8), objective)
    assert not same_bits(plain, with_momentum)
    assert objective.value(with_momentum) == pytest.approx(objective.value(plain), rel=0.05)
    assert {epoch.momentum for epoch in history.epochs} == {0.8}


def test_the_sum_of_steps_does_not_grow_with_momentum():
    """Short of the minimum, 300 small steps with momentum go as far as 300 without."""
    objective = objective_on(TABLE)
    solver = SGD(n_epochs=20, learning_rate=1e-4, schedule=Constant())
    plain, fast = (descend(replace(solver, momentum=momentum), objective)[0] for momentum in (0, 0.8))
    gone, faster = np.linalg.norm(plain.user_biases), np.linalg.norm(fast.user_biases)
    assert 0.8 * gone < faster < gone
    assert plain.user_biases @ fast.user_biases > 0.99 * gone * faster


def test_the_start_and_the_table_are_not_changed():
    rng = np.random.default_rng(0)
    objective = objective_on(TABLE)
    start = random_start(TABLE, 4, Scale.of(TABLE, objective.link, objective.loss), 0.1, rng)
    before, ratings = start.copy(), TABLE.ratings.copy()
    SGD(n_epochs=2).minimise(objective, start, rng)
    assert same_bits(start, before)
    assert same_bits(TABLE.ratings, ratings)


@pytest.mark.parametrize("momentum", [0, 0.5])
def test_the_seed_decides_every_bit(momentum):
    solver, objective = SGD(n_epochs=3, momentum=momentum), objective_on(TABLE)
    first, again, other = (descend(solver, objective, seed=seed)[0] for seed in (1, 1, 2))
    assert same_bits(first, again)
    assert not same_bits(first, other)


@pytest.mark.parametrize("momentum", [0, 0.5])
def test_how_many_strata_are_done_at_once_changes_no_bit(momentum, monkeypatch):
    solver, objective = SGD(n_epochs=2, momentum=momentum), objective_on(TABLE)
    heard, at_once = Recorder(), Recorder()
    whole, _ = descend(solver, objective, progress=at_once)
    monkeypatch.setattr(sgd, "_BLOCK", 37)
    pieces, _ = descend(solver, objective, progress=heard)
    assert same_bits(whole, pieces)
    assert len(at_once.of("advance")) == 2
    assert len(heard.of("advance")) > 10


def test_ratings_four_times_as_large_give_predictions_four_times_as_large_to_the_last_bit():
    """Powers of two scale floating-point numbers exactly, so nothing may depend on the unit."""
    larger = replace(SPLIT.train, ratings=4 * SPLIT.train.ratings)
    held_out = replace(SPLIT.test, ratings=4 * SPLIT.test.ratings)
    link = Identity(*(4 * end for end in objective_on(TABLE).link.bounds))
    solver = SGD(n_epochs=10)
    objective = objective_on(SPLIT.train)
    small, history = descend(solver, objective, validation=SPLIT.test)
    penalty = replace(
        objective.penalty, factors=4 * objective.penalty.factors
    )  # what `Scale.l2_factors` does
    large, larger_history = descend(
        solver, Objective(SquaredError(), link, penalty, larger), validation=held_out
    )
    pairs = SPLIT.test.users, SPLIT.test.items
    assert same_bits(score_rows(large, *pairs), 4 * score_rows(small, *pairs))
    for epoch, larger_epoch in zip(history.epochs, larger_history.epochs, strict=True):
        assert larger_epoch.loss == 16 * epoch.loss
        assert larger_epoch.validation == 4 * epoch.validation


def test_rows_without_ratings_stay_exactly_zero():
    table = with_strangers(TABLE)
    for solver in (SGD(n_epochs=3), SGD(n_epochs=3, momentum=0.5)):
        parameters, _ = descend(solver, objective_on(table))
        for name, array in parameters.arrays().items():
            assert not array[[0, -1]].any(), name
            assert array[1:-1].reshape(len(array) - 2, -1).any(axis=1).all(), name


def test_history_and_progress_tell_the_same_story():
    heard = Recorder()
    solver = SGD(n_epochs=4, learning_rate=0.03)
    _, history = descend(
        solver, objective_on(SPLIT.train), validation=SPLIT.test, progress=heard, stage="now"
    )
    n_ratings = SPLIT.train.n_ratings
    assert heard.of("stage") == [("now", 4 * n_ratings)]
    assert tuple(epoch for (epoch,) in heard.of("epoch")) == history.epochs
    assert [(n, loss) for n, loss in heard.of("advance")] == [
        (n_ratings, pytest.approx(epoch.loss)) for epoch in history.epochs
    ]
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4]
    rates = [0.03 * solver.schedule(share) for share in (0.125, 0.375, 0.625, 0.875)]
    assert [epoch.learning_rate for epoch in history.epochs] == rates
    assert all(epoch.seconds > 0 and epoch.ratings_per_second > 0 for epoch in history.epochs)


def test_the_loss_of_the_first_epoch_is_the_mean_over_the_ratings():
    objective = objective_on(TABLE, penalty=L2(5, 5))
    solver = SGD(n_epochs=1, learning_rate=1e-9)  # so that no step changes a loss
    rng = np.random.default_rng(0)
    start = random_start(TABLE, 4, Scale.of(TABLE, objective.link, objective.loss), 0.1, rng)
    _, history = solver.minimise(objective, start, rng)
    without = replace(objective, penalty=L2())
    assert history.epochs[0].loss == pytest.approx(without.value(start) / TABLE.n_ratings, rel=1e-5)


def test_without_a_validation_part_all_epochs_run_and_the_last_is_kept():
    parameters, history = descend(SGD(n_epochs=5, patience=1), objective_on(TABLE))
    assert (len(history.epochs), history.best_epoch, history.ended) == (5, 5, "all epochs done")
    assert history.best_validation_rmse is None
    again, shorter = descend(SGD(n_epochs=5), objective_on(TABLE), n_epochs=3)
    assert not same_bits(parameters, again)
    assert [epoch.loss for epoch in shorter.epochs] == [epoch.loss for epoch in history.epochs[:3]]


@pytest.mark.parametrize(("n_epochs", "early"), [(300, False), (100, True)])
def test_early_stopping_gives_back_the_weights_of_the_best_epoch(n_epochs, early):
    solver = SGD(n_epochs=n_epochs, learning_rate=0.08, patience=7)
    objective = objective_on(SPLIT.train, penalty=L2(0, 0))  # which overfits
    parameters, history = descend(solver, objective, n_factors=16, validation=SPLIT.test)
    measured = [epoch.validation for epoch in history.epochs]
    assert history.ended == "stopped early"
    assert history.best_epoch == 1 + int(np.argmin(measured))
    # patience counts from the best epoch, but the first half always runs
    assert len(measured) == max(history.best_epoch + 7, n_epochs // 2)
    assert (history.best_epoch + 7 > n_epochs // 2) == early
    assert rmse(parameters, objective.link, SPLIT.test) == min(measured) == history.best_validation_rmse
    alone, _ = descend(solver, objective, n_factors=16, n_epochs=history.best_epoch)
    assert same_bits(parameters, alone)


def test_auto_gives_small_tables_more_passes_as_documented():
    epochs = {n: SGD().resolved(n).n_epochs for n in (1, 500, 10_000, 80_000, 10**6, 20 * 10**6, 10**9)}
    assert list(epochs.values()) == [170, 170, 50, 17, 9, 8, 8]
    assert SGD().resolved(80_000) == SGD(n_epochs=17, patience=5)
    assert SGD(n_epochs=7).resolved(100) == SGD(n_epochs=7, patience=5)
    assert SGD(n_epochs=7, patience=2).resolved(10**9) == SGD(n_epochs=7, patience=2)
    _, history = descend(SGD(), objective_on(TABLE.take(np.arange(200))), n_factors=1)
    assert len(history.epochs) == 170


def test_the_l2_schedule_multiplies_the_penalty_of_the_factors_alone():
    asked = []

    def twice(progress):
        asked.append(progress)
        return 2.0

    objective = objective_on(TABLE)
    penalty = replace(objective.penalty, factors=2 * objective.penalty.factors)
    doubled, _ = descend(SGD(n_epochs=4, l2_schedule=twice), objective)
    given, _ = descend(SGD(n_epochs=4, l2_schedule=Constant()), replace(objective, penalty=penalty))
    assert same_bits(doubled, given)
    assert asked == [0.125, 0.375, 0.625, 0.875]
    as_it_is, _ = descend(SGD(n_epochs=4, l2_schedule=Constant()), objective)
    assert not same_bits(doubled, as_it_is)


@pytest.mark.parametrize("momentum", [0, 0.5])
@pytest.mark.parametrize(("loss", "link"), [PAIRS[0], PAIRS[2]])
@pytest.mark.parametrize("validation", [None, SPLIT.test])
def test_steps_that_are_too_long_end_at_once_with_what_to_lower(loss, link, momentum, validation):
    heard, solver = Recorder(), SGD(learning_rate=1e30, momentum=momentum, schedule=Constant())
    with pytest.raises(DivergenceError, match="in epoch 1: ") as caught:
        descend(solver, objective_on(SPLIT.train, loss, link), validation=validation, progress=heard)
    assert "Lower learning_rate (now 1e+30; try 2.5e+29)" in str(caught.value)
    assert ("momentum (now 0.5)" in str(caught.value)) == bool(momentum)
    assert heard.of("advance") == heard.of("epoch") == []


@pytest.mark.parametrize("validation", [None, SPLIT.test])
@pytest.mark.parametrize(("method", "n"), [("epoch", 3), ("advance", 4)])
def test_ctrl_c_after_the_third_epoch_keeps_it(method, n, validation):
    """Whether it comes as the epoch is reported, or in the middle of the next."""
    solver, objective, stop = SGD(n_epochs=20), objective_on(SPLIT.train), CtrlC(method, n)
    parameters, history = descend(solver, objective, validation=validation, progress=stop)
    assert (len(history.epochs), history.ended) == (3, "interrupted")
    if validation is None:
        assert history.best_epoch == 3
    else:
        measured = [epoch.validation for epoch in history.epochs]
        assert history.best_epoch == 1 + int(np.argmin(measured))
        assert rmse(parameters, objective.link, validation) == min(measured)


@pytest.mark.parametrize("validation", [None, SPLIT.test])
@pytest.mark.parametrize(("method", "n"), [("stage", 1), ("advance", 1)])
def test_ctrl_c_before_the_first_epoch_has_nothing_to_keep(method, n, validation):
    with pytest.raises(KeyboardInterrupt):
        descend(SGD(n_epochs=9), objective_on(SPLIT.train), validation=validation, progress=CtrlC(method, n))


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "n_epochs": [0, -3, 2.5, "many", None, True],
        "patience": [0, 1.5, None],
        "learning_rate": [0, -1, nan, inf, "fast", None],
        "momentum": [-0.1, 1, 1.5, nan, "heavy"],
        "schedule": [None, 0.5, "one-cycle"],
        "l2_schedule": [None, 2],
    }.items(),
)
def test_arguments_outside_what_they_may_be_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ParameterValueError, match=f"{name}=") as caught:
            SGD(**{name: value})
        assert repr(value) in str(caught.value)
