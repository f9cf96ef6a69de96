"""A blend: its scores by definition, how weights are chosen, fold-in, saved with its models inside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import clustered_table, same_bits, with_strangers

from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.errors import EmptyDataError, ModelFileError, NotFittedError, ParameterValueError
from bilinear.estimators.blend import Blend
from bilinear.estimators.blend_weights import (
    BlendCandidates,
    ValidationUsers,
    choose_weights,
    inner_split,
)
from bilinear.estimators.ease import SparseEASE
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_model import rows_of
from bilinear.evaluation.metrics import Metric
from bilinear.evaluation.ranking import RankingProtocol
from bilinear.kernels.mixture import add_standardised
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.persistence.models import load
from bilinear.recommend.everyone import recommend_everyone, similar_everyone

SPLIT = split_random(clustered_table(0, 90, 50), 0.2)
TRAIN = with_strangers(SPLIT.train)
USERS = np.arange(TRAIN.n_users, dtype=np.int32)
PARTS = (RandomWalk(9), ImplicitALS(6, n_epochs=3, rng=0), Popularity())


@pytest.fixture(scope="module")
def blend() -> Blend:
    return Blend(PARTS, (2.0, 1.0, 0.5), rng=0).fit(TRAIN)


@pytest.fixture(scope="module")
def chosen() -> Blend:
    return Blend(PARTS, rng=0).fit(TRAIN)


def standard(scores):
    scores = scores.astype(np.float64)
    return (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)


def test_scores_are_the_weighted_sum_of_standardised_scores(blend):
    parts = [type(part)(**part.get_params(deep=False)).fit(TRAIN) for part in PARTS]
    known = TRAIN.by_user.counts[USERS, None] > 0  # to the others only what is not personal speaks
    expected = sum(
        weight / 3.5 * standard(part.score_block(USERS)) * (known | (not part.is_personal))
        for weight, part in zip((2, 1, 0.5), parts, strict=True)
    )
    assert not known.all()
    np.testing.assert_allclose(blend.score_block(USERS), expected, rtol=1e-4, atol=1e-5)
    assert blend.weights_ == pytest.approx((4 / 7, 2 / 7, 1 / 7))
    assert blend.validation_ is None


def test_the_scale_of_a_model_does_not_matter_and_equal_scores_say_nothing():
    scores = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    once, again = np.zeros((3, 40), np.float32), np.zeros((3, 40), np.float32)
    add_standardised(scores, 0.7, once)
    add_standardised(np.float32(50) * scores + np.float32(3), 0.7, again)
    np.testing.assert_allclose(once, again, atol=1e-4)
    np.testing.assert_allclose(once, 0.7 * standard(scores), atol=1e-5)
    add_standardised(np.full((3, 40), np.float32(0.1)), 9.0, again)
    np.testing.assert_allclose(once, again, atol=1e-4)


def test_the_arguments_are_not_fitted_and_the_same_table_gives_the_same_bits(chosen):
    assert not any("seen_" in vars(part) for part in PARTS)
    again = Blend(PARTS, rng=0).fit(TRAIN)
    assert again.weights_ == chosen.weights_
    assert same_bits(again.score_block(USERS), chosen.score_block(USERS))


def test_scores_of_a_user_do_not_depend_on_the_block(blend):
    whole = blend.score_block(USERS)
    assert np.isfinite(whole).all()
    for rows in ([3], [5, 3, 17], [41, -1, 3]):
        assert same_bits(blend.score_block(np.array(rows, np.int32))[0], whole[rows[0]])


def test_a_training_users_history_gives_that_users_scores(blend):
    rows = np.flatnonzero(TRAIN.by_user.counts > 0)[:20]
    found = blend.score_histories(rows_of(TRAIN.by_user, rows))
    np.testing.assert_allclose(found, blend.score_block(rows), rtol=1e-3, atol=1e-3)
    taken = TRAIN.take(TRAIN.users == 7)
    person = blend.fold_in([TRAIN.item_vocabulary[item] for item in taken.items])
    ours = blend.recommend(TRAIN.user_vocabulary[7], 5)
    np.testing.assert_allclose(person.recommend(5).scores, ours.scores, atol=1e-3)


def test_lists_for_everyone_are_the_lists_of_each(blend):
    everyone = recommend_everyone(blend, 4, n_threads=2, block_size=13)
    for row in (1, 5, 40):
        ours = blend.recommend(TRAIN.user_vocabulary[row], 4)
        assert [TRAIN.item_vocabulary[item] for item in everyone.items[row]] == list(ours)


def test_items_alike_are_those_of_the_model_with_the_largest_weight(blend):
    walk = RandomWalk(9).fit(TRAIN)
    assert list(blend.similar("i05", 4)) == list(walk.similar("i05", 4))
    at = TRAIN.item_vocabulary.row("i05")
    lists = similar_everyone(blend, 4)
    assert [TRAIN.item_vocabulary[item] for item in lists.items[at]] == list(walk.similar("i05", 4))
    loudest = Blend(PARTS, (0.1, 0.1, 5.0)).fit(TRAIN)  # Popularity knows of no likeness
    assert list(loudest.similar("i05", 4)) == list(walk.similar("i05", 4))


def test_a_model_without_weight_is_left_out():
    blend = Blend(PARTS, (1.0, 0.0, 0.0)).fit(TRAIN)
    assert [type(model) for model in blend.models_] == [RandomWalk]
    walk = RandomWalk(9).fit(TRAIN)
    order = np.argsort(-walk.score_block(USERS)[1:-1], axis=1, kind="stable")
    assert (np.argsort(-blend.score_block(USERS)[1:-1], axis=1, kind="stable") == order).mean() > 0.99


def test_fitted_models_can_be_mixed_as_they_are():
    fitted = [type(part)(**part.get_params(deep=False)).fit(TRAIN) for part in PARTS[:2]]
    mixed = Blend.of(fitted, (3, 1))
    assert mixed.models_ == tuple(fitted)
    same = Blend(PARTS[:2], (3, 1)).fit(TRAIN)
    assert same_bits(mixed.score_block(USERS), same.score_block(USERS))
    other = RandomWalk(9).fit(TRAIN.take(np.arange(100)))
    with pytest.raises(ParameterValueError, match="fitted on another table"):
        Blend.of([fitted[0], other], (1, 1))


# -- choosing weights -----------------------------------------------------------------------------


def test_the_value_of_weights_is_the_metric_of_the_fitted_blend():
    split = inner_split(TRAIN, 0.2, 0)
    validation_users = ValidationUsers.of(split, None, 0)
    parts = [type(part)(**part.get_params(deep=False)).fit(split.train) for part in PARTS]
    candidates = BlendCandidates.of(parts, validation_users, n_threads=2)
    for weights in ((0.0, 1.0, 0.0), (0.5, 0.3, 0.2), (0.1, 0.2, 0.7)):  # of which none ties
        scores = Blend.of(parts, weights).evaluate(validation_users.test, RankingProtocol((3, 20)))
        for name in ("ndcg@3", "recall@3", "ndcg@20", "recall@20"):
            assert candidates.value(weights, Metric.named(name)) == pytest.approx(scores[name], abs=1e-9)


def test_chosen_weights_are_no_worse_than_any_single_model(chosen):
    split = inner_split(TRAIN, 0.2, chosen.seed_)
    candidates = BlendCandidates.of(
        [part.fit(split.train) for part in map(copy, PARTS)], ValidationUsers.of(split, None, 0)
    )
    metric = Metric.named("ndcg@20")
    singles = [candidates.value(row, metric) for row in np.eye(3)]
    assert chosen.validation_ >= max(singles)
    assert sum(chosen.weights_) == pytest.approx(1)


def copy(model):
    return type(model)(**model.get_params(deep=False))


def test_weights_are_found_where_the_best_mixture_is_known():
    def value(weights):
        total = sum(weights)
        shares = [weight / total for weight in weights]
        return -(abs(shares[0] - 2 / 3) + abs(shares[1]) + abs(shares[2] - 1 / 3))

    weights, best = choose_weights(3, value)
    assert weights == pytest.approx((2 / 3, 0, 1 / 3))
    assert best == pytest.approx(0)


def test_the_inner_part_is_the_latest_of_each_user_where_there_are_times():
    times = np.random.default_rng(1).permutation(len(TRAIN)).astype(float)
    split = inner_split(replace(TRAIN, times=times), 0.25, 0)
    for user in range(1, 60):
        late, early = (part.times[part.users == user] for part in (split.test, split.train))
        assert len(late) == (len(late) + len(early)) // 4
        assert not len(late) or late.min() > early.max()
    assert "latest" in split.how
    assert "of each user" in inner_split(TRAIN, 0.25, 0).how


def test_users_with_few_interactions_are_split_as_one_table():
    few = Interactions.from_columns([1, 2, 3, 4, 5, 6, 7, 8], list("abababab"), np.ones(8))
    split = inner_split(few, 0.2, 0)
    assert (split.train.n_ratings, split.test.n_ratings) == (6, 2)


def test_relevant_from_leaves_out_what_is_rated_lower():
    split = inner_split(TRAIN, 0.2, 0)
    validation_users = ValidationUsers.of(split, 4, 0)
    assert validation_users.test.ratings.min() >= 4
    with pytest.raises(EmptyDataError, match="nothing relevant is left"):
        ValidationUsers.of(split, 9, 0)


# -- refusals and storage -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": ()}, "a tuple of ranking models"),
        ({"models": [Popularity()]}, "a tuple of ranking models"),
        ({"models": (MatrixFactorization(),)}, "not a ranking model"),
        ({"models": PARTS, "weights": (1, 2)}, "2 weights and 3 models"),
        ({"models": PARTS, "weights": (1, 2, -1)}, "zero or more each"),
        ({"models": PARTS, "weights": (0, 0, 0)}, "not all zero"),
        ({"models": PARTS, "weights": (1, np.nan, 0)}, "zero or more each"),
        ({"models": PARTS, "weights": (1, 1, 1), "split": "later"}, "split='later'; one of auto, temporal"),
        ({"models": PARTS, "metric": "map@5"}, "metric='map@5'"),
        ({"models": PARTS, "metric": "ndcg@0"}, "metric='ndcg@0'"),
        ({"models": PARTS, "validation": 1.0}, "between 0 and 1"),
    ],
)
def test_arguments_outside_what_they_may_be_are_refused(arguments, message):
    with pytest.raises(ParameterValueError, match=message):
        Blend(**arguments).fit(TRAIN)


def test_before_fit_there_is_nothing_learned():
    blend = Blend(PARTS)
    for call in (lambda: blend.recommend(1), lambda: blend.fold_in(["a"]), lambda: blend.save("never")):
        with pytest.raises(NotFittedError, match="call fit"):
            call()


def test_ratings_are_needed_where_a_model_needs_them():
    assert not Blend(PARTS).needs_ratings()
    blend = Blend((*PARTS[:2], Popularity(threshold=3)), (1, 1, 1)).fit(TRAIN)
    assert blend.needs_ratings()
    with pytest.raises(ParameterValueError, match="give one an item"):
        blend.fold_in(["i01"])


def test_a_saved_blend_comes_back_with_the_same_bits(tmp_path, chosen):
    for name, model in (
        ("chosen", chosen),
        ("nested", Blend((Blend(PARTS, (1, 2, 3)), SparseEASE(5)), (1, 1)).fit(TRAIN)),
    ):
        model.save(tmp_path / name)
        found = load(tmp_path / name)
        assert repr(found) == repr(model)
        assert (found.weights_, found.validation_) == (model.weights_, model.validation_)
        assert same_bits(found.score_block(USERS), model.score_block(USERS))
        assert same_bits(found.fold_in(["i05"]).scores, model.fold_in(["i05"]).scores)
        assert list(found.similar("i05", 3)) == list(model.similar("i05", 3))


def test_a_damaged_blend_is_refused(tmp_path, blend):
    blend.save(tmp_path / "model")
    artifact = read_artifact(tmp_path / "model")
    wrong = artifact.tensors["models.0.weights.indices"].copy()
    wrong[-1] = 10**6
    manifest = artifact.manifest
    for damage in (
        (manifest, artifact.tensors | {"models.0.weights.indices": wrong}),
        (manifest | {"weights": [1.0]}, artifact.tensors),
        (manifest | {"weights": [1.0, -1.0, 1.0]}, artifact.tensors),
        (manifest | {"models": []}, artifact.tensors),
        (
            manifest | {"models": [{"arguments": {"model": "os.system", "arguments": {}}}] * 3},
            artifact.tensors,
        ),
    ):
        write_artifact(tmp_path / "bad", *damage)
        with pytest.raises(ModelFileError, match="do not fit together"):
            load(tmp_path / "bad")


def one_by_one(candidates, weights, k):
    """Recall@k and NDCG@k by sorting each user's candidates, places as they come."""
    recalls, gains = [], []
    for a, b, n in zip(candidates.starts[:-1], candidates.starts[1:], candidates.n_relevant, strict=True):
        mixed = candidates.scores[a:b].astype(float) @ weights
        places = np.flatnonzero(candidates.relevant[a:b][np.argsort(-mixed, kind="stable")][:k])
        recalls.append(len(places) / n)
        gains.append((1 / np.log2(places + 2)).sum() / (1 / np.log2(np.arange(min(k, n)) + 2)).sum())
    return np.mean(recalls), np.mean(gains)


