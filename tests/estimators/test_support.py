"""Lists that are not personal begin with items whose ratings are enough to be sure of."""

from __future__ import annotations

import numpy as np
import pytest

import bilinear
from bilinear import BiasModel, Interactions, MatrixFactorization, Popularity, recommend_everyone
from bilinear.data.interactions import Grouped
from bilinear.errors import ParameterValueError
from bilinear.estimators.support import needed_support
from bilinear.evaluation.ranking import RankingProtocol
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.serving.answers.serving_model import ServingModel


def table(n_popular=40, n_rare=25, ratings=60, noise=1.0, spread=0.6, seed=0):
    """Items with many ratings, and rare ones that one generous user gave the top rating."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(3.5, spread, n_popular)
    items = np.repeat(np.arange(n_popular), ratings)
    users = np.concatenate([rng.choice(300, ratings, replace=False) for _ in range(n_popular)])
    values = np.clip(quality[items] + rng.normal(0, noise, len(items)), 0.5, 5)
    rare = 1000 + np.arange(n_rare)
    return Interactions.from_columns(
        np.concatenate([users, rng.choice(300, n_rare, replace=False)]),
        np.concatenate([items, rare]),
        np.concatenate([values, np.full(n_rare, 5.0)]),
    )


TABLE = table()
MODEL = BiasModel(l2_biases=0.1).fit(TABLE)


def counts_of(model, items):
    rows = model.item_rows(items)
    return np.bincount(model.seen_.indices, minlength=len(model.item_vocabulary_))[rows]


@pytest.mark.parametrize(("noise", "spread"), [(1.0, 1.0), (2.0, 1.0), (1.5, 0.5)])
def test_needed_support_is_nine_times_the_planted_ratio_of_variances(noise, spread):
    rng = np.random.default_rng(1)
    n_items, each = 1500, 400
    items = np.tile(np.arange(n_items, dtype=np.int32), each)
    values = rng.normal(0, spread, n_items)[items] + rng.normal(0, noise, len(items))
    seen = Grouped(np.arange(0, len(items) + 1, n_items), items, values.astype(np.float32))
    found = needed_support(seen, np.zeros(each), n_items)
    assert found == pytest.approx(9 * noise**2 / spread**2, rel=0.12)


def test_user_biases_are_taken_out_before_support_is_estimated():
    rng = np.random.default_rng(1)
    seen = TABLE.by_user
    generous = rng.normal(0, 3, TABLE.n_users)
    moved = seen._replace(ratings=seen.ratings + np.repeat(generous, seen.counts).astype(np.float32))
    plain = needed_support(seen, np.zeros(TABLE.n_users), TABLE.n_items)
    assert needed_support(moved, generous, TABLE.n_items) == plain


def test_support_never_leaves_fewer_than_twenty_items():
    """Where items do not differ no number of ratings would be enough."""
    flat = table(spread=0.0, noise=1.0, seed=3)
    seen = flat.by_user
    needed = needed_support(seen, np.zeros(flat.n_users), flat.n_items)
    counts = np.bincount(seen.indices, minlength=flat.n_items)
    assert (counts >= needed).sum() >= 20


def test_items_of_one_rating_do_not_lead_the_list_for_everyone():
    plain = MODEL.recommend("nobody", 12, unknown="non-personal", min_support=0)
    assert (counts_of(MODEL, plain.items) == 1).sum() >= 9  # what it is about
    ranked = MODEL.recommend("nobody", 12, unknown="non-personal")
    assert counts_of(MODEL, ranked.items).min() >= MODEL.min_support_ > 1
    assert list(ranked.predictions) == sorted(ranked.predictions, reverse=True)


def test_no_item_is_lost_and_both_parts_are_in_order():
    n_items, enough = TABLE.n_items, int(MODEL.supported().sum())
    ranked = MODEL.recommend("nobody", n_items, unknown="non-personal")
    assert sorted(ranked.items) == sorted(MODEL.item_vocabulary_)
    for part in (ranked.predictions[:enough], ranked.predictions[enough:]):
        assert list(part) == sorted(part, reverse=True)


def test_lists_of_known_users_are_as_before():
    for user in list(MODEL.user_vocabulary_)[:20]:
        assert list(MODEL.recommend(user, 30)) == list(MODEL.recommend(user, 30, min_support=0))


def strangers():
    """A model of which one user and one item have no ratings."""
    part = TABLE.take(TABLE.users != 7)
    return MatrixFactorization(n_factors=2, l2=0.1, l2_biases=0.1, rng=0).fit(part), part.user_vocabulary[7]


def test_every_road_gives_the_same_list():
    model, stranger = strangers()
    ranked = model.recommend(stranger, 100)
    assert counts_of(model, ranked.items)[0] >= model.min_support_
    everyone = recommend_everyone(model, 100)
    assert list(model.item_vocabulary_.decode(everyone.items[7, : everyone.counts[7]])) == list(ranked)
    assert list(model.fold_in([], []).recommend(100)) == list(ranked)
    served = ServingModel(model, "1")
    for state in (served.user_state(str(stranger), []), served.session([])[0]):
        only = np.arange(0, TABLE.n_items, 2, dtype=np.int32)
        rows, _ = served.rank([(state, 100, True, None)])[0]
        assert list(model.item_vocabulary_.decode(rows)) == list(ranked)
        rows, _ = served.rank([(state, 100, True, only)])[0]
        assert list(rows) == [row for row in model.item_rows(ranked.items) if row % 2 == 0]


def test_evaluation_measures_the_list_that_is_shown():
    model, stranger = strangers()
    best = model.recommend(stranger, 1).items[0]
    test = Interactions.from_columns([stranger, stranger], [best, 1001], [5.0, 5.0])
    found = bilinear.evaluate_ranking(model, test.take(test.items == 0), RankingProtocol(cutoffs=(1,)))
    assert test.item_vocabulary[0] == best
    assert found.n_unknown_users == 1
    assert found.means["recall@1"].value == 1


def test_min_support_is_kept_and_can_be_set(tmp_path):
    MODEL.save(tmp_path / "model")
    again = bilinear.load(tmp_path / "model")
    assert again.min_support_ == MODEL.min_support_
    again.min_support_ = 0
    plain = MODEL.recommend("nobody", 5, unknown="non-personal", min_support=0)
    assert list(again.recommend("nobody", 5, unknown="non-personal")) == list(plain)


@pytest.mark.parametrize("wrong", [-1, 2.5, "3", True])
def test_wrong_support_is_refused(wrong):
    with pytest.raises(ParameterValueError, match="min_support"):
        MODEL.recommend("nobody", unknown="non-personal", min_support=wrong)


def test_models_of_counts_need_no_support():
    assert Popularity().fit(TABLE).min_support_ == 0


def test_a_model_saved_before_there_was_support_finds_it_when_it_is_opened(tmp_path):
    MODEL.save(tmp_path / "model")
    artifact = read_artifact(tmp_path / "model")
    manifest = {name: value for name, value in artifact.manifest.items() if name != "min_support"}
    write_artifact(tmp_path / "older", manifest, artifact.tensors)
    assert bilinear.load(tmp_path / "older").min_support_ == MODEL.min_support_
