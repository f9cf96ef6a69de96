"""Folding in: a user from a few ratings, as if they had been there in training."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from estimator_cases import (
    FIXED,
    MAKE,
    NO_SUCH_ITEM,
    SPLIT,
    TRAIN,
    every_model,
    every_model_with_factors,
    fitted,
)
from problems import planted_table, same_bits

from bilinear.data.splits import split_per_user
from bilinear.errors import ParameterValueError, RatingValueError, UnknownIdError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Sigmoid
from bilinear.objective.losses import CrossEntropy
from bilinear.training.sgd import SGD

ITEMS, RATINGS = ["i05", "i01", "i09", "i20"], [4.0, 2.0, 3.5, 3.0]


def weights(user):
    return [user.weights.bias, *user.weights.factors.tolist()]


@every_model
def test_ridge_regression_or_a_point_where_the_objective_is_flat(name):
    model = fitted(name)
    user = model.fold_in(ITEMS, RATINGS)
    rows = [TRAIN.item_vocabulary.row(item) for item in ITEMS]
    parameters = model.parameters_.astype(np.float64)
    design = np.column_stack([np.ones(4), parameters.item_factors[rows]])
    at = np.array(weights(user))
    scores = parameters.global_mean + parameters.item_biases[rows] + design @ at
    slopes = model.loss_.gradient(scores, np.array(RATINGS), model.link_)
    ridge = np.array([model.penalty_.biases] + [model.penalty_.factors] * parameters.n_factors)
    gradient = design.T @ slopes + ridge * 4**0.5 * at
    if name == "mean":  # its penalty is zero and so is all it knows: one bias fits best
        assert user.weights.bias == pytest.approx(np.mean(RATINGS) - parameters.global_mean)
    assert np.abs(gradient).max() < 1e-6


@every_model
def test_predictions_are_those_of_a_user_with_these_weights(name):
    model = fitted(name)
    user, parameters = model.fold_in(ITEMS, RATINGS), model.parameters_.astype(np.float64)
    asked = ["i07", "a", NO_SUCH_ITEM, "i05"]
    scores = []
    for item in asked:
        row = int(TRAIN.item_vocabulary.encode([item])[0])
        known = parameters.item_biases[row] + parameters.item_factors[row] @ user.weights.factors
        scores.append(parameters.global_mean + user.weights.bias + (known if row >= 0 else 0))
    np.testing.assert_allclose(user.predict(asked), model.link_.prediction(np.array(scores)), rtol=1e-6)
    assert user.predict([]).tolist() == []
    # also where the first row, which stands in for an unknown item, is one with ratings
    user = MAKE[name]().fit(SPLIT.train).fold_in(ITEMS, RATINGS)
    parameters, link = user.model.parameters_, user.model.link_
    score = np.array([parameters.global_mean + user.weights.bias])
    np.testing.assert_allclose(user.predict([NO_SUCH_ITEM]), link.prediction(score), rtol=1e-6)
    with pytest.raises(ParameterValueError, match="takes several ids"):
        user.predict("i07")


@every_model
def test_recommendations_leave_out_what_was_just_rated(name):
    user = fitted(name).fold_in(ITEMS, RATINGS)
    ranked = user.recommend(n=100)
    assert sorted(ranked) == sorted(set(TRAIN.item_vocabulary) - set(ITEMS))
    np.testing.assert_allclose(ranked.predictions, user.predict(list(ranked)), rtol=1e-4, atol=1e-4)
    assert (np.diff(ranked.scores) <= 0).all()
    assert list(user.recommend(3)) == list(ranked)[:3]
    assert sorted(user.recommend(100, exclude_seen=False)) == sorted(TRAIN.item_vocabulary)
    assert sorted(user.recommend(candidates=["i05", "i06", "i07"])) == ["i06", "i07"]
    assert len(user.recommend(candidates=["i05"])) == 0


@every_model
def test_a_user_without_ratings_is_a_stranger(name):
    model = fitted(name)
    user = model.fold_in([], [])
    assert not np.any(weights(user))
    np.testing.assert_allclose(
        user.predict(["i01", NO_SUCH_ITEM]), model.predict([7, 7], ["i01", NO_SUCH_ITEM]).values, rtol=1e-6
    )
    assert list(user.recommend(9)) == list(model.recommend(7, 9, unknown="non-personal"))


@every_model
def test_the_order_does_not_matter_and_the_last_rating_of_an_item_counts(name):
    model = fitted(name)
    expected = weights(model.fold_in(ITEMS, RATINGS))
    assert weights(model.fold_in(ITEMS[::-1], RATINGS[::-1])) == expected
    assert weights(model.fold_in(["i01", "i20", *ITEMS], [5, 1, *RATINGS])) == expected
    assert weights(model.fold_in([*ITEMS, "i01"], [*RATINGS, 5.0])) == weights(
        model.fold_in(ITEMS, [4.0, 5.0, 3.5, 3.0])
    )
    assert weights(model.fold_in(np.array(ITEMS, object), np.float32(RATINGS))) == expected


@every_model
def test_items_that_are_not_there_are_an_error_or_left_out_and_listed(name):
    model = fitted(name)
    with pytest.raises(UnknownIdError, match="no such item: 'no such item'; the model knows 42 items"):
        model.fold_in([*ITEMS, NO_SUCH_ITEM], [*RATINGS, 5])
    user = model.fold_in([NO_SUCH_ITEM, *ITEMS, "other"], [5, *RATINGS, 1], unknown="skip")
    assert user.unknown_items == (NO_SUCH_ITEM, "other")
    assert weights(user) == weights(model.fold_in(ITEMS, RATINGS))
    assert model.fold_in(ITEMS, RATINGS).unknown_items == ()
    strangers = model.fold_in([NO_SUCH_ITEM], [3], unknown="skip")
    assert not np.any(weights(strangers))
    with pytest.raises(ParameterValueError, match="choose 'error' or 'skip'"):
        model.fold_in(ITEMS, RATINGS, unknown="non-personal")


@every_model
@pytest.mark.parametrize("rating", [99, -99, nan, inf, None, "4", True])
def test_a_rating_that_the_model_could_not_have_seen_is_refused_with_its_item(name, rating):
    model = fitted(name)
    low, high = model.link_.bounds
    with pytest.raises(RatingValueError) as caught:
        model.fold_in(["i05", "i01"], [3, rating])
    for part in (str(rating), "'i01'", f"[{low:g}, {high:g}]"):
        assert part in str(caught.value)


@every_model
def test_ratings_at_the_ends_of_the_range_are_inside_however_they_are_stored(name):
    """0.3 and 4.9 are not float32: one of the neighbours lies outside."""
    ratings = np.clip(TRAIN.ratings, np.float32(0.3), np.float32(4.9))
    table = replace(TRAIN, ratings=ratings)
    model = MAKE[name]().set_params(rating_range=(0.3, 4.9)).fit(table)
    for stored in (float, np.float32):
        user = model.fold_in(["i05", "i01"], [stored(0.3), stored(4.9)])
        assert np.isfinite(user.predict(["i07"])).all()
    assert np.isfinite(model.score_histories(table.by_user)).all()


@every_model
def test_columns_that_do_not_match_are_refused(name):
    with pytest.raises(ParameterValueError, match="2 items and 1 ratings"):
        fitted(name).fold_in(["i01", "i02"], [3])
    with pytest.raises(ParameterValueError, match="takes several ids"):
        fitted(name).fold_in("i01", [3, 3, 3])


@every_model
def test_the_model_is_not_changed(name):
    model, before = fitted(name), fitted(name).parameters_.copy()
    model.fold_in(ITEMS, RATINGS).recommend()
    assert same_bits(model.parameters_, before)


@pytest.mark.parametrize("kind", [{}, {"link": Sigmoid()}, {"link": Sigmoid(), "loss": CrossEntropy()}])
def test_a_user_of_the_training_table_folds_in_to_what_training_found(kind):
    """At the minimum each user is the minimum given the items, so nothing is left to fit."""
    converged = {"solver": SGD(n_epochs=1500, learning_rate=0.05), "n_factors": 3, "l2": 0.2}
    model = MatrixFactorization(**FIXED | converged | kind, validation_fraction=0).fit(TRAIN)
    parameters = model.parameters_
    tolerance = 0.03 * float(np.linalg.norm(parameters.user_factors, axis=1).mean())
    for row in range(1, 20):
        mine = TRAIN.users == row
        items = [TRAIN.item_vocabulary[item] for item in TRAIN.items[mine]]
        user = model.fold_in(items, TRAIN.ratings[mine].tolist())
        np.testing.assert_allclose(user.weights.factors, parameters.user_factors[row], atol=tolerance)
        assert user.weights.bias == pytest.approx(float(parameters.user_biases[row]), abs=tolerance)


@every_model_with_factors
def test_new_users_are_predicted_nearly_as_well_as_if_they_had_been_there(name):
    table = planted_table(120, 50, density=0.6)
    newcomer = table.users >= 100
    later = split_per_user(table.take(newcomer), 0.3)
    known_pairs = later.train.users * 50 + later.train.items
    trained = ~newcomer | np.isin(table.users * 50 + table.items, known_pairs)
    low, high = float(table.ratings.min()), float(table.ratings.max())
    model, all_there = (
        MAKE[name]().set_params(rating_range=(low - 0.5, high + 0.5)).fit(table.take(rows))
        for rows in (~newcomer, trained)
    )
    errors, strangers = [], []
    for row in range(100, 120):
        known, asked = (part.take(part.users == row) for part in (later.train, later.test))
        user = model.fold_in([table.item_vocabulary[i] for i in known.items], known.ratings.tolist())
        found = user.predict([table.item_vocabulary[i] for i in asked.items])
        errors += (found - asked.ratings).tolist()
        strangers += (model.predict_rows(np.full(asked.n_ratings, -1), asked.items) - asked.ratings).tolist()
    folded, unknown = (np.sqrt(np.mean(np.square(part))) for part in (errors, strangers))
    assert folded < 0.5 * unknown
    assert folded < 1.25 * all_there.evaluate(later.test).rmse.value
