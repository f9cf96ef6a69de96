"""Further interactions: what fit would have made of all of them, or nearly, or a refusal by name."""

from __future__ import annotations

import numpy as np
import pytest

import bilinear
from bilinear import (
    EASE,
    SGD,
    AutoRanker,
    BiasModel,
    Blend,
    GlobalMean,
    GraphFilter,
    ImplicitALS,
    Interactions,
    ItemKNN,
    Items,
    MatrixFactorization,
    Popularity,
    RandomWalk,
    RankingFactorization,
    SparseEASE,
    synthetic_catalogue,
    synthetic_ratings,
)
from bilinear.errors import (
    EmptyDataError,
    IdValueError,
    NotFittedError,
    ParameterValueError,
    RatingValueError,
)
from bilinear.persistence.artifact import read_artifact, write_artifact

RATINGS = synthetic_ratings(80, 50, 1500, rng=0)


def cut(table, n_users=6, n_items=4, seed=1):
    """(table without the ratings of some users and items, and a twentieth; those), each with its own ids."""
    rng = np.random.default_rng(seed)
    late = (
        (table.users >= table.n_users - n_users)
        | (table.items % (table.n_items // n_items) == 3)
        | (rng.random(table.n_ratings) < 0.05)
    )
    return alone(table.take(~late)), alone(table.take(late))


def alone(table):
    """The same rows with no other ids than theirs."""
    users = table.user_vocabulary.decode(table.users)
    items = table.item_vocabulary.decode(table.items)
    given = {"ratings": table.ratings} if table.has_ratings else {"counts": table.ratings}
    return Interactions.from_columns(users, items, **given)


PLANTED = synthetic_catalogue(3000, 120, 90, rng=0)
CLICKS = Interactions.from_columns(
    *(
        getattr(PLANTED.interactions, f"{side}_vocabulary").decode(getattr(PLANTED.interactions, f"{side}s"))
        for side in ("user", "item")
    )
)
EARLY, LATE = cut(CLICKS)
WHOLE = alone(CLICKS)
ALL_EARLY = EARLY.user_vocabulary.decode(EARLY.users), EARLY.item_vocabulary.decode(EARLY.items)
EARLY_RATINGS, LATE_RATINGS = cut(RATINGS)
WHOLE_RATINGS = alone(RATINGS)

EXACT = {
    "popularity": Popularity,
    "item-knn": lambda: ItemKNN(n_neighbours=20, similarity=bilinear.CosineSimilarity(5.0)),
    "random-walk": lambda: RandomWalk(n_neighbours=30),
    "ease": lambda: EASE(l2=20.0, precision="float64"),
    "ease, weighed": lambda: EASE(l2=20.0, precision="float64", confidence="log"),
    "sparse-ease": lambda: SparseEASE(n_neighbours=15, l2=20.0),
    "blend": lambda: Blend((EASE(l2=20.0, precision="float64"), Popularity()), (0.7, 0.3)),
}
EXACT_RATINGS = {"mean": GlobalMean, "biases": lambda: BiasModel(l2_biases=0.7)}
ALL_EXACT = [(make, EARLY, LATE, WHOLE) for make in EXACT.values()] + [
    (make, EARLY_RATINGS, LATE_RATINGS, WHOLE_RATINGS) for make in EXACT_RATINGS.values()
]
every_exact = pytest.mark.parametrize(
    ("make", "early", "late", "whole"), ALL_EXACT, ids=[*EXACT, *EXACT_RATINGS]
)


@every_exact
def test_an_exact_update_is_the_fit_of_all_interactions(make, early, late, whole):
    model, fitted = make().fit(early).update(late), make().fit(whole)
    assert len(early.user_vocabulary) < whole.n_users
    assert len(early.item_vocabulary) < whole.n_items
    assert model.updates == "exact"
    assert model.user_vocabulary_ == fitted.user_vocabulary_
    assert model.item_vocabulary_ == fitted.item_vocabulary_
    for one, two in zip(model.seen_, fitted.seen_, strict=True):
        np.testing.assert_array_equal(one, two)
    rows = np.arange(-1, whole.n_users)
    np.testing.assert_allclose(model.score_block(rows), fitted.score_block(rows), rtol=1e-5, atol=1e-6)


@every_exact
def test_a_saved_model_updates_after_load(make, early, late, whole, tmp_path):
    make().fit(early).save(tmp_path / "model")
    model = bilinear.load(tmp_path / "model").update(late)
    model.save(tmp_path / "model")
    again = bilinear.load(tmp_path / "model")
    fitted = make().fit(whole)
    rows = np.arange(whole.n_users)
    np.testing.assert_allclose(again.score_block(rows), fitted.score_block(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_users", [1, 3])
def test_ease_by_low_rank_is_the_inverse_anew(n_users, monkeypatch):
    """A few users: new ones, one with a new item, one who has seen more; several times over."""
    rng = np.random.default_rng(0)
    items = list(EARLY.item_vocabulary)
    model, whole = EASE(l2=20.0, precision="float64").fit(EARLY), EARLY
    solve = EASE._solve
    calls = []
    monkeypatch.setattr(EASE, "_solve", lambda *given: (calls.append(1), solve(*given)))
    for step in range(3):
        users = [EARLY.user_vocabulary[step], *(10**6 + step + 100 * n for n in range(n_users - 1))]
        users = np.repeat(users, 6)
        taken = [*rng.choice(items, len(users) - 1, replace=False), 10**7 + step]
        further = Interactions.from_columns(users, taken)
        gone = whole.n_ratings // 3 + step
        pair = whole.user_vocabulary[whole.users[gone]], whole.item_vocabulary[whole.items[gone]]
        model.update(further, forget=([pair[0]], [pair[1]]))
        whole = joined(whole.take(np.arange(whole.n_ratings) != gone), further)
    assert not calls
    monkeypatch.undo()
    fitted = EASE(l2=20.0, precision="float64").fit(whole)
    np.testing.assert_allclose(model.weights_, fitted.weights_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.inverse_diagonal_, fitted.inverse_diagonal_, rtol=1e-8)


def joined(one, two):
    ids = [
        np.concatenate([getattr(t, f"{side}_vocabulary").decode(getattr(t, f"{side}s")) for t in (one, two)])
        for side in ("user", "item")
    ]
    return Interactions.from_columns(*ids, counts=np.concatenate([one.ratings, two.ratings]))


def test_an_update_keeps_what_auto_found():
    for model, name in ((EASE(), "l2_"), (SparseEASE(), "l2_"), (ItemKNN(), "similarity_")):
        model.fit(EARLY)
        before = getattr(model, name)
        assert getattr(model.update(LATE), name) == before
        settings = {name.rstrip("_"): before}
        fitted = type(model)(**settings).fit(WHOLE)
        rows = np.arange(WHOLE.n_users)
        np.testing.assert_allclose(model.score_block(rows), fitted.score_block(rows), rtol=2e-3, atol=2e-5)


def test_counts_of_a_pair_add_up_and_a_rating_replaces_the_one_before():
    plays = Interactions.from_columns(["a", "a", "b"], ["x", "y", "x"], counts=[1, 2, 3])
    model = Popularity(confidence="ratings").fit(plays)
    model.update(Interactions.from_columns(["a"], ["y"], counts=[10]))
    np.testing.assert_array_equal(model.seen_.ratings, [1, 12, 3])
    table = Interactions.from_columns(["a", "a", "b"], ["x", "y", "x"], [1.0, 2.0, 5.0])
    changed = BiasModel(l2_biases=1.0).fit(table).update(Interactions.from_columns(["a"], ["y"], [4.0]))
    np.testing.assert_array_equal(changed.seen_.ratings, [1, 4, 5])


@pytest.mark.parametrize(
    ("model", "early"),
    [
        (ImplicitALS(n_factors=8, n_epochs=4, rng=0), EARLY),
        (
            MatrixFactorization(n_factors=3, l2=1.0, l2_biases=1.0, solver=SGD(n_epochs=5), rng=0),
            EARLY_RATINGS,
        ),
    ],
)
def test_an_item_that_is_forgotten_has_no_weights_and_its_users_are_at_their_minimum(model, early):
    model.fit(early)
    item = int(np.argmax(early.by_item.counts))
    users = early.users[early.items == item]
    ids = early.user_vocabulary.decode(users), [early.item_vocabulary[item]] * len(users)
    model.update(alone(early.take(np.arange(early.n_ratings) < 0)), forget=ids)
    parameters = model.dot_product()
    assert not model.item_totals()[0][item]
    assert parameters.item_biases[item] == 0
    assert not parameters.item_factors[item].any()
    row = int(users[0])
    a, b = model.seen_.indptr[row : row + 2]
    folded = model.fold_in_weights(model.seen_.indices[a:b], model.seen_.ratings[a:b])
    np.testing.assert_allclose(parameters.user_factors[row], folded.vector, rtol=1e-4, atol=1e-5)


def test_rows_that_do_not_occur_are_held_and_the_others_are_at_their_minimum():
    model = ImplicitALS(n_factors=8, n_epochs=4, rng=0).fit(EARLY)
    before = model.item_factors_.copy()
    some = alone(LATE.take(np.arange(LATE.n_ratings) < 20))
    rows = model.item_vocabulary_.encode(some.item_vocabulary)
    untouched = np.setdiff1d(np.arange(len(before)), rows)
    ids = model.item_vocabulary_.decode(untouched)
    model.update(some)
    np.testing.assert_array_equal(model.item_factors_[model.item_rows(ids)], before[untouched])
    users = model.user_vocabulary_.encode(some.user_vocabulary)
    for row in users:
        a, b = model.seen_.indptr[row : row + 2]
        part = (np.array([0, b - a]), model.seen_.indices[a:b], model.seen_.ratings[a:b])
        folded = model.fold_in_factors(bilinear.data.interactions.Grouped(*part))[0]
        np.testing.assert_allclose(model.user_factors_[row], folded, rtol=1e-4, atol=1e-5)


def test_factors_after_an_update_lower_the_objective_most_of_the_way():
    """Against the model as it was with new rows empty, and a full fit."""

    def value(model):
        from bilinear.training.implicit_als import ImplicitObjective

        table = WHOLE
        weights = model.unobserved_weight_, model.l2_, model.l2_exponent
        objective = ImplicitObjective(table.by_user, table.by_item, *weights)
        users = model.user_vocabulary_.encode(table.user_vocabulary)
        items = model.item_vocabulary_.encode(table.item_vocabulary)
        rows = [
            np.where((at >= 0)[:, None], of[at], 0).astype(np.float32)
            for at, of in ((users, model.user_factors_), (items, model.item_factors_))
        ]
        return objective.value(*rows)

    def make():
        return ImplicitALS(n_factors=8, unobserved_weight=0.1, l2=0.1, n_epochs=30, rng=0)

    old = value(make().fit(EARLY))
    new, full = value(make().fit(EARLY).update(LATE)), value(make().fit(WHOLE))
    assert old - new > 0.8 * (old - full)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_factorization_of_ratings_learns_further_ratings_nearly_as_a_fit_does(sigmoid):
    link = bilinear.Sigmoid() if sigmoid else bilinear.Identity()

    def make():
        solver = SGD(n_epochs=40)
        return MatrixFactorization(n_factors=3, l2=1.0, l2_biases=1.0, link=link, solver=solver, rng=0)

    truth = synthetic_ratings(80, 50, 3000, rng=0)
    test = truth.take(np.arange(truth.n_ratings) % 5 == 0)
    rest = alone(truth.take(np.arange(truth.n_ratings) % 5 > 0))
    early, late = cut(rest)
    old = make().fit(early)
    was = old.evaluate(test).rmse.value
    new, full = old.update(late).evaluate(test).rmse.value, make().fit(rest).evaluate(test).rmse.value
    assert was - new > 0.8 * (was - full) > 0
    assert old.updates == "approximate"


def test_a_new_item_is_recommended_after_an_update():
    factors = ImplicitALS(n_factors=16, unobserved_weight=0.05, l2=0.01, rng=0)
    for model in (EASE(l2=20.0), factors, ItemKNN()):
        model.fit(CLICKS)
        fans = CLICKS.user_vocabulary.decode(CLICKS.users[CLICKS.items == 5])
        model.update(Interactions.from_columns(fans, [10**6] * len(fans)))
        assert 10**6 in list(model.similar(CLICKS.item_vocabulary[5], 3)), model
        assert 10**6 in list(model.fold_in([CLICKS.item_vocabulary[5]]).recommend(5))


def test_models_that_cannot_be_updated_say_so_by_name():
    model = GraphFilter().fit(EARLY)
    assert model.updates == "no"
    with pytest.raises(ParameterValueError, match=r"GraphFilter cannot learn .* fit or retrain"):
        model.update(LATE)
    assert RankingFactorization().updates == "no"
    blend = Blend((Popularity(), GraphFilter()), (0.5, 0.5)).fit(EARLY)
    with pytest.raises(ParameterValueError, match="Blend holds one that cannot: a GraphFilter"):
        blend.update(LATE)


def test_the_choice_of_an_auto_ranker_is_updated():
    model = AutoRanker(n_trials=2, kinds=("Popularity",), rng=0).fit(EARLY).update(LATE)
    np.testing.assert_array_equal(
        model.score_block(np.arange(1)), Popularity().fit(WHOLE).score_block(np.arange(1))
    )


@pytest.mark.parametrize(
    ("further", "error", "message"),
    [
        (lambda: "new.csv", ParameterValueError, "update takes Interactions, not str"),
        (lambda: LATE_RATINGS, ParameterValueError, "trained on no ratings and this table has some"),
        (lambda: LATE.take(LATE.users < 0), EmptyDataError, "no rows to update with"),
        (lambda: Interactions.from_columns(["ann"], ["tea"]), IdValueError, "user 'ann' is not an integer"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_the_model_stays(further, error, message):
    model = EASE(l2=20.0).fit(EARLY)
    before = model.weights_.copy()
    with pytest.raises(error, match=message):
        model.update(further())
    np.testing.assert_array_equal(model.weights_, before)
    assert len(model.user_vocabulary_) == EARLY.n_users


@pytest.mark.parametrize(
    ("forget", "error", "message"),
    [
        ((ALL_EARLY[0][:2], [1]), ParameterValueError, "2 users and 1 items"),
        (ALL_EARLY, EmptyDataError, "nothing is left"),
    ],
)
def test_what_cannot_be_forgotten_is_refused(forget, error, message):
    with pytest.raises(error, match=message):
        Popularity().fit(EARLY).update(LATE.take(LATE.users < 0), forget=forget)


def test_ratings_outside_the_range_and_of_another_kind_are_refused():
    model = BiasModel(l2_biases=0.5).fit(EARLY_RATINGS)
    with pytest.raises(RatingValueError, match="outside the model's range"):
        model.update(Interactions.from_columns([1], [1], [1e6]))
    with pytest.raises(ParameterValueError, match="trained on ratings and this table has none"):
        model.update(LATE)
    with pytest.raises(NotFittedError):
        BiasModel().update(LATE_RATINGS)


def test_titles_and_support_follow():
    model = BiasModel(l2_biases=0.5).fit(EARLY_RATINGS)
    from bilinear.data.packed_text import PackedText

    model.item_texts_ = {"title": PackedText.of(f"item {item}" for item in model.item_vocabulary_)}
    old = list(model.item_vocabulary_)
    model.update(LATE_RATINGS)
    assert [model.title(item) for item in old] == [f"item {item}" for item in old]
    new = next(item for item in model.item_vocabulary_ if item not in old)
    assert model.title(new) == str(new)
    assert model.min_support_ == BiasModel(l2_biases=0.5).fit(WHOLE_RATINGS).min_support_


def test_features_are_not_updated():
    model = ImplicitALS(n_factors=4, item_features=["genres"], rng=0)
    model.fit(CLICKS, items=Items(CLICKS.item_vocabulary, {"genres": PLANTED.items["genres"]}))
    with pytest.raises(ParameterValueError, match="fitted with features"):
        model.update(LATE)


def test_ease_stored_without_the_diagonal_is_solved_anew(tmp_path):
    EASE(l2=20.0, precision="float64").fit(EARLY).save(tmp_path / "model")
    artifact = read_artifact(tmp_path / "model")
    manifest = {name: value for name, value in artifact.manifest.items() if name != "updatable"}
    tensors = {name: value for name, value in artifact.tensors.items() if name != "inverse_diagonal"}
    write_artifact(tmp_path / "older", manifest, tensors)
    model = bilinear.load(tmp_path / "older")
    assert model.inverse_diagonal_ is None
    few = alone(LATE.take(np.arange(LATE.n_ratings) < 6))
    fitted = EASE(l2=20.0, precision="float64").fit(joined(EARLY, few))
    np.testing.assert_allclose(model.update(few).weights_, fitted.weights_, rtol=1e-9)
