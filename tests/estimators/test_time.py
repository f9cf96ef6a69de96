"""Recency, transitions and repeats against explicit loops, and what they ask of a table."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import bilinear
from bilinear.data.interactions import Grouped, Interactions
from bilinear.errors import MissingColumnError, ParameterValueError
from bilinear.estimators.recent_history import DAY

HALF_LIFE = 3.0
FORGETTING = {
    "RandomWalk": bilinear.RandomWalk(half_life=HALF_LIFE),
    "ItemKNN": bilinear.ItemKNN(half_life=HALF_LIFE),
    "EASE": bilinear.EASE(l2=5.0, half_life=HALF_LIFE),
    "SparseEASE": bilinear.SparseEASE(l2=5.0, half_life=HALF_LIFE),
    "GraphFilter": bilinear.GraphFilter(half_life=HALF_LIFE),
}


def timed(seed: int = 0, weighted: bool = False) -> Interactions:
    """25 users, 15 items, 20 days; some interactions of a user in one moment."""
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((25, 15)) < 0.4)
    times = rng.integers(0, 20, len(users)) * DAY
    counts = rng.integers(1, 4, len(users)).astype(float)
    counts[::7] *= -1 if weighted else 1
    given = {"weights" if weighted else "counts": counts}
    return Interactions.from_columns(users.tolist(), items.tolist(), times=times, **given)


TABLE = timed()


def history(table: Interactions, row: int):
    mine = table.users == row
    return table.items[mine], table.times[mine], table.ratings[mine]


@pytest.mark.parametrize("name", FORGETTING)
def test_an_interaction_counts_half_after_every_half_life(name, tmp_path):
    model = FORGETTING[name].fit(TABLE)
    plain = type(model)(**model.get_params(deep=False) | {"half_life": None}).fit(TABLE)
    model.save(tmp_path / "model")
    for one in (model, bilinear.load(tmp_path / "model")):
        found = one.score_block(np.arange(5))
        for row in range(5):
            items, times, _ = history(TABLE, row)
            expected = np.zeros(TABLE.n_items)
            if name == "GraphFilter":  # its neighbours depend on the whole history
                weights = 0.5 ** ((times.max() - times) / DAY / HALF_LIFE)
                whole = Grouped(np.array([0, len(items)]), items, weights.astype(np.float32))
                expected = plain._scores_of(whole)[0]
            else:
                for item, time in zip(items, times, strict=True):
                    alone = Grouped(np.array([0, 1]), np.array([item], np.int32), np.ones(1, np.float32))
                    weight = 0.5 ** ((times.max() - time) / DAY / HALF_LIFE)
                    expected += weight * plain.score_histories(alone)[0]
            np.testing.assert_allclose(found[row], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORGETTING)
def test_lists_are_those_of_ages_counted_from_any_later_moment(name):
    model = FORGETTING[name].fit(TABLE)
    items, times, _ = history(TABLE, 3)
    later = 0.5 ** ((times.max() + 40 * DAY - times) / DAY / HALF_LIFE)
    weighted = Grouped(np.array([0, len(items)]), items, later.astype(np.float32))
    np.testing.assert_array_equal(
        np.argsort(-model._scores_of(weighted)[0], kind="stable")[:8],
        np.argsort(-model.score_block(np.array([3]))[0], kind="stable")[:8],
    )


def test_a_folded_history_with_its_times_scores_as_in_training():
    for model in (*FORGETTING.values(), bilinear.Transitions(), bilinear.RepeatConsumption()):
        model.fit(TABLE)
        items, times, counts = history(TABLE, 2)
        ids = TABLE.item_vocabulary.decode(items).tolist()
        folded = model.fold_in(ids, counts.tolist(), times=times.tolist())
        np.testing.assert_allclose(folded.scores, model.score_block(np.array([2]))[0], rtol=1e-5, atol=1e-6)


def test_popularity_forgets_by_the_age_from_the_end_of_the_table():
    expected = np.zeros(TABLE.n_items)
    for item, time in zip(TABLE.items, TABLE.times, strict=True):
        expected[item] += 0.5 ** ((TABLE.times.max() - time) / DAY / HALF_LIFE)
    model = bilinear.Popularity(half_life=HALF_LIFE).fit(TABLE)
    np.testing.assert_allclose(model.score_block(np.array([-1]))[0], expected, rtol=1e-6)


def transitions_by_loops(table: Interactions, window: int):
    """c(i, j): pairs of a user's interactions, ordered by time and then by item."""
    counts = np.zeros((table.n_items, table.n_items))
    for user in range(table.n_users):
        items, times, weights = history(table, user)
        order = sorted(range(len(items)), key=lambda at: (times[at], items[at]))
        for (a, first), (b, second) in combinations(enumerate(order), 2):
            if times[second] > times[first] and b - a <= window:
                counts[items[first], items[second]] += weights[first] * weights[second] / (b - a)
    return counts


