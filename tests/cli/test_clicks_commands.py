"""A table without ratings on the command line: from the file to the lists, with every ranking model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from command_line import Ran, Run

import bilinear
from bilinear.cli import train
from bilinear.data.interactions import Interactions
from bilinear.evaluation.ranking import RankingProtocol

WALK = ("--model", "random-walk", "--quiet")


@pytest.fixture(scope="module")
def clicks_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 users and 30 items in three groups; ids with leading zeros, repeats, times."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    same = rng.integers(3, size=80)[:, None] == rng.integers(3, size=30)
    users, items = np.nonzero(rng.random((80, 30)) < np.where(same, 0.7, 0.08))
    rows = [
        f"{user:03d},{item + 1},{10**9 + n}"
        for n, (user, item) in enumerate(np.stack([users, items], axis=1))
    ]
    path.write_text("\n".join(["user,item,ts", *rows, *rows[:9]]) + "\n")
    return path


@pytest.fixture(scope="module")
def titles_file(clicks_file: Path) -> Path:
    path = clicks_file.with_name("titles.csv")
    path.write_text("item,title\n" + "".join(f'{item},"Song <{item}>"\n' for item in range(1, 31)))
    return path


@pytest.fixture(scope="module")
def clicks_model(clicks_file: Path, titles_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "walk"
    train.command(ratings=str(clicks_file), out=out, items=titles_file, model="random-walk", quiet=True)
    return out


def ok(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


def test_without_ratings_it_ranks_and_says_so(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    ran = ok(run("train", clicks_file, "--out", tmp_path / "m", "--set", "n_trials=3"))
    assert "No rating column: this ranks" in ran.err
    assert "9 repeated rows merged" in ran.err
    for part in ("recall@20", "Popularity", "less Popularity", "AutoRanker", "full ranking of 30 items"):
        assert part in ran.out
    assert "Seconds to fit" in ran.out
    assert f"bilinear recommend {tmp_path / 'm'} --user 000" in ran.out
    model = bilinear.load(tmp_path / "m")
    assert isinstance(model, bilinear.AutoRanker)
    assert model.report_["trained_on"] == "all interactions"
    assert model.count_trained_pairs(bilinear.read_interactions(clicks_file)) == len(
        bilinear.read_interactions(clicks_file)
    )


def test_what_was_measured_is_what_the_model_says_of_the_held_out_part(
    run: Run, clicks_file: Path, tmp_path: Path
) -> None:
    ran = ok(run("train", clicks_file, "--out", tmp_path / "m", "--no-refit", "--json", *WALK))
    result = json.loads(ran.out)
    split = bilinear.split_random(bilinear.read_interactions(clicks_file), 0.2, rng=0)
    own = bilinear.load(tmp_path / "m").evaluate(split.test)
    assert result["task"] == "ranking"
    assert result["scores"]["RandomWalk"] == json.loads(json.dumps(own.to_dict()))
    popular = bilinear.Popularity().fit(split.train).evaluate(split.test)
    assert result["scores"]["Popularity"]["means"]["recall@20"][0] == popular["recall@20"]
    assert result["differences"]["RandomWalk"]["ndcg@10"][0] == pytest.approx(
        own["ndcg@10"] - popular["ndcg@10"]
    )
    assert own["ndcg@10"] > popular["ndcg@10"] + 0.1  # taste was planted


def test_auto_is_measured_and_saved_as_one_choice(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    for name, refit in (("all", "--refit"), ("part", "--no-refit")):
        ok(run("train", clicks_file, "--out", tmp_path / name, "-q", refit, "--set", "n_trials=4"))
    whole, part = (bilinear.load(tmp_path / name) for name in ("all", "part"))
    assert type(whole.model_) is type(part.model_)
    assert whole.model_.get_params() == part.model_.get_params()
    assert whole.search_.to_dict()["trials"].__len__() == part.search_.to_dict()["trials"].__len__()


@pytest.mark.parametrize(
    ("split", "options", "said"),
    [
        ("auto", (), "random 20%"),
        ("random", (), "random 20%"),
        ("per-user", ("--test", "0.3"), "30% of each user"),
        ("temporal", (), "latest 20%"),
        ("rolling", ("--refits", "1"), "cut point 2 of 2"),
        ("leave-last-out", (), "last 1 of each user"),
        ("leave-last-out", ("--test", "2"), "last 2 of each user"),
        ("users", (), "users held out"),
    ],
)
def test_every_way_to_hold_out(
    run: Run, clicks_file: Path, tmp_path: Path, split: str, options: tuple[str, ...], said: str
) -> None:
    ran = ok(run("train", clicks_file, "--out", tmp_path / "m", "--split", split, *options, "--json", *WALK))
    assert said in json.loads(ran.out)["split"]


def test_events_and_times_are_told_and_used(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    lines = clicks_file.read_text().splitlines()
    what = ("what", *("buy" if n % 3 else "hide" for n in range(len(lines) - 1)))
    shop = tmp_path / "shop.csv"
    shop.write_text("\n".join(f"{line},{word}" for line, word in zip(lines, what, strict=True)) + "\n")
    said = ("train", shop, "--out", tmp_path / "m", "--model", "transitions", "--event", "what")
    ran = ok(run(*said, "--weight", "buy=2", "--weight", "hide=-1"))
    assert "--split temporal" in ran.err
    assert bilinear.load(tmp_path / "m").weighted_
    assert "--split temporal" not in ok(run(*said, "--weight", "*=1", "--split", "temporal")).err
    for options, message in (
        (("--weight", "buy=2"), "'hide' ("),
        (("--weight", "buy"), "write VALUE=NUMBER"),
        (("--weight", "buy=1", "--weight", "buy=2"), "once for each value"),
        (("--weight-column", "what"), "event and weight"),
    ):
        refused = run(*said, *options)
        assert refused.code == 2
        assert message in refused.err


def test_a_test_file_is_held_out_and_never_trained_on(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    lines = clicks_file.read_text().splitlines()[:-9]
    (tmp_path / "a.csv").write_text("\n".join(lines[:-60]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join([lines[0], *lines[-60:]]) + "\n")
    options = ("--split", "file", "--test", tmp_path / "b.csv", *WALK)
    ok(run("train", tmp_path / "a.csv", "--out", tmp_path / "m", *options))
    model = bilinear.load(tmp_path / "m")
    assert model.report_["trained_on"] == "the training part"
    assert model.count_trained_pairs(bilinear.read_interactions(tmp_path / "b.csv")) == 0


def test_lists_of_items_per_line_train_as_rows_do(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    table = bilinear.read_interactions(clicks_file)
    by_user = table.by_user
    lines = [
        " ".join(map(str, [user, *by_user.indices[by_user.indptr[user] : by_user.indptr[user + 1]]]))
        for user in range(table.n_users)
    ]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    ran = ok(run("train", tmp_path / "train.txt", "--out", tmp_path / "m", "--json", *WALK))
    assert json.loads(ran.out)["data"]["n_ratings"] == len(table)


RANKERS = {
    "implicit-als": ("n_factors=4", "solver=ConjugateGradient(n_steps=2"),
    "ease": ("l2=20",),
    "sparse-ease": ("n_neighbours=5",),
    "item-knn": ("similarity=BM25(k1=0.9",),
    "graph-filter": ("n_directions=3", "low_pass=0.3"),
    "popularity": (),
    "blend": ("models=(RandomWalk(), EASE(l2=20))", "weights=(0.5, 0.5)"),
}


@pytest.mark.parametrize("name", RANKERS)
def test_every_model_by_name_with_its_arguments(
    run: Run, clicks_file: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "m"
    settings = [
        part for text in RANKERS[name] for part in ("--set", text + ")" * (text.count("(") - text.count(")")))
    ]
    ok(run("train", clicks_file, "--out", out, "--model", name, *settings, "-q"))
    model = bilinear.load(out)
    assert all(text in repr(model) for text in RANKERS[name])
    for command in (
        ("recommend", out, "--user", "000"),
        ("recommend", out, "--all", "--out", tmp_path / "l.parquet"),
        ("fold-in", out, "--item", "1", "--item", "2"),
        ("info", out),
        ("inspect", out, "-n", "2"),
        ("info", out, "--json"),
        ("inspect", out, "--json"),
    ):
        ran = ok(run(*command))
        assert ran.out or "written" in ran.err


def test_ratings_train_a_ranking_with_a_threshold(run: Run, ratings_file: Path, tmp_path: Path) -> None:
    options = ("--threshold", "3.5", "--confidence", "log", "--json", *WALK)
    result = json.loads(ok(run("train", ratings_file, "--out", tmp_path / "m", *options)).out)
    assert result["task"] == "ranking"
    assert "relevant from a rating of 3.5" in result["scores"]["RandomWalk"]["protocol"]
    model = bilinear.load(tmp_path / "m")
    assert (model.threshold, model.confidence) == (3.5, "log")
    evaluated = ok(run("evaluate", tmp_path / "m", ratings_file, "--include-seen")).out
    assert "relevant from a rating of 3.5" in evaluated  # as it was trained
    assert model.seen_.counts.sum() == 900
    assert len(model.positives_.indices) < 900


def test_with_ratings_it_predicts_them_and_says_how_to_rank(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    ran = ok(run("train", ratings_file, "--out", tmp_path / "m", "--set", "n_factors=2", "--set", "l2=1"))
    assert isinstance(bilinear.load(tmp_path / "m"), bilinear.MatrixFactorization)
    for name, kind in (("biases", bilinear.BiasModel), ("mean", bilinear.GlobalMean)):
        ran = ok(run("train", ratings_file, "--out", tmp_path / name, "--model", name))
        assert "Held out: 180 ratings" in ran.out
        assert isinstance(bilinear.load(tmp_path / name), kind)


def test_ratings_that_are_all_alike_are_clicks(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{user},{item},1" for user in range(20) for item in rng.permutation(9)[:4]]
    (tmp_path / "ones.csv").write_text("\n".join(["user,item,rating", *lines]) + "\n")
    ran = ok(run("train", tmp_path / "ones.csv", "--out", tmp_path / "m", "--set", "n_trials=1"))
    assert "Every rating is 1, which tells nothing apart" in ran.err
    forced = run("train", tmp_path / "ones.csv", "--out", tmp_path / "n", "--task", "ratings")
    assert forced.code == 2
    assert "every rating is 1" in forced.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "ratings"), "no rating column found"),
        (("--task", "both"), "--task both: choose ratings or ranking"),
        (("--model", "ultra"), "--model ultra: no such model; choose"),
        (("--model", "mf"), "no rating column found"),
        (("--task", "ranking", "--model", "mf"), "--model mf is a model of ratings"),
        (("--task", "ratings", "--model", "ease"), "--model ease predicts no ratings"),
        (("--model", "ease", "--set", "l3=1"), "EASE has no argument 'l3'; did you mean 'l2'?"),
        (("--model", "ease", "--set", "l2"), "--set l2: write NAME=VALUE"),
        (("--model", "ease", "--set", "l2=-1"), "l2=-1"),
        (("--model", "ease", "--set", "l2=abc"), "l2='abc'"),
        (("--model", "item-knn", "--set", "similarity=Jaccard()"), "unknown class 'Jaccard'"),
        (("--model", "item-knn", "--set", "similarity=BM25(1)"), "name its arguments"),
        (("--task", "ranking", "--set", "n_factors=4"), "AutoRanker has no argument 'n_factors'"),
        (("--threshold", "2", "--set", "l2=4"), "say which with --task"),
        (("--task", "ratings", "--threshold", "2"), "--threshold: not for --task ratings"),
        (("--model", "ease", "--time-budget", "9"), "--time-budget is for --model auto"),
        (("--model", "ease", "--threshold", "9"), "no rating reaches threshold=9"),
        (("--model", "ease", "--confidence", "sure"), "confidence='sure'"),
        (("--cutoffs", "ten"), "--cutoffs ten: whole numbers"),
        (("--split", "users", "--test", "1.5"), "between 0 and 1"),
        (("--split", "leave-last-out", "--test", "0.5"), "a whole number of rows a user"),
        (("--split", "file"), "--test FILE"),
        (("--rating", "ts", "--count", "ts"), "name one of them"),
        (("--duplicates", "first"), "'last', 'mean' or 'sum'"),
        (("--layout", "lines"), "'auto', 'rows', 'lists' or 'wide'"),
        (("--count", "plays"), "no column 'plays' for count"),
    ],
)
def test_wrong_arguments_say_what_to_do_and_leave_nothing(
    run: Run, clicks_file: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = run("train", clicks_file, "--out", tmp_path / "m", "-q", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "m").exists()


# -- using it -------------------------------------------------------------------------------------


def test_recommend_has_titles_on_the_screen_and_in_every_format(
    run: Run, clicks_model: Path, tmp_path: Path
) -> None:
    assert "Song <" in ok(run("recommend", clicks_model, "--user", "003", "-n", "3")).out
    fitted = bilinear.load(clicks_model)
    for name in ("l.parquet", "l.csv", "l.tsv"):
        ok(run("recommend", clicks_model, "--all", "-n", "4", "--out", tmp_path / name))
        rows = duckdb.sql(f"FROM '{tmp_path / name}'").fetchall()
        columns = [column[0] for column in duckdb.sql(f"DESCRIBE FROM '{tmp_path / name}'").fetchall()]
        assert columns == ["user", "rank", "item", "score", "known_user", "title"]
        assert rows[0][5] == f"Song <{rows[0][2]}>"
        first = [row[2] for row in rows if str(row[0]).zfill(3) == "000"]
        assert first == list(fitted.recommend("000", 4))
    ran = ok(run("recommend", clicks_model, "--all", "-n", "4", "--json"))
    assert len(json.loads(ran.out)) == fitted.user_vocabulary_.__len__()


def test_similar_for_one_and_for_all(run: Run, clicks_model: Path, tmp_path: Path) -> None:
    one = ok(run("similar", clicks_model, "--title", "<7>", "-n", "3"))
    assert "score" in one.out
    assert "cosine" not in one.out
    ok(run("similar", clicks_model, "--all", "-n", "3", "--out", tmp_path / "s.csv"))
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    like = [int(row["similar_item"]) for row in rows if row["item"] == "7"]
    assert like == list(bilinear.load(clicks_model).similar(7, 3))
    for arguments in (
        ("--all",),
        ("7", "--out", tmp_path / "x.csv"),
        ("--all", "--out", tmp_path / "x.json"),
    ):
        assert run("similar", clicks_model, *arguments).code == 2


def test_fold_in_takes_items_alone_or_from_a_file(run: Run, clicks_model: Path, tmp_path: Path) -> None:
    wanted = list(bilinear.load(clicks_model).fold_in([1, 2]).recommend(4))
    ran = ok(run("fold-in", clicks_model, "--item", "1", "--item", "2", "-n", "4", "--json"))
    assert [place["item"] for place in json.loads(ran.out)["items"]] == wanted
    (tmp_path / "mine.txt").write_text("1\n2\n")
    (tmp_path / "mine.csv").write_text("song,stars\n1,5\n2,1\n")
    for options in (
        ("--file", tmp_path / "mine.txt"),
        ("--file", tmp_path / "mine.csv", "--item-column", "1"),
    ):
        ran = ok(run("fold-in", clicks_model, *options, "-n", "4", "--json"))
        assert [place["item"] for place in json.loads(ran.out)["items"]] == wanted
    assert run("fold-in", clicks_model, "--item", "999").code == 1
    assert run("fold-in", clicks_model).code == 2


def test_a_model_of_ratings_does_not_fold_in_items_alone(run: Run, model: Path) -> None:
    ran = run("fold-in", model, "--item", "1")
    assert ran.code == 2
    assert "learns from ratings: --rate ITEM=RATING" in ran.err


def test_predict_refuses_with_the_way_out(run: Run, clicks_model: Path, clicks_file: Path) -> None:
    ran = run("predict", clicks_model, clicks_file)
    assert (ran.code, ran.out) == (2, "")
    assert "RandomWalk, which ranks items and predicts no ratings" in ran.err


def test_maps_of_rankings_are_refused_clearly(run: Run, clicks_model: Path, tmp_path: Path) -> None:
    ran = run("inspect", clicks_model, "--map", tmp_path / "map.png")
    assert ran.code == 2
    assert "show models of ratings" in ran.err
    assert not (tmp_path / "map.png").exists()


def test_evaluate_measures_what_was_held_out(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    ok(run("train", clicks_file, "--out", tmp_path / "m", "--split", "temporal", "--no-refit", *WALK))
    table = bilinear.read_interactions(clicks_file)
    split = bilinear.split_temporal(table, 0.2)
    later = tmp_path / "later.csv"
    users = table.user_vocabulary.decode(split.test.users)
    items = table.item_vocabulary.decode(split.test.items)
    later.write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in zip(users, items, strict=True)))
    fitted = bilinear.load(tmp_path / "m")
    ran = ok(run("evaluate", tmp_path / "m", later, "--cutoffs", "3,7", "--json"))
    found = json.loads(ran.out)
    assert found["means"]["recall@7"][0] == fitted.evaluate(split.test, RankingProtocol((3, 7)))["recall@7"]
    assert found["pairs_trained_on"] == 0
    sampled = ok(run("evaluate", tmp_path / "m", later, "--negatives", "5")).out
    assert "SAMPLED, not comparable with full ranking: 5 negatives" in sampled
    assert "were in the training interactions" in ok(run("evaluate", tmp_path / "m", clicks_file)).out
    refused = run("evaluate", tmp_path / "m", later, "--task", "ratings")
    assert refused.code == 2
    assert "ranks and predicts no ratings" in refused.err


def test_a_model_of_ratings_can_be_measured_by_its_lists(
    run: Run, ratings_file: Path, tmp_path: Path
) -> None:
    ok(run("train", ratings_file, "--out", tmp_path / "m", "--model", "biases", "--no-refit", "-q"))
    split = bilinear.split_random(bilinear.read_ratings(ratings_file), 0.2, rng=0)
    rest = tmp_path / "rest.csv"
    users, items = (
        split.test.user_vocabulary.decode(split.test.users),
        split.test.item_vocabulary.decode(split.test.items),
    )
    rows = zip(users, items, split.test.ratings, strict=True)
    rest.write_text("user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in rows))
    options = ("--task", "ranking", "--relevant-from", "4")
    ran = ok(run("evaluate", tmp_path / "m", rest, *options))
    assert "full ranking of 40 items" in ran.out
    refused = run("evaluate", tmp_path / "m", rest, "--cutoffs", "5")
    assert refused.code == 2
    assert "add --task ranking" in refused.err


# -- comparing ------------------------------------------------------------------------------------


def test_compare_is_measure_in_a_table(run: Run, clicks_file: Path) -> None:
    models = ("--model", "popularity", "--model", "ease:l2=20,threshold=1", "--model", "random-walk")
    found = json.loads(ok(run("compare", clicks_file, *models, "--json")).out)
    assert list(found["scores"]) == ["popularity", "ease:l2=20,threshold=1", "random-walk"]
    assert found["baseline"] == "popularity"
    split = bilinear.split_random(bilinear.read_interactions(clicks_file), 0.2, rng=0)
    own = bilinear.measure(
        {"popularity": bilinear.Popularity(), "ease": bilinear.EASE(l2=20, threshold=1)}, split
    )
    by = own.differences["ease"]["recall@10"]
    assert found["differences"]["ease:l2=20,threshold=1"]["recall@10"] == [by.value, by.low, by.high]
    text = ok(run("compare", clicks_file, "-q", "--baseline", "item-knn")).out
    for part in ("less item-knn", "graph-filter", "random-walk", "popularity"):
        assert part in text


def test_ratings_are_compared_by_their_errors_or_by_their_lists(run: Run, ratings_file: Path) -> None:
    models = ("--model", "mean", "--model", "biases", "--model", "mf:n_factors=2,l2=1.0,l2_biases=1.0")
    ran = ok(run("compare", ratings_file, "-q", *models))
    assert "RMSE - mean's" in ran.out
    lists = ok(run("compare", ratings_file, "-q", "--task", "ranking", "--relevant-from", "4", *models[:4]))
    assert "relevant from a rating of 4" in lists.out
    mixed = ok(run("compare", ratings_file, "-q", "--model", "biases", "--model", "popularity"))
    assert "less biases" in mixed.out


def test_saved_models_are_compared_on_a_test_file(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    lines = clicks_file.read_text().splitlines()[:-9]
    (tmp_path / "a.csv").write_text("\n".join(lines[:-60]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join([lines[0], *lines[-60:]]) + "\n")
    for name in ("popularity", "random-walk"):
        ok(run("train", tmp_path / "a.csv", "--model", name, "--out", tmp_path / name, "-q"))
    folders = ("--model", tmp_path / "popularity", "--model", tmp_path / "random-walk")
    found = json.loads(ok(run("compare", tmp_path / "b.csv", *folders, "--json", "-q")).out)
    assert list(found["scores"]) == [str(tmp_path / "popularity"), str(tmp_path / "random-walk")]
    unfair = run("compare", clicks_file, *folders)
    assert unfair.code == 2
    assert "was trained on" in unfair.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "ease", "--model", "ease"), "given twice"),
        (("--model", "ease:l2"), "write NAME:ARGUMENT=VALUE"),
        (("--model", "ease:l9=1"), "no argument 'l9'"),
        (("--model", "ease", "--baseline", "mf"), "baseline='mf' is none of the models ease"),
        (("--model", "mf", "--task", "ratings"), "no rating column found"),
        (("--task", "ratings", "--threshold", "3"), "are for rankings"),
    ],
)
def test_comparisons_that_cannot_be_are_refused(
    run: Run, clicks_file: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = run("compare", clicks_file, "-q", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_describe_speaks_of_clicks(run: Run, clicks_file: Path) -> None:
    out = ok(run("data", "describe", clicks_file)).out
    assert "interactions by 80 users of 30 items" in out
    assert "9 repeated (user, item) rows were merged" in out


def test_clicks_end_to_end_in_python(clicks_file: Path) -> None:
    table = bilinear.read_interactions(clicks_file)
    assert isinstance(table, Interactions)
    split = bilinear.split_leave_last_out(table)
    found = bilinear.measure({"walk": bilinear.RandomWalk(), "all": bilinear.Popularity()}, split)
    assert found.task == "ranking"
    assert found.scores["walk"]["recall@10"] > found.scores["all"]["recall@10"]


def test_a_model_that_is_no_better_than_popularity_is_saved_with_a_word_of_doubt(
    run: Run, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{user},{item}" for user in range(40) for item in rng.permutation(60)[:8]]
    (tmp_path / "noise.csv").write_text("\n".join(["user,item", *lines]) + "\n")
    ran = ok(run("train", tmp_path / "noise.csv", "--out", tmp_path / "m", *WALK))
    assert "RandomWalk is not clearly better than one list for all (Popularity)" in ran.out


def test_the_choice_of_auto_is_named(run: Run, clicks_file: Path, tmp_path: Path) -> None:
    options = ("--set", "n_trials=1", "--set", "kinds=('Popularity',)", "-q")
    ran = ok(run("train", clicks_file, "--out", tmp_path / "m", *options))
    assert "AutoRanker (Popularity()) trained on all interactions" in ran.out
    assert "it chose Popularity()" in ok(run("info", tmp_path / "m")).out
