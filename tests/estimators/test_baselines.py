"""The two models that every other has to beat."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from estimator_cases import TRAIN
from problems import same_bits

from bilinear.data.splits import split_validation
from bilinear.errors import ParameterValueError
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.model.link import Identity
from bilinear.objective.penalties import L2
from bilinear.training.bias_solver import solve_biases
from bilinear.training.search import choose_bias_penalty


def test_the_global_mean_predicts_the_mean_for_everyone():
    model = GlobalMean().fit(TRAIN)
    mean = TRAIN.ratings.mean(dtype=np.float64)
    found = model.predict([101, 7, 101], ["i01", "i01", "no such item"])
    assert found.values.tolist() == [np.float32(mean)] * 3
    assert model.parameters_.global_mean == mean
    assert model.evaluate(TRAIN).rmse.value == pytest.approx(TRAIN.ratings.std(dtype=np.float64), rel=1e-6)
    assert (model.seed_, model.search_, model.history_.ended) == (None, None, "closed form")


def test_the_bias_model_is_the_closed_form_with_the_best_penalty_of_its_inner_part():
    model = BiasModel(rng=4).fit(TRAIN)
    inner = split_validation(TRAIN, 0.1, np.random.default_rng([4, 0]))
    link = Identity(float(TRAIN.ratings.min()), float(TRAIN.ratings.max()))
    table = choose_bias_penalty(inner.train, inner.test, link, 0.5)
    assert [t.validation_rmse for t in model.search_.trials] == [t.validation_rmse for t in table.trials]
    assert model.penalty_ == L2(0, table.l2_biases, 0.5)
    assert same_bits(model.parameters_, solve_biases(TRAIN, model.penalty_))
    assert (model.seed_, model.history_.ended) == (4, "closed form")
    assert model.link_ == link


def test_a_given_penalty_is_not_searched():
    model = BiasModel(l2_biases=2.5, l2_exponent=1).fit(TRAIN)
    assert model.search_ is None
    assert model.penalty_ == L2(0, 2.5, 1)
    assert same_bits(model.parameters_, solve_biases(TRAIN, L2(0, 2.5, 1)))


def test_predictions_are_cut_to_the_range():
    for model in (GlobalMean(rating_range=(-50, 50)), BiasModel(0.4, rating_range=(-50, 50))):
        assert model.fit(TRAIN).link_.bounds == (-50, 50)
    model = BiasModel(0.0001).fit(TRAIN)
    rows = np.meshgrid(np.arange(TRAIN.n_users), np.arange(TRAIN.n_items))
    values = model.predict_rows(rows[0].ravel(), rows[1].ravel())
    assert values.max() <= TRAIN.ratings.max()
    assert values.min() >= TRAIN.ratings.min()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("l2_biases", value) for value in (-1, nan, inf, "much", None)],
        *[("l2_exponent", value) for value in (-1, 2, nan, "half")],
        *[("validation_fraction", value) for value in (0, 1, -0.1, nan, "some", None)],
        *[("rng", value) for value in (-1, 0.5, "seed", False)],
    ],
)
def test_an_argument_outside_what_it_may_be_is_refused(name, value):
    words = {"l2_biases": "L2 of biases", "l2_exponent": "L2 exponent"}
    with pytest.raises(ParameterValueError, match=words.get(name, name)) as caught:
        BiasModel(**{name: value}).fit(TRAIN)
    assert str(value) in str(caught.value)
