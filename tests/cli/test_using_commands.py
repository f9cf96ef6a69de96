"""Commands that use a saved model: results, files, exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from command_line import Run

import bilinear


def test_every_command_has_examples_in_its_help(run: Run) -> None:
    listed = run("--help").out
    for command in (
        "train",
        "evaluate",
        "predict",
        "recommend",
        "similar",
        "fold-in",
        "update",
        "inspect",
        "info",
        "demo",
    ):
        assert command in listed
        ran = run(command, "--help")
        assert ran.code == 0
        assert f"bilinear {command}" in ran.out
    for command in ("describe", "list", "fetch", "synthetic"):
        assert f"bilinear data {command}" in run("data", command, "--help").out


def test_version(run: Run) -> None:
    assert run("--version").out == f"bilinear {bilinear.__version__}\n"


def test_recommend_one_user(run: Run, model: Path) -> None:
    ran = run("recommend", model, "--user", "007", "-n", 3, "--json")
    (answer,) = json.loads(ran.out)
    assert answer["user"] == "007"
    assert answer["known_user"] is True
    fitted = bilinear.load(model)
    assert [place["item"] for place in answer["items"]] == list(fitted.recommend("007", 3))
    assert answer["items"][0]["title"].startswith("Film <")
    plain = run("recommend", model, "--user", "007", "-n", 3).out.splitlines()
    assert plain[0] == "User 007"
    assert plain[1].split() == ["rank", "prediction", "item", "title"]
    assert len(plain) == 5


def test_an_unknown_user_is_an_answer_of_no(run: Run, model: Path) -> None:
    ran = run("recommend", model, "--user", "7")  # ids are text here: "7" is not "007"
    assert ran.code == 1
    assert "no such user: '7'" in ran.err
    assert "'000'" in ran.err
    assert ran.out == ""
    marked = run("recommend", model, "--user", "7", "--unknown", "non-personal", "--json")
    assert marked.code == 0
    assert json.loads(marked.out)[0]["known_user"] is False


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_recommend_everyone_to_a_file(run: Run, model: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"lists.{suffix}"
    assert run("recommend", model, "--all", "-n", 2, "--out", out).code == 0
    readers = {"csv": "read_csv", "tsv": "read_csv", "parquet": "read_parquet"}
    reader = readers.get(suffix, "read_json")
    options = ", all_varchar=true" if reader == "read_csv" else ""
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT \"user\", rank, item, title FROM {reader}('{out}'{options}) ORDER BY ALL"
        ).fetchall()
    fitted = bilinear.load(model)
    expected = fitted.recommend(n=2).to_columns()
    wanted = sorted(zip(expected["user"], expected["rank"], expected["item"], strict=True))
    assert [(user, int(rank), int(item)) for user, rank, item, _ in rows] == wanted
    assert all(title == fitted.title(int(item)) for _, _, item, title in rows)


def test_candidates_and_seen(run: Run, model: Path, tmp_path: Path) -> None:
    fitted = bilinear.load(model)
    user = fitted.user_vocabulary_[0]
    seen = fitted.item_vocabulary_.decode(fitted.seen_.indices[: fitted.seen_.indptr[1]]).tolist()
    everything = run("recommend", model, "--user", user, "-n", 40, "--json")
    listed = [place["item"] for place in json.loads(everything.out)[0]["items"]]
    assert not set(listed) & set(seen)
    assert len(listed) == 25
    again = run("recommend", model, "--user", user, "-n", 40, "--include-seen", "--json")
    assert set(seen) <= {place["item"] for place in json.loads(again.out)[0]["items"]}
    stock = tmp_path / "stock.txt"
    stock.write_text("3\n5\n8\n")
    ran = run("recommend", model, "--user", user, "--candidates", f"@{stock}", "--include-seen", "--json")
    assert {place["item"] for place in json.loads(ran.out)[0]["items"]} == {3, 5, 8}
    unknown = run("recommend", model, "--user", user, "--candidates", "3,999")
    assert unknown.code == 1
    assert "no such item: '999'" in unknown.err


def test_for_whom_must_be_said_once(run: Run, model: Path) -> None:
    for arguments in ((), ("--user", "007", "--all")):
        ran = run("recommend", model, *arguments)
        assert ran.code == 2
        assert "name the users" in ran.err


def test_similar_by_id_and_by_title(run: Run, model: Path) -> None:
    by_id = json.loads(run("similar", model, 12, "-n", 4, "--json").out)
    by_title = json.loads(run("similar", model, "--title", "film <12>", "-n", 4, "--json").out)
    assert by_id == by_title
    assert by_id["item"] in (12, "12")
    assert len(by_id["similar"]) == 4
    assert run("similar", model, "--title", "no such film").code == 1
    assert run("similar", model, 999).code == 1
    assert run("similar", model).code == 2


def test_predict_keeps_every_row_in_order_and_says_what_is_unknown(
    run: Run, model: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("movieId,userId\n5,007\n5,007\n999,007\n5,stranger\n999,stranger\n")
    out = tmp_path / "predictions.csv"
    ran = run("predict", model, pairs, "--out", out)
    assert ran.code == 0
    assert "5 pairs; 2 with a user and 2 with an item that had no training ratings" in ran.err
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["user"], row["item"]) for row in rows] == [
        ("007", "5"), ("007", "5"), ("007", "999"), ("stranger", "5"), ("stranger", "999"),
    ]  # fmt: skip
    assert [row["known_item"] for row in rows] == ["True", "True", "False", "True", "False"]
    fitted = bilinear.load(model)
    parameters = fitted.parameters_
    assert float(rows[4]["prediction"]) == pytest.approx(parameters.global_mean, abs=1e-6)
    bias = parameters.user_biases[fitted.user_vocabulary_.row("007")]
    assert float(rows[2]["prediction"]) == pytest.approx(parameters.global_mean + bias, abs=1e-5)


def test_fold_in_by_hand_and_from_a_file(run: Run, model: Path, tmp_path: Path) -> None:
    by_hand = json.loads(run("fold-in", model, "--rate", "3=5", "--rate", "8=1.5", "--json").out)
    own = tmp_path / "mine.csv"
    own.write_text("movieId,rating\n3,5\n8,1.5\n")
    from_file = json.loads(run("fold-in", model, "--ratings", own, "--json").out)
    assert by_hand == from_file
    assert by_hand["newton_steps"] == 1
    assert not {3, 8} & {place["item"] for place in by_hand["items"]}
    fitted = bilinear.load(model)
    expected = fitted.fold_in([3, 8], [5, 1.5]).recommend(10)
    assert [place["item"] for place in by_hand["items"]] == list(expected)
    twice = run("fold-in", model, "--rate", "3=1", "--rate", "8=1.5", "--rate", "3=5", "--json")
    assert json.loads(twice.out) == by_hand
    assert "given more than once, and counted once, with the last: 3" in twice.err
    assert run("fold-in", model, "--rate", "3:5").code == 2
    assert "outside" in run("fold-in", model, "--rate", "3=50").err
    assert run("fold-in", model, "--rate", "999=5").code == 1
    assert "999" in run("fold-in", model, "--rate", "999=5", "--rate", "3=4", "--skip-unknown").err
    assert run("fold-in", model).code == 2


def test_evaluate_warns_of_trained_pairs(run: Run, model: Path, ratings_file: Path, tmp_path: Path) -> None:
    ran = run("evaluate", model, ratings_file)
    assert ran.code == 0
    assert "900 of these 900 pairs were in the training ratings" in ran.out
    fresh = tmp_path / "fresh.csv"
    fresh.write_text("userId,movieId,rating\nstranger,3,4\n007,999,2\n")
    scores = json.loads(run("evaluate", model, fresh, "--json").out)
    assert scores["pairs_trained_on"] == 0
    assert scores["unknown_users"] == scores["unknown_items"] == 0.5
    predictions = np.asarray(bilinear.load(model).predict(["stranger", "007"], [3, 999]))
    assert scores["rmse"]["value"] == pytest.approx(np.sqrt(np.mean((predictions - [4, 2]) ** 2)))


def test_info_shows_scores_search_and_training(run: Run, model: Path) -> None:
    ran = run("info", model)
    assert "60 users, 40 items, 4 factors; 900 training ratings (all ratings)" in ran.out
    assert "GlobalMean" in ran.out
    assert json.loads(run("info", model, "--json").out)["n_factors"] == 4


def test_inspect_prints_and_draws(run: Run, model: Path, tmp_path: Path) -> None:
    png, page = tmp_path / "items.png", tmp_path / "items.html"
    ran = run("inspect", model, "--map", png)
    assert ran.code == 0, ran.err
    assert png.read_bytes().startswith(b"\x89PNG")
    assert run("inspect", model, "--map", page, "--report", tmp_path / "report.html").code == 0
    assert "Film &lt;" in page.read_text() or "Film \\u003c" in page.read_text()
    assert json.loads(run("inspect", model, "--json").out)
    assert run("inspect", model, "--map", "items.bmp").code == 2


@pytest.mark.parametrize("command", ["info", "inspect"])
def test_what_is_no_model_is_refused(run: Run, tmp_path: Path, command: str) -> None:
    ran = run(command, tmp_path / "absent")
    assert ran.code == 2
    assert "absent" in ran.err
    (tmp_path / "model.json").write_text("{}")
    broken = run(command, tmp_path)
    assert broken.code == 2
    assert "Traceback" not in broken.err


def test_output_that_cannot_be_written_is_refused_before_work(run: Run, model: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "lists.xlsx", tmp_path / "no" / "lists.csv"):
        ran = run("recommend", model, "--all", "--out", out)
        assert ran.code == 2
        assert not out.exists()


def test_describe(run: Run, ratings_file: Path) -> None:
    assert "900 ratings by 60 users of 40 items" in run("data", "describe", ratings_file).out
    described = json.loads(run("data", "describe", ratings_file, "--json").out)
    assert sum(count for _, count in described["histogram"]) == 900


def test_synthetic_writes_a_table_that_trains(run: Run, tmp_path: Path) -> None:
    ran = run("data", "synthetic", tmp_path / "s", "--n-ratings", 20000)
    assert ran.code == 0, ran.err
    assert bilinear.read_ratings(tmp_path / "s" / "ratings.csv").n_ratings == 20000
    assert run("data", "synthetic", tmp_path / "s", "--n-ratings", 20000).code == 2


def test_list_names_the_public_sets(run: Run) -> None:
    listed = json.loads(run("data", "list", "--json").out)
    assert {"movielens-latest-small", "movielens-100k", "movielens-1m", "movielens-25m", "movielens-32m"} <= {
        dataset["name"] for dataset in listed
    }


def test_demo_on_own_files(run: Run, ratings_file: Path, items_file: Path, tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path / "demo", "--data", ratings_file, "--items", items_file)
    assert ran.code == 0, ran.err
    assert (tmp_path / "demo" / "report.html").is_file()
    assert (tmp_path / "demo" / "items.png").is_file()
    assert "bilinear similar" in ran.out


def test_recommend_explores_where_draws_are_kept(
    run: Run, model: Path, ratings_file: Path, tmp_path: Path
) -> None:
    refused = run("recommend", model, "--user", "007", "--explore", 1)
    assert refused.code == 2
    assert "keep_draws=True" in refused.err
    assert "--explore 1" in run("recommend", model, "--user", "007", "--seed", 1).err
    solver = "solver=Gibbs(n_epochs=8, n_draws=4, keep_draws=True)"
    out = tmp_path / "drawn"
    trained = run(
        "train", ratings_file, "--model", "mf", "--set", solver, "--set", "n_factors=2", "--out", out
    )
    assert trained.code == 0, trained.err
    lists = [
        run("recommend", out, "--user", "007", "--explore", 1, "--seed", seed, "--json").out
        for seed in (1, 1, 2, 3)
    ]
    assert lists[0] == lists[1]
    assert len(set(lists)) > 1
    path = tmp_path / "lists.csv"
    assert run("recommend", out, "--all", "--explore", 1, "--seed", 1, "--out", path).code == 0
    with path.open(newline="") as file:
        items = [row["item"] for row in csv.DictReader(file) if row["user"] == "007"]
    assert items == [str(place["item"]) for place in json.loads(lists[0])[0]["items"]]


def test_intervals_of_a_point_estimate(run: Run, model: Path, ratings_file: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("userId,movieId\n007,3\n")
    (row,) = json.loads(run("predict", model, pairs, "--interval", 0.8, "--json").out)
    assert row["low"] < row["prediction"] < row["high"]
    pairs.write_text("userId,movieId\n007,3\n007,4000\n")
    refused = run("predict", model, pairs, "--interval", 0.8)
    assert refused.code == 2
    assert "item '4000' has no training ratings" in refused.err
    assert "90% intervals hold" in run("evaluate", model, ratings_file).out
