"""Clicks, plays and purchases: read, counted, merged, told apart from ratings, and split."""

from __future__ import annotations

import gzip
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_any, read_interactions, read_item_list, read_ratings
from bilinear.data.splits import (
    split_file,
    split_leave_last_out,
    split_per_user,
    split_random,
    split_temporal,
    split_users,
)
from bilinear.errors import (
    DataError,
    DuplicatePairError,
    EmptyDataError,
    FileFormatError,
    MissingColumnError,
    ParameterValueError,
    RatingValueError,
)


def written(folder: Path, text: str, name: str = "clicks.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def pairs(table: Interactions) -> dict[tuple[object, object], float]:
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    return dict(zip(zip(users.tolist(), items.tolist(), strict=True), table.ratings.tolist(), strict=True))


# -- rows -----------------------------------------------------------------------------------------

TABLES = {
    "header": "user_id,item_id\n1,b\n1,a\n2,a\n",
    "no header": "1,b\n1,a\n2,a\n",
    "tabs": "1\tb\n1\ta\n2\ta\n",
    "a rating column is left alone": "userId,movieId,rating\n1,b,5\n1,a,1\n2,a,x\n",
    "known names in another order": "song,listener\nb,1\na,1\na,2\n",
}


@pytest.mark.parametrize("what", TABLES)
def test_every_pair_counts_once(what: str, tmp_path: Path) -> None:
    given = {"item": "song"} if "order" in what else {}
    table = read_interactions(written(tmp_path, TABLES[what]), **given)
    assert pairs(table) == {(1, "a"): 1.0, (1, "b"): 1.0, (2, "a"): 1.0}
    assert not table.has_ratings
    assert table.times is None
    assert table.noun == "interaction"


def test_repeated_rows_add_up_and_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "user,item\n1,5\n2,5\n1,5\n1,6\n1,5\n")
    table = read_interactions(path)
    assert pairs(table) == {(1, 5): 3.0, (1, 6): 1.0, (2, 5): 1.0}
    assert table.n_duplicates == 2
    assert "2 repeated (user, item) rows were merged" in str(table.describe())
    assert "counts of a pair 1 to 3" in str(table.describe())
    assert "counts 1 to 3" in repr(table)


POLICIES = {"sum": 7.0, "last": 5.0, "mean": 3.5}


@pytest.mark.parametrize("policy", POLICIES)
def test_counts_of_a_pair_are_merged_as_asked(policy: str, tmp_path: Path) -> None:
    path = written(tmp_path, "user,item,plays,ts\n1,5,5,200\n2,5,1,5\n1,5,2,100\n")
    table = read_interactions(path, duplicates=policy)  # type: ignore[arg-type]
    assert pairs(table) == {(1, 5): POLICIES[policy], (2, 5): 1.0}
    assert table.times is not None
    assert table.times.tolist() == [200.0, 5.0]


def test_or_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "user,item\n1,5\n2,5\n1,5\n")
    with pytest.raises(DuplicatePairError, match=r"rows 1 and 3: user 1 has item 5 twice .*'last' or 'sum'"):
        read_interactions(path, duplicates="error")


def test_ratings_are_never_added_up(tmp_path: Path) -> None:
    path = written(tmp_path, "user,item,rating\n1,5,2\n1,5,3\n")
    with pytest.raises(ParameterValueError, match="adding up is for counts"):
        read_ratings(path, duplicates="sum")
    with pytest.raises(ParameterValueError, match="'error', 'last' or 'mean'"):
        Interactions.from_columns([1], [2], [3.0], duplicates="sum")


@pytest.mark.parametrize("name", ["plays", "count", "Quantity", "n_plays", "Weight"])
def test_a_column_of_counts_is_found_by_its_name_and_can_be_left_out(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"user,item,{name}\n1,5,2.5\n2,6,4\n")
    assert pairs(read_interactions(path)) == {(1, 5): 2.5, (2, 6): 4.0}
    assert set(pairs(read_interactions(path, count=False)).values()) == {1.0}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("0", r"row 2 .*count 0 is not above zero.*--count ''"),
        ("-3", "row 2 .*count -3 is not above zero"),
        ("", "row 2 .*the count is missing"),
        ("many", "row 2 .*count 'many' is not a number"),
        ("nan", "row 2 .*count nan is not a finite number"),
        ("1e60", "row 2 .*count 1e60 is not a finite number"),
    ],
)
def test_a_count_that_is_none_is_named_with_its_row(cell: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"user,item,count\n1,5,2\n2,6,{cell}\n3,7,1\n")
    with pytest.raises(RatingValueError, match=message):
        read_interactions(path)


