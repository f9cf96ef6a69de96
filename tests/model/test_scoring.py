"""An embedding look-up is a one-hot row times a matrix: the two ways to score agree to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import random_parameters, same_bits
from scipy.sparse import csr_array

from bilinear.model.scoring import score_one_hot, score_rows

DTYPES = [np.float32, np.float64]
sizes = st.integers(1, 9)


def one_hot(rows, n, dtype):
    return csr_array((np.ones(len(rows), dtype), rows, np.arange(len(rows) + 1)), shape=(len(rows), n))


def scores_one_by_one(parameters, users, items):
    """The plain twin: a loop over pairs and factors in float64."""
    scores = []
    for user, item in zip(users, items, strict=True):
        score = parameters.global_mean
        if user >= 0:
            score += float(parameters.user_biases[user])
        if item >= 0:
            score += float(parameters.item_biases[item])
        if user >= 0 and item >= 0:
            for f in range(parameters.n_factors):
                score += float(parameters.user_factors[user, f]) * float(parameters.item_factors[item, f])
        scores.append(score)
    return np.array(scores)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None)
@given(sizes, sizes, st.integers(0, 40), st.integers(0, 20), st.integers(0, 2**32))
def test_one_hot_rows_give_the_bits_of_the_look_up(dtype, n_users, n_items, n_factors, n_pairs, seed):
    rng = np.random.default_rng(seed)
    parameters = random_parameters((n_users, n_items), n_factors, rng, dtype)
    users, items = rng.integers(n_users, size=n_pairs), rng.integers(n_items, size=n_pairs)
    looked_up = score_rows(parameters, users, items)
    assert looked_up.dtype == dtype
    user_rows, item_rows = one_hot(users, n_users, dtype), one_hot(items, n_items, dtype)
    assert same_bits(score_one_hot(parameters, user_rows, item_rows), looked_up)
    assert same_bits(score_one_hot(parameters, user_rows.toarray(), item_rows.toarray()), looked_up)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_do_not_change_a_bit(dtype):
    rng = np.random.default_rng(0)
    parameters = random_parameters((7, 5), 3, rng, dtype)
    users, items = rng.integers(7, size=150_000), rng.integers(5, size=150_000)
    by_one_hot = score_one_hot(parameters, one_hot(users, 7, dtype), one_hot(items, 5, dtype))
    assert same_bits(score_rows(parameters, users, items), by_one_hot)


@settings(deadline=None)
@given(sizes, sizes, st.integers(0, 20), st.integers(0, 2**32))
def test_scores_equal_a_plain_loop_and_strangers_add_nothing(n_users, n_items, n_factors, seed):
    rng = np.random.default_rng(seed)
    parameters = random_parameters((n_users, n_items), n_factors, rng)
    users, items = rng.integers(-1, n_users, size=30), rng.integers(-1, n_items, size=30)
    found = score_rows(parameters, users, items)
    np.testing.assert_allclose(found, scores_one_by_one(parameters, users, items), rtol=1e-12, atol=1e-12)


def test_with_the_item_fixed_the_score_is_linear_in_the_user_and_the_other_way_round():
    rng = np.random.default_rng(1)
    parameters = random_parameters((6, 4), 3, rng)

    def score(user, item):
        """The score less what does not depend on the user, or on the item."""
        return float(score_one_hot(parameters, user[None], item[None])[0]) - parameters.global_mean

    item, no_item, no_user = rng.normal(size=4), np.zeros(4), np.zeros(6)
    u, v, a = rng.normal(size=6), rng.normal(size=6), 1.7
    constant = score(no_user, item)
    assert score(a * u + v, item) - constant == pytest.approx(
        a * (score(u, item) - constant) + score(v, item) - constant
    )
    i, j = rng.normal(size=4), rng.normal(size=4)
    constant = score(u, no_item)
    assert score(u, a * i + j) - constant == pytest.approx(
        a * (score(u, i) - constant) + score(u, j) - constant
    )
