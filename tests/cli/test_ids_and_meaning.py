"""On the command line: awkward ids, files of items, outcomes, markers and look-alike ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Run

IDS = ["-0abc", "--9xyz", "-n5", "@home", "Cook, Eat", '"Quoted"', "a=b", "plain", "-1", "50%, off"]


@pytest.fixture(scope="module")
def odd_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of items with awkward ids, and of users called alike."""
    from bilinear.data.interactions import Interactions
    from bilinear.estimators.matrix_factorization import MatrixFactorization

    rng = np.random.default_rng(0)
    pairs = [(user, item) for user in range(10) for item in range(10) if (user + item) % 3]
    table = Interactions.from_columns(
        [IDS[user] for user, _ in pairs], [IDS[item] for _, item in pairs], rng.integers(1, 6, len(pairs))
    )
    folder = tmp_path_factory.mktemp("odd") / "model"
    MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0).fit(table).save(folder)
    return folder


def listed(out: str) -> set[str]:
    return {place["item"] for lists in json.loads(out) for place in lists["items"]}


@pytest.mark.parametrize("id_", IDS)
def test_any_id_is_one_user_or_item(odd_model: Path, run: Run, id_: str, tmp_path: Path) -> None:
    assert run("recommend", odd_model, "--user", id_, "--json").code == 0
    assert run("similar", odd_model, "-n", "2", "--", id_).code == 0
    assert run("fold-in", odd_model, "--rate", f"{id_}=5").code == 0
    quoted = '"' + id_.replace('"', '""') + '"'
    ran = run("recommend", odd_model, "--users", f"{quoted},plain", "--candidates", f"{quoted},plain")
    assert ran.code == 0, ran.err
    (tmp_path / "ids.txt").write_text(f"{id_}\r\nplain\n")
    ran = run(
        *("recommend", odd_model, "--user", "plain", "--include-seen", "--json"),
        *("--candidates", f"@{tmp_path / 'ids.txt'}"),
    )
    assert listed(ran.out) == {id_, "plain"}


@pytest.mark.parametrize("id_", ["-0abc", "--9xyz", "-n5"])
def test_an_id_read_as_an_option_is_told_the_way(odd_model: Path, run: Run, id_: str) -> None:
    ran = run("similar", odd_model, id_, "-n", "2")
    assert ran.code == 2
    assert "behind --" in ran.err


def test_the_whole_text_is_an_id_where_its_parts_are_not(odd_model: Path, run: Run) -> None:
    ran = run(
        *("recommend", odd_model, "--user", "plain", "--include-seen", "--candidates", "Cook, Eat", "--json")
    )
    assert listed(ran.out) == {"Cook, Eat"}


@pytest.mark.parametrize("given", ["Cook, Sleep", '"Cook, Sleep",plain', "plain,@home2"])
def test_an_unknown_part_is_told_of_quotes_and_files(odd_model: Path, run: Run, given: str) -> None:
    ran = run("recommend", odd_model, "--user", "plain", "--candidates", given)
    assert ran.code == 1
    assert "@FILE" in ran.err
    assert "quotes as in CSV" in ran.err


def test_an_id_with_an_at_sign_is_not_a_file(odd_model: Path, run: Run) -> None:
    ran = run("recommend", odd_model, "--user", "plain", "--candidates", "@home")
    assert ran.code == 2
    assert "begins with @" in ran.err
    ran = run(
        "recommend", odd_model, "--user", "plain", "--include-seen", "--json", "--candidates", '"@home"'
    )
    assert listed(ran.out) == {"@home"}


def test_a_quote_that_is_not_closed_is_told_the_way(odd_model: Path, run: Run) -> None:
    ran = run("recommend", odd_model, "--user", "plain", "--candidates", '"plain,x')
    assert ran.code == 2
    assert "goes in quotes" in ran.err


def test_unknown_users_may_be_listed(odd_model: Path, run: Run) -> None:
    ran = run("recommend", odd_model, "--users", "plain,nobody", "--unknown", "non-personal", "--json")
    assert [lists["known_user"] for lists in json.loads(ran.out)] == [True, False]


def written(folder: Path, header: str, rows: list[str]) -> Path:
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_train_tells_what_it_does_not_use_and_how_it_understands(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"u{u},i{i},{rng.random() < 0.5},web" for u in range(30) for i in range(30) if (u + i) % 3]
    path = written(tmp_path, "user,item,liked,channel", rows)
    ran = run("train", path, "--model", "biases", "--out", tmp_path / "model")
    assert ran.code == 0
    assert "'liked' is the rating: true is 1 and false 0" in ran.err
    assert "columns not used: 'channel' (text)" in ran.err


def test_a_ranking_does_not_learn_from_a_no(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"u{u},i{i},{int(rng.random() < 0.5)}" for u in range(30) for i in range(30) if (u + i) % 3]
    path = written(tmp_path, "user,item,clicked", rows)
    command = ("train", path, "--task", "ranking", "--model", "popularity", "--out", tmp_path / "model")
    ran = run(*command)
    assert ran.code == 2
    assert "--threshold 1" in ran.err
    assert run(*command, "--threshold", "1").code == 0
    assert run(*command, "--count", "clicked").code == 0
    ran = run("evaluate", tmp_path / "model", path)
    assert "--relevant-from 1" in ran.err


def test_missing_and_ids_reach_every_command_that_reads(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        f"u{u}{' ' * (i % 2)},i{i},{rng.choice([1, 2, 3, 4, 5, -1])}"
        for u in range(30)
        for i in range(30)
        if (u + i) % 3
    ]
    path = written(tmp_path, "user,item,rating", rows)
    options = ("--missing", "-1", "--missing", "99", "--ids", "strip")
    model = tmp_path / "model"
    for command in (
        ("data", "describe", path, "--json"),
        ("train", path, "--model", "biases", "--out", model),
        ("evaluate", model, path),
        ("compare", path, "--model", "mean", "--model", "biases"),
    ):
        ran = run(*command)
        assert ran.code == 2
        assert "--missing -1" in ran.err
        ran = run(*command, *options)
        assert ran.code == 0, ran.err
        if command[0] == "data":
            described = json.loads(ran.out)
            assert described["n_users"] == 30
            kept = described["n_ratings"] + described["duplicates_merged"]
            assert kept + described["rows_left_out"] == described["rows_in_source"] == len(rows)
    assert run("recommend", model, "--user", "u3  ").code == 0
    ran = run("data", "describe", path, "--missing", "none")
    assert "30 of 60 user ids have blanks around them" in ran.out


def test_the_items_file_can_be_told_its_columns(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    items = tmp_path / "items.csv"
    items.write_text("nr,note,text\n" + "".join(f"{n},{n % 3},Film {n}\n" for n in range(1, 41)))
    command = ("train", ratings_file, "--items", items, "--model", "biases", "--out", tmp_path / "model")
    ran = run(*command, "-q")
    assert "the column of item ids is 'nr'" in ran.err
    assert "--items-title NAME" in ran.err
    ran = run(*command, "-q", "--items-id", "nr", "--items-title", "text")
    assert ran.code == 0
    assert ran.err == ""
    assert "Film 7" in run("recommend", tmp_path / "model", "--user", "007", "-n", "40", "--include-seen").out


def test_the_hint_for_a_file_of_one_user_names_its_own_option(model: Path, run: Run, tmp_path: Path) -> None:
    mine = written(tmp_path, "what,stars", ["1,5", "2,4"])
    ran = run("fold-in", model, "--file", mine)
    assert "--item-column NAME" in ran.err
    assert run("fold-in", model, "--file", mine, "--item-column", "what").code == 0
