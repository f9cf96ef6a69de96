"""Values that mark the absence of a rating are asked about or left out, and scales are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.missing_values import checked_missing, suspects
from bilinear.data.reading.readers import read_any, read_interactions, read_ratings
from bilinear.errors import EmptyDataError, ParameterValueError, RatingValueError


def drawn(values: list[float], n: int = 600) -> NDArray[np.float32]:
    return np.random.default_rng(0).choice(np.array(values, np.float32), n)


JESTER = [float(value) for value in np.round(np.linspace(-10, 10, 400), 2)]
MARKED = {
    "99 beside -10 to 10": (JESTER + [99.0] * 150, (99.0,)),
    "-1 beside 1 to 10": ([*range(1, 11), -1, -1], (-1.0,)),
    "-1 beside 0 to 10": ([*range(11), -1, -1], (-1.0,)),
    "-1 beside half stars": ([n / 2 for n in range(1, 11)] + [-1.0], (-1.0,)),
    "9 beside 1 to 5": ([1, 2, 3, 4, 5, 9], (9.0,)),
    "98 and 99": ([1, 2, 3, 4, 5, 98, 99], (98.0, 99.0)),
    "on both sides": ([1, 2, 3, 4, 5, -9, 99], (-9.0, 99.0)),
    "99 beside yes and no": ([0, 1, 99], (99.0,)),
    "an unusual one": ([1, 2, 3, 4, 5, 50], (50.0,)),
}


@pytest.mark.parametrize("what", MARKED)
def test_markers_are_found_with_their_exact_values(what: str) -> None:
    values, marks = MARKED[what]
    assert suspects(drawn(values)).outside == marks


SCALES: dict[str, list[float]] = {
    "1 to 5": [1, 2, 3, 4, 5],
    "0 to 5": [0, 1, 2, 3, 4, 5],
    "0 to 5 with many zeros": [0, 0, 0, 0, 1, 2, 3, 4, 5],
    "-1 and 1": [-1, 1],
    "-1, 0 and 1": [-1, 0, 1],
    "0 and 1": [0, 1],
    "1 to 100": list(range(1, 101)),
    "percent in few steps": [0, 30, 50, 70, 90, 100],
    "-5 to 5 without 0": [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5],
    "weights of events": [1, 3, 10],
    "1 to 5 and 10": [1, 2, 3, 4, 5, 10],
    "one value": [5],
}


@pytest.mark.parametrize("what", SCALES)
def test_scales_are_left_alone(what: str) -> None:
    assert suspects(drawn(SCALES[what])).outside == ()


@pytest.mark.parametrize("seed", range(40))
def test_long_tails_are_not_markers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for values in (
        rng.pareto(1, 300).round(),
        rng.geometric(0.3, 100),
        np.exp(2 * rng.standard_normal(200)),
        rng.zipf(1.8, 300),
        rng.normal(size=100),
    ):
        assert suspects(values.astype(np.float32)).outside == ()


def test_one_value_far_away_is_an_outlier_and_not_a_habit() -> None:
    assert suspects(np.append(drawn([1, 2, 3, 4, 5]), np.float32(1000))).outside == ()


def test_a_large_table_is_judged_as_a_small_one() -> None:
    assert suspects(drawn([*range(1, 11), -1], 1_000_000)).outside == (-1.0,)


def written(folder: Path, ratings: NDArray[np.float32]) -> Path:
    path = folder / "ratings.csv"
    rows = [f"u{n // 20},i{n % 20},{rating:g}" for n, rating in enumerate(ratings.tolist())]
    path.write_text("\n".join(["user,item,rating", *rows]) + "\n")
    return path


@pytest.mark.parametrize("what", ["98 and 99", "-1 beside 1 to 10"])
def test_the_error_names_the_options_and_they_work(what: str, tmp_path: Path) -> None:
    values, marks = MARKED[what]
    ratings = drawn(values)
    path = written(tmp_path, ratings)
    with pytest.raises(RatingValueError) as caught:
        read_ratings(path)
    for mark in marks:
        assert f"--missing {mark:g}" in str(caught.value)
    assert "--missing none" in str(caught.value)
    assert read_ratings(path, missing="none").n_ratings == 600
    found = read_ratings(path, missing=list(marks))
    kept = ratings[~np.isin(ratings, np.array(marks, np.float32))]
    assert sorted(found.ratings.tolist()) == sorted(kept.tolist())
    described = found.describe()
    assert described.rows_in_source == 600
    assert described.rows_left_out == 600 - len(kept)
    assert described.n_ratings + described.duplicates_merged + described.rows_left_out == 600
    assert f"{600 - len(kept)} rows whose rating is" in str(described)


def test_zeros_beside_1_to_10_are_told_and_kept(tmp_path: Path) -> None:
    path = written(tmp_path, drawn([*range(1, 11), *[0] * 12]))
    found = read_ratings(path)
    assert found.n_ratings == 600
    assert "--missing 0" in str(found.describe())
    assert read_ratings(path, missing=0).ratings.min() == 1
    assert "--missing" not in str(read_ratings(path, missing="none").describe())


def test_what_is_left_out_is_as_if_it_were_not_in_the_file(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"user": list("aabbcc"), "item": [1, 2, 1, 3, 4, 4], "rating": [5, 99, 3, 4, 99, 99]}
    )
    found = read_ratings(frame, missing=99, duplicates="error")  # c rated 4 twice, with the marker
    apart = read_ratings(frame[frame.rating != 99])
    assert found.user_vocabulary == apart.user_vocabulary
    assert found.item_vocabulary == apart.item_vocabulary
    for name in ("users", "items", "ratings"):
        assert getattr(found, name).tolist() == getattr(apart, name).tolist()


def test_a_marker_does_not_take_the_place_of_a_rating() -> None:
    found = Interactions.from_columns([1, 1, 2], [7, 7, 8], [4.0, 99.0, 3.0], missing=99)
    assert found.ratings.tolist() == [4.0, 3.0]
    assert found.n_duplicates == 0


def test_parts_of_a_table_have_left_out_nothing(tmp_path: Path) -> None:
    found = read_ratings(written(tmp_path, drawn([1, 2, 3, 99])), missing=99)
    assert found.take(np.arange(10)).describe().rows_in_source == 10


def test_arrays_and_matrices_are_asked_about_as_files_are() -> None:
    cells = drawn([1, 2, 3, 4, 5, 99], 200).reshape(20, 10).astype(float)
    users, items = np.divmod(np.arange(200), 10)
    with pytest.raises(RatingValueError, match="--missing 99"):
        Interactions.from_columns(users, items, cells.ravel())
    with pytest.raises(RatingValueError, match="missing=nan"):
        Interactions.from_matrix(cells)
    n_ratings = int((cells != 99).sum())
    assert Interactions.from_columns(users, items, cells.ravel(), missing=[99]).n_ratings == n_ratings
    assert Interactions.from_matrix(cells, missing=99).n_ratings == n_ratings
    assert Interactions.from_matrix(cells, missing=[98, 99]).n_ratings == n_ratings
    assert Interactions.from_matrix(cells, missing=float("nan")).n_ratings == 200


@pytest.mark.parametrize("given", ["seven", "nan", float("inf"), True, [1, "x"], ["none", 3]])
def test_other_values_of_missing_are_refused(given: Any) -> None:
    with pytest.raises(ParameterValueError, match="--missing 99"):
        checked_missing(given)


def test_missing_as_it_may_be_given() -> None:
    assert checked_missing(None) is None
    assert checked_missing("none") == checked_missing([]) == checked_missing(["none"]) == ()
    assert checked_missing("99") == checked_missing(99) == checked_missing(["99", 99.0]) == (99.0,)


def test_missing_is_for_ratings(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("user,item\n1,2\n2,3\n")
    with pytest.raises(ParameterValueError, match="is for ratings"):
        read_any(tmp_path / "clicks.csv", missing=0)
    with pytest.raises(ParameterValueError, match="needs ratings, and this table has none"):
        Interactions.from_columns([1], [2], missing=0)
    assert read_interactions(tmp_path / "clicks.csv").n_ratings == 2
    with pytest.raises(EmptyDataError, match="every rating is one of those left out"):
        Interactions.from_columns([1, 2], [2, 3], [0.0, 0.0], missing=0)
