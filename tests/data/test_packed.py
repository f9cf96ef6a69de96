"""Packed tables: the table that reading gives, in files; whole or not at all; damage is named."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from problems import same_bits

from bilinear import BiasModel, MatrixFactorization, Popularity, pack, read_interactions, read_ratings
from bilinear.data import splits, storage
from bilinear.data.interactions import Interactions
from bilinear.data.packed import open_packed
from bilinear.data.reading import duckdb_reader, packing
from bilinear.data.reading.readers import read_any
from bilinear.data.splits import split_random, split_validation
from bilinear.data.synthetic.catalogue import synthetic_ratings
from bilinear.errors import (
    DataError,
    DuplicatePairError,
    FileFormatError,
    ParameterValueError,
    RatingValueError,
)
from bilinear.training.sgd import SGD


def frame(n=900, seed=0):
    """Rows in no order, a third of them repeats of a pair; ids of text, some with blanks around them."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(40, size=n), rng.integers(30, size=n)
    pads = np.array(["", " "])[rng.integers(2, size=n)]
    return pd.DataFrame(
        {
            "user": [f"{pad}u{user}" for pad, user in zip(pads, users, strict=True)],
            "item": items,
            "rating": rng.integers(1, 6, size=n),
            "time": rng.integers(10**9, 10**9 + 50, size=n),
        }
    )


