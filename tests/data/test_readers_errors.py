"""Bad input is refused with what, where and the way out; nothing is half read."""

from __future__ import annotations

import bz2
import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from bilinear.data.reading.readers import read_pairs, read_ratings
from bilinear.errors import (
    AmbiguousColumnError,
    BilinearError,
    DataError,
    DuplicatePairError,
    EmptyDataError,
    FileFormatError,
    IdValueError,
    MissingColumnError,
    ParameterValueError,
    RatingValueError,
)

HEADER = b"userId,movieId,rating,timestamp\n"
GOOD = HEADER + b"".join(b"%d,%d,4.5,%d\n" % (n, n + 1, 1000 + n) for n in range(50))
ZIPPED = gzip.compress(GOOD, mtime=0)
NOISE = random.Random(0).randbytes(3000)


def below(rows: bytes) -> bytes:
    return HEADER + b"1,2,3,4\n" + rows


ONE = b'{"user":1,"item":2,"rating":3}\n'

# (file name, content, error, words of the message)
BAD: list[tuple[str, bytes, type[BilinearError], list[str]]] = [
    # columns
    ("a.csv", b"user,item\n1,2\n", MissingColumnError, ["no rating column", "'user', 'item'", "--rating"]),
    ("a.csv", b"a,b,rating\n1,2,3\n", MissingColumnError, ["no user and no item", "--user", "--item"]),
    ("a.csv", b"user,rating,time\n1,2,3\n", MissingColumnError, ["no item column"]),
    ("a.csv", b"1,2\n2,3\n", MissingColumnError, ["no rating column", "no header"]),
    ("a.csv", b"1,2,3,4,5\n2,3,4,5,6\n", MissingColumnError, ["5 columns and no header", "rating=N"]),
    ("a.csv", b"user,movieId,productId,rating\n1,2,3,4\n", AmbiguousColumnError, ["'movieId' and 'pro"]),
    ("a.csv", b"user,item,rating,score\n1,2,3,4\n", AmbiguousColumnError, ["'rating' and 'score'"]),
    ("a.csv", b"user,item,rating,rating\n1,2,3,4\n", AmbiguousColumnError, ["'rating' and 'rating'"]),
    ("a.csv", b"user,item,rating,date,time\n1,2,3,4,5\n", AmbiguousColumnError, ["'date'", "time=False"]),
    # values
    ("a.csv", below(b"1,3,bad,4\n"), RatingValueError, ["a.csv, row 2 (line 3)", "'bad' is not a number"]),
    ("a.csv", below(b"1,3,nan,4\n"), RatingValueError, ["row 2 (line 3)", "not a finite"]),
    ("a.csv", below(b"1,3,-inf,4\n"), RatingValueError, ["row 2 (line 3)", "not a finite"]),
    ("a.csv", below(b"1,3,1e39,4\n"), RatingValueError, ["row 2 (line 3)", "1e39"]),
    ("a.csv", below(b"1,3,+-4,4\n"), RatingValueError, ["row 2 (line 3)", "'+-4'"]),
    ("a.csv", below(b"1,3,,4\n"), RatingValueError, ["row 2 (line 3)", "the rating is missing"]),
    ("a.csv", b"user;item;rating\n1;2;3,5\n1;3;4.5\n", RatingValueError, ["'3,5'", "with a point"]),
    ("a.csv", below(b"\n\n,3,3,4\n"), IdValueError, ["row 2 (line 5)", "the user is missing"]),
    ("a.csv", below(b'1,"",3,4\n'), IdValueError, ["row 2 (line 3)", "the item is missing"]),
    ("a.csv", below(b"1,3,4,\n"), RatingValueError, ["row 2 (line 3)", "the time is missing", "time=False"]),
    ("a.csv", below(b"1,3,4,soon\n"), RatingValueError, ["row 2 (line 3)", "'soon'", "2024-01-31"]),
    ("a.csv", below(b"1,3,4,2020-01-01\n"), RatingValueError, ["row 2 (line 3)", "a date"]),
    ("a.csv", b"1,2,3\n1,3,x\n", RatingValueError, ["a.csv, row 2:", "'x'"]),
    # layout
    ("a.csv", below(b"1,2,3\n"), FileFormatError, ["row 2 (line 3)", "3 fields where the header has 4"]),
    ("a.csv", below(b"1,2,3,4,5\n"), FileFormatError, ["row 2 (line 3)", "5 fields"]),
    ("a.csv", b"1,2,3\n1,2,3,4\n", FileFormatError, ["row 2 (line 2)", "the first row has 3"]),
    ("a.dat", b"1::2::3\n1::2\n", FileFormatError, ["row 2", "2 fields"]),
    ("a.csv", b"user#item#rating\n1#2#3\n", FileFormatError, ["only one column", "user#item"]),
    ("a.csv", b"justone\n", FileFormatError, ["only one column"]),
    ("a.csv", below(b'1,"2,3,4\n1,2,3,4\n'), FileFormatError, ["row 2 (line 3", "never closed"]),
    ("a.csv", below(b'1,"2"x,3,4\n'), FileFormatError, ["row 2 (line 3", "closing quote"]),
    ("a.txt", b"0 1 2 3 4\n1 5 6\n2 8 9 10\n", FileFormatError, ["one user with its items", "no ratings"]),
    ("a.txt", b"0,1,2,3,4\n1,5,6\n2,8,9,1\n", FileFormatError, ["one user with its items per line"]),
    # nothing there
    ("a.csv", b"", EmptyDataError, ["a.csv: the file is empty"]),
    ("a.csv", b"\n  \n", EmptyDataError, ["nothing but blanks"]),
    ("a.csv", HEADER, EmptyDataError, ["a header", "no rows"]),
    ("a.csv", b"foo,bar,baz", EmptyDataError, ["a header", "no rows"]),
    ("a.csv.gz", gzip.compress(b"", mtime=0), EmptyDataError, ["empty once unpacked"]),
    # damaged or foreign files
    ("a.csv.gz", ZIPPED[:-9], FileFormatError, ["end too early", "cut off"]),
    (
        "a.csv.gz",
        ZIPPED[:-8] + b"12345678",
        FileFormatError,
        ["the gzip data are damaged"],
    ),
    ("a.csv.gz", ZIPPED + b"tail", FileFormatError, ["the gzip data are"]),
    ("a.csv.zst", zstandard.compress(GOOD)[:-5], FileFormatError, ["end too early", "cut off"]),
    ("a.csv.zst", zstandard.compress(GOOD) + b"tail", FileFormatError, ["the zstd data are"]),
    ("a.csv.gz", GOOD, FileFormatError, ["named .gz", "not gzip-compressed"]),
    ("a.csv.zst", ZIPPED, FileFormatError, ["named .zst", "gzip-compressed"]),
    ("a.parquet", GOOD, FileFormatError, ["named .parquet", "not a Parquet file"]),
    ("a.parquet", b"PAR1 nothing PAR1", FileFormatError, ["the Parquet file is damaged"]),
    ("a.bin", NOISE, FileFormatError, ["binary data"]),
    ("a.csv", bz2.compress(GOOD)[:-9], FileFormatError, ["bzip2", "cut off"]),
    ("a.xlsx", b"PK\x03\x04 and more", FileFormatError, ["zip archive is damaged"]),
    ("a.csv", b"<!DOCTYPE html><p>", FileFormatError, ["web page"]),
    ("a.db", b"SQLite format 3\x00", FileFormatError, ["read_sql"]),
    ("a.csv", below(b"1,\0,3,4\n"), FileFormatError, ["line 3", "null byte"]),
    ("a.csv", below(b"1,caf\xe9,3,4\n"), FileFormatError, ["line 3", "0xe9", "--encoding latin-1"]),
    ("a.csv", below("1,é,3,4\n".encode() + b"1,\xe9,3,4\n"), FileFormatError, ["line 4", "mixes"]),
    ("a.csv", GOOD.decode().encode("utf-16"), FileFormatError, ["UTF-16", "--encoding utf-16"]),
    ("a.csv", GOOD.decode().encode("utf-16-le"), FileFormatError, ["null byte"]),
    # JSON lines
    ("a.json", b'[{"user":1}]', FileFormatError, ["JSON array", "one object a line"]),
    ("a.jsonl", b"user,item\n", FileFormatError, ["not a JSON object"]),
    ("a.jsonl", ONE + b'{"user":1,', FileFormatError, ["row 2 (line 2)", "no valid JSON"]),
    ("a.jsonl", ONE + b"[1]\n", FileFormatError, ["row 2 (line 2)", "not a JSON object"]),
    ("a.jsonl", ONE + b"[" * 99_999, FileFormatError, ["row 2"]),
    ("a.jsonl", ONE + b'{"user":1,"item":3}\n', RatingValueError, ["row 2", "missing"]),
    ("a.jsonl", ONE + b'{"item":3,"rating":3}\n', IdValueError, ["row 2", "missing"]),
    ("a.jsonl", ONE + b'{"user":"x","item":3,"rating":3}\n', IdValueError, ["row 2"]),
    ("a.jsonl", ONE + b'{"user":1,"item":2,"rating":true}\n', RatingValueError, ["row 2", "'True'"]),
    ("a.jsonl", b'{"user":1.5,"item":2,"rating":3}\n', IdValueError, ["row 1", "not a whole number"]),
    ("a.jsonl", b'{"user":true,"item":2,"rating":3}\n', IdValueError, ["row 1", "type bool"]),
    ("a.jsonl", b'{"user":{"id":1},"item":2,"rating":3}\n', IdValueError, ["row 1", "type dict"]),
    ("a.jsonl", b'{"user":"\\ud800","item":2,"rating":3}\n', IdValueError, ["row 1", "not valid Unicode"]),
    ("a.jsonl", b'{"user":9223372036854775808,"item":2,"rating":3}\n', IdValueError, ["row 1", "64 bits"]),
]