@pytest.mark.parametrize("confidence", ["equal", "ratings"])
def test_transitions_are_counted_as_written(confidence):
    model = bilinear.Transitions(
        window=3, history_decay=0.7, popularity_exponent=0.2, half_life=9, confidence=confidence
    ).fit(TABLE)
    weighed = TABLE if confidence == "ratings" else Interactions.from_rows(
        TABLE.users, TABLE.items, np.ones(TABLE.n_ratings), TABLE.times,
        TABLE.user_vocabulary, TABLE.item_vocabulary, has_ratings=False,
    )  # fmt: skip
    counts = transitions_by_loops(weighed, 3)
    out, into = counts.sum(axis=1), counts.sum(axis=0)
    found = model.score_block(np.arange(TABLE.n_users))
    for row in range(TABLE.n_users):
        items, times, weights = history(weighed, row)
        moments = sorted(set(times))
        expected = np.zeros(TABLE.n_items)
        for i, time, weight in zip(items, times, weights, strict=True):
            later = len(moments) - 1 - moments.index(time)
            aged = weight * 0.7**later * 0.5 ** ((max(times) - time) / DAY / 9)
            for j in range(TABLE.n_items):
                if counts[i, j]:
                    expected[j] += aged * counts[i, j] / (out[i] ** 0.5 * into[j] ** 0.2)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-6)


def test_of_each_item_the_largest_transitions_are_kept():
    every, few = (bilinear.Transitions(n_neighbours=n).fit(TABLE).weights_ for n in (100, 3))
    for item in range(TABLE.n_items):
        all_of, kept = (w.ratings[w.indptr[item] : w.indptr[item + 1]] for w in (every, few))
        np.testing.assert_array_equal(np.sort(kept), np.sort(all_of)[-3:])


def test_the_order_of_a_session_matters_where_times_do():
    users = np.repeat(np.arange(30), 3)
    table = Interactions.from_columns(
        [*users, 99, 99], [*np.tile([1, 2, 3], 30), 2, 1], times=[*np.arange(90.0), 1.0, 2.0]
    )
    model = bilinear.Transitions().fit(table)
    assert model.fold_in([1]).recommend(1).items[0] == 2
    assert model.fold_in([1, 2]).recommend(1).items[0] == 3
    forward, back = (model.fold_in(items).scores for items in ([1, 2], [2, 1]))
    assert not np.allclose(forward, back)
    walk = bilinear.RandomWalk().fit(table)
    np.testing.assert_array_equal(walk.fold_in([1, 2]).scores, walk.fold_in([2, 1]).scores)
    with pytest.raises(ParameterValueError, match="do not depend on when"):
        walk.fold_in([1, 2], times=[1, 2])


