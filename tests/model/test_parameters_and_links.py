"""Parameters hold copies when asked to; links are monotone maps into their range."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import random_parameters, same_bits
from scipy.special import expit

from bilinear.errors import ParameterValueError
from bilinear.model.link import Identity, Sigmoid, logistic
from bilinear.model.parameters import Parameters

ends = st.tuples(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3)).map(lambda pair: (pair[0], pair[0] + pair[1]))
scores = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20)


def test_zeros_have_the_shape_and_type_asked_for():
    zeros = Parameters.zeros((3, 5), 2, 1.5, np.float64)
    assert (zeros.n_users, zeros.n_items, zeros.n_factors, zeros.global_mean) == (3, 5, 2, 1.5)
    assert [array.shape for array in zeros.arrays().values()] == [(3,), (5,), (3, 2), (5, 2)]
    assert all(array.dtype == np.float64 and not array.any() for array in zeros.arrays().values())
    assert Parameters.zeros((3, 5)).n_factors == 0
    assert repr(zeros) == "Parameters(3 users, 5 items, 2 factors, float64)"


def test_a_copy_is_deep_and_writable_even_of_a_read_only_original():
    original = random_parameters((3, 4), 2, np.random.default_rng(0))
    for array in original.arrays().values():
        array.setflags(write=False)
    copy = original.copy()
    assert same_bits(copy, original)
    for name, array in copy.arrays().items():
        array += 1
        assert not np.array_equal(array, original.arrays()[name])


def test_astype_rounds_each_array_once():
    original = random_parameters((3, 4), 2, np.random.default_rng(0))
    single = original.astype(np.float32)
    for name, array in single.arrays().items():
        assert same_bits(array, original.arrays()[name].astype(np.float32))
    assert single.global_mean == original.global_mean


@given(scores)
def test_logistic_equals_the_one_of_scipy_and_never_overflows(values):
    np.testing.assert_allclose(logistic(np.array(values)), expit(values), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(ends, scores)
def test_predictions_are_monotone_and_inside_the_range(dtype, bounds, values):
    ascending = np.sort(np.array([*values, -1e4, 1e4], dtype))
    for link in (Identity(*bounds), Sigmoid(*bounds)):
        predictions = link.prediction(ascending)
        assert predictions.dtype == dtype
        assert (np.diff(predictions) >= 0).all()
        assert predictions.min() >= dtype(bounds[0])
        assert predictions.max() <= dtype(bounds[1])


def test_the_identity_cuts_and_the_sigmoid_bends():
    at = np.array([-9.0, 0.0, 2.5, 9.0])
    assert Identity(1, 5).prediction(at).tolist() == [1, 1, 2.5, 5]
    np.testing.assert_allclose(Sigmoid(1, 5).prediction(at), 1 + 4 / (1 + np.exp(-at)), rtol=1e-15)


@given(st.floats(-8, 8))
def test_the_sigmoid_slope_is_the_derivative_of_its_prediction(score):
    link, step = Sigmoid(-2.0, 3.5), 1e-5
    high, low = (link.prediction(np.array([score + side])) for side in (step, -step))
    np.testing.assert_allclose(link.derivative(np.array([score])), (high - low) / (2 * step), rtol=1e-6)


def test_the_identity_derivative_is_one_beyond_the_range_too_since_training_sees_the_bare_score():
    assert Identity(1, 5).derivative(np.array([-3.0, 3.0, 30.0])).tolist() == [1, 1, 1]


@given(ends, st.floats(0.001, 0.999))
def test_score_is_the_inverse_of_prediction(bounds, share):
    rating = bounds[0] + share * (bounds[1] - bounds[0])
    for link in (Identity(*bounds), Sigmoid(*bounds)):
        found = float(link.prediction(np.array([link.score(rating)]))[0])
        assert found == pytest.approx(rating, abs=1e-9 * max(map(abs, bounds)))


@pytest.mark.parametrize("rating", [1, 5, 0, 6])
def test_a_sigmoid_has_no_score_for_its_ends_or_beyond(rating):
    with pytest.raises(ParameterValueError, match=r"never predicts"):
        Sigmoid(1, 5).score(rating)


def test_a_range_from_the_data_is_widened_for_the_sigmoid_only():
    assert Identity().resolved(0.5, 5).bounds == (0.5, 5.0)
    assert Sigmoid().resolved(0.5, 5).bounds == pytest.approx((0.05, 5.45))
    assert Sigmoid(margin=0).resolved(0.5, 5).bounds == (0.5, 5.0)
    assert Sigmoid().with_range(0.5, 5).bounds == (0.5, 5.0)


def test_a_link_with_a_range_keeps_it():
    for link in (Identity(0, 10), Sigmoid(0, 10)):
        assert link.resolved(1, 5) is link
        assert link.with_range(1, 5).bounds == (1, 5)


def test_bounds_are_python_floats_whatever_was_given():
    bounds = Identity(np.float32(1), np.int64(5)).bounds
    assert bounds == (1.0, 5.0)
    assert all(type(end) is float for end in bounds)


@pytest.mark.parametrize(
    "bounds", [(5, 1), (3, 3), (nan, 5), (1, inf), (-inf, 1), (1, None), (None, 5), ("1", "5"), (False, True)]
)
@pytest.mark.parametrize("link", [Identity, Sigmoid])
def test_a_range_that_is_none_is_refused_with_its_ends(link, bounds):
    for make in (lambda: link(*bounds), lambda: link().with_range(*bounds)):
        with pytest.raises(ParameterValueError, match="two numbers, the smaller first") as caught:
            make()
        assert repr(bounds[0]) in str(caught.value)


def test_a_link_without_a_range_says_so():
    with pytest.raises(ParameterValueError, match="no rating range yet"):
        _ = Identity().bounds


@pytest.mark.parametrize("margin", [-0.1, nan, inf, "wide", None])
def test_a_margin_must_not_narrow_the_range(margin):
    with pytest.raises(ParameterValueError, match="margin="):
        Sigmoid(margin=margin)
