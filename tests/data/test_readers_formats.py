"""One table, written in every layout and compression, comes back as one and the same."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from bilinear.data.interactions import Interactions
from bilinear.data.reading import duckdb_reader, readers
from bilinear.data.reading.readers import read_item_ratings, read_pairs, read_ratings
from bilinear.errors import DataError, MissingColumnError, RatingValueError

USERS = [7, 7, 3, 12, 3, 7]
ITEMS = ["a,b", "é|x", 'say "hi"', "a,b", "007", "::"]
RATINGS = [4.5, 1.0, 3.0, 0.5, 5.0, 2.0]
TIMES = [964982703, 964981247, 964982224, 964983815, 964982931, 964982400]
ROWS = list(zip(USERS, ITEMS, RATINGS, TIMES, strict=True))
EXPECTED = Interactions.from_columns(USERS, ITEMS, RATINGS, TIMES)

Writer = Callable[[], bytes]


def same(found: Interactions, expected: Interactions) -> None:
    assert found.user_vocabulary == expected.user_vocabulary
    assert found.item_vocabulary == expected.item_vocabulary
    for name in ("users", "items", "ratings"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.times is None) == (expected.times is None)
    if found.times is not None and expected.times is not None:
        np.testing.assert_array_equal(found.times, expected.times)
    assert found.n_rows_read == expected.n_rows_read


def separated(delimiter: str, quoted: bool = True, header: bool = True) -> bytes:
    def field(value: object) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if quoted and (delimiter in text or '"' in text) else text

    lines = [["userId", "movieId", "rating", "timestamp"]] * header + [list(map(field, row)) for row in ROWS]
    return "".join(delimiter.join(line) + "\n" for line in lines).encode()


def json_lines() -> bytes:
    names = ("user", "item", "rating", "time")
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in ROWS).encode()


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"item_id": ITEMS, "user_id": USERS, "stars": RATINGS, "timestamp": TIMES})
    pa.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


FORMATS: dict[str, bytes] = {
    "ratings.csv": separated(","),
    "ratings.tsv": separated("\t"),
    "semicolons.csv": separated(";"),
    "pipes.txt": separated("|"),
    "no-header.csv": separated(",", header=False),
    "u.data": separated("\t", header=False),
    "crlf.csv": separated(",").replace(b"\n", b"\r\n"),
    "marked.csv": b"\xef\xbb\xbf" + separated(","),
    "blank-lines.csv": separated(",").replace(b"\n", b"\n\n"),
    "open-end.csv": separated(",").rstrip(b"\n"),
    "name-says-nothing": separated(","),
    "ratings.jsonl": json_lines(),
    "ratings.ndjson": json_lines(),
    "ratings.parquet": parquet(),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    # Nothing in the name tells:
    " gzip": gzip.compress,
    " zstd": zstandard.compress,
}


@pytest.fixture(params=["fast", "slow"])
def way(request: pytest.FixtureRequest) -> str:
    """Both ways of reading: the engine alone, and the plain-Python rows alone."""
    if request.param == "fast":
        guard = patch.object(readers, "collect", side_effect=AssertionError("the slow way was taken"))
    else:
        guard = patch.object(duckdb_reader, "load", return_value=None)
    with guard:
        yield request.param


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_and_compression_gives_the_same_table(
    tmp_path: Path, name: str, packing: str, way: str
) -> None:
    stem, dot, suffix = name.partition(".")
    named = name + packing if packing.startswith(".") else stem + packing.strip() + dot + suffix
    path = tmp_path / named
    path.write_bytes(PACKED[packing](FORMATS[name]))
    found = read_ratings(path)
    same(found, EXPECTED)
    assert found.source == named


def test_a_file_separated_by_two_colons_keeps_zeros_and_quotes(tmp_path: Path, way: str) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text('1::0104257::8::1364690142\n2::"x::7::1364118447\n3::a:b::7::1364117717\n')
    found = read_ratings(path)
    assert list(found.user_vocabulary) == [1, 2, 3]
    assert list(found.item_vocabulary) == ['"x', "0104257", "a:b"]
    assert found.times is not None


def test_mixed_line_ends_are_read_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "joined.csv"
    path.write_bytes(b"user,item,rating\r\n1,2,3\r\n4,5,1\n")
    assert list(read_ratings(path).ratings) == [3.0, 1.0]


def test_quoted_line_breaks_belong_to_the_id(tmp_path: Path) -> None:
    path = tmp_path / "breaks.csv"
    path.write_bytes(b'user,item,rating\n1,"a\nb",3\n1,"a\rb",4\n1,"a\r\nb",5\n')
    assert list(read_ratings(path).item_vocabulary) == ["a\nb", "a\r\nb", "a\rb"]


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [
        (["1", "2", "-3", "9223372036854775807"], "integer"),
        (["1", "2", "007"], "text"),
        (["1", "+2"], "text"),
        (["1", " 2"], "text"),
        (["1", "2.0"], "text"),
        (["1", "-0"], "text"),
        (["1", "9223372036854775808"], "text"),
        (["1", "1" * 5000], "text"),
        (["1", "1_0"], "text"),
        (["1", "x"], "text"),
    ],
)
def test_text_ids_are_integers_only_if_each_is_spelled_as_one(
    tmp_path: Path, way: str, spelling: list[str], kind: str
) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("user,item,rating\n" + "".join(f"{n},{text},3\n" for n, text in enumerate(spelling)))
    vocabulary = read_ratings(path).item_vocabulary
    assert vocabulary.kind == kind
    assert sorted(map(str, vocabulary)) == sorted(spelling)


def test_one_late_text_id_makes_the_whole_column_text(tmp_path: Path, way: str) -> None:
    path = tmp_path / "late.csv"
    path.write_text("user,item,rating\n" + "".join(f"{n},{n},3\n" for n in range(5000)) + "5000,X,3\n")
    found = read_ratings(path)
    assert found.user_vocabulary.kind == "integer"
    assert found.item_vocabulary.kind == "text"
    assert found.item_vocabulary[0] == "0"


def test_rows_keep_their_order_over_many_fetches(tmp_path: Path) -> None:
    # Repeated pairs without times: the last row of the file must win, wherever a join put it.
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 50, 20_000), rng.integers(0, 40, 20_000)
    ratings = np.arange(20_000)
    path = tmp_path / "many.csv"
    rows = zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True)
    path.write_text("user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in rows))
    with patch.object(duckdb_reader, "_FETCH", 3_000):
        found = read_ratings(path, n_threads=2)
    same(found, Interactions.from_columns(users, items, ratings))


@pytest.mark.parametrize("policy", ["last", "mean"])
def test_duplicates_policy_reaches_the_table(tmp_path: Path, way: str, policy: str) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("user,item,rating,time\n1,2,3,20\n1,2,4,10\n5,6,1,1\n")
    found = read_ratings(path, duplicates=policy)
    assert found.ratings[0] == {"last": 3.0, "mean": 3.5}[policy]
    assert found.n_duplicates == 1


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (["100", "2000"], [100.0, 2000.0]),
        (["20200131", "20200201"], [20200131.0, 20200201.0]),
        (["1.5", "1e3"], [1.5, 1000.0]),
        (["1364690142000", "1364690143500"], [1364690142.0, 1364690143.5]),
        (["1364690142000000", "1364690143500000"], [1364690142.0, 1364690143.5]),
        (["1364690142000000000", "1364690143500000000"], [1364690142.0, 1364690143.5]),
        (["1970-01-02", "1970-01-03"], [86400.0, 172800.0]),
        (["1970-01-01 00:00:01", "1970-01-01T00:00:02"], [1.0, 2.0]),
        (["1970-01-01T00:00:01.5Z", "1970-01-01T00:00:02"], [1.5, 2.0]),
        (["1969-12-31T23:59:59Z", "0001-01-01"], [-1.0, -62135596800.0]),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_times_become_seconds(
    tmp_path: Path, way: str, name: str, written: list[str], seconds: list[float]
) -> None:
    path = tmp_path / name
    if name == "t.csv":
        rows = "".join(f"{n},{n},3,{t}\n" for n, t in enumerate(written))
        path.write_text("user,item,rating,when\n" + rows)
    elif name == "t.jsonl":
        values = [t if "-" in t else json.loads(t) for t in written]
        objects = [{"user": n, "item": n, "rating": 3, "when": t} for n, t in enumerate(values)]
        path.write_text("".join(json.dumps(row) + "\n" for row in objects))
    else:
        table = pa.table({"user": [0, 1], "item": [0, 1], "rating": [3, 3], "when": written})
        pa.parquet.write_table(table, path)
    times = read_ratings(path).times
    assert times is not None
    assert times.tolist() == seconds


def test_zones_and_short_forms_of_dates_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("user,item,rating,date\n1,1,3,1970-01-01T01:00:02+01:00\n2,2,3,1970-01-01 00:01\n")
    times = read_ratings(path).times
    assert times is not None
    assert times.tolist() == [2.0, 60.0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_parquet_moments_become_utc_seconds(tmp_path: Path, way: str, unit: str, zone: str | None) -> None:
    moments = pa.array([1_000_000_000, 1_000_000_001], pa.int64()).cast(pa.timestamp("s", zone))
    table = pa.table({"user": [1, 2], "item": [1, 2], "rating": [3, 4]})
    table = table.append_column("time", moments.cast(pa.timestamp(unit, zone)))
    pa.parquet.write_table(table, tmp_path / "t")
    times = read_ratings(tmp_path / "t").times
    assert times is not None
    assert times.tolist() == [1_000_000_000.0, 1_000_000_001.0]


@pytest.mark.parametrize(
    ("users", "ids"),
    [
        (pa.array([1, 2], pa.uint8()), [1, 2]),
        (pa.array([2**62, -5], pa.int64()), [-5, 2**62]),
        (pa.array([1.0, 2.0], pa.float64()), [1, 2]),
        (pa.array(["1", "02"]), ["02", "1"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([b"x", b"y"], pa.binary()), ["x", "y"]),
    ],
)
def test_typed_ids_keep_their_type(tmp_path: Path, way: str, users: pa.Array, ids: list[object]) -> None:
    table = pa.table({"user": users, "item": [1, 2], "rating": [3, 4]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    assert list(read_ratings(tmp_path / "t.parquet").user_vocabulary) == ids


def test_json_text_that_looks_like_a_number_stays_text(tmp_path: Path, way: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"user":"1","item":2,"rating":"4.5"}\n{"user":"2","item":3,"rating":4,"note":[1]}\n')
    found = read_ratings(path)
    assert found.user_vocabulary.kind == "text"
    assert found.item_vocabulary.kind == "integer"
    assert found.ratings.tolist() == [4.5, 4.0]


@pytest.mark.parametrize(
    "header",
    [
        "user,item,rating,time",
        "User-ID,ISBN,Book-Rating,date",
        "customer_id,product_id,stars,created_at",
        "reviewerID,asin,overall,unixReviewTime",
        "UID,business_id,Score,DateTime",
        '"u","i","r","t"',
    ],
)
def test_usual_names_are_found(tmp_path: Path, header: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n1,2,3,4\n2,3,4,5\n")
    same(read_ratings(path), Interactions.from_columns([1, 2], [2, 3], [3, 4], [4, 5]))


def test_other_columns_and_another_order_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("review,rating,time,movieId,reviewerName,userId\nfine,3,9,2,Ann,1\nbad,1,8,3,Bob,2\n")
    same(read_ratings(path), Interactions.from_columns([1, 2], [2, 3], [3, 1], [9, 8]))


def test_columns_can_be_chosen_by_name_or_position(tmp_path: Path) -> None:
    expected = Interactions.from_columns([1, 4], [2, 5], [3, 6])
    path = tmp_path / "t.csv"
    path.write_text("foo,bar,baz\n1,2,3\n4,5,6\n")
    same(read_ratings(path, user="foo", item="BAR", rating=3), expected)
    same(read_ratings(path, user=1, item="2", rating="3"), expected)
    path.write_text("3,2,1,9,9\n6,5,4,9,9\n")
    same(read_ratings(path, user=3, item="2", rating=1), expected)


@pytest.mark.parametrize("off", [False, ""])
def test_times_can_be_left_out(tmp_path: Path, off: object) -> None:
    path = tmp_path / "t.csv"
    path.write_text("user,item,rating,time\n1,2,3,never\n4,5,6,\n")
    assert read_ratings(path, time=off).times is None


def test_encodings(tmp_path: Path) -> None:
    text = "user;item;rating\n1;Fantômas;3\n2;Ünder;4\n"
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-8-sig"):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text.encode(encoding))
        assert list(read_ratings(path, encoding=encoding).item_vocabulary) == ["Fantômas", "Ünder"]


def test_names_with_pattern_letters_mean_themselves(tmp_path: Path) -> None:
    for name in ("a*.csv", "a[1].csv", "it's?.csv", "{a}.csv"):
        (tmp_path / name).write_bytes(separated(","))
    (tmp_path / "a-other.csv").write_text("user,item,rating\n9,9,9\n")
    for name in ("a*.csv", "a[1].csv", "it's?.csv", "{a}.csv"):
        same(read_ratings(tmp_path / name), EXPECTED)


def test_little_memory_spills_and_temporary_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(separated(",")))
    same(read_ratings(path, memory_limit="64MB", n_threads=1), EXPECTED)
    path.write_bytes(gzip.compress(separated(",") + b"1,2\n"))
    with pytest.raises(ValueError, match="row 7"):
        read_ratings(path)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_pairs_keep_all_rows_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    users, items = [3, 1, 3, 3], ["07", "x", "07", "7"]
    if name == "t.csv":
        path.write_text("item,user\n" + "".join(f"{i},{u}\n" for u, i in zip(users, items, strict=True)))
    elif name == "t.jsonl":
        rows = [{"user": u, "item": i} for u, i in zip(users, items, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pa.parquet.write_table(pa.table({"user": users, "item": items}), path)
    pairs = read_pairs(path)
    assert pairs.users.tolist() == (users if name != "t.csv" else list(map(str, users)))
    assert pairs.items.tolist() == items
    assert len(pairs) == 4
    assert pairs.source == name


def test_pairs_without_a_header_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("alice,matrix\nbob,007\n")
    assert read_pairs(path).users.tolist() == ["alice", "bob"]
    assert read_pairs(path, user=2, item=1).users.tolist() == ["matrix", "007"]


@pytest.mark.parametrize("header", ["", "movieId,rating\n"])
def test_one_persons_ratings_keep_their_order(tmp_path: Path, header: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(header + "007,4.5\n1,2\n007,3\n")
    assert read_item_ratings(path) == [("007", 4.5), ("1", 2.0), ("007", 3.0)]


def test_one_persons_ratings_are_of_one_person(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("user,item,rating\n7,1,3\n7,2,4\n")
    assert read_item_ratings(path) == [("1", 3.0), ("2", 4.0)]
    path.write_text("user,item,rating\n7,1,3\n8,2,4\n")
    with pytest.raises(DataError, match="rows of 2 users"):
        read_item_ratings(path)
    path.write_text("7,1,3\n8,2,4\n")
    with pytest.raises(MissingColumnError, match="3 columns and no header"):
        read_item_ratings(path)
    path.write_text("item,rating\n1,x\n")
    with pytest.raises(RatingValueError, match=r"row 1 \(line 2\)"):
        read_item_ratings(path)


def test_movielens_counts(shared_data: Path, way: str) -> None:
    table = read_ratings(shared_data / "ml-latest-small" / "ratings.csv")
    assert (table.n_ratings, table.n_users, table.n_items) == (100_836, 610, 9_724)
    assert table.user_vocabulary.kind == table.item_vocabulary.kind == "integer"
    assert (table.ratings.min(), table.ratings.max()) == (0.5, 5.0)
    assert table.times is not None


def test_movietweetings_keeps_leading_zeros(shared_data: Path, way: str) -> None:
    table = read_ratings(shared_data / "movietweetings-100k" / "ratings.dat")
    assert (table.n_rows_read, table.n_users, table.n_items) == (100_000, 16_554, 10_506)
    assert table.item_vocabulary[0] == "0002844"
    assert table.user_vocabulary.kind == "integer"
