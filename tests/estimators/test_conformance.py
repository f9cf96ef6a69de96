"""What every estimator promises, for every estimator."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace

import numpy as np
import pytest
from estimator_cases import (
    MAKE,
    NO_SUCH_ITEM,
    NO_SUCH_USER,
    SPLIT,
    TRAIN,
    WITH_FACTORS,
    every_model,
    every_model_with_factors,
    fitted,
)
from problems import planted_table, same_bits

from bilinear.data.interactions import Interactions
from bilinear.data.packed_text import PackedText
from bilinear.data.splits import split_random
from bilinear.errors import (
    EmptyDataError,
    NotFittedError,
    ParameterValueError,
    RatingValueError,
    UnknownIdError,
)
from bilinear.estimators.baselines import GlobalMean
from bilinear.evaluation.ratings import rating_scores
from bilinear.recommend.lists import RankedItems, Recommendations

USERS, ITEMS = list(TRAIN.user_vocabulary), list(TRAIN.item_vocabulary)
SEEN = {user: set() for user in USERS}
for _user, _item in zip(TRAIN.users, TRAIN.items, strict=True):
    SEEN[TRAIN.user_vocabulary[_user]].add(TRAIN.item_vocabulary[_item])
RATED = set().union(*SEEN.values())


def plain_prediction(model, user, item):
    """The documented formula, in float64; what is not known adds nothing."""
    parameters = model.parameters_.astype(np.float64)
    u = USERS.index(user) if SEEN.get(user) else None
    i = ITEMS.index(item) if item in RATED else None
    score = parameters.global_mean
    score += 0 if u is None else parameters.user_biases[u]
    score += 0 if i is None else parameters.item_biases[i]
    if u is not None and i is not None:
        score += parameters.user_factors[u] @ parameters.item_factors[i]
    return float(model.link_.prediction(np.array([score]))[0])


# -- fitting --------------------------------------------------------------------------------------


@every_model
def test_fit_returns_the_model_and_changes_neither_arguments_nor_table(name):
    """And the same seed gives the same bits, in a new model and in one that was fitted before."""
    model, before = copy(fitted(name)), TRAIN.ratings.copy()
    arguments = model.get_params(deep=False)
    assert model.fit(TRAIN) is model
    assert all(model.get_params(deep=False)[key] is value for key, value in arguments.items())
    assert same_bits(TRAIN.ratings, before)
    assert model.parameters_ is not fitted(name).parameters_
    assert same_bits(model.parameters_, fitted(name).parameters_)
    assert same_bits(MAKE[name]().fit(TRAIN).parameters_, model.parameters_)


@every_model
def test_before_fit_there_is_nothing_learned(name):
    model = MAKE[name]()
    learned = ["parameters_", "link_", "history_", "search_", "user_vocabulary_", "seen_", "seed_"]
    assert not [attribute for attribute in learned if hasattr(model, attribute)]
    calls = [
        lambda: model.predict([1], ["a"]),
        lambda: model.recommend(1),
        lambda: model.recommend(),
        lambda: model.similar("a"),
        lambda: model.evaluate(TRAIN),
        lambda: model.fold_in(["a"], [3]),
        lambda: model.save("never"),
    ]
    for call in calls:
        with pytest.raises(NotFittedError, match=rf"this {type(model).__name__} .*call fit\(interactions\)"):
            call()


@every_model
def test_an_attribute_that_nobody_has_is_an_ordinary_error(name):
    with pytest.raises(AttributeError, match="has no attribute 'nothing'") as caught:
        _ = MAKE[name]().nothing
    assert not isinstance(caught.value, NotFittedError)


@every_model
def test_learned_attributes_have_the_shapes_of_the_table(name):
    model = fitted(name)
    parameters = model.parameters_
    assert (parameters.n_users, parameters.n_items) == TRAIN.shape
    assert {array.dtype for array in parameters.arrays().values()} == {np.dtype(np.float32)}
    assert model.user_vocabulary_ is TRAIN.user_vocabulary
    assert model.item_vocabulary_ is TRAIN.item_vocabulary
    assert model.seen_ is TRAIN.by_user
    assert (model.source_, model.item_texts_, model.report_) == ("planted", {}, {})
    for array in parameters.arrays().values():
        assert not array[[0, -1]].any()


BAD_TABLES = {
    "a list": (
        [[1, 2, 3]],
        ParameterValueError,
        " takes Interactions, a data frame",
    ),
    "empty": (TRAIN.take(np.arange(0)), EmptyDataError, "no user has ratings"),
    "one user": (TRAIN.take(TRAIN.users == 5), EmptyDataError, "only one user has ratings"),
    "one item": (TRAIN.take(TRAIN.items == 5), EmptyDataError, "only one item has ratings"),
    "one rating for all": (
        replace(TRAIN, ratings=np.full_like(TRAIN.ratings, 4)),
        EmptyDataError,
        "every rating is 4",
    ),
}


@every_model
@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_table_that_cannot_be_learned_from_is_refused_and_the_model_stays_as_it_was(name, what):
    table, error, message = BAD_TABLES[what]
    untouched = MAKE[name]()
    with pytest.raises(error, match=message):
        untouched.fit(table)
    assert untouched.__dict__ == MAKE[name]().__dict__
    model = copy(fitted(name))
    before = dict(model.__dict__)
    for learn in (model.fit, model.retrain):
        with pytest.raises(error, match=message):
            learn(table)
        assert all(value is before[key] for key, value in model.__dict__.items())


@every_model
def test_ratings_outside_the_range_asked_for_are_refused_by_id(name):
    model = MAKE[name]().set_params(rating_range=(2, 9))
    row = int(np.argmax(TRAIN.ratings < 2))
    with pytest.raises(RatingValueError) as caught:
        model.fit(TRAIN)
    user, item = TRAIN.user_vocabulary[TRAIN.users[row]], TRAIN.item_vocabulary[TRAIN.items[row]]
    n_outside = int((TRAIN.ratings < 2).sum())
    for part in (f"user {user!r} rated item {item!r}", "outside [2, 9]", f"({n_outside} such ratings)"):
        assert part in str(caught.value)


@every_model
def test_so_are_ratings_above_it(name):
    row = int(np.argmax(TRAIN.ratings > 4.5))
    with pytest.raises(
        RatingValueError, match=rf"rated item .* {TRAIN.ratings[row]:g}, outside \[-9, 4\.5\]"
    ):
        MAKE[name]().set_params(rating_range=(-9, 4.5)).fit(TRAIN)


@every_model
@pytest.mark.parametrize("given", [(5, 1), (1, 1), (0, np.inf), "15", (1,), 5, (1, 2, 3), ("a", "b")])
def test_a_rating_range_that_is_none_is_refused(name, given):
    with pytest.raises(ParameterValueError, match=r"rating.range"):
        MAKE[name]().set_params(rating_range=given).fit(TRAIN)


@every_model
def test_retraining_on_the_same_table_changes_no_choice(name):
    model = copy(fitted(name))
    penalty, search, seed = model.penalty_, model.search_, model.seed_
    other = planted_table(seed=1)
    model.item_texts_ = {"title": PackedText.of(f"The {item}" for item in model.item_vocabulary_)}
    assert model.retrain(other) is model
    known = set(TRAIN.item_vocabulary)
    titles = [f"The {item}" if item in known else str(item) for item in other.item_vocabulary]
    assert list(model.item_texts_["title"]) == titles
    assert (model.penalty_, model.search_, model.seed_) == (penalty, search, seed)
    assert model.user_vocabulary_ is other.user_vocabulary
    assert np.isfinite(model.predict(list(other.user_vocabulary), [ITEMS[1]] * other.n_users).values).all()
    model.retrain(TRAIN)
    assert same_bits(model.parameters_, fitted(name).parameters_)


@every_model
def test_retrain_needs_a_fitted_model(name):
    model = MAKE[name]()
    if isinstance(model, GlobalMean):
        assert model.retrain(TRAIN).parameters_.global_mean == fitted(name).parameters_.global_mean
    else:
        with pytest.raises(NotFittedError):
            model.retrain(TRAIN)


# -- predictions ----------------------------------------------------------------------------------


@every_model
def test_predictions_are_the_documented_formula_whoever_is_asked_about(name):
    model = fitted(name)
    users, items = [*USERS[:12], USERS[-1], NO_SUCH_USER], [*ITEMS, NO_SUCH_ITEM]
    pairs = [(user, item) for user in users for item in items]
    found = model.predict(*zip(*pairs, strict=True))
    expected = [plain_prediction(model, user, item) for user, item in pairs]
    np.testing.assert_allclose(found.values, expected, rtol=2e-5, atol=2e-5)
    assert found.unknown_user.tolist() == [not SEEN.get(user) for user, _ in pairs]
    assert found.unknown_item.tolist() == [item not in RATED for _, item in pairs]


@every_model
def test_predictions_are_finite_and_inside_the_range(name):
    model = fitted(name)
    users, items = np.meshgrid(np.arange(-1, TRAIN.n_users), np.arange(-1, TRAIN.n_items))
    values = model.predict_rows(users.ravel(), items.ravel())
    low, high = np.float32(model.link_.bounds)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert low <= values.min() < values.max() <= high or isinstance(model, GlobalMean)


@every_model
def test_an_id_without_ratings_is_answered_like_one_that_is_not_there(name):
    model, rated_item, rated_user = fitted(name), ITEMS[3], USERS[3]
    users = [USERS[0], NO_SUCH_USER, rated_user, rated_user, USERS[0], NO_SUCH_USER]
    items = [rated_item, rated_item, ITEMS[0], NO_SUCH_ITEM, ITEMS[0], NO_SUCH_ITEM]
    found = model.predict(users, items)
    assert found.values[0] == found.values[1]
    assert found.values[2] == found.values[3]
    assert found.values[4] == found.values[5]
    assert found.unknown_user.tolist() == [True, True, False, False, True, True]
    assert found.unknown_item.tolist() == [False, False, True, True, True, True]


@every_model
def test_a_prediction_does_not_depend_on_what_else_is_asked(name):
    model = fitted(name)
    together = model.predict(USERS[:20], ITEMS[:20]).values
    alone = [model.predict([user], [item]).values[0] for user, item in zip(USERS[:20], ITEMS, strict=False)]
    assert same_bits(together, np.array(alone))


@every_model
def test_ids_come_as_lists_arrays_or_generators_and_as_text_or_integers(name):
    model = fitted(name)
    expected = model.predict([101, 102], ["i01", "i02"]).values
    for users in (np.array([101, 102]), (user for user in (101, 102)), ["101", "102"], (101, 102)):
        assert same_bits(model.predict(users, np.array(["i01", "i02"], object)).values, expected)
    empty = model.predict([], [])
    assert (len(empty), empty.values.dtype) == (0, np.float32)


@every_model
@pytest.mark.parametrize(("users", "items"), [("101", ["i01"]), (101, ["i01"]), ([101], "i01")])
def test_a_single_id_where_several_belong_is_refused(name, users, items):
    with pytest.raises(ParameterValueError, match=r"takes several ids, not .* alone; give"):
        fitted(name).predict(users, items)


@every_model
def test_columns_of_different_length_are_refused(name):
    with pytest.raises(ParameterValueError, match="2 users and 1 items"):
        fitted(name).predict([101, 102], ["i01"])


@every_model
def test_predictions_are_an_array_to_numpy_and_print_what_is_unknown(name):
    found = fitted(name).predict([101, NO_SUCH_USER], ["i01", "i01"])
    assert same_bits(np.asarray(found), found.values)
    assert np.asarray(found, np.float64).dtype == np.float64
    assert np.mean(found) == found.values.mean()
    assert repr(found) == "Predictions(2 pairs; unknown user in 1, unknown item in 0)"


@pytest.mark.parametrize("name", [name for name in MAKE if name != "mean"])
@pytest.mark.parametrize("side", ["user", "item"])
def test_what_is_known_of_the_other_side_beats_the_global_mean(name, side):
    """Rows whose user (or item) was held out whole are answered by the other side's bias."""
    table = planted_table(80, 60, density=0.5)
    cold = (table.users if side == "user" else table.items) % 4 == 0
    train, test = table.take(~cold), table.take(cold)
    model, mean = MAKE[name]().fit(train), GlobalMean().fit(train)
    scores = model.evaluate(test)
    assert (scores.unknown_users, scores.unknown_items) == ((1, 0) if side == "user" else (0, 1))
    assert scores.rmse_known is None
    assert scores.rmse_unknown == pytest.approx(scores.rmse.value, rel=1e-12)
    assert scores.rmse.value < 0.95 * mean.evaluate(test).rmse.value


