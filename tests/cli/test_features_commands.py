"""Features of items and users on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Ran, Run


def ok(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


@pytest.fixture(scope="module")
def films_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of `ratings_file`, 40 of them, and ten that nobody rated; genres follow the number."""
    path = tmp_path_factory.mktemp("films") / "films.csv"
    rows = [f"{n},Film {n} ({1960 + n}),{'Drama' if n % 2 else 'Comedy|War'},{n}" for n in range(1, 51)]
    path.write_text("\n".join(["movieId,title,genres,shelf", *rows]))
    return path


@pytest.fixture(scope="module")
def people_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users of `ratings_file`, all 60, with an age and a job."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("people") / "people.csv"
    rows = [f"{n:03d},{rng.integers(18, 70)},{'abc'[n % 3]}" for n in range(60)]
    path.write_text("\n".join(["userId,age,job", *rows]))
    return path


def test_describe_shows_what_columns_are_as_features(
    run: Run, ratings_file: Path, films_file: Path, people_file: Path
) -> None:
    asked = ("data", "describe", ratings_file, "--items", films_file, "--users", people_file)
    out = ok(run(*asked)).out
    assert "films.csv: 50 items; features by column:" in out
    assert "genres  Categories(separator='|'): 3 columns" in out
    assert "year    Number: 11 columns" in out
    assert "shelf   none: it seems to hold numeric ids" in out
    assert "people.csv: 60 users; features by column:" in out
    described = json.loads(ok(run(*asked, "--json")).out)
    assert [one["column"] for one in described["features"]["users"]["columns"]] == ["age", "job"]
    assert "features" not in json.loads(ok(run("data", "describe", ratings_file, "--json")).out)


def test_a_users_file_of_other_ids_is_refused(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("userId,job\nx,a\ny,b\n")
    ran = run("data", "describe", ratings_file, "--users", tmp_path / "other.csv")
    assert ran.code == 2
    assert "has none of the users' ids" in ran.err


SETTINGS = (
    "--set",
    "n_factors=3",
    "--set",
    "l2=0.1",
    "--set",
    "l2_biases=0.1",
    "--set",
    "solver__n_epochs=20",
)


@pytest.fixture(scope="module")
def featured(
    ratings_file: Path, films_file: Path, people_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A model with features of both sides, and what training printed."""
    import contextlib
    import io
    import sys

    from bilinear.cli import main

    out = tmp_path_factory.mktemp("featured") / "model"
    printed = io.StringIO()
    before, sys.argv = (
        sys.argv,
        [
            *("bilinear", "train", str(ratings_file), "--items", str(films_file), "--item-features"),
            *("genres,year", "--users", str(people_file), "--user-features", "job,age:number", *SETTINGS),
            *("--out", str(out)),
        ],
    )
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main()
    finally:
        sys.argv = before
    return out, printed.getvalue()


def test_training_measures_new_items_and_new_users_beside_shuffled_features(
    featured: tuple[Path, str],
) -> None:
    out, printed = featured
    assert "New items: 4 that are in no row of training" in printed
    assert "New users: 6 that are in no row of training" in printed
    assert printed.count("MatrixFactorization, features shuffled") == 2
    report = json.loads((out / "model.json").read_text())["manifest"]["report"]
    assert [one["side"] for one in report["cold"]] == ["items", "users"]
    assert report["cold"][0]["n_new"] == 4


def test_new_items_are_recommended_from_their_file(
    run: Run, featured: tuple[Path, str], films_file: Path
) -> None:
    model = featured[0]
    lists = ok(run("recommend", model, "--user", "007", "--new-items", films_file, "--new", "only"))
    lines = [line.split() for line in lists.out.splitlines()[2:]]
    assert sorted(int(line[2]) for line in lines) == list(range(41, 51))
    assert all(line[-1] == "new" for line in lines)
    asked = ("recommend", model, "--user", "007", "--new-items", films_file, "--json", "-n", "50")
    titles = [place["title"] for place in json.loads(ok(run(*asked)).out)[0]["items"]]
    assert "Film 45 (2005)" in titles
    old = json.loads(ok(run(*asked, "--new", "none")).out)[0]["items"]
    without = json.loads(ok(run("recommend", model, "--user", "007", "--json", "-n", "50")).out)[0]["items"]
    assert [place["item"] for place in old] == [place["item"] for place in without]


def test_new_users_are_known_by_their_file(run: Run, featured: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("userId,age,job\nzoe,33,b\n")
    ran = ok(run("recommend", featured[0], "--user", "zoe", "--new-users", tmp_path / "new.csv"))
    assert ran.out.startswith("User zoe\n")


def test_features_without_their_file_or_model_are_refused(
    run: Run, ratings_file: Path, films_file: Path, tmp_path: Path
) -> None:
    ran = run("train", ratings_file, "--item-features", "genres", "--out", tmp_path / "m")
    assert ran.code == 2
    assert "--item-features: name the file with these columns: --items FILE" in ran.err
    given = ("train", ratings_file, "--items", films_file, "--out", tmp_path / "m")
    ran = run(*given, "--item-features", "genres", "--model", "ease")
    assert ran.code == 2
    assert "--item-features is not for EASE" in ran.err
    ran = run(*given, "--item-features", "shelf", *SETTINGS)
    assert ran.code == 2
    assert "seems to hold numeric ids" in ran.err
    assert not (tmp_path / "m").exists()


def test_rankings_are_measured_in_lists_of_new_items(
    run: Run, ratings_file: Path, films_file: Path, tmp_path: Path
) -> None:
    ran = ok(
        run(
            *("train", ratings_file, "--task", "ranking", "--items", films_file, "--item-features", "genres"),
            *("--set", "n_factors=4", "--set", "n_epochs=2", "--out", tmp_path / "m", "-q"),
        )
    )
    assert "in lists of new items alone" in ran.out
    assert "ImplicitALS, features shuffled" in ran.out
    assert "NDCG@10 [95 % interval]" in ran.out


def test_a_score_is_explained_by_features_and_by_ratings(run: Run, featured: tuple[Path, str]) -> None:
    asked = ("explain", featured[0], "--user", "007", "--item", "12")
    out = ok(run(*asked)).out
    assert "genres: War" in out
    assert "item: this item itself" in out
    found = json.loads(ok(run(*asked, "--by", "ratings", "--json")).out)
    assert sum(part["value"] for part in found["parts"]) == pytest.approx(found["score"], abs=1e-4)
    assert "rating: 13 others" in ok(run(*asked, "--by", "ratings", "-n", "2")).out
    assert run(*asked, "--by", "magic").code == 2


def test_a_column_that_leaks_the_ratings_is_named_beside_the_result(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    rated: dict[str, list[float]] = {}
    for line in ratings_file.read_text().splitlines()[1:]:
        _, item, rating, _ = line.split(",")
        rated.setdefault(item, []).append(float(rating))
    rows = [f"{item},{sum(values) / len(values)}" for item, values in rated.items()]
    (tmp_path / "films.csv").write_text("\n".join(["movieId,average", *rows]))
    given = ("train", ratings_file, "--items", tmp_path / "films.csv", "--item-features", "average")
    ran = ok(run(*given, *SETTINGS, "--out", tmp_path / "m", "-q"))
    assert ran.out.count("column 'average' follows the mean rating of items") == 1
    assert "LeakWarning" not in ran.err
