"""`bilinear train`: what it measures, prints and saves, and what it refuses before any work."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import FIXED, Run

import bilinear
from bilinear.persistence.artifact import read_artifact


def test_scores_stand_beside_baselines_and_are_those_of_the_held_out_part(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    ran = run("train", ratings_file, "--out", tmp_path / "m", "--json", "--quiet", "--no-refit", *FIXED)
    assert ran.code == 0
    result = json.loads(ran.out)
    assert set(result["scores"]) == {"GlobalMean", "BiasModel", "MatrixFactorization"}
    model = bilinear.load(tmp_path / "m")
    split = bilinear.split_random(bilinear.read_ratings(ratings_file), 0.2, rng=0)
    own = model.evaluate(split.test)
    stored = result["scores"]["MatrixFactorization"]
    assert stored["rmse"]["value"] == own.rmse.value
    assert stored["n_ratings"] == split.test.n_ratings == 180
    assert model.count_trained_pairs(split.test) == 0
    assert model.report_["trained_on"] == "the training part"


def test_planted_taste_is_found(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    ran = run("train", ratings_file, "--out", tmp_path / "m", "--json", "-q")
    scores = json.loads(ran.out)["scores"]
    rmse = {name: value["rmse"]["value"] for name, value in scores.items()}
    assert rmse["MatrixFactorization"] < rmse["BiasModel"] < rmse["GlobalMean"]


def test_the_saved_model_knows_every_rating(run: Run, model: Path, ratings_file: Path) -> None:
    table = bilinear.read_ratings(ratings_file)
    assert bilinear.load(model).count_trained_pairs(table) == table.n_ratings == 900


def test_same_seed_same_model(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run("train", ratings_file, "--out", tmp_path / name, "-q", *FIXED).code == 0
    one, two = (read_artifact(tmp_path / name).tensors for name in ("one", "two"))
    assert one.keys() == two.keys()
    learned = one.keys() - {"epochs"}  # the history, which has the seconds of this run
    assert learned >= {"user_factors", "item_factors", "user_biases", "item_biases"}
    assert all(one[name].tobytes() == two[name].tobytes() for name in learned)


def test_progress_goes_to_standard_error_and_the_search_table_to_standard_output(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    ran = run(
        "train", ratings_file, "--out", tmp_path / "m", "--set", "solver__n_epochs=3", "--set", "n_factors=4"
    )
    assert "validation RMSE" in ran.out
    assert "<- kept" in ran.out
    assert "900 ratings" in ran.err
    assert "on all ratings" in ran.err
    assert "M/s" not in ran.out


@pytest.mark.parametrize("split", ["random", "per-user", "temporal"])
def test_splits(run: Run, ratings_file: Path, tmp_path: Path, split: str) -> None:
    ran = run("train", ratings_file, "--out", tmp_path / "m", "--split", split, "--json", "-q", *FIXED)
    assert ran.code == 0
    assert json.loads(ran.out)["n_train"] == 720


def test_split_file_measures_on_the_other_file(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    lines = ratings_file.read_text().splitlines()
    train, test = tmp_path / "a.csv", tmp_path / "b.csv"
    train.write_text("\n".join(lines[:800]) + "\n")
    test.write_text("\n".join([lines[0], *lines[800:], "newcomer,1,4,5"]) + "\n")
    options = ("--split", "file", "--test", test, "--json", "-q", *FIXED)
    ran = run("train", train, "--out", tmp_path / "m", *options)
    assert ran.code == 0
    scores = json.loads(ran.out)["scores"]["BiasModel"]
    assert scores["n_ratings"] == 102
    assert scores["unknown_users"] >= 1 / 102
    overlapping = run("train", ratings_file, "--out", tmp_path / "n", *options)
    assert overlapping.code == 2
    assert "held out" in overlapping.err


def test_also_measures_variants_from_the_arguments_of_the_model(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    variants = "mf:link=Sigmoid", "mf:link=Sigmoid(),loss=CrossEntropy()", "biases:l2_biases=3"
    also = [word for variant in variants for word in ("--also", variant)]
    ran = run("train", ratings_file, "--out", tmp_path / "m", *also, "-q", "--json", *FIXED)
    assert ran.code == 0, ran.err
    scores = json.loads(ran.out)["scores"]
    assert list(scores) == ["GlobalMean", "BiasModel", "MatrixFactorization", *variants]
    assert len({str(scores[name]["rmse"]) for name in scores}) == 6


def test_a_database_is_read_by_query(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    table = bilinear.read_ratings(ratings_file)
    database = tmp_path / "shop.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE reviews (who TEXT, what INTEGER, stars REAL)")
    connection.executemany(
        "INSERT INTO reviews VALUES (?, ?, ?)",
        [
            (table.user_vocabulary[user], table.item_vocabulary[item], float(rating))
            for user, item, rating in zip(table.users, table.items, table.ratings, strict=True)
        ],
    )
    connection.commit()
    connection.close()
    query = "SELECT who AS user, what AS item, stars AS rating FROM reviews"
    url = f"sqlite:///{database}"
    ran = run("train", url, "--query", query, "--out", tmp_path / "m", "-q", "--json", *FIXED)
    assert ran.code == 0, ran.err
    assert bilinear.load(tmp_path / "m").user_vocabulary_[7] == "007"
    without = run("train", url, "--out", tmp_path / "n")
    assert without.code == 2
    assert "--query" in without.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "n_factors=many"), "n_factors='many'; 'auto' or a whole number"),
        (("--set", "n_factor=4"), "did you mean 'n_factors'?"),
        (("--split", "later"), "--split later: choose auto or random or per-user or temporal"),
        (("--test", "much"), "--test much: a share such as 0.2"),
        (("--test", "1.5"), "between 0 and 1"),
        (("--set", "link=Probit()"), "unknown class 'Probit'"),
        (("--set", "loss=hinge"), "loss='hinge'; an object such as SquaredError()"),
        (("--set", "l2=-1"), "zero or more"),
        (("--set", "solver__momentum=1"), "below one"),
        (("--set", "solver__learning_rate=nan"), "learning_rate='nan'"),
        (("--set", "rating_range=(4, 5)"), "outside [4, 5]"),
        (("--user", "nobody"), "nobody"),
        (("--duplicates", "first"), "choose"),
        (("--also", "magic"), "magic: no such model"),
        (("--query", "SELECT 1"), "is a file"),
        (("--items", "absent.csv"), "absent.csv"),
    ],
)
def test_wrong_arguments_say_what_to_do_and_leave_nothing(
    run: Run, ratings_file: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = run("train", ratings_file, "--out", tmp_path / "m", "-q", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "m").exists()


def test_a_folder_of_other_files_is_never_written_into(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("hello")
    ran = run("train", ratings_file, "--out", tmp_path / "letters", "-q")
    assert ran.code == 2
    assert "holds other files" in ran.err
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


def test_too_long_steps_stop_with_what_to_lower(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    ran = run(
        "train", ratings_file, "--out", tmp_path / "m", "-q", *FIXED, "--set", "solver__learning_rate=1e9"
    )
    assert ran.code == 2
    assert "learning_rate" in ran.err
    assert not (tmp_path / "m").exists()


def test_alternating_least_squares(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    ran = run("train", ratings_file, "--out", tmp_path / "m", "-q", *FIXED[:-2], "--set", "solver=ALS")
    assert ran.code == 0, ran.err
    assert type(bilinear.load(tmp_path / "m").solver_).__name__ == "ALS"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "solver=ALS", "--set", "solver__momentum=0.5"], "no argument 'solver__momentum'"),
        (["--set", "solver=ALS", "--set", "link=Sigmoid"], "ALS"),
        (["--set", "solver=Newton()"], "unknown class 'Newton'"),
    ],
)
def test_what_als_cannot_do_is_refused_before_work(
    options: list[str], message: str, run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    ran = run("train", ratings_file, "--out", tmp_path / "m", "-q", *FIXED, *options)
    assert ran.code == 2
    assert message in ran.err
    assert not (tmp_path / "m").exists()


def test_items_of_another_catalogue_are_refused(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    items = tmp_path / "books.csv"
    items.write_text("itemId,title\n9001,A Book\n9002,Another\n")
    ran = run("train", ratings_file, "--items", items, "--out", tmp_path / "m", "-q", *FIXED)
    assert ran.code == 2
    assert "none of the rated items' ids" in ran.err


def test_ctrl_c_keeps_the_best_model_so_far(run: Run, tmp_path: Path) -> None:
    assert run("data", "synthetic", tmp_path / "s", "--n-ratings", 5_000).code == 0
    script = """if True:
        import os, signal, sys
        from bilinear.cli import main
        from bilinear.training.progress import NullProgress

        def epoch(self, epoch):  # in the first half, where nothing stops early
            if epoch.number == 30:
                os.kill(os.getpid(), signal.SIGINT)

        NullProgress.epoch = epoch
        signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run with it ignored
        sys.argv[0] = "bilinear"
        main()
    """
    arguments = ["train", tmp_path / "s" / "ratings.csv", "--out", tmp_path / "m", *FIXED[:-2]]
    settings = ["--set", "solver__n_epochs=60000", "--quiet"]
    command = [sys.executable, "-c", script, *map(str, arguments), *settings]
    child = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert b"stopped by you" in child.stderr
    assert child.returncode == 0
    assert b"MatrixFactorization" in child.stdout
    model = bilinear.load(tmp_path / "m")
    assert model.history_.ended == "interrupted"
    assert model.report_["trained_on"] == "the training part"


# -- odd numbers, and models that are not worth it ------------------------------------------------


def written(tmp_path: Path, ratings: list[float]) -> Path:
    """A table of 40 users with 12 items each."""
    rows = [(n // 12, (n * 7 + n // 12) % 30, value) for n, value in enumerate(ratings)]
    path = tmp_path / "odd.csv"
    path.write_text("user,item,rating\n" + "".join(f"{u},{i},{v}\n" for u, i, v in rows))
    return path


def test_noise_is_saved_without_factors_or_with_a_word_of_caution(run: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(1, 6, 480).tolist()
    ran = run("train", written(tmp_path, noise), "--out", tmp_path / "m", "--quiet")
    assert "Careful: MatrixFactorization is not clearly better than BiasModel" in ran.out
    assert "alone won on the inner validation part" in ran.out


def test_outliers_are_named_and_trained_on_and_a_rating_range_takes_them_in_full(
    run: Run, tmp_path: Path
) -> None:
    ratings = np.random.default_rng(0).integers(1, 6, 480).tolist()
    ratings[100] = 1e6
    arguments = ("train", written(tmp_path, ratings), "--out", tmp_path / "m", "--model", "biases", "--quiet")
    ran = run(*arguments)
    assert ran.code == 0
    assert "Careful: odd.csv: 1 of 480 ratings lies far from the others" in ran.out
    assert "1e+06 (user 8, item 18)" in ran.out
    assert "far from the others" not in run(*arguments, "--set", "rating_range=(0, 1e6)").out


def test_hours_are_taken_for_counts_and_train_all_the_same(run: Run, tmp_path: Path) -> None:
    hours = (np.random.default_rng(0).pareto(0.9, 480) * 20).round(1).tolist()
    ran = run(
        "train", written(tmp_path, hours), "--out", tmp_path / "m", "--json", "--set", "solver__n_epochs=10"
    )
    assert ran.code == 0
    assert any("--count" in caution for caution in json.loads(ran.out)["cautions"])


def test_refits_show_intervals_for_new_samples_and_need_chance(run: Run, tmp_path: Path) -> None:
    table = written(tmp_path, np.random.default_rng(0).integers(1, 6, 480).tolist())
    arguments = ("compare", table, "--model", "mean", "--model", "biases", "--quiet", "--refits", "2")
    ran = run(*arguments)
    assert "Means over 3 splits" in ran.out
    assert "about other users, with these fitted models as they are" in ran.out
    refused = run(*arguments, "--split", "temporal")
    assert refused.code == 2
    assert "--refits 2: --split temporal is not drawn by chance" in refused.err
