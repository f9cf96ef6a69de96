"""Losses by explicit loops; negatives; threads; averages; the loop that stops early."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import sampled_cases as cases
from problems import same_bits

from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.evaluation.metrics import Metric
from bilinear.kernels.negatives import draw_negatives, hide, mark, no_marks
from bilinear.objective.ranking_losses import BPR, WARP, CosineContrastive, SampledSoftmax
from bilinear.training import sampled_descent
from bilinear.training.history import History
from bilinear.training.loop import Validation, train
from bilinear.training.optimizers import (
    Adam,
    ExponentialMovingAverage,
    GradientDescent,
    Lookahead,
    StochasticWeightAverage,
    WeightDecay,
)
from bilinear.training.progress import NullProgress

every_loss = pytest.mark.parametrize("name", cases.LOSSES)


def scores_of(seed=0, n_positive=3, n_negative=8):
    rng = np.random.default_rng(seed)
    negative = rng.normal(0, 1, n_negative).astype(np.float32)
    negative[2] = -np.inf  # does not count
    return (
        rng.normal(0, 1, n_positive).astype(np.float32),
        negative,
        rng.uniform(0.2, 2, n_positive).astype(np.float32),
        rng.normal(1, 0.5, n_negative).astype(np.float32),
    )


def loop_value(loss, positive, negative, weights, log_weights):
    """The docstrings' formulas, one positive and one negative at a time."""
    total = 0.0
    kept = [k for k in range(len(negative)) if negative[k] > -np.inf]
    for p, weight in zip(positive.astype(float), weights.astype(float), strict=True):
        scores = [float(negative[k]) for k in kept]
        counts = [float(np.exp(log_weights[k])) for k in kept]
        if isinstance(loss, BPR):
            cost = sum(np.log(1 + np.exp(s - p)) for s in scores) / len(scores)
        elif isinstance(loss, SampledSoftmax):
            if not loss.corrected:
                counts = [1.0] * len(counts)
            shares = [c * np.exp(s / loss.temperature) for c, s in zip(counts, scores, strict=True)]
            own = np.exp(p / loss.temperature)
            cost = -np.log(own / (own + sum(shares)))
        elif isinstance(loss, WARP):
            over = [s - p + loss.margin for s in scores]
            violators = [n for n, one in enumerate(over) if one > 0]
            rank = sum(counts[n] for n in violators)
            cost = np.log(1 + rank) * sum(over[n] for n in violators) / max(len(violators), 1)
        else:
            cost = 1 - p + loss.weight * sum(max(s - loss.margin, 0) for s in scores) / len(scores)
        total += weight * cost
    return total


@every_loss
def test_the_value_is_that_of_explicit_loops(name):
    positive, negative, weights, log_weights = scores_of()
    loss = cases.LOSSES[name]
    value, _, _ = loss.value_and_gradients(positive, negative, weights=weights, log_weights=log_weights)
    np.testing.assert_allclose(value, loop_value(loss, positive, negative, weights, log_weights), rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in cases.LOSSES if name != "warp"])
def test_slopes_are_differences_of_the_value(name):
    positive, negative, weights, log_weights = scores_of(1)
    loss, step = cases.LOSSES[name], 1e-4
    _, up, down = loss.value_and_gradients(positive, negative, weights=weights, log_weights=log_weights)
    for scores, slopes in ((positive, up), (negative, down)):
        for n in range(len(scores)):
            sides = []
            for sign in (1, -1):
                moved = scores.astype(float)
                moved[n] += sign * step
                both = (moved, negative) if scores is positive else (positive, moved)
                sides.append(loop_value(loss, *both, weights, log_weights))
            np.testing.assert_allclose((sides[0] - sides[1]) / (2 * step), slopes[n], rtol=2e-3, atol=1e-5)


def test_slopes_of_warp_hold_the_rank_fixed_and_add_up_to_zero():
    positive, negative, _, _ = scores_of(2, n_positive=1)
    _, up, down = WARP(1.0).value_and_gradients(positive, negative)
    violators = negative > positive[0] - 1
    assert 0 < violators.sum() < len(negative)
    np.testing.assert_allclose(down[violators], np.log1p(violators.sum()) / violators.sum(), rtol=1e-6)
    assert not down[~violators].any()
    np.testing.assert_allclose(up[0], -down.sum(), rtol=1e-6)


@pytest.mark.parametrize("loss", [BPR(), WARP(), SampledSoftmax(), CosineContrastive()])
def test_no_negative_at_all_is_no_trouble(loss):
    none = np.full(4, -np.inf, np.float32)
    value, up, down = loss.value_and_gradients(np.array([0.3], np.float32), none)
    assert np.isfinite([value, *up, *down]).all()
    assert not down.any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: WARP(-1),
        lambda: SampledSoftmax(0),
        lambda: SampledSoftmax(corrected=1),
        lambda: CosineContrastive(2),
        lambda: CosineContrastive(weight=-1),
        lambda: CosineContrastive(weight="much"),
    ],
)
def test_numbers_outside_what_they_may_be_are_refused(make):
    with pytest.raises(ParameterValueError, match=r"\(\w+="):
        make()


