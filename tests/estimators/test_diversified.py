"""Reordered lists against the definition of maximal marginal relevance, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

import bilinear
from bilinear.errors import MissingColumnError, ParameterValueError
from bilinear.estimators.diversified import Diversified, marginal_relevance

CLICKS = bilinear.synthetic_catalogue(2500, 100, 60, rng=0).interactions
ALS = bilinear.ImplicitALS(n_factors=8, n_epochs=4, l2=0.01, unobserved_weight=0.1, rng=0)


def by_definition(scores, vectors, trade):
    """Item after item, with cosines of all that were chosen."""
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    chosen = [0]
    while len(chosen) < len(scores):
        values = {
            item: (1 - trade) * relevance[item]
            - trade * max(float(vectors[item] @ vectors[j]) for j in chosen)
            for item in range(len(scores))
            if item not in chosen
        }
        chosen.append(max(values, key=values.get))
    return chosen


@pytest.mark.parametrize("trade", [0.0, 0.3, 0.8])
def test_the_order_is_that_of_the_definition(trade):
    rng = np.random.default_rng(4)
    scores, vectors = np.sort(rng.normal(size=25))[::-1], rng.normal(size=(25, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert marginal_relevance(scores, vectors, trade).tolist() == by_definition(scores, vectors, trade)


def test_lists_are_the_models_own_in_that_order():
    model = Diversified(ALS, trade=0.4, pool=15).fit(CLICKS)
    inside = model.model_
    unit = inside.item_vectors() / np.linalg.norm(inside.item_vectors(), axis=1, keepdims=True)
    for user in list(CLICKS.user_vocabulary)[:5]:
        alone = inside.recommend(user, 30)
        rows = model.item_rows(alone.items)
        order = by_definition(alone.scores[:15].astype(float), unit[rows[:15]], 0.4)
        assert model.recommend(user, 30).items.tolist() == [*alone.items[order], *alone.items[15:]]
        mine = CLICKS.users == CLICKS.user_vocabulary.row(user, "user")
        folded = model.fold_in(CLICKS.item_vocabulary.decode(CLICKS.items[mine]).tolist())
        assert len(folded.recommend(30)) == len(alone)


def test_diversity_rises_and_its_cost_is_measured():
    split = bilinear.split_random(CLICKS, rng=0)
    models = {"alone": ALS, "spread": Diversified(ALS, trade=0.7, pool=30)}
    for model in models.values():
        model.fit(split.train)
    vectors = models["spread"].item_vectors()
    found = bilinear.compare(
        models, split, bilinear.RankingProtocol((5,)), item_vectors=dict.fromkeys(models, vectors)
    )
    assert found.differences["spread"]["diversity@5"].low > 0
    assert "ndcg@5" in found.differences["spread"]


def capped_by_definition(order, genres, most, within):
    """Item after item, the first whose genres are not full; the first of all where there is none."""
    left, chosen = list(order), []
    while left:
        full = {one for one in "abc" if sum(one in genres[item] for item in chosen) >= most}
        free = [item for item in left if not full & set(genres[item])] if len(chosen) < within else left
        chosen.append((free or left)[0])
        left.remove(chosen[-1])
    return chosen


def test_categories_are_capped_by_the_definition_and_what_it_costs_is_measured(tmp_path):
    ids = CLICKS.item_vocabulary.decode(np.arange(CLICKS.n_items))
    genres = {item: ("a", "b", "a|b", "c", "")[n % 5] for n, item in enumerate(ids.tolist())}
    films = bilinear.Items(CLICKS.item_vocabulary, {"kind": list(genres.values())})
    walk = bilinear.RandomWalk()
    model = Diversified(walk, trade=0, pool=12, most=2, category="kind", within=8)
    split = bilinear.split_random(CLICKS, rng=0)
    found = bilinear.measure(
        {"alone": walk, "capped": model}, split, items=films, protocol=bilinear.RankingProtocol((5,))
    )
    assert found.differences["capped"]["ndcg@5"].value < 0
    model.retrain(CLICKS)  # the items keep their kinds
    model.save(tmp_path / "capped")
    for one in (model, bilinear.load(tmp_path / "capped")):
        for user in list(CLICKS.user_vocabulary)[:5]:
            alone = one.model_.recommend(user, 20).items.tolist()
            expected = [*capped_by_definition(alone[:12], genres, 2, 8), *alone[12:]]
            assert one.recommend(user, 20).items.tolist() == expected
            assert expected != alone
    with pytest.raises(ParameterValueError, match="give their table"):
        model.fit(CLICKS)
    with pytest.raises(MissingColumnError, match="genres"):
        Diversified(walk, trade=0, most=2).fit(CLICKS, items=films)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (Diversified(bilinear.Popularity()), "no item vectors"),
        (Diversified(ALS, trade=1.5), "trade=1.5"),
        (Diversified(ALS, pool=0), "pool=0"),
        (Diversified(ALS, most=0), "most=0"),
        (Diversified(ALS, within=0), "within=0"),
        (Diversified(ALS, most=4, within=3), "most <= within <= pool"),
        (Diversified(ALS, most=4, pool=9), "most <= within <= pool"),
        (Diversified(bilinear.BiasModel()), "a ranking model"),
    ],
)
def test_what_cannot_be_is_refused(model, match):
    with pytest.raises(ParameterValueError, match=match):
        model.fit(CLICKS)
