"""Columns of a table as sparse blocks: kinds, what is inferred, what is refused with the way out."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray

import bilinear
from bilinear import Categories, Dates, Items, Number, Users, Vector, Vocabulary, Words, describe_features
from bilinear.data.features.encoder import FeatureEncoder
from bilinear.data.features.inference import FeatureLike, parsed_feature
from bilinear.errors import (
    DataError,
    FeatureColumnError,
    IdValueError,
    MissingColumnError,
    ParameterValueError,
)


def table(**columns: list[Any]) -> Users:
    n = len(next(iter(columns.values())))
    return Users(Vocabulary.from_ids(range(n)), columns)


def block(values: list[Any], feature: FeatureLike = "x") -> NDArray[np.float64]:
    people = table(x=values)
    (found,) = FeatureEncoder.learn(people, [feature]).encode(people).blocks
    return found.matrix().toarray().astype(float)


def kind(values: list[Any], name: str = "x") -> FeatureLike:
    return FeatureEncoder.learn(table(**{name: values}), [name]).features[0]


def refusal(values: list[Any], feature: FeatureLike = "x", name: str = "x") -> str:
    with pytest.raises(FeatureColumnError) as caught:
        FeatureEncoder.learn(table(**{name: values}), [feature])
    return str(caught.value)


# -- kinds -----------------------------------------------------------------------------------------


def test_categories_equal_a_one_hot_twin_with_rows_of_length_one() -> None:
    rng = np.random.default_rng(0)
    names = ["Comedy", "Drama", "War", "Western"]
    cells = [[name for name in names if rng.random() < 0.4] for _ in range(50)]
    hot = np.array([[name in cell for name in names] for cell in cells], float)
    expected = hot / np.maximum(np.sqrt(hot.sum(axis=1, keepdims=True)), 1)
    for spelled in (cells, ["|".join(cell) for cell in cells], [json.dumps(cell) for cell in cells]):
        assert block(spelled) == pytest.approx(expected, abs=1e-6)


def test_a_category_that_a_cell_names_twice_counts_once() -> None:
    assert block(["a|b|a", "b", "a"])[0] == pytest.approx([0.5**0.5, 0.5**0.5])


def test_numbers_are_standardised_beside_their_bin_and_missing_ones_have_a_column_of_their_own() -> None:
    values = [1.0, 2.0, 3.0, 4.0, None]
    found = block(values, Number("x", bins=2))
    z = (np.array(values[:4]) - 2.5) / np.std(values[:4])
    assert found[:4, 0] == pytest.approx(z / np.sqrt(1 + z * z))
    assert (found[:4, 1] > 0).tolist() == [True, True, False, False]
    assert (found[:4, 2] > 0).tolist() == [False, False, True, True]
    assert found[4].tolist() == [0, 0, 0, 1]
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)


def test_bins_hold_equal_counts() -> None:
    rng = np.random.default_rng(1)
    found = block(list(rng.exponential(size=1000)), Number("x", bins=5))
    assert (found[:, 1:] > 0).sum(axis=0).tolist() == [200] * 5


def test_few_different_numbers_have_a_bin_each() -> None:
    encoder = FeatureEncoder.learn(table(x=[1, 5, 5, 18]), ["x"])
    assert encoder.column_names == (("value", "1", "5", "18"),)


def test_an_extreme_number_counts_as_three_standard_deviations() -> None:
    people = table(x=[float(n) for n in range(100)])
    encoder = FeatureEncoder.learn(people, [Number("x", bins=0)])
    (found,) = encoder.encode_records([{"x": 1e30}, {"x": -1e30}]).blocks
    assert found.matrix().toarray().ravel().tolist() == [3, -3]


def test_words_equal_an_independent_inverse_document_frequency() -> None:
    titles = ["Star Wars", "star trek", "Star wars again", "The wars", "x"]
    people = table(x=titles)
    encoder = FeatureEncoder.learn(people, [Words("x", min_count=2)])
    assert encoder.column_names == (("star", "wars"),)
    idf = np.log(6 / (1 + 3)) + 1  # both in three of five rows
    both = np.array([idf, idf]) / np.sqrt(2 * idf * idf)
    (found,) = encoder.encode(people).blocks
    assert found.matrix().toarray()[0] == pytest.approx(both, abs=1e-6)
    assert found.matrix().toarray()[4].tolist() == [0, 0]


def test_vectors_are_standardised_to_length_one() -> None:
    rng = np.random.default_rng(2)
    raw = rng.normal(3, [1, 10, 0.1], size=(20, 3))
    z = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    expected = z / np.linalg.norm(z, axis=1, keepdims=True)
    assert block(raw.tolist(), Vector("x")) == pytest.approx(expected, abs=1e-5)
    assert block([str(row) for row in raw.tolist()], Vector("x")) == pytest.approx(expected, abs=1e-5)


def test_dates_are_a_year_and_a_month() -> None:
    days = ["2001-02-03", "2004-12-31", "", "2009-02-01"]
    encoder = FeatureEncoder.learn(table(x=days), ["x"])
    names = encoder.column_names[0]
    assert isinstance(encoder.features[0], Dates)
    rows = block(days)
    assert [names[at] for at in np.flatnonzero(rows[0])] == ["year value", "year 2001", "February"]
    assert [names[at] for at in np.flatnonzero(rows[2])] == ["missing"]
    as_dates: list[Any] = [
        dt.date(2001, 2, 3),
        dt.datetime(2004, 12, 31, 5),
        None,
        np.datetime64("2009-02-01"),
    ]
    assert block(as_dates) == pytest.approx(rows)


def test_a_column_of_dates_has_one_order_of_day_and_month() -> None:
    names = FeatureEncoder.learn(table(x=["13/02/2001", "03/02/2002"]), ["x"]).column_names[0]
    assert names[int(np.flatnonzero(block(["13/02/2001", "03/02/2002"])[1])[-1])] == "February"


# -- new tables ------------------------------------------------------------------------------------


def test_rows_of_a_new_table_are_encoded_as_the_old_ones() -> None:
    rng = np.random.default_rng(3)
    columns: dict[str, list[Any]] = {
        "age": [int(n) for n in rng.integers(18, 80, 60)],
        "job": [["a", "b", None, "c"][n] for n in rng.integers(0, 4, 60)],
        "since": [f"20{n:02d}-0{n % 9 + 1}-01" for n in rng.integers(0, 20, 60)],
        "about": [" ".join(np.array(["red", "green", "blue"])[rng.random(3) < 0.5]) for _ in range(60)],
    }
    people = table(**columns)
    encoder = FeatureEncoder.learn(people, ["age", "job", "since", Words("about")])
    whole = encoder.encode(people)
    chosen = [41, 7, 3]
    part = encoder.encode(people, Vocabulary.from_ids([*chosen, 99]))  # 99 is unknown
    records = encoder.encode_records([people.row(n) for n in sorted(chosen)])
    for all_rows, some, recorded in zip(whole.blocks, part.blocks, records.blocks, strict=True):
        expected = all_rows.matrix().toarray()[sorted(chosen)]
        assert np.array_equal(some.matrix().toarray()[:3], expected)
        assert not some.matrix().toarray()[3].any()
        assert np.array_equal(recorded.matrix().toarray(), expected)


def test_what_is_unknown_or_unusable_is_ignored_by_name_and_leaves_a_zero_row() -> None:
    encoder = FeatureEncoder.learn(table(job=["a", "b", "a"], age=[1.0, 2.0, 3.0]), ["job", "age"])
    found = encoder.encode_records([{"job": "z", "AGE": "old"}, {"job": None}, {}])
    assert found.ignored == {"job": ("z",), "age": ("old",)}
    assert all(not one.n_entries for one in found.blocks)


def test_a_record_with_another_column_is_refused_with_the_known_ones() -> None:
    encoder = FeatureEncoder.learn(table(job=["a", "b", "a"]), ["job"])
    with pytest.raises(
        ParameterValueError, match=r"unknown feature 'jop'; the model knows 'job'. Did you mean"
    ):
        encoder.encode_records([{"jop": "a"}])


def test_a_new_table_without_a_column_is_refused() -> None:
    encoder = FeatureEncoder.learn(table(job=["a", "b", "a"]), ["job"])
    with pytest.raises(MissingColumnError, match="no column 'job' for a feature; the columns are 'age'"):
        encoder.encode(table(age=[1, 2]))


# -- what is inferred ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b", "a"], Categories("x", separator=None)),
        (["a|b", "b", "a"], Categories("x", separator="|")),
        (["a;b", "b", "a"], Categories("x", separator=";")),
        (["a, b", "b", "a", "b, a"], Categories("x", separator=",")),
        (["Lee, Ann", "Poe, Edgar", "Lee, Ann"], Categories("x", separator=None)),
        ([["a", "b"], [], ["a"]], Categories("x", separator=None)),
        ([True, False, None], Categories("x", separator=None)),
        ([1, 2.5, None], Number("x")),
        (["1", " 2.5", ""], Number("x")),
        (["01", "02", "01"], Categories("x", separator=None)),
        (["1995-03-01", "2001-12-24", "2001-12-25"], Dates("x")),
        (["3 Mar 1995", "24 Dec 2001", "25 Dec 2001"], Dates("x")),
        ([dt.date(1995, 3, 1), dt.date(2001, 1, 1)], Dates("x")),
    ],
)
def test_kinds_are_inferred(values: list[Any], expected: FeatureLike) -> None:
    assert kind(values) == expected


def test_codes_that_come_back_are_categories_though_they_are_numbers() -> None:
    assert kind([3, 1, 3, 2] * 20, "studio_id") == Categories("studio_id", separator=None)


def test_titles_that_end_with_years_have_a_column_of_years(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("movieId,title\n1,Heat (1995)\n2,Up (2009)\n3,Untitled\n4,A (2009)\n")
    films = bilinear.read_items(tmp_path / "m.csv")
    encoder = FeatureEncoder.learn(films, ["year"])
    assert encoder.column_names == (("value", "1995", "2009", "missing"),)
    assert [one.column for one in describe_features(films).columns] == ["title", "year"]


def test_files_frames_and_queries_give_the_same_features(tmp_path: Path) -> None:
    import sqlite3

    frame = pd.DataFrame({"user_id": [3, 1, 2], "age": [30, 20, 40], "job": ["a", "b", "a"]})
    frame.to_csv(tmp_path / "u.csv", index=False)
    frame.to_parquet(tmp_path / "u.parquet")
    sources: list[Any] = [tmp_path / "u.csv", tmp_path / "u.parquet", frame, pl.from_pandas(frame)]
    tables = [bilinear.read_users(source) for source in sources]
    with sqlite3.connect(tmp_path / "u.db") as database:
        frame.to_sql("people", database, index=False)
    tables += [bilinear.read_users("SELECT * FROM people", connection=f"sqlite:///{tmp_path}/u.db")]
    found = [FeatureEncoder.learn(people, ["age", "job"]).encode(people).blocks for people in tables]
    for blocks in found[1:]:
        for one, first in zip(blocks, found[0], strict=True):
            assert np.array_equal(one.matrix().toarray(), first.matrix().toarray())


def test_users_of_movielens_are_named(tmp_path: Path) -> None:
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n3|23|M|writer|32067\n")
    people = bilinear.read_users(tmp_path / "u.user")
    assert list(people.columns) == ["user", "age", "gender", "occupation", "zip code"]
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    assert bilinear.read_users(tmp_path / "users.dat").row(2)["age"] == "56"


def test_the_command_line_names_a_kind_behind_a_colon() -> None:
    assert parsed_feature("genres") == "genres"
    assert parsed_feature("code:categories") == Categories("code")
    with pytest.raises(ParameterValueError, match="'colour' is not a kind of feature; choose categories"):
        parsed_feature("x:colour")


# -- hostile tables --------------------------------------------------------------------------------


def test_columns_that_tell_nothing_are_refused_by_name_with_the_way_out() -> None:
    n = 60
    assert "numeric ids (60 different whole numbers in 60 rows)" in refusal(list(range(1, 1 + n)))
    ids = [int(one) for one in np.random.default_rng(0).permutation(10**6)[:n]]
    assert "numeric ids" in refusal(ids, "imdbId", "imdbId")
    unique = refusal([f"text {at}" for at in range(n)])
    assert "nearly unique (60 different values in 60 rows)" in unique
    assert "Words('x')" in unique
    assert "is the same in every row ('a')" in refusal(["a"] * n)
    assert "is 3 in every row" in refusal([3] * n)
    assert "is empty" in refusal([None, "", float("nan")])
    mixed = refusal(["1", "2", "three"])
    assert "2 of 3 values are numbers, 'three' is not" in mixed
    assert "Number('x') takes the rest for missing" in mixed
    assert "has 3 numbers a row; an embedding is Vector('x')" in refusal([[0.1, 2, 3], [1, 2, 3]])
    assert "all of one length, got lengths 2, 3" in refusal([[1, 2], [1, 2, 3]], Vector("x"))


def test_a_hundred_thousand_categories_are_refused_with_the_way_out() -> None:
    values = [f"c{at}" for at in range(100_000)]
    assert "has 100,000 categories, more than 20,000" in refusal(values, Categories("x", separator=None))
    twice = table(x=values[:30_000] * 2 + values[:100] * 3)
    kept = FeatureEncoder.learn(twice, [Categories("x", separator=None, min_count=5)])
    assert kept.n_columns == 100


def test_the_column_of_ids_is_not_a_feature(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user,job\na,x\nb,y\n")
    with pytest.raises(FeatureColumnError, match="holds the ids of the users"):
        FeatureEncoder.learn(bilinear.read_users(tmp_path / "u.csv"), ["user"])


def test_ids_with_separators_are_ids(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text('user,job\n"a|b",x\n"a,b",y\n"a;b",x\n')
    people = bilinear.read_users(tmp_path / "u.csv")
    (found,) = (
        FeatureEncoder.learn(people, ["job"]).encode(people, Vocabulary.from_ids(["a|b", "a,b"])).blocks
    )
    assert found.matrix().toarray().tolist() == [[0, 1], [1, 0]]


def test_an_id_in_two_rows_is_refused_with_both(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("user,job\na,x\nb,y\na,z\n")
    with pytest.raises(IdValueError, match=r"rows 1 and 3: user 'a' is there twice .* keep one row a user"):
        bilinear.read_users(tmp_path / "u.csv")


def test_numbers_beyond_all_bounds_are_missing() -> None:
    found = block([1.0, 2.0, float("inf"), float("nan"), "1e999"], Number("x"))
    assert found[2:].tolist() == [[0, 0, 0, 1]] * 3


@pytest.mark.parametrize("given", [3, [3], [Categories], {"genres": 1}])
def test_features_are_columns_or_kinds(given: Any) -> None:
    with pytest.raises(ParameterValueError, match="give a list of columns"):
        FeatureEncoder.learn(table(x=[1, 2]), given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Categories(""),
        lambda: Categories("x", separator=""),
        lambda: Categories("x", min_count=0),
        lambda: Number("x", bins=-1),
        lambda: Words("x", min_count=1.5),  # type: ignore[arg-type]
        lambda: FeatureEncoder.learn(table(x=[1, 2]), ["x", Number("x")]),
    ],
)
def test_arguments_are_checked(make: Any) -> None:
    with pytest.raises(ParameterValueError):
        make()


def test_a_description_names_every_column_and_refuses_none() -> None:
    films = Items(
        Vocabulary.from_ids(range(3)),
        {"id": [0, 1, 2], "genres": ["a|b", "a", ""], "same": [1, 1, 1]},
        id_column="id",
    )
    found = describe_features(films)
    assert found.usable == ("genres",)
    assert [one.column for one in found.columns] == ["genres", "same"]
    assert "genres  Categories(separator='|'): 2 columns, 1 rows without a value" in str(found)
    assert "same    none: it is 1 in every row" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["columns"][0]["n_missing"] == 1
    assert issubclass(FeatureColumnError, DataError)
