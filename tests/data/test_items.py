"""Titles and genres beside the ratings."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from bilinear.data.items import Items
from bilinear.data.reading.item_tables import read_items
from bilinear.data.reading.readers import read_ratings
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import (
    AmbiguousColumnError,
    EmptyDataError,
    FileFormatError,
    IdValueError,
    MissingColumnError,
    UnknownIdError,
)

CSV = 'movieId,title,genres\n2,"Two, the second",Comedy|Drama\n1,One,(no genres listed)\n10,,War\n'


@pytest.fixture
def items(tmp_path: Path) -> Items:
    (tmp_path / "movies.csv").write_text(CSV)
    return read_items(tmp_path / "movies.csv")


def test_titles_fall_back_to_the_id(items: Items) -> None:
    assert items.title(2) == "Two, the second"
    assert items.title("2") == "Two, the second"  # an integer and its plain spelling are one id
    assert items.title("02") == "02"
    assert items.title(10) == "10"  # empty
    assert items.title(99) == "99"  # unknown
    assert items.titles([99, 1]) == ["99", "One"]


def test_rows_are_looked_up_by_id(items: Items) -> None:
    assert items.row(2) == {"movieId": "2", "title": "Two, the second", "genres": "Comedy|Drama"}
    assert 2 in items
    assert 3 not in items
    with pytest.raises(UnknownIdError, match="no such item: 3"):
        items.row(3)


def test_genres(items: Items) -> None:
    assert items.genre_column == "genres"
    assert [items.genres(id_) for id_ in (1, 2, 10, 99)] == [(), ("Comedy", "Drama"), ("War",), ()]


def test_search_ignores_case_and_puts_beginnings_first(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("item,title\n1,The Star\n2,STAR WARS\n3,Stars\n4,Alien\n5,Straße\n")
    items = read_items(path)
    assert items.search("star") == [(3, "Stars"), (2, "STAR WARS"), (1, "The Star")]
    assert items.search("star", 1) == [(3, "Stars")]
    assert items.search("STRASSE") == [(5, "Straße")]
    assert items.search("nothing") == []


def test_subset_follows_another_vocabulary(items: Items) -> None:
    wanted = Vocabulary.from_ids([10, 2, 77])
    part = items.subset(wanted)
    assert list(part.vocabulary) == [2, 10]
    assert part.titles(wanted) == ["Two, the second", "10", "77"]
    assert part.genres(10) == ("War",)
    as_text = items.subset(Vocabulary.from_ids(["2", "x"]))
    assert list(as_text.vocabulary) == ["2"]
    assert as_text.title("2") == "Two, the second"


def test_items_are_frozen(items: Items) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        items.source = "other"  # type: ignore[misc]
    assert "3 items" in repr(items)
    assert len(items) == 3


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz", "m.tsv", "m.dat", "m.jsonl", "m.parquet"])
def test_every_format(tmp_path: Path, name: str) -> None:
    ids, titles, genres = ["2", "1"], ["Zwei", 'Die "Eins"'], ["A|B", "C"]
    path = tmp_path / name
    if name == "m.jsonl":
        rows = zip(ids, titles, genres, strict=True)
        path.write_text("".join(json.dumps({"id": i, "name": t, "genre": g}) + "\n" for i, t, g in rows))
    elif name == "m.parquet":
        pa.parquet.write_table(pa.table({"id": ids, "name": titles, "genre": genres}), path)
    else:
        delimiter = {"m.tsv": "\t", "m.dat": "::"}.get(name, ",")
        rows = [("id", "name", "genre"), *zip(ids, titles, genres, strict=True)]
        content = "".join(delimiter.join(row) + "\n" for row in rows).encode()
        if delimiter != "::":
            content = content.replace(b'Die "Eins"', b'"Die ""Eins"""')
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    items = read_items(path, item="id")
    assert items.titles(["1", "2"]) == ['Die "Eins"', "Zwei"]
    assert items.genres("2") == ("A", "B")


def test_latin_1_is_found_where_utf_8_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    text = "item,title\n1,Fantômas\n"
    path.write_bytes(text.encode("latin-1"))
    assert read_items(path).title(1) == "Fantômas"
    path.write_bytes(text.encode())
    assert read_items(path).title(1) == "Fantômas"
    with pytest.raises(FileFormatError, match="not valid ascii"):
        read_items(path, encoding="ascii")


def test_movielens_100k_flags_become_genres(tmp_path: Path) -> None:
    flags = ["0|0|0|1|1|1" + "|0" * 13, "1" + "|0" * 18]
    path = tmp_path / "u.item"
    lines = [
        f"1|Toy Story (1995)|01-Jan-1995||http://example.org/?Toy%20Story|{flags[0]}\n",
        f"2|Misérables, Les (1995)|01-Jan-1995||http://example.org/?Les|{flags[1]}\n",
    ]
    path.write_bytes("".join(lines).encode("latin-1"))
    items = read_items(path)
    assert items.title(2) == "Misérables, Les (1995)"
    assert items.genres(1) == ("Animation", "Children's", "Comedy")
    assert items.row(1)["released"] == "01-Jan-1995"


