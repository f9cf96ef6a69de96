"""Searches and cross-validation of scikit-learn over pairs of ids, and folds of our own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from sklearn.model_selection import cross_validate as sklearn_cross_validate

import bilinear
from bilinear import SGD, BiasModel, GlobalMean, KFold, MatrixFactorization, cross_validate
from bilinear.errors import DataError, NotFittedError, ParameterValueError

RATINGS = bilinear.synthetic_ratings(60, 30, 900, rng=0)
FRAME = RATINGS.to_pandas()
X, Y = FRAME[["user", "item"]], FRAME.rating
MODELS = {"mean": GlobalMean(), "biases": BiasModel(l2_biases=1.0)}


@pytest.mark.parametrize("pairs", [X, X.to_numpy(), X.astype(str)], ids=["frame", "array", "text"])
def test_a_grid_search_finds_the_penalty_that_is_best_by_hand(pairs):
    grid, folds = {"l2_biases": [0.1, 3.0, 1000.0]}, KFold(3, rng=1)
    search = GridSearchCV(BiasModel(), grid, cv=folds, scoring="neg_root_mean_squared_error").fit(pairs, Y)
    by_hand = []
    for l2_biases in grid["l2_biases"]:
        errors = []
        for split in folds.splits(RATINGS):
            model = BiasModel(l2_biases=l2_biases).fit(split.train)
            errors.append(model.evaluate(split.test).rmse.value)
        by_hand.append(-np.mean(errors))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], by_hand, rtol=1e-5)
    assert search.best_params_ == {"l2_biases": grid["l2_biases"][int(np.argmax(by_hand))]}
    assert search.best_estimator_.predict(pairs).values.shape == Y.shape


def test_objects_inside_a_model_are_searched_by_their_names():
    model = MatrixFactorization(n_factors=2, l2=0.1, l2_biases=1.0, solver=SGD(n_epochs=2), rng=0)
    search = GridSearchCV(model, {"solver__n_epochs": [1, 3]}, cv=2).fit(X, Y)
    assert set(search.best_params_) == {"solver__n_epochs"}


def test_the_score_is_that_of_scikit_learn():
    train, test, y_train, y_test = train_test_split(X, Y, random_state=0)
    model = BiasModel(l2_biases=1.0).fit(train, y_train)
    assert model.score(test, y_test) == pytest.approx(r2_score(y_test, model.predict(test)))
    found = sklearn_cross_validate(BiasModel(l2_biases=1.0), X, Y, cv=KFold(3))
    assert found["test_score"].shape == (3,)


def test_models_of_ratings_are_regressors_and_others_are_not():
    assert is_regressor(BiasModel())
    assert is_regressor(clone(BiasModel(l2_biases=2.0)))
    assert not is_regressor(bilinear.Popularity())


def test_rankings_are_searched_by_their_own_score():
    clicks = bilinear.synthetic_catalogue(1000, 40, 60, rng=0).interactions.to_pandas()[["user", "item"]]
    search = GridSearchCV(bilinear.EASE(), {"l2": [5.0, 500.0]}, cv=KFold(3)).fit(clicks)
    split = next(iter(KFold(3).splits(bilinear.read_interactions(clicks))))
    by_hand = bilinear.EASE(l2=5.0).fit(split.train).evaluate(split.test)["ndcg@10"]
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(by_hand)


def test_folds_hold_every_row_out_once_and_are_those_of_the_seed():
    tests = [test for _, test in KFold(4, rng=3).split(FRAME)]
    assert np.array_equal(np.sort(np.concatenate(tests)), np.arange(len(FRAME)))
    assert {len(test) for test in tests} == {225}
    for (train, test), split in zip(
        KFold(4, rng=3).split(FRAME), KFold(4, rng=3).splits(RATINGS), strict=True
    ):
        assert not set(train) & set(test)
        assert np.array_equal(RATINGS.ratings[test], split.test.ratings)
    other = next(KFold(4, rng=4).split(FRAME))[1]
    assert not np.array_equal(tests[0], other)
    with pytest.raises(ParameterValueError, match="n_splits=1"):
        KFold(1)
    with pytest.raises(DataError, match="3 rows are too few for 5 folds"):
        next(KFold(5).split([1, 2, 3]))


def test_cross_validation_predicts_each_rating_by_a_model_that_has_not_seen_it():
    found = cross_validate(MODELS, FRAME, KFold(3, rng=2), baseline="mean")
    for name, model in MODELS.items():
        predicted = cross_val_predict(model, X, Y, cv=KFold(3, rng=2))
        by_hand = float(np.sqrt(np.mean((np.asarray(predicted) - Y) ** 2)))
        assert found.scores[name].rmse.value == pytest.approx(by_hand, rel=1e-6)
        assert found.scores[name].rmse.low < by_hand < found.scores[name].rmse.high
    apart = found.scores["biases"].rmse.value - found.scores["mean"].rmse.value
    assert found.differences["biases"].value == pytest.approx(apart)
    assert not hasattr(MODELS["biases"], "parameters_")  # copies are fitted
    assert list(cross_validate(BiasModel(l2_biases=1.0), FRAME, 2).scores) == ["BiasModel"]


def test_cross_validation_refuses_what_it_cannot_measure():
    with pytest.raises(ParameterValueError, match="does not predict ratings; measure rankings with"):
        cross_validate(bilinear.Popularity(), RATINGS)
    with pytest.raises(ParameterValueError, match="baseline='median' is none of the models mean, biases"):
        cross_validate(MODELS, RATINGS, baseline="median")


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (lambda: BiasModel(l2_bias=1), "'l2_biases'"),
        (lambda: MatrixFactorization(factors=8), "'n_factors'"),
        (lambda: SGD(epochs=3), "'n_epochs'"),
        (lambda: BiasModel().set_params(l2_bias=1), "'l2_biases'"),
        (lambda: MatrixFactorization().set_params(solver__epochs=1), "'solver__n_epochs'"),
        (lambda: MatrixFactorization().fit(RATINGS, progess=True), "'progress'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_one(call, near):
    with pytest.raises(ParameterValueError, match=f"has no argument .*; did you mean {near}"):
        call()


def test_a_fitted_model_never_asks_to_be_fitted():
    model = BiasModel(l2_biases=1.0)
    with pytest.raises(NotFittedError, match="call fit"):
        _ = model.parameters_
    model.fit(RATINGS)
    for wrong, near in (("parameter_", "parameters_"), ("recomend", "recommend"), ("user_factors_", "")):
        with pytest.raises(AttributeError, match=f"no attribute '{wrong}'") as caught:
            getattr(model, wrong)
        assert not isinstance(caught.value, NotFittedError)
        assert near in str(caught.value)


def test_completion_shows_what_a_user_calls():
    shown = set(dir(BiasModel(l2_biases=1.0).fit(RATINGS)))
    assert {
        "fit",
        "predict",
        "recommend",
        "similar",
        "evaluate",
        "score",
        "save",
        "parameters_",
        "l2_biases",
    } <= shown
    assert not {"usable_ratings", "contributions", "_rank"} & shown
    assert {"MatrixFactorization", "read_ratings", "cross_validate"} <= set(dir(bilinear))
    assert not [name for name in dir(bilinear) if name.startswith("_") and name != "__version__"]
