"""Scores against their formulas, intervals against an explicit bootstrap."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bilinear.data import storage
from bilinear.evaluation import bootstrap as module
from bilinear.evaluation.ratings import RatingScores, rating_scores, rmse_difference


def problem(n=400, n_users=25, seed=0):
    rng = np.random.default_rng(seed)
    users = rng.choice(rng.permutation(1000)[:n_users], size=n)  # any labels, in no order
    ratings = rng.integers(1, 6, n).astype(np.float32)
    predictions = (ratings + rng.normal(size=n) + 0.5 * (users % 3)).astype(np.float32)
    return predictions, ratings, users, rng.random(n) < 0.1, rng.random(n) < 0.3


def plain_rmse(predictions, ratings):
    total = 0.0
    for prediction, rating in zip(predictions.tolist(), ratings.tolist(), strict=True):
        total += (prediction - rating) ** 2
    return (total / len(ratings)) ** 0.5


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 2**32))
def test_scores_are_their_formulas(n, n_users, seed):
    predictions, ratings, users, unknown_user, unknown_item = problem(n, n_users, seed)
    scores = rating_scores(predictions, ratings, users, unknown_user, unknown_item)
    assert scores.rmse.value == pytest.approx(plain_rmse(predictions, ratings), rel=1e-12)
    differences = [abs(p - r) for p, r in zip(predictions.tolist(), ratings.tolist(), strict=True)]
    assert scores.mae.value == pytest.approx(sum(differences) / n, rel=1e-12)
    assert (scores.n_ratings, scores.n_users) == (n, len(set(users.tolist())))
    assert scores.unknown_users == pytest.approx(unknown_user.mean())
    assert scores.unknown_items == pytest.approx(unknown_item.mean())
    known = ~(unknown_user | unknown_item)
    assert scores.n_unknown == n - known.sum()
    for found, rows in ((scores.rmse_known, known), (scores.rmse_unknown, ~known)):
        assert found == (pytest.approx(plain_rmse(predictions[rows], ratings[rows])) if rows.any() else None)


def test_the_interval_is_that_of_a_bootstrap_over_users_written_out():
    predictions, ratings, users, *unknown = problem(60, 7)
    labels, rng = np.unique(users), np.random.default_rng(3)
    squared, absolute = [], []
    for _ in range(1000):
        errors = []
        for drawn in rng.integers(len(labels), size=len(labels)):
            rows = np.flatnonzero(users == labels[drawn])  # the whole user, as often as drawn
            errors += (predictions[rows].astype(float) - ratings[rows]).tolist()
        squared.append(np.sqrt(np.mean(np.square(errors))))
        absolute.append(np.mean(np.abs(errors)))
    scores = rating_scores(predictions, ratings, users, *unknown, rng=3)
    for found, expected in ((scores.rmse, squared), (scores.mae, absolute)):
        ends = np.quantile(expected, [0.025, 0.975])
        np.testing.assert_allclose((found.low, found.high), ends, rtol=1e-10)


def test_resampling_in_pieces_changes_nothing(monkeypatch):
    case = problem()
    whole = rating_scores(*case)
    monkeypatch.setattr(module, "_COUNTS_AT_ONCE", 25 * 7)
    assert rating_scores(*case) == whole


@pytest.mark.parametrize("most", [10_000, 1000])
def test_groups_of_users_give_the_interval_of_normal_theory(monkeypatch, most):
    """By the delta method: the spread of a mean of squares over users, and of its root."""
    monkeypatch.setattr(module, "_MOST", most)
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(30_000), rng.integers(1, 6, 30_000))
    errors = rng.uniform(0.5, 1.5, 30_000)[users] * rng.normal(size=len(users))
    nobody = np.zeros(len(users), bool)
    found = rating_scores(errors, np.zeros(len(users)), users, nobody, nobody).rmse
    sizes, squares = np.bincount(users), np.bincount(users, errors**2)
    mse = squares.sum() / sizes.sum()
    spread = np.sqrt(((squares - mse * sizes) ** 2).sum()) / sizes.sum() / (2 * np.sqrt(mse))
    assert found.value == pytest.approx(np.sqrt(mse))
    for end, sign in ((found.low, -1), (found.high, 1)):
        assert (end - found.value) * sign == pytest.approx(1.96 * spread, rel=0.15)


def test_groups_keep_columns_paired(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 50)
    values = np.random.default_rng(0).normal(size=(173, 2))
    sums = module.resampled_sums(values, 4)
    differences = module.resampled_sums(values[:, :1] - values[:, 1:], 4)
    np.testing.assert_allclose(sums[:, 0] - sums[:, 1], differences[:, 0], atol=1e-9)
    sizes = module.resampled_sums(np.ones((173, 1)), 4)
    assert abs(sizes.mean() - 173) < 1
    assert set(np.unique(sizes % 1)) == {0}


def test_errors_add_up_part_by_part(monkeypatch):
    case = problem()
    whole = rating_scores(*case)
    monkeypatch.setattr(storage, "_PART", 11)
    parts = rating_scores(*case)
    for name, value in parts.to_dict().items():
        assert value == pytest.approx(whole.to_dict()[name], rel=1e-12), name


def test_the_seed_decides_the_interval_and_not_the_value():
    case = problem()
    first, again, other = (rating_scores(*case, rng=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.rmse.value == other.rmse.value
    assert first.rmse.low != other.rmse.low


def test_the_order_and_the_labels_of_the_rows_do_not_matter():
    predictions, ratings, users, *unknown = problem()
    shuffled = np.random.default_rng(9).permutation(len(users))
    moved = rating_scores(*(part[shuffled] for part in (predictions, ratings, users * 3 - 7, *unknown)))
    here = rating_scores(predictions, ratings, users, *unknown)
    assert moved.rmse.low == pytest.approx(here.rmse.low, rel=1e-12)
    assert moved.mae.high == pytest.approx(here.mae.high, rel=1e-12)


def test_intervals_hold_the_true_error_about_nineteen_times_in_twenty():
    rng, held, n_runs = np.random.default_rng(0), 0, 200
    for seed in range(n_runs):
        spread = rng.uniform(0.5, 1.5, size=60)  # errors of one user are alike
        users = np.repeat(np.arange(60), 10)
        errors = spread[users] * rng.normal(size=600)
        nobody = np.zeros(600, bool)
        found = rating_scores(errors, np.zeros(600), users, nobody, nobody, rng=seed).rmse
        assert found.low < found.value < found.high
        held += found.low < np.sqrt(1 + 1 / 12) < found.high  # E of spread squared
    assert 0.88 < held / n_runs < 0.99


def test_whole_users_make_the_interval_wider_than_single_ratings_do():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(30), 50)
    errors = rng.normal(size=30)[users] + 0.1 * rng.normal(size=1500)
    nobody = np.zeros(1500, bool)
    by_user = rating_scores(errors, np.zeros(1500), users, nobody, nobody).rmse
    by_rating = rating_scores(errors, np.zeros(1500), np.arange(1500), nobody, nobody).rmse
    assert by_user.high - by_user.low > 3 * (by_rating.high - by_rating.low)


def test_a_perfect_model_has_no_error_and_no_doubt():
    ratings, nobody = np.arange(5.0), np.zeros(5, bool)
    scores = rating_scores(ratings, ratings, np.arange(5), nobody, nobody)
    assert str(scores.rmse) == str(scores.mae) == "0.0000 [0.0000, 0.0000]"
    assert (scores.rmse_known, scores.rmse_unknown) == (0, None)
    assert "unknown" not in str(scores)


def test_scores_survive_json_and_print_what_was_unknown():
    scores = rating_scores(*problem())
    assert RatingScores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores
    first, second = str(scores).splitlines()
    assert first.startswith(f"RMSE {scores.rmse.value:.4f} [{scores.rmse.low:.4f}, {scores.rmse.high:.4f}]")
    assert "400 ratings of 25 users; 95 % bootstrap over users" in first
    assert f"unknown user: {scores.unknown_users:.1%}" in second
    assert f"RMSE of these rows {scores.rmse_unknown:.4f}" in second


def test_a_paired_difference_is_the_difference_and_narrower_than_two_intervals():
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(80), 20)
    hard = np.repeat(rng.lognormal(0, 0.7, 80), 20)  # what makes a user hard, for both
    ratings = rng.normal(size=1600)
    errors = hard * rng.normal(size=1600)
    first, second = ratings + errors, ratings + 1.1 * errors
    found = rmse_difference(first, second, ratings, users, rng=1)
    none = np.zeros(1600, bool)
    alone = [rating_scores(part, ratings, users, none, none).rmse for part in (first, second)]
    assert found.value == pytest.approx(alone[0].value - alone[1].value, abs=1e-12)
    assert found.low < found.value < found.high < 0
    assert alone[0].high > alone[1].low  # the two intervals overlap; the paired one is clear of zero
    # a constant ratio of errors is a constant ratio in every resample
    assert found.low / found.high == pytest.approx(alone[0].high / alone[0].low, rel=0.05)
    same = rmse_difference(first, first, ratings, users)
    assert (same.value, same.low, same.high) == (0, 0, 0)