# -- negatives ------------------------------------------------------------------------------------


def draws(n_negatives, exponent, n_sets=4000, seed=0):
    sampler = cases.objective(exponent=exponent).sampler(seed, 1)
    items, log_weights = np.empty(n_negatives, np.int32), np.empty(n_negatives, np.float32)
    counts = np.zeros(cases.TABLE.n_items)
    for number in range(n_sets):
        draw_negatives(sampler, number, items, log_weights)
        assert (np.diff(items) >= 0).all()
        counts += np.bincount(items, minlength=len(counts))
    return counts / n_sets, items, log_weights


@pytest.mark.parametrize("exponent", [0.0, 0.7])
def test_negatives_are_drawn_with_their_chances_and_weigh_its_inverse(exponent):
    popularity = cases.TABLE.by_item.counts.astype(float)
    chances = np.where(popularity > 0, popularity**exponent, 0)
    chances /= chances.sum()
    found, items, log_weights = draws(6, exponent)
    np.testing.assert_allclose(found, 6 * chances, atol=0.03)
    np.testing.assert_allclose(np.exp(log_weights), 1 / (6 * chances[items]), rtol=1e-5)


def test_as_many_negatives_as_items_are_all_of_them():
    n_trained = int((cases.TABLE.by_item.counts > 0).sum())
    _, items, log_weights = draws(n_trained, 0.0, n_sets=50)
    assert items.tolist() == np.flatnonzero(cases.TABLE.by_item.counts).tolist()
    np.testing.assert_allclose(log_weights, 0, atol=1e-6)


def test_other_seeds_and_epochs_draw_other_negatives():
    first = draws(6, 0.0, 1)[1]
    assert not np.array_equal(first, draws(6, 0.0, 1, seed=1)[1])
    later = np.empty(6, np.int32)
    draw_negatives(cases.objective(exponent=0.0).sampler(0, 2), 0, later, np.empty(6, np.float32))
    assert not np.array_equal(first, later)


@pytest.mark.parametrize("seen", [[0, 3, 7, 8], [1, 9, 65, 67], [], [2, 64 + 7], [1, 3, 4, 7, 9, 71]])
def test_what_was_seen_is_hidden_and_the_rest_counted(seen):
    """71 and 64 + 7 have the mark of 7; only equal items are hidden."""
    negatives = np.array([1, 3, 3, 4, 7, 9], np.int32)
    marks = no_marks(4)
    assert len(marks) == 64
    mark(marks, negatives, True)
    scores = np.zeros((2, 6), np.float32)
    items = np.array([-1, *seen, 3], np.int32)  # the ends are others' items
    hidden = np.isin(negatives, seen)
    assert hide(scores, 1, negatives, marks, items, 1, len(items) - 1) == 6 - hidden.sum()
    np.testing.assert_array_equal(np.isinf(scores), [[False] * 6, hidden])
    mark(marks, negatives, False)
    assert not marks.any()


# -- epochs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["users", "pairs"])
def test_an_epoch_visits_every_positive_once(order):
    run = cases.run(cases.solver(batch_size=50), cases.objective(), order=order)
    pairs, cuts = run._batches(np.random.default_rng(0))
    assert sorted(pairs.tolist()) == list(range(cases.TABLE.n_ratings))
    users = cases.TABLE.users[pairs]
    for a, b in pairwise(cuts.tolist()):
        changes = int((np.diff(users[a:b]) != 0).sum())
        assert changes + 1 == len(set(users[a:b]))  # grouped
        assert (np.diff(pairs[a:b])[np.diff(users[a:b]) == 0] > 0).all()
        assert b - a == 50 or b == len(pairs) or order == "users"