# -- evaluation -----------------------------------------------------------------------------------


@every_model
def test_evaluate_is_the_score_of_its_own_predictions(name):
    model = fitted(name)
    users = [SPLIT.test.user_vocabulary[row] for row in SPLIT.test.users]
    items = [SPLIT.test.item_vocabulary[row] for row in SPLIT.test.items]
    found = model.predict(users, items)
    expected = rating_scores(
        found.values, SPLIT.test.ratings, SPLIT.test.users, found.unknown_user, found.unknown_item, rng=5
    )
    assert model.evaluate(SPLIT.test, rng=5) == expected


@every_model
def test_evaluate_matches_ids_and_not_rows(name):
    model = fitted(name)
    users = [str(TRAIN.user_vocabulary[row]) for row in TRAIN.users[::9]] + ["newcomer"]
    items = [TRAIN.item_vocabulary[row] for row in TRAIN.items[::9]] + ["i01"]
    elsewhere = Interactions.from_columns(users, items, [*TRAIN.ratings[::9], 3])
    scores = model.evaluate(elsewhere)
    assert scores.n_ratings == len(users)
    assert scores.unknown_users == pytest.approx(1 / len(users))
    assert scores.rmse_known == pytest.approx(
        model.evaluate(TRAIN.take(np.arange(0, TRAIN.n_ratings, 9))).rmse.value
    )


