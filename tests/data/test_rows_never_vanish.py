"""What is read is what was written, or an error with the row; rows never vanish."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bilinear.data.interactions import Interactions
from bilinear.data.reading import duckdb_reader
from bilinear.data.reading.item_tables import read_items
from bilinear.data.reading.readers import read_interactions, read_pairs, read_ratings
from bilinear.data.vocabulary import canonical_integer
from bilinear.errors import BilinearError

FEW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
RAW = "\t|;"
letters = st.text(st.sampled_from("ab7é ,;|\t:\"'\n\r"), min_size=1, max_size=8)
ids = st.one_of(
    letters, st.integers(0, 99).map(str), st.sampled_from(['"', '""', '"a"', 'a"', '"a', '"a" b'])
)
tables = st.lists(st.tuples(ids, ids, st.integers(1, 5)), min_size=1, max_size=20)
endings = st.sampled_from(["\n", "\r\n"])
encodings = st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"])


def as_read(texts: list[str]) -> list[object]:
    integers = [canonical_integer(text) for text in texts]
    return list(texts) if None in integers else list(integers)


def pairs_of(table: Interactions) -> dict[tuple[object, object], float]:
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    return {
        (user, item): float(value)
        for user, item, value in zip(users.tolist(), items.tolist(), table.ratings.tolist(), strict=True)
    }


def check(path: Path, rows: list[tuple[str, str, int]], encoding: str, quote: str) -> bool:
    """Both ways of reading give exactly these rows, or the same error with a row; whether they were read."""
    codec = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    found = outcome(path, codec, quote)
    with patch.object(duckdb_reader, "load", return_value=None):
        slow = outcome(path, codec, quote)
    if isinstance(found, str):
        assert found == slow
        assert re.search(r"\brows? \d|no header|only one column|no rows below", found), found
        return False
    assert isinstance(slow, Interactions)
    assert pairs_of(found) == pairs_of(slow)
    users, items = as_read([row[0] for row in rows]), as_read([row[1] for row in rows])
    wanted = {(user, item): float(row[2]) for user, item, row in zip(users, items, rows, strict=True)}
    assert pairs_of(found) == wanted
    shown = found.describe()
    assert shown.rows_in_source == len(rows) == shown.n_ratings + shown.duplicates_merged
    return True


def outcome(path: Path, encoding: str, quote: str) -> Interactions | str:
    try:
        return read_ratings(path, encoding=encoding, quote=quote)
    except BilinearError as error:
        return str(error)


@FEW
@given(tables, st.sampled_from(",\t|; "), endings, encodings, st.sampled_from(['"', "'"]), st.booleans())
def test_a_table_written_with_quotes(
    tmp_path: Path,
    rows: list[tuple[str, str, int]],
    delimiter: str,
    end: str,
    encoding: str,
    quote: str,
    all_quoted: bool,
) -> None:
    text = io.StringIO()
    all_quoted = all_quoted or any("\r" in field for row in rows for field in row[:2])
    style = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, quotechar=quote, quoting=style, lineterminator=end)
    writer.writerows([("user", "item", "rating"), *rows])
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    assert check(path, rows, encoding, quote)
    if quote == '"':
        check(path, rows, encoding, "auto")


@FEW
@given(tables, st.sampled_from(["\t", "|", ";", "::", ","]), endings, encodings, st.booleans())
def test_a_table_written_without_quotes(
    tmp_path: Path, rows: list[tuple[str, str, int]], delimiter: str, end: str, encoding: str, header: bool
) -> None:
    unfit = re.compile(f"[\\r\\n]|{re.escape(delimiter)}|:$")
    rows = [row for row in rows if not any(unfit.search(field) for field in row[:2])] or [("1", "a", 3)]
    lines = [("user", "item", "rating")] * header + [(u, i, str(r)) for u, i, r in rows]
    path = tmp_path / "t.txt"
    path.write_bytes("".join(delimiter.join(line) + end for line in lines).encode(encoding))
    check(path, rows, encoding, "none")
    found = outcome(path, {"utf-8-sig": "utf-8"}.get(encoding, encoding), "auto")
    if isinstance(found, Interactions):  # a pair of quotes around a whole field may be either
        shown = found.describe()
        assert shown.rows_in_source == len(rows) == shown.n_ratings + shown.duplicates_merged


def write(path: Path, delimiter: str, rows: list[list[str]], end: str = "\n", header: bool = True) -> Path:
    lines = [["user", "item", "rating"]] * header + rows
    path.write_text("".join(delimiter.join(row) + end for row in lines), "utf-8", newline="")
    return path


def plain_rows(n_rows: int) -> list[list[str]]:
    return [[f"u{n % 100}", f"Song {n % 97}", str(1 + n % 5)] for n in range(n_rows)]


@pytest.mark.parametrize(("delimiter", "end"), [("\t", "\n"), ("|", "\r\n"), (";", "\n"), ("::", "\r\n")])
@pytest.mark.parametrize(("first", "second"), [(0, 1), (5, 105), (1500, 1600), (2998, 2999)])
def test_two_quotes_that_are_characters_never_swallow_the_rows_between(
    tmp_path: Path, delimiter: str, end: str, first: int, second: int
) -> None:
    rows = plain_rows(3000)
    rows[first][1], rows[second][1] = '"Heroes', 'Heroes"'
    path = write(tmp_path / "t.txt", delimiter, rows, end)
    found = read_ratings(path)
    assert found.n_rows_read == 3000
    assert {'"Heroes', 'Heroes"'} <= set(found.item_vocabulary)
    pairs = read_pairs(path)
    assert len(pairs) == 3000
    assert pairs.items[first] == '"Heroes'


@pytest.mark.parametrize("gap", [1, 2, 100])
@pytest.mark.parametrize("at", [3, 1500])
def test_between_commas_a_swallowed_row_is_an_error_with_its_place(tmp_path: Path, at: int, gap: int) -> None:
    rows = plain_rows(3000)
    rows[at][1], rows[at + gap][1] = '"Heroes', 'Heroes"'
    path = write(tmp_path / "t.csv", ",", rows)
    with pytest.raises(BilinearError, match=rf"t.csv, row {at + 1} \(line {at + 2} or below\).*--quote none"):
        read_ratings(path)
    assert read_ratings(path, quote="none").n_rows_read == 3000


@pytest.mark.parametrize("at", [5, 1700, 1999])
@pytest.mark.parametrize(
    ("delimiter", "name"),
    [("\t", '"Odd Al" Smith'), ("|", '"'), (";", '"open'), ("\t", '12" mix'), ("|", '"a"b"'), (";", '"')],
)
def test_a_name_with_a_quote_reads_wherever_it_stands(
    tmp_path: Path, delimiter: str, at: int, name: str
) -> None:
    rows = plain_rows(2000)
    rows[at][1] = name
    found = read_ratings(write(tmp_path / "t.txt", delimiter, rows))
    assert found.n_rows_read == 2000
    assert name in found.item_vocabulary


def test_a_quoted_file_with_one_broken_row_is_not_read_with_its_quotes_as_characters(tmp_path: Path) -> None:
    rows = [[f'"u{n % 9}"', f'"Song ""{n % 7}"""', "3"] for n in range(2000)]
    rows[1500][1] = '"Song "7""'
    with pytest.raises(BilinearError, match=r"row 1501 \(line 1502 or below\): text after a closing quote"):
        read_ratings(write(tmp_path / "t.tsv", "\t", rows))


