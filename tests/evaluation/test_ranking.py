"""The protocol: which users are evaluated, on which items, and that users who are left out are counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from problems import planted_table
from ranking_cases import Scorer, clicks, random_parts

from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split, split_random, split_users
from bilinear.errors import EmptyDataError, ParameterValueError
from bilinear.estimators.baselines import BiasModel
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.recommender import Recommender
from bilinear.evaluation.ranking import RankingProtocol, RankingScores, evaluate_ranking
from bilinear.evaluation.ranking_metrics import metrics_of_scores

TRAIN, TEST = random_parts()
SCORES = np.random.default_rng(1).integers(0, 30, (TRAIN.n_users, TRAIN.n_items)).astype(np.float32)
PROTOCOL = RankingProtocol((3, 10))


def relevant_of(table):
    """{user row: item rows} of users with any."""
    return {int(u): table.items[table.users == u] for u in np.unique(table.users)}


def test_all_unseen_items_are_ranked_for_every_user_with_a_test_item():
    scores = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, PROTOCOL)
    hidden = SCORES.astype(float)
    hidden[TRAIN.users, TRAIN.items] = np.nan
    relevant = relevant_of(TEST)
    expected = metrics_of_scores(hidden[list(relevant)], list(relevant.values()), (3, 10))
    for name, values in expected.items():
        np.testing.assert_array_equal(scores.per_user[name], values)
        assert scores[name] == pytest.approx(values.mean(), abs=1e-15)
    assert scores.users.tolist() == list(relevant)
    assert scores.n_users == len(relevant)
    assert scores.n_relevant == TEST.n_ratings
    assert scores.n_unknown_users == 0
    assert scores.protocol.startswith("full ranking of 60 items")


@pytest.mark.parametrize("block_size", [1, 7, 1000])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_blocks_and_threads_change_no_bit(block_size, n_threads):
    whole = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, PROTOCOL, item_vectors=SCORES.T, n_threads=1)
    model = Scorer(TRAIN, SCORES)
    parts = evaluate_ranking(
        model, TEST, PROTOCOL, item_vectors=SCORES.T, n_threads=n_threads, block_size=block_size
    )
    assert model.largest_block <= block_size
    assert parts.to_dict() == whole.to_dict()
    for name, values in whole.per_user.items():
        np.testing.assert_array_equal(parts.per_user[name], values)


def test_seen_items_may_be_ranked():
    scores = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, RankingProtocol((10,), exclude_seen=False))
    relevant = relevant_of(TEST)
    expected = metrics_of_scores(SCORES[list(relevant)], list(relevant.values()), (10,))
    np.testing.assert_array_equal(scores.per_user["ndcg@10"], expected["ndcg@10"])
    assert "seen or not" in scores.protocol


def test_users_without_test_items_are_counted():
    train = clicks([(0, 0), (1, 1), (2, 2)], 5, 6)
    scores = evaluate_ranking(Scorer(train, np.zeros((5, 6))), clicks([(0, 3)], 5, 6), PROTOCOL)
    assert scores.n_users == 1
    assert scores.n_users_without_test == 2  # u003 and u004 have no interactions at all
    assert "2 users without any are not counted" in str(scores)


def test_strangers_get_the_list_that_is_not_personal_and_are_counted():
    train = clicks([(0, 0), (1, 1)], 2, 6)
    test = clicks([(0, 4), (3, 5), (3, 2)], 4, 6)
    model = Scorer(train, np.zeros((2, 6)), stranger=np.arange(6.0))
    scores = evaluate_ranking(model, test, RankingProtocol((1, 2)))
    assert scores.n_users == 2
    assert scores.n_unknown_users == 1
    assert scores.per_user["mrr@1"][1] == 1  # item 5 is the stranger's best
    assert "1 of the users have no training interactions" in str(scores)


def test_users_are_matched_by_id_not_by_row():
    train = clicks([(0, 0), (1, 1), (2, 2)], 3, 4)
    ids = Interactions.from_columns(["u002", "u000"], ["3", "1"], [1, 1])
    table = np.array([[0, 9, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9.0]])
    scores = evaluate_ranking(Scorer(train, table), ids, RankingProtocol((1,)))
    assert scores["recall@1"] == 1


def test_items_that_the_model_does_not_know_are_missed_not_dropped():
    train = clicks([(0, 0), (1, 1)], 2, 3)
    test = clicks([(0, 2), (0, 7), (1, 8)], 2, 9)
    scores = evaluate_ranking(Scorer(train, np.zeros((2, 3))), test, RankingProtocol((2,)))
    assert scores.n_relevant == 3
    assert scores.n_unknown_items == 3  # item 2 is in the catalogue, without interactions
    np.testing.assert_array_equal(scores.per_user["recall@2"], [0.5, 0])
    assert "3 of the relevant items have no training interactions" in str(scores)


def test_pairs_that_were_trained_on_are_left_out_and_reported():
    train = clicks([(0, 0), (0, 1), (1, 1)], 2, 4)
    test = clicks([(0, 1), (0, 2), (1, 1)], 2, 4)
    model = Scorer(train, np.ones((2, 4)))
    scores = evaluate_ranking(model, test, RankingProtocol((2,)))
    assert (scores.n_users, scores.n_relevant, scores.n_trained_pairs) == (1, 1, 2)
    assert scores["recall@2"] == 1
    assert "2 test pairs were trained on" in str(scores)
    kept = evaluate_ranking(model, test, RankingProtocol((2,), exclude_seen=False))
    assert (kept.n_users, kept.n_relevant, kept.n_trained_pairs) == (2, 3, 2)
    with pytest.raises(EmptyDataError, match="trained on"):
        evaluate_ranking(model, train, RankingProtocol((2,)))


def test_only_ratings_from_the_threshold_are_relevant():
    train = clicks([(0, 0), (1, 1)], 2, 5)
    test = clicks([(0, 1), (0, 2), (1, 3)], 2, 5, ratings=[2, 4, 3.5])
    scores = evaluate_ranking(Scorer(train, np.zeros((2, 5))), test, RankingProtocol((1,), relevant_from=4))
    assert (scores.n_users, scores.n_relevant, scores.n_users_without_test) == (1, 1, 1)
    assert "relevant from a rating of 4" in scores.protocol
    with pytest.raises(EmptyDataError, match="no user has a relevant test item"):
        evaluate_ranking(Scorer(train, np.zeros((2, 5))), test, RankingProtocol((1,), relevant_from=5))


def test_a_user_who_has_seen_everything_but_the_test_item_is_ranked():
    train = clicks([(0, 0), (0, 1), (1, 0)], 2, 3)
    scores = evaluate_ranking(
        Scorer(train, np.zeros((2, 3))), clicks([(0, 2)], 2, 3), RankingProtocol((1, 5))
    )
    assert scores["recall@5"] == scores["ndcg@5"] == scores["auc"] == 1
    assert scores["precision@5"] == 0.2


def test_sampled_negatives_are_labelled_and_the_same_for_every_model():
    protocol = RankingProtocol((5,), n_negatives=10)
    scores = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, protocol, block_size=3)
    again = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, protocol, block_size=1000)
    assert scores.to_dict() == again.to_dict()
    assert scores.protocol.startswith("SAMPLED, not comparable with full ranking: 10 negatives")
    assert not scores.catalogue
    assert "novelty@5" not in scores.means
    # A model that scores what it is shown by item row: the negatives are what it saw.
    other = evaluate_ranking(Scorer(TRAIN, -SCORES), TEST, protocol)
    untied = SCORES + np.linspace(0, 0.5, SCORES.shape[1], dtype=np.float32)
    up = evaluate_ranking(Scorer(TRAIN, untied), TEST, protocol)
    down = evaluate_ranking(Scorer(TRAIN, -untied), TEST, protocol)
    np.testing.assert_allclose(up.per_user["auc"] + down.per_user["auc"], 1, atol=1e-12)
    assert other.n_users == scores.n_users
    assert scores["recall@5"] > evaluate_ranking(Scorer(TRAIN, SCORES), TEST, PROTOCOL)["recall@3"]


def test_sampled_metrics_have_the_expected_value():
    """With one relevant item beaten by a share p of the others, each of m negatives beats it with p."""
    n_items, n_users, m = 101, 400, 20
    train = clicks([(u, 100) for u in range(n_users)], n_users, n_items)
    test = clicks([(u, 25) for u in range(n_users)], n_users, n_items)  # beaten by 25 of the 99 others
    model = Scorer(train, np.tile(-np.arange(float(n_items)), (n_users, 1)))
    scores = evaluate_ranking(model, test, RankingProtocol((1,), n_negatives=m))
    spread = np.sqrt(25 / 99 * 74 / 99 * (99 - m) / 98 / m / n_users)
    assert scores["auc"] == pytest.approx(1 - 25 / 99, abs=4 * spread)
    assert evaluate_ranking(model, test, RankingProtocol((1,)))["auc"] == pytest.approx(1 - 25 / 99)


def test_too_few_negatives_are_all_taken_and_reported():
    sampled = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, RankingProtocol((5,), n_negatives=500))
    full = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, RankingProtocol((5,)))
    np.testing.assert_array_equal(sampled.per_user["ndcg@5"], full.per_user["ndcg@5"])
    assert sampled.n_short_of_negatives == sampled.n_users
    assert "fewer items left than the negatives" in str(sampled)


def test_held_out_users_are_scored_from_their_history():
    parts = split_users(planted_table(), 0.3, 0.5)
    model = Scorer(parts.train, np.zeros(parts.train.shape))
    scores = evaluate_ranking(model, parts, PROTOCOL, block_size=4)
    assert "folded in" in scores.protocol
    assert model.largest_block == 0  # never asked for users of the training part
    relevant = relevant_of(parts.test)
    histories = relevant_of(parts.history)
    table = np.array([-np.abs(np.arange(40) - histories[user].mean()) for user in relevant])
    for n, user in enumerate(relevant):
        table[n, histories[user]] = np.nan
    expected = metrics_of_scores(table, list(relevant.values()), (3, 10))
    np.testing.assert_array_equal(scores.per_user["ndcg@10"], expected["ndcg@10"])
    assert scores.users.tolist() == list(relevant)


def test_rating_models_rank_held_out_users_better_than_chance():
    parts = split_users(planted_table(120, 60, noise=0.05), 0.2, 0.7)
    model = MatrixFactorization(n_factors=4, l2=0.05, l2_biases=0.05, rng=0).fit(parts.train)
    scores = evaluate_ranking(model, parts, RankingProtocol((10,), relevant_from=3.7))
    assert scores["auc"] > 0.75
    folded = model.score_histories(parts.history.by_user)
    user = int(parts.test.users[0])
    own = parts.history.by_user
    mine = slice(own.indptr[user], own.indptr[user + 1])
    new = model.fold_in(model.item_vocabulary_.decode(own.indices[mine]), own.ratings[mine].tolist())
    expected = new.predict(model.item_vocabulary_.decode(np.arange(parts.train.n_items)))
    np.testing.assert_allclose(model.link_.prediction(folded[user]), expected, rtol=0, atol=1e-5)


def test_a_model_that_cannot_fold_in_says_so():
    parts = split_users(planted_table(), 0.3, 0.5)

    class Rigid(BiasModel):
        score_histories = Recommender.score_histories

    model = Rigid(l2_biases=1.0).fit(parts.train)
    with pytest.raises(ParameterValueError, match="cannot fold in users"):
        evaluate_ranking(model, parts)


def test_popularity_novelty_coverage_and_diversity_are_reported():
    train = clicks([(u, i) for u in range(4) for i in range(u + 1)], 5, 6)  # item 0 has 4, 1 has 3, ...
    test = clicks([(4, 5)], 5, 6)
    table = np.zeros((5, 6))
    table[4] = [6, 5, 4, 3, 2, 1]
    scores = evaluate_ranking(Scorer(train, table), test, RankingProtocol((2,)), item_vectors=np.eye(6))
    assert scores["popularity@2"] == 3.5
    assert scores["novelty@2"] == pytest.approx((0 - np.log2(3 / 4)) / 2)
    assert scores["coverage@2"] == pytest.approx(2 / 6)
    assert scores["diversity@2"] == 1
    assert scores["gini@2"] == pytest.approx(1 - 2 / 6)
    without = evaluate_ranking(Scorer(train, table), test, RankingProtocol((2,)))
    assert "diversity@2" not in without.means


def test_intervals_hold_the_mean_and_narrow_with_users():
    rng = np.random.default_rng(0)
    train = clicks([(u, u % 20) for u in range(2000)], 2000, 20)
    test = clicks([(u, (u + 1) % 20) for u in range(2000)], 2000, 20)
    model = Scorer(train, rng.random((2000, 20)))
    scores = evaluate_ranking(model, test, RankingProtocol((5,)))
    for name, mean in scores.means.items():
        values = scores.per_user[name]
        half = 1.96 * values.std() / np.sqrt(len(values))
        assert mean.low == pytest.approx(mean.value - half, abs=0.15 * half + 1e-12)
        assert mean.high == pytest.approx(mean.value + half, abs=0.15 * half + 1e-12)


def test_scores_of_rating_models_rank_as_their_recommendations():
    parts = split_random(planted_table(), 0.3, 1)
    model = BiasModel(l2_biases=1.0).fit(parts.train)
    scores = evaluate_ranking(model, parts, RankingProtocol((5,)))
    hits = []
    for user, items in relevant_of(parts.test).items():
        listed = model.item_vocabulary_.encode(model.recommend(model.user_vocabulary_[user], 5).items)
        hits.append(len(set(listed.tolist()) & set(items.tolist())) / len(items))
    assert scores["recall@5"] == pytest.approx(np.mean(hits), abs=1e-12)


def test_scores_survive_json():
    scores = evaluate_ranking(Scorer(TRAIN, SCORES), TEST, PROTOCOL)
    again = RankingScores.from_dict(json.loads(json.dumps(scores.to_dict())))
    assert again.to_dict() == scores.to_dict()
    assert str(again) == str(scores)


def test_the_table_is_aligned():
    text = str(evaluate_ranking(Scorer(TRAIN, SCORES), TEST, PROTOCOL))
    lines = text.split("\n\n")[1].splitlines()
    assert lines[0].split() == ["@3", "@10"]
    assert {line.split()[0] for line in lines[1:]} >= {"recall", "ndcg", "auc", "coverage", "novelty"}
    ends = {len(line) for line in lines if line.count("[") == 2}
    assert len(ends) == 1


def test_a_score_that_is_no_number_is_refused():
    table = SCORES.copy()
    table[3, 5] = np.nan
    with pytest.raises(ParameterValueError, match="not a number"):
        evaluate_ranking(Scorer(TRAIN, table), TEST, PROTOCOL)


@pytest.mark.parametrize(
    "arguments",
    [
        {"cutoffs": ()},
        {"cutoffs": (0,)},
        {"relevant_from": "4"},
        {"n_negatives": 0},
        {"n_negatives": True},
        {"rng": -1},
    ],
    ids=str,
)
def test_bad_protocols_are_refused(arguments):
    with pytest.raises(ParameterValueError, match=next(iter(arguments))):
        RankingProtocol(**arguments)


def test_bad_arguments_are_refused():
    model = Scorer(TRAIN, SCORES)
    for wrong in ({"n_threads": 0}, {"block_size": 0}, {"item_vectors": np.ones((3, 2))}):
        with pytest.raises(ParameterValueError, match=next(iter(wrong))):
            evaluate_ranking(model, TEST, PROTOCOL, **wrong)
    with pytest.raises(ParameterValueError, match="no metric 'ndcg@4' here"):
        evaluate_ranking(model, TEST, PROTOCOL)["ndcg@4"]


def test_a_split_is_judged_by_its_test_part():
    split = Split(TRAIN, TEST, "by hand")
    model = Scorer(TRAIN, SCORES)
    assert evaluate_ranking(model, split).to_dict() == evaluate_ranking(model, TEST).to_dict()
