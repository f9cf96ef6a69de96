"""Ranking metrics: averages over all orders of ties, explicit loops, and other people's results."""

from __future__ import annotations

from itertools import groupby, permutations, product
from math import comb, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from bilinear.errors import ParameterValueError
from bilinear.evaluation.ranking_metrics import (
    ACCURACY,
    ListStatistics,
    TopLists,
    metrics_of_scores,
)

TOLERANCE = 1e-12


def loop_metrics(ranking, relevant, n_relevant, cutoffs):
    """One user's metrics from one list of candidates, as the definitions read."""
    metrics = {}
    for k in cutoffs:
        hits, gain, precisions, first = 0, 0.0, 0.0, 0.0
        for place, item in enumerate(ranking[:k], 1):
            if item in relevant:
                hits += 1
                gain += 1 / log2(1 + place)
                precisions += hits / place
                first = first or 1 / place
        ideal = sum(1 / log2(1 + place) for place in range(1, min(k, n_relevant) + 1))
        metrics |= {
            f"recall@{k}": hits / n_relevant,
            f"capped_recall@{k}": hits / min(k, n_relevant),
            f"precision@{k}": hits / k,
            f"hit_rate@{k}": float(hits > 0),
            f"ndcg@{k}": gain / ideal,
            f"map@{k}": precisions / n_relevant,
            f"mrr@{k}": first,
        }
    others = [place for place, item in enumerate(ranking) if item not in relevant]
    found = [place for place, item in enumerate(ranking) if item in relevant]
    right = sum(place < other for place in found for other in others)
    metrics["auc"] = right / (len(others) * n_relevant) if others else len(found) / n_relevant
    return metrics


def orders(scores):
    """Every ranking of the candidates (not NaN) by descending score, ties in every order."""
    candidates = sorted(np.flatnonzero(~np.isnan(scores)), key=lambda item: -scores[item])
    groups = [list(group) for _, group in groupby(candidates, key=lambda item: scores[item])]
    for parts in product(*(permutations(group) for group in groups)):
        yield [item for part in parts for item in part]


def averaged(scores, relevant, cutoffs):
    each = [loop_metrics(ranking, set(relevant), len(relevant), cutoffs) for ranking in orders(scores)]
    return {name: np.mean([metrics[name] for metrics in each]) for name in each[0]}


def check(scores, relevant, cutoffs):
    found = metrics_of_scores(np.array([scores]), [np.array(relevant)], cutoffs)
    expected = averaged(scores, relevant, cutoffs)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=TOLERANCE), name


@st.composite
def tied_problems(draw):
    n_items = draw(st.integers(1, 7))
    levels = [0.0, 1.0, 2.0, -np.inf, np.nan]
    scores = np.array(draw(st.lists(st.sampled_from(levels), min_size=n_items, max_size=n_items)))
    candidates = np.flatnonzero(~np.isnan(scores)).tolist()
    relevant = [item for item in candidates if draw(st.booleans())]
    relevant += [-1] * draw(st.integers(0 if relevant else 1, 2))
    return scores, relevant


@settings(deadline=None, max_examples=150)
@given(tied_problems())
def test_ties_give_the_average_over_all_orders(problem):
    check(*problem, cutoffs=(1, 2, 3, 5, 20))


@pytest.mark.parametrize("n_relevant", [1, 2, 3, 6])
def test_all_tied_gives_the_average_over_all_orders(n_relevant):
    check(np.zeros(6), list(range(n_relevant)), (1, 2, 4, 6, 7))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_ties_it_is_the_plain_loop(dtype):
    rng = np.random.default_rng(0)
    cutoffs = (1, 3, 10, 50, 200, 1000)
    scores = rng.normal(size=(40, 200)).astype(dtype)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    relevant = []
    for user in range(len(scores)):
        candidates = np.flatnonzero(~np.isnan(scores[user]))
        relevant.append(rng.permutation(candidates)[: rng.integers(1, 100)])  # few and many
    found = metrics_of_scores(scores, relevant, cutoffs)
    for user, items in enumerate(relevant):
        ranking = sorted(np.flatnonzero(~np.isnan(scores[user])), key=lambda item: -scores[user, item])
        for name, value in loop_metrics(ranking, set(items), len(items), cutoffs).items():
            assert found[name][user] == pytest.approx(value, abs=TOLERANCE), name


@pytest.mark.parametrize("n_relevant", [3, 24, 25, 80])
def test_few_and_many_relevant_items_are_counted_alike(n_relevant):
    rng = np.random.default_rng(n_relevant)
    scores = rng.integers(0, 12, (5, 120)).astype(np.float32)
    relevant = [rng.permutation(120)[:n_relevant] for _ in range(5)]
    found = metrics_of_scores(scores, relevant, (10, 50))
    for user, items in enumerate(relevant):
        hits = 0.0
        for item in items:
            ahead, tied = (
                (scores[user] > scores[user, item]).sum(),
                (scores[user] == scores[user, item]).sum(),
            )
            hits += np.clip((10 - ahead) / tied, 0, 1)
        assert found["precision@10"][user] == pytest.approx(hits / 10, abs=TOLERANCE)


