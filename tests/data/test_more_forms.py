"""Tables, dates and packings as people have them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import zstandard

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_any, read_interactions, read_pairs, read_ratings
from bilinear.errors import BilinearError

ROWS = [("ann", "a", "1.5", "2"), ("bob", "b", "4", "1"), ("ann", "b", "2.5", "3")]


def text(*lines: str) -> str:
    return "".join(line + "\n" for line in lines)


def put(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def ratings_of(table: Interactions) -> dict[tuple[object, object], float]:
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    return dict(zip(zip(users.tolist(), items.tolist(), strict=True), table.ratings.tolist(), strict=True))


WANTED = {("ann", "a"): 1.5, ("bob", "b"): 4.0, ("ann", "b"): 2.5}
COMMAS = text("user;item;rating", "ann;a;1,5", "bob;b;4", "ann;b;2,5")

FORMS = {
    "decimal commas": ("t.csv", COMMAS),
    "decimal commas without a header": ("t.csv", COMMAS.partition("\n")[2]),
    "decimal commas between commas": (
        "t.csv",
        text("user,item,rating", 'ann,a,"1,5"', "bob,b,4", 'ann,b,"2,5"'),
    ),
    "decimal commas between tabs": ("t.tsv", COMMAS.replace(";", "\t")),
    "Excel's first line": ("t.csv", "sep=;\n" + COMMAS),
    "Excel's first line with a mark": ("t.csv", ("\ufeffsep=;\n" + COMMAS).replace("\n", "\r\n")),
    "Excel's first line in quotes": ("t.csv", '"sep=|"\n' + COMMAS.replace(";", "|")),
    "RecBole": (
        "t.inter",
        text("user_id:token\titem_id:token\trating:float", "ann\ta\t1.5", "bob\tb\t4", "ann\tb\t2.5"),
    ),
    "pandas' index": ("t.csv", text(",user,item,rating", "0,ann,a,1.5", "1,bob,b,4", "2,ann,b,2.5")),
    "columns in another order": ("t.csv", text("rating,item,user", "1.5,a,ann", "4,b,bob", "2.5,b,ann")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_ratings(tmp_path: Path, form: str) -> None:
    name, content = FORMS[form]
    found = read_any(put(tmp_path, content, name))
    assert found.has_ratings
    assert ratings_of(found) == WANTED
    assert found.n_rows_read == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1,5", "2.5"], r"row 2 .*'2.5' has a decimal point, and t.csv, row 1 .*'1,5' a comma"),
        (["2.5", "1,5"], r"row 2 .*'1,5' has a decimal comma, and .*row 1 .*'2.5' a point"),
        (["1,000", "2", "2,500"], r"row 1 .*'1,000' has three digits.*thousands"),
        (["1,5,5", "2"], r"row 1 .*'1,5,5' is not a number"),
        (["4"] * 2000 + ["1.5", "1,5"], r"row 2002 .*'1,5' has a decimal comma"),
    ],
)
def test_commas_that_may_mean_something_else_are_refused(
    tmp_path: Path, values: list[str], words: str
) -> None:
    content = "user;item;rating\n" + "".join(f"{n};{n};{value}\n" for n, value in enumerate(values))
    with pytest.raises(BilinearError, match=words):
        read_ratings(put(tmp_path, content))


def test_a_decimal_comma_far_below_the_first_rows_is_read(tmp_path: Path) -> None:
    values = ["4"] * 2000 + ["1,5", "1,250"]
    content = "user;item;rating\n" + "".join(f"{n};{n};{value}\n" for n, value in enumerate(values))
    assert read_ratings(put(tmp_path, content)).ratings[-2:].tolist() == [1.5, 1.25]


def at(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]


DATES: list[tuple[str, float]] = [
    ("Wed Oct 10 20:19:24 +0000 2018", at(2018, 10, 10, 20, 19, 24)),
    ("Wed Oct 10 20:19:24 +0200 2018", at(2018, 10, 10, 18, 19, 24)),
    ("09 13, 2009", at(2009, 9, 13)),
    ("09 3, 2009", at(2009, 9, 3)),
    ("31/12/2019", at(2019, 12, 31)),
    ("12/31/2019 11:30 PM", at(2019, 12, 31, 23, 30)),
    ("12/31/2019 12:05:01 am", at(2019, 12, 31, 0, 5, 1)),
    ("31.12.2019 08:05", at(2019, 12, 31, 8, 5)),
    ("2019/12/31 08:05:09", at(2019, 12, 31, 8, 5, 9)),
    ("October 10, 2018", at(2018, 10, 10)),
    ("10 Oct 2018", at(2018, 10, 10)),
    ("10-Oct-2018", at(2018, 10, 10)),
    ("Wed, 10 Oct 2018 20:19:24 +0000", at(2018, 10, 10, 20, 19, 24)),
    ("2018-10-10T20:19:24Z", at(2018, 10, 10, 20, 19, 24)),
]


@pytest.mark.parametrize(("written", "seconds"), DATES)
def test_dates_as_people_write_them(tmp_path: Path, written: str, seconds: float) -> None:
    table = read_ratings(put(tmp_path, f'user,item,rating,time\n1,2,3,"{written}"\n'))
    assert table.times is not None
    assert table.times.tolist() == [seconds]


def dated(tmp_path: Path, dates: list[str]) -> Path:
    rows = [f'{n},{n},3,"{date}"' for n, date in enumerate(dates)]
    return put(tmp_path, text("user,item,rating,time", *rows))


def test_the_order_of_day_and_month_is_decided_on_the_whole_column(tmp_path: Path) -> None:
    early = [f"{1 + n % 12:02}/{1 + n % 7:02}/2020" for n in range(1500)]
    for last, wanted in (("31/01/2020", at(2020, 2, 1)), ("01/31/2020", at(2020, 1, 2))):
        table = read_ratings(dated(tmp_path, ["01/02/2020", *early, last]))
        assert table.times is not None
        assert table.times[0] == wanted
    with pytest.raises(BilinearError, match=r"row 1 .*'01/02/2020' can be read.*--time-format"):
        read_ratings(dated(tmp_path, ["01/02/2020", *early]))
    with pytest.raises(BilinearError, match=r"row 3 .*'12/31/2020' has the month first, and .*row 1"):
        read_ratings(dated(tmp_path, ["31/12/2020", "01/01/2020", "12/31/2020"]))
    table = read_ratings(dated(tmp_path, ["05/05/2020", "06/06/2020"]))  # either way the same
    assert table.times is not None
    assert table.times.tolist() == [at(2020, 5, 5), at(2020, 6, 6)]


def test_a_time_format_says_how_dates_are_written(tmp_path: Path) -> None:
    path = dated(tmp_path, ["03/04/20 10h", "05/06/20 11h"])
    table = read_ratings(path, time_format="%d/%m/%y %Hh")
    assert table.times is not None
    assert table.times.tolist() == [at(2020, 4, 3, 10), at(2020, 6, 5, 11)]
    with pytest.raises(BilinearError, match=r"row 1 .*--time-format"):
        read_ratings(path)
    with pytest.raises(BilinearError, match=r"row 1 .*time_format='%Y'"):
        read_ratings(path, time_format="%Y")
    for wrong in ("d/m/y", "%Q", 3):
        with pytest.raises(BilinearError, match="time_format="):
            read_ratings(path, time_format=wrong)  # type: ignore[arg-type]


def test_one_column_per_item_is_named_and_read_on_request(tmp_path: Path) -> None:
    wide = put(tmp_path, text("user,film a,film b,film c,film d", "ann,5,,3,NA", "bob,,0,,1"))
    with pytest.raises(BilinearError, match=r"--layout wide.*melt.*unpivot"):
        read_any(wide)
    wanted = {("ann", "film a"): 5.0, ("ann", "film c"): 3.0, ("bob", "film b"): 0.0, ("bob", "film d"): 1.0}
    assert ratings_of(read_any(wide, layout="wide", has_ratings=True)) == wanted
    assert ratings_of(read_ratings(wide, layout="wide")) == wanted
    import pandas as pd

    assert ratings_of(read_ratings(pd.read_csv(wide), layout="wide")) == wanted
    bad = put(tmp_path, text("user,a,b,c,d", "ann,5,x,3,2"))
    with pytest.raises(BilinearError, match=r"'x' is not a number"):
        read_ratings(bad, layout="wide")


def test_netflix_files(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        text("1:", "10,3,2005-09-06", "11,5,2005-05-13", "2:", "10,4,2004-01-31"),
        "combined_data_1.txt",
    )
    for found in (read_any(path), read_ratings(path)):
        assert ratings_of(found) == {(10, 1): 3.0, (11, 1): 5.0, (10, 2): 4.0}
        assert found.times is not None
        assert found.times.tolist() == [at(2005, 9, 6), at(2004, 1, 31), at(2005, 5, 13)]
        assert found.n_rows_read == 3
    probe = put(tmp_path, text("1:", "10", "11", "2:", "10"), "probe.txt")
    pairs = read_pairs(probe)
    assert list(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True)) == [
        ("10", "1"),
        ("11", "1"),
        ("10", "2"),
    ]
    broken = put(tmp_path, text("1:", "10,3,2005-09-06", "11,5"), "combined_data_1.txt")
    with pytest.raises(BilinearError, match=r"row 2 \(line 3\): 2 fields"):
        read_ratings(broken)
    bad = put(tmp_path, text("1:", "10,3,2005-09-06", "2:", "11,x,2005-09-06"), "combined_data_1.txt")
    with pytest.raises(BilinearError, match=r"row 2 \(line 4\): rating 'x'"):
        read_ratings(bad)


def test_matrix_market_files(tmp_path: Path) -> None:
    matrix = sp.random(20, 30, 0.2, random_state=0, format="coo")
    from scipy.io import mmwrite

    path = tmp_path / "t.mtx"
    mmwrite(path, matrix, comment="a comment\nof two lines")
    found = read_ratings(path)
    wanted = {
        (int(row) + 1, int(column) + 1): pytest.approx(float(value), rel=1e-6)
        for row, column, value in zip(matrix.row, matrix.col, matrix.data, strict=True)
    }
    assert ratings_of(found) == wanted
    mmwrite(path, matrix, field="pattern")
    assert set(ratings_of(read_interactions(path))) == set(wanted)
    content = path.read_text()
    with pytest.raises(BilinearError, match="cut off"):
        read_interactions(put(tmp_path, content.rsplit("\n", 2)[0] + "\n", "t.mtx"))
    with pytest.raises(BilinearError, match="from_matrix"):
        read_interactions(put(tmp_path, content.replace("general", "symmetric"), "t.mtx"))
    head = "%%MatrixMarket matrix coordinate real general\n"
    with pytest.raises(BilinearError, match=r"row 1 \(line 3\)"):
        read_ratings(put(tmp_path, head + "2 2 1\n3 1 5\n", "t.mtx"))


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(name.replace("__", "."), content)
    return out.getvalue()


GOOD = text("user;item;rating", "ann;a;1.5", "bob;b;4", "ann;b;2.5").encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.bz2", bz2.compress(GOOD)),
        ("t.csv.bz2", bz2.compress(GOOD[:30]) + bz2.compress(GOOD[30:])),
        ("t.csv.xz", lzma.compress(GOOD)),
        ("t.csv.gz", gzip.compress(GOOD[:30], mtime=0) + gzip.compress(GOOD[30:], mtime=0)),
        ("t.csv.zst", zstandard.compress(GOOD[:30]) + zstandard.compress(GOOD[30:])),
        ("t.zip", zipped(t__csv=GOOD)),
        ("t.csv.zip", zipped(t__csv=GOOD, **{"_MACOSX/._t__csv": b"x"})),
        ("t.zip", zipped(t__txt="\ufeff".encode() + GOOD)),
    ],
)
def test_packed_tables(tmp_path: Path, name: str, content: bytes) -> None:
    assert ratings_of(read_ratings(put(tmp_path, content, name))) == WANTED


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.zip", zipped(a__csv=GOOD, b__csv=GOOD), "holds 2 files: a.csv, b.csv"),
        ("t.zip", zipped(), "an empty zip archive"),
        ("t.xlsx", zipped(**{"[Content_Types]__xml": b"<x/>"}), "spreadsheet.*CSV"),
        ("t.zip", zipped(t__csv=GOOD)[:-30], "zip archive is damaged"),
        ("t.csv.bz2", bz2.compress(GOOD)[:-5], "end too early"),
        ("t.csv.bz2", bz2.compress(GOOD)[:-5] + b"12345", "bzip2 data are damaged"),
        ("t.csv.xz", lzma.compress(GOOD)[:-9], "end too early"),
        ("t.csv.xz", b"\xfd7zXZ\x00" + GOOD, "xz data are damaged"),
        ("t.csv.xz", GOOD, "named .xz"),
    ],
)
def test_packed_tables_that_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(BilinearError, match=words):
        read_ratings(put(tmp_path, content, name))


def peak_of_reading(path: Path) -> tuple[str, int]:
    """What a process of its own says, and by how much its memory grew in MB."""
    code = (
        "import sys, resource\n"
        "from bilinear.data.reading.readers import read_ratings\n"
        "import duckdb, zstandard\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_ratings(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, str(error)[:300])\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print((after - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    message, grown = done.stdout.strip().rsplit("\n", 1)
    return message, int(grown)


def bomb(n_bytes: int, unit: bytes) -> bytes:
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    block = unit * ((1 << 22) // len(unit))
    parts = [packer.compress(block) for _ in range(n_bytes // len(block))]
    return b"".join([*parts, packer.flush()])


@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="no getrusage")
@pytest.mark.parametrize(("unit", "words"), [(b"a", "line 1: this row is longer than"), (b"\0", "null byte")])
def test_unpacking_takes_little_memory_whatever_comes_out(tmp_path: Path, unit: bytes, words: str) -> None:
    packed = bomb(1 << 29, unit)
    assert len(packed) < 1 << 19
    message, grown = peak_of_reading(put(tmp_path, packed, "t.csv.zst"))
    assert words in message
    assert grown < 250


def test_an_archive_of_a_thousand_times_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bilinear.data.reading import files

    monkeypatch.setattr(files, "_MOST_UNPACKED", 1 << 20)
    with pytest.raises(BilinearError, match="more than 1,000 times its size"):
        read_ratings(put(tmp_path, bomb(1 << 26, b"1,2,3\n\n\n"), "t.csv.zst"))


def test_a_window_of_two_gigabytes_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=31, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = packer.compress(GOOD) + packer.flush()
    with pytest.raises(BilinearError, match="128 MB of memory"):
        read_ratings(put(tmp_path, content, "t.csv.zst"))


def test_a_line_longer_than_any_row_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bilinear.data.reading import files

    monkeypatch.setattr(files, "_LONGEST_LINE", 1 << 21)
    content = b"user,item,rating\n1,2,3\n1," + b"x" * (5 << 20) + b",3\n1,3,3\n"
    with pytest.raises(BilinearError, match=r"t.csv, line 3: this row is longer than 2 MB"):
        read_ratings(put(tmp_path, content))


def test_a_long_header_is_read_whole(tmp_path: Path) -> None:
    n_columns = 4_000
    names = [f"column number {n} {'of a long name' * 14}" for n in range(n_columns)]
    header = ",".join([*names, "user", "item", "rating"])
    rows = [",".join(["0"] * n_columns + [f"u{n}", f"i{n}", "4.5"]) for n in range(3)]
    assert ratings_of(read_ratings(put(tmp_path, text(header, *rows)))) == {
        (f"u{n}", f"i{n}"): 4.5 for n in range(3)
    }


DENSE = np.array([[5.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    "kind", ["csr_array", "csc_matrix", "coo_array", "lil_array", "dok_array", "bsr_array"]
)
def test_sparse_matrices(kind: str) -> None:
    table = Interactions.from_matrix(getattr(sp, kind)(DENSE), ["b", "none", "a"], [30, 10, 20])
    assert ratings_of(table) == {("b", 30): 5.0, ("b", 20): 3.0, ("a", 10): 1.0}
    assert table.shape == (3, 3)  # the user without ratings is known
    again = Interactions.from_matrix(table.to_csr(), table.user_vocabulary, table.item_vocabulary)
    assert ratings_of(again) == ratings_of(table)


def test_dense_matrices_say_what_is_missing() -> None:
    wanted = {(0, 0): 5.0, (0, 2): 3.0, (2, 1): 1.0}
    with pytest.raises(BilinearError, match=r"6 entries are 0.*row 0, column 1.*missing=0.*missing=nan"):
        Interactions.from_matrix(DENSE)
    assert ratings_of(Interactions.from_matrix(DENSE, missing=0)) == wanted
    assert Interactions.from_matrix(DENSE, missing=np.nan).n_ratings == 9
    assert ratings_of(Interactions.from_matrix(np.where(DENSE == 0, np.nan, DENSE))) == wanted
    assert ratings_of(Interactions.from_matrix(np.ma.masked_equal(DENSE, 0))) == wanted
    assert ratings_of(Interactions.from_matrix(np.where(DENSE == 0, 99, DENSE), missing=99)) == wanted
    clicks = Interactions.from_matrix(DENSE > 0, missing=0, has_ratings=False)
    assert not clicks.has_ratings
    assert ratings_of(clicks) == dict.fromkeys(wanted, 1.0)


def test_stored_zeros_and_repeats_of_a_sparse_matrix_follow_the_arguments() -> None:
    matrix = sp.coo_array(([5.0, 0.0, 2.0, 4.0], ([0, 0, 1, 1], [0, 1, 1, 1])), shape=(2, 2))
    with pytest.raises(BilinearError, match="1 entries are 0"):
        Interactions.from_matrix(matrix)
    assert ratings_of(Interactions.from_matrix(matrix, missing=0)) == {(0, 0): 5.0, (1, 1): 4.0}
    table = Interactions.from_matrix(matrix, missing=np.nan, duplicates="mean")
    assert ratings_of(table) == {(0, 0): 5.0, (0, 1): 0.0, (1, 1): 3.0}
    assert table.n_duplicates == 1


@pytest.mark.parametrize(
    ("matrix", "arguments", "words"),
    [
        (np.ones((2, 3)), {"users": [1, 2, 3], "items": [1, 2]}, "give matrix.T"),
        (np.ones((2, 3)), {"users": [1, 2, 3]}, "2 rows and 3 columns, for 3 users.*matrix.T"),
        (
            np.ones((2, 3)),
            {"users": [1, 2, 3, 4]},
            "for 4 users and 3 items; rows are users and columns are items$",
        ),
        (np.ones((2, 3)), {"users": [1, 1]}, "user 1 is there twice"),
        (np.ones(3), {}, "1 dimensions"),
        (np.array([["a"]]), {}, "array of numbers"),
        (np.array([[np.inf]]), {}, r"row 0, column 0.*not a finite number"),
        (np.array([[-1.0]]), {"has_ratings": False}, "not a count above zero"),
        (np.ones((2, 3)), {"missing": "zero"}, "missing='zero'"),
    ],
)
def test_matrices_that_are_refused(matrix: object, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(BilinearError, match=words):
        Interactions.from_matrix(matrix, **arguments)  # type: ignore[arg-type]
