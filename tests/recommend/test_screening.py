"""Lists from items in eight bits against a full sort of all scores: rows and bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.kernels.screen_tile import SCREEN_ITEMS, SCREEN_USERS
from bilinear.model.blocks import score_block
from bilinear.model.parameters import Parameters
from bilinear.recommend import screening
from bilinear.recommend.screening import ScreenedItems

KINDS = (
    "normal",
    "uneven",
    "equal lengths",
    "zeros",
    "whole numbers",
    "duplicates",
    "huge biases",
    "tiny",
    "huge",
    "only biases",
    "nothing",
    "one direction",
    "best last",
)


def problem(kind, n_users, n_items, n_factors, rng):
    """Parameters of a kind that a bound may stumble over."""
    users, items = rng.normal(size=(n_users, n_factors)), rng.normal(size=(n_items, n_factors))
    biases = rng.normal(size=n_items)
    if kind == "uneven":
        items *= rng.pareto(1.0, (n_items, 1)) + 1e-3
        users *= rng.pareto(1.0, (n_users, 1)) + 1e-3
    elif kind == "equal lengths":
        items /= np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-9)
        biases[:] = 0
    elif kind == "zeros":
        items[rng.random(n_items) < 0.7] = 0
        users[rng.random(n_users) < 0.5] = 0
    elif kind == "whole numbers":
        users, items, biases = (np.rint(array) for array in (users, items, biases))
    elif kind == "duplicates":
        few = rng.integers(max(1, n_items // 50), size=n_items)
        items, biases = items[few], biases[few]
    elif kind == "huge biases":
        biases *= 10.0 ** rng.integers(-3, 9, n_items)
    elif kind == "tiny":
        items, users, biases = items * 1e-22, users * 1e-20, biases * 1e-42
    elif kind == "huge":
        items, users, biases = items * 1e18, users * 1e17, biases * 1e36
    elif kind == "only biases":
        items[:], users[:] = 0, 0
    elif kind == "nothing":
        items[:], users[:], biases[:] = 0, 0, 0
    elif kind == "one direction":
        items[:, 1:], users[:, 1:] = 0, 0
    elif kind == "best last":  # the long vectors point away from every user
        users = np.abs(users)
        items = -np.abs(items) * np.linspace(10, 0.1, n_items)[:, None]
    user_biases = rng.normal(size=n_users)
    arrays = (user_biases, biases, users, items)
    return Parameters(3.3, *(array.astype(np.float32) for array in arrays))


def full_scan(parameters, vectors, offsets, hidden, lengths, only):
    """Every score that may be listed, sorted by score, then by row."""
    n, nothing = len(vectors), np.zeros(len(vectors), np.float32)
    alike = Parameters(0.0, nothing, parameters.item_biases, vectors, parameters.item_factors)
    lists = []
    for at in range(n):
        alike = Parameters(
            float(offsets[at]), nothing, parameters.item_biases, vectors, parameters.item_factors
        )
        scores = score_block(alike, np.array([at]))[0]
        allowed = np.ones(len(scores), bool)
        if only[at] is not None:
            allowed[:] = False
            allowed[only[at]] = True
        allowed[hidden[at]] = False
        rows = np.flatnonzero(allowed)
        rows = rows[np.lexsort((rows, -scores[rows]))][: lengths[at]]
        lists.append((rows, scores[rows]))
    return lists


def check(parameters, vectors, offsets, hidden, lengths, only=None):
    items = ScreenedItems.of(parameters)
    only = only or [None] * len(vectors)
    found = items.lists(vectors, offsets, hidden, lengths, only)
    expected = full_scan(parameters, vectors, offsets, hidden, lengths, only)
    for (rows, scores), (true_rows, true_scores) in zip(found, expected, strict=True):
        assert rows.tolist() == true_rows.tolist()
        assert scores.tobytes() == true_scores.tobytes()


@settings(deadline=None, max_examples=100)
@given(
    kind=st.sampled_from(KINDS),
    n_items=st.sampled_from([1, 2, SCREEN_ITEMS - 1, SCREEN_ITEMS, SCREEN_ITEMS + 1, 700, 3000]),
    n_users=st.sampled_from([1, SCREEN_USERS - 1, SCREEN_USERS, SCREEN_USERS + 1]),
    n_factors=st.sampled_from([0, 1, 2, 3, 17, 64]),
    longest=st.sampled_from([1, 2, 10, 200, 5000]),
    seed=st.integers(0, 2**32),
)
def test_lists_are_those_of_a_full_scan(kind, n_items, n_users, n_factors, longest, seed):
    rng = np.random.default_rng(seed)
    parameters = problem(kind, n_users, n_items, n_factors, rng)
    hidden = [
        np.flatnonzero(rng.random(n_items) < rng.choice([0.0, 0.01, 0.5, 1.0])).astype(np.int32)
        for _ in range(n_users)
    ]
    only = [
        np.flatnonzero(rng.random(n_items) < rng.choice([0.0, 0.02, 0.3])).astype(np.int32)
        if rng.random() < 0.3
        else None
        for _ in range(n_users)
    ]
    offsets = (3.3 + parameters.user_biases).astype(np.float32)
    lengths = rng.integers(1, longest + 1, n_users).tolist()
    check(parameters, parameters.user_factors, offsets, hidden, lengths, only)


def test_huge_offsets_make_ties_that_go_by_row():
    rng = np.random.default_rng(0)
    parameters = problem("normal", 3, 2000, 8, rng)
    offsets = np.array([1e8, -3e6, 2.0**24], np.float32)  # next to them most of a score is rounded away
    check(parameters, parameters.user_factors, offsets, [np.empty(0, np.int32)] * 3, [10, 100, 1999])


def test_scores_beyond_float32_tie_as_in_a_full_scan():
    parameters = problem("normal", 2, 300, 4, np.random.default_rng(1))
    parameters.item_biases[100:200] = 3e38
    offsets = np.array([3e38, 2e38], np.float32)
    check(parameters, parameters.user_factors, offsets, [np.empty(0, np.int32)] * 2, [10, 150])


@pytest.mark.parametrize("name", ["MatrixFactorization", "ImplicitALS", "BiasModel"])
def test_lists_of_trained_models_are_those_of_their_own_scores(name):
    import bilinear

    table = synthetic_ratings(400, 3000, 40_000, rng=1)
    arguments = {
        "MatrixFactorization": {
            "n_factors": 24,
            "l2": 0.1,
            "l2_biases": 0.1,
            "solver": bilinear.SGD(n_epochs=4),
        },
        "ImplicitALS": {"n_factors": 16, "n_epochs": 3},
        "BiasModel": {},
    }[name]
    model = getattr(bilinear, name)(**arguments).fit(table)
    parameters = model.dot_product()
    users = np.arange(0, 400, 9)
    scores = model.score_block(users)
    items = ScreenedItems.of(parameters)
    seen = [model.seen_.indices[model.seen_.indptr[u] : model.seen_.indptr[u + 1]] for u in users]
    offsets = (parameters.global_mean + parameters.user_biases[users]).astype(np.float32)
    lists = items.lists(parameters.user_factors[users], offsets, seen, [20] * len(users))
    for at, (rows, found) in enumerate(lists):
        left = np.setdiff1d(np.arange(3000), seen[at])
        expected = left[np.lexsort((left, -scores[at, left]))][:20]
        assert rows.tolist() == expected.tolist()
        assert found.tobytes() == scores[at, expected].astype(np.float32).tobytes()


def test_few_items_are_scored_in_full(monkeypatch):
    counts = []
    kernel = screening.screened_top_k

    def counting(*arguments):
        counts.append(kernel(*arguments))
        return counts[-1]

    monkeypatch.setattr(screening, "screened_top_k", counting)
    parameters = problem("normal", 12, 20_000, 64, np.random.default_rng(0))
    nothing, offsets = [np.empty(0, np.int32)] * 12, np.zeros(12, np.float32)
    check(parameters, parameters.user_factors, offsets, nothing, [10] * 12)
    assert counts.pop() < 0.01 * 12 * 20_000
    parameters = problem("nothing", 2, 5000, 3, np.random.default_rng(0))
    check(parameters, parameters.user_factors, offsets[:2], nothing[:2], [10] * 2)
    assert counts.pop() == 10_000  # what may tie with the last place has to be looked at


def test_items_that_are_not_allowed_are_in_no_list():
    rng = np.random.default_rng(2)
    parameters = problem("normal", 2, 200, 5, rng)
    allowed = rng.random(200) < 0.4
    items = ScreenedItems.of(parameters, allowed)
    offsets = (3.3 + parameters.user_biases).astype(np.float32)
    nothing = [np.empty(0, np.int32)] * 2
    found = items.lists(parameters.user_factors, offsets, nothing, [300, 7])
    only = [np.flatnonzero(allowed).astype(np.int32)] * 2
    expected = full_scan(parameters, parameters.user_factors, offsets, nothing, [300, 7], only)
    for (rows, scores), (true_rows, true_scores) in zip(found, expected, strict=True):
        assert rows.tolist() == true_rows.tolist()
        assert scores.tobytes() == true_scores.tobytes()
