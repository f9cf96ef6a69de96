"""The bounded heap against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bilinear.kernels.top_k import top_k_rows, top_k_users


def best(scores, allowed, k):
    """Every allowed item, sorted by score, then by row; the first k."""
    rows = np.flatnonzero(allowed)
    return rows[np.lexsort((rows, -scores[rows]))][:k]


def run_rows(vector, offset, factors, biases, allowed, hidden, mark, k):
    rows, scores = np.full(k, -7, np.int32), np.full(k, -7, factors.dtype)
    n = top_k_rows(vector, offset, factors, biases, allowed, hidden, mark, k, rows, scores)
    assert (rows[n:] == -7).all()
    return rows[:n], scores[:n]


@settings(deadline=None)
@given(
    n_items=st.integers(1, 40),
    k=st.integers(1, 50),
    n_factors=st.integers(0, 3),
    n_values=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_rows_equal_a_full_sort_with_ties_broken_by_row(n_items, k, n_factors, n_values, seed):
    rng = np.random.default_rng(seed)
    # few distinct whole numbers: every sum is exact, and ties abound
    vector = rng.integers(n_values, size=n_factors).astype(np.float64)
    factors = rng.integers(n_values, size=(n_items, n_factors)).astype(np.float64)
    biases = rng.integers(-n_values, n_values, size=n_items).astype(np.float64)
    allowed, hidden = rng.random(n_items) < 0.8, rng.integers(3, size=n_items)
    scores = 2.0 + biases + factors @ vector
    rows, found = run_rows(vector, 2.0, factors, biases, allowed, hidden, 1, k)
    expected = best(scores, allowed & (hidden != 1), k)
    assert rows.tolist() == expected.tolist()
    assert found.tolist() == scores[expected].tolist()


def test_nothing_allowed_gives_nothing():
    rows, _ = run_rows(
        np.ones(2), 0.0, np.ones((5, 2)), np.zeros(5), np.zeros(5, bool), np.zeros(5, np.int64), 1, 3
    )
    assert len(rows) == 0


def test_equal_scores_in_single_precision_are_ties_whatever_the_offset():
    """An offset of double precision must not make a kept score, rounded, look smaller than a new one."""
    for offset in (3.02345678901, -0.1, 1 / 3):
        rows, _ = run_rows(
            np.zeros(2, np.float32),
            offset,
            np.ones((30, 2), np.float32),
            np.full(30, 0.7, np.float32),
            np.ones(30, bool),
            np.zeros(30, np.int64),
            -1,
            9,
        )
        assert rows.tolist() == list(range(9))


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("k", [1, 5, 12])
def test_users_equal_a_full_sort_each(exclude_seen, k):
    rng = np.random.default_rng(0)
    n_users, n_items = 6, 12
    user_factors = rng.normal(size=(n_users, 4)).astype(np.float32)
    item_factors = rng.normal(size=(n_items, 4)).astype(np.float32)
    item_biases = rng.normal(size=n_items).astype(np.float32)
    allowed = rng.random(n_items) < 0.8
    seen = rng.random((n_users, n_items)) < 0.5
    seen[3] = True  # nothing is left for this user
    starts = np.append(0, seen.sum(axis=1).cumsum())
    items = np.nonzero(seen)[1].astype(np.int32)
    users = np.array([2, -1, 0, 3, 2, 5, -1], np.int32)  # strangers, and one asked for twice
    offsets = rng.normal(size=len(users)).astype(np.float32)
    rows, scores = np.zeros((len(users), k), np.int32), np.zeros((len(users), k), np.float32)
    counts = np.zeros(len(users), np.int64)
    top_k_users(
        users, user_factors, offsets, item_factors, item_biases, allowed, starts, items, exclude_seen, k,
        rows, scores, counts,
    )  # fmt: skip
    for n, user in enumerate(users):
        vector = user_factors[user] if user >= 0 else np.zeros(4)
        expected_scores = offsets[n] + item_biases + item_factors @ vector
        left = allowed & ~seen[user] if exclude_seen and user >= 0 else allowed
        expected = best(expected_scores, left, k)
        assert rows[n, : counts[n]].tolist() == expected.tolist()
        np.testing.assert_allclose(scores[n, : counts[n]], expected_scores[expected], rtol=1e-5, atol=1e-6)
    assert counts[3] == (0 if exclude_seen else min(k, allowed.sum()))