def assert_same_table(packed, read):
    for name in ("users", "items", "ratings", "times"):
        mine, theirs = getattr(packed, name), getattr(read, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or (mine.dtype == theirs.dtype and np.array_equal(mine, theirs)), name
    for side in ("user_vocabulary", "item_vocabulary"):
        assert getattr(packed, side) == getattr(read, side)
        assert getattr(packed, side).rules == getattr(read, side).rules
    for name in ("n_rows_read", "n_rows_skipped", "has_ratings", "duplicates", "notes"):
        assert getattr(packed, name) == getattr(read, name), name


READINGS = [
    {},
    {"duplicates": "mean", "time": False},
    {"ids": "strip"},
    {"missing": [3, 5]},
    {"missing": 1, "ids": "strip,nfc", "duplicates": "mean"},
    {"has_ratings": False, "count": "rating"},
]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_a_packed_table_is_the_table_that_is_read(reading, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_MOST", 60)  # a dozen blocks, some of them of one user
    monkeypatch.setattr(packing, "_FEWEST", 60)
    monkeypatch.setattr(duckdb_reader, "_FETCH", 70)
    rows = frame()
    source = rows if kind == "frame" else tmp_path / f"rows.{kind}"
    if kind == "csv":
        rows.to_csv(source, index=False)
    elif kind == "parquet":
        rows.to_parquet(source)
    packed = pack(source, tmp_path / "packed", **reading)
    assert_same_table(packed, read_any(source, **reading))
    assert_same_table(read_any(tmp_path / "packed"), packed)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_the_engine_cannot_read_is_packed_as_well(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(
        "user,item,rating\n" + "\n".join(f"{n % 7},i{n},{n % 5}" for n in range(90)) + "\n1,a,four\n"
    )
    with pytest.raises(RatingValueError, match="row 91"):
        pack(path, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    kept = {"skip_bad_rows": tmp_path / "bad.csv"}
    assert_same_table(pack(path, tmp_path / "packed", **kept), read_ratings(path, **kept))


def test_repeats_and_marks_are_refused_as_in_reading(tmp_path):
    rows = frame()
    rows.loc[::9, "rating"] = 99
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(RatingValueError, match="are 99, apart from the others"):
        pack(tmp_path / "rows.csv", tmp_path / "packed")
    with pytest.raises(DuplicatePairError, match="repeat a user and an item"):
        pack(tmp_path / "rows.csv", tmp_path / "packed", missing=99, duplicates="error")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv"]


TABLE = synthetic_ratings(300, 80, 6000, 3, rng=1)


@pytest.fixture
def packed(tmp_path):
    return pack(TABLE, tmp_path / "packed")


@pytest.mark.parametrize(
    "model",
    [
        MatrixFactorization(n_factors=4, l2=0.5, l2_biases=0.5, solver=SGD(n_epochs=4), rng=0),
        BiasModel(rng=0),
        Popularity(),
    ],
)
def test_a_model_has_the_same_bits_packed_or_not(model, packed, tmp_path):
    theirs, mine = split_random(TABLE, rng=3), split_random(packed, rng=3)
    assert_same_table(mine.train, theirs.train)
    fitted = [type(model)(**model.get_params(deep=False)).fit(split.train) for split in (theirs, mine)]
    lists = [one.recommend(TABLE.user_vocabulary[5]) for one in fitted]
    assert (lists[0].items == lists[1].items).all()
    assert (lists[0].scores == lists[1].scores).all()
    if not isinstance(model, Popularity):
        assert same_bits(*(one.parameters_ for one in fitted))
        assert fitted[0].evaluate(theirs.test).rmse == fitted[1].evaluate(mine.test).rmse
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed"]


def test_columns_of_parts_are_in_files_without_a_name(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_PART", 1000)
    before = sorted(path.name for path in (tmp_path / "packed").iterdir())
    mask = np.random.default_rng(0).random(TABLE.n_ratings) < 0.3
    for rows in (mask, np.flatnonzero(mask)[::-1]):
        assert_same_table(packed.take(rows), TABLE.take(mask))
    lazy = split_validation(packed, 0.1, np.random.default_rng(0), lazy=True).train
    for column in (packed.take(mask).ratings, lazy.items):
        assert not column.flags.owndata
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == before


def test_a_draw_of_many_rows_is_exact_and_even(monkeypatch):
    monkeypatch.setattr(splits, "_MOST_PERMUTED", 10)
    monkeypatch.setattr(splits, "_DRAWN_AT_ONCE", 7)
    times = np.zeros(20)
    for seed in range(500):
        for share in (6, 14):
            mask = np.zeros(20, bool)
            splits._draw(mask, share, np.random.default_rng([seed, share]))
            assert mask.sum() == share
            times += mask
    # chi square with 19 degrees of freedom: 43.8 is the 0.1 % point; draws without replacement vary less
    assert ((times - 500) ** 2 / 500).sum() < 43.8
    parts = split_random(TABLE, 0.25, rng=0)
    assert (parts.train.n_ratings, parts.test.n_ratings) == (4500, 1500)


def cut(folder):
    with (folder / "items.bin").open("r+b") as file:
        file.truncate(8000)


def changed(folder):
    with (folder / "ratings.bin").open("r+b") as file:
        file.seek(100)
        file.write(b"\x01\x02")


def manifest(**other):
    def change(folder):
        document = json.loads((folder / "packed.json").read_text())
        (folder / "packed.json").write_text(json.dumps(document | other))

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, r"items\.bin: has 8,000 bytes where packed\.json says 24,000"),
        (changed, r"ratings\.bin: its content is not that of the checksum"),
        (lambda folder: (folder / "users.bin").unlink(), r"users\.bin: No such file"),
        (lambda folder: (folder / "packed.json").write_text("{"), r"packed\.json: the JSON cannot be read"),
        (manifest(format_version=2), r"of format version 2, and this bilinear reads 1; update bilinear"),
        (manifest(format="another"), r"is not of the format"),
        (manifest(n_ratings=5999), r"says 5,999 rows"),
        (manifest(files={}), r"does not describe a packed table"),
        (manifest(files={"users.bin": 3}), r"does not describe a packed table"),
    ],
)
def test_damage_is_refused_by_name_and_cause(damage, words, packed, tmp_path):
    open_packed(tmp_path / "packed", verify=True)
    damage(tmp_path / "packed")
    with pytest.raises(FileFormatError, match=words):
        open_packed(tmp_path / "packed", verify=damage is changed)


def test_ids_that_are_not_there_are_refused(packed, tmp_path):
    rows = packed.users.copy()
    rows[-1] = TABLE.n_users
    (tmp_path / "packed" / "users.bin").write_bytes(rows.tobytes())
    with pytest.raises(FileFormatError, match="refers to users that are not among the ids"):
        open_packed(tmp_path / "packed")


@pytest.mark.parametrize(
    ("reading", "word"),
    [({"user": "who"}, "user"), ({"missing": 99}, "missing"), ({"quote": "none"}, "quote"),
     ({"duplicates": "mean"}, "duplicates"), ({"encoding": "latin-1"}, "encoding")],
)  # fmt: skip
def test_no_argument_of_reading_is_ignored(reading, word, packed, tmp_path):
    with pytest.raises(ParameterValueError, match=f"{word}.* cannot be said of a packed table"):
        read_ratings(tmp_path / "packed", **reading)


def test_a_table_of_ratings_is_not_read_as_one_without(packed, tmp_path):
    with pytest.raises(DataError, match="was packed with ratings"):
        read_interactions(tmp_path / "packed")


def test_a_name_that_is_taken_and_a_full_disk_are_refused_before_work(packed, tmp_path, monkeypatch):
    with pytest.raises(ParameterValueError, match="is there already"):
        pack(TABLE, tmp_path / "packed")
    with pytest.raises(ParameterValueError, match="make it first"):
        pack(TABLE, tmp_path / "none" / "packed")
    frame().to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10_000))
    for source in (TABLE, tmp_path / "rows.csv"):
        with pytest.raises(OSError, match=r"packing needs about .* of disk more, and 10KB is free"):
            pack(source, tmp_path / "other")
    with pytest.raises(OSError, match="of disk more"):
        packed.take(np.arange(5000))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "rows.csv"]


