"""Each loss against its formula, its derivatives against finite differences, its claim of convexity."""

from __future__ import annotations

import numpy as np
import pytest
from problems import PAIRS, plain_value

from bilinear.errors import ParameterValueError
from bilinear.model.link import Identity, Sigmoid
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2

pair_of = pytest.mark.parametrize(
    ("loss", "link"), PAIRS, ids=["squared", "sigmoid squared", "cross-entropy"]
)
GRID, STEP = np.linspace(-7, 7, 281), 1e-4
RATINGS = [1.0, 2.5, 3.0, 5.0]


@pair_of
@pytest.mark.parametrize("rating", RATINGS)
def test_value_is_the_formula(loss, link, rating):
    expected = [plain_value(loss, link, score, rating) for score in GRID]
    np.testing.assert_allclose(loss.value(GRID, rating, link), expected, rtol=1e-12, atol=1e-12)


@pair_of
@pytest.mark.parametrize("rating", RATINGS)
def test_gradient_is_the_derivative_of_the_value(loss, link, rating):
    difference = loss.value(GRID + STEP, rating, link) - loss.value(GRID - STEP, rating, link)
    np.testing.assert_allclose(loss.gradient(GRID, rating, link), difference / (2 * STEP), atol=1e-6)


@pair_of
@pytest.mark.parametrize("rating", RATINGS)
def test_curvature_is_the_second_derivative_where_convex_and_gauss_newton_elsewhere(loss, link, rating):
    if loss.convex_in_score(link):
        difference = loss.gradient(GRID + STEP, rating, link) - loss.gradient(GRID - STEP, rating, link)
        expected = difference / (2 * STEP)
    else:  # the square of the prediction's slope: what is left of it at a residual of zero
        expected = ((link.prediction(GRID + STEP) - link.prediction(GRID - STEP)) / (2 * STEP)) ** 2
    found = np.broadcast_to(loss.curvature(GRID, rating, link), GRID.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found >= 0).all()


@pair_of
def test_convex_in_score_is_claimed_exactly_where_no_second_difference_is_negative(loss, link):
    bends = [np.diff(loss.value(GRID, rating, link), n=2).min() for rating in RATINGS]
    assert loss.convex_in_score(link) == (min(bends) > -1e-12)


def test_a_sigmoid_makes_the_squared_error_concave_where_it_is_most_wrong():
    loss, link = SquaredError(), Sigmoid(0.6, 5.4)
    assert not loss.convex_in_score(link)
    left, middle, right = loss.value(np.array([2.0, 4.0, 6.0]), 1.0, link)
    assert middle > (left + right) / 2  # a chord below the curve: the definition of not convex
    slopes = loss.gradient(np.array([2.0, 6.0]), 1.0, link)
    assert slopes[0] > 10 * slopes[1] > 0  # further from the truth, yet hardly pulled back
    pulls = CrossEntropy().gradient(np.array([2.0, 6.0]), 1.0, link)
    assert pulls[1] > pulls[0] > 0


@pair_of
@pytest.mark.parametrize("rating", RATINGS)
def test_the_gradient_vanishes_where_the_prediction_is_the_rating(loss, link, rating):
    at = np.array([link.score(rating)])
    assert loss.gradient(at, rating, link)[0] == pytest.approx(0, abs=1e-12)
    assert loss.value(at, rating, link)[0] == pytest.approx(loss.value(GRID, rating, link).min(), abs=1e-3)


@pair_of
def test_huge_scores_overflow_nothing(loss, link):
    for dtype in (np.float32, np.float64):
        far = np.array([-1e4, 1e4], dtype)
        for found in (loss.value, loss.gradient, loss.curvature):
            assert np.isfinite(found(far, np.float32(3), link)).all()


def test_cross_entropy_goes_with_the_sigmoid_only():
    CrossEntropy().check(Sigmoid())
    for link in (Identity(), Sigmoid()):
        SquaredError().check(link)
    with pytest.raises(ParameterValueError, match=r"CrossEntropy needs link=Sigmoid\(\)"):
        CrossEntropy().check(Identity())
    with pytest.raises(ParameterValueError, match="CrossEntropy needs"):
        Objective(CrossEntropy(), Identity(1, 5), L2(), None)  # type: ignore[arg-type]
