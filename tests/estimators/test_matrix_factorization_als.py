"""MatrixFactorization with the ALS solver, from the search to the file."""

from __future__ import annotations

import numpy as np
import pytest
from problems import planted_table, same_bits, with_strangers

from bilinear.data.splits import split_random
from bilinear.errors import ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Sigmoid
from bilinear.objective.losses import CrossEntropy
from bilinear.persistence.models import load
from bilinear.training.als import ALS
from bilinear.training.implicit_als import ConjugateGradient
from bilinear.training.schedules import Falling

SPLIT = split_random(planted_table(), 0.2)
FIXED = {"n_factors": 4, "l2": 0.1, "l2_biases": 0.1, "rng": 0}


def test_it_searches_and_finds_the_planted_structure():
    model = MatrixFactorization(solver=ALS(), rng=0).fit(SPLIT.train)
    assert model.search_ is not None
    assert model.evaluate(SPLIT.test).rmse.value < 0.35  # the noise is 0.1, biases alone reach 0.7
    assert model.solver_.n_epochs == 15


@pytest.mark.parametrize("row_solver", [None, ConjugateGradient(2)])
def test_a_saved_model_comes_back_with_its_solver(tmp_path, row_solver):
    solver = ALS(n_epochs=3, l2_schedule=Falling()) if row_solver is None else ALS(3, row_solver)
    model = MatrixFactorization(solver=solver, **FIXED).fit(with_strangers(SPLIT.train))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.solver_ == model.solver_
    assert same_bits(again.parameters_, model.parameters_)
    assert same_bits(again.retrain(SPLIT.train).parameters_, model.retrain(SPLIT.train).parameters_)


def test_a_training_users_ratings_fold_in_to_that_users_predictions():
    table = SPLIT.train
    model = MatrixFactorization(solver=ALS(n_epochs=5), validation_fraction=0, **FIXED).fit(table)
    rows = table.by_user
    a, b = rows.indptr[:2]
    items = [table.item_vocabulary[i] for i in rows.indices[a:b]]
    user = model.fold_in(items, rows.ratings[a:b].tolist())
    known = np.full(len(items), 0)
    np.testing.assert_allclose(user.predict(items), model.predict_rows(known, rows.indices[a:b]), atol=1e-4)


@pytest.mark.parametrize("loss", [{}, {"loss": CrossEntropy()}])
def test_a_sigmoid_is_refused_before_work_begins(loss):
    with pytest.raises(ParameterValueError, match="ALS solves least squares"):
        MatrixFactorization(solver=ALS(), link=Sigmoid(), **loss).fit(SPLIT.train)
