"""The verdict of stored scores."""

from __future__ import annotations

import pytest
from inspection_cases import build_model

from bilinear.inspection.scores import stored_scores, verdict
from bilinear.training.history import History


def interval(value, half=0.01):
    return {"rmse": {"value": value, "low": value - half, "high": value + half}, "n_ratings": 100}


@pytest.mark.parametrize(
    ("mine", "other", "better", "headline", "detail"),
    [
        (0.9, 1.0, True, "10.0% less error than BiasModel", "do not overlap"),
        (0.995, 1.0, True, "0.5% less error than BiasModel", "intervals overlap"),
        (1.0, 1.0, False, "No less error than BiasModel", "intervals overlap"),
        (1.2, 1.0, False, "No less error than BiasModel", "do not overlap"),
    ],
)
def test_the_verdict_compares_with_the_best_other_model(mine, other, better, headline, detail):
    scores = {
        "GlobalMean": interval(3.0),
        "MatrixFactorization": interval(mine),
        "BiasModel": interval(other),
    }
    found = verdict(build_model(report={"scores": scores}))
    assert (found.better, found.headline) == (better, headline)
    assert detail in found.detail
    assert f"RMSE {mine:.4f} [{mine - 0.01:.4f}, {mine + 0.01:.4f}] on 100 held-out ratings" in found.measured


@pytest.mark.parametrize(
    ("low", "high", "words"), [(-0.03, -0.01, "clear of zero."), (-0.03, 0.01, "not clear of zero")]
)
def test_a_stored_paired_difference_speaks_in_place_of_two_intervals(low, high, words):
    scores = {"MatrixFactorization": interval(0.99), "BiasModel": interval(1.0)}
    differences = {"MatrixFactorization": {"value": -0.01, "low": low, "high": high}}
    report = {"scores": scores, "differences": differences, "baseline": "BiasModel"}
    detail = verdict(build_model(report=report)).detail
    assert f"differs from BiasModel's by -0.0100 [{low:+.4f}, {high:+.4f}]" in detail.replace("−", "-")
    assert words in detail
    for broken in (
        {"baseline": "GlobalMean"},
        {"differences": 3},
        {"differences": {"MatrixFactorization": {}}},
    ):
        assert "intervals overlap" in verdict(build_model(report=report | broken)).detail


def test_a_variant_of_the_model_is_no_baseline():
    scores = {
        "MatrixFactorization": interval(0.9),
        "MatrixFactorization, sigmoid": interval(0.8),
        "BiasModel": interval(1.0),
    }
    assert verdict(build_model(report={"scores": scores})).headline == "10.0% less error than BiasModel"


def test_a_model_measured_alone_is_not_called_better():
    found = verdict(build_model(report={"scores": {"MatrixFactorization": interval(0.9)}}))
    assert found.better is None
    assert found.headline.startswith("RMSE 0.9000")


def test_without_scores_the_inner_validation_part_speaks_with_its_caveat():
    found = verdict(build_model())
    assert found.better is None
    assert found.headline == "RMSE 0.9100 on the inner validation part"
    assert "flatters" in found.detail


def test_with_nothing_measured_the_verdict_says_so():
    model = build_model()
    model.history_ = History((), 0, "closed form")
    assert verdict(model).headline == "No score on held-out ratings is stored with this model"


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        {},
        {"rmse": 0.9},
        {"rmse": {"low": 1}},
        {"rmse": {"value": True}},
        {"rmse": {"value": float("nan")}},
    ],
)
def test_a_score_that_cannot_be_read_is_left_out(value):
    found = stored_scores({"scores": {"A": value, "B": interval(1.0)}})
    assert [score.name for score in found] == ["B"]


def test_scores_come_with_the_smallest_error_first():
    found = stored_scores({"scores": {"A": interval(2.0), "B": interval(1.0), "C": {"rmse": {"value": 1.5}}}})
    assert [(score.name, score.low, score.high) for score in found] == [
        ("B", 0.99, 1.01),
        ("C", 1.5, 1.5),
        ("A", 1.99, 2.01),
    ]
