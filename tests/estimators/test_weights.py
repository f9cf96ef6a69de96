"""Weights of events in models: confidences, dislikes that are never listed, and zeros of ImplicitALS."""

from __future__ import annotations

import numpy as np
import pytest
from test_ranking_conformance import RANKING, make

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.errors import EmptyDataError, ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.registry import CLASSES

WEIGHING = [name for name in RANKING if CLASSES.get(name).uses_weights == "confidence"]
HOLDERS, DRAWN = ("AutoRanker", "Blend", "Diversified"), ("RankingFactorization",)
OTHERS = [name for name in CLASSES.subclasses(Recommender) if name not in RANKING]


def weighted(dislikes: bool = True) -> Interactions:
    rng = np.random.default_rng(5)
    users, items = np.nonzero(rng.random((20, 12)) < 0.5)
    weights = rng.choice([1.0, 3.0, 10.0], len(users))
    weights[3::6] = -4.0
    times = rng.permutation(len(users))
    kept = np.ones(len(users), bool) if dislikes else weights > 0
    users, items = [f"u{user:02d}" for user in users[kept]], [f"i{item:02d}" for item in items[kept]]
    times = times[kept]
    if dislikes:
        return Interactions.from_columns(users, items, weights=weights, times=times, source="shop")
    return Interactions.from_columns(users, items, counts=weights[kept], times=times, source="shop")


SHOP = weighted()
assert (SHOP.ratings < 0).sum() > 15


@pytest.mark.parametrize("name", RANKING)
def test_a_dislike_is_never_recommended(name, tmp_path):
    model = make(name).fit(SHOP)
    model.save(tmp_path / "model")
    for one in (model, bilinear.load(tmp_path / "model")):
        lists = one.recommend(None, 12, exclude_seen=False)
        for row, user in enumerate(SHOP.user_vocabulary):
            mine = SHOP.users == row
            disliked = set(SHOP.item_vocabulary.decode(SHOP.items[mine & (SHOP.ratings <= 0)]))
            assert set(lists.of(user).items) == set(SHOP.item_vocabulary) - disliked
    everyone = bilinear.recommend_everyone(model, 12, exclude_seen=False)
    assert everyone.counts.tolist() == [len(ranked) for ranked in lists.lists]


@pytest.mark.parametrize("name", [name for name in WEIGHING if name not in HOLDERS and name not in DRAWN])
def test_without_zeros_a_dislike_is_as_no_interaction(name):
    mine, theirs = make(name).fit(SHOP), make(name).set_params(confidence="ratings").fit(weighted(False))
    rows = theirs.item_vocabulary_.encode(SHOP.item_vocabulary)
    users = np.arange(SHOP.n_users)
    np.testing.assert_allclose(
        mine.score_block(users), theirs.score_block(users)[:, rows], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", OTHERS)
def test_models_of_ratings_refuse_weights_by_name(name):
    kind = CLASSES.get(name)
    assert kind.uses_weights == "no"
    with pytest.raises(ParameterValueError, match=f"shop has weights.*{name}.*ImplicitALS"):
        kind().fit(SHOP)


def test_implicit_als_counts_a_dislike_as_a_zero_with_its_weight():
    model = bilinear.ImplicitALS(n_factors=4, l2=0.5, unobserved_weight=0.1, n_epochs=200, rng=0).fit(SHOP)
    users, items = model.user_factors_, model.item_factors_.astype(np.float64)
    for row in range(3):
        mine = SHOP.users == row
        y, c = items[SHOP.items[mine]], SHOP.ratings[mine].astype(np.float64)
        system, right = 0.1 * items.T @ items, np.zeros(4)
        for t in range(len(c)):  # the half-step of a user, pair by pair
            system += abs(c[t]) * np.outer(y[t], y[t])
            right += max(c[t], 0) * y[t]
        weight = np.abs(c).sum() + 0.1 * len(items)
        system += 0.5 * weight**model.l2_exponent * np.eye(4)
        np.testing.assert_allclose(users[row], np.linalg.solve(system, right), atol=2e-3)
    folded = model.fold_in(
        SHOP.item_vocabulary.decode(SHOP.items[mine]).tolist(), SHOP.ratings[mine].tolist()
    )
    np.testing.assert_allclose(folded.scores, model.score_block(np.array([2]))[0], atol=2e-3)
    assert not set(folded.rated[SHOP.ratings[mine] < 0]) & set(
        model.item_rows(folded.recommend(12, exclude_seen=False).items).tolist()
    )


def test_a_disliked_item_scores_lower_with_a_zero():
    kept = Interactions.from_columns([1, 1, 2, 2, 3, 3], [1, 2, 1, 2, 1, 3], weights=[1, 1, 1, 1, 1, 1])
    both = Interactions.from_columns(
        [1, 1, 2, 2, 3, 3, 3], [1, 2, 1, 2, 1, 3, 2], weights=[1, 1, 1, 1, 1, 1, -9]
    )
    scores = [
        bilinear.ImplicitALS(n_factors=3, l2=0.01, unobserved_weight=0.01, n_epochs=50, rng=0)
        .fit(table)
        .score_block(np.array([2]))[0, 1]
        for table in (kept, both)
    ]
    assert scores[1] < scores[0] - 0.1


def test_a_table_of_dislikes_alone_is_refused():
    table = Interactions.from_columns([1, 2], [1, 2], weights=[-1, -1])
    with pytest.raises(EmptyDataError, match="no pair has a weight above zero"):
        bilinear.RandomWalk().fit(table)


def test_dislikes_are_no_hits():
    train = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3], weights=[1, 1, 1, 1])
    test = Interactions.from_columns([1, 2], [3, 2], weights=[-1, 1])
    parts = bilinear.split_file(train, test)
    assert bilinear.Popularity().fit(parts.train).evaluate(parts).n_relevant == 1


def test_updates_add_weights_up_and_refuse_weights_for_counts():
    model = bilinear.Popularity().fit(SHOP)
    further = Interactions.from_columns(["u00"], [SHOP.item_vocabulary[0]], weights=[-1000.0])
    model.update(further)
    assert SHOP.item_vocabulary[0] not in model.recommend("u00", 12, exclude_seen=False).items
    counted = bilinear.Popularity().fit(weighted(False))
    with pytest.raises(ParameterValueError, match="has weights of events"):
        counted.update(further)
