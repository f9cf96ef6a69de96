"""A part of a table is the table that `take` would copy, without the copy."""

from __future__ import annotations

import numpy as np
import pytest
from problems import random_table, same_bits

from bilinear.data.interactions import Interactions
from bilinear.data.row_subset import Part
from bilinear.data.splits import split_validation

TABLE = random_table(30, 20, 300, np.random.default_rng(0))
KEPT = np.random.default_rng(1).random(300) < 0.6
PART, COPY = Part(TABLE, KEPT), TABLE.take(KEPT)


@pytest.mark.parametrize("column", ["users", "items", "ratings", "times"])
def test_its_columns_are_those_of_the_copy(column):
    assert same_bits(getattr(PART, column), getattr(COPY, column))
    assert column not in vars(PART)  # asked for, not kept


def test_so_is_everything_else():
    for name in ("shape", "n_ratings", "density", "source", "n_rows_read", "has_ratings", "duplicates"):
        assert getattr(PART, name) == getattr(COPY, name), name
    assert (PART.user_vocabulary, PART.item_vocabulary) == (TABLE.user_vocabulary, TABLE.item_vocabulary)
    assert repr(PART) == repr(COPY)
    for mine, its in zip((*PART.by_user, *PART.by_item), (*COPY.by_user, *COPY.by_item), strict=True):
        assert same_bits(mine, its)


@pytest.mark.parametrize("table", [TABLE, PART, COPY])
def test_counts_are_those_of_the_columns(table):
    assert (table.user_counts == np.bincount(table.users, minlength=30)).all()
    assert (table.item_counts == np.bincount(table.items, minlength=20)).all()


def test_taking_from_it_and_gathering_it_make_tables():
    rows = np.array([5, 1, 7])
    assert type(PART.take(rows)) is type(PART.gathered()) is Interactions
    assert same_bits(PART.take(rows).ratings, COPY.take(rows).ratings)
    assert same_bits(PART.gathered().items, COPY.items)


def test_a_lazy_split_is_the_split():
    lazy, whole = (
        split_validation(TABLE, 0.2, np.random.default_rng(3), lazy=lazy) for lazy in (True, False)
    )
    assert (type(lazy.train), type(whole.train)) == (Part, Interactions)
    for part in ("train", "test"):
        for column in ("users", "items", "ratings", "times"):
            assert same_bits(getattr(getattr(lazy, part), column), getattr(getattr(whole, part), column))
