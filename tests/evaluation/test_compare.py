"""Comparisons: the same users for all, differences paired, unfair tables refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ranking_cases import Scorer, clicks, random_parts

from bilinear.errors import DataError, ParameterValueError
from bilinear.evaluation.compare import Comparison, compare, paired_differences
from bilinear.evaluation.ranking import RankingProtocol, evaluate_ranking

TRAIN, TEST = random_parts(300, 80)
RNG = np.random.default_rng(3)
TRUTH = RNG.normal(size=(300, 80))
TRUTH[TEST.users, TEST.items] += 1
MODELS = {
    "good": Scorer(TRAIN, TRUTH),
    "same": Scorer(TRAIN, TRUTH.copy()),
    "noisy": Scorer(TRAIN, TRUTH + 0.7 * RNG.normal(size=TRUTH.shape)),
    "chance": Scorer(TRAIN, RNG.normal(size=TRUTH.shape)),
}
PROTOCOL = RankingProtocol((10, 25))


def test_each_model_has_the_scores_of_its_own_evaluation():
    found = compare(MODELS, TEST, PROTOCOL)
    for name, model in MODELS.items():
        assert found.scores[name].to_dict() == evaluate_ranking(model, TEST, PROTOCOL).to_dict()
    assert list(found.scores) == list(MODELS)
    assert found.baseline == "good"
    assert set(found.differences) == set(MODELS) - {"good"}


def test_differences_are_those_of_the_means():
    found = compare(MODELS, TEST, PROTOCOL, baseline="noisy")
    for name, differences in found.differences.items():
        for metric, by in differences.items():
            expected = found.scores[name][metric] - found.scores["noisy"][metric]
            assert by.value == pytest.approx(expected, abs=1e-12)
            assert by.low <= by.value <= by.high


def test_equal_models_differ_by_exactly_nothing():
    by = compare(MODELS, TEST, PROTOCOL).differences["same"]
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in by.values())


def test_the_interval_is_that_of_the_paired_mean():
    found = compare(MODELS, TEST, PROTOCOL)
    gaps = found.scores["noisy"].per_user["ndcg@10"] - found.scores["good"].per_user["ndcg@10"]
    half = 1.96 * gaps.std() / np.sqrt(len(gaps))
    by = found.differences["noisy"]["ndcg@10"]
    assert by.low == pytest.approx(gaps.mean() - half, abs=0.2 * half)
    assert by.high == pytest.approx(gaps.mean() + half, abs=0.2 * half)
    assert by.high < 0  # clear, although ...
    unpaired = found.scores["noisy"].means["ndcg@10"], found.scores["good"].means["ndcg@10"]
    assert by.high - by.low < sum(mean.high - mean.low for mean in unpaired)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    """Coverage of the bootstrap where the truth is known: two models that differ by 0.1 on average."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        base = rng.random(150)
        gaps = paired_differences({"m": base + rng.normal(0.1, 0.3, 150)}, {"m": base}, rng=trial)
        held += gaps["m"].low <= 0.1 <= gaps["m"].high
    assert 180 <= held <= 198  # 190 expected, standard deviation 3


def test_the_table_lists_models_and_marks_clear_differences():
    found = compare(MODELS, TEST, PROTOCOL)
    text = str(found)
    scores, differences = text.split("\n\n")[1:3]
    assert [line.split()[0] for line in scores.splitlines()[1:]] == list(MODELS)
    assert scores.splitlines()[0].split() == ["recall@25", "ndcg@25", "coverage@25"]
    rows = {line.split()[0]: line for line in differences.splitlines()[1:4]}
    assert rows["chance"].count("*") == 2
    assert rows["same"].count("*") == 0
    assert text.startswith("full ranking of 80 items")
    assert "less good" in differences
    assert len({len(line.rstrip("* ")) for line in scores.splitlines()[1:]}) == 1


def test_metrics_of_the_table_can_be_chosen():
    found = compare(MODELS, TEST, PROTOCOL)
    assert found.table(["mrr@10", "gini@10"]).splitlines()[0].split() == ["mrr@10", "gini@10"]
    with pytest.raises(ParameterValueError, match="no metric 'mrr@11'"):
        found.table(["mrr@11"])


def test_a_single_model_makes_a_table_without_differences():
    found = compare({"good": MODELS["good"]}, TEST, PROTOCOL)
    assert not found.differences
    assert "less" not in found.table()


def test_a_model_that_was_trained_on_test_pairs_is_refused():
    leaky = Scorer(TEST, TRUTH)
    with pytest.raises(DataError, match="'leaky' was trained on"):
        compare({"good": MODELS["good"], "leaky": leaky}, TEST, RankingProtocol((10,), exclude_seen=False))
    one = (TEST.users[0], TEST.items[0])
    mixed = clicks([*zip(TRAIN.users, TRAIN.items, strict=True), one], 300, 80)
    with pytest.raises(DataError, match="'leaky' was trained on 1 of"):
        compare({"leaky": Scorer(mixed, TRUTH), "good": MODELS["good"]}, TEST, PROTOCOL)


def test_comparisons_survive_json():
    found = compare(MODELS, TEST, PROTOCOL)
    again = Comparison.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert str(again) == str(found)


def test_bad_arguments_are_refused():
    with pytest.raises(ParameterValueError, match="models by name"):
        compare([MODELS["good"]], TEST)
    with pytest.raises(ParameterValueError, match="models by name"):
        compare({}, TEST)
    with pytest.raises(ParameterValueError, match="none of the models"):
        compare(MODELS, TEST, baseline="best")


def test_sampled_comparisons_are_labelled():
    text = str(compare(MODELS, TEST, RankingProtocol((10,), n_negatives=20)))
    assert text.startswith("SAMPLED, not comparable with full ranking")
