"""Ranked lists against sorting everything; what is excluded never shows."""

from __future__ import annotations

import numpy as np
import pytest
from problems import random_parameters, random_table

from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import ParameterValueError, UnknownIdError
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.scoring import score_rows
from bilinear.recommend.lists import (
    RankedItems,
    Recommendations,
    recommend_users,
    recommend_vector,
    similar_rows,
)

N_USERS, N_ITEMS = 8, 25
TABLE = random_table(N_USERS, N_ITEMS, 90, np.random.default_rng(0))
PARAMETERS = random_parameters(TABLE.shape, 4, np.random.default_rng(1), np.float32)
ITEMS = Vocabulary.from_sorted([f"item {row:02d}" for row in range(N_ITEMS)])
EVERYTHING = np.ones(N_ITEMS, bool)


def lists_for(users, n, *, exclude_seen=True, allowed=EVERYTHING, link=Identity(-2, 3)):  # noqa: B008
    rows = np.array(users, np.int32)
    return recommend_users(
        PARAMETERS, link, TABLE.by_user, ITEMS, rows, n, exclude_seen=exclude_seen, allowed=allowed
    )


def sorted_items(user, left):
    scores = score_rows(PARAMETERS, np.full(N_ITEMS, user), np.arange(N_ITEMS))
    rows = np.flatnonzero(left)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return [ITEMS[row] for row in rows], scores[rows]


@pytest.mark.parametrize("n", [1, 4, N_ITEMS, 1000])
@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("filtered", [True, False])
def test_lists_are_everything_left_sorted_by_score(n, exclude_seen, filtered):
    allowed = np.arange(N_ITEMS) % 3 > 0 if filtered else EVERYTHING
    users = [3, -1, 0, 3]
    lists = lists_for(users, n, exclude_seen=exclude_seen, allowed=allowed)
    for user, ranked in zip(users, lists, strict=True):
        left = allowed.copy()
        if exclude_seen and user >= 0:
            left[TABLE.items[TABLE.users == user]] = False
        items, scores = sorted_items(user, left)
        assert list(ranked) == items[:n]
        np.testing.assert_allclose(ranked.scores, scores[:n], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("link", [Identity(-2, 3), Sigmoid(-2, 3)])
def test_predictions_are_the_link_of_the_scores_and_lists_are_sorted_by_the_bare_score(link):
    (ranked,) = lists_for([2], 10, link=link)
    np.testing.assert_array_equal(ranked.predictions, link.prediction(ranked.scores))
    assert (np.diff(ranked.scores) < 0).all()  # also where predictions are cut to the same end


def test_a_stranger_gets_the_list_that_is_not_personal():
    (ranked,) = lists_for([-1], N_ITEMS)
    expected = PARAMETERS.global_mean + PARAMETERS.item_biases
    assert [ITEMS.row(item) for item in ranked] == np.argsort(-expected, kind="stable").tolist()
    np.testing.assert_allclose(np.sort(ranked.scores), np.sort(expected), rtol=1e-6)


def test_nothing_left_is_an_empty_list():
    (ranked,) = lists_for([1], 5, allowed=np.zeros(N_ITEMS, bool))
    assert (len(ranked), list(ranked), ranked.to_dicts()) == (0, [], [])


def test_nobody_asked_is_no_list():
    assert lists_for([], 5) == []


def test_a_vector_of_a_known_user_gives_the_list_of_that_user():
    (expected,) = lists_for([4], 9, exclude_seen=False)
    vector, bias = PARAMETERS.user_factors[4].astype(np.float64), float(PARAMETERS.user_biases[4])
    ranked = recommend_vector(PARAMETERS, Identity(-2, 3), ITEMS, vector, bias, 9, EVERYTHING)
    assert list(ranked) == list(expected)
    np.testing.assert_allclose(ranked.scores, expected.scores, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 5, 100])
