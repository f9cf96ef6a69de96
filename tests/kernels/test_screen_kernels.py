"""Scores in whole numbers against NumPy's, and the bound on what they miss."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from bilinear.kernels.screen_tile import (
    ITEM_ZERO,
    MOST_ITEM,
    MOST_SUM,
    MOST_USER,
    SCREEN_ITEMS,
    SCREEN_USERS,
    screen_tile,
)
from bilinear.kernels.screened_top_k import (
    CENTRE,
    HIGH,
    LOW,
    PANEL_TERMS,
    STEP,
    UNIT,
    USER_TERMS,
    _error,
    scores_of_rows,
    screen_items,
    screen_users,
)
from bilinear.model.blocks import score_block
from bilinear.model.parameters import Parameters


@njit
def one_tile(user_pairs, item_pairs, starts, floors, tile, panel, sums, lanes):
    return screen_tile(user_pairs, item_pairs, user_pairs.shape[1], starts, floors, tile, panel, sums, lanes)


@njit
def error_of(user_terms, n, panel_terms, panel):
    return _error(user_terms, n, panel_terms, panel, 0.0)


def screened_items(factors, biases, order, weight):
    n_panels, n_pairs = -(-len(order) // SCREEN_ITEMS), factors.shape[1] // 2 + 1
    pairs = np.empty((n_panels, n_pairs, SCREEN_ITEMS, 2), np.uint8)
    rows, terms = np.empty((n_panels, SCREEN_ITEMS), np.int32), np.empty((n_panels, PANEL_TERMS))
    screen_items(factors, biases, order.astype(np.int32), weight, pairs, rows, terms)
    return pairs, rows, terms


def screened_users(vectors, offsets, weight):
    n_tiles, n_pairs = -(-len(vectors) // SCREEN_USERS), vectors.shape[1] // 2 + 1
    pairs = np.zeros((n_tiles, n_pairs, SCREEN_USERS), np.int32)
    starts = np.zeros((n_tiles, SCREEN_USERS), np.int16)
    terms = np.empty((n_tiles * SCREEN_USERS, USER_TERMS))
    screen_users(vectors, offsets, weight, pairs, starts, terms)
    return pairs, starts, terms


def whole_users(pairs):
    """(n, 2 * n_pairs) from the packed bytes."""
    packed = np.ascontiguousarray(pairs.transpose(0, 2, 1)).reshape(-1, pairs.shape[1])
    octets = packed.view(np.int8).reshape(len(packed), -1, 4)
    assert (octets[:, :, :2] == octets[:, :, 2:]).all()  # a pair stands twice in its word
    return octets[:, :, :2].reshape(len(packed), -1).astype(np.int64)


def whole_items(pairs):
    """(n, 2 * n_pairs) from the packed bytes."""
    items = pairs.transpose(0, 2, 1, 3).reshape(len(pairs) * SCREEN_ITEMS, -1)
    return items.astype(np.int64) - ITEM_ZERO


def sums_of(user_pairs, starts, item_pairs):
    """All sums as `screen_tile` makes them, (n_users, n_items)."""
    every = np.empty((len(user_pairs) * SCREEN_USERS, len(item_pairs) * SCREEN_ITEMS), np.int64)
    floors = np.full(SCREEN_USERS, -MOST_SUM - 1, np.int16)
    sums, lanes = np.empty((SCREEN_USERS, SCREEN_ITEMS), np.int16), np.empty(SCREEN_USERS, np.int64)
    for tile in range(len(user_pairs)):
        for panel in range(len(item_pairs)):
            hits = one_tile(user_pairs, item_pairs, starts, floors, tile, panel, sums, lanes)
            assert hits == (1 << SCREEN_USERS) - 1
            part = slice(tile * SCREEN_USERS, (tile + 1) * SCREEN_USERS)
            every[part, panel * SCREEN_ITEMS : (panel + 1) * SCREEN_ITEMS] = sums
    return every


@pytest.mark.parametrize("n_factors", [0, 1, 2, 7, 64, 333])
@pytest.mark.parametrize("kind", ["normal", "one factor", "all equal", "signs"])
def test_sums_are_the_products_of_the_whole_numbers(n_factors, kind):
    rng = np.random.default_rng(n_factors)
    n_users, n_items = SCREEN_USERS + 1, SCREEN_ITEMS + 5
    vectors, factors = (rng.normal(size=(n, n_factors)).astype(np.float32) for n in (n_users, n_items))
    if kind == "one factor":
        vectors[:, 1:], factors[:, 1:] = 0, 0
    elif kind == "all equal":  # every product is the largest that the lengths allow
        vectors[:], factors[:] = 1, 1
    elif kind == "signs":
        vectors, factors = np.sign(vectors), -np.sign(factors)
    biases = rng.normal(size=n_items).astype(np.float32)
    item_pairs, _, _ = screened_items(factors, biases, np.arange(n_items), 1.5)
    user_pairs, starts, _ = screened_users(vectors, np.zeros(n_users, np.float32), 1.5)
    users, items = whole_users(user_pairs), whole_items(item_pairs)
    assert np.abs(users).max() <= MOST_USER
    assert np.abs(items).max() <= MOST_ITEM
    expected = users @ items.T
    assert np.abs(expected).max() <= MOST_SUM
    np.testing.assert_array_equal(sums_of(user_pairs, starts, item_pairs), expected)


def test_hits_are_the_sums_above_the_floors():
    rng = np.random.default_rng(0)
    vectors, factors = (rng.normal(size=(n, 9)).astype(np.float32) for n in (SCREEN_USERS, SCREEN_ITEMS))
    biases = np.zeros(SCREEN_ITEMS, np.float32)
    item_pairs, _, _ = screened_items(factors, biases, np.arange(SCREEN_ITEMS), 1.0)
    user_pairs, starts, _ = screened_users(vectors, np.zeros(SCREEN_USERS, np.float32), 1.0)
    expected = whole_users(user_pairs) @ whole_items(item_pairs).T
    floors = np.sort(expected, axis=1)[:, -3].astype(np.int16)  # two above it, unless there are ties
    floors[1] = MOST_SUM  # none
    sums, lanes = np.zeros((SCREEN_USERS, SCREEN_ITEMS), np.int16), np.zeros(SCREEN_USERS, np.int64)
    hits = one_tile(user_pairs, item_pairs, starts, floors, 0, 0, sums, lanes)
    above = expected > floors[:, None]
    assert [bool(hits >> u & 1) for u in range(SCREEN_USERS)] == above.any(axis=1).tolist()
    found = [[bool(int(lanes[u]) >> i & 1) for i in range(SCREEN_ITEMS)] for u in range(SCREEN_USERS)]
    assert found == above.tolist()
    floors[:] = MOST_SUM
    sums[:] = lanes[:] = 77
    assert one_tile(user_pairs, item_pairs, starts, floors, 0, 0, sums, lanes) == 0
    assert (sums == 77).all()  # without a hit nothing is written
    assert (lanes == 77).all()


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e10])
@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
def test_a_true_score_lies_within_the_error_of_its_whole_number(scale, weight):
    rng = np.random.default_rng(3)
    n_users, n_items, n_factors = 7, 3 * SCREEN_ITEMS, 11
    vectors = rng.normal(size=(n_users, n_factors)).astype(np.float32)
    factors = (scale * rng.normal(size=(n_items, n_factors)) * rng.pareto(2, (n_items, 1))).astype(np.float32)
    biases, offsets = rng.normal(size=n_items).astype(np.float32), rng.normal(size=n_users).astype(np.float32)
    order = np.argsort(-np.linalg.norm(factors.astype(np.float64), axis=1))
    item_pairs, rows, panel_terms = screened_items(factors, biases, order, weight)
    user_pairs, starts, user_terms = screened_users(vectors, offsets, weight)
    sums = sums_of(user_pairs, starts, item_pairs)
    true = offsets[:, None].astype(float) + biases + vectors.astype(float) @ factors.astype(float).T
    errors = np.empty((n_users, len(item_pairs)))
    for n in range(n_users):
        for panel in range(len(item_pairs)):
            errors[n, panel] = error_of(user_terms, n, panel_terms, panel)
    for n in range(n_users):
        for panel in range(len(item_pairs)):
            part = slice(panel * SCREEN_ITEMS, (panel + 1) * SCREEN_ITEMS)
            near = panel_terms[panel, CENTRE] + user_terms[n, STEP] * panel_terms[panel, UNIT] * sums[n, part]
            mine = true[n, rows[panel]]
            assert (user_terms[n, HIGH] + near + errors[n, panel] >= mine).all()
            assert (user_terms[n, LOW] + near - errors[n, panel] <= mine).all()


def test_scores_of_rows_have_the_bits_of_the_full_scan():
    rng = np.random.default_rng(4)
    for n_factors in (0, 1, 5, 64):
        parameters = Parameters(
            3.1,
            rng.normal(size=4).astype(np.float32),
            rng.normal(size=50).astype(np.float32),
            rng.normal(size=(4, n_factors)).astype(np.float32),
            rng.normal(size=(50, n_factors)).astype(np.float32),
        )
        every = score_block(parameters, np.arange(4))
        for n in (0, 1, 7, 8, 9, 30):
            rows, scores = rng.integers(50, size=n).astype(np.int32), np.empty(n, np.float32)
            offset = np.float32(3.1 + parameters.user_biases[2])
            scores_of_rows(
                parameters.user_factors[2],
                offset,
                parameters.item_factors,
                parameters.item_biases,
                rows,
                scores,
            )
            assert scores.tobytes() == every[2, rows].tobytes()
