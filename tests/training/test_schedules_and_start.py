"""Schedules go where they say; starts have the size they say; scales turn one setting into any unit."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import planted_table, same_bits, with_strangers

from bilinear.errors import ParameterValueError
from bilinear.model.link import Identity, Sigmoid
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.training.initialization import Scale, random_start
from bilinear.training.schedules import Constant, Falling, OneCycle

shares = st.floats(0, 1)


@given(st.floats(0.01, 0.99), shares, shares, shares, shares)
def test_one_cycle_rises_to_one_and_falls(warm_up, start, end, first, second):
    schedule = OneCycle(warm_up, start, end)
    assert schedule(0) == pytest.approx(start, abs=1e-12)
    assert schedule(warm_up) == pytest.approx(1)
    assert schedule(1) == pytest.approx(end, abs=1e-12)
    early, late = sorted((first, second))
    if late <= warm_up:
        assert schedule(early) <= schedule(late) + 1e-12
    if early >= warm_up:
        assert schedule(early) >= schedule(late) - 1e-12
    assert min(start, end) - 1e-12 <= schedule(first) <= 1 + 1e-12


def test_one_cycle_is_a_cosine():
    schedule = OneCycle(0.5, 0.2, 0.1)
    assert schedule(0.25) == pytest.approx((0.2 + 1) / 2)
    assert schedule(0.75) == pytest.approx((1 + 0.1) / 2)
    assert schedule(0.5 + 1 / 6) == pytest.approx(0.1 + 0.9 * 0.75)


@given(shares)
def test_constant_is_one(progress):
    assert Constant()(progress) == 1


@given(st.floats(0.1, 100), st.floats(0.01, 1), shares)
def test_falling_goes_geometrically_to_one_and_stays(start, until, progress):
    schedule = Falling(start, until)
    assert schedule(0) == pytest.approx(start)
    assert schedule(until / 2) == pytest.approx(start**0.5)
    assert schedule(until) == schedule(1) == 1
    if progress < until:
        assert schedule(progress) == pytest.approx(start ** (1 - progress / until))


@pytest.mark.parametrize(
    "shares",
    [{"start": 0}, {"start": -1}, {"start": nan}, {"until": 0}, {"until": 1.5}, {"until": None}],
    ids=str,
)
def test_falling_from_or_until_elsewhere_is_refused(shares):
    with pytest.raises(ParameterValueError, match="Falling"):
        Falling(**shares)


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "warm_up": [0, 1, -0.5, nan, "long", None],
        "start": [-0.1, 1.5, nan, "low", None],
        "end": [-0.1, inf, None],
    }.items(),
)
def test_a_schedule_of_other_shares_is_refused(name, values):
    for value in values:
        with pytest.raises(ParameterValueError, match=f"{name}="):
            OneCycle(**{name: value})


def test_scale_of_squared_error_is_that_of_the_ratings():
    table = planted_table()
    scale = Scale.of(table, Identity(0, 6), SquaredError())
    assert scale.centre == pytest.approx(table.ratings.mean(dtype=np.float64))
    assert scale.spread == pytest.approx(table.ratings.astype(np.float64).std())
    assert scale.curvature == 1
    assert (scale.l2_biases, scale.bias_rate) == (1, 1)
    assert scale.l2_factors == pytest.approx(scale.spread)
    assert scale.factor_rate == pytest.approx(1 / scale.spread)


@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy()])
def test_scale_after_a_sigmoid_is_taken_at_the_score_of_the_mean(loss):
    table, link = planted_table(), Sigmoid(-0.5, 6.6)
    mean, std = table.ratings.mean(dtype=np.float64), table.ratings.astype(np.float64).std()
    scale, step = Scale.of(table, link, loss), 1e-4
    at = scale.centre + np.array([-step, 0, step])
    predictions = link.prediction(at)
    assert predictions[1] == pytest.approx(mean)
    assert scale.spread == pytest.approx(std / ((predictions[2] - predictions[0]) / (2 * step)), rel=1e-6)
    bend = np.diff(loss.value(at, mean, link), n=2)[0] / step**2
    assert scale.curvature == pytest.approx(bend, rel=1e-4)


def test_the_start_has_the_size_it_says_and_zero_biases():
    table = planted_table(400, 300, density=0.05)
    scale = replace(Scale.of(table, Identity(0, 6), SquaredError()), spread=2.0)
    start = random_start(table, 50, scale, 0.3, np.random.default_rng(0))
    expected = 0.3 * np.sqrt(2.0 / 50)
    for factors in (start.user_factors, start.item_factors):
        assert factors.dtype == np.float32
        assert factors.std() == pytest.approx(expected, rel=0.02)
        assert factors.mean() == pytest.approx(0, abs=0.01 * expected * 10)
    assert not start.user_biases.any()
    assert not start.item_biases.any()
    assert start.global_mean == scale.centre


def test_the_start_is_zero_where_nothing_was_rated_and_the_seed_decides_the_rest():
    table = with_strangers(planted_table(8, 9))
    scale = Scale.of(table, Identity(1, 5), SquaredError())
    starts = [random_start(table, 3, scale, 0.1, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    for column, factors in ((table.users, starts[0].user_factors), (table.items, starts[0].item_factors)):
        rated = np.bincount(column, minlength=len(factors)) > 0
        assert not factors[~rated].any()
        assert factors[rated].all()
    assert same_bits(starts[0], starts[1])
    assert not same_bits(starts[0], starts[2])
    assert random_start(table, 0, scale, 0.1, np.random.default_rng(0)).user_factors.shape == (10, 0)


@pytest.mark.parametrize("link", [Identity(1, 5), Sigmoid(1, 5)])
def test_ratings_that_are_all_the_same_have_the_spread_of_the_range(link):
    """So that steps stay finite when the inner training part happens to be constant."""
    table = replace(planted_table(5, 4), ratings=np.full(planted_table(5, 4).n_ratings, 3, np.float32))
    scale = Scale.of(table, link, SquaredError())
    assert scale.spread == pytest.approx(4 / float(link.derivative(np.array([scale.centre]))[0]))
