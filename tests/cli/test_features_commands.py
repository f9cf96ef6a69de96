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