def test_headerless_files_of_more_columns_ask_what_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, "1,5,3\n2,6,4\n")
    with pytest.raises(MissingColumnError, match=r"3 columns and no header.*count=N or time=N"):
        read_interactions(path)
    assert pairs(read_interactions(path, count=3)) == {(1, 5): 3.0, (2, 6): 4.0}
    assert pairs(read_interactions(path, count=False)) == {(1, 5): 1.0, (2, 6): 1.0}


@pytest.mark.parametrize("times", [("1500000000", "1500000007"), ("2024-01-31", "2024-02-01T10:00:00")])
def test_a_third_column_that_looks_like_times_is_one(times: tuple[str, str], tmp_path: Path) -> None:
    path = written(tmp_path, f"1,5,{times[0]}\n2,6,{times[1]}\n")
    table = read_interactions(path)
    assert table.times is not None
    assert table.times[0] < table.times[1]
    assert not read_any(path).has_ratings


def test_words_above_numbers_are_a_header_whose_columns_must_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "who,what\n1,5\n2,6\n")
    with pytest.raises(MissingColumnError, match="'who', 'what'"):
        read_interactions(path)
    assert pairs(read_interactions(path, user="who", item="what")) == {(1, 5): 1.0, (2, 6): 1.0}


def test_jsonl_parquet_and_frames(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": [1, 1, 2], "item": ["a", "b", "a"], "clicks": [1, 2, 3]})
    wanted = {(1, "a"): 1.0, (1, "b"): 2.0, (2, "a"): 3.0}
    frame.write_parquet(tmp_path / "c.parquet")
    frame.write_ndjson(tmp_path / "c.jsonl")
    for source in (frame, frame.to_pandas(), frame.lazy(), tmp_path / "c.parquet", tmp_path / "c.jsonl"):
        table = read_interactions(source)
        assert pairs(table) == wanted
        assert not table.has_ratings


def test_a_frame_of_times_has_them() -> None:
    frame = pd.DataFrame({"user": ["x", "y"], "item": [1, 2], "date": pd.to_datetime(["2020-01-01"] * 2)})
    table = read_interactions(frame)
    assert table.times is not None
    assert table.times.tolist() == [1577836800.0] * 2


def test_a_query_of_a_database(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "shop.db")
    database.execute("CREATE TABLE plays (who TEXT, track INTEGER, n INTEGER)")
    database.executemany("INSERT INTO plays VALUES (?, ?, ?)", [("a", 1, 4), ("b", 2, 1), ("a", 1, 2)])
    database.commit()
    query = "SELECT who AS user, track, n AS plays FROM plays"
    assert pairs(read_interactions(query, connection=database)) == {("a", 1): 6.0, ("b", 2): 1.0}
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    assert pairs(read_any(query, connection=address, count=False)) == {("a", 1): 2.0, ("b", 2): 1.0}
    rated = read_any("SELECT who AS user, track, n AS stars FROM plays", connection=database)
    assert rated.has_ratings
    with pytest.raises(ParameterValueError, match="for files, not for a database"):
        read_interactions(query, connection=database, memory_limit="1GB")
    database.close()


# -- lists ----------------------------------------------------------------------------------------

LISTS = "0 1 2 3 4\n1 5 6\n2\n3 8 9 1\n"


@pytest.mark.parametrize("separator", [" ", "\t", ","])
def test_a_user_with_its_items_per_line(separator: str, tmp_path: Path) -> None:
    path = written(tmp_path, LISTS.replace(" ", separator), "train.txt")
    table = read_interactions(path)
    assert sorted(pairs(table)) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (3, 1), (3, 8), (3, 9)]
    assert list(table.user_vocabulary) == [0, 1, 2, 3]  # known, though without an item
    assert table.by_user.counts.tolist() == [4, 2, 0, 3]
    assert not table.has_ratings


