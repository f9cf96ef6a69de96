"""Comparison tables as text: the numbers of the comparison, in three forms that their readers take."""

from __future__ import annotations

import csv

import pytest

import bilinear
from bilinear.errors import ParameterValueError

SPLIT = bilinear.split_random(bilinear.synthetic_ratings(40, 30, 500, rng=0), rng=0)


@pytest.fixture(scope="module")
def rankings() -> bilinear.evaluation.compare.Comparison:
    models = {"popular_1": bilinear.Popularity(), "knn": bilinear.ItemKNN()}
    return bilinear.compare({name: model.fit(SPLIT.train) for name, model in models.items()}, SPLIT)


def test_csv_has_every_number_of_a_ranking_with_its_paired_difference(rankings) -> None:
    rows = list(csv.DictReader(bilinear.format_table(rankings, "csv").splitlines()))
    assert len(rows) == sum(len(scores.means) for scores in rankings.scores.values())
    for row in rows:
        mean = rankings.scores[row["model"]].means[row["metric"]]
        assert [float(row[name]) for name in ("value", "low", "high")] == [mean.value, mean.low, mean.high]
        if row["model"] == "knn":
            assert float(row["difference"]) == rankings.differences["knn"][row["metric"]].value
        else:
            assert row["difference"] == ""


def test_errors_of_ratings_have_the_difference_of_the_rmse() -> None:
    models = {"mean": bilinear.GlobalMean(), "biases": bilinear.BiasModel(l2_biases=1.0)}
    found = bilinear.measure(models, SPLIT, baseline="mean")
    rows = {
        (row["model"], row["metric"]): row
        for row in csv.DictReader(bilinear.format_table(found, "csv").splitlines())
    }
    assert set(rows) == {(model, metric) for model in models for metric in ("rmse", "mae")}
    assert float(rows["biases", "rmse"]["difference"]) == found.differences["biases"].value
    assert rows["biases", "mae"]["difference"] == ""


def test_latex_and_markdown_show_scores_with_intervals(rankings) -> None:
    shown = str(rankings.scores["knn"].means["ndcg@10"])
    latex = bilinear.format_table(rankings, "latex", ["ndcg@10"])
    assert f"knn & {shown} \\\\" in latex
    assert "popular\\_1 &" in latex
    assert latex.count(r"\\") == 3
    assert f"| knn | {shown} |" in bilinear.format_table(rankings, "markdown", ["ndcg@10"])


def test_what_is_not_there_is_refused_with_what_is(rankings) -> None:
    with pytest.raises(ParameterValueError, match=r"no metric 'rmse' .* there are .*ndcg@10"):
        bilinear.format_table(rankings, "latex", ["rmse"])
    with pytest.raises(ParameterValueError, match="\"csv\", got 'html'"):
        bilinear.format_table(rankings, "html")  # type: ignore[arg-type]
