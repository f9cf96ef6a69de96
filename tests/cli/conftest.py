"""A small table on disk, a model trained on it, and a way to run commands in this process."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import FIXED, Ran, Run

from bilinear.cli import main
from bilinear.training import choice


@pytest.fixture(autouse=True)
def short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` tries chains on ratings: how good they become is shown by the tests of training."""
    monkeypatch.setattr(choice, "TRIAL_SWEEPS", 24)
    monkeypatch.setattr(choice, "FINAL_SWEEPS", 24)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["bilinear", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def ratings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 users, 40 items, about 900 half-star ratings of planted taste; ids with leading zeros."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    taste, kind = rng.normal(size=(60, 2)), rng.normal(size=(40, 2))
    liked = rng.normal(scale=0.5, size=40)
    rows = []
    for user in range(60):
        for item in rng.permutation(40)[:15]:
            score = 3.3 + liked[item] + taste[user] @ kind[item] + 0.3 * rng.normal()
            rows.append((f"{user:03d}", item + 1, np.clip(round(2 * score) / 2, 0.5, 5), 10**9 + len(rows)))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["userId", "movieId", "rating", "timestamp"])
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def items_file(ratings_file: Path) -> Path:
    path = ratings_file.with_name("movies.csv")
    lines = [f'{item},"Film <{item}>, The ({1950 + item})",Sea|Sky' for item in range(1, 41)]
    path.write_text("\n".join(["movieId,title,genres", *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def model(ratings_file: Path, items_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder made by `bilinear train`."""
    folder = tmp_path_factory.mktemp("models") / "model"
    before, sys.argv = sys.argv, ["bilinear", "train", str(ratings_file), "--items", str(items_file)]
    sys.argv += ["--out", str(folder), "--quiet", *FIXED]
    try:
        main()
    except SystemExit:
        pass
    finally:
        sys.argv = before
    assert (folder / "model.json").is_file()
    return folder
