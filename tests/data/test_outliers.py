"""Ratings far from all others: which they are, what they count as, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.outliers import Fence, OutlierWarning, look_like_counts, warn_of_outliers

STARS = np.random.default_rng(0).integers(1, 6, 400).astype(np.float32)


def table(ratings):
    users = np.repeat(np.arange(len(ratings) // 20 + 1), 20)[: len(ratings)]
    return Interactions.from_columns(users, np.arange(len(ratings)) % 20, ratings)


@pytest.mark.parametrize(
    "ratings",
    [
        STARS,
        np.random.default_rng(1).normal(size=5000),
        np.random.default_rng(1).exponential(size=5000),
        np.random.default_rng(1).lognormal(size=5000),
        np.repeat([0.0, 1.0], [3990, 10]),
        np.array([1.0, 5.0]),
    ],
    ids=["stars", "normal", "exponential", "log-normal", "rare ones", "two"],
)
def test_ordinary_ratings_are_left_alone(ratings):
    ratings = np.asarray(ratings, np.float32)
    fence, given = Fence.of(ratings), table(ratings)
    assert fence.n_outside == 0
    assert fence.bounded(given) is given
    assert fence.describe(given) == ""


@pytest.mark.parametrize("value", [1e3, -1e3, 1e30, float(np.finfo(np.float32).max)])
def test_one_rating_far_out_counts_as_five_ranges_away(value):
    ratings = STARS.copy()
    ratings[33] = value
    fence = Fence.of(ratings)
    assert (fence.low, fence.high, fence.usual, fence.n_outside) == (1 - 5 * 4, 5 + 5 * 4, (1, 5), 1)
    bounded = fence.bounded(table(ratings)).ratings
    assert bounded[33] == (25 if value > 0 else -19)
    np.testing.assert_array_equal(np.delete(bounded, 33), np.delete(STARS, 33))


def test_the_bounds_stay_finite_for_the_largest_ratings():
    ends = np.finfo(np.float32).max * np.linspace(-1, 1, 101).astype(np.float32)
    assert np.isfinite([Fence.of(ends).low, Fence.of(ends).high]).all()


def test_what_is_said_names_the_users_and_items_farthest_first_and_both_ways_out():
    ratings = STARS.copy()
    ratings[[33, 47]] = 5000, -70000
    given = table(ratings)
    with pytest.warns(OutlierWarning) as caught:
        warn_of_outliers(Fence.of(ratings), given)
    text = str(caught[0].message)
    assert "2 of 400 ratings lie far from the others, which are in [1, 5]" in text
    assert "-70000 (user 2, item 7), 5000 (user 1, item 13)" in text
    assert "[-19, 25]" in text
    assert "drop the rows" in text
    assert "rating_range" in text


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        (np.random.default_rng(1).pareto(0.9, 5000), True),
        (np.random.default_rng(1).lognormal(0, 2, 5000), True),
        (STARS, False),
        (np.random.default_rng(1).normal(size=5000), False),
        (np.zeros(0), False),
    ],
    ids=["pareto", "log-normal", "stars", "signed", "empty"],
)
def test_counts_are_known_by_their_tail(ratings, expected):
    assert look_like_counts(np.asarray(ratings, np.float32)) is expected