def test_the_value_of_weights_is_that_of_sorted_candidates_with_and_without_ties():
    split = inner_split(TRAIN, 0.3, 0)
    parts = [part.fit(split.train) for part in map(copy, PARTS)]
    found = BlendCandidates.of(parts, ValidationUsers.of(split, None, 0))
    for candidates in (found, replace(found, scores=np.round(found.scores))):
        for k in (1, 7, 400):
            for weights in ((1.0, 0.0, 0.0), (1.0, 1.0, 2.0)):
                values = [
                    candidates.value(weights, Metric.named(f"{name}@{k}")) for name in ("recall", "ndcg")
                ]
                np.testing.assert_allclose(values, one_by_one(candidates, np.array(weights), k), rtol=1e-12)


def test_a_metric_of_my_own_decides_on_the_items_as_well():
    split = inner_split(TRAIN, 0.3, 0)
    parts = [part.fit(split.train) for part in map(copy, PARTS)]
    candidates = BlendCandidates.of(parts, ValidationUsers.of(split, None, 0))
    mine = Metric("even@3", lambda items, hits, n_relevant: (items[:, :1] % 2 == 0).mean(axis=1), 3)
    even = []
    for a, b in zip(candidates.starts[:-1], candidates.starts[1:], strict=True):
        even.append(candidates.items[a + np.argmax(candidates.scores[a:b, 2])] % 2 == 0)
    assert candidates.value((0, 0, 1), mine) == np.mean(even)
