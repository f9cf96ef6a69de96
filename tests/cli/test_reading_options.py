"""Options that say how a table is written, with every command that reads one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command_line import Run

ROWS = [(f"u{n % 20}", f"Song {n % 31}", 1 + n % 5, f"{1 + n % 28}/02/2020") for n in range(400)]


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    """Two names with a quote that is a character, dates, and two rows that cannot be read."""
    rows = [list(map(str, row)) for row in ROWS]
    rows[3][1], rows[300][1] = '"Heroes', 'Heroes"'
    rows[50][2], rows[60] = "bad", ["u1", "Song 1"]
    path = tmp_path / "odd.tsv"
    lines = [["user", "item", "rating", "date"], *rows]
    path.write_text("".join("\t".join(row) + "\n" for row in lines))
    return path


def test_describe_accounts_for_every_row_of_the_file(run: Run, odd_file: Path, tmp_path: Path) -> None:
    assert "row 61 (line 62): 2 fields" in run("data", "describe", odd_file).err
    bad = tmp_path / "bad.csv"
    ran = run("data", "describe", odd_file, "--skip-bad-rows", bad, "--time-format", "%d/%m/%Y")
    assert ran.code == 0, ran.err
    assert "2 of 400 rows could not be read and were left out" in ran.err
    assert "400 rows in the source; " in ran.out
    assert "2 could not be read" in ran.out
    with bad.open(newline="") as stream:
        assert sorted(int(row["row"]) for row in csv.DictReader(stream)) == [51, 61]
    shown = json.loads(run("data", "describe", odd_file, "--skip-bad-rows", bad, "--json").out)
    assert shown["n_ratings"] + shown["duplicates_merged"] + shown["rows_skipped"] == shown["rows_in_source"]
    assert "--quote" in run("data", "describe", odd_file, "--quote", "ab").err


def test_training_leaves_bad_rows_of_both_files_out(run: Run, odd_file: Path, tmp_path: Path) -> None:
    items = tmp_path / "items.tsv"
    items.write_text("item\ttitle\n" + "".join(f'Song {n}\t"Part {n}" live\n' for n in range(31)))
    bad, test = tmp_path / "bad.csv", tmp_path / "test.csv"
    test.write_text("user,item,rating\nnew,Song 2,5\nu2,Song 1,\n")
    ran = run(
        *("train", odd_file, "--items", items, "--items-quote", "none", "--model", "biases", "--quiet"),
        *("--skip-bad-rows", bad, "--split", "file", "--test", test, "--out", tmp_path / "model"),
    )
    assert ran.code == 0, ran.err
    assert len(bad.read_text().splitlines()) == 3
    assert len((tmp_path / "bad-test.csv").read_text().splitlines()) == 2
    assert '"Part 3" live' in run("recommend", tmp_path / "model", "--user", "u1", "-n", "40").out


def test_pairs_and_one_users_ratings_have_the_option(run: Run, model: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text('user\titem\n1\t"a" b\n2\t1\n')
    assert '"a" b' in run("predict", model, pairs, "--quote", "none").out
    assert run("predict", model, pairs, "--quote", '"').code == 2
