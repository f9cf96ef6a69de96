"""What every ranking model promises, for every ranking model; and each against its definition."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from problems import clustered_table, same_bits, with_strangers

from bilinear.data.interactions import Grouped
from bilinear.data.splits import split_random
from bilinear.data.synthetic.catalogue import synthetic_catalogue
from bilinear.errors import (
    EmptyDataError,
    ModelFileError,
    NotFittedError,
    ParameterValueError,
    RatingValueError,
    UnknownIdError,
)
from bilinear.estimators import ease
from bilinear.estimators.ease import EASE, SparseEASE
from bilinear.estimators.graph_filter import GraphFilter, slow_directions
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.item_knn import ItemKNN
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_model import rows_of
from bilinear.evaluation.ranking import RankingProtocol
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.persistence.models import load
from bilinear.recommend.everyone import recommend_everyone, similar_everyone
from bilinear.training.implicit_als import BlockCoordinateDescent, ConjugateGradient
from bilinear.training.similarities import BM25, TFIDF, CosineSimilarity

MAKE = {
    "als": lambda: ImplicitALS(6, n_epochs=4, rng=0),
    "als, cg": lambda: ImplicitALS(6, l2=1, n_epochs=4, solver=ConjugateGradient(2), rng=0, l2_exponent=0.5),
    "als, blocks": lambda: ImplicitALS(6, n_epochs=4, solver=BlockCoordinateDescent(4), rng=0),
    "als, ratings": lambda: ImplicitALS(5, l2=1, l2_exponent=0, n_epochs=3, rng=0, confidence="ratings"),
    "ease": lambda: EASE(l2=5),
    "ease, float64": lambda: EASE(l2=5, precision="float64", threshold=2),
    "sparse ease": lambda: SparseEASE(7, l2=5),
    "sparse ease, log": lambda: SparseEASE(7, l2=5, confidence="log", user_exponent=0.5),
    "graph": lambda: GraphFilter(8, low_pass=0.3),
    "graph, linear": GraphFilter,
    "graph, few users": lambda: GraphFilter(n_neighbours=12),
    "cosine": lambda: ItemKNN(6, CosineSimilarity(2)),
    "tf-idf": lambda: ItemKNN(6, TFIDF()),
    "bm25": lambda: ItemKNN(6, BM25()),
    "walk": lambda: RandomWalk(9),
    "walk, threshold": lambda: RandomWalk(9, popularity_exponent=0.3, threshold=3),
    "popularity": Popularity,
}
NEEDS_RATINGS = [name for name in MAKE if MAKE[name]().needs_ratings()]
every_model = pytest.mark.parametrize("name", MAKE)


SPLIT = split_random(clustered_table(), 0.2)
TRAIN = with_strangers(SPLIT.train)
USERS, ITEMS = list(TRAIN.user_vocabulary), list(TRAIN.item_vocabulary)
STRANGER = 0  # the row of a user, and of an item, without interactions


@cache
def fitted(name):
    """A model fitted on TRAIN; shared, so look and do not touch."""
    return MAKE[name]().fit(TRAIN)


def dense(table=TRAIN) -> np.ndarray:
    """(n_users, n_items) zeros and ones."""
    return (table.to_csr().toarray() != 0).astype(float)


def some_rows(n=TRAIN.n_users):
    return np.arange(n, dtype=np.int32)


# -- promises -------------------------------------------------------------------------------------


@every_model
def test_fit_returns_the_model_and_the_same_table_gives_the_same_bits(name):
    model = MAKE[name]()
    arguments = model.get_params(deep=False)
    assert model.fit(TRAIN) is model
    assert all(model.get_params(deep=False)[key] is value for key, value in arguments.items())
    assert same_bits(model.score_block(some_rows()), fitted(name).score_block(some_rows()))
    assert same_bits(model.fit(TRAIN).score_block(some_rows()), fitted(name).score_block(some_rows()))


@pytest.mark.parametrize("name", [name for name in MAKE if hasattr(MAKE[name](), "n_threads")])
def test_any_number_of_threads_gives_the_same_bits(name):
    model = MAKE[name]().set_params(n_threads=3).fit(TRAIN)
    assert same_bits(model.score_block(some_rows()), fitted(name).score_block(some_rows()))


@every_model
def test_scores_of_a_user_do_not_depend_on_the_block(name):
    model = fitted(name)
    whole = model.score_block(some_rows())
    assert whole.shape == TRAIN.shape
    assert np.isfinite(whole).all()
    for rows in ([3], [5, 3, 17], [41, 3]):
        assert same_bits(model.score_block(np.array(rows, np.int32)), whole[rows])


@every_model
def test_a_block_is_the_callers_to_change(name):
    model = fitted(name)
    before = model.score_block(some_rows())
    model.score_block(some_rows())[:] = np.nan
    assert same_bits(model.score_block(some_rows()), before)


@every_model
def test_a_training_users_history_gives_that_users_scores(name):
    model = fitted(name)
    rows = np.flatnonzero(TRAIN.by_user.counts > 0)[:20]
    found = model.score_histories(rows_of(TRAIN.by_user, rows))
    np.testing.assert_allclose(found, model.score_block(rows), rtol=1e-3, atol=2e-4)


@every_model
def test_fold_in_of_a_training_user_lists_what_the_model_lists(name):
    model = fitted(name)
    taken = TRAIN.take(TRAIN.users == 7)
    person = model.fold_in([ITEMS[item] for item in taken.items], taken.ratings.tolist())
    ours = model.recommend(USERS[7], 8)
    np.testing.assert_allclose(person.recommend(8).scores, ours.scores, rtol=1e-3, atol=2e-4)
    assert set(person.rated) == set(taken.items)
    assert not set(person.recommend(99)) & {ITEMS[item] for item in taken.items}
    assert len(person.recommend(99, exclude_seen=False)) == len(ITEMS)


@every_model
def test_fold_in_takes_the_last_rating_of_an_item_and_names_unknown_ones(name):
    model = fitted(name)
    once = model.fold_in(["i01", "i05"], [3, 5])
    again = model.fold_in(["i05", "i01", "i05"], [2, 3, 5])
    assert same_bits(once.scores, again.scores)
    with pytest.raises(UnknownIdError, match="no such item: 'nothing'"):
        model.fold_in(["i01", "nothing"], [3, 3])
    person = model.fold_in(["i01", "nothing", "i05"], [3, 4, 5], unknown="skip")
    assert person.unknown_items == ("nothing",)
    assert same_bits(person.scores, once.scores)


@every_model
def test_fold_in_refuses_what_it_cannot_use(name):
    model = fitted(name)
    with pytest.raises(ParameterValueError, match="2 items and 1 ratings"):
        model.fold_in(["i01", "i02"], [3])
    with pytest.raises(ParameterValueError, match="unknown='ask'"):
        model.fold_in(["i01"], [3], unknown="ask")
    with pytest.raises(RatingValueError, match="item 'i01' is not finite"):
        model.fold_in(["i01"], [np.nan])
    if name in NEEDS_RATINGS:
        with pytest.raises(ParameterValueError, match="give one an item"):
            model.fold_in(["i01"])
    else:
        assert same_bits(model.fold_in(["i01"]).scores, model.fold_in(["i01"], [1]).scores)


@every_model
def test_users_without_interactions_get_one_list_for_all(name):
    model = fitted(name)
    nobody = model.score_block(np.array([-1, STRANGER], np.int32))
    assert same_bits(nobody[0], nobody[1])
    assert same_bits(nobody[0], model.fold_in([], []).scores)
    assert len(set(nobody[0].tolist())) > 3
    popular = np.bincount(TRAIN.items, minlength=TRAIN.n_items)
    assert np.corrcoef(nobody[0], popular)[0, 1] > 0.5
    ranked = model.recommend(["nobody"], 3, unknown="non-personal")
    assert not ranked.known[0]
    assert len(ranked.lists[0]) == 3


@every_model
def test_lists_leave_out_what_was_seen_and_keep_to_the_candidates(name):
    model = fitted(name)
    seen = {ITEMS[item] for item in TRAIN.items[TRAIN.users == 9]}
    assert seen
    assert not set(model.recommend(USERS[9], 99)) & seen
    assert len(model.recommend(USERS[9], 99)) == len(ITEMS) - len(seen)
    assert len(model.recommend(USERS[9], 99, exclude_seen=False)) == len(ITEMS)
    assert set(model.recommend(USERS[9], 5, candidates=["i03", "i04"], exclude_seen=False)) == {"i03", "i04"}
    ranked = model.recommend(USERS[9], 6)
    assert ranked.predictions is None
    assert (np.diff(ranked.scores) <= 0).all()
    for n in (0, -1, 2.5, True):
        with pytest.raises(ParameterValueError, match="length of a list"):
            model.recommend(USERS[9], n)


@every_model
def test_lists_for_everyone_are_the_lists_of_each(name):
    model = fitted(name)
    everyone = recommend_everyone(model, 5, n_threads=2, block_size=13)
    for row, user in enumerate(USERS):
        ours = model.recommend(user, 5)
        found = everyone.items[row, : everyone.counts[row]]
        assert [ITEMS[item] for item in found] == list(ours), user


@every_model
def test_items_alike_are_other_items_of_the_same_taste(name):
    model = fitted(name)
    if name == "popularity":
        with pytest.raises(ParameterValueError, match="use ItemKNN"):
            model.similar("i05")
        return
    ranked = model.similar("i05", 4)
    assert "i05" not in set(ranked)
    assert (np.diff(ranked.scores) <= 1e-6).all()
    shared = dense().T @ dense()
    at = ITEMS.index("i05")
    near = np.mean([shared[at, ITEMS.index(item)] for item in ranked])
    assert near > 1.5 * np.delete(shared[at], at).mean()
    assert set(model.similar("i05", 9, candidates=["i01", "i02"])) <= {"i01", "i02"}
    lists = similar_everyone(model, 4)
    assert [ITEMS[item] for item in lists.items[at, : lists.counts[at]]] == list(ranked)
    with pytest.raises(ParameterValueError, match="no training ratings"):
        model.similar("a")


@every_model
def test_personal_lists_beat_popularity_on_what_was_held_out(name):
    scores = fitted(name).evaluate(SPLIT.test, RankingProtocol((5,)))
    floor = fitted("popularity").evaluate(SPLIT.test, RankingProtocol((5,)))
    assert scores.n_trained_pairs == 0
    if name != "popularity":
        assert scores["ndcg@5"] > 1.3 * floor["ndcg@5"]


@every_model
def test_before_fit_there_is_nothing_learned(name):
    model = MAKE[name]()
    for call in (
        lambda: model.recommend(1),
        lambda: model.similar("a"),
        lambda: model.fold_in(["a"], [3]),
        lambda: model.evaluate(TRAIN),
        lambda: model.save("never"),
    ):
        with pytest.raises(NotFittedError, match="call fit"):
            call()


@every_model
@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (
            [[1, 2, 3]],
            ParameterValueError,
            " takes Interactions, a data frame",
        ),
        (TRAIN.take(np.arange(0)), EmptyDataError, "no user has ratings"),
        (TRAIN.take(TRAIN.users == 5), EmptyDataError, "only one user"),
        (TRAIN.take(TRAIN.items == 5), EmptyDataError, "only one item"),
    ],
    ids=["a list", "empty", "one user", "one item"],
)
def test_a_table_that_cannot_be_learned_from_leaves_the_model_as_it_was(name, table, error, message):
    model = MAKE[name]().fit(TRAIN)
    before = dict(model.__dict__)
    with pytest.raises(error, match=message):
        model.fit(table)
    assert all(value is before[key] for key, value in model.__dict__.items())


# -- ratings as confidences -----------------------------------------------------------------------


@every_model
def test_a_threshold_learns_from_the_ratings_it_leaves_and_hides_the_others_too(name):
    model = MAKE[name]().set_params(threshold=4).fit(TRAIN)
    kept = TRAIN.take(TRAIN.ratings >= 4)
    twin = MAKE[name]().set_params(threshold=None).fit(kept)
    assert same_bits(model.score_block(some_rows()), twin.score_block(some_rows()))
    seen = {ITEMS[item] for item in TRAIN.items[TRAIN.users == 9]}
    assert not set(model.recommend(USERS[9], 99)) & seen
    with pytest.raises(EmptyDataError, match="no rating reaches threshold=9"):
        MAKE[name]().set_params(threshold=9).fit(TRAIN)


@every_model
def test_confidence_by_rating_is_that_of_the_ratings(name):
    equal = MAKE[name]().set_params(confidence="equal", threshold=None)
    weighed = MAKE[name]().set_params(confidence="ratings", threshold=None)
    ones = replace(TRAIN, ratings=np.ones_like(TRAIN.ratings))
    assert same_bits(weighed.fit(ones).score_block(some_rows()), equal.fit(TRAIN).score_block(some_rows()))
    logged = MAKE[name]().set_params(confidence="log", threshold=None).fit(TRAIN)
    logs = replace(TRAIN, ratings=np.log1p(TRAIN.ratings))
    assert same_bits(weighed.fit(logs).score_block(some_rows()), logged.score_block(some_rows()))
    unlike = weighed.fit(TRAIN).score_block(some_rows())
    assert not same_bits(unlike, logged.score_block(some_rows()))


@every_model
def test_a_confidence_must_be_positive_and_the_pair_is_named(name):
    ratings = TRAIN.ratings.copy()
    ratings[11] = 0
    table = replace(TRAIN, ratings=ratings)
    user, item = USERS[TRAIN.users[11]], ITEMS[TRAIN.items[11]]
    model = MAKE[name]().set_params(confidence="ratings", threshold=None)
    with pytest.raises(RatingValueError, match=rf"user {user}, item '{item}' has the rating 0 \(1 such"):
        model.fit(table)
    with pytest.raises(ParameterValueError, match="confidence='loud'"):
        MAKE[name]().set_params(confidence="loud").fit(TRAIN)
    with pytest.raises(ParameterValueError, match="threshold='3'"):
        MAKE[name]().set_params(threshold="3").fit(TRAIN)


# -- saved models ---------------------------------------------------------------------------------


@every_model
def test_a_saved_model_comes_back_with_the_same_bits(name, tmp_path):
    model = fitted(name)
    model.save(tmp_path / "model")
    found = load(tmp_path / "model")
    assert repr(found) == repr(model)
    assert same_bits(found.score_block(some_rows()), model.score_block(some_rows()))
    assert same_bits(found.fold_in(["i05"], [4]).scores, model.fold_in(["i05"], [4]).scores)
    assert list(found.recommend(USERS[3], 5)) == list(model.recommend(USERS[3], 5))
    assert [*found.get_params()] == [*model.get_params()]


@every_model
def test_numbers_that_are_none_are_refused_when_a_model_is_opened(name, tmp_path):
    fitted(name).save(tmp_path / "model")
    artifact = read_artifact(tmp_path / "model")
    mine = [
        key for key in artifact.tensors if not key.startswith(("users.", "items.", "seen.", "item_texts."))
    ]
    for key in mine:
        array = artifact.tensors[key].copy()
        if not array.size:
            continue
        damages = [array[:-1]]
        if array.dtype.kind == "f":
            wrong = array.copy()
            wrong.flat[-1] = np.nan
            damages.append(wrong)
        else:
            for value in (-1, 10**6):
                wrong = array.copy()
                wrong.flat[-1] = value
                damages.append(wrong)
        for damage in damages:
            write_artifact(tmp_path / "bad", artifact.manifest, {**artifact.tensors, key: damage})
            with pytest.raises(ModelFileError, match="do not fit together"):
                load(tmp_path / "bad")


@every_model
def test_arguments_that_are_none_are_refused_before_work(name):
    model = MAKE[name]()
    bad = {
        "n_factors": 0, "l2": -1, "l2_exponent": 2, "unobserved_weight": -1, "n_epochs": 0, "tolerance": -1,
        "solver": "cholesky", "start_size": 0, "n_threads": 0, "rng": -1, "precision": "float16",
        "max_memory": -1, "n_neighbours": 0, "user_exponent": "1", "item_exponent": 9,
        "popularity_exponent": None, "normalization": np.nan, "similarity": "cosine", "n_directions": 0,
        "low_pass": -1, "threshold": "high", "confidence": "none", "half_life": 0, "item_features": 1,
        "user_features": 1,
    }  # fmt: skip
    for field in fields(model):
        with pytest.raises(ParameterValueError, match=field.name):
            MAKE[name]().set_params(**{field.name: bad[field.name]}).fit(TRAIN)


# -- each against its definition ------------------------------------------------------------------


def test_als_scores_are_user_factors_times_item_factors():
    model = fitted("als")
    expected = model.user_factors_ @ model.item_factors_.T
    np.testing.assert_allclose(model.score_block(some_rows()), expected, atol=1e-5)
    assert same_bits(model.dot_product(), model.parameters_)
    np.testing.assert_allclose(model.user_factors_[STRANGER], model.mean_user_)


@pytest.mark.parametrize("name", ["als", "als, cg", "als, blocks", "als, ratings"])
def test_folding_in_training_users_reproduces_their_factors(name):
    model = fitted(name)
    found = model.fold_in_factors(TRAIN.by_user)
    size = np.abs(model.user_factors_).max()
    np.testing.assert_allclose(found, model.user_factors_, atol=1e-5 * max(size, 1), rtol=1e-4)


def test_als_ends_where_it_hardly_moves_any_more():
    model = ImplicitALS(4, n_epochs=300, tolerance=1e-4, rng=0).fit(TRAIN)
    assert model.history_.ended == "converged"
    assert 1 < len(model.history_.epochs) < 300


def ease_by_definition(x: np.ndarray, l2: float) -> np.ndarray:
    """Column by column: ridge regression of an item on all the others."""
    n = x.shape[1]
    weights = np.zeros((n, n))
    for j in range(n):
        others = np.delete(np.arange(n), j)
        system = x[:, others].T @ x[:, others] + l2 * np.eye(n - 1)
        weights[others, j] = np.linalg.solve(system, x[:, others].T @ x[:, j])
    return weights


def test_ease_is_the_ridge_regression_of_each_item_on_the_others():
    expected = ease_by_definition(dense(), 5)
    np.testing.assert_allclose(EASE(5, "float64").fit(TRAIN).weights_, expected, atol=1e-12)
    np.testing.assert_allclose(fitted("ease").weights_, expected, atol=1e-5)
    scores = fitted("ease").score_block(some_rows())[1:-1]
    np.testing.assert_allclose(scores, (dense() @ expected)[1:-1], atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_ease_of_few_users_is_that_of_the_definition(precision):
    table = synthetic_catalogue(300, 12, 150, rng=0).interactions
    assert ease.users_are_few(*table.shape)
    x = np.zeros(table.shape)
    x[table.users, table.items] = 1
    for l2 in (0.01, 3.0):  # the smaller one is too small for the way of few users
        inverse = np.linalg.inv(x.T @ x + l2 * np.eye(table.n_items))
        expected = -inverse / inverse.diagonal()
        np.fill_diagonal(expected, 0)
        model = EASE(l2, precision).fit(table)
        tolerance = {"float32": 1e-3, "float64": 1e-9}[precision]
        np.testing.assert_allclose(model.weights_, expected, atol=tolerance)
        np.testing.assert_allclose(model.inverse_diagonal_, inverse.diagonal(), rtol=tolerance)


def test_sparse_ease_with_all_items_as_sources_is_ease():
    model = SparseEASE(10**6, l2=5).fit(TRAIN)
    weights = np.zeros((TRAIN.n_items, TRAIN.n_items))
    sources = np.repeat(np.arange(TRAIN.n_items), model.weights_.counts)
    weights[sources, model.weights_.indices] = model.weights_.ratings
    shared = dense().T @ dense() > 0
    assert (shared | (weights == 0)).all()
    # Items that share no user are not sources; with these few left out it is the regression on the rest.
    for j in (5, 17, 30):
        mine = np.flatnonzero(shared[:, j] & (np.arange(TRAIN.n_items) != j))
        x = dense()[:, mine]
        expected = np.linalg.solve(x.T @ x + 5 * np.eye(len(mine)), x.T @ dense()[:, j])
        np.testing.assert_allclose(weights[mine, j], expected, atol=1e-5)


def test_sparse_ease_has_the_same_weights_with_the_products_of_all_items_and_without(monkeypatch):
    def weights(pay: bool) -> np.ndarray:
        monkeypatch.setattr(ease, "products_pay", lambda *_: pay)
        model = SparseEASE(7, l2=5, user_exponent=0.5, confidence="log").fit(TRAIN)
        return model.weights_.ratings

    with_products, without = weights(True), weights(False)
    assert not np.array_equal(with_products, without)  # two ways of adding up
    np.testing.assert_allclose(with_products, without, atol=1e-6)


def test_sparse_ease_weighs_users_by_their_interactions():
    model = SparseEASE(10**6, l2=2, user_exponent=1).fit(TRAIN)
    counts = np.maximum(dense().sum(axis=1), 1)
    x = dense() / np.sqrt(counts)[:, None]
    j = 12
    mine = np.flatnonzero((x.T @ x[:, j] > 0) & (np.arange(TRAIN.n_items) != j))
    expected = np.linalg.solve(x[:, mine].T @ x[:, mine] + 2 * np.eye(len(mine)), x[:, mine].T @ x[:, j])
    at = [np.flatnonzero(model.weights_.indices[slice(*model.weights_.indptr[i : i + 2])] == j) for i in mine]
    found = [model.weights_.ratings[model.weights_.indptr[i] + n[0]] for i, n in zip(mine, at, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ease_that_does_not_fit_is_refused_with_the_number_and_the_alternative():
    with pytest.raises(ParameterValueError, match=r"42 items need 0\.0 GB.*SparseEASE\(\)"):
        EASE(max_memory=1e-6).fit(TRAIN)
    assert EASE().memory_needed(20_000) == 1_600_000_000
    assert EASE(precision="float64").memory_needed(1000) == 8_000_000


def test_the_walk_is_the_product_of_its_steps():
    model = RandomWalk(10**6, 0.7, 0.6, 0.2, 0.0).fit(TRAIN)
    x = dense()
    items, users = np.maximum(x.sum(axis=0), 1), np.maximum(x.sum(axis=1), 1)
    walk = (x / users[:, None] ** 0.6).T @ x / items[:, None] ** 0.7 / items**0.2
    np.fill_diagonal(walk, 0)
    scores = model.score_block(some_rows())[1:-1]
    np.testing.assert_allclose(scores, (x @ walk)[1:-1], rtol=1e-5, atol=1e-6)


def test_a_normalised_walk_gives_every_item_one_voice():
    model = RandomWalk(5, normalization=1).fit(TRAIN)
    sums = np.add.reduceat(model.weights_.ratings, model.weights_.indptr[:-1][model.weights_.counts > 0])
    np.testing.assert_allclose(sums, 1, rtol=1e-5)


def neighbours_by_definition(likeness: np.ndarray, k: int) -> np.ndarray:
    """For each column its k largest entries off the diagonal; ties by row."""
    kept = np.zeros_like(likeness)
    for j in range(likeness.shape[1]):
        column = likeness[:, j].copy()
        column[j] = 0
        best = np.argsort(-column, kind="stable")[:k]
        kept[best, j] = column[best]
    return kept


@pytest.mark.parametrize(
    "similarity", [CosineSimilarity(), CosineSimilarity(3), TFIDF(1), BM25(1.5, 0.4)], ids=repr
)
def test_neighbours_are_the_most_alike_by_definition(similarity):
    model = ItemKNN(6, similarity).fit(TRAIN)
    x = dense()
    n_items = x.shape[1]
    if isinstance(similarity, (TFIDF, BM25)):
        rarity = np.log((1 + n_items) / (1 + x.sum(axis=1))) + 1
    if isinstance(similarity, BM25):
        lengths = x.sum(axis=0)
        norms = 1 - similarity.b + similarity.b * lengths / lengths[lengths > 0].mean()
        x = rarity[:, None] * x * (similarity.k1 + 1) / (x + similarity.k1 * norms)
        likeness = x.T @ x
    else:
        x = x * rarity[:, None] if isinstance(similarity, TFIDF) else x
        lengths = np.linalg.norm(x, axis=0)
        likeness = x.T @ x / np.maximum(np.outer(lengths, lengths) + similarity.shrinkage, 1e-30)
    kept = neighbours_by_definition(likeness.astype(np.float32), 6)
    scores = model.score_block(some_rows())[1:-1]
    np.testing.assert_allclose(scores, (dense() @ kept)[1:-1], rtol=1e-4, atol=1e-5)


def test_the_graph_filter_is_its_formula():
    model = GraphFilter(8, 0.4, 0.3, 0.8, 0.2).fit(TRAIN)
    x = dense()
    items, users = np.maximum(x.sum(axis=0), 1e-30), np.maximum(x.sum(axis=1), 1e-30)
    linear = (x * items**-0.3) @ (x.T * users**-0.8) @ x * items**-0.2
    linear[~np.isfinite(linear)] = 0
    normal = x / np.sqrt(np.outer(users, items))
    vectors = np.linalg.svd(normal)[2][:8].T
    low = (x / np.sqrt(items)) @ vectors @ vectors.T * np.sqrt(items)
    expected = (linear + 0.4 * low)[1:-1, 1:-1]
    np.testing.assert_allclose(model.score_block(some_rows())[1:-1, 1:-1], expected, rtol=1e-4, atol=1e-4)


def test_the_graph_filter_listens_to_the_users_it_reaches_most():
    # Ratings that make no ties, as of equal users the twin would not know which.
    table = replace(TRAIN, ratings=np.random.default_rng(3).uniform(1, 2, len(TRAIN)).astype(np.float32))
    model = GraphFilter(
        item_exponent=0.6, user_exponent=0.4, popularity_exponent=0.1, n_neighbours=9, confidence="ratings"
    ).fit(table)
    x = table.to_csr().toarray().astype(float)
    items, users = np.maximum(x.sum(axis=0), 1e-30), np.maximum(x.sum(axis=1), 1e-30)
    reached = ((x * items**-0.6) @ x.T) * users**-0.4
    kept = np.where(reached >= np.sort(reached, axis=1)[:, -9:-8], reached, 0)
    expected = ((kept @ x) * items**-0.1)[1:-1, 1:-1]
    np.testing.assert_allclose(model.score_block(some_rows())[1:-1, 1:-1], expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ParameterValueError, match="n_neighbours=0"):
        GraphFilter(n_neighbours=0).fit(TRAIN)


@pytest.mark.parametrize("shape", [(60, 25), (25, 60)])
def test_slow_directions_are_the_leading_singular_vectors(shape):
    table = clustered_table(3, *shape)
    found = slow_directions(table.by_user._replace(ratings=np.ones(len(table), np.float32)), table.n_items, 6)
    x = dense(table)
    normal = x / np.sqrt(np.outer(x.sum(axis=1), x.sum(axis=0)))
    expected = np.linalg.svd(normal, full_matrices=False)[2][:6].T
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), 1, atol=1e-4)
    assert (found[np.argmax(np.abs(found), axis=0), np.arange(6)] > 0).all()


def test_popularity_counts():
    scores = fitted("popularity").score_block(some_rows())
    assert (scores == np.bincount(TRAIN.items, minlength=TRAIN.n_items)).all()


def test_rows_of_a_grouped_table_are_its_rows():
    table = Grouped(np.array([0, 2, 2, 5]), np.arange(5, dtype=np.int32), np.arange(5, dtype=np.float32))
    found = rows_of(table, np.array([2, -1, 1, 0, 2]))
    assert found.indptr.tolist() == [0, 3, 3, 3, 5, 8]
    assert found.indices.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]


def test_only_models_of_ratings_predict_ratings_and_need_them_to_fold_in():
    assert MatrixFactorization.predicts_ratings
    assert MatrixFactorization().needs_ratings()
    assert not any(MAKE[name]().predicts_ratings for name in MAKE)
