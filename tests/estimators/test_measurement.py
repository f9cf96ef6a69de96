"""A measurement is what fitting and evaluating each model by hand would give."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from estimator_cases import FIXED, MAKE, SPLIT
from listeners import Recorder

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random, split_users
from bilinear.errors import DataError, ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.measurement import Measurement, measure
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.evaluation.bootstrap import Interval
from bilinear.evaluation.compare import compare
from bilinear.evaluation.compare_ratings import RatingComparison, compare_ratings
from bilinear.evaluation.ranking import RankingProtocol


def test_each_model_is_fitted_on_the_training_part_and_scored_on_the_other():
    heard = Recorder()
    models = {"the mean": MAKE["mean"](), "biases": MAKE["biases"](), "mine": MatrixFactorization(**FIXED)}
    found = measure(models, SPLIT, rng=3, progress=heard)
    assert (found.split, found.n_train) == (SPLIT.how, SPLIT.train.n_ratings)
    assert list(found.scores) == list(found.seconds) == list(models)
    for name, make in (("the mean", MAKE["mean"]), ("biases", MAKE["biases"])):
        assert found.scores[name] == make().fit(SPLIT.train).evaluate(SPLIT.test, rng=3)
    alone = MatrixFactorization(**FIXED).fit(SPLIT.train)
    assert found.scores["mine"] == alone.evaluate(SPLIT.test, rng=3)
    assert heard.of("stage")[0][0] == "training, 4 factors"
    assert models["mine"].count_trained_pairs(SPLIT.test) == 0


def test_a_measurement_survives_json():
    found = measure({"the mean": MAKE["mean"]()}, SPLIT)
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found


# -- rankings -------------------------------------------------------------------------------------

CLICKS = replace(SPLIT.train, has_ratings=False)
CLICK_SPLIT = split_random(CLICKS, 0.3)


def rankers():
    return {"popular": Popularity(), "walk": RandomWalk(9)}


def test_rankings_are_measured_as_compare_does_with_models_fitted_by_hand():
    found = measure(rankers(), CLICK_SPLIT, rng=2)
    assert (found.task, found.baseline, list(found.seconds)) == ("ranking", "popular", ["popular", "walk"])
    fitted = {name: model.fit(CLICK_SPLIT.train) for name, model in rankers().items()}
    by_hand = compare(fitted, CLICK_SPLIT, RankingProtocol(rng=2))
    assert found.comparison.to_dict() == by_hand.to_dict()
    assert str(by_hand) in str(found)


def test_a_measurement_of_rankings_survives_json():
    found = measure(rankers(), CLICK_SPLIT)
    again = Measurement.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.task == "ranking"


def test_the_task_follows_from_the_table_and_the_models():
    biases = {"biases": MAKE["biases"]()}
    assert measure(biases, SPLIT).task == "ratings"
    assert measure(biases, SPLIT, task="ranking").task == "ranking"
    assert measure(biases | {"walk": RandomWalk(9)}, SPLIT).task == "ranking"


def test_what_cannot_be_measured_is_refused_before_anything_is_fitted():
    walk = RandomWalk(9)
    for models, arguments, message in (
        ({"walk": walk}, {"task": "ratings"}, "walk: ranks and predicts no ratings"),
        ({"mean": MAKE["mean"]()}, {"task": "both"}, "task='both'"),
        ({"mean": MAKE["mean"]()}, {"baseline": "mode"}, "baseline='mode' is none of the models mean"),
        ({"mean": MAKE["mean"]()}, {"protocol": RankingProtocol()}, "task='ranking' takes one"),
    ):
        with pytest.raises(ParameterValueError, match=message):
            measure(models, SPLIT, **arguments)
    held_out = split_users(SPLIT.train, 0.3)
    with pytest.raises(ParameterValueError, match="met by fold-in"):
        measure({"mean": MAKE["mean"]()}, held_out)
    assert not hasattr(walk, "seen_")
    assert measure({"walk": walk}, held_out).task == "ranking"


def test_errors_of_fitted_models_are_compared_in_pairs():
    mean, biases = (MAKE[name]().fit(SPLIT.train) for name in ("mean", "biases"))
    found = compare_ratings({"mean": mean, "biases": biases}, SPLIT.test, baseline="mean", rng=4)
    rmse = {name: scores.rmse.value for name, scores in found.scores.items()}
    by = found.differences["biases"]
    assert by.value == pytest.approx(rmse["biases"] - rmse["mean"], abs=1e-12)
    assert by.low < by.value < by.high < 0
    assert RatingComparison.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    measured = measure({"mean": MAKE["mean"](), "biases": MAKE["biases"]()}, SPLIT, baseline="mean", rng=4)
    assert measured.comparison == found
    assert f"RMSE of biases less that of mean: {by.value:+.4f}" in str(measured)


def test_errors_of_models_of_other_rows_are_compared_by_id():
    """A model whose vocabulary is another than the table's, as one that was loaded has."""
    biases = MAKE["biases"]().fit(SPLIT.train)
    some = Interactions.from_columns(
        SPLIT.test.user_vocabulary.decode(SPLIT.test.users[5:60]),
        SPLIT.test.item_vocabulary.decode(SPLIT.test.items[5:60]),
        SPLIT.test.ratings[5:60],
    )
    found = compare_ratings({"a": biases, "b": biases}, some, baseline="a")
    assert found.differences["b"] == Interval(0.0, 0.0, 0.0)
    assert found.scores["a"].rmse.value == biases.evaluate(some).rmse.value


def test_unfair_comparisons_of_errors_are_refused():
    mean, walk = MAKE["mean"]().fit(SPLIT.train), RandomWalk(9).fit(SPLIT.train)
    with pytest.raises(DataError, match="was trained on"):
        compare_ratings({"mean": mean}, SPLIT.train)
    with pytest.raises(ParameterValueError, match="'walk' is a RandomWalk, which ranks"):
        compare_ratings({"mean": mean, "walk": walk}, SPLIT.test)
