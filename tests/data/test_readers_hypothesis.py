"""Hostile text: either the very table that was written, or an error of ours; never anything else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bilinear.data.interactions import Interactions
from bilinear.data.reading import duckdb_reader
from bilinear.data.reading.readers import read_pairs, read_ratings
from bilinear.data.vocabulary import canonical_integer
from bilinear.errors import BilinearError

FEW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
numbers = st.integers(-(2**63), 2**63 - 1).map(str)
odd = st.sampled_from(["0", "007", "-0", "1", "nan", "NULL", '"', "'", ",", " ", "user"])
ids = st.one_of(numbers, words, odd)
ratings = st.floats(-(2.0**100), 2.0**100, width=32)
rows = st.lists(st.tuples(ids, ids, ratings, st.integers(0, 10**9)), min_size=1, max_size=12)


def as_read(texts: list[str]) -> list[object]:
    """What a text file's ids are by the rule of the documentation."""
    integers = [canonical_integer(text) for text in texts]
    return list(texts) if None in integers else list(integers)


def expected(table: list[tuple[str, str, float, int]]) -> Interactions:
    users, items, scores, times = zip(*table, strict=True)
    return Interactions.from_columns(as_read(list(users)), as_read(list(items)), scores, times)


def assert_same(found: Interactions, wanted: Interactions) -> None:
    assert list(found.user_vocabulary) == list(wanted.user_vocabulary)
    assert list(found.item_vocabulary) == list(wanted.item_vocabulary)
    assert found.user_vocabulary.kind == wanted.user_vocabulary.kind
    for name in ("users", "items", "ratings", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


@FEW
@given(rows, st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
@example([("a\rb", "x", 1.0, 1)], "\n", csv.QUOTE_MINIMAL)
@example([("1", "1", 1.0, 1), ("1", "1 ", 1.0, 1)], "\n", csv.QUOTE_MINIMAL)
def test_a_well_formed_table_comes_back_exactly(
    tmp_path: Path, table: list[tuple[str, str, float, int]], line_end: str, quoting: int
) -> None:
    text = io.StringIO()
    if any("\r" in field for row in table for field in row[:2]):
        quoting = csv.QUOTE_ALL  # older csv writers leave a lone \r without quotes
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)
    writer.writerow(["user", "item", "rating", "time"])
    writer.writerows(table)
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().encode())
    assert_same(read_ratings(path), expected(table))
    with patch.object(duckdb_reader, "load", return_value=None):
        assert_same(read_ratings(path), expected(table))


@FEW
@given(rows)
def test_json_lines_come_back_exactly(tmp_path: Path, table: list[tuple[str, str, float, int]]) -> None:
    names = ("user", "item", "rating", "time")
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in table), "utf-8")
    wanted = Interactions.from_columns(*zip(*table, strict=True))
    assert_same(read_ratings(path), wanted)
    with patch.object(duckdb_reader, "load", return_value=None):
        assert_same(read_ratings(path), wanted)


@FEW
@given(rows)
def test_pairs_come_back_in_order(tmp_path: Path, table: list[tuple[str, str, float, int]]) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerows([("user", "item"), *(row[:2] for row in table)])
    pairs = read_pairs(path)
    assert pairs.users.tolist() == [row[0] for row in table]
    assert pairs.items.tolist() == [row[1] for row in table]


@FEW
@given(
    st.sampled_from(
        [b"", b"user,item,rating\n", b"1,2,3\n", b"\xef\xbb\xbf", b"{", b"1::2::3\n", b"PAR1", b"\x1f\x8b"]
    ),
    st.one_of(
        st.binary(max_size=80),
        st.text("0123456789,;:|\t \"'\r\n.-+eEnaif{}[]é\0", max_size=80).map(str.encode),
    ),
    st.sampled_from(["t.csv", "t.tsv", "t.dat", "t.txt", "t.jsonl", "t", "t.csv.gz"]),
    st.sampled_from(["utf-8", "latin-1", "utf-16", "utf-7"]),
)
def test_any_bytes_give_a_table_or_our_error(
    tmp_path: Path, start: bytes, rest: bytes, name: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_bytes(start + rest)
    fast = outcome(path, encoding)
    with patch.object(duckdb_reader, "load", return_value=None):
        slow = outcome(path, encoding)
    # Both ways agree: on the table, or on every word of the error.
    if isinstance(slow, Interactions):
        assert isinstance(fast, Interactions), fast
        assert_same_or_both_timeless(fast, slow)
    else:
        assert fast == slow


def outcome(path: Path, encoding: str = "utf-8") -> Interactions | str:
    try:
        return read_ratings(path, encoding=encoding)
    except BilinearError as error:
        return f"{type(error).__name__}: {error}"


def assert_same_or_both_timeless(fast: Interactions, slow: Interactions) -> None:
    assert (fast.times is None) == (slow.times is None)
    assert list(fast.user_vocabulary) == list(slow.user_vocabulary)
    assert list(fast.item_vocabulary) == list(slow.item_vocabulary)
    np.testing.assert_array_equal(fast.users, slow.users)
    np.testing.assert_array_equal(fast.items, slow.items)
    np.testing.assert_array_equal(fast.ratings, slow.ratings)


NUMBERS = ["4", " 4", "4 ", "\t4", "+4", "-4", "+-4", ".5", "5.", "1e3", "1E+3", "1_0", "1__0", "4f", "0x10"]
NUMBERS += ["1e", "４", "1,5", "true", "-", "--4", "1e400", "1e-400", "inf", "nan", "Infinity", "5.0.0"]
NUMBERS += ["0" * 400 + "5"]


@pytest.mark.parametrize("spelling", NUMBERS)
def test_both_ways_take_the_same_spellings_for_numbers(tmp_path: Path, spelling: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'user,item,rating\n1,2,3\n1,3,"{spelling}"\n', "utf-8")
    fast = outcome(path)
    with patch.object(duckdb_reader, "load", return_value=None):
        slow = outcome(path)
    if isinstance(fast, Interactions) and isinstance(slow, Interactions):
        assert_same_or_both_timeless(fast, slow)
    else:
        assert fast == slow