def test_line_breaks_within_quotes_are_part_of_a_field(tmp_path: Path) -> None:
    rows = [[f"u{n % 50}", f'"Song, {n % 30}\nlive, with\nfriends"', str(1 + n % 5)] for n in range(1200)]
    found = read_ratings(write(tmp_path / "t.csv", ",", rows))
    assert found.n_rows_read == 1200
    assert "Song, 7\nlive, with\nfriends" in found.item_vocabulary


def test_an_id_over_a_hundred_lines_is_an_error_with_its_row(tmp_path: Path) -> None:
    rows = plain_rows(50)
    rows[40][1] = '"' + "\n".join(f"line {n}" for n in range(100)) + '"'
    with pytest.raises(BilinearError, match=r"row 41 .*over 100 lines"):
        read_ratings(write(tmp_path / "t.csv", ",", rows))


def test_the_items_file_is_read_by_the_same_rule(tmp_path: Path) -> None:
    lines = [f"{n}\tSong {n}\tx" for n in range(2000)]
    lines[1700] = '1700\t"Odd Al" Smith\tx'
    lines[100], lines[300] = '100\t"Heroes\tx', '300\tHeroes"\tx'
    path = tmp_path / "items.tsv"
    path.write_text("item\ttitle\tmore\n" + "\n".join(lines))
    items = read_items(path)
    assert len(items) == 2000
    assert items.title(1700) == '"Odd Al" Smith'
    assert items.title(100) == '"Heroes'
    assert read_items(path, quote="none").title(300) == 'Heroes"'


def test_integers_and_lists_that_the_first_rows_promise_are_checked_to_the_end(tmp_path: Path) -> None:
    rows = [[str(n % 50), str(n % 60), "3"] for n in range(3000)]
    rows[2500][1] = "007"
    assert "007" in read_ratings(write(tmp_path / "t.csv", ",", rows)).item_vocabulary
    lists = [" ".join(map(str, range(2 + n % 5))) for n in range(2000)]
    lists[1800] = "17 x y"
    (tmp_path / "lists.txt").write_text("\n".join(lists))
    with pytest.raises(BilinearError, match=r"line 1801: '17 x y'.*layout='lists'"):
        read_interactions(tmp_path / "lists.txt")
    assert read_interactions(tmp_path / "lists.txt", layout="lists").n_users > 1


