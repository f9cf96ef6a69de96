"""Splits for ranking: the last ratings of each user, and whole users held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import random_table

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_leave_last_out, split_random, split_rolling, split_users
from bilinear.errors import DataError, MissingColumnError, ParameterValueError


def table_of(seed=0, n_moments=10**9):
    """200 ratings of 12 users with times; `n_moments` few makes ties."""
    rng = np.random.default_rng(seed)
    table = random_table(12, 30, 200, rng)
    return replace(table, times=rng.integers(0, n_moments, table.n_ratings).astype(float))


def keys(table):
    return (table.users.astype(np.int64) * table.n_items + table.items).tolist()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000), st.sampled_from([3, 10**9]))
def test_the_last_ratings_of_each_user_are_held_out(n, seed, n_moments):
    table = table_of(seed, n_moments)
    counts = table.by_user.counts
    if counts.max() <= n:
        with pytest.raises(DataError, match="no user has the"):
            split_leave_last_out(table, n)
        return
    parts = split_leave_last_out(table, n)
    assert sorted(keys(parts.train) + keys(parts.test)) == keys(table)
    assert parts.history is None
    for user, count in enumerate(counts):
        mine = parts.test.users == user
        assert mine.sum() == (n if count > n else 0)
        kept = parts.train.times[parts.train.users == user]
        if mine.any():
            assert kept.max() <= parts.test.times[mine].min()


def test_chance_decides_among_ratings_of_one_moment_and_it_is_said():
    table = replace(table_of(), times=np.zeros(200))
    with_some = int((table.by_user.counts > 1).sum())
    first, again, other = (split_leave_last_out(table, rng=seed) for seed in (0, 0, 1))
    assert keys(first.test) == keys(again.test) != keys(other.test)
    assert first.how == f"last 1 of each user, seed 0 for {with_some} users with ties at the border"
    held_out = [keys(split_leave_last_out(table, rng=seed).test)[0] for seed in range(200)]
    assert set(held_out) == {key for key in keys(table) if key < table.n_items}  # any of the first user's
    clear = replace(table, times=np.arange(200.0))
    assert split_leave_last_out(clear).how == "last 1 of each user"


def test_the_last_one_needs_times_and_a_number():
    with pytest.raises(MissingColumnError, match="leaving the last out"):
        split_leave_last_out(replace(table_of(), times=None))
    for n in (0, 1.5, True, "1"):
        with pytest.raises(ParameterValueError, match="how many ratings of each user"):
            split_leave_last_out(table_of(), n)


@settings(deadline=None)
@given(st.floats(0.1, 0.9), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_held_out_users_are_not_in_training(test, history, seed):
    table = table_of(seed)
    parts = split_users(table, test, history, seed)
    assert sorted(keys(parts.train) + keys(parts.history) + keys(parts.test)) == keys(table)
    trained, shown, judged = (set(part.users.tolist()) for part in (parts.train, parts.history, parts.test))
    assert shown == judged
    assert not trained & judged
    assert len(judged) == round(test * (table.by_user.counts >= 2).sum())
    for user in judged:
        n_shown, n_judged = (parts.history.users == user).sum(), (parts.test.users == user).sum()
        assert min(n_shown, n_judged) >= 1
        assert abs(n_shown - history * (n_shown + n_judged)) <= 0.5 + (n_shown == 1) + (n_judged == 1)
    for part in (parts.train, parts.history, parts.test):
        assert part.user_vocabulary is table.user_vocabulary
        assert part.item_vocabulary is table.item_vocabulary


def test_users_with_a_single_rating_stay_in_training():
    table = Interactions.from_columns(["a", "b", "b", "c"], [1, 1, 2, 2], [1, 1, 1, 1])
    parts = split_users(table, 0.9)
    assert {table.user_vocabulary[row] for row in parts.test.users} == {"b"}
    assert parts.train.n_ratings == 2


def test_seeds_decide_and_the_description_has_them():
    table = table_of()
    first, again, other = (split_users(table, 0.3, rng=seed) for seed in (0, 0, 1))
    assert keys(first.test) == keys(again.test) != keys(other.test)
    assert first.how == "30% of the users held out, shown 80% of their ratings, seed 0"
    assert f"{first.history.n_ratings:,} to fold in" in repr(first)
    assert "to fold in" not in repr(split_random(table))


def test_rolling_parts_follow_one_another_and_train_on_all_before():
    times = np.random.default_rng(3).permutation(40).astype(float)
    table = Interactions.from_columns(np.arange(40) % 5, np.arange(40) // 5, times=times)
    found = split_rolling(table, n=3, test=0.1)
    for at, split in enumerate(found):
        assert sorted(split.test.times) == list(range(28 + 4 * at, 32 + 4 * at))
        assert sorted(split.train.times) == list(range(28 + 4 * at))
    assert [split.how for split in found][-1] == "cut point 3 of 3 by time, 10% after each"
    tied = Interactions.from_columns(np.arange(40) % 5, np.arange(40) // 5, times=times // 10)
    first, second = split_rolling(tied, n=2, test=0.25)
    assert set(first.test.times) == {2}
    assert set(second.train.times) == {0, 1, 2}


def test_rolling_parts_that_cannot_be_are_refused():
    table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2], times=[1, 1, 1, 1])
    with pytest.raises(DataError, match="of one moment for 2 cut points"):
        split_rolling(table, 2, 0.25)
    with pytest.raises(DataError, match="leave nothing to train on"):
        split_rolling(table, 4, 0.25)
    with pytest.raises(ParameterValueError, match="how many cut points"):
        split_rolling(table, 0)
    with pytest.raises(MissingColumnError, match="a rolling split needs"):
        split_rolling(Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2]), 2, 0.25)


def test_shares_and_sizes_that_cannot_be_are_refused():
    for share in (0, 1, -0.1, np.nan, True, "x"):
        with pytest.raises(ParameterValueError, match="test="):
            split_users(table_of(), share)
        with pytest.raises(ParameterValueError, match="history="):
            split_users(table_of(), 0.2, share)
    lonely = Interactions.from_columns(["a", "b"], [1, 2], [1, 1])
    with pytest.raises(DataError, match="users with two ratings or more: 0, too few"):
        split_users(lonely)
    pair = Interactions.from_columns(["a", "a"], [1, 2], [1, 1])
    with pytest.raises(DataError, match="too few"):  # nobody would be left to train on
        split_users(pair, 0.9)