def test_leading_zeros_stay(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_text("0000001::One::A|B\n0000002::Two::C\n")
    items = read_items(path)
    assert items.title("0000001") == "One"
    assert items.title(1) == "1"
    assert items.genre_column == "genres"  # found by its content, and named so


def test_a_column_of_titles_can_be_chosen_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("code,label\n7,Seven\n")
    assert read_items(path, item="code", title="label").title(7) == "Seven"
    assert read_items(path, item="code", title=False).title(7) == "7"
    path.write_text("item,size\n7,big\n")
    assert read_items(path).title(7) == "7"


def test_bad_items(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("item,title\n1,A\n2,B\n1,C\n")
    with pytest.raises(IdValueError, match=r"m\.csv, rows 1 and 3: item 1 is there twice"):
        read_items(path)
    path.write_text("item,title\n1,A\n,B\n")
    with pytest.raises(IdValueError, match=r"row 2 \(line 3\): the item is missing"):
        read_items(path)
    path.write_text("title,year\nA,1990\n")
    with pytest.raises(MissingColumnError, match="no item column"):
        read_items(path)
    path.write_text("item,title\n")
    with pytest.raises(EmptyDataError):
        read_items(path)


def test_movielens_titles(shared_data: Path) -> None:
    items = read_items(shared_data / "ml-latest-small" / "movies.csv")
    assert len(items) == 9_742
    assert items.title(1) == "Toy Story (1995)"
    assert items.genres(1) == ("Adventure", "Animation", "Children", "Comedy", "Fantasy")
    assert (260, "Star Wars: Episode IV - A New Hope (1977)") in items.search("star wars")
    rated = read_ratings(shared_data / "ml-latest-small" / "ratings.csv").item_vocabulary
    assert items.subset(rated).vocabulary == rated


def test_movietweetings_titles(shared_data: Path) -> None:
    items = read_items(shared_data / "movietweetings-100k" / "movies.dat")
    assert items.title("0002844") == "Fantômas - À l'ombre de la guillotine (1913)"
    assert items.genres("0002844") == ("Crime", "Drama")
    rated = read_ratings(shared_data / "movietweetings-100k" / "ratings.dat").item_vocabulary
    assert items.subset(rated).vocabulary == rated


# -- the column of ids ----------------------------------------------------------------------------

RATED = Vocabulary.from_ids([1001, 1002, 1003, 1004])
TABLES = {
    "called id": ("id,name,url", "{id},Film {n},http://x/{n}", "id"),
    "not the first": ("index,code,label", "{n},{id},Film {n}", "code"),
    "a title called as an item": ("movie,id,year", "Film {n},{id},19{n}0", "id"),
    "several ids": ("imdb_id,movieId,tmdbId,title", "{n},{id},7{n},Film {n}", "movieId"),
    "another id than the usual": ("movieId,shop_id,title", "{n},{id},Film {n}", "shop_id"),
    "called by nothing known": ("a,b,title", "{n},{id},Film {n}", "b"),
}


@pytest.mark.parametrize("what", TABLES)
def test_the_column_with_most_rated_ids_is_that_of_the_ids(what: str, tmp_path: Path) -> None:
    header, row, column = TABLES[what]
    path = tmp_path / "items.csv"
    path.write_text("\n".join([header, *(row.format(n=n, id=1000 + n) for n in range(1, 5))]) + "\n")
    items = read_items(path, match=RATED)
    assert list(items.vocabulary) == [1001, 1002, 1003, 1004]
    assert items.row(1003)[column] == "1003"
    had_a_choice = what not in ("called id", "not the first")
    assert (f"the column of item ids is {column!r}" in items.remark) == had_a_choice
    if had_a_choice:
        assert "4 of 4 rated items" in items.remark
        assert "--items-id NAME" in items.remark


def test_a_column_that_is_given_is_taken_whatever_it_holds(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("movieId,shop_id,title\n1,1001,One\n2,1002,Two\n")
    assert list(read_items(tmp_path / "items.csv", item="movieId", match=RATED).vocabulary) == [1, 2]
    assert list(read_items(tmp_path / "items.csv").vocabulary) == [1, 2]


def test_hints_name_the_options_of_the_items_file(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("a,b,title\n1,2,One\n")
    with pytest.raises(MissingColumnError, match="--items-id NAME"):
        read_items(path)
    path.write_text("id,movie_title,title\n1,2,One\n")
    with pytest.raises(
        AmbiguousColumnError, match=r"--items-title NAME\), or leave it out .*--items-title ''"
    ):
        read_items(path)
    assert read_items(path, title="movie_title").title(1) == "2"


def test_ids_of_the_items_file_follow_the_rules_of_the_rated(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,title\nx1 ,One\n x2,Two\n")
    rated = Vocabulary.from_tensors(Vocabulary.from_ids(["x1", "x2"]).tensors(), ("strip",))
    assert read_items(tmp_path / "items.csv", match=rated).titles(rated) == ["One", "Two"]
