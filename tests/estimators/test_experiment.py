"""A measurement is what fitting and evaluating each model by hand would give."""

from __future__ import annotations

import json

from estimator_cases import FIXED, MAKE, SPLIT
from listeners import Recorder

from bilinear.estimators.experiment import Measurement, measure
from bilinear.estimators.matrix_factorization import MatrixFactorization


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
