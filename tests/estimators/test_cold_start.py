"""Items and users held out whole, and how models answer for them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from problems import planted_table

from bilinear import BiasModel, ImplicitALS, Items, Vocabulary, measure, split_random
from bilinear.data.splits import Split
from bilinear.estimators.cold_start import hold_out_cold
from bilinear.estimators.measurement import Measurement


@pytest.fixture(scope="module")
def split() -> Split:
    return split_random(planted_table(), 0.2)


def genres(split: Split) -> Items:
    """A feature that tells exactly how the item is rated, coarsely, and one that tells nothing."""
    table = planted_table()
    means = np.bincount(table.items, table.ratings, table.n_items) / np.maximum(table.item_counts, 1)
    liked = np.digitize(means, np.quantile(means, [0.25, 0.5, 0.75]))
    ids = Vocabulary.from_ids(list(split.train.item_vocabulary))
    return Items(ids, {"liked": [f"level {level}" for level in liked]})


def test_what_is_held_out_whole_is_in_no_row_of_training_and_no_rating_is_lost_but_of_new_by_new(
    split: Split,
) -> None:
    cold = hold_out_cold(split, items=True, users=True, rng=1)
    assert cold.new_items is not None
    assert cold.new_users is not None
    items, users = set(cold.new_items.items.tolist()), set(cold.new_users.users.tolist())
    for part in (cold.split.train, cold.split.test):
        assert not items & set(part.items.tolist())
        assert not users & set(part.users.tolist())
    whole = planted_table()
    of_both = np.isin(whole.items, list(items)) & np.isin(whole.users, list(users))
    kept = [cold.split.train, cold.split.test, cold.new_items, cold.new_users]
    assert sum(part.n_ratings for part in kept) == whole.n_ratings - int(of_both.sum())
    keys = np.concatenate([part.users.astype(np.int64) * whole.n_items + part.items for part in kept])
    assert len(np.unique(keys)) == len(keys)
    for part in kept[2:]:
        order = part.users.astype(np.int64) * whole.n_items + part.items
        assert (np.diff(order) > 0).all()


def test_a_side_that_is_not_asked_for_or_too_small_stays(split: Split) -> None:
    cold = hold_out_cold(split, items=False, users=False)
    assert cold.new_items is None
    assert cold.split.train.n_ratings == split.train.n_ratings
    few = Split(*(part.take(part.items < 10) for part in (split.train, split.test)), how="few")  # type: ignore[arg-type]
    assert hold_out_cold(few, items=True, users=False).new_items is None


def test_features_that_tell_are_better_on_new_items_than_shuffled_and_than_none(split: Split) -> None:
    models: dict[str, Any] = {
        "biases": BiasModel(l2_biases=0.3),
        "features": BiasModel(l2_biases=0.3, item_features=["liked"]),
    }
    found = measure(models, split, baseline="biases", items=genres(split))
    (cold,) = found.cold
    assert (cold.side, cold.metric) == ("items", "RMSE")
    error = {name: score.value for name, score in cold.scores.items()}
    assert error["features"] < min(error["biases"], error["features, features shuffled"]) - 0.02
    assert "held out whole" in found.split
    again = Measurement.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.cold == found.cold


def test_rankings_of_new_items_are_lists_of_these_alone(split: Split) -> None:
    models: dict[str, Any] = {"als": ImplicitALS(n_factors=4, n_epochs=2, rng=0, item_features=["liked"])}
    found = measure(models, split, task="ranking", items=genres(split))
    (cold,) = found.cold
    assert cold.metric == "NDCG@10"
    assert set(cold.scores) == {"als", "als, features shuffled"}


def test_without_features_nothing_is_held_out_whole(split: Split) -> None:
    found = measure({"biases": BiasModel(l2_biases=0.3)}, split, items=genres(split))
    assert found.cold == ()
    assert found.n_train == split.train.n_ratings