def test_lists_in_archives_with_trailing_separators_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(b"0 1 2 3 4 \n\n1 5 6 \n2 8 9 1 7 7 \n"))
    table = read_interactions(path)
    assert len(table) == 10
    assert pairs(table)[2, 7] == 2.0  # twice in one line
    assert table.n_duplicates == 1


def test_the_place_in_a_line_is_the_time_unless_lines_are_sorted_or_it_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "1 5 3 9 4 4\n2 7 1 2 8\n")
    table = read_interactions(path, layout="lists", duplicates="last")
    items = table.item_vocabulary.decode(table.items)
    assert table.times is not None
    order = np.lexsort((table.times, table.users))
    assert items[order].tolist() == [5, 3, 9, 4, 7, 1, 2, 8]
    assert table.describe().time_span is None
    assert "the place in a line stands for the time" in str(table.describe())
    held_out = split_leave_last_out(table).test
    assert sorted(held_out.item_vocabulary.decode(held_out.items)) == [4, 8]
    with pytest.raises(MissingColumnError, match="places in the lists of users"):
        split_temporal(table)
    assert read_interactions(path, layout="lists", time=False).times is None
    ascending = written(tmp_path, "1 3 4 5 9\n2 1 2 7 8\n", "sorted.txt")
    descending = written(tmp_path, "1 9 5 4 3\n2 8 7 2 1\n", "falling.txt")
    for path in (ascending, descending):
        table = read_interactions(path, layout="lists")
        assert table.times is None
        assert "place in a line" not in str(table.describe())


def test_many_lines_are_read_as_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "".join(f"{n} {n % 7} {n % 11 + 7}{' 99' * (n % 2)}\n" for n in range(200)))
    whole = read_interactions(path, layout="lists", duplicates="last")
    monkeypatch.setattr("bilinear.data.reading.item_lists._ITEMS_AT_ONCE", 5)
    assert pairs(read_interactions(path, layout="lists", duplicates="last")) == pairs(whole)


def test_lists_of_one_length_and_of_words_must_be_said_to_be_lists(tmp_path: Path) -> None:
    path = written(tmp_path, "ann pear plum\nbob plum fig\n")
    table = read_interactions(path, layout="lists")
    assert sorted(pairs(table)) == [("ann", "pear"), ("ann", "plum"), ("bob", "fig"), ("bob", "plum")]
    path = written(tmp_path, "007 1 2\n8 2 3\n")
    assert list(read_interactions(path, layout="lists").user_vocabulary) == ["007", "8"]


def test_what_is_wrong_with_lists_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, LISTS)
    with pytest.raises(FileFormatError, match=r"per line, no ratings.*read_interactions"):
        read_ratings(path)
    with pytest.raises(ParameterValueError, match="no user column to name"):
        read_interactions(path, user=1)
    with pytest.raises(FileFormatError, match=r"line 2: an empty field"):
        read_interactions(written(tmp_path, "1,2,3,4,5\n2,,3\n"), layout="lists")
    with pytest.raises(EmptyDataError, match="no user has an item"):
        read_interactions(written(tmp_path, "1 \n2 \n"), layout="lists")
    with pytest.raises(FileFormatError, match="a blank, tab or comma"):
        read_interactions(written(tmp_path, "1\n2\n"), layout="lists")
    with pytest.raises(ParameterValueError, match="'auto', 'rows', 'lists' or 'wide'"):
        read_interactions(path, layout="rowwise")  # type: ignore[arg-type]
    with pytest.raises(ParameterValueError, match="a frame is in memory"):
        read_interactions(pl.DataFrame({"user": [1], "item": [2]}), layout="lists")


def test_the_public_split_of_gowalla(shared_data: Path) -> None:
    train = read_interactions(shared_data / "gowalla" / "train.txt")
    test = read_interactions(shared_data / "gowalla" / "test.txt")
    assert (len(train), len(test)) == (810_128, 217_242)
    assert train.shape == (29_858, 40_981)
    split = split_file(train, test)
    assert not split.train.has_ratings
    assert not split.test.has_ratings


