"""Defaults that depend on the table: exact on small tables, stored, shown, the same as when given."""

from __future__ import annotations

import numpy as np
import pytest
from problems import clustered_table, same_bits, with_strangers

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.ease import EASE, SparseEASE
from bilinear.estimators.graph_filter import GraphFilter
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.item_knn import ItemKNN
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.persistence.models import load

#: 10 interactions of 4 users with 6 items, rated 1 to 3.
USERS = ["ann", "ann", "ann", "bob", "bob", "cat", "cat", "cat", "dan", "dan"]
ITEMS = ["tea", "jam", "scone", "tea", "jam", "beer", "crisps", "nuts", "beer", "crisps"]
RATINGS = np.array([1, 2, 3, 1, 2, 3, 1, 2, 3, 1], np.float32)
SMALL = Interactions.from_columns(USERS, ITEMS, RATINGS)
FEW = np.sqrt(80 / 2.5)  # a user has 2.5 interactions
LONG = Interactions.from_columns(np.repeat([1, 2], 100), [*range(100), *range(50, 150)])
LARGE = clustered_table(0, 120, 60, n_groups=5, within=0.5, across=0.04)
MODELS = {
    "ease": EASE,
    "ease, ratings": lambda **given: EASE(confidence="ratings", **given),
    "sparse ease": lambda **given: SparseEASE(9, user_exponent=0.5, **given),
    "item knn": ItemKNN,
    "graph filter": GraphFilter,
    "als": lambda **given: ImplicitALS(4, n_epochs=2, rng=0, **given),
}


def used(model):
    return {name: getattr(model, f"{name}_") for name in auto(model)}


def numbers(model):
    return [getattr(value, "shrinkage", value) for value in used(model).values()]


def m_of(table):
    return table.n_ratings / table.n_items


def density_of(table):
    return table.n_ratings / np.prod(table.shape)


def full_table():
    return Interactions.from_columns(np.repeat(np.arange(90), 100), np.tile(np.arange(100), 90))


def l2_of(table, weight):
    return ImplicitALS(2, unobserved_weight=weight, rng=0).fit(table).l2_


def auto(model):
    """Names of the arguments whose numbers the table gives; confidence says only if there are weights."""
    given = model.get_params(deep=False)
    return [name for name, value in given.items() if value == "auto" and name != "confidence"]


def test_the_ridge_is_five_times_the_mean_interactions_of_an_item_and_larger_for_short_users():
    assert EASE().fit(SMALL).l2_ == pytest.approx(5 * 10 / 6 * FEW)
    assert EASE().fit(LONG).l2_ == pytest.approx(5 * 200 / 150)
    assert SparseEASE().fit(SMALL).l2_ == pytest.approx(5 * 10 / 6 * FEW)


def test_the_shrinkage_of_neighbours_is_a_share_of_the_ridge():
    assert ItemKNN().fit(SMALL).similarity_.shrinkage == pytest.approx(0.6 * 5 * 10 / 6 * FEW)


def test_the_ridge_is_in_units_of_what_it_is_added_to():
    squares = float((RATINGS**2).sum())
    assert EASE(confidence="ratings").fit(SMALL).l2_ == pytest.approx(5 * squares / 6 * FEW)
    counts = {user: USERS.count(user) for user in USERS}
    weighted = sum(counts[user] ** -0.5 for user in USERS)
    assert SparseEASE(user_exponent=0.5).fit(SMALL).l2_ == pytest.approx(5 * weighted / 6 * FEW)


def test_the_weight_of_all_pairs_is_a_share_of_the_root_of_the_density():
    model = ImplicitALS(2, rng=0).fit(SMALL)
    assert model.unobserved_weight_ == pytest.approx(4 * 0.4 * np.sqrt(10 / 24))  # items of 10 / 6
    some = Interactions.from_columns(np.arange(40) % 10, np.repeat([1, 2, 3, 4], 10))
    model = ImplicitALS(2, rng=0).fit(some)
    assert model.unobserved_weight_ == pytest.approx((12 / m_of(some)) ** 4 * 0.4 * np.sqrt(density_of(some)))
    assert ImplicitALS(2, rng=0).fit(full_table()).unobserved_weight_ == pytest.approx(0.4)


def test_the_penalty_follows_the_weight_and_is_larger_where_users_or_items_have_few_interactions():
    assert l2_of(SMALL, 0.002) == pytest.approx(0.3 / 4 * 0.002 * 80 / 2.5)
    assert l2_of(LONG, 0.1) == pytest.approx(0.3 / 4 * 0.1 * np.sqrt(80 / (200 / 150)) / 4)
    assert l2_of(full_table(), 0.1) == pytest.approx(0.3 * 0.1)


def test_the_penalty_stays_below_the_one_at_which_factors_are_zero():
    assert l2_of(SMALL, 0.4) == pytest.approx(0.8 * (10 / 24) / (10 / 24 + 0.4))
    everyone_alike = Interactions.from_columns(np.repeat(np.arange(9), 3), np.tile([1, 2, 3], 9))
    model = ImplicitALS(2, n_epochs=50, rng=0).fit(everyone_alike)
    assert np.abs(model.score_block(np.arange(9))).min() > 0.05


def test_a_weight_of_zero_leaves_no_penalty_to_derive_from_it():
    with pytest.raises(ParameterValueError, match="give l2 a number"):
        ImplicitALS(2, unobserved_weight=0, rng=0).fit(SMALL)


def test_the_users_that_are_listened_to_have_8000_interactions_together():
    assert GraphFilter().fit(SMALL).n_neighbours_ == 3200  # 2.5 a user
    dense = Interactions.from_columns(np.repeat([1, 2], 1000), np.tile(np.arange(1000), 2))
    assert GraphFilter().fit(dense).n_neighbours_ == 20


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_same_numbers_given_as_arguments_give_the_same_model(make):
    model = make().fit(LARGE)
    given = make(**used(model)).fit(LARGE)
    assert same_bits(given.score_block(np.arange(LARGE.n_users)), model.score_block(np.arange(LARGE.n_users)))


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_users_and_items_without_interactions_do_not_change_the_rule(make):
    assert numbers(make().fit(with_strangers(LARGE))) == pytest.approx(numbers(make().fit(LARGE)))


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_values_used_are_shown_and_stored(make, tmp_path):
    model = make().fit(LARGE)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert used(again) == used(model)
    assert auto(again) == auto(model)
    assert repr(again) == repr(model)
    for name, value in used(model).items():
        assert f"{name}_={f'{value:.4g}' if isinstance(value, float) else value}" in repr(model)
        assert f"{name}_" not in repr(make())


def test_a_model_stored_before_there_was_auto_still_loads(tmp_path):
    model = EASE(l2=3.0).fit(LARGE)
    model.save(tmp_path / "model")
    stored = read_artifact(tmp_path / "model", in_memory=True)
    manifest = {name: value for name, value in stored.manifest.items() if name != "l2"}
    write_artifact(tmp_path / "model", manifest, stored.tensors)
    assert load(tmp_path / "model").l2_ == 3.0


def test_scores_of_a_history_are_those_of_training_where_the_weight_is_auto():
    model = ImplicitALS(4, n_epochs=40, rng=0).fit(LARGE)
    np.testing.assert_allclose(
        model.score_histories(LARGE.by_user), model.score_block(np.arange(LARGE.n_users)), atol=0.02
    )
