"""Answers without a web: compared with the model's own, and with closed forms."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bilinear
import bilinear.serving.messages as m
from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.packed_text import PackedText
from bilinear.estimators.ease import EASE
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.recommender import Recommender
from bilinear.serving.answers.item_map import item_map as drawn_map
from bilinear.serving.answers.service import Service
from bilinear.serving.answers.serving_model import ServingModel
from bilinear.serving.answers.title_search import plain_lines
from bilinear.serving.feedback.store import Feedback, open_store
from bilinear.serving.http.asgi import parse_query
from bilinear.serving.lifecycle.model_folder import ModelFolder
from bilinear.serving.lifecycle.retrain_process import carry_out, table_with_feedback, trained_on
from bilinear.serving.problems import Conflict, NotFound, Refused

RANKING = {
    "ImplicitALS": ImplicitALS(n_factors=6, n_epochs=4, rng=0),
    "ImplicitALS, weighted": ImplicitALS(n_factors=6, n_epochs=4, threshold=2.5, confidence="ratings", rng=0),
    "EASE": EASE(l2=20.0),
    "RandomWalk": RandomWalk(n_neighbours=20),
    "Popularity": Popularity(),
    "RankingFactorization": RankingFactorization(n_factors=4, rng=0),
}


@pytest.fixture(scope="module")
def ranking_models(table: Interactions) -> dict[str, Recommender]:
    return {name: model.fit(table) for name, model in RANKING.items()}


@pytest.fixture
def service(model_folder: Path, tmp_path: Path) -> Iterator[Service]:
    made = Service(ModelFolder(model_folder), open_store(f"sqlite:///{tmp_path / 'feedback.db'}"))
    yield made
    made.store.close()


def test_the_map_is_that_of_the_reports(service: Service) -> None:
    model = service.serving_model.model
    drawn, report = drawn_map(service.serving_model), bilinear.item_map(model, min_ratings=1)
    assert drawn.items == [str(id_) for id_ in report.ids.tolist()]
    np.testing.assert_allclose(np.array([drawn.x, drawn.y]).T, report.coordinates, atol=1e-4)
    assert drawn.categories == list(report.genre_names)
    assert drawn.unit == report.unit


@pytest.mark.parametrize("name", RANKING)
def test_explanations_of_ranking_models_add_up(
    name: str, ranking_models: dict[str, Recommender], tmp_path: Path
) -> None:
    ranking_models[name].save(tmp_path / "model")
    service = Service(ModelFolder(tmp_path / "model"), open_store(f"sqlite:///{tmp_path / 'f.db'}"))
    rate(service, "new", i3=5.0, i4=1.0, i5=4.0)
    for user in ("user 0", "new", "nobody"):
        why = service.explain(m.ExplainQuery(user, "item/9 ü", n=2))
        parts = sum(one.contribution for one in why.contributions) + why.others + why.rest
        assert why.score == pytest.approx(why.global_mean + why.item_bias + parts, abs=1e-9)
        if user == "new" and name not in ("Popularity", "RankingFactorization"):
            assert abs(why.rest) < 1e-5
    service.store.close()


def rate(service: Service, user: str, **ratings: float | None) -> None:
    service.store.write(
        [service.feedback_row(user, f"item/{name[1:]} ü", rating, None) for name, rating in ratings.items()]
    )


def test_lists_of_trained_users_are_the_models_own(
    service: Service, rating_model: bilinear.MatrixFactorization
) -> None:
    for user in rating_model.user_vocabulary_:
        for exclude_seen in (True, False):
            ours = service.recommend(m.RecommendBody(str(user), n=40, exclude_seen=exclude_seen))
            theirs = rating_model.recommend(user, n=40, exclude_seen=exclude_seen)
            assert [item.item for item in ours.items] == list(theirs)
            np.testing.assert_allclose([item.score for item in ours.items], theirs.scores, rtol=1e-5)
            assert theirs.predictions is not None
            np.testing.assert_allclose(
                [item.prediction for item in ours.items], theirs.predictions, rtol=1e-5
            )
            assert (ours.personal, ours.basis) == (True, "training")


def test_a_cold_user_gets_the_list_for_all_and_is_told(
    service: Service, rating_model: bilinear.MatrixFactorization
) -> None:
    answer = service.recommend(m.RecommendBody("nobody", n=30))
    assert (answer.personal, answer.basis, answer.n_ratings) == (False, "non-personal", 0)
    order = np.lexsort((-rating_model.parameters_.item_biases, ~rating_model.supported()))
    assert [item.item for item in answer.items] == [str(rating_model.item_vocabulary_[row]) for row in order]


def test_what_was_rated_is_in_the_very_next_list(
    service: Service, rating_model: bilinear.MatrixFactorization
) -> None:
    rate(service, "new", i3=5.0, i4=1.0)
    answer = service.recommend(m.RecommendBody("new", n=30))
    expected = rating_model.fold_in(["item/3 ü", "item/4 ü"], [5.0, 1.0]).recommend(30)
    assert [item.item for item in answer.items] == list(expected)
    assert (answer.basis, answer.n_ratings) == ("feedback", 2)
    rate(service, "new", i3=None, i4=None)
    assert service.recommend(m.RecommendBody("new")).personal is False


def test_feedback_overlays_training(service: Service, table: Interactions) -> None:
    """A changed, an added and a deleted rating: as if folded in from the table that results."""
    serving_model = service.serving_model
    row = serving_model.user_row("user 0")
    history = serving_model.history(row)
    changed, deleted, *_ = history
    added = next(at for at in range(serving_model.n_items) if at not in history)
    names = [serving_model.item_id(at) for at in (changed, deleted, added)]
    for item, rating in zip(names, (0.5, None, 5.0), strict=True):
        service.store.write([service.feedback_row("user 0", item, rating, None)])
    history[changed], history[added] = 0.5, 5.0
    del history[deleted]
    expected = serving_model.model.fold_in(  # type: ignore[attr-defined]
        [serving_model.item_id(at) for at in history], list(history.values())
    ).recommend(30)
    answer = service.recommend(m.RecommendBody("user 0", n=30))
    assert [item.item for item in answer.items] == list(expected)
    assert names[1] in list(expected)
    assert answer.n_ratings == len(history)


def test_feedback_that_repeats_training_changes_nothing(service: Service) -> None:
    before = service.recommend(m.RecommendBody("user 1", n=30))
    history = service.serving_model.history(service.serving_model.user_row("user 1"))
    item, rating = next(iter(history.items()))
    service.store.write([service.feedback_row("user 1", service.serving_model.item_id(item), rating, None)])
    assert service.recommend(m.RecommendBody("user 1", n=30)) == before


def test_a_session_is_the_models_fold_in(
    service: Service, rating_model: bilinear.MatrixFactorization
) -> None:
    ratings = [m.ItemRating("item/3 ü", 1.0), m.ItemRating("unknown", 3.0), m.ItemRating("item/3 ü", 4.0)]
    answer = service.recommend_session(m.SessionBody(ratings, n=30))
    expected = rating_model.fold_in(["item/3 ü"], [4.0]).recommend(30)  # the last rating counts
    assert [item.item for item in answer.items] == list(expected)
    assert (answer.user, answer.basis, answer.unknown_items) == (None, "session", ["unknown"])


def test_candidates_and_categories_are_filters_inside(service: Service) -> None:
    everything = [item.item for item in service.recommend(m.RecommendBody("user 2", n=30)).items]
    candidates = [*everything[::3], "unknown"]
    answer = service.recommend(m.RecommendBody("user 2", n=4, candidates=candidates))
    assert [item.item for item in answer.items] == everything[::3][:4]
    assert answer.unknown_items == ["unknown"]
    in_war = service.recommend(m.RecommendBody("user 2", n=30, categories=["War"]))
    wars = {
        service.serving_model.item_id(row) for row in service.serving_model.rows_by_category["War"].tolist()
    }
    assert [item.item for item in in_war.items] == [item for item in everything if item in wars]
    assert all("War" in item.categories for item in in_war.items)
    both = service.recommend(
        m.RecommendBody("user 2", n=30, categories=["War", "Comedy"], candidates=candidates)
    )
    assert {item.item for item in both.items} <= set(candidates)
    assert service.recommend(m.RecommendBody("user 2", candidates=["unknown"])).items == []
    with pytest.raises(NotFound, match="no category 'None'"):
        service.recommend(m.RecommendBody("user 2", categories=["None"]))


@pytest.mark.parametrize("name", RANKING)
def test_ranking_models_are_served_alike(
    name: str, ranking_models: dict[str, Recommender], table: Interactions
) -> None:
    model = ranking_models[name]
    serving_model = ServingModel(model, "v")
    for user in table.user_vocabulary:
        ours = serving_model.rank([(serving_model.user_state(user, ()), 10, True, None)])[0]
        theirs = model.recommend(user, 10)
        assert [serving_model.item_id(row) for row in ours[0].tolist()] == list(theirs)
        np.testing.assert_allclose(ours[1], theirs.scores, rtol=1e-4, atol=1e-6)
    new = serving_model.user_state("new", [("item/3 ü", 5.0, 0.0), ("item/4 ü", 4.0, 1.0)])
    rows, scores = serving_model.rank([(new, 10, True, None)])[0]
    theirs = model.fold_in(["item/3 ü", "item/4 ü"], [5.0, 4.0]).recommend(10)  # type: ignore[attr-defined]
    assert [serving_model.item_id(row) for row in rows.tolist()] == list(theirs)
    np.testing.assert_allclose(scores, theirs.scores, rtol=1e-4, atol=1e-6)
    cold = serving_model.rank([(serving_model.user_state("nobody", ()), 10, True, None)])[0]
    np.testing.assert_allclose(cold[1], np.sort(model.score_block(np.array([-1])))[0, ::-1][:10], rtol=1e-5)


@pytest.mark.parametrize("name", ["ImplicitALS", "ImplicitALS, weighted", "EASE", "RandomWalk"])
def test_contributions_of_ranking_models_add_up_to_the_score(
    name: str, ranking_models: dict[str, Recommender]
) -> None:
    model = ranking_models[name]
    serving_model = ServingModel(model, "v")
    items, ratings = np.array([2, 5, 9], np.int32), np.array([3.0, 5.0, 4.0], np.float32)
    score = model.score_histories(Grouped(np.array([0, 3]), items, ratings))[0, 7]
    added = serving_model.model.contributions(items, ratings, 7).ratings
    assert added.shape == (3,)
    np.testing.assert_allclose(added.sum(), score, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("link", "loss"),
    [
        (bilinear.Identity(), bilinear.SquaredError()),
        (bilinear.Sigmoid(), bilinear.SquaredError()),
        (bilinear.Sigmoid(), bilinear.CrossEntropy()),
    ],
)
def test_contributions_of_a_fold_in_add_up_to_the_score(
    table: Interactions, link: bilinear.Identity, loss: bilinear.SquaredError
) -> None:
    model = bilinear.MatrixFactorization(
        n_factors=3, l2=0.2, l2_biases=0.1, link=link, loss=loss, solver=bilinear.SGD(n_epochs=3),
        validation_fraction=0, rng=0,
    ).fit(table)  # fmt: skip
    serving_model = ServingModel(model, "v")
    user_state, _ = serving_model.session([("item/1 ü", 4.5), ("item/2 ü", 1.0), ("item/5 ü", 3.0)])
    added = serving_model.model.contributions(user_state.rated, user_state.ratings, 7).ratings
    score = serving_model.score(user_state, np.array([7]))[0]
    parameters = model.parameters_
    np.testing.assert_allclose(
        added.sum(), score - parameters.global_mean - parameters.item_biases[7], rtol=1e-4, atol=1e-5
    )


def test_contributions_are_ridge_regressions_own(service: Service) -> None:
    """With squared error and the identity: a (A^T A + D)^-1 A^T times each centred rating."""
    serving_model = service.serving_model
    model = serving_model.model
    assert isinstance(model, bilinear.MatrixFactorization)
    user_state, _ = serving_model.session([("item/1 ü", 4.5), ("item/2 ü", 1.0), ("item/5 ü", 3.0)])
    q = model.parameters_.item_factors.astype(float)
    a = np.hstack([q[user_state.rated], np.ones((3, 1))])
    weight = float(model.penalty_.row_weights(np.array([3]))[0])
    ridge = weight * np.array([model.penalty_.factors] * q.shape[1] + [model.penalty_.biases])
    centred = (
        user_state.ratings - model.parameters_.global_mean - model.parameters_.item_biases[user_state.rated]
    )
    expected = np.append(q[7], 1) @ np.linalg.inv(a.T @ a + np.diag(ridge)) @ a.T * centred
    np.testing.assert_allclose(
        serving_model.model.contributions(user_state.rated, user_state.ratings, 7).ratings,
        expected,
        rtol=1e-5,
    )


@pytest.mark.parametrize("user", ["user 0", "new", "nobody"])
def test_an_explanation_adds_up_to_the_score(service: Service, user: str) -> None:
    rate(service, "new", i3=5.0, i4=1.0, i5=4.0)
    why = service.explain(m.ExplainQuery(user, "item/9 ü", n=2))
    parts = sum(one.contribution for one in why.contributions) + why.others + why.rest
    assert why.score == pytest.approx(why.global_mean + why.item_bias + parts, abs=1e-9)
    assert why.prediction == pytest.approx(
        service.predict(m.PredictBody([m.Pair(user, "item/9 ü")])).predictions[0].prediction
    )
    assert abs(why.rest) < 1e-5 or why.basis == "training"
    assert len(why.contributions) == {"user 0": 2, "new": 2, "nobody": 0}[user]
    sizes = [abs(one.contribution) for one in why.contributions]
    assert sizes == sorted(sizes, reverse=True)


def test_predictions_are_the_models_own_in_order(
    service: Service, rating_model: bilinear.MatrixFactorization
) -> None:
    pairs = [("user 1", "item/1 ü"), ("nobody", "item/2 ü"), ("user 1", "unknown"), ("user 0", "item/1 ü")]
    answer = service.predict(m.PredictBody([m.Pair(*pair) for pair in pairs]))
    expected = rating_model.predict(*zip(*pairs, strict=True)).values
    np.testing.assert_allclose([one.prediction for one in answer.predictions], expected, rtol=1e-5)
    assert [one.known_item for one in answer.predictions] == [True, True, False, True]
    assert [(one.user, one.item) for one in answer.predictions] == pairs


def test_similar_items_are_the_models_own(
    service: Service, rating_model: bilinear.MatrixFactorization
) -> None:
    for item in rating_model.item_vocabulary_:
        ours = service.similar(m.SimilarQuery(str(item), n=40))
        theirs = rating_model.similar(item, n=40)
        assert [one.item for one in ours.items] == list(theirs)
        np.testing.assert_allclose([one.similarity for one in ours.items], theirs.scores, atol=1e-6)
    some = service.similar(m.SimilarQuery("item/3 ü", n=40, category=["Comedy"])).items
    assert [one.item for one in some] == [
        one.item
        for one in service.similar(m.SimilarQuery("item/3 ü", n=40)).items
        if "Comedy" in one.categories
    ]
    with pytest.raises(NotFound):
        service.similar(m.SimilarQuery("unknown"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("AMELIE", ["Amélie"]),
        ("ástr", ["Ástríkur"]),
        ("godfather part", ["The Godfather: Part II"]),
        ("part god", ["The Godfather: Part II"]),
        ("war", ["Star Wars"]),
        ("a/b", ["a/b?&#"]),
        ("  ", []),
        ("zzz", []),
        ("\x00\ud7ff\n*.", []),
    ],
)
def test_search_of_titles(service: Service, words: str, found: list[str]) -> None:
    assert [item.title for item in service.search(m.SearchQuery(words)).items] == found


def test_search_puts_beginnings_first_then_the_most_rated(service: Service) -> None:
    answer = service.search(m.SearchQuery("film", n=5))
    counts = [item.n_ratings for item in answer.items]
    assert counts == sorted(counts, reverse=True)
    assert answer.more is True
    everything = service.search(m.SearchQuery("film number 1", n=50)).items
    assert {item.title for item in everything[:10]} == {f"Film number {i}" for i in range(10, 20)}
    assert [item.title for item in everything[10:]] == ["Film number 21"]  # both words are in it
    comedies = service.search(m.SearchQuery("f", n=50, category=["Comedy"])).items
    assert comedies
    assert all(item.categories == ["Comedy"] for item in comedies)


def test_records(service: Service, table: Interactions) -> None:
    rate(service, "user 0", i3=5.0)
    rate(service, "only here", i3=2.0)
    user = service.user(m.UserQuery("user 0", limit=1))
    mine = table.by_user
    n_training = int(mine.counts[table.user_vocabulary.row("user 0")])
    assert (user.known, user.n_training, user.n_feedback, len(user.ratings)) == (True, n_training, 1, 1)
    assert user.ratings[0].source == "feedback"
    assert service.user(m.UserQuery("only here")).n_ratings == 1
    with pytest.raises(NotFound, match="no user 'nobody'"):
        service.user(m.UserQuery("nobody"))
    item = service.item(m.ItemQuery("item/3 ü"))
    row = table.item_vocabulary.row("item/3 ü")
    ratings = table.ratings[table.items == row]
    assert (item.n_ratings, item.mean_rating) == (len(ratings), pytest.approx(ratings.mean(dtype=float)))
    assert service.users(m.UsersQuery("user 1", limit=3)).n_users == 11
    assert [row.user for row in service.users(m.UsersQuery(limit=2, offset=1)).users] == ["user 1", "user 10"]


def test_ratings_that_the_model_cannot_take_are_refused(service: Service) -> None:
    for rating in (0.0, 5.5, 1e9):
        with pytest.raises(Refused, match=r"outside the model's range \[0.5, 5\]"):
            service.feedback_row("u", "i", rating, None)
    with pytest.raises(Refused, match="ahead of the server's clock"):
        service.feedback_row("u", "i", 3.0, 9e10)
    first, second = service.feedback_row("u", "i", 3.0, None), service.feedback_row("u", "i", 4.0, None)
    assert second.time > first.time


def test_reload_refuses_a_damaged_model_and_the_old_one_stays(service: Service, model_folder: Path) -> None:
    before = service.recommend(m.RecommendBody("user 0"))
    tensors = next(model_folder.glob("*.safetensors"))
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(Conflict, match="SHA-256"):
        service.reload(m.Nothing())
    shutil.rmtree(model_folder)
    with pytest.raises(Conflict, match="bilinear train"):
        service.reload(m.Nothing())
    assert service.recommend(m.RecommendBody("user 0")) == before


def test_reload_and_rollback(service: Service, table: Interactions, model_folder: Path) -> None:
    first = service.serving_model.version
    bilinear.BiasModel(l2_biases=1.0).fit(table).save(model_folder)
    swapped = service.reload(m.Nothing())
    assert swapped.before == first != swapped.model == service.serving_model.version
    assert service.info(m.Nothing()).n_earlier == 1
    assert service.rollback(m.Nothing()) == m.Swapped(first, swapped.model)
    assert Service(service.models, service.store).serving_model.version == first  # it is the folder's again
    assert service.info(m.Nothing()).can_similar
    with pytest.raises(Conflict, match="no earlier model"):
        service.rollback(m.Nothing())


def test_history_keeps_a_few_models(service: Service, table: Interactions, model_folder: Path) -> None:
    versions = [service.serving_model.version]
    for l2 in range(1, 8):
        bilinear.BiasModel(l2_biases=float(l2)).fit(table).save(model_folder)
        versions.append(service.reload(m.Nothing()).model)
    assert service.info(m.Nothing()).n_earlier == 5
    for earlier in versions[-2:-7:-1]:
        assert service.rollback(m.Nothing()).model == earlier


def test_training_table_with_feedback(table: Interactions, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'f.db'}")
    first, second = (
        (str(table.user_vocabulary[table.users[n]]), str(table.item_vocabulary[table.items[n]]))
        for n in (0, 1)
    )
    store.write(
        [Feedback(*first, 0.5, 1.0), Feedback(*second, None, 1.0), Feedback("new", "brand new", 4.0, 1.0)]
    )
    merged = table_with_feedback(table, store)
    assert merged.n_ratings == table.n_ratings  # one out, one in

    def pairs(of: Interactions) -> dict[tuple[str, str], float]:
        users, items = of.user_vocabulary, of.item_vocabulary
        return {
            (str(users[u]), str(items[i])): float(r)
            for u, i, r in zip(of.users.tolist(), of.items.tolist(), of.ratings, strict=True)
        }

    expected = pairs(table) | {first: 0.5, ("new", "brand new"): 4.0}
    del expected[second]
    assert pairs(merged) == expected
    assert pairs(table_with_feedback(None, store)) == {first: 0.5, ("new", "brand new"): 4.0}
    store.close()


@pytest.mark.parametrize(("ids", "expected"), [("7", [1, 2, 7]), ("x", ["1", "2", "x"])])
def test_feedback_on_whole_number_ids(ids: str, expected: list[object], tmp_path: Path) -> None:
    base = Interactions.from_columns([1, 1, 2], [1, 2, 1], [1.0, 2.0, 3.0])
    store = open_store(f"sqlite:///{tmp_path / 'f.db'}")
    store.write([Feedback(ids, "1", 4.0, 1.0), Feedback("1", "2", 5.0, 1.0)])
    merged = table_with_feedback(base, store)
    assert list(merged.user_vocabulary) == expected
    assert merged.n_ratings == 4
    store.close()


def test_retraining_goes_live_only_within_the_bound(model_folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'f.db'}"
    service = Service(ModelFolder(model_folder), open_store(url))
    service.store.write([Feedback("new", f"item/{n} ü", 4.0, 1.0) for n in range(8)])
    order = {"model": str(model_folder), "store": url, "out": str(tmp_path / "out"), "max_worse": 0.0}
    bad = carry_out(order | {"bound": 0.01})
    assert not bad["good_enough"]
    assert "NOT good enough" in bad["message"]
    assert not (tmp_path / "out").exists()
    good = carry_out(order | {"bound": 4.0})
    assert good["good_enough"]
    before = service.serving_model.version
    service.adopt(tmp_path / "out")
    assert service.info(m.Nothing()).held_out == {"rmse": good["score"]}
    assert service.recommend(m.RecommendBody("new")).basis == "training"  # the feedback is in the model now
    assert service.serving_model.title(0) == "Amélie"
    assert set(service.report(m.Nothing()).report["scores"]) == {
        "GlobalMean",
        "BiasModel",
        "MatrixFactorization",
    }
    assert service.rollback(m.Nothing()).model == before
    service.store.close()


def test_retraining_of_a_ranking_model(table: Interactions, tmp_path: Path) -> None:
    model = RandomWalk(n_neighbours=20).fit(table)
    model.save(tmp_path / "model")
    url = f"sqlite:///{tmp_path / 'f.db'}"
    open_store(url).close()
    order = {"model": str(tmp_path / "model"), "store": url, "out": str(tmp_path / "out")}
    made = carry_out(order | {"max_worse": 0.9, "bound": None})
    assert (made["metric"], made["good_enough"]) == ("ndcg@10", True)
    assert "Popularity" in made["message"]
    assert trained_on(bilinear.load(tmp_path / "out")).n_ratings == table.n_ratings


def test_a_model_of_clicks_takes_counts(table: Interactions, tmp_path: Path) -> None:
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    RandomWalk(n_neighbours=20).fit(Interactions.from_columns(users, items)).save(tmp_path / "model")
    url = f"sqlite:///{tmp_path / 'f.db'}"
    service = Service(ModelFolder(tmp_path / "model"), open_store(url))
    assert service.info(m.Nothing()).has_ratings is False
    rate(service, "new", i3=2.0)
    with pytest.raises(Conflict, match="positive"):
        service.feedback_row("new", "item/4 ü", 0.0, None)
    order = {"model": str(tmp_path / "model"), "store": url, "out": str(tmp_path / "out")}
    assert carry_out(order | {"max_worse": 0.0, "bound": 0.0})["good_enough"]
    made = bilinear.load(tmp_path / "out")
    assert made.has_ratings_ is False
    assert made.seen_.ratings.sum() == table.n_ratings + 2
    service.store.close()


def test_items_of_another_file_take_the_place_of_titles(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,title,genres\nitem/3 ü,Other title,Noir|Sea\n")
    model, _ = ModelFolder(model_folder, items=tmp_path / "items.csv").load()
    serving_model = ServingModel(model, "v")
    row = serving_model.item_row("item/3 ü")
    assert (serving_model.title(row), serving_model.categories(row)) == ("Other title", ["Noir", "Sea"])
    assert serving_model.title(serving_model.item_row("item/4 ü")) == "item/4 ü"


def test_a_model_beside_another_answers_as_one_that_was_opened_alone(table: Interactions) -> None:
    """What is taken over from the live model follows from equal items, and only from those."""

    def fitted(rng: int, titles: list[str]) -> bilinear.MatrixFactorization:
        model = bilinear.MatrixFactorization(
            n_factors=2,
            l2=0.1,
            l2_biases=0.1,
            solver=bilinear.SGD(n_epochs=2),
            validation_fraction=0,
            rng=rng,
        ).fit(table)
        model.item_texts_ = {"title": PackedText.of(titles), "genres": PackedText.of(["Drama|War"] * 30)}
        return model

    titles = [f"Film {n}" for n in range(30)]
    live = ServingModel(fitted(0, titles), "live")
    live.card(3)
    for model in (fitted(1, titles), fitted(1, [*titles[:-1], "Another"])):
        n_pauses = 0

        def pause() -> None:
            nonlocal n_pauses
            n_pauses += 1

        beside, alone = ServingModel(model, "next", live, pause), ServingModel(model, "next")
        rows = range(30)
        assert [beside.card(row) for row in rows] == [alone.card(row) for row in rows]
        assert [beside.item_row(beside.item_id(row)) for row in rows] == list(rows)
        assert beside.titles.search("another", 5) == alone.titles.search("another", 5)
        assert beside.titles.search("film", 30) == alone.titles.search("film", 30)
        assert list(beside.rows_by_category) == list(alone.rows_by_category) == ["Drama", "War"]
        everyone = [(one.user_state("user 7", ()), 10, True, None) for one in (beside, alone)]
        (ours,), (theirs,) = beside.rank(everyone[:1]), alone.rank(everyone[1:])
        assert ours[0].tolist() == theirs[0].tolist()
        assert ours[1].tobytes() == theirs[1].tobytes()
        is_taken_over = model.item_texts_["title"][29] != "Another"
        assert (beside.card(3) is live.card(3)) == is_taken_over
        assert (n_pauses < len(rows)) == is_taken_over


def test_json_of_a_list_is_that_of_its_message_byte_by_byte(
    service: Service, rating_model: bilinear.MatrixFactorization, table: Interactions
) -> None:
    hostile = ['"score":0.0,"prediction":null,', "back\\slash \n\t\x7f", "\u2028 𝄞", "", '","score":1']
    with_titles = copy.copy(rating_model)
    with_titles.item_texts_ = {"title": PackedText.of(hostile[n % 5] for n in range(30))}
    clicks = bilinear.Popularity().fit(table)
    for model in (rating_model, with_titles, clicks):
        service.serving_model = ServingModel(model, "some")
        for body in (
            m.RecommendBody("user 7", n=40),
            m.RecommendBody("nobody", n=1, exclude_seen=False, candidates=["item/3 ü", "?"]),
            m.RecommendBody("user 7", n=3, candidates=["?"]),
        ):
            plan = service.plan(body, [])
            (ranked,) = plan.serving_model.rank([plan.query])
            for _ in range(2):  # what is kept of an item, the second time
                message = msgspec.json.encode(service.recommended(plan, ranked))
                assert service.recommended_json(plan, ranked) == message


def test_lines_of_titles_do_not_depend_on_the_parts_of_the_work() -> None:
    titles = ["Ämélie  et\n autres", "\u0301", "", "ﬁn", "İ", *(f"Straße {n}" for n in range(600))]
    lines = plain_lines(titles)
    assert lines == [line for title in titles for line in plain_lines([title])]
    assert lines[0] == "amelie et autres"
    assert lines[3] == "fin"
    assert len(lines) == len(titles)


@given(st.text("ab=&;é%+\u20ac 0", max_size=12))
def test_queries_with_and_without_escapes_are_read_alike(text: str) -> None:
    """The short way of queries without escapes against the standard library's."""

    class Query(msgspec.Struct, forbid_unknown_fields=True):
        a: str = "none"
        b: str = "none"

    def read(raw: bytes) -> Query | str:
        try:
            return parse_query(raw, Query)
        except Refused as error:
            return str(error)

    short = "".join(c if c in "=&;" else quote(c, safe="") for c in text)
    assert read(short.encode()) == read(short.replace("a", "%61").replace("b", "%62").encode())
