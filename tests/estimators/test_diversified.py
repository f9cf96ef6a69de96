"""Reordered lists against the definition of maximal marginal relevance, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

import bilinear
from bilinear.errors import ParameterValueError
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


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (Diversified(bilinear.Popularity()), "no item vectors"),
        (Diversified(ALS, trade=1.5), "trade=1.5"),
        (Diversified(ALS, pool=0), "pool=0"),
        (Diversified(bilinear.BiasModel()), "a ranking model"),
    ],
)
def test_what_cannot_be_is_refused(model, match):
    with pytest.raises(ParameterValueError, match=match):
        model.fit(CLICKS)