@pytest.mark.parametrize("quote", ["", "ab", "x", "\n", 3, None])
def test_a_quote_is_one_mark(tmp_path: Path, quote: object) -> None:
    path = write(tmp_path / "t.csv", ",", plain_rows(3))
    with pytest.raises(BilinearError, match=r"quote=.*--quote"):
        read_ratings(path, quote=quote)  # type: ignore[arg-type]


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_skipped_rows_are_written_down_and_counted(tmp_path: Path, delimiter: str) -> None:
    rows = plain_rows(3000)
    rows[10][2], rows[20][1], rows[2500][2] = "bad", "", "inf"
    rows[30] = ["too", "few"]
    rows[2600] = ['"a"b', "i", "3", "4"]
    bad = tmp_path / "bad.csv"
    path = write(tmp_path / "t.csv", delimiter, rows)
    found = read_ratings(path, skip_bad_rows=bad)
    assert (found.n_rows_read, found.n_rows_skipped) == (2995, 5)
    shown = found.describe()
    assert shown.n_ratings + shown.duplicates_merged + shown.rows_skipped == shown.rows_in_source == 3000
    assert "3,000 rows in the source" in str(shown)
    with bad.open(newline="") as stream:
        written = {int(row["row"]): row for row in csv.DictReader(stream)}
    assert set(written) == {11, 21, 31, 2501, 2601}
    assert "'bad' is not a number" in written[11]["reason"]
    assert written[31]["content"] == f"too{delimiter}few"
    assert (written[31]["line"], written[2601]["line"]) == ("32", "2602")


def test_rows_below_a_quote_that_is_never_closed_are_read_when_bad_rows_are_skipped(tmp_path: Path) -> None:
    rows = plain_rows(2000)
    rows[100][1] = '"Heroes'
    found = read_ratings(write(tmp_path / "t.csv", ",", rows), skip_bad_rows=tmp_path / "bad.csv")
    assert (found.n_rows_read, found.n_rows_skipped) == (1999, 1)


def test_the_file_of_skipped_rows_is_whole_or_not_there(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("kept")
    path = write(tmp_path / "t.csv", ",", [["", "", ""], ["", "", ""]])
    with pytest.raises(BilinearError, match="all 2 were left out"):
        read_ratings(path, skip_bad_rows=bad)
    assert bad.read_text() == "kept"
    with pytest.raises(BilinearError, match="is the file that is read"):
        read_ratings(path, skip_bad_rows=path)
    with pytest.raises(BilinearError, match="--skip-bad-rows"):
        read_ratings(path, skip_bad_rows=tmp_path / "no" / "bad.csv")


def test_json_lines_and_frames_skip_bad_rows_too(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "t.jsonl"
    good = '{"user": %d, "item": 2, "rating": 3}'
    path.write_text("\n".join([good % 1, "{no", "[1]", '{"user": 5, "item": null, "rating": 1}', good % 2]))
    found = read_ratings(path, skip_bad_rows=tmp_path / "bad.csv")
    assert (found.n_rows_read, found.n_rows_skipped) == (2, 3)
    frame = pd.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "rating": [1.0, np.nan, 3.0]})
    found = read_ratings(frame, skip_bad_rows=tmp_path / "bad.csv")
    assert (found.n_rows_read, found.n_rows_skipped) == (2, 1)


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("ragged", [False, True])
def test_skipping_leaves_out_the_row_of_a_quote_and_none_of_those_below(
    tmp_path: Path, delimiter: str, ragged: bool
) -> None:
    rows = plain_rows(400)
    rows[3][1], rows[300][1] = '"Heroes', 'Heroes"'
    if ragged:
        rows[50] = rows[50][:2]
    found = read_ratings(write(tmp_path / "t.txt", delimiter, rows), skip_bad_rows=tmp_path / "bad.csv")
    n_bad = ragged + (delimiter == ",")
    assert (found.n_rows_read, found.n_rows_skipped) == (400 - n_bad, n_bad)


@FEW
@given(tables, st.sampled_from([",", "\t", "|", ";"]), st.randoms(use_true_random=False))
def test_any_lines_with_quotes_anywhere_are_read_or_left_out_one_by_one(
    tmp_path: Path, rows: list[tuple[str, str, int]], delimiter: str, random: Any
) -> None:
    lines = [f"u{n}{delimiter}i{n}{delimiter}3" for n in range(12)]
    for user, item, _ in rows[:4]:
        field = random.choice([user, item, '"' + user, item + '"']).replace("\n", " ").replace("\r", " ")
        lines[random.randrange(12)] = f"{field}{delimiter}x{delimiter}4"
    path = tmp_path / "t.txt"
    path.write_text("\n".join([f"user{delimiter}item{delimiter}rating", *lines]), "utf-8", newline="")
    found = read_ratings(path, skip_bad_rows=tmp_path / "bad.csv")
    assert found.n_rows_read + found.n_rows_skipped == 12
    assert {(f"u{n}", f"i{n}") for n in range(12) if lines[n].startswith(f"u{n}{delimiter}")} <= set(
        pairs_of(found)
    )
