"""The table of ratings: against plain Python, SciPy and its own promises."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bilinear.data import storage
from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import (
    DuplicatePairError,
    EmptyDataError,
    IdValueError,
    ParameterValueError,
    RatingValueError,
)

halves = st.integers(1, 10).map(lambda n: n / 2)
few = st.integers(0, 5)
timed_rows = st.lists(st.tuples(few, few.map(str), halves, st.integers(0, 8)), min_size=1, max_size=40)


def build(rows: list[tuple[Any, ...]], **options: Any) -> Interactions:
    return Interactions.from_columns(*zip(*rows, strict=True), **options)


def as_dict(table: Interactions) -> dict[tuple[Any, Any], tuple[float, float | None]]:
    users = table.user_vocabulary.decode(table.users).tolist()
    items = table.item_vocabulary.decode(table.items).tolist()
    times = [None] * len(table) if table.times is None else table.times.tolist()
    cells = zip(table.ratings.tolist(), times, strict=True)
    return dict(zip(zip(users, items, strict=True), cells, strict=True))


def last_twin(rows: list[tuple[Any, ...]]) -> dict[Any, Any]:
    kept: dict[Any, Any] = {}
    for user, item, rating, time in rows:
        if (user, item) not in kept or time >= kept[user, item][1]:
            kept[user, item] = (rating, time)
    return kept


def mean_twin(rows: list[tuple[Any, ...]]) -> dict[Any, Any]:
    groups: dict[Any, list[tuple[float, float]]] = {}
    for user, item, rating, time in rows:
        groups.setdefault((user, item), []).append((rating, time))
    return {
        pair: (float(np.float32(sum(r for r, _ in group) / len(group))), max(t for _, t in group))
        for pair, group in groups.items()
    }


@given(timed_rows, st.sampled_from(["last", "mean"]))
@settings(max_examples=200, deadline=None)
def test_repeated_pairs_are_merged_as_plain_python_does(rows: list[tuple[Any, ...]], policy: Any) -> None:
    table = build(rows, duplicates=policy)
    assert as_dict(table) == {"last": last_twin, "mean": mean_twin}[policy](rows)
    assert table.n_rows_read == len(rows)
    assert table.n_duplicates == len(rows) - table.n_ratings


@given(timed_rows)
@settings(max_examples=100, deadline=None)
def test_without_times_the_last_row_stays(rows: list[tuple[Any, ...]]) -> None:
    table = build([row[:3] for row in rows])
    assert as_dict(table) == {(user, item): (rating, None) for user, item, rating, _ in rows}


@given(timed_rows)
@settings(max_examples=100, deadline=None)
def test_policy_error_names_two_rows_of_one_pair(rows: list[tuple[Any, ...]]) -> None:
    pairs = [row[:2] for row in rows]
    if len(set(pairs)) == len(pairs):
        build(rows, duplicates="error")
        return
    with pytest.raises(DuplicatePairError) as caught:
        build(rows, duplicates="error")
    words = str(caught.value).replace(":", "").split()
    first, second = int(words[2]), int(words[4])
    assert first < second
    assert pairs[first - 1] == pairs[second - 1]
    assert f"({len(pairs) - len(set(pairs))} such rows in all)" in str(caught.value)


@given(timed_rows, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_rows_does_not_matter_if_times_differ(rows: list[tuple[Any, ...]], random: Any) -> None:
    rows = [(*row[:3], n) for n, row in enumerate(rows)]
    shuffled = random.sample(rows, len(rows))
    one, two = build(rows), build(shuffled)
    assert one.user_vocabulary == two.user_vocabulary
    assert one.item_vocabulary == two.item_vocabulary
    for name in ("users", "items", "ratings", "times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@given(timed_rows)
@settings(max_examples=100, deadline=None)
def test_rows_are_sorted_and_views_agree_with_scipy(rows: list[tuple[Any, ...]]) -> None:
    table = build(rows)
    keys = list(zip(table.users.tolist(), table.items.tolist(), strict=True))
    assert all(a < b for a, b in pairwise(keys))
    dense = np.zeros(table.shape, np.float32)
    dense[table.users, table.items] = table.ratings
    csr, csc = sparse.csr_array(dense), sparse.csc_array(dense)  # no rating here is zero
    for view, twin in ((table.by_user, csr), (table.by_item, csc)):
        np.testing.assert_array_equal(view.indptr, twin.indptr)
        np.testing.assert_array_equal(view.indices, twin.indices)
        np.testing.assert_array_equal(view.ratings, twin.data)
        np.testing.assert_array_equal(view.counts, np.diff(twin.indptr))
    np.testing.assert_array_equal(table.to_csr().toarray(), dense)
    assert np.shares_memory(table.to_csr().data, table.ratings)
    assert table.density == len(table) / dense.size


def test_stored_zeros_are_ratings() -> None:
    table = Interactions.from_columns([1, 2], [1, 2], [0.0, 0.0])
    assert table.n_ratings == 2
    assert table.to_csr().nnz == 2


def test_a_table_cannot_be_changed() -> None:
    table = Interactions.from_columns([1, 2], ["a", "b"], [3, 4], [5, 6])
    for name in ("users", "items", "ratings", "times"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(table, name)[0] = 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(table, name, None)


def test_the_callers_arrays_are_left_alone() -> None:
    users, items = np.array([2, 1, 2]), np.array([1, 1, 2])
    ratings, times = np.array([1, 2, 3], np.float32), np.array([3.0, 2.0, 1.0])
    table = Interactions.from_columns(users, items, ratings, times)
    for array in (users, items, ratings, times):
        array[:] = 9
    assert as_dict(table) == {(1, 1): (2.0, 2.0), (2, 1): (1.0, 3.0), (2, 2): (3.0, 1.0)}


def test_take_keeps_vocabularies_and_order() -> None:
    table = Interactions.from_columns([1, 1, 2, 3], [1, 2, 1, 3], [1, 2, 3, 4], [1, 2, 3, 4])
    mask = np.array([True, False, False, True])
    for rows in (mask, np.array([3, 0])):
        part = table.take(rows)
        assert part.ratings.tolist() == [1.0, 4.0]
        assert part.user_vocabulary is table.user_vocabulary
        assert part.shape == table.shape
        assert part.by_user.counts.tolist() == [1, 0, 1]
        assert part.n_duplicates == 0
    assert table.take(np.zeros(4, bool)).n_ratings == 0


def test_alignment_maps_ids_and_marks_unknown_ones() -> None:
    table = Interactions.from_columns([1, 2], ["a", "b"], [3, 4])
    users, items = table.aligned_to(Vocabulary.from_ids([0, 2]), Vocabulary.from_ids(["b", "c"]))
    assert users.tolist() == [-1, 1]
    assert items.tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        (([1, 2], [1, 2], [3, float("nan")]), RatingValueError, "row 2: rating nan"),
        (([1, 2], [1, 2], [3, 1e39]), RatingValueError, "row 2: rating 1e"),
        (([1, 2], [1, 2], [3, "x"]), RatingValueError, "not all numbers"),
        (([1, 2], [1, 2], [3, None]), RatingValueError, "row 2: rating nan"),
        (([1, 2], [1, 2], [3, 4], [1, float("inf")]), RatingValueError, "row 2: time inf"),
        (([1, 2], [1, None], [3, 4]), IdValueError, "row 2: the item is missing"),
        (([1, 2, 3], [1, 2], [3, 4]), ParameterValueError, "3 users, 2 items, 2 ratings"),
        (([1, 2], [1, 2], [3, 4], [1]), ParameterValueError, "1 times"),
    ],
)
def test_bad_columns(columns: tuple[Any, ...], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Interactions.from_columns(*columns)


def test_rows_outside_the_vocabulary_are_refused() -> None:
    two = Vocabulary.from_ids([1, 2])
    for bad in (-1, 2):
        rows, good = np.array([0, bad], np.int32), np.array([0, 1], np.int32)
        with pytest.raises(ParameterValueError, match=r"user rows must lie in 0\.\.1"):
            Interactions.from_rows(rows, good, np.ones(2), None, two, two)
        with pytest.raises(ParameterValueError, match=r"item rows must lie in 0\.\.1"):
            Interactions.from_rows(good, rows, np.ones(2), None, two, two)


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ParameterValueError, match="'error', 'last' or 'mean'"):
        Interactions.from_columns([1], [1], [1], duplicates="first")  # type: ignore[arg-type]


def test_tables_too_small_to_learn_from() -> None:
    Interactions.from_columns([1, 2], [1, 2], [1, 2]).check_trainable()
    with pytest.raises(EmptyDataError, match="only one user"):
        Interactions.from_columns([1, 1], [1, 2], [1, 2]).check_trainable()
    with pytest.raises(EmptyDataError, match="only one item"):
        Interactions.from_columns([1, 2], [1, 1], [1, 2]).check_trainable()
    with pytest.raises(EmptyDataError, match="no user"):
        Interactions.from_columns([], [], []).check_trainable()


def test_description_counts() -> None:
    table = Interactions.from_columns(
        [1, 1, 2, 2, 2], [1, 2, 1, 3, 3], [5, 3, 4, 1, 2], [0, 86400, 3, 4, 5], source="toy"
    )
    seen = table.describe()
    assert (seen.n_ratings, seen.n_users, seen.n_items, seen.duplicates_merged) == (4, 2, 3, 1)
    assert seen.histogram == (("2", 1), ("3", 1), ("4", 1), ("5", 1))
    assert seen.mean_rating == 3.5
    assert seen.time_span == ("1970-01-01 00:00:00", "1970-01-02 00:00:00")
    assert seen.items_rated_once == 2
    assert "4 ratings by 2 users of 3 items" in str(seen)
    assert seen.to_dict()["rating_range"] == (2.0, 5.0)
    part = table.take(np.array([0])).describe()
    assert (part.cold_users, part.cold_items) == (1, 2)
    assert "toy" in repr(table)


def test_pairs_that_a_grouped_table_holds_are_those_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    cells = np.sort(rng.permutation(30 * 20)[:150])
    users, items = (cells // 20).astype(np.int32), (cells % 20).astype(np.int32)
    grouped = Interactions.from_columns(users, items).by_user
    rows, others = np.unique(users), np.unique(items)
    own = np.searchsorted(rows, users).tolist(), np.searchsorted(others, items).tolist()
    pairs = set(zip(*own, strict=True))
    asked = rng.integers(-1, len(rows), 900).astype(np.int32), rng.integers(-1, 20, 900).astype(np.int32)
    monkeypatch.setattr(storage, "_PART", 70)
    expected = [pair in pairs for pair in zip(*(column.tolist() for column in asked), strict=True)]
    assert grouped.holds(*asked).tolist() == expected
    assert 50 < sum(expected) < 500
    assert not grouped.holds(asked[0][:0], asked[1][:0]).any()
