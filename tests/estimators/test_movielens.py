"""On public ratings: factors beat biases, biases beat the mean, and strangers get more than the mean."""

from __future__ import annotations

import numpy as np
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization


@pytest.fixture(scope="module")
def scores(shared_data):
    """Of the three models with their defaults, on a fifth of MovieLens latest-small."""
    path = shared_data / "ml-latest-small" / "ratings.csv"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    columns = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2))
    users, items = columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64)
    split = split_random(Interactions.from_columns(users, items, columns[:, 2]), 0.2, rng=0)
    models = GlobalMean(), BiasModel(rng=0), MatrixFactorization(rng=0)
    return {type(model).__name__: model.fit(split.train).evaluate(split.test) for model in models}


def test_factors_beat_biases_and_biases_beat_the_mean_clearly(scores):
    mean, biases, factors = (scores[name].rmse for name in ("GlobalMean", "BiasModel", "MatrixFactorization"))
    assert biases.high < mean.low
    assert biases.value < 0.84 * mean.value
    assert factors.value < 0.98 * biases.value


def test_they_are_as_good_as_when_they_were_measured(scores):
    assert scores["GlobalMean"].rmse.value == pytest.approx(1.0415, abs=1e-4)
    assert scores["BiasModel"].rmse.value == pytest.approx(0.8677, abs=0.001)
    assert scores["MatrixFactorization"].rmse.value < 0.849


def test_rows_with_something_unknown_are_answered_better_than_by_the_mean(scores):
    for name in ("BiasModel", "MatrixFactorization"):
        assert scores[name].unknown_items > 0.03
        assert scores[name].rmse_unknown < 0.9 * scores["GlobalMean"].rmse_unknown
        assert scores[name].rmse_known < scores[name].rmse_unknown
