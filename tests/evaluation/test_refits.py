"""Intervals over repeated splits: closed forms, and how often they hold the truth."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.errors import ParameterValueError
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.measurement import Measurement, measure
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.evaluation.refits import SplitDifference, interval_over_refits

N_ITEMS = 30
ITEM_BIASES = np.random.default_rng(0).normal(size=N_ITEMS) * 0.4


def sample(seed, n_users=60, n_each=10):
    """A table of new users of one population: biases, and noise whose size is the user's own."""
    rng = np.random.default_rng([1, seed])
    users = np.repeat(np.arange(n_users), n_each)
    items = np.concatenate([rng.permutation(N_ITEMS)[:n_each] for _ in range(n_users)])
    noise = rng.lognormal(0, 0.6, n_users)[users] * rng.normal(size=len(users))
    ratings = 3 + rng.normal(size=n_users)[users] * 0.5 + ITEM_BIASES[items] + noise
    return Interactions.from_columns(users, items, ratings)


def models():
    return {"mean": GlobalMean(), "biases": BiasModel(l2_biases=1.0)}


def differences(table, n):
    """RMSE of the biases less that of the mean, on `n` splits."""
    found = []
    for seed in range(n):
        split = split_random(table, 0.2, seed)
        users, items = split.test.users, split.test.items
        mean, biases = (model.fit(split.train).predict_rows(users, items) for model in models().values())
        found.append(SplitDifference.of_rmse(biases, mean, split.test.ratings, users))
    return found


def measured(table, n):
    again = (split_random(table, 0.2, seed) for seed in range(1, n))
    return measure(models(), split_random(table, 0.2, 0), baseline="mean", refits=again)


def test_the_variance_is_that_of_users_and_a_quarter_of_that_between_splits():
    """Two splits, three users: every number by hand."""
    splits = [
        SplitDifference.of_means(np.array([1.0, 2.0, 6.0]), np.array([0, 1, 2])),
        SplitDifference.of_means(np.array([2.0, 4.0]), np.array([0, 2])),
    ]
    found = interval_over_refits(splits, 0.25)
    users = np.array([-2 / 6 - 1 / 4, -1 / 6, 3 / 6 + 1 / 4])
    variance = (users**2).sum() * 3 / 2 + 0.25 * 0.0
    assert found.value == 3.0
    assert found.high - found.value == pytest.approx(1.96 * variance**0.5, rel=1e-4)
    apart = [splits[0], SplitDifference(5.0, splits[1].influences, splits[1].users)]
    wider = interval_over_refits(apart, 0.25)
    assert wider.high - wider.value == pytest.approx(1.96 * (variance + 0.25 * 2) ** 0.5, rel=1e-4)


def test_influences_of_an_rmse_are_its_derivatives():
    rng = np.random.default_rng(0)
    first, second, ratings = rng.normal(size=(3, 50))
    users = np.arange(50)
    at = SplitDifference.of_rmse(first, second, ratings, users)
    step, weights = 1e-6, np.ones(50)
    weights[7] += step

    def difference(weights):
        roots = [np.sqrt(np.average((part - ratings) ** 2, weights=weights)) for part in (first, second)]
        return roots[0] - roots[1]

    assert at.value == pytest.approx(difference(np.ones(50)))
    assert at.influences[7] / 50 == pytest.approx((difference(weights) - at.value) / step, rel=1e-3)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """60 samples of users: 95 % of the intervals would be 57. The truth is the mean over 300 others."""
    truth = np.mean([differences(sample(seed), 1)[0].value for seed in range(1000, 1300)])
    found = [interval_over_refits(differences(sample(seed), 6), 0.25) for seed in range(60)]
    assert 54 <= sum(by.low <= truth <= by.high for by in found) <= 60


def test_a_measurement_with_refits_survives_json_and_says_so():
    found = measured(sample(0), 3)
    assert found.refits.n_splits == 3
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert "over 3 splits: RMSE of biases less that of mean" in str(found)
    assert measured(sample(0), 1).refits is None


def test_refits_leave_the_models_of_the_first_split_as_they_are():
    table = sample(0)
    fitted = models()
    split = split_random(table, 0.2, 0)
    measure(fitted, split, baseline="mean", refits=[split_random(table, 0.2, 1)])
    alone = models()["biases"].fit(split.train)
    np.testing.assert_array_equal(fitted["biases"].parameters_.user_biases, alone.parameters_.user_biases)


def test_rankings_are_refitted_metric_by_metric():
    table = sample(0)
    first, second = (split_random(table, 0.3, seed) for seed in range(2))
    run = partial(measure, task="ranking", rng=4)
    found = run({"popular": Popularity(), "walk": RandomWalk(8)}, first, refits=[second])
    each = [
        run({"popular": Popularity(), "walk": RandomWalk(8)}, split).differences["walk"]["ndcg@20"].value
        for split in (first, second)
    ]
    assert found.refits.differences["walk"]["ndcg@20"].value == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("table", "baseline", "expected"),
    [(sample(1), "mean", "of the same table"), (None, None, "baseline=")],
)
def test_refits_that_mean_nothing_are_refused(table, baseline, expected):
    own = sample(0)
    other = split_random(table or own, 0.2, 1)
    with pytest.raises(ParameterValueError, match=expected):
        measure(models(), split_random(own, 0.2, 0), baseline=baseline, refits=[other])
