"""Intervals of point estimates: the quantile of residuals, what it holds, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from bilinear import ALS, BiasModel, GlobalMean, MatrixFactorization, load, split_random, synthetic_ratings
from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.conformal import Conformal


def unlike_users(n=15_000):
    """Ratings of biases, with a noise of 0.3 or 1 by user; the last ten items have no ratings in training."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(200, size=n), rng.integers(120, size=n)
    deviation = np.where(np.arange(200) % 2, 0.3, 1.0)
    scores = rng.standard_normal(200)[users] + rng.standard_normal(120)[items]
    return Interactions.from_columns(users, items, scores + deviation[users] * rng.standard_normal(n))


@pytest.fixture(scope="module")
def split():
    found = split_random(unlike_users(), 0.3, rng=0)
    return replace(found, train=found.train.take(found.train.items < 110))


@pytest.fixture(scope="module")
def model(split):
    return BiasModel(rng=0).fit(split.train)


def test_the_factor_is_the_quantile_that_counts_the_rating_to_come():
    """Of n residuals the ceil((n + 1) level)-th, times the user's spread."""
    ratios = np.arange(1.0, 20.0)
    found = Conformal(np.array([1.0, 2.0]), 1.0, ratios, 19)
    users = np.array([0, 1], np.int32)
    assert found.half_widths(users, 0.9).tolist() == [18.0, 36.0]
    assert found.half_widths(users, 0.95).tolist() == [19.0, 38.0]
    with pytest.raises(ParameterValueError, match=r"19 validation residuals can promise 0\.95"):
        found.half_widths(users, 0.96)


@pytest.mark.parametrize("level", [0.01, 0.5, 0.9, 0.99, 0.9999])
def test_of_many_residuals_the_next_stored_one_is_taken(level):
    n = 100_003
    places = np.unique(np.ceil(n * np.arange(1, 2001) / 2000)).astype(int)
    found = Conformal(np.ones(1), 1.0, places.astype(float), n)
    width = found.half_widths(np.zeros(1, np.int32), level)[0]
    assert 0 <= width - np.ceil((n + 1) * level) <= n / 2000


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_hold_what_they_promise_for_steady_and_erratic_users(split, model, level):
    found = model.coverage(split.test, level)
    assert found.n_without == (split.test.items >= 110).sum() > 100
    assert "have no interval" in str(found)
    for group, share in found.shares.items():
        error = np.sqrt(level * (1 - level) * (1 / found.counts[group] + 1 / model.conformal_.n_ratings))
        assert abs(share - level) < 3.5 * error, found
    low, high = model.predict_interval(np.arange(200), np.zeros(200, int), level)
    widths = high - low
    assert np.median(widths[::2]) > 2 * np.median(widths[1::2])  # 1.0 against 0.3


def test_one_spread_for_all_where_users_do_not_differ():
    rng = np.random.default_rng(1)
    users, items = rng.integers(300, size=6000), rng.integers(40, size=6000)
    table = Interactions.from_columns(users, items, rng.standard_normal(6000))
    spreads = BiasModel(rng=0).fit(table).conformal_.spreads
    assert spreads.std() < 0.06 * spreads.mean()


def test_pairs_without_training_ratings_are_refused_by_name(split, model):
    user, items = model.user_vocabulary_[3], [5, 115]
    for pair, named in (([user, user], "item 115 has no"), ([user, "nobody"], "user 'nobody' has no")):
        with pytest.raises(ParameterValueError, match=named):
            model.predict(pair, items if named.startswith("item") else [5, 5], interval=0.9)
    with pytest.raises(ParameterValueError, match="item 115 has no"):
        model.predict_interval(np.array([3]), np.array([115]))
    assert model.predict(user, 115) == pytest.approx(float(model.predict([user], [115]).values[0]))
    for unable in (GlobalMean(), BiasModel(l2_biases=1.0)):
        with pytest.raises(ParameterValueError, match=r"no ratings were held out"):
            unable.fit(split.train).predict(user, 5, interval=0.9)


@pytest.mark.parametrize("solver", [None, ALS(n_epochs=4)])
def test_saved_loaded_and_retrained_with_the_same_intervals(tmp_path, solver):
    table = synthetic_ratings(40, 30, 600, rng=0)
    some = table.take(table.users > 2)
    own = {} if solver is None else {"solver": solver}
    model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0, **own).fit(some)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    pairs = list(model.user_vocabulary_)[5:9], list(model.item_vocabulary_)[:4]
    before, after = (one.predict(*pairs, interval=0.8) for one in (model, loaded))
    assert np.array_equal(before.low, after.low)
    assert np.array_equal(before.high, after.high)
    loaded.retrain(table)
    assert loaded.predict(next(iter(table.user_vocabulary)), pairs[1][0], interval=0.8).low is not None
    assert np.array_equal(loaded.conformal_.spreads[5:], model.conformal_.spreads[5:])
    model.update(Interactions.from_columns([-4, -4], pairs[1][:2], [4.0, 2.0]))
    found = model.predict(-4, pairs[1][0], interval=0.8)
    assert found.low < found < found.high


def test_intervals_follow_the_units_of_the_ratings():
    table = synthetic_ratings(40, 30, 600, rng=0)
    large = replace(table, ratings=(table.ratings * np.float32(2.0**60)).astype(np.float32))
    widths = []
    for one in (table, large):
        low, high = BiasModel(rng=0).fit(one).predict_interval(np.arange(9), np.arange(9), 0.5)
        widths.append(np.asarray(high, float) - low)
    assert np.allclose(widths[1] / 2.0**60, widths[0], rtol=1e-3)