@every_model
def test_evaluating_on_nothing_is_refused(name):
    with pytest.raises(ParameterValueError, match="planted has no ratings to evaluate on"):
        fitted(name).evaluate(SPLIT.test.take(np.arange(0)))


@every_model
def test_pairs_that_were_trained_on_are_counted(name):
    assert fitted(name).count_trained_pairs(SPLIT.test) == 0
    assert fitted(name).count_trained_pairs(TRAIN) == TRAIN.n_ratings
    both = SPLIT.train.take(np.arange(10))
    assert fitted(name).count_trained_pairs(both) == 10
    assert fitted(name).count_trained_pairs(both.take(np.arange(0))) == 0


# -- recommendations ------------------------------------------------------------------------------


def sorted_by_prediction(model, user, items):
    """Items by falling score; the score is what the formula has before the link."""
    values = np.array([plain_prediction(model, user, item) for item in items])
    order = np.argsort(-values, kind="stable")
    return [items[n] for n in order], values[order]


@every_model
def test_recommendations_are_the_unseen_items_by_falling_prediction(name):
    model = fitted(name)
    for user in (USERS[1], USERS[30], USERS[0]):
        ranked = model.recommend(user, n=100, min_support=0)
        assert isinstance(ranked, RankedItems)
        items, values = sorted_by_prediction(model, user, [item for item in ITEMS if item not in SEEN[user]])
        assert sorted(ranked) == sorted(items)
        np.testing.assert_allclose(ranked.predictions, values, rtol=2e-5, atol=2e-5)
        by_item = dict(zip(ranked.items, ranked.predictions, strict=True))
        np.testing.assert_allclose([by_item[item] for item in items], values, rtol=2e-5, atol=2e-5)
        assert (np.diff(ranked.scores) <= 0).all()


