"""Served models that use times: sessions in their order, feedback by its time, dislikes that stay hidden."""

from __future__ import annotations

import numpy as np
import pytest

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.serving.answers.explanations import explained
from bilinear.serving.answers.serving_model import ServingModel
from bilinear.serving.lifecycle.retrain_process import trained_on

DAY = 86_400.0


def clicks() -> Interactions:
    rng = np.random.default_rng(2)
    users, items = np.nonzero(rng.random((30, 14)) < 0.4)
    weights = np.where(rng.random(len(users)) < 0.15, -1.0, 1.0)
    times = rng.permutation(len(users)) * DAY / 4
    names = [[f"{letter}{row}" for row in rows] for letter, rows in (("u", users), ("i", items))]
    return Interactions.from_columns(*names, times=times, weights=weights)


TABLE = clicks()
MODELS = {
    "transitions": bilinear.Transitions(half_life=9.0),
    "blend": bilinear.Blend((bilinear.RandomWalk(half_life=5.0), bilinear.Transitions()), weights=(0.4, 0.6)),
}


@pytest.fixture(scope="module", params=MODELS)
def served(request: pytest.FixtureRequest) -> ServingModel:
    return ServingModel(MODELS[request.param].fit(TABLE), "v")


def test_a_session_is_taken_in_its_order(served: ServingModel) -> None:
    for order in (["i3", "i5", "i9"], ["i9", "i5", "i3"]):
        state, _ = served.session([(item, 1.0) for item in order])
        rows, scores = served.rank([(state, 5, True, None)])[0]
        expected = served.model.fold_in(order).recommend(5)
        assert served.model.item_vocabulary_.decode(rows).tolist() == expected.items.tolist()
        np.testing.assert_array_equal(scores, expected.scores)


def test_feedback_counts_from_its_own_time(served: ServingModel) -> None:
    model = served.model
    before = served.user_state("u4", ())
    np.testing.assert_array_equal(served.scores(before), model.score_block(np.array([before.row]))[0])
    known = dict(zip(before.rated.tolist(), before.times.tolist(), strict=True))
    fresh = next(row for row in range(14) if row not in known)
    latest = max(known.values())
    scores = []
    for time in (latest - 50 * DAY, latest + 50 * DAY):
        state = served.user_state("u4", [(served.item_id(fresh), 1.0, time)])
        items = [served.item_id(row) for row in state.rated.tolist()]
        times = [known.get(row, time) for row in state.rated.tolist()]
        folded = model.fold_in(items, state.ratings.tolist(), times=times)
        np.testing.assert_allclose(served.scores(state), folded.scores, rtol=1e-5, atol=1e-6)
        scores.append(served.scores(state))
    assert not np.allclose(*scores)


def test_dislikes_stay_out_of_lists_that_include_what_was_seen(served: ServingModel) -> None:
    for user in TABLE.user_vocabulary:
        state = served.user_state(user, ())
        listed = served.rank([(state, 14, False, None)])[0][0]
        disliked = state.rated[state.ratings <= 0]
        assert sorted({*listed.tolist(), *disliked.tolist()}) == list(range(14))
        assert not set(listed.tolist()) & set(disliked.tolist())


def test_explanations_of_a_session_count_its_order() -> None:
    served = ServingModel(bilinear.Transitions(half_life=9.0).fit(TABLE), "v")
    state, _ = served.session([("i3", 1.0), ("i5", 1.0), ("i9", 1.0)])
    found = explained(served, state, None, "i2", 10)
    assert sum(one.contribution for one in found.contributions) == pytest.approx(found.score, abs=1e-6)


def test_a_served_model_is_trained_again_on_its_own_times(served: ServingModel) -> None:
    table = trained_on(served.model)
    np.testing.assert_array_equal(table.times, TABLE.times)
    again = served.model.retrain(table)
    assert again.uses_times
