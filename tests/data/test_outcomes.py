"""A column that says how an interaction turned out is never left aside in silence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_any, read_interactions, read_ratings, read_sql
from bilinear.errors import AmbiguousColumnError, MissingColumnError, RatingValueError

PAIRS = [("ann", 1), ("ann", 2), ("bob", 1), ("bob", 3), ("eve", 2)]
TRUE = [True, False, False, True, True]

Write = Callable[[Path, dict[str, list[Any]]], dict[str, Any]]


def columns(name: str, values: list[Any]) -> dict[str, list[Any]]:
    return {"user": [user for user, _ in PAIRS], "item": [item for _, item in PAIRS], name: values}


def as_csv(folder: Path, table: dict[str, list[Any]]) -> dict[str, Any]:
    pd.DataFrame(table).to_csv(folder / "t.csv", index=False)
    return {"source": folder / "t.csv"}


def as_parquet(folder: Path, table: dict[str, list[Any]]) -> dict[str, Any]:
    pl.DataFrame(table).write_parquet(folder / "t.parquet")
    return {"source": folder / "t.parquet"}


def as_json(folder: Path, table: dict[str, list[Any]]) -> dict[str, Any]:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": folder / "t.jsonl"}


def as_pandas(folder: Path, table: dict[str, list[Any]]) -> dict[str, Any]:
    return {"source": pd.DataFrame(table)}


def as_polars(folder: Path, table: dict[str, list[Any]]) -> dict[str, Any]:
    return {"source": pl.DataFrame(table).lazy()}


def as_sql(folder: Path, table: dict[str, list[Any]]) -> dict[str, Any]:
    connection = sqlite3.connect(":memory:")
    pd.DataFrame(table).to_sql("t", connection, index=False)
    return {"source": "SELECT * FROM t", "connection": connection}


SOURCES: dict[str, Write] = {
    write.__name__: write for write in (as_csv, as_parquet, as_json, as_pandas, as_polars, as_sql)
}


def ratings_of(table: Interactions) -> dict[tuple[Any, Any], float]:
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    return dict(zip(zip(users.tolist(), items.tolist(), strict=True), table.ratings.tolist(), strict=True))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["liked", "is_liked", "Clicked", "label", "thumbs_up"])
def test_true_becomes_the_rating_1_and_false_0(source: str, name: str, tmp_path: Path) -> None:
    table = read_any(**SOURCES[source](tmp_path, columns(name, TRUE)))
    assert table.has_ratings
    assert ratings_of(table) == {pair: float(value) for pair, value in zip(PAIRS, TRUE, strict=True)}
    assert f"'{name}' is the rating" in str(table.describe())


@pytest.mark.parametrize("source", SOURCES)
def test_of_interactions_only_the_true_rows_count(source: str, tmp_path: Path) -> None:
    table = read_interactions(**SOURCES[source](tmp_path, columns("clicked", [1, 0, 0, 1, 1])))
    assert ratings_of(table) == {("ann", 1): 1.0, ("bob", 3): 1.0, ("eve", 2): 1.0}
    assert not table.has_ratings
    described = table.describe()
    assert (described.rows_in_source, described.n_ratings, described.rows_left_out) == (5, 3, 2)
    assert "2 rows whose value is 0 or -1 were left out" in str(described)


def test_a_user_of_false_rows_alone_is_not_known(tmp_path: Path) -> None:
    table = read_interactions(**as_csv(tmp_path, columns("clicked", [0, 0, 1, 1, 0])))
    assert list(table.user_vocabulary) == ["bob"]
    assert list(table.item_vocabulary) == [1, 3]


WORDS = [("yes", "no"), ("True", "False"), ("like", "dislike"), ("t", "f"), ("Up", "Down")]


@pytest.mark.parametrize(("true", "false"), WORDS)
def test_words_for_true_and_false(true: str, false: str, tmp_path: Path) -> None:
    words = [true if value else false for value in TRUE]
    table = read_any(**as_csv(tmp_path, columns("reaction", words)))
    assert table.ratings.tolist() == [float(value) for value in TRUE]
    named = read_ratings(tmp_path / "t.csv", rating="reaction")
    assert named.ratings.tolist() == table.ratings.tolist()


def test_both_ways_of_reading_agree_on_words(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 7},i{n % 11},{'yes' if n % 3 else 'no'}\n" for n in range(77))
    (tmp_path / "fast.csv").write_text("user,item,liked\n" + rows)
    (tmp_path / "slow.csv").write_text("user,item,liked\n" + rows.replace("yes", " YES ", 1))
    fast, slow = (read_any(tmp_path / name) for name in ("fast.csv", "slow.csv"))
    assert ratings_of(fast) == ratings_of(slow)


def test_thumbs_down_can_be_minus_one(tmp_path: Path) -> None:
    table = read_any(**as_csv(tmp_path, columns("vote", [1, -1, -1, 1, 1])))
    assert table.ratings.tolist() == [1, -1, -1, 1, 1]
    assert read_interactions(tmp_path / "t.csv").n_ratings == 3


ASKED = {
    "amount": [9.99, 120.0, 3.5, 8.0, 20.0],
    "hours_played": [0.1, 30, 4, 2, 500],
    "label": [1, 2, 3, 4, 5],
    "gefaellt": TRUE,
    "disliked": TRUE,
    "punkte": [1, 2, 3, 4, 5],
    "feedback": ["meh", "great", "bad", "bad", "fine"],
}


@pytest.mark.parametrize("source", ["as_csv", "as_json", "as_pandas", "as_sql"])
@pytest.mark.parametrize("name", ASKED)
def test_what_may_be_an_outcome_is_asked_about(source: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(AmbiguousColumnError) as caught:
        read_any(**SOURCES[source](tmp_path, columns(name, ASKED[name])))
    for way_out in (f"--rating {name}", f"--count {name}", "count=False (--count '')"):
        assert way_out in str(caught.value)


@pytest.mark.parametrize("name", ASKED)
def test_every_way_out_of_the_question_works(name: str, tmp_path: Path) -> None:
    source = as_csv(tmp_path, columns(name, ASKED[name]))["source"]
    assert read_any(source, count=False).ratings.tolist() == [1.0] * 5
    if name != "feedback":
        assert read_any(source, rating=name).ratings.tolist() == pytest.approx(list(map(float, ASKED[name])))
        positive = sum(value > 0 for value in ASKED[name])
        assert read_any(source, count=name).n_ratings == positive


def test_two_outcomes_are_a_question(tmp_path: Path) -> None:
    table = columns("clicked", [1, 1, 0, 1, 0]) | {"purchased": [0, 1, 0, 1, 0]}
    source = as_csv(tmp_path, table)["source"]
    with pytest.raises(AmbiguousColumnError, match=r"'clicked' .*and 'purchased'"):
        read_any(source)
    with pytest.raises(AmbiguousColumnError, match="read one of them"):
        read_ratings(source)
    assert read_any(source, rating="purchased").ratings.sum() == 2


def test_an_outcome_beside_counts_is_a_question(tmp_path: Path) -> None:
    source = as_csv(tmp_path, columns("plays", [3, 1, 2, 5, 1]) | {"liked": TRUE})["source"]
    with pytest.raises(AmbiguousColumnError, match="'liked'"):
        read_any(source)
    assert read_any(source, count="plays").ratings.sum() == 12


def test_other_columns_are_listed_and_not_asked_about(tmp_path: Path) -> None:
    table = columns("latitude", [1.5, 2.25, 9.0, 3.0, 7.0])
    table |= {"city": ["Ulm", "Bonn", "Ulm", "Ulm", "Bonn"], "session_id": [10, 20, 30, 40, 50]}
    table |= {"day": ["2024-01-31"] * 5, "source": ["web"] * 5, "version": [2] * 5, "nothing": [None] * 5}
    found = read_any(**as_csv(tmp_path, table))
    kinds = dict(found.notes.ignored)
    assert not found.has_ratings
    assert kinds == {
        "latitude": "numbers 1.5 to 9",
        "city": "text",
        "session_id": "numbers 10 to 50",
        "source": "text",
        "version": "always 2",
        "nothing": "empty",
        "day": "dates",
    }
    assert "columns not used: 'latitude' (numbers 1.5 to 9), 'city' (text)" in str(found.describe())
    assert found.describe().to_dict()["ignored_columns"]


def test_with_ratings_all_else_is_listed(tmp_path: Path) -> None:
    found = read_ratings(pd.DataFrame(columns("rating", [1, 2, 3, 4, 5]) | {"liked": TRUE}))
    assert found.notes.ignored == (("liked", "true or false"),)


def test_a_column_of_ones_that_turns_zero_after_the_first_rows_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"u{n % 97},i{n % 89},{int(n < 5000)}" for n in range(6000)]
    path.write_text("\n".join(["user,item,engaged_with", *rows]) + "\n")
    with pytest.raises(AmbiguousColumnError, match="'engaged_with' \\(0 and 1\\)"):
        read_any(path)
    path.write_text("\n".join(["user,item,engaged_with", *rows[:5000]]) + "\n")
    assert read_any(path).notes.ignored == (("engaged_with", "always 1"),)


def test_a_label_that_is_more_than_yes_and_no_below_the_first_rows_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"u{n % 97},i{n % 89},{n % 2 if n < 5000 else 5}" for n in range(6000)]
    path.write_text("\n".join(["user,item,label", *rows]) + "\n")
    with pytest.raises(AmbiguousColumnError, match="--rating label"):
        read_any(path)
    assert read_any(path, rating="label").ratings.max() == 5


def test_a_flag_that_is_none_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"u{n % 97},i{n % 89},{'yes' if n != 3000 else 'perhaps'}" for n in range(4000)]
    path.write_text("\n".join(["user,item,liked", *rows]) + "\n")
    with pytest.raises(RatingValueError, match=r"row 3001 .*'perhaps' says neither true nor false"):
        read_any(path)
    found = read_any(path, skip_bad_rows=tmp_path / "bad.csv")
    assert found.n_rows_skipped == 1


def test_ratings_that_are_asked_for_may_be_an_outcome_and_nothing_else(tmp_path: Path) -> None:
    assert read_ratings(pd.DataFrame(columns("liked", TRUE))).ratings.sum() == 3
    with pytest.raises(MissingColumnError, match="no rating column"):
        read_ratings(pd.DataFrame(columns("amount", [9.5, 2.0, 3.0, 4.0, 5.0])))
    connection = sqlite3.connect(":memory:")
    pd.DataFrame(columns("liked", TRUE)).to_sql("t", connection, index=False)
    assert read_sql("SELECT * FROM t", connection).ratings.sum() == 3