@every_model
def test_predictions_of_a_list_are_those_of_predict(name):
    model = fitted(name)
    ranked = model.recommend(USERS[5], n=8)
    found = model.predict([USERS[5]] * 8, ranked.items)
    np.testing.assert_allclose(ranked.predictions, found.values, rtol=1e-6)


@every_model
@pytest.mark.parametrize("n", [1, 7, 10**9])
def test_lists_are_as_long_as_asked_or_as_there_are_items(name, n):
    ranked = fitted(name).recommend(USERS[4], n)
    assert len(ranked) == min(n, len(ITEMS) - len(SEEN[USERS[4]]))
    assert list(ranked) == list(fitted(name).recommend(USERS[4], 10**6))[:n]


@every_model
def test_seen_items_come_back_when_asked(name):
    ranked = fitted(name).recommend(USERS[4], n=100, exclude_seen=False)
    assert sorted(ranked) == sorted(ITEMS)


@every_model
def test_candidates_are_the_only_items_listed(name):
    model, user = fitted(name), USERS[4]
    seen, unseen = sorted(SEEN[user])[:2], [item for item in ITEMS if item not in SEEN[user]][1:4]
    ranked = model.recommend(user, candidates=[*seen, *unseen])
    assert sorted(ranked) == unseen
    assert list(ranked) == [item for item in model.recommend(user, 100) if item in unseen]
    again = model.recommend(user, candidates=np.array([*unseen, *unseen, *seen], object))
    assert list(again) == list(ranked)
    for nothing in (seen, []):
        assert list(model.recommend(user, candidates=nothing)) == []


