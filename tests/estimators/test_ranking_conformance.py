"""What every ranking model answers at the edges, for every ranking model that can be saved, on clicks."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import numpy as np
import pytest

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.errors import EmptyDataError, ParameterValueError, UnknownIdError
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_model import RankingModel
from bilinear.registry import CLASSES

QUICK = {
    "ImplicitALS": {"n_factors": 4, "n_epochs": 3},
    "Blend": {"models": (Popularity(), RandomWalk(5)), "weights": (0.3, 0.7)},
    "AutoRanker": {"n_trials": 2, "kinds": ("Popularity", "RandomWalk")},
    "RankingFactorization": {"n_factors": 4},
    "Diversified": {"model": bilinear.ImplicitALS(n_factors=4, n_epochs=3, rng=0)},
}
RANKING = list(CLASSES.subclasses(RankingModel))
every_model = pytest.mark.parametrize("name", RANKING)

GREEDY, SHY = "u00", "u01"


def clicks() -> Interactions:
    """30 users and 12 items in two groups; one user has clicked on all, one on a single item."""
    rng = np.random.default_rng(0)
    same = (np.arange(30)[:, None] % 2) == (np.arange(12) % 2)
    clicked = rng.random((30, 12)) < np.where(same, 0.6, 0.1)
    clicked[0], clicked[1] = True, False
    clicked[1, 3] = True
    users, items = np.nonzero(clicked)
    return Interactions.from_columns(
        [f"u{user:02d}" for user in users],
        [f"i{item:02d}" for item in items],
        counts=rng.integers(1, 4, len(users)),
        times=rng.permutation(len(users)),
        source="clicks",
    )


CLICKS = clicks()
ITEMS = list(CLICKS.item_vocabulary)


def make(name):
    model = CLASSES.get(name)(**QUICK.get(name, {}))
    return model.set_params(rng=0) if "rng" in {field.name for field in fields(model)} else model


@cache
def fitted(name):
    """A model fitted on CLICKS; shared, so look and do not touch."""
    return make(name).fit(CLICKS)


def scores(model):
    return model.score_block(np.arange(-1, CLICKS.n_users, dtype=np.int32))


def test_the_models_that_users_can_name_are_all_here():
    assert {"ImplicitALS", "EASE", "SparseEASE", "ItemKNN", "RandomWalk", "GraphFilter", "Popularity"} <= set(
        RANKING
    )
    assert set(RANKING) <= set(bilinear.__all__)


@every_model
def test_clicks_are_enough(name):
    model = fitted(name)
    assert np.isfinite(scores(model)).all()
    assert len(model.recommend("u02", 3)) == 3


@every_model
def test_unknown_users_are_an_error_or_get_the_list_for_all(name):
    model = fitted(name)
    with pytest.raises(UnknownIdError, match="nobody"):
        model.recommend("nobody")
    lists = model.recommend(["nobody", "u02"], 4, unknown="non-personal")
    assert lists.known.tolist() == [False, True]
    assert len(lists.lists[0]) == 4


@every_model
def test_unknown_items_are_an_error_or_left_out_and_named(name):
    model = fitted(name)
    for call in (
        lambda: model.similar("nothing"),
        lambda: model.fold_in(["i03", "nothing"]),
        lambda: model.recommend("u02", candidates=["nothing"]),
    ):
        with pytest.raises(UnknownIdError, match="nothing"):
            call()
    person = model.fold_in(["i03", "nothing"], unknown="skip")
    assert person.unknown_items == ("nothing",)
    np.testing.assert_allclose(person.scores, model.fold_in(["i03"]).scores)


@every_model
def test_someone_without_items_gets_the_list_for_all(name):
    model = fitted(name)
    empty = model.fold_in([])
    np.testing.assert_allclose(empty.scores, scores(model)[0], rtol=1e-4, atol=1e-6)
    assert len(empty.recommend(5)) == 5


@every_model
def test_a_list_is_as_long_as_there_are_items_left(name):
    model = fitted(name)
    assert len(model.recommend(SHY, 1000)) == len(ITEMS) - 1
    assert sorted(model.recommend(SHY, 1000, exclude_seen=False)) == ITEMS
    everyone = bilinear.recommend_everyone(model, 1000)
    assert everyone.counts.tolist() == (len(ITEMS) - CLICKS.by_user.counts).tolist()


@every_model
def test_with_all_items_excluded_a_list_is_empty(name):
    model = fitted(name)
    assert len(model.recommend(GREEDY, 5)) == 0
    assert len(model.recommend(SHY, 5, candidates=["i03"])) == 0
    assert len(model.recommend("u02", 5, candidates=[])) == 0
    assert len(model.fold_in(ITEMS).recommend(5)) == 0


@every_model
def test_nothing_to_measure_is_refused(name):
    with pytest.raises(EmptyDataError, match="no user has a relevant test item"):
        fitted(name).evaluate(CLICKS)


@every_model
@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_lengths_that_are_none_are_refused(name, n):
    with pytest.raises(ParameterValueError, match="length of a list"):
        fitted(name).recommend("u02", n)


@every_model
def test_a_saved_model_answers_with_the_same_bits(name, tmp_path):
    model = fitted(name)
    model.save(tmp_path / "model")
    again = bilinear.load(tmp_path / "model")
    assert type(again) is type(model)
    assert (model.has_ratings_, again.has_ratings_) == (False, False)
    assert again.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert scores(again).tobytes() == scores(model).tobytes()
    assert list(again.recommend("u02", 5)) == list(model.recommend("u02", 5))


@every_model
def test_a_clone_with_the_same_seed_gives_the_same_bits(name):
    model = fitted(name)
    clone = type(model)(**model.get_params(deep=False))
    assert clone is not model
    assert clone.get_params() == make(name).get_params()
    assert not hasattr(clone, "seen_")
    assert scores(clone.fit(CLICKS)).tobytes() == scores(model).tobytes()


@every_model
def test_counts_do_not_matter_unless_confidence_says_so(name):
    once = Interactions.from_columns(
        CLICKS.user_vocabulary.decode(CLICKS.users),
        CLICKS.item_vocabulary.decode(CLICKS.items),
        times=CLICKS.times,
    )
    if name == "RepeatConsumption":  # which is about counts
        assert scores(make(name).fit(once)).tobytes() != scores(fitted(name)).tobytes()
        return
    assert scores(make(name).fit(once)).tobytes() == scores(fitted(name)).tobytes()
    if "confidence" in fitted(name).get_params(deep=False):
        weighted = make(name).set_params(confidence="ratings").fit(CLICKS)
        assert scores(weighted).tobytes() != scores(fitted(name)).tobytes()


@pytest.mark.parametrize(
    "model", [bilinear.MatrixFactorization(), bilinear.BiasModel(), bilinear.GlobalMean()]
)
def test_models_of_ratings_refuse_clicks_and_name_those_that_take_them(model):
    with pytest.raises(ParameterValueError, match=r"clicks has no ratings.*RandomWalk.*--task ranking"):
        model.fit(CLICKS)


def test_a_model_of_ratings_is_not_measured_on_clicks():
    rng = np.random.default_rng(1)
    table = Interactions.from_columns(rng.integers(9, size=60), rng.integers(9, size=60), rng.random(60))
    with pytest.raises(ParameterValueError, match="clicks has no ratings"):
        bilinear.BiasModel(l2_biases=1.0).fit(table).evaluate(CLICKS)
