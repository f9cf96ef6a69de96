"""Data frames of pandas, polars and pyarrow give the table that their columns spell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.reading import frames
from bilinear.data.reading.item_tables import read_items
from bilinear.data.reading.readers import read_pairs, read_ratings
from bilinear.errors import (
    AmbiguousColumnError,
    BilinearError,
    EmptyDataError,
    IdValueError,
    MissingColumnError,
    ParameterValueError,
    RatingValueError,
)

COLUMNS = {
    "movieId": ["a", "é", "007", "a", "z"],
    "userId": [7, 7, 3, 12, 3],
    "note": [None, None, None, None, None],
    "rating": [4.5, 1.0, 3.0, 0.5, 5.0],
    "timestamp": [5, 4, 3, 2, 1],
}
EXPECTED = Interactions.from_columns(
    COLUMNS["userId"], COLUMNS["movieId"], COLUMNS["rating"], COLUMNS["timestamp"]
)
MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "polars lazy": pl.LazyFrame,
    "pyarrow": pa.table,
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], Any]:
    return MAKERS[request.param]


def ratings_with(**columns: Any) -> dict[str, Any]:
    return {"user": [1, 2], "item": [3, 4], "rating": [1.0, 2.0]} | columns


def same(found: Interactions, expected: Interactions) -> None:
    assert found.user_vocabulary == expected.user_vocabulary
    assert found.item_vocabulary == expected.item_vocabulary
    for name in ("users", "items", "ratings", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_every_library_gives_the_same_table(make: Callable[[dict[str, Any]], Any]) -> None:
    same(read_ratings(make(COLUMNS)), EXPECTED)


def test_many_parts_give_the_same_table(make: Callable[[dict[str, Any]], Any]) -> None:
    with patch.object(frames, "_ROWS", 2):
        same(read_ratings(make(COLUMNS)), EXPECTED)


def test_a_frame_is_left_as_it_was() -> None:
    frame = pd.DataFrame(COLUMNS)
    before = frame.copy(deep=True)
    read_ratings(frame)
    pd.testing.assert_frame_equal(frame, before)
    frame.loc[0, "userId"] = 99  # still writable


@pytest.mark.parametrize(
    ("users", "ids"),
    [
        (pd.Series([1.0, 2.0]), [1, 2]),
        (pd.array([1, 2], dtype="Int64"), [1, 2]),
        (np.array([1, 2], np.uint8), [1, 2]),
        (pd.Series(["1", "02"], dtype="string"), ["02", "1"]),
        (pd.Series(["1", "02"], dtype=object), ["02", "1"]),
        (pd.Categorical(["y", "x"]), ["x", "y"]),
        (pd.Categorical([5, 4]), [4, 5]),
        (pd.Series([np.int64(2), 1], dtype=object), [1, 2]),
        (pd.Series([Decimal(2), Decimal("1.0")], dtype=object), [1, 2]),
        (pd.Series([UUID(int=2), UUID(int=1)], dtype=object), [str(UUID(int=1)), str(UUID(int=2))]),
    ],
)
def test_ids_come_back_as_they_are(users: Any, ids: list[object]) -> None:
    found = read_ratings(pd.DataFrame({"user": users, "item": [1, 2], "rating": [3, 4]}))
    assert list(found.user_vocabulary) == ids


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        ({"user": [1.0, None]}, IdValueError, ["row 2", "the user is missing"]),
        ({"user": pd.array([1, None], dtype="Int64")}, IdValueError, ["row 2", "the user is missing"]),
        ({"user": ["x", None]}, IdValueError, ["row 2", "the user is missing"]),
        ({"user": ["x", ""]}, IdValueError, ["row 2", "the user is missing"]),
        ({"user": ["x", 1]}, IdValueError, ["row 2", "user 1 is an integer", "rows before have text"]),
        ({"user": [1.0, 2.5]}, IdValueError, ["row 2", "2.5"]),
        ({"user": [1.0, float("inf")]}, IdValueError, ["row 2", "inf"]),
        ({"user": [Decimal("NaN"), Decimal(1)]}, IdValueError, ["row 1", "missing"]),
        ({"user": [Decimal("Infinity"), Decimal(1)]}, IdValueError, ["row 1"]),
        ({"user": [True, False]}, IdValueError, ["row 1", "bool"]),
        ({"user": [b"x", b"y"]}, IdValueError, ["row 1", "bytes"]),
        ({"user": pd.Series(["x", "\ud800"], dtype=object)}, IdValueError, ["row 2", "not valid Unicode"]),
        ({"user": pd.to_datetime(["2020-01-01", "2020-01-02"])}, IdValueError, ["row 1", "datetime64"]),
        ({"user": pd.to_timedelta([1, 2])}, IdValueError, ["row 1", "Timedelta"]),
        ({"user": [2**63, 1]}, IdValueError, ["row 1", "64 bits"]),
        ({"rating": [1.0, None]}, RatingValueError, ["row 2", "rating is missing"]),
        ({"rating": pd.array([1, None], dtype="Int64")}, RatingValueError, ["row 2", "rating is missing"]),
        ({"rating": [1.0, float("-inf")]}, RatingValueError, ["row 2", "not a finite"]),
        ({"rating": [1.0, 1e39]}, RatingValueError, ["row 2", "not a finite"]),
        ({"rating": ["4", "four"]}, RatingValueError, ["row 2", "'four'"]),
        ({"rating": [True, 3]}, RatingValueError, ["row 1", "True"]),
        ({"rating": pd.to_datetime(["2020-01-01", "2021-01-01"])}, RatingValueError, ["row 1", "not a"]),
        ({"time": [1.0, None]}, RatingValueError, ["row 2", "time", "time=False"]),
        ({"time": pd.to_datetime(["2020-01-01", None])}, RatingValueError, ["row 2", "the time is missing"]),
        ({"time": [5, "2020-01-01"]}, RatingValueError, ["row 2", "a date"]),
        ({"time": [True, False]}, RatingValueError, ["row 1", "True"]),
    ],
)
def test_bad_cells_are_named(columns: dict[str, Any], kind: type[BilinearError], words: list[str]) -> None:
    with pytest.raises(kind) as caught:
        read_ratings(pd.DataFrame(ratings_with(**columns)))
    for word in ["pandas frame", *words]:
        assert word in str(caught.value)


def test_the_row_is_counted_over_all_parts() -> None:
    frame = pd.DataFrame({"user": [1] * 9, "item": range(9), "rating": [3.0] * 8 + [float("nan")]})
    with patch.object(frames, "_ROWS", 4), pytest.raises(RatingValueError, match="row 9"):
        read_ratings(frame)


@pytest.mark.parametrize(
    "times",
    [
        [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)],
        [datetime(1970, 1, 1, 0, 0, 1), datetime(1970, 1, 2)],  # naive is UTC
        ["1970-01-01T01:00:01+01:00", "1970-01-02"],
        [1, 86400],
        [1.0, 86400.0],
        [1_000, 86_400_000],  # small numbers are not milliseconds
    ],
)
def test_times_become_seconds(make: Callable[[dict[str, Any]], Any], times: list[Any]) -> None:
    scale = 1000.0 if times[0] == 1_000 else 1.0
    found = read_ratings(make(ratings_with(time=times))).times
    assert found is not None
    assert found.tolist() == [1.0 * scale, 86400.0 * scale]


def test_dates_are_midnight_utc(make: Callable[[dict[str, Any]], Any]) -> None:
    found = read_ratings(make(ratings_with(date=[date(1970, 1, 1), date(1970, 1, 2)]))).times
    assert found is not None
    assert found.tolist() == [0.0, 86400.0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_zoned_moments_are_utc(unit: str) -> None:
    moments = pd.to_datetime(["2020-06-01 12:00", "2020-06-01 13:00"]).as_unit(unit)
    moments = moments.tz_localize("Europe/Berlin")
    found = read_ratings(pd.DataFrame(ratings_with(time=moments))).times
    assert found is not None
    assert found.tolist() == [datetime(2020, 6, 1, 10, tzinfo=UTC).timestamp() + n for n in (0, 3600)]


def test_columns_without_names_count_by_position() -> None:
    frame = pd.DataFrame([[1, 3, 1.0], [2, 4, 2.0]])
    same(read_ratings(frame), read_ratings(pd.DataFrame(ratings_with())))
    same(read_ratings(frame, user=1, item=2, rating=3), read_ratings(pd.DataFrame(ratings_with())))


def test_columns_can_be_chosen(make: Callable[[dict[str, Any]], Any]) -> None:
    frame = make({"a": [1, 2], "b": [3, 4], "c": [1.0, 2.0]})
    same(read_ratings(frame, user="a", item=2, rating="c"), read_ratings(make(ratings_with())))
    with pytest.raises(MissingColumnError, match="'a', 'b', 'c'"):
        read_ratings(frame)


def test_frames_without_rows_or_columns(make: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(EmptyDataError, match="no rows"):
        read_ratings(make({"user": [], "item": [], "rating": []}))
    with pytest.raises(BilinearError):
        read_ratings(make({}))


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["user", "user", "item", "rating"])
    with pytest.raises(AmbiguousColumnError):
        read_ratings(frame)


@pytest.mark.parametrize("arguments", [{"encoding": "latin-1"}, {"memory_limit": "1GB"}, {"n_threads": 2}])
def test_arguments_for_files_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterValueError, match=next(iter(arguments))):
        read_ratings(pd.DataFrame(ratings_with()), **arguments)


def test_a_series_is_no_table() -> None:
    with pytest.raises(ParameterValueError, match="Series"):
        read_ratings(pd.Series([1, 2]))


def test_pairs_and_items_from_frames(make: Callable[[dict[str, Any]], Any]) -> None:
    pairs = read_pairs(make({"item": ["b", "a", "b"], "user": [2, 1, 2]}))
    assert pairs.users.tolist() == [2, 1, 2]
    assert pairs.items.tolist() == ["b", "a", "b"]
    items = read_items(make({"title": ["Two", None], "item": [2, 1]}))
    assert items.titles([1, 2, 3]) == ["1", "Two", "3"]