# -- which is which -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "has_ratings"),
    [
        ("user,item,rating\n1,5,3\n2,6,4\n", True),
        ("user,item\n1,5\n2,6\n", False),
        ("user,item,count\n1,5,3\n2,6,4\n", False),
        ("user,item,count,stars\n1,5,3,1\n2,6,4,2\n", True),
        ("1,5\n2,6\n", False),
        ("1,5,3\n2,6,4\n", True),
        ("1::5::3::978300760\n2::6::4::978300760\n", True),
        ("1,5,978300760\n2,6,978300760\n", False),
        (LISTS, False),
    ],
)
def test_a_table_has_ratings_if_it_has_such_a_column(text: str, has_ratings: bool, tmp_path: Path) -> None:
    assert read_any(written(tmp_path, text)).has_ratings is has_ratings


def test_what_is_asked_for_decides(tmp_path: Path) -> None:
    path = written(tmp_path, "user,item,count,stars\n1,5,3,1\n2,6,4,2\n")
    assert read_any(path, count="count").ratings.tolist() == [3.0, 4.0]
    assert read_any(path, rating="count").has_ratings
    assert not read_any(path, has_ratings=False).has_ratings
    with pytest.raises(MissingColumnError, match="no rating column"):
        read_any(written(tmp_path, "user,item\n1,5\n2,6\n"), has_ratings=True)


def test_tables_know_it_through_every_split() -> None:
    rng = np.random.default_rng(0)
    table = Interactions.from_columns(
        rng.integers(20, size=300), rng.integers(30, size=300), times=rng.random(300)
    )
    assert not table.has_ratings
    assert not table.take(np.arange(5)).has_ratings
    for split in (
        split_random(table),
        split_per_user(table),
        split_temporal(table),
        split_leave_last_out(table),
        split_users(table),
    ):
        parts = [split.train, split.test] + ([split.history] if split.history is not None else [])
        assert not any(part.has_ratings for part in parts)


def test_a_file_with_ratings_does_not_test_one_without() -> None:
    clicks = Interactions.from_columns([1, 2], [3, 4], source="clicks")
    rated = Interactions.from_columns([1, 2], [4, 3], [5, 1], source="stars")
    with pytest.raises(DataError, match="clicks has no ratings, stars has ratings; read both alike"):
        split_file(clicks, rated)


def test_columns_take_counts_or_ratings() -> None:
    table = Interactions.from_columns(["a", "a", "b"], [1, 1, 2], counts=[2, 3, 1])
    assert pairs(table) == {("a", 1): 5.0, ("b", 2): 1.0}
    with pytest.raises(ParameterValueError, match="ratings, counts or weights"):
        Interactions.from_columns([1], [2], [3], counts=[4])
    with pytest.raises(RatingValueError, match=r"row 2: count 0\.0 is not above zero"):
        Interactions.from_columns([1, 2], [2, 3], counts=[1, 0])
    with pytest.raises(RatingValueError, match="the counts are not all numbers"):
        Interactions.from_columns([1, 2], [2, 3], counts=["x", "y"])
    with pytest.raises(ParameterValueError, match="2 users, 2 items, 1 counts"):
        Interactions.from_columns([1, 2], [2, 3], counts=[1])


def test_counts_that_add_up_to_more_than_a_number_holds_are_refused() -> None:
    with pytest.raises(RatingValueError, match="more than float32 holds"), np.errstate(over="ignore"):
        Interactions.from_columns([1, 1], [2, 2], counts=[3e38, 3e38])


def test_a_description_of_clicks_speaks_of_no_ratings() -> None:
    text = str(Interactions.from_columns([1, 1, 2], [1, 2, 1]).describe())
    assert "3 interactions by 2 users of 2 items" in text
    assert "no ratings; every pair counts once" in text
    assert "█" not in text
    rated = Interactions.from_columns([1, 1, 2], [1, 2, 1], [1, 2, 3])
    assert rated.describe().to_dict()["has_ratings"]
    assert not replace(rated, has_ratings=False).describe().to_dict()["has_ratings"]


def test_one_persons_items(tmp_path: Path) -> None:
    assert read_item_list(written(tmp_path, "item\n007\n8\n")) == ["007", "8"]
    assert read_item_list(written(tmp_path, "007\n8\n")) == ["007", "8"]
    assert read_item_list(written(tmp_path, "user,item,rating\n1,5,x\n1,6,y\n")) == ["5", "6"]
    with pytest.raises(DataError, match="rows of 2 users"):
        read_item_list(written(tmp_path, "user,item\n1,5\n2,6\n"))