def test_similar_items_are_sorted_by_the_cosine_and_without_the_item(n):
    allowed = np.arange(N_ITEMS) != 7
    factors = PARAMETERS.item_factors.astype(np.float64)
    cosines = factors @ factors[3] / np.linalg.norm(factors, axis=1) / np.linalg.norm(factors[3])
    expected = [row for row in np.argsort(-cosines, kind="stable") if row not in (3, 7)][:n]
    rows, found = similar_rows(PARAMETERS, 3, n, allowed)
    assert rows.tolist() == expected
    np.testing.assert_allclose(found, cosines[expected], rtol=1e-5, atol=1e-6)


def test_items_without_factors_are_like_nothing():
    parameters = PARAMETERS.copy()
    parameters.item_factors[[2, 9]] = 0
    rows, cosines = similar_rows(parameters, 3, 100, EVERYTHING)
    assert sorted({*range(N_ITEMS)} - {*rows.tolist()}) == [2, 3, 9]
    assert np.isfinite(cosines).all()
    assert [len(part) for part in similar_rows(parameters, 2, 100, EVERYTHING)] == [0, 0]


@pytest.mark.parametrize("n", [0, -1, 2.5, "10", None, True])
def test_a_length_that_is_none_is_refused(n):
    for ask in (lambda: lists_for([1], n), lambda: similar_rows(PARAMETERS, 3, n, EVERYTHING)):
        with pytest.raises(ParameterValueError, match="the length of a list is a whole number"):
            ask()


def test_places_and_columns_for_tables():
    ranked = RankedItems(np.array([5, 9]), np.float32([2, 1]), np.float32([2, 1.5]))
    assert ranked.to_dicts() == [
        {"rank": 1, "item": 5, "score": 2.0, "prediction": 2.0},
        {"rank": 2, "item": 9, "score": 1.0, "prediction": 1.5},
    ]
    alike = RankedItems(np.array([5]), np.float32([0.5]))
    assert alike.to_dicts() == [{"rank": 1, "item": 5, "score": 0.5}]
    none = RankedItems(np.array([], int), np.float32([]), np.float32([]))
    lists = Recommendations(("u", "v", "w"), np.array([True, False, True]), (ranked, none, ranked))
    assert lists.to_columns() == {
        "user": ["u", "u", "w", "w"],
        "rank": [1, 2, 1, 2],
        "item": [5, 9, 5, 9],
        "prediction": [2.0, 1.5, 2.0, 1.5],
        "known_user": [True, True, True, True],
    }
    assert (len(lists.lists), lists.of("v"), len(lists)) == (3, none, 4)
    assert [(row.user, row.item) for row in lists] == [("u", 5), ("u", 9), ("w", 5), ("w", 9)]
    with pytest.raises(UnknownIdError, match="no list for user 'x'"):
        lists.of("x")


def test_lists_print_short_and_as_a_table():
    ranked = RankedItems(np.arange(7), np.linspace(1, 0, 7), np.linspace(5, 4, 7))
    assert repr(ranked) == "RankedItems(7 items: 0, 1, 2, 3, 4, ...)"
    lines = str(ranked).splitlines()
    assert len(lines) == 8
    assert lines[:2] == ["rank  prediction  item", "   1       5.000  0"]
    similar = RankedItems(np.array(["a", "b"]), np.array([0.5, 0.25]))
    assert repr(similar) == "RankedItems(2 items: 'a', 'b')"
    assert str(similar).splitlines()[1:] == ["   1       0.500  a", "   2       0.250  b"]
    assert repr(RankedItems(np.array([]), np.array([]))) == "RankedItems(no items)"
    several = Recommendations(tuple("abcdefg"), np.array([True] * 6 + [False]), (similar,) * 7)
    assert repr(several) == "Recommendations(14 items for 7 users, 1 of them not personal)"
    assert str(several).count("User ") == 5
    assert str(several).endswith("... and 2 more users")
    assert several.to_columns()["score"] == [0.5, 0.25] * 7
