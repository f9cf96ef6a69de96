"""Metrics: named, registered, a function of the user's; against the kernel with ties and by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from problems import clustered_table

import bilinear
from bilinear.data.splits import split_random
from bilinear.errors import ParameterValueError
from bilinear.evaluation.metrics import METRICS, Metric, hits_in, register_metric
from bilinear.evaluation.ranking_metrics import metrics_of_scores

SPLIT = split_random(clustered_table(0, 90, 50), 0.3)


def top(scores, k):
    """Lists of k items, padded with -1 past the end."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
    return np.pad(order, ((0, 0), (0, max(0, k - order.shape[1]))), constant_values=-1)


@pytest.mark.parametrize("k", [1, 5, 20, 40])
@pytest.mark.parametrize("name", ["recall", "ndcg", "precision", "hit_rate", "mrr"])
def test_named_metrics_are_those_of_the_kernel_where_nothing_ties(name, k):
    rng = np.random.default_rng(k)
    scores = rng.permuted(np.arange(30.0)[None].repeat(50, axis=0), axis=1)
    relevant = [rng.choice(30, rng.integers(1, 25), replace=False).astype(np.int32) for _ in scores]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in relevant])])
    items = top(scores, k)
    hits = hits_in(items, starts, np.concatenate(relevant))
    found = Metric.named(f"{name}@{k}").of_lists(items, hits, np.diff(starts))
    expected = metrics_of_scores(scores, relevant, (k,))[f"{name}@{k}"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_an_item_without_a_row_is_no_hit():
    items = np.array([[2, 1], [0, -1]], np.int32)
    hits = hits_in(items, np.array([0, 2, 4]), np.array([-1, 1, -1, 2], np.int32))
    assert hits.tolist() == [[False, True], [False, False]]


def test_errors_of_ratings_are_those_of_numpy_in_float64():
    rng = np.random.default_rng(0)
    predictions, ratings = rng.normal(3, 1, (2, 600_000)).astype(np.float32)
    errors = (predictions - ratings).astype(np.float64)
    assert Metric.named("rmse").of_predictions(predictions, ratings) == pytest.approx(
        np.sqrt(np.mean(errors**2)), rel=1e-12
    )
    assert Metric.named("mae").of_predictions(predictions, ratings) == pytest.approx(
        np.mean(np.abs(errors)), rel=1e-12
    )


@pytest.fixture
def first_place():
    @register_metric
    def first_place(items, hits, n_relevant):
        return hits[:, 0]

    yield first_place
    METRICS.discard("first_place")


def test_what_a_function_or_a_name_means(first_place):
    assert Metric.of("first_place@7") == Metric("first_place@7", first_place, 7)
    assert Metric.of(first_place) == Metric("first_place@20", first_place, 20)
    assert Metric.of("rmse") == Metric("rmse", METRICS.get("rmse"), None, larger_is_better=False)
    error = Metric.of(lambda predictions, ratings: 0.0)
    assert (error.k, error.larger_is_better, error.registered) == (None, False, False)
    assert Metric.of(partial(first_place)).name == "partial@20"
    assert Metric.named("recall@5").better(0.2, than=0.1)
    assert Metric.named("mae").better(0.1, than=0.2)
    assert Metric.named("mae").better(9.9, than=Metric.named("mae").worst)


@pytest.mark.parametrize("name", ["auc", "ndcg", "ndcg@0", "ndcg@x", "ndcg@", "rmse@5", "", 5, None])
def test_another_name_is_refused_with_those_there_are(name):
    with pytest.raises(
        ParameterValueError, match=rf"metric={name!r}; expected a name such as.*known: recall, ndcg"
    ):
        Metric.of(name)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ParameterValueError, match="'recall'"):

        @register_metric
        def recall(items, hits, n_relevant): ...


@pytest.mark.parametrize("values", [np.zeros((2, 2)), 1.0, [np.nan, 1.0]])
def test_a_metric_that_returns_something_else_is_named(values):
    mine = Metric("mine@2", lambda items, hits, n_relevant: values, 2)
    with pytest.raises(ParameterValueError, match=r"metric 'mine@2': expected one finite number a user"):
        mine.of_lists(np.zeros((2, 2), np.int32), np.zeros((2, 2), bool), np.ones(2, np.int64))


def test_reports_have_my_metric_beside_the_others(first_place):
    model = bilinear.RandomWalk().fit(SPLIT.train)
    mine = Metric("share@3", lambda items, hits, n_relevant: hits.sum(axis=1) / 3, 3)
    scores = bilinear.evaluate_ranking(
        model, SPLIT, bilinear.RankingProtocol((5,), metrics=("ndcg@7",)), metrics=[mine, first_place]
    )
    assert scores.cutoffs == (3, 5, 7, 20)
    np.testing.assert_allclose(scores.per_user["share@3"], scores.per_user["precision@3"])  # nothing ties
    assert "share@3" in str(scores)
    assert 0 < scores["first_place@20"] < 1
    again = type(scores).from_dict(scores.to_dict())
    assert again["share@3"] == scores["share@3"]
    for n_negatives in (None, 20):
        few = bilinear.RankingProtocol((3,), metrics=(mine,), n_negatives=n_negatives)
        found = bilinear.evaluate_ranking(model, SPLIT, few)
        assert found["share@3"] == pytest.approx(found["precision@3"], abs=0.02)


def test_a_protocol_refuses_what_is_no_metric_of_lists():
    for metrics, said in ((("rmse",), "of lists"), ((Metric("recall@9", len, 9),), "another")):
        with pytest.raises(ParameterValueError, match=said):
            bilinear.RankingProtocol(metrics=metrics)
    with pytest.raises(ParameterValueError, match="cutoffs"):
        bilinear.RankingProtocol(())


def test_my_metric_chooses_models_and_is_saved_by_its_name(first_place, tmp_path):
    table = clustered_table(0, 90, 50)
    kinds = ("Popularity", "RandomWalk")
    for metric in ("first_place@5", first_place):
        ranker = bilinear.AutoRanker(n_trials=3, kinds=kinds, metric=metric, rng=0, n_threads=1).fit(table)
        assert ranker.search_.metric.startswith("first_place@")
        ranker.save(tmp_path / "m")
        assert bilinear.load(tmp_path / "m").metric == ranker.search_.metric
    blend = bilinear.Blend((bilinear.Popularity(), bilinear.RandomWalk()), metric=first_place, rng=0).fit(
        table
    )
    assert 0 <= blend.validation_ <= 1
    unknown = bilinear.Blend((bilinear.Popularity(),), (1.0,), metric=lambda items, hits, n: hits[:, 0]).fit(
        table
    )
    with pytest.raises(ParameterValueError, match="cannot be saved"):
        unknown.save(tmp_path / "u")
    assert not (tmp_path / "u").exists()
    for metric in ("rmse", Metric("worse@5", first_place, 5, larger_is_better=False)):
        with pytest.raises(ParameterValueError, match="larger is better"):
            bilinear.AutoRanker(metric=metric).fit(table)