def test_ndcg_and_auc_are_those_of_scikit_learn_with_ties():
    rng = np.random.default_rng(1)
    for levels in (3, 30, 10**6):
        scores = rng.integers(0, levels, (30, 60)).astype(np.float64)
        truth = rng.random(scores.shape) < 0.2
        truth[:, 0] = True
        found = metrics_of_scores(scores, [np.flatnonzero(row) for row in truth], (1, 5, 20, 60))
        for k in (1, 5, 20, 60):
            theirs = [ndcg_score(truth[u : u + 1], scores[u : u + 1], k=k) for u in range(30)]
            np.testing.assert_allclose(found[f"ndcg@{k}"], theirs, rtol=0, atol=TOLERANCE)
        theirs = [roc_auc_score(truth[u], scores[u]) for u in range(30)]
        np.testing.assert_allclose(found["auc"], theirs, rtol=0, atol=TOLERANCE)


IR_MEASURES = {
    "recall": "R",
    "precision": "P",
    "map": "AP",
    "mrr": "RR",
    "hit_rate": "Success",
    "ndcg": "nDCG",
}


def untied_problem(seed):
    """Scores without ties, and relevant items, both also as dictionaries of text ids."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(30 * 80).reshape(30, 80).astype(np.float64)
    relevant = [rng.permutation(80)[: rng.integers(1, 40)] for _ in range(30)]
    truth = {f"u{u:02}": {f"i{i:02}": 1 for i in items} for u, items in enumerate(relevant)}
    run = {f"u{u:02}": {f"i{i:02}": float(scores[u, i]) for i in range(80)} for u in range(30)}
    return scores, relevant, truth, run


def test_metrics_are_those_of_ir_measures():
    ir_measures = pytest.importorskip(
        "ir_measures", reason="ir-measures is not installed; it is in the extra 'test'"
    )
    scores, relevant, truth, run = untied_problem(3)
    cutoffs = (1, 5, 20, 80)
    found = metrics_of_scores(scores, relevant, cutoffs)
    for ours, theirs in IR_MEASURES.items():
        for k in cutoffs:
            measure = ir_measures.parse_measure(f"{theirs}@{k}")
            values = {row.query_id: row.value for row in ir_measures.iter_calc([measure], truth, run)}
            np.testing.assert_allclose(
                found[f"{ours}@{k}"], [values[user] for user in truth], rtol=0, atol=TOLERANCE, err_msg=ours
            )


def test_closed_forms_when_everything_ties():
    n, r, k = 1000, 7, 20
    found = metrics_of_scores(np.zeros((1, n)), [np.arange(r)], (k,))
    assert found["recall@20"][0] == pytest.approx(k / n, abs=TOLERANCE)
    assert found["hit_rate@20"][0] == pytest.approx(1 - comb(n - k, r) / comb(n, r), abs=TOLERANCE)
    assert found["auc"][0] == 0.5


def test_a_perfect_ranking_scores_one_and_the_worst_zero():
    scores = -np.arange(50.0)[None]
    best = metrics_of_scores(scores, [np.arange(5)], (5, 50))
    for name in ACCURACY:
        assert best[f"{name}@5"][0] == pytest.approx(1, abs=TOLERANCE)
    assert best["auc"][0] == 1
    worst = metrics_of_scores(scores, [np.arange(45, 50)], (5, 45))
    assert all(worst[f"{name}@{k}"][0] == 0 for name in ACCURACY for k in (5, 45))
    assert worst["auc"][0] == 0


def test_an_item_without_a_score_counts_as_missed():
    with_it = metrics_of_scores(np.array([[3.0, 2.0, 1.0]]), [np.array([0, -1])], (2,))
    assert with_it["recall@2"][0] == 0.5
    assert with_it["auc"][0] == 0.5
    assert metrics_of_scores(np.array([[1.0]]), [np.array([-1])], (2,))["ndcg@2"][0] == 0


def test_bad_arguments_are_refused():
    scores = np.zeros((2, 3))
    with pytest.raises(ParameterValueError, match="user 1 has no relevant item"):
        metrics_of_scores(scores, [np.array([0]), np.array([], int)])
    for cutoffs in ((), (0,), (True,), (2.5,), "5"):
        with pytest.raises(ParameterValueError, match="cutoffs"):
            metrics_of_scores(scores, [np.array([0]), np.array([1])], cutoffs)


def loop_statistics(lists, popularity, information, vectors, n_items):
    """Popularity, novelty and diversity of each list, coverage and exposure of all."""
    unit = vectors / np.where((length := np.linalg.norm(vectors, axis=1)) > 0, length, 1)[:, None]
    each = []
    for ranked in lists:
        pairs = [1 - unit[i] @ unit[j] for i in ranked for j in ranked if i != j]
        each.append(
            [
                np.mean([popularity[i] for i in ranked]),
                np.mean([information[i] for i in ranked]),
                np.mean(pairs) if pairs else 0.0,
            ]
        )
    exposure = np.bincount([i for ranked in lists for i in ranked], minlength=n_items)
    return np.array(each), (exposure > 0).mean(), exposure


@pytest.mark.parametrize("longest", [2, 3, 6])
def test_statistics_of_lists_are_the_average_over_all_orders(longest):
    rng = np.random.default_rng(4)
    scores = np.array([[2.0, 1, 1, 1, 0, np.nan], [0, 0, 0, 5, np.nan, np.nan], [3, 3, 3, 3, 3, 3]])
    vectors = rng.normal(size=(6, 3))
    vectors[4] = 0
    counts = np.array([5, 3, 0, 1, 9, 2])
    information = -np.log2(np.maximum(counts, 1) / 11)
    cutoffs = np.array([k for k in (1, 2, 3, 6) if k <= longest])
    statistics = ListStatistics(cutoffs, counts, 11, vectors)
    found = statistics.add(TopLists.of(scores[:2], longest))
    found = np.concatenate([found, statistics.add(TopLists.of(scores[2:], longest))], axis=2)
    for c, k in enumerate(cutoffs):
        cases = [
            loop_statistics([ranking[:k] for ranking in rankings], counts, information, vectors, 6)
            for rankings in product(*(orders(row) for row in scores[:2]))
        ]
        each = np.mean([case[0] for case in cases], axis=0)
        np.testing.assert_allclose(found[:, c, :2], each.T, rtol=0, atol=TOLERANCE)
    thirds = [loop_statistics([r[:longest]], counts, information, vectors, 6)[0] for r in orders(scores[2])]
    np.testing.assert_allclose(found[:, -1, 2], np.mean(thirds, axis=0)[0], rtol=0, atol=TOLERANCE)


def test_coverage_and_gini_expect_over_independent_users():
    scores = np.array([[1.0, 1, 0, -1], [1, 1, 1, 0]])
    cutoffs = np.array([1, 2])
    statistics = ListStatistics(cutoffs, np.ones(4, int), 4)
    statistics.add(TopLists.of(scores, 3))
    for c, k in enumerate(cutoffs):
        cases = [
            loop_statistics([ranking[:k] for ranking in rankings], np.ones(4), np.ones(4), np.ones((4, 1)), 4)
            for rankings in product(*(orders(row) for row in scores))
        ]
        assert statistics.coverage()[c] == pytest.approx(np.mean([case[1] for case in cases]), abs=TOLERANCE)
        exposure = np.mean([case[2] for case in cases], axis=0)
        gaps = np.abs(exposure[:, None] - exposure).sum()
        assert statistics.gini()[c] == pytest.approx(gaps / (2 * 4 * exposure.sum()), abs=TOLERANCE)


def test_gini_is_zero_for_equal_and_one_less_one_item_for_a_single_one():
    cutoffs = np.array([1])
    equal = ListStatistics(cutoffs, np.ones(5, int), 5)
    equal.add(TopLists.of(np.eye(5), 1))
    assert equal.gini()[0] == pytest.approx(0, abs=TOLERANCE)
    assert equal.coverage()[0] == 1
    alone = ListStatistics(cutoffs, np.ones(5, int), 5)
    alone.add(TopLists.of(np.tile([9.0, 1, 2, 3, 4], (7, 1)), 1))
    assert alone.gini()[0] == pytest.approx(1 - 1 / 5, abs=TOLERANCE)
    assert alone.coverage()[0] == pytest.approx(1 / 5)


def test_the_share_of_the_most_popular_counts_the_places_of_the_first_hundredth_of_the_items():
    counts = np.ones(200, int)
    counts[[7, 50]] = 9  # two of 200 are one in a hundred
    statistics = ListStatistics(np.array([1, 2]), counts, 4)
    scores = np.zeros((2, 200))
    scores[0, [7, 50]] = 2, 1
    scores[1, [3, 7]] = 2, 1
    statistics.add(TopLists.of(scores, 2))
    np.testing.assert_allclose(statistics.popular_share(), [1 / 2, 3 / 4])


def test_lists_of_nothing_are_counted_as_nothing():
    statistics = ListStatistics(np.array([2]), np.ones(3, int), 3, np.ones((3, 2)))
    found = statistics.add(TopLists.of(np.full((1, 3), np.nan), 2))
    assert not found.any()
    assert statistics.coverage()[0] == 0
    assert statistics.gini()[0] == 0
    assert statistics.popular_share()[0] == 0
