"""scikit-learn habits: arguments are stored, listed, changed, cloned and shown as they were given."""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
from estimator_cases import FIXED, MAKE, TRAIN, every_model, fitted
from sklearn.base import clone

from bilinear.errors import NotFittedError, ParameterValueError
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Identity, Sigmoid
from bilinear.objective.losses import CrossEntropy
from bilinear.training import schedules
from bilinear.training.schedules import Constant, OneCycle
from bilinear.training.sgd import SGD


@every_model
def test_params_are_the_arguments_as_they_were_given(name):
    model = MAKE[name]()
    shallow = model.get_params(deep=False)
    assert list(shallow) == [field.name for field in fields(model)]
    assert all(getattr(model, key) is value for key, value in shallow.items())
    assert repr(type(model)(**shallow)) == repr(model)


def test_deep_params_go_into_the_parts():
    model = MatrixFactorization(solver=SGD(n_epochs=7), link=Sigmoid(margin=0.2))
    params = model.get_params()
    assert params["solver__n_epochs"] == 7
    assert params["solver__schedule"] == OneCycle()
    assert params["link__margin"] == 0.2
    assert set(model.get_params(deep=False)) < set(params)


def test_params_are_set_by_the_names_that_are_listed():
    model = MatrixFactorization()
    solver = model.solver
    assert model.set_params(n_factors=3, solver__n_epochs=7, solver__momentum=0.5, link=Sigmoid()) is model
    assert (model.n_factors, model.link) == (3, Sigmoid())
    assert model.solver == SGD(n_epochs=7, momentum=0.5)
    assert solver == SGD()  # parts are replaced, not changed
    for key, value in model.get_params().items():
        model.set_params(**{key: value})
    assert (
        model.get_params()
        == MatrixFactorization(n_factors=3, solver=SGD(n_epochs=7, momentum=0.5), link=Sigmoid()).get_params()
    )


@every_model
@pytest.mark.parametrize("wrong", ["n_factor", "solver__epochs", "rng__seed", "parameters_"])
def test_a_name_that_is_not_there_is_refused_with_those_that_are(name, wrong):
    model = MAKE[name]()
    with pytest.raises(
        ParameterValueError, match=f"{type(model).__name__} has no argument '{wrong}'; (it has|did you mean) "
    ) as caught:
        model.set_params(**{wrong: 1})
    assert ", ".join(sorted(model.get_params())) in str(caught.value)


def test_a_value_that_a_part_refuses_is_refused_when_it_is_set():
    with pytest.raises(ParameterValueError, match="n_epochs=0"):
        MatrixFactorization().set_params(solver__n_epochs=0)


@every_model
def test_a_clone_has_the_arguments_and_nothing_learned(name):
    for model in (MAKE[name](), fitted(name)):
        twin = clone(model)
        assert type(twin) is type(model)
        assert twin.get_params() == model.get_params()
        assert not hasattr(twin, "parameters_")
        assert not hasattr(twin, "history_")


@every_model
def test_a_deep_copy_of_a_fitted_model_answers_alike(name):
    twin = copy.deepcopy(fitted(name))
    expected = fitted(name).predict([101, 102], ["i01", "i02"]).values
    assert twin.predict([101, 102], ["i01", "i02"]).values.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        (GlobalMean(), "GlobalMean()"),
        (BiasModel(), "BiasModel()"),
        (BiasModel(l2_biases=0.4, rng=0), "BiasModel(l2_biases=0.4, rng=0)"),
        (MatrixFactorization(), "MatrixFactorization()"),
        (MatrixFactorization(n_factors=64), "MatrixFactorization(n_factors=64)"),
        (MatrixFactorization(solver=SGD(), link=Identity()), "MatrixFactorization()"),
        (
            MatrixFactorization(loss=CrossEntropy(), link=Sigmoid(1, 5), rng=3),
            "MatrixFactorization(loss=CrossEntropy(), link=Sigmoid(low=1, high=5, margin=0.1), rng=3)",
        ),
    ],
    ids=str,
)
def test_repr_shows_what_was_set(model, shown):
    assert repr(model) == shown


def test_a_repr_can_be_read_back():
    model = MatrixFactorization(**FIXED | {"solver": SGD(n_epochs=3, schedule=Constant())}, link=Sigmoid())
    names = {"MatrixFactorization": MatrixFactorization, "SGD": SGD, "Sigmoid": Sigmoid, **vars(schedules)}
    assert eval(repr(model), names).get_params() == model.get_params()


@every_model
def test_a_fitted_model_shows_the_same_as_before(name):
    assert repr(fitted(name)) == repr(MAKE[name]())


def test_a_random_search_of_scikit_learn_can_drive_it():
    """The protocol, used as its own tools use it: params, clone, fit."""
    from sklearn.model_selection import ParameterGrid

    base, losses = MatrixFactorization(**FIXED), []
    for params in ParameterGrid({"n_factors": [1, 4], "solver__n_epochs": [2, 60]}):
        model = clone(base).set_params(**params).fit(TRAIN)
        losses.append((model.evaluate(TRAIN).rmse.value, params["n_factors"], params["solver__n_epochs"]))
    assert min(losses)[1:] == (4, 60)
    assert not hasattr(base, "parameters_")


def test_not_fitted_is_an_attribute_error_and_a_value_error():
    for error in (AttributeError, ValueError):
        with pytest.raises(error):
            _ = MatrixFactorization().parameters_
    assert getattr(MatrixFactorization(), "parameters_", None) is None
    with pytest.raises(NotFittedError, match=r"this MatrixFactorization has no history_ yet: call fit"):
        _ = MatrixFactorization().history_


def test_two_models_do_not_share_their_default_parts():
    one, other = MatrixFactorization(), MatrixFactorization()
    one.set_params(solver__n_epochs=3)
    assert other.solver == SGD()
    assert np.isfinite(one.fit(TRAIN).parameters_.user_biases).all()
