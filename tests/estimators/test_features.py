"""Rows without ratings from features: the closed form, what stays as it was, new ids, and saved models."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

import bilinear
from bilinear import BiasModel, ImplicitALS, Interactions, Items, MatrixFactorization, Users, Vocabulary
from bilinear.errors import IdValueError, MissingColumnError, ModelFileError, ParameterValueError
from bilinear.estimators import ridge_map
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.ridge_map import fit_ridge_map
from bilinear.estimators.with_features import LeakWarning
from bilinear.training.minibatch import MiniBatch
from bilinear.training.sgd import SGD

N_USERS, N_ITEMS, N_COLD = 60, 40, 8
GENRES = ["Comedy", "Drama", "War", "Western"]
MF: dict[str, Any] = {"n_factors": 3, "l2": 0.1, "l2_biases": 0.1, "solver": SGD(n_epochs=30), "rng": 0}
MAKE: dict[str, Any] = {
    "factors": lambda **more: MatrixFactorization(**MF, **more),
    "biases": lambda **more: BiasModel(l2_biases=0.3, rng=0, **more),
    "implicit als": lambda **more: ImplicitALS(n_factors=4, n_epochs=3, rng=0, **more),
    "ranking": lambda **more: RankingFactorization(
        n_factors=4, n_negatives=8, solver=MiniBatch(n_epochs=3), validation_fraction=0, rng=0, **more
    ),
}
every_model = pytest.mark.parametrize("name", MAKE)


def films(chosen: list[int] | range = range(N_ITEMS), shuffle: bool = False) -> Items:
    """Two genres an item: a pure function of its number."""
    rng = np.random.default_rng(5)
    both = np.array([sorted(rng.permutation(4)[:2]) for _ in range(10 * N_ITEMS)])
    if shuffle:
        both = both[rng.permutation(len(both))]
    columns = {
        "genres": ["|".join(GENRES[at] for at in both[item]) for item in chosen],
        "title": [f"Film {item} ({1950 + item % 50})" for item in chosen],
    }
    return Items(Vocabulary.from_ids(chosen), columns, "title", "genres", source="films")


def people(chosen: range = range(N_USERS)) -> Users:
    return Users(Vocabulary.from_ids(chosen), {"job": ["abc"[user % 3] for user in chosen]})


@cache
def ratings() -> Interactions:
    """Users like genres by their job; the last items and users have no ratings, and rows all the same."""
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(3, 4))
    table = films()
    hot = np.array([[g in table.genres(item) for g in GENRES] for item in range(N_ITEMS)], float)
    users, items = np.divmod(rng.permutation(N_USERS * N_ITEMS)[:1100], N_ITEMS)
    scores = 3 + (taste[users % 3] * hot[items]).sum(axis=1) + 0.2 * rng.normal(size=len(users))
    whole = Interactions.from_columns(users, items, np.clip(scores, 0.5, 5.5))
    kept = (whole.items < N_ITEMS - N_COLD) & (whole.users < N_USERS - 3)
    return whole.take(kept)


@cache
def fitted(name: str, features: bool = True) -> Any:
    """Shared: look, do not touch."""
    if not features:
        return MAKE[name]().fit(ratings())
    model = MAKE[name](item_features=["genres"], user_features=["job"])
    return model.fit(ratings(), items=films(), users=people())


def sparse(n: int, d: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return csr_array((rng.random((n, d)) < 0.4) * rng.normal(size=(n, d)))


# -- the closed form -------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(30, 6), (8, 20)])
def test_the_map_solves_the_weighted_normal_equations(n: int, d: int) -> None:
    rng = np.random.default_rng(1)
    z, q, counts = sparse(n, d), rng.normal(size=(n, 3)), rng.integers(1, 50, n)
    found = fit_ridge_map(z, q, counts, np.eye(3))
    w, dense = counts / (counts + 8), z.toarray()
    mean = (w[:, None] * q).sum(axis=0) / w.sum()
    twin = np.linalg.solve(
        dense.T @ (w[:, None] * dense) + found.penalty * np.eye(d), dense.T @ (w[:, None] * (q - mean))
    )
    assert found.mean == pytest.approx(mean)
    assert found.weights == pytest.approx(twin, abs=1e-9)
    assert found.rows(z) == pytest.approx(mean + dense @ twin, abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(25, 4), (9, 15)])
def test_the_penalty_is_the_one_that_refitting_without_each_row_chooses(n: int, d: int) -> None:
    rng = np.random.default_rng(2)
    z = sparse(n, d, 3)
    q = z.toarray() @ rng.normal(size=(d, 2)) + rng.normal(size=(n, 2))
    counts = rng.integers(1, 30, n)
    root = rng.normal(size=(2, 2))
    metric = root @ root.T
    found = fit_ridge_map(z, q, counts, metric)
    w, dense = counts / (counts + 8), z.toarray()
    mean = (w[:, None] * q).sum(axis=0) / w.sum()

    def error(penalty: float) -> float:
        total = 0.0
        for out in range(n):
            kept = np.arange(n) != out
            zk, wk = dense[kept], w[kept, None]
            b = np.linalg.solve(zk.T @ (wk * zk) + penalty * np.eye(d), zk.T @ (wk * (q[kept] - mean)))
            missed = q[out] - mean - dense[out] @ b
            total += w[out] * float(missed @ metric @ missed)
        return total

    errors = [error(penalty) for penalty in ridge_map._PENALTIES]
    assert found.penalty == ridge_map._PENALTIES[int(np.argmin(errors))]
    whole = float(np.einsum("i,ij,jk,ik->", w, q - mean, metric, q - mean))
    assert found.share == pytest.approx(1 - min(errors) / whole, abs=1e-9)


def test_features_that_tell_nothing_are_shrunk_away() -> None:
    rng = np.random.default_rng(4)
    found = fit_ridge_map(sparse(400, 5), rng.normal(size=(400, 3)), np.full(400, 50), np.eye(3))
    assert found.share < 0.02
    assert np.abs(found.rows(sparse(50, 5, 9)) - found.mean).max() < 0.2


# -- fitted models ---------------------------------------------------------------------------------


@every_model
def test_rows_with_ratings_are_the_same_bits_with_features_and_without(name: str) -> None:
    own, plain = fitted(name).parameters_, fitted(name, features=False).parameters_
    users, items = ratings().user_counts > 0, ratings().item_counts > 0
    assert not users.all()
    assert not items.all()
    for side, warm in (("user", users), ("item", items)):
        for part in (f"{side}_factors", f"{side}_biases"):
            assert np.array_equal(getattr(own, part)[warm], getattr(plain, part)[warm])


@every_model
def test_rows_without_ratings_are_the_mean_and_their_features_times_the_map(name: str) -> None:
    model = fitted(name)
    for side in ("items", "users"):
        features = getattr(model.features_, side)
        noun = side[:-1]
        cold = np.flatnonzero(getattr(ratings(), f"{noun}_counts") == 0)
        rows = model._rows_of(side)
        expected = features.map.mean + features.matrix().toarray()[cold] @ features.map.weights
        assert rows[cold] == pytest.approx(expected, abs=1e-5)
        assert len(np.unique(rows[cold], axis=0)) > 1


def test_real_features_predict_new_items_better_than_shuffled_ones_and_none() -> None:
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(3, 4))
    hot = np.array([[g in films().genres(item) for g in GENRES] for item in range(N_ITEMS)], float)
    cold = np.arange(N_ITEMS - N_COLD, N_ITEMS)
    truth = np.clip(3 + (taste[np.arange(N_USERS) % 3] @ hot.T)[:, cold], 0.5, 5.5)

    def error(model: Any) -> float:
        grid = np.repeat(np.arange(N_USERS), len(cold)), np.tile(cold, N_USERS)
        return float(np.sqrt(np.mean((model.predict_rows(*grid) - truth.ravel()) ** 2)))

    shuffled = MAKE["factors"](item_features=["genres"]).fit(ratings(), items=films(shuffle=True))
    real, none = error(fitted("factors")), error(fitted("factors", features=False))
    assert real < 0.6 * none
    assert error(shuffled) > real + 0.2


@every_model
def test_folding_in_is_blind_to_items_without_ratings(name: str) -> None:
    given = {"items": [1, 5, 9, 20], "ratings": [5.0, 4.5, 2.0, 4.0]}
    own, plain = fitted(name).fold_in(**given).scores, fitted(name, features=False).fold_in(**given).scores
    warm = ratings().item_counts > 0
    assert np.array_equal(own[warm], plain[warm])


def test_features_need_their_table_before_any_work() -> None:
    with pytest.raises(ParameterValueError, match=r"item_features=\['genres'\] needs the table"):
        MAKE["factors"](item_features=["genres"]).fit(ratings())
    with pytest.raises(ParameterValueError, match="items=Users: expected Items"):
        MAKE["factors"](item_features=["job"]).fit(ratings(), items=people())
    with pytest.raises(MissingColumnError, match="no column 'genre' for a feature"):
        MAKE["biases"](item_features=["genre"]).fit(ratings(), items=films())
    other = Items(Vocabulary.from_ids([901, 902, 903]), {"genres": ["War", "Drama", "War"]})
    with pytest.raises(ParameterValueError, match="has none of the items with ratings"):
        MAKE["biases"](item_features=["genres"]).fit(ratings(), items=other)


def test_a_column_computed_from_the_ratings_is_named() -> None:
    table = ratings()
    means = np.bincount(table.items, table.ratings, N_ITEMS) / np.maximum(table.item_counts, 1)
    leaky = Items(
        Vocabulary.from_ids(range(N_ITEMS)), {"average": list(means), "honest": list(range(40, 0, -1))}
    )
    with pytest.warns(LeakWarning, match="column 'average' follows the mean rating of items") as caught:
        MAKE["biases"](item_features=["average", bilinear.Number("honest")]).fit(table, items=leaky)
    assert len(caught) == 1


@every_model
def test_training_again_keeps_the_features(name: str, tmp_path: Path) -> None:
    model = MAKE[name](item_features=["genres"]).fit(ratings(), items=films())
    before = model.features_.items.matrix().toarray()
    part = ratings().take(np.arange(ratings().n_ratings) % 7 > 0)
    model.retrain(part)
    assert np.array_equal(model.features_.items.matrix().toarray(), before)
    cold = np.flatnonzero(part.item_counts == 0)
    features = model.features_.items
    expected = features.map.rows(features.matrix()[cold])
    assert model._rows_of("items")[cold] == pytest.approx(expected, abs=1e-5)


# -- new ids ---------------------------------------------------------------------------------------


@every_model
def test_new_items_are_placed_among_the_old_ones_which_keep_their_bits(name: str) -> None:
    model = fitted(name)
    ids = [-4, 11, 200, 205]  # before, known, and after the ids of the model
    wider = model.new_items(_films_of(ids))
    assert len(wider.item_vocabulary_) == N_ITEMS + 3
    assert len(model.item_vocabulary_) == N_ITEMS
    old = wider.item_vocabulary_.encode(model.item_vocabulary_)
    users = np.arange(N_USERS)
    assert np.array_equal(wider.score_block(users)[:, old], model.score_block(users))
    at = wider.item_vocabulary_.row(200)
    features = model.features_.items
    expected = features.map.rows(features.encoder.encode(_films_of([200])).blocks[0].matrix())
    assert wider._rows_of("items")[at] == pytest.approx(expected[0], abs=1e-5)
    assert wider.title(205) == "New 205"
    for user in (0, 17):
        lists = [model.recommend(user, 99), wider.recommend(user, 99, candidates=list(range(N_ITEMS)))]
        assert lists[0].items.tolist() == lists[1].items.tolist()


def _films_of(ids: list[int]) -> Items:
    genres = ["War|Drama" if item % 2 else "Comedy" for item in ids]
    table = {"genres": genres, "title": [f"New {item}" for item in ids]}
    return Items(Vocabulary.from_ids(ids), table, "title", "genres", source="new.csv")


@every_model
def test_lists_have_new_items_among_the_others_alone_or_not_at_all(name: str) -> None:
    wider = fitted(name).new_items(_films_of([200, 205]))
    new = {*range(N_ITEMS - N_COLD, N_ITEMS), 200, 205}
    lists = {how: set(wider.recommend(3, 99, new=how).items.tolist()) for how in ("mixed", "only", "none")}
    assert lists["only"] == new
    assert not lists["none"] & new
    assert lists["mixed"] == lists["only"] | lists["none"]
    folded = wider.fold_in([1, 2], [5.0, 4.0])
    assert set(folded.recommend(99, new="only").items.tolist()) == new
    with pytest.raises(ParameterValueError, match="choose 'mixed', 'only' or 'none'"):
        wider.recommend(3, new="some")


@pytest.mark.parametrize("name", ["factors", "implicit als", "ranking"])
def test_new_users_get_lists_of_their_own(name: str) -> None:
    model = fitted(name)
    wider = model.new_users(people(range(100, 103)))
    same_job = next(user for user in range(N_USERS - 3, N_USERS) if user % 3 == 100 % 3)
    lists = wider.recommend([100, 101, same_job], 5)
    assert list(lists.known) == [True] * 3
    assert lists.lists[0].items.tolist() == lists.lists[2].items.tolist()
    assert lists.lists[0].scores.tolist() != lists.lists[1].scores.tolist()
    old = wider.user_vocabulary_.encode(model.user_vocabulary_)
    assert np.array_equal(wider.score_block(old), model.score_block(np.arange(N_USERS)))
    assert wider.seen_.counts[old].tolist() == model.seen_.counts.tolist()


def test_an_item_in_two_new_tables_takes_the_later_features() -> None:
    once = fitted("factors").new_items(_films_of([200]))
    again = Items(Vocabulary.from_ids([200]), {"genres": ["Western"], "title": ["x"]}, "title", "genres")
    twice = once.new_items(again)
    assert len(twice.item_vocabulary_) == len(once.item_vocabulary_)
    direct = fitted("factors").new_items(again)
    assert np.array_equal(twice._rows_of("items"), direct._rows_of("items"))


def test_similar_items_of_a_new_one_share_its_genres() -> None:
    wider = fitted("factors").new_items(_films_of([200]))
    twin = wider.new_items(_films_of([202]))
    assert twin.similar(200, 1).items.tolist() == [202]


def test_new_items_that_cannot_be_are_refused() -> None:
    with pytest.raises(ParameterValueError, match="was fitted without item features"):
        fitted("factors", features=False).new_items(films())
    with pytest.raises(ParameterValueError, match="new_items takes Items"):
        fitted("factors").new_items(people())
    named = Items(Vocabulary.from_ids(["x"]), {"genres": ["War"]}, source="new.csv")
    with pytest.raises(IdValueError, match=r"new\.csv: item 'x' is not an integer"):
        fitted("factors").new_items(named)


# -- saved models ----------------------------------------------------------------------------------


@every_model
def test_features_come_back_and_know_new_items_alike(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    model.save(tmp_path / "m")
    document = json.loads((tmp_path / "m" / "model.json").read_text())
    assert document["format_version"] == 2
    loaded = bilinear.load(tmp_path / "m")
    assert list(loaded.item_features) == ["genres"]
    users = np.arange(N_USERS)
    one, two = (each.new_items(_films_of([-4, 205])) for each in (model, loaded))
    assert np.array_equal(one.score_block(users), two.score_block(users))
    two.save(tmp_path / "wider")
    assert np.array_equal(bilinear.load(tmp_path / "wider").score_block(users), one.score_block(users))


def test_models_without_features_are_of_version_one(tmp_path: Path) -> None:
    fitted("factors", features=False).save(tmp_path / "m")
    assert json.loads((tmp_path / "m" / "model.json").read_text())["format_version"] == 1
    assert bilinear.load(tmp_path / "m").features_ == (None, None)


def test_every_kind_of_feature_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    columns: dict[str, Any] = {
        "a": list(rng.normal(size=N_ITEMS)),
        "b": [" ".join(np.array(["red", "blue", "green"])[rng.random(3) < 0.6]) for _ in range(N_ITEMS)],
        "c": [list(rng.normal(size=3)) for _ in range(N_ITEMS)],
        "d": [f"20{n % 30:02d}-0{n % 9 + 1}-05" for n in range(N_ITEMS)],
    }
    table = Items(Vocabulary.from_ids(range(N_ITEMS)), columns)
    kinds = [bilinear.Number("a"), bilinear.Words("b"), bilinear.Vector("c"), bilinear.Dates("d")]
    model = MAKE["biases"](item_features=kinds).fit(ratings(), items=table)
    model.save(tmp_path / "m")
    loaded = bilinear.load(tmp_path / "m")
    assert loaded.features_.items.encoder.features == tuple(kinds)
    assert np.array_equal(loaded.features_.items.matrix().toarray(), model.features_.items.matrix().toarray())
    again = Items(Vocabulary.from_ids([900]), {name: values[:1] for name, values in columns.items()})
    assert np.array_equal(loaded.new_items(again)._rows_of("items"), model.new_items(again)._rows_of("items"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: tensors["item_rows.0.indices"].__setitem__(0, 99),
        lambda tensors: tensors["item_rows.0.indptr"].__setitem__(1, 10**6),
        lambda tensors: tensors["item_map"].__setitem__((0, 0), np.nan),
        lambda tensors: tensors.pop("item_prior_mean"),
        lambda tensors: tensors.update({"item_map": tensors["item_map"][:, :-1].copy()}),
    ],
)
def test_features_that_do_not_fit_are_refused(damage: Any, tmp_path: Path) -> None:
    from bilinear.persistence.artifact import read_artifact, write_artifact

    fitted("factors").save(tmp_path / "m")
    artifact = read_artifact(tmp_path / "m", in_memory=True)
    tensors: dict[str, NDArray[Any]] = {name: array.copy() for name, array in artifact.tensors.items()}
    damage(tensors)
    write_artifact(tmp_path / "m", artifact.manifest, tensors, format_version=2)
    with pytest.raises(ModelFileError, match="do not fit together"):
        bilinear.load(tmp_path / "m")


# -- folding in ------------------------------------------------------------------------------------


def test_users_folded_in_by_features_alone_are_answered_as_new_users() -> None:
    for name in ("factors", "implicit als", "ranking"):
        model = fitted(name)
        new = model.new_users(Users(Vocabulary.from_ids([100]), {"job": ["b"]}))
        row = new.score_block(np.array([new.user_vocabulary_.row(100)]))[0]
        assert model.fold_in([], [], features={"job": "b"}).scores == pytest.approx(row, abs=1e-5)


def test_ridge_pulls_to_the_features_row_and_ratings_outweigh_it() -> None:
    model = fitted("factors")
    features = model.features_.users
    centre = features.map.rows(features.encoder.encode_records([{"job": "c"}]).blocks[0].matrix())[0]
    items, given = np.array([1, 4, 8], np.int32), np.array([5.0, 2.0, 3.5])
    found = model.fold_in(items.tolist(), given.tolist(), features={"job": "c"}).weights
    design = np.hstack([np.ones((3, 1)), model.parameters_.item_factors[items].astype(float)])
    offset = model.parameters_.global_mean + model.parameters_.item_biases[items].astype(float)
    penalty = model.penalty_
    ridge = np.diag([penalty.biases, *[penalty.factors] * 3]) * penalty.row_weights(np.array([3]))[0]
    twin = centre + np.linalg.solve(design.T @ design + ridge, design.T @ (given - offset - design @ centre))
    assert np.append(found.bias, found.factors) == pytest.approx(twin, abs=1e-6)


def test_features_that_a_model_does_not_have_are_refused_in_folding_in() -> None:
    with pytest.raises(ParameterValueError, match="was fitted without user features"):
        fitted("factors", features=False).fold_in([1], [5], features={"job": "b"})
    with pytest.raises(ParameterValueError, match="unknown feature 'age'; the model knows 'job'"):
        fitted("factors").fold_in([1], [5], features={"age": 3})


# -- explanations ----------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("by", ["items", "users", "ratings"])
def test_the_parts_of_an_explanation_add_up_to_the_score(name: str, by: Any) -> None:
    model = fitted(name).new_items(_films_of([205]))
    for user, item in ((0, 3), (4, 205), (N_USERS - 1, 3)):
        found = model.explain(user, item, by=by)
        scores = model.score_block(np.array([user]))[0]
        assert found.score == scores[model.item_vocabulary_.row(item)]
        assert sum(part.value for part in found.parts) == pytest.approx(found.score, abs=1e-5)
        assert sum(part.value for part in found.shortened(2).parts) == pytest.approx(found.score, abs=1e-5)


def test_what_an_item_has_beyond_its_features_is_nothing_for_a_new_one() -> None:
    model = fitted("factors").new_items(_films_of([205]))
    parts = {(part.group, part.name): part.value for part in model.explain(4, 205).parts}
    assert abs(parts["item", "this item itself"]) < 1e-6
    assert {name for group, name in parts if group == "genres"} == {"Drama", "War"}
    rated = {(part.group, part.name): part.value for part in model.explain(4, 3).parts}
    assert abs(rated["item", "this item itself"]) > 1e-4


def test_an_explanation_prints_every_part_and_refuses_what_is_not_there() -> None:
    found = fitted("factors").explain(4, 3)
    assert str(found).startswith("Film 3 (1953) for user 4: score ")
    assert str(found).count("\n") == len(found.parts)
    assert json.loads(json.dumps(found.to_dict()))["by"] == "items"
    with pytest.raises(ParameterValueError, match="was fitted without features of items; choose 'ratings'"):
        fitted("factors", features=False).explain(4, 3, by="items")
    assert fitted("factors", features=False).explain(4, 3).by == "ratings"