@every_model
def test_a_candidate_that_is_not_there_is_an_error(name):
    with pytest.raises(UnknownIdError, match="no such item: 'no such item'; the model knows 42 items"):
        fitted(name).recommend(USERS[4], candidates=["i01", NO_SUCH_ITEM])
    with pytest.raises(ParameterValueError, match="candidates takes several ids"):
        fitted(name).recommend(USERS[4], candidates="i01")


@every_model
def test_several_users_get_the_list_each_would_get_alone(name):
    model, asked = fitted(name), [USERS[9], USERS[2], USERS[9]]
    lists = model.recommend(asked, n=5)
    assert isinstance(lists, Recommendations)
    assert (lists.users, lists.known.tolist()) == (tuple(asked), [True] * 3)
    for user, ranked in zip(asked, lists.lists, strict=True):
        assert list(ranked) == list(model.recommend(user, n=5))
    for same in (np.array(asked), (user for user in asked), [str(user) for user in asked]):
        again = model.recommend(same, n=5)
        assert again.users == tuple(asked)
        assert [list(ranked) for ranked in again.lists] == [list(ranked) for ranked in lists.lists]


@every_model
def test_everyone_is_every_user_of_the_table(name):
    lists = fitted(name).recommend(n=3)
    assert lists.users == tuple(USERS)
    assert lists.known.tolist() == [bool(SEEN[user]) for user in USERS]
    assert list(lists.lists[7]) == list(fitted(name).recommend(USERS[7], n=3))
    columns = lists.to_columns()
    assert columns["user"] == [user for user in USERS for _ in range(3)]
    assert columns["item"] == [item for ranked in lists.lists for item in ranked]


@every_model
def test_an_unknown_user_is_an_error_that_shows_known_ones(name):
    for users in (NO_SUCH_USER, [USERS[3], NO_SUCH_USER]):
        with pytest.raises(
            UnknownIdError, match=r"no such user: 7; the model knows 62 users .*such as -1, 100, 101"
        ):
            fitted(name).recommend(users)


@every_model
def test_or_gets_the_list_that_is_not_personal_and_is_marked(name):
    model = fitted(name)
    lists = model.recommend([USERS[3], NO_SUCH_USER, USERS[0]], n=100, unknown="non-personal", min_support=0)
    assert lists.known.tolist() == [True, False, False]
    assert lists.users == (USERS[3], NO_SUCH_USER, USERS[0])
    expected = model.parameters_.global_mean + model.parameters_.item_biases
    assert list(lists.lists[1]) == [ITEMS[row] for row in np.argsort(-expected, kind="stable")]
    assert list(lists.lists[2]) == list(lists.lists[1])
    four = model.recommend(NO_SUCH_USER, 4, unknown="non-personal", min_support=0)
    assert list(four) == list(lists.lists[1])[:4]


@every_model
@pytest.mark.parametrize("unknown", ["skip", None, True])
def test_another_way_with_unknown_users_is_refused(name, unknown):
    with pytest.raises(ParameterValueError, match="choose 'error' or 'non-personal'"):
        fitted(name).recommend(USERS[3], unknown=unknown)


@every_model
@pytest.mark.parametrize("n", [0, -3, 2.5, "ten"])
def test_another_length_is_refused(name, n):
    with pytest.raises(ParameterValueError, match="the length of a list"):
        fitted(name).recommend(USERS[3], n)


@every_model
def test_blocks_of_scores_are_what_predictions_are_made_from(name):
    model, rows = fitted(name), np.array([3, -1, 0, 61, 3])
    block = model.score_block(rows)
    assert block.shape == (5, TRAIN.n_items)
    users, items = np.repeat(rows, TRAIN.n_items), np.tile(np.arange(TRAIN.n_items), 5)
    predictions = model.predict_rows(users, items).reshape(block.shape)
    np.testing.assert_allclose(model.link_.prediction(block), predictions, rtol=1e-5, atol=1e-5)
    assert same_bits(block[0], model.score_block(np.array([3]))[0])
    assert same_bits(block[1], block[2])  # unknown, and without ratings