VARIANTS = {
    "plain": {},
    "adam, clipped": {"optimizer": Adam(), "clip_norm": 0.05},
    "dense": {"optimizer": Adam(), "dense": True},
    "lookahead": {"optimizer": Lookahead(Adam(), 2, 0.5)},
    "running mean": {"optimizer": Adam(), "average": ExponentialMovingAverage(0.8)},
    "averaged": {"optimizer": Adam(), "average": StochasticWeightAverage(0.0)},
    "decay": {"weight_decay": WeightDecay(0.5)},
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("loss", ["softmax", "cosine contrastive"])
def test_any_number_of_threads_gives_the_same_bits(name, loss, monkeypatch):
    monkeypatch.setattr(sampled_descent, "_WORK_FOR_THREADS", 0)
    monkeypatch.setattr(sampled_descent, "_SLOPES_AT_ONCE", 300)  # several chunks a batch
    found = []
    for n_threads in (1, 2, 5):
        objective = cases.objective(cases.LOSSES[loss], l2=0.1)
        run = cases.run(cases.solver(batch_size=150, **VARIANTS[name]), objective, n_threads=n_threads)
        rng = np.random.default_rng(0)
        losses = [run.epoch(number, rng, NullProgress()) for number in (1, 2)]
        found.append((losses, run.current().copy()))
    for losses, parameters in found[1:]:
        assert losses == found[0][0]
        assert same_bits(parameters, found[0][1])


def test_row_sparse_steps_move_only_rows_with_a_gradient():
    table = cases.TABLE.take(cases.TABLE.items < 12)
    run = cases.run(cases.solver(Adam(), batch_size=5), cases.objective(table=table))
    before = run.parameters.copy()
    run.epoch(1, np.random.default_rng(0), NullProgress())
    untouched = np.flatnonzero(table.by_item.counts == 0)
    assert len(untouched) == 8
    assert same_bits(run.parameters.item_factors[untouched], before.item_factors[untouched])
    assert (run.parameters.user_factors != before.user_factors).any(axis=1).sum() == len(set(table.users))


def test_a_running_mean_is_the_mean_of_the_steps():
    """One batch an epoch: the mean after two epochs from the weights after each."""
    settings = {"batch_size": "all", "n_epochs": 2}
    plain = cases.run(cases.solver(**settings), cases.objective())
    mean, rng = plain.parameters.copy(), np.random.default_rng(0)
    for number in (1, 2):
        plain.epoch(number, rng, NullProgress())
        for name, array in mean.arrays().items():
            array += 0.3 * (plain.parameters.arrays()[name] - array)
    averaged = cases.run(cases.solver(**settings, average=ExponentialMovingAverage(0.7)), cases.objective())
    rng = np.random.default_rng(0)
    for number in (1, 2):
        averaged.epoch(number, rng, NullProgress())
    for name, array in averaged.current().arrays().items():
        np.testing.assert_allclose(array, mean.arrays()[name], atol=1e-6)


def test_cosines_do_not_see_lengths():
    """A step is orthogonal to the row, and its loss does not change when rows are scaled."""
    loss = cases.LOSSES["cosine contrastive"]
    begin = cases.start()
    longer = replace(begin, user_factors=3 * begin.user_factors, item_factors=2 * begin.item_factors)
    losses = []
    for one in (begin, longer):
        run = cases.run(cases.solver(batch_size="all", rate=1.0), cases.objective(loss), one)
        losses.append(run.epoch(1, np.random.default_rng(0), NullProgress()))
        moved = run.parameters.item_factors - one.item_factors
        along = np.abs((moved * one.item_factors).sum(axis=1))
        lengths = np.linalg.norm(moved, axis=1) * np.linalg.norm(one.item_factors, axis=1)
        assert (along < 1e-4 * np.maximum(lengths, 1e-3)).all()
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_steps_that_are_too_long_end_with_advice():
    run = cases.run(
        cases.solver(GradientDescent(), rate=1e30, n_epochs=2), cases.objective(cases.LOSSES["bpr"])
    )
    with pytest.raises(DivergenceError, match="Lower learning_rate"):
        through(run)


def through(run, n_epochs=None, validation=None):
    solver, n_ratings = run.solver, run.objective.positives.n_ratings
    n_epochs = solver.n_epochs if n_epochs is None else n_epochs
    options = {"n_ratings": n_ratings, "n_epochs": n_epochs, "patience": solver.patience}
    return train(run, np.random.default_rng(0), **options, validation=validation)


class Measured(Validation):
    """Of given values, whatever the weights are."""

    metric = Metric.named("recall@20")

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, parameters):
        return next(self.values)


def descended(measured, patience, n_epochs=10):
    run = cases.run(replace(cases.solver(n_epochs=n_epochs), patience=patience), cases.objective())
    return through(run, validation=Measured(measured) if measured else None)


def test_training_stops_when_the_metric_has_not_grown_for_a_while():
    best, history = descended([0.1, 0.3, 0.2, 0.2, 0.2, 0.2], patience=3)
    assert (len(history.epochs), history.best_epoch, history.ended) == (5, 2, "stopped early")
    assert history.best_validation == 0.3
    again, ran = descended([], 3, n_epochs=10)
    assert ran.best_epoch == len(ran.epochs) == 10
    assert not same_bits(best, again)


def test_the_best_epochs_weights_are_kept_and_the_same_epochs_give_them_again():
    best, history = descended([0.1, 0.3, 0.2, 0.2, 0.2], patience=9, n_epochs=5)
    run = cases.run(cases.solver(n_epochs=5), cases.objective())
    again, ran = through(run, 2)
    assert same_bits(best, again)
    assert (history.best_epoch, ran.best_epoch, len(ran.epochs)) == (2, 2, 2)


def test_a_history_is_json_values_and_back_and_prints_what_was_kept():
    _, history = descended([0.1, 0.2, 0.15, 0.1], patience=9, n_epochs=4)
    assert History.from_dict(history.to_dict() | {"epochs": history.to_dict()["epochs"]}) == history
    assert str(history).splitlines()[2].endswith("<- kept")
    with pytest.raises(ValueError, match="epoch 9 was kept"):
        History.from_dict(history.to_dict() | {"best_epoch": 9})
