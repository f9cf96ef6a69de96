"""Every finite table of ratings trains with the defaults, and a simpler model wins where it is as good."""

from __future__ import annotations

from warnings import catch_warnings, simplefilter

import numpy as np
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.outliers import OutlierWarning
from bilinear.data.splits import split_random
from bilinear.errors import DivergenceError
from bilinear.estimators.baselines import BiasModel
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.rating_model import RatingModel
from bilinear.model.link import Sigmoid
from bilinear.objective.losses import CrossEntropy
from bilinear.persistence.models import load
from bilinear.training.als import ALS
from bilinear.training.schedules import Constant
from bilinear.training.search import NO_BIASES
from bilinear.training.sgd import SGD

RNG = np.random.default_rng(3)
USERS = np.repeat(np.arange(80), 12)
ITEMS = np.concatenate([RNG.permutation(40)[:12] for _ in range(80)])
N = len(USERS)
STARS = np.clip(np.rint(3 + RNG.normal(size=80)[USERS] + RNG.normal(size=40)[ITEMS]), 1, 5)
LARGEST = float(np.finfo(np.float32).max)


def with_one(value):
    ratings = STARS.copy()
    ratings[100] = value
    return ratings


HOSTILE = {
    "one of 1000": with_one(1e3),
    "one of 1e30": with_one(1e30),
    "one at the end of float32": with_one(-LARGEST),
    "one in fifty": np.where(np.arange(N) % 50, STARS, 1e5),
    "hours": RNG.pareto(0.9, N) * 20,
    "Pareto 0.5": RNG.pareto(0.5, N),
    "log-normal": np.exp(6 * RNG.normal(size=N)),
    "all but one": np.where(np.arange(N) == 9, 5.0, 3.0),
    "all but one of 1e30": np.where(np.arange(N) == 9, 1e30, 3.0),
    "offset": 1e6 + 0.5 * STARS,
    "tiny": STARS * 1e-20,
    "tiniest": STARS * 1e-44,
    "huge": STARS * 1e30,
    "all of float32": (STARS - 3) / 2 * LARGEST,
}
MODELS = {
    "biases": lambda: BiasModel(rng=0),
    "sgd": lambda: MatrixFactorization(solver=SGD(n_epochs=12), rng=0),
    "als": lambda: MatrixFactorization(solver=ALS(n_epochs=4), n_factors=8, rng=0),
    "sigmoid": lambda: MatrixFactorization(link=Sigmoid(), solver=SGD(n_epochs=12), n_factors=8, rng=0),
    "cross-entropy": lambda: MatrixFactorization(
        link=Sigmoid(), loss=CrossEntropy(), solver=SGD(n_epochs=12), n_factors=8, rng=0
    ),
}


def fitted(model: RatingModel, ratings):
    split = split_random(Interactions.from_columns(USERS, ITEMS, ratings, missing="none"), 0.2, 1)
    with catch_warnings():
        simplefilter("ignore", OutlierWarning)
        return model.fit(split.train), split


@pytest.mark.parametrize("table", HOSTILE)
@pytest.mark.parametrize("model", MODELS)
def test_every_finite_table_trains_and_measures_in_finite_numbers(model, table):
    model, split = fitted(MODELS[model](), HOSTILE[table])
    scores = model.evaluate(split.test)
    assert np.isfinite([scores.rmse.value, scores.rmse.low, scores.rmse.high, scores.mae.value]).all()
    predictions = model.predict_rows(split.test.users, split.test.items)
    assert np.isfinite(predictions).all()
    low, high = model.link_.bounds
    assert predictions.min() >= np.float32(low)
    assert predictions.max() <= np.float32(high)


@pytest.mark.parametrize("value", [1e3, 1e30])
def test_one_outlier_costs_the_others_little(value):
    """With its full pull the mean alone would be off by a deviation of the others, or by 1e27 of them."""
    tame, split = fitted(BiasModel(l2_biases=2.0), STARS)
    pulled, _ = fitted(BiasModel(l2_biases=2.0), with_one(value))
    rows = split.test.users, split.test.items
    assert np.median(np.abs(pulled.predict_rows(*rows) - tame.predict_rows(*rows))) < 0.1


def test_a_rating_range_says_that_outliers_are_right():
    table = Interactions.from_columns(USERS, ITEMS, with_one(1e3))
    model = BiasModel(l2_biases=2.0, rating_range=(0, 1000)).fit(table)
    assert model.parameters_.global_mean == pytest.approx(table.ratings.mean(), rel=1e-5)
    with pytest.warns(OutlierWarning, match="1000"):
        bounded = BiasModel(l2_biases=2.0).fit(table)
    assert bounded.parameters_.global_mean == pytest.approx(np.minimum(table.ratings, 25).mean(), rel=1e-5)
    assert bounded.link_.bounds[1] < 1000


@pytest.mark.parametrize("rate", [3.0, 1e9])
def test_a_learning_rate_that_was_given_is_taken_as_it_is(rate):
    steps = SGD(n_epochs=20, learning_rate=rate, schedule=Constant())
    with pytest.raises(DivergenceError, match="Lower learning_rate") as caught:
        fitted(MatrixFactorization(n_factors=8, l2=0.1, l2_biases=0.1, solver=steps, rng=0), HOSTILE["hours"])
    assert "plays, hours or amounts" in str(caught.value)


# -- the choice -----------------------------------------------------------------------------------


def test_noise_is_predicted_by_the_mean_alone_and_stays_so_when_retrained_and_saved(tmp_path):
    noise = np.random.default_rng(8).integers(1, 6, N).astype(float)
    model, split = fitted(MatrixFactorization(rng=0), noise)
    assert model.parameters_.n_factors == 0
    assert model.penalty_.biases == NO_BIASES
    predictions = model.predict_rows(split.test.users, split.test.items)
    np.testing.assert_allclose(predictions, split.train.ratings.mean(), atol=1e-4)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m").retrain(split.train)
    np.testing.assert_array_equal(again.predict_rows(split.test.users, split.test.items), predictions)
    new = model.fold_in([0, 1], [5.0, 5.0]).predict([2])
    np.testing.assert_allclose(new, split.train.ratings.mean(), atol=1e-4)


@pytest.mark.parametrize("make", [MODELS["sgd"], lambda: MatrixFactorization(rng=0, solver=ALS(n_epochs=4))])
def test_biases_alone_are_those_of_the_bias_model(make):
    """With no products of factors in the ratings there is nothing else to find."""
    ratings = 3 + np.random.default_rng(5).normal(size=80)[USERS] + np.random.default_rng(6).normal(size=N)
    model, split = fitted(make(), ratings)
    assert model.parameters_.n_factors == 0
    assert model.penalty_.biases < NO_BIASES
    twin = BiasModel(l2_biases=model.penalty_.biases).fit(split.train)
    np.testing.assert_array_equal(model.parameters_.user_biases, twin.parameters_.user_biases)


def test_factors_are_kept_where_there_are_any():
    products = (RNG.normal(size=(80, 2))[USERS] * RNG.normal(size=(40, 2))[ITEMS]).sum(1)
    model, split = fitted(MatrixFactorization(rng=0), 3 + products)
    assert model.parameters_.n_factors > 0
    biases, _ = fitted(BiasModel(rng=0), 3 + products)
    assert model.evaluate(split.test).rmse.value < 0.7 * biases.evaluate(split.test).rmse.value