def test_what_a_killed_process_left_is_replaced(tmp_path):
    left = tmp_path / ".packed.bilinear-tmp"
    left.mkdir()
    (left / "users.bin").write_bytes(b"left")
    assert_same_table(pack(TABLE, tmp_path / "packed"), TABLE)
    assert not left.exists()


def test_blocks_of_users_hold_no_more_rows_than_can_be_sorted(monkeypatch):
    monkeypatch.setattr(packing, "_MOST", 10)
    monkeypatch.setattr(packing, "_FEWEST", 10)
    counts = np.array([3, 0, 7, 1, 25, 2, 2, 2, 2, 2, 2])
    sums = [int(counts[a:b].sum()) for a, b in pairwise(packing._cuts(counts))]
    assert sums == [10, 1, 25, 10, 2]


def parts(tmp_path, kind, n=3):
    whole = frame().sort_values("user", ignore_index=True)
    step = -(-len(whole) // n)
    for at in range(n):
        part = whole[at * step : (at + 1) * step]
        if kind == "parquet":
            part.to_parquet(tmp_path / f"{at}.parquet")
        elif kind == "jsonl":
            part.to_json(tmp_path / f"{at}.jsonl", orient="records", lines=True)
        else:
            part.to_csv(tmp_path / f"{at}.{kind}", index=False)
    return whole


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "jsonl"])
def test_files_of_a_pattern_are_one_table_in_the_order_of_their_names(kind, tmp_path):
    whole = parts(tmp_path, kind)
    found = read_ratings(tmp_path / f"*.{kind}")
    expected = read_ratings(whole)
    for name in ("users", "items", "ratings", "times"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert found.n_rows_read == len(whole)
    assert found.source == f"*.{kind} (3 files)"


def test_files_that_differ_are_not_one_table(tmp_path):
    (tmp_path / "a.csv").write_text("user,item\n1,2\n2,3\n")
    (tmp_path / "b.csv").write_text("who,what\n1,2\n2,3\n")
    with pytest.raises(FileFormatError, match=r"b\.csv: begins with 'who,what\\n'"):
        read_interactions(tmp_path / "*.csv")
    pd.DataFrame({"user": [1], "item": [2]}).to_parquet(tmp_path / "c.parquet")
    pd.DataFrame({"user": ["a"], "item": [2]}).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(FileFormatError, match=r"d\.parquet: has the columns user VARCHAR"):
        read_interactions(tmp_path / "*.parquet")
    with pytest.raises(FileFormatError, match="read files of one kind"):
        read_interactions(tmp_path / "*")
    with pytest.raises(DataError, match="no such file"):
        read_interactions(tmp_path / "*.tsv")


def test_first_lines_that_are_no_header_are_rows(tmp_path):
    for name, rows in (("a", "1,2\n1,3\n"), ("b", "1,2\n2,3")):
        (tmp_path / f"{name}.csv").write_text(rows)
    table = read_interactions(tmp_path / "?.csv")
    assert table.n_rows_read == 4
    assert table.ratings.tolist() == [2, 1, 1]


def test_a_folder_of_parquet_files_is_a_table(tmp_path):
    whole = parts(tmp_path, "parquet")
    (tmp_path / "_SUCCESS").write_text("")
    packed = pack(tmp_path, tmp_path.with_suffix(".packed"))
    expected = Interactions.from_columns(*(whole[name] for name in ("user", "item", "rating", "time")))
    assert np.array_equal(packed.ratings, expected.ratings)