@every_model
def test_blocks_of_scores_for_newcomers_are_those_of_folding_in(name):
    model = fitted(name)
    histories = TRAIN.by_user
    block = model.score_histories(histories)
    assert block.shape == TRAIN.shape
    for row in (0, 1, 30):
        mine = slice(*histories.indptr[row : row + 2])
        user = model.fold_in([ITEMS[i] for i in histories.indices[mine]], histories.ratings[mine].tolist())
        np.testing.assert_allclose(
            model.link_.prediction(block[row]), user.predict(ITEMS), rtol=1e-4, atol=1e-4
        )
    nobody = histories._replace(indptr=np.zeros(1, np.int64))
    assert model.score_histories(nobody).shape == (0, TRAIN.n_items)


@every_model
def test_item_vectors_are_there_when_there_are_factors(name):
    vectors = fitted(name).item_vectors()
    assert (vectors is not None) == (name in WITH_FACTORS)
    assert fitted(name).dot_product() is fitted(name).parameters_


# -- similar items --------------------------------------------------------------------------------


@every_model_with_factors
def test_similar_items_are_sorted_by_cosine(name):
    model = fitted(name)
    ranked = model.similar("i05", n=100)
    factors = dict(zip(ITEMS, model.parameters_.item_factors.astype(np.float64), strict=True))
    cosines = {
        item: factors["i05"] @ factors[item] / np.linalg.norm(factors["i05"]) / np.linalg.norm(factors[item])
        for item in RATED - {"i05"}
    }
    assert sorted(ranked) == sorted(cosines)
    np.testing.assert_allclose(ranked.scores, [cosines[item] for item in ranked], atol=1e-5)
    assert (np.diff(ranked.scores) <= 0).all()
    assert ranked.predictions is None
    assert list(model.similar("i05", candidates=["i05", "i07", "i06"])) == [
        item for item in ranked if item in ("i06", "i07")
    ]


@pytest.mark.parametrize("name", [name for name in MAKE if name not in WITH_FACTORS])
def test_without_factors_nothing_says_which_items_are_alike(name):
    with pytest.raises(ParameterValueError, match="without factors cannot say which items are alike"):
        fitted(name).similar("i05")


@every_model
def test_nothing_is_like_an_item_without_ratings_or_one_that_is_not_there(name):
    with pytest.raises(ParameterValueError, match="item 'a' has no training ratings"):
        fitted(name).similar("a")
    with pytest.raises(UnknownIdError, match="no such item: 'no such item'"):
        fitted(name).similar(NO_SUCH_ITEM)


# -- arguments ------------------------------------------------------------------------------------


@every_model
def test_every_argument_is_documented(name):
    cls = type(MAKE[name]())
    for field in fields(cls):
        assert field.name in cls.__doc__, field.name


@every_model
def test_fits_of_tiny_tables_end_in_finite_predictions_or_a_clear_error(name):
    """From two by two upwards: never NaN, never an error without a class."""
    for seed in range(12):
        table = planted_table(2 + seed % 3, 2 + seed % 4, density=0.8, seed=seed)
        try:
            model = MAKE[name]().fit(table)
        except EmptyDataError:
            continue
        assert np.isfinite(model.predict_rows(table.users, table.items)).all()
        assert np.isfinite(model.recommend(n=9).to_columns()["prediction"]).all()


def test_on_the_planted_table_factors_beat_biases_and_biases_the_mean():
    table = split_random(planted_table(150, 80, rank=3, density=0.3), 0.2)
    rmse = {name: MAKE[name]().fit(table.train).evaluate(table.test).rmse.value for name in MAKE}
    assert rmse["biases"] < 0.85 * rmse["mean"]
    assert rmse["biases, fixed"] < 0.85 * rmse["mean"]
    for name in WITH_FACTORS:
        assert rmse[name] < 0.7 * rmse["biases"], name
    assert rmse["no factors"] == pytest.approx(rmse["biases"], rel=0.02)