@pytest.mark.parametrize(("name", "content", "kind", "words"), BAD)
def test_bad_files(
    tmp_path: Path, name: str, content: bytes, kind: type[BilinearError], words: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        read_ratings(path)
    assert type(caught.value) is kind
    for word in ["a.", *words]:
        assert word in str(caught.value)


NONE = pa.array([], pa.int64())
PARQUET: list[tuple[dict[str, Any], type[BilinearError], list[str]]] = [
    ({"user": [1, None]}, IdValueError, ["row 2", "the user is missing"]),
    ({"user": [1.0, None]}, IdValueError, ["row 2", "the user is missing"]),
    ({"user": ["x", None]}, IdValueError, ["row 2", "the user is missing"]),
    ({"user": ["x", ""]}, IdValueError, ["row 2", "the user is missing"]),
    ({"user": [1.0, 2.5]}, IdValueError, ["row 2", "2.5 is not a whole number"]),
    ({"user": [1.0, 2.0**60]}, IdValueError, ["row 2", "not a whole number"]),
    ({"user": np.array([1, 2**63], np.uint64)}, IdValueError, ["row 2", "64 bits"]),
    ({"user": [True, False]}, IdValueError, ["'user'", "BOOLEAN"]),
    ({"user": np.array([0, 1], "datetime64[s]")}, IdValueError, ["'user'", "TIMESTAMP"]),
    ({"item": [[1], [2]]}, IdValueError, ["'item'", "BIGINT[]"]),
    ({"rating": [1.0, None]}, RatingValueError, ["row 2", "the rating is missing"]),
    ({"rating": [1.0, float("inf")]}, RatingValueError, ["row 2", "not a finite"]),
    ({"rating": np.array([0, 1], "datetime64[s]")}, RatingValueError, ["'rating'", "TIMESTAMP"]),
    ({"rating": ["4", "x"]}, RatingValueError, ["row 2", "'x'"]),
    ({"time": np.array([0, "NaT"], "datetime64[s]")}, RatingValueError, ["row 2", "the time is missing"]),
    ({"user": NONE, "item": NONE, "rating": NONE}, EmptyDataError, ["no rows"]),
]


@pytest.mark.parametrize(("columns", "kind", "words"), PARQUET)
def test_bad_parquet(
    tmp_path: Path, columns: dict[str, Any], kind: type[BilinearError], words: list[str]
) -> None:
    table = pa.table({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0]} | columns)
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(kind) as caught:
        read_ratings(tmp_path / "a.parquet")
    for word in ["a.parquet", *words]:
        assert word in str(caught.value)