def test_repeats_come_first_by_frequency_and_recency():
    model = bilinear.RepeatConsumption(half_life=HALF_LIFE).fit(TABLE)
    popular = np.bincount(TABLE.items, TABLE.ratings, TABLE.n_items)
    for row, found in enumerate(model.score_block(np.arange(6))):
        items, times, counts = history(TABLE, row)
        own = counts * 0.5 ** ((times.max() - times) / DAY / HALF_LIFE)
        expected = popular / popular.max() / 2
        expected[items] = 1 + own / own.max()
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_dislikes_and_thresholds_leave_their_times_out_too():
    table = timed(weighted=True)
    model = bilinear.RandomWalk(half_life=HALF_LIFE).fit(table)
    liked = table.take(table.ratings > 0)
    times = liked.times
    counted = Interactions.from_rows(
        liked.users, liked.items, liked.ratings, times, table.user_vocabulary, table.item_vocabulary,
        has_ratings=False,
    )  # fmt: skip
    other = bilinear.RandomWalk(half_life=HALF_LIFE, confidence="ratings").fit(counted)
    rows = np.arange(table.n_users)
    np.testing.assert_allclose(model.score_block(rows), other.score_block(rows), rtol=1e-6)
    rated = bilinear.RandomWalk(half_life=HALF_LIFE, threshold=2).fit(counted)
    assert len(rated._positive_times()) == len(rated.positives_.indices)


def test_auto_takes_the_half_life_that_ranks_the_latest_tenth_best(tmp_path):
    """Everyone turns to other items in the last days, so that old interactions mislead."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(60), 12)
    days = np.tile(np.arange(12), 60) * 30
    taste = rng.integers(0, 3, (60, 2))
    group = taste[users, (days >= 180).astype(int)]
    items = group * 12 + rng.integers(0, 12, len(users))
    table = Interactions.from_columns(users, items, times=days * DAY + rng.random(len(users)))
    model = bilinear.RandomWalk(half_life="auto").fit(table)
    assert model.half_life_ is not None
    found = model.retrain(table).half_life_
    assert model.half_life == "auto"
    model.save(tmp_path / "model")
    assert bilinear.load(tmp_path / "model").half_life_ == found


@pytest.mark.parametrize("model", [bilinear.Transitions(), bilinear.EASE(half_life=3)])
def test_models_of_time_ask_for_it(model):
    table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2])
    with pytest.raises(MissingColumnError, match="no times, which"):
        model.fit(table)


def test_models_of_time_refuse_updates_and_strange_half_lives():
    model = bilinear.RandomWalk(half_life=3).fit(TABLE)
    with pytest.raises(ParameterValueError, match="that uses times cannot learn further"):
        model.update(TABLE)
    with pytest.raises(ParameterValueError, match="days above zero"):
        bilinear.Popularity(half_life=-1).fit(TABLE)
    with pytest.raises(ParameterValueError, match="expected 2 finite numbers"):
        model.fold_in([1, 2], times=[1.0])


def test_blends_hand_times_on_and_explanations_count_age():
    parts = bilinear.RandomWalk(half_life=HALF_LIFE), bilinear.Transitions()
    blend = bilinear.Blend(parts, weights=(0.5, 0.5)).fit(TABLE)
    items, times, _ = history(TABLE, 4)
    folded = blend.fold_in(TABLE.item_vocabulary.decode(items).tolist(), times=times.tolist())
    np.testing.assert_allclose(folded.scores, blend.score_block(np.array([4]))[0], rtol=1e-4, atol=1e-5)
    walk = blend.models_[0]
    said = walk.explain(4, TABLE.item_vocabulary[0])
    assert said.of("rating") == pytest.approx(said.score, abs=1e-5)


def test_users_held_out_whole_are_met_with_the_times_of_their_history():
    split = bilinear.split_users(TABLE, test=0.3, rng=1)
    model = bilinear.Transitions().fit(split.train)
    found = model.evaluate(split).per_user["ndcg@5"]
    shown = split.history
    for at, row in enumerate(np.unique(split.test.users)):
        mine = shown.users == row
        folded = model.fold_in(
            TABLE.item_vocabulary.decode(shown.items[mine]).tolist(), times=shown.times[mine].tolist()
        )
        listed = folded.recommend(5).items
        hits = np.isin(listed, TABLE.item_vocabulary.decode(split.test.items[split.test.users == row]))
        gains = (hits / np.log2(np.arange(len(hits)) + 2)).sum()
        n_relevant = min(int((split.test.users == row).sum()), 5)
        if (
            len(np.unique(folded.scores[folded.scores > 0]))
            == (folded.scores > 0).sum()
            >= 5 + len(folded.rated)
        ):
            assert found[at] == pytest.approx(gains / (1 / np.log2(np.arange(n_relevant) + 2)).sum())
