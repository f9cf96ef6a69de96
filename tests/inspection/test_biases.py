"""Items by bias against plain sorting, and what counts as enough ratings."""

from __future__ import annotations

import numpy as np
import pytest
from inspection_cases import build_model, counts_of

from bilinear.errors import NotFittedError, ParameterValueError
from bilinear.estimators.baselines import GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.inspection.biases import items_by_bias
from bilinear.inspection.items import enough_ratings, first_genre, shown


@pytest.mark.parametrize("min_ratings", [1, 7, 20])
def test_both_ends_are_those_of_the_sorted_biases(min_ratings):
    model = build_model()
    found = items_by_bias(model, 4, min_ratings=min_ratings)
    counts = counts_of(model)
    twin = sorted(
        (-float(bias), row)
        for row, bias in enumerate(model.parameters_.item_biases)
        if counts[row] >= min_ratings
    )
    assert [item.id for item in found.top] == [model.item_vocabulary_[row] for _, row in twin[:4]]
    assert [item.id for item in found.bottom] == [model.item_vocabulary_[row] for _, row in twin[:-5:-1]]
    assert [item.bias for item in found.top] == [-bias for bias, _ in twin[:4]]
    assert all(item.n_ratings == counts[model.item_vocabulary_.row(item.id)] for item in found.bottom)
    assert found.n_items == len(twin)


def test_no_item_is_at_both_ends_of_a_short_list():
    model = build_model(n_items=5)
    found = items_by_bias(model, 10, min_ratings=1)
    assert len(found.top) == 3
    assert len(found.bottom) == 2
    assert not {item.id for item in found.top} & {item.id for item in found.bottom}


def test_equal_biases_are_no_ranking():
    model = build_model()
    model.parameters_.item_biases[:] = 0.25
    found = items_by_bias(model, min_ratings=1)
    assert found.top == found.bottom == ()
    assert str(found) == "all item biases are equal"


def test_a_bar_that_no_item_reaches_is_said():
    found = items_by_bias(build_model(), min_ratings=1000)
    assert found.n_items == 0
    assert "no item has 1,000 ratings" in str(found)


@pytest.mark.parametrize(
    ("counts", "n_wanted", "least"),
    [
        ([50] * 100, 20, 50),  # the median, where it is above ten
        ([3] * 100 + [12] * 30, 20, 10),  # ten, where the median is below
        ([3] * 100 + [12] * 10, 20, 3),  # as many as are wanted, where ten leaves too few
        ([2, 1, 0, 0], 20, 1),
        ([0, 0], 5, 1),
    ],
)
def test_enough_ratings_is_ten_or_the_median_unless_too_few_are_left(counts, n_wanted, least):
    assert enough_ratings(np.array(counts), None, n_wanted) == least


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3", None])
def test_a_list_length_that_is_no_whole_number_is_refused(value):
    with pytest.raises(ParameterValueError, match="n="):
        items_by_bias(build_model(), value)


def test_a_model_must_be_one_and_be_fitted():
    with pytest.raises(ParameterValueError, match=r"not dict; .*bilinear\.load"):
        items_by_bias({})
    for model in (MatrixFactorization(), GlobalMean()):
        with pytest.raises(NotFittedError, match="fit"):
            items_by_bias(model)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Comedy|Drama", "Comedy"),
        ("Comedy, Drama", "Comedy"),
        ("Action, Adventure|Drama", "Action, Adventure"),
        ("Sci-Fi", "Sci-Fi"),
        ("(no genres listed)", ""),
        ("", ""),
        ("|", ""),
    ],
)
def test_first_genre(text, expected):
    assert first_genre(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2Jgone", "\N{REPLACEMENT CHARACTER}[2Jgone"),
        ("a\u202eb", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\nb\tc\u2028d", "a b c d"),
        ("می\u200cخواهم 七人の侍", "می\u200cخواهم 七人の侍"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_what_would_act_in_a_terminal_is_replaced(text, expected):
    assert shown(text) == expected


def test_long_titles_are_cut_to_the_width():
    assert shown("abcdefghij", 10) == "abcdefghij"
    assert shown("abcdefghijk", 10) == "abcdefghi…"