def test_cut_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileFormatError, match="damaged"):
        read_ratings(path)


def test_repeated_pairs_are_named_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(below(b"1,3,3,4\n1,2,5,6\n"))
    with pytest.raises(DuplicatePairError, match=r"a\.csv, rows 1 and 3: user 1 rated item 2 twice"):
        read_ratings(path, duplicates="error")


def test_places_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_bytes(GOOD)
    with pytest.raises(DataError, match=r"this is a folder; name the file in it, such as ratings\.csv"):
        read_ratings(tmp_path)
    with pytest.raises(DataError, match=r"no such file; did you mean ratings\.csv\?"):
        read_ratings(tmp_path / "rating.csv")
    with pytest.raises(DataError, match="no such file"):
        read_ratings(tmp_path / "nowhere" / "rating.csv")
    with pytest.raises(DataError, match="address"):
        read_ratings("https://example.org/ratings.csv")
    with pytest.raises(DataError):
        read_ratings("null\0byte.csv")
    with pytest.raises(DataError):
        read_ratings("x" * 5000)


@pytest.mark.parametrize("source", [{"user": [1]}, np.zeros((2, 3)), [1, 2], None, 7, b"ratings.csv"])
def test_sources_of_no_known_kind_point_to_from_columns(source: object) -> None:
    with pytest.raises(ParameterValueError, match=f"{type(source).__name__}.*from_columns"):
        read_ratings(source)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"memory_limit": "lots"}, "memory_limit='lots'"),
        ({"memory_limit": "10KB"}, "too little"),
        ({"n_threads": 0}, "n_threads=0"),
        ({"n_threads": 1.5}, "n_threads=1.5"),
        ({"encoding": "klingon"}, "klingon"),
        ({"encoding": "base64"}, "base64"),
        ({"duplicates": "first"}, "duplicates='first'"),
        ({"user": 1.5}, "user=1.5"),
        ({"user": True}, "user=True"),
        ({"item": ""}, "item=''"),
        ({"item": False}, "item=False"),
    ],
)
def test_arguments_that_cannot_be_used(tmp_path: Path, arguments: dict[str, Any], word: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(GOOD)
    with pytest.raises(ParameterValueError) as caught:
        read_ratings(path, **arguments)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"user": "userid "}, None, []),
        ({"user": "usreId"}, MissingColumnError, ["'usreId'", "Did you mean 'userId'?"]),
        ({"rating": 9}, MissingColumnError, ["column 9", "columns 1 to 4"]),
        ({"rating": 0}, MissingColumnError, ["column 0"]),
        ({"user": "movieId", "item": "movieId"}, AmbiguousColumnError, ["'movieId'"]),
        ({"user": "movieId"}, MissingColumnError, ["no item column"]),
    ],
)
def test_choosing_columns_that_are_not_there(
    tmp_path: Path, arguments: dict[str, Any], kind: type[BilinearError] | None, words: list[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(GOOD)
    if kind is None:
        assert read_ratings(path, **arguments).n_ratings == 50
        return
    with pytest.raises(kind) as caught:
        read_ratings(path, **arguments)
    for word in words:
        assert word in str(caught.value)


def test_a_bad_first_row_is_not_taken_for_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ann,matrix,N/A\nbob,alien,4\n")
    with pytest.raises(RatingValueError, match="row 1"):
        read_ratings(path, user=1, item=2, rating=3)


def test_headerless_columns_must_be_chosen_together(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2,3\n4,5,6\n")
    with pytest.raises(MissingColumnError, match="item, rating is not given"):
        read_ratings(path, user=1)
    with pytest.raises(MissingColumnError, match="no header with that name"):
        read_ratings(path, user="who", item=2, rating=3)


def test_gowalla_is_recognised_and_refused(shared_data: Path) -> None:
    for name in ("train.txt", "test.txt"):
        with pytest.raises(FileFormatError, match="one user with its items per line, no ratings"):
            read_ratings(shared_data / "gowalla" / name)


def test_bad_pairs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item\n1,2\n,3\n")
    with pytest.raises(IdValueError, match=r"row 2 \(line 3\): the user is missing"):
        read_pairs(path)
    path.write_text("user,thing\n1,2\n")
    with pytest.raises(MissingColumnError, match="no item column"):
        read_pairs(path)
    path.write_text("user,item\n")
    with pytest.raises(EmptyDataError, match="no rows"):
        read_pairs(path)
