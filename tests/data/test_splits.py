"""Splits hold out what they say, leave the rest, and lose nothing."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import random_table, same_bits

from bilinear.data.interactions import Interactions
from bilinear.data.splits import (
    Split,
    later_part,
    split_file,
    split_leave_last_out,
    split_per_user,
    split_random,
    split_temporal,
    split_validation,
)
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import DataError, MissingColumnError, ParameterValueError

SPLITS = {"random": split_random, "per user": split_per_user, "temporal": split_temporal}
every_split = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)


def rows_of(table):
    """Every column, as a sorted list of rows."""
    times = [None] * table.n_ratings if table.times is None else table.times.tolist()
    columns = (table.users.tolist(), table.items.tolist(), table.ratings.tolist(), times)
    return sorted(zip(*columns, strict=True))


def table_of(n_users=12, n_items=30, n_ratings=200, seed=0):
    return random_table(n_users, n_items, n_ratings, np.random.default_rng(seed))


@every_split
@settings(deadline=None)
@given(st.floats(0.15, 0.95), st.integers(0, 2**32))
def test_the_parts_are_disjoint_and_together_the_table(split, test, seed):
    table = table_of(seed=seed)
    parts = split(table, test)
    assert sorted(rows_of(parts.train) + rows_of(parts.test)) == rows_of(table)
    for part in (parts.train, parts.test):
        assert part.n_ratings > 0
        assert part.user_vocabulary is table.user_vocabulary
        assert part.item_vocabulary is table.item_vocabulary
        keys = part.users.astype(np.int64) * part.n_items + part.items
        assert (np.diff(keys) > 0).all()  # sorted, each pair once: their union has n rows, so disjoint


@every_split
def test_the_repr_says_how_and_how_many(split):
    parts = split(table_of(), 0.25)
    assert repr(parts).startswith(f"Split({parts.how}: {parts.train.n_ratings} to train, ")
    assert "25%" in parts.how


@given(st.floats(0.05, 0.95))
def test_a_random_split_has_the_share_asked_for(test):
    assert split_random(table_of(), test).test.n_ratings == round(200 * test)


@pytest.mark.parametrize("split", [split_random, split_per_user])
def test_the_seed_decides_a_random_split(split):
    table = table_of()
    first, again, other = (split(table, 0.3, seed) for seed in (1, 1, 2))
    assert rows_of(first.test) == rows_of(again.test)
    assert rows_of(first.test) != rows_of(other.test)


def test_a_random_split_draws_all_ratings_alike():
    table, drawn = table_of(), np.zeros(200)
    for seed in range(400):
        chosen = split_random(table, 0.25, seed).test
        drawn[np.searchsorted(table.users * 30 + table.items, chosen.users * 30 + chosen.items)] += 1
    assert drawn.mean() == 100
    assert abs(drawn - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("test", [0.1, 0.2, 0.29, 0.5, 0.9])
def test_per_user_holds_out_the_share_of_each_user_rounded_down(test):
    counts = [1, 2, 5, 10, 50, 100]
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.concatenate([np.arange(count) for count in counts])
    parts = split_per_user(Interactions.from_columns(users, items, np.ones(len(users))), test)
    expected = [int(f"{test:.2f}"[2:]) * count // 100 for count in counts]
    assert np.bincount(parts.test.users, minlength=len(counts)).tolist() == expected
    assert (np.bincount(parts.train.users, minlength=len(counts)) > 0).all()


def test_per_user_says_so_when_nobody_has_enough_ratings():
    table = Interactions.from_columns(range(40), [0, 1] * 20, [1.0] * 40)
    with pytest.raises(DataError, match="no user has the 5 ratings of which 20% is one"):
        split_per_user(table, 0.2)


@given(st.floats(0.05, 0.95))
def test_a_temporal_split_trains_on_the_past(test):
    parts = split_temporal(table_of(), test)  # all times differ
    assert parts.train.times.max() < parts.test.times.min()
    assert parts.test.n_ratings == round(200 * test)


@given(st.floats(0.05, 0.95), st.integers(2, 9))
def test_ratings_at_the_border_all_go_to_the_test_part(test, n_times):
    rng = np.random.default_rng(n_times)
    times = np.append(0.0, rng.integers(1, n_times, size=199))
    table = Interactions.from_columns(np.arange(200) // 20, np.arange(200) % 20, np.ones(200), times)
    if np.sort(times)[200 - round(200 * test)] == 0:
        return
    parts = split_temporal(table, test)
    assert parts.train.times.max() < parts.test.times.min()
    border = parts.test.times.min()
    assert (parts.test.times == border).sum() == (times == border).sum()
    assert (times > border).sum() < round(200 * test) <= parts.test.n_ratings


def test_one_time_for_all_cannot_be_split():
    table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2], np.ones(4), [7] * 4)
    with pytest.raises(DataError, match="nothing is left to train on; split at random"):
        split_temporal(table, 0.5)


def test_a_split_knows_where_in_time_its_test_part_lies():
    clicks = Interactions.from_columns([1, 1, 1, 2, 2, 2], [1, 2, 3, 1, 2, 4], times=[1, 2, 3, 4, 5, 6])
    assert split_temporal(clicks, 0.3).order == "temporal"
    assert split_leave_last_out(clicks).order == "leave-last-out"
    middle = clicks.times == 2
    assert Split(clicks.take(~middle), clicks.take(middle), "").order == "random"
    one_moment = replace(clicks, times=np.ones(6))
    in_lines = replace(clicks, notes=replace(clicks.notes, places=True))
    assert split_random(one_moment, 0.3).order == "random"
    for table in (in_lines, replace(clicks, times=None)):
        assert split_random(table, 0.3).order is None
    first, second = in_lines.take(clicks.users == 0), in_lines.take(clicks.users == 1)
    assert split_file(first, second).order is None  # what the first file says of its times is not lost


def test_times_are_worth_it_with_users_on_both_sides_of_a_cut_that_leaves_half():
    users, times = np.repeat(np.arange(60), 5), np.tile(np.arange(5.0), 60)
    clicks = Interactions.from_columns(users, np.arange(300) % 7 + 7 * (np.arange(300) % 5), times=times)
    assert rows_of(later_part(clicks).test) == rows_of(split_temporal(clicks).test)
    assert later_part(clicks, least=61) is None
    assert later_part(replace(clicks, times=np.minimum(times, 2))) is None  # three fifths are of one moment
    assert later_part(replace(clicks, times=times * 0)) is None
    assert later_part(replace(clicks, times=None)) is None


def test_a_temporal_split_needs_times():
    table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2], np.ones(4), source="my.csv")
    with pytest.raises(MissingColumnError, match=r"my\.csv has no time column"):
        split_temporal(table)


@every_split
@pytest.mark.parametrize("test", [0, 1, -0.1, 1.5, nan, "0.2", None])
def test_a_share_that_is_none_is_refused(split, test):
    with pytest.raises(ParameterValueError, match=r"test=.*between 0 and 1"):
        split(table_of(), test)


@every_split
@pytest.mark.parametrize(("n_ratings", "test"), [(1, 0.5), (3, 0.1), (3, 0.9), (0, 0.5)])
def test_too_few_ratings_to_split_are_refused(split, n_ratings, test):
    with pytest.raises(DataError, match=f"{n_ratings} ratings are too few to hold out"):
        split(table_of().take(np.arange(n_ratings)), test)


@pytest.mark.parametrize(("test", "shown"), [(0.2, "20%"), (0.125, "12.5%"), (0.004, "0.4%"), (0.29, "29%")])
def test_a_split_names_the_share_that_was_asked_for(test, shown):
    table = Interactions.from_columns(np.repeat(range(3), 250), np.tile(range(250), 3), np.ones(750))
    assert split_random(table, test, 1).how == f"random {shown}, seed 1"
    with pytest.raises(DataError, match=f"hold out {shown} of them"):
        split_random(table.take(np.arange(1)), test)


@given(st.integers(2, 30), st.floats(0.001, 0.999))
def test_an_inner_validation_part_leaves_something_on_both_sides(n_ratings, share):
    parts = split_validation(table_of().take(np.arange(n_ratings)), share, np.random.default_rng(0))
    assert parts.test.n_ratings == min(max(1, round(share * n_ratings)), n_ratings - 1)
    assert parts.train.n_ratings + parts.test.n_ratings == n_ratings


def by_id(table):
    users, items = table.user_vocabulary, table.item_vocabulary
    return {
        (users[u], items[i]): (rating, time)
        for u, i, rating, time in zip(
            table.users.tolist(),
            table.items.tolist(),
            table.ratings.tolist(),
            table.times.tolist() if table.times is not None else [None] * table.n_ratings,
            strict=True,
        )
    }


def test_two_files_are_put_on_one_vocabulary():
    train = Interactions.from_columns([10, 20, 10], ["b", "b", "d"], [1, 2, 3], [5, 6, 7], source="a.csv")
    test = Interactions.from_columns([30, 10], ["c", "a"], [4, 5], [8, 9], source="b.csv")
    parts = split_file(train, test)
    assert parts.train.user_vocabulary == parts.test.user_vocabulary == Vocabulary.from_ids([10, 20, 30])
    assert parts.train.item_vocabulary == parts.test.item_vocabulary == Vocabulary.from_ids(list("abcd"))
    assert by_id(parts.train) == by_id(train)
    assert by_id(parts.test) == by_id(test)
    assert (parts.train.source, parts.test.source, parts.how) == ("a.csv", "b.csv", "tested on b.csv")
    for part in (parts.train, parts.test):
        assert same_bits(part.users, np.sort(part.users))


def test_integer_and_text_ids_meet_as_text():
    train = Interactions.from_columns([1, 2], [7, 70], [1, 2])
    test = Interactions.from_columns(["2", "x"], ["007", "7"], [3, 4])
    parts = split_file(train, test)
    assert list(parts.test.user_vocabulary) == ["1", "2", "x"]
    assert list(parts.test.item_vocabulary) == ["007", "7", "70"]
    assert by_id(parts.train) == {("1", "7"): (1, None), ("2", "70"): (2, None)}
    assert by_id(parts.test) == {("2", "007"): (3, None), ("x", "7"): (4, None)}


def test_what_was_merged_is_still_told():
    train = Interactions.from_columns([1, 1, 2], [1, 1, 2], [1, 2, 3], duplicates="mean")
    parts = split_file(train, Interactions.from_columns([2], [1], [5]))
    assert (parts.train.n_duplicates, parts.train.duplicates) == (1, "mean")


@pytest.mark.parametrize("kind", [int, str])
def test_pairs_in_both_files_are_refused_with_one_of_them(kind):
    train = Interactions.from_columns([1, 2], [7, 70], [1, 2], source="a.csv")
    users, items = [kind(1), kind(2)], [kind(70), kind(70)]
    test = Interactions.from_columns(users, items, [3, 4], source="b.csv")
    with pytest.raises(DataError) as caught:
        split_file(train, test)
    for part in ("b.csv: 1 of its pairs", "a.csv", repr(kind(2)), repr(kind(70))):
        assert part in str(caught.value)
