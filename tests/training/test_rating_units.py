"""Units for training: the model is the one of tame ratings, moved and scaled."""

from __future__ import annotations

import numpy as np
import pytest
from problems import planted_table

from bilinear.data.interactions import Interactions
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Identity, Sigmoid
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.initialization import Scale, random_start
from bilinear.training.rating_units import Units
from bilinear.training.sgd import SGD

TAME = planted_table()


def moved(scale, shift=0.0):
    return Interactions.from_columns(TAME.users, TAME.items, TAME.ratings.astype(np.float64) * scale + shift)


def test_a_tame_table_keeps_its_units():
    units = Units.of(TAME)
    assert units.trivial
    assert units.table(TAME) is TAME


@pytest.mark.parametrize(("scale", "shift"), [(4.0**50, 0), (4.0**-60, 0), (1.0, 2.0**20), (3e37, 0)])
def test_an_extreme_table_comes_to_a_spread_of_about_one_around_zero(scale, shift):
    units = Units.of(moved(scale, shift))
    ratings = units.table(moved(scale, shift)).ratings
    assert 0.4 < ratings.std() < 2.1
    assert abs(ratings.mean()) < 0.1


@pytest.mark.parametrize(
    ("link", "loss"),
    [(Identity(), SquaredError()), (Sigmoid(), SquaredError()), (Sigmoid(), CrossEntropy())],
    ids=["identity", "sigmoid", "cross-entropy"],
)
def test_objectives_in_both_units_differ_by_a_factor_alone(link, loss):
    """So that what is trained in one is trained in the other: gradients vanish at the same predictions."""
    table = moved(4.0**30, 4.0**31)
    units = Units.of(table)
    own_link = link.resolved(float(table.ratings.min()), float(table.ratings.max()))
    inner, inner_link = units.table(table), units.link(own_link)
    penalty = L2(0.3, 0.7)
    scale = Scale.of(inner, inner_link, loss)
    values = []
    for seed in range(2):
        start = random_start(inner, 3, scale, 1.0, np.random.default_rng(seed))
        here = Objective(loss, inner_link, penalty, inner).value(start)
        own = units.parameters(start.astype(np.float64), own_link)
        there = Objective(loss, own_link, units.penalty(penalty, own_link, loss, back=True), table)
        values.append(there.value(own) / here)
    assert values[0] == pytest.approx(values[1], rel=1e-3)
    assert values[0] == pytest.approx(1 if isinstance(loss, CrossEntropy) else units.scale**2, rel=1e-2)
    assert units.penalty(units.penalty(penalty, own_link, loss, back=True), own_link, loss) == penalty


@pytest.mark.parametrize("power", [-60, 50])
def test_ratings_times_a_power_of_four_are_predicted_times_that_power(power):
    settings = {"n_factors": 4, "solver": SGD(n_epochs=30), "rng": 0}
    tame = MatrixFactorization(**settings).fit(TAME)
    other = MatrixFactorization(**settings).fit(moved(4.0**power))
    predicted = [model.predict_rows(TAME.users, TAME.items).astype(np.float64) for model in (tame, other)]
    np.testing.assert_allclose(predicted[1] / 4.0**power, predicted[0], atol=0.02)
    assert other.penalty_.factors == pytest.approx(tame.penalty_.factors * 4.0**power, rel=1e-3)
    assert other.history_.best_validation_rmse == pytest.approx(
        tame.history_.best_validation_rmse * 4.0**power, rel=1e-2
    )
    retrained = other.retrain(moved(4.0**power)).predict_rows(TAME.users, TAME.items)
    np.testing.assert_allclose(
        retrained.astype(np.float64) / 4.0**power, predicted[1] / 4.0**power, atol=1e-5
    )
