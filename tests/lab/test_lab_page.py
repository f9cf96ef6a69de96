"""Reports on every kind of model, their pages, and that nothing is changed by looking."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import planted_table

import bilinear
from bilinear import lab
from bilinear.data.interactions import Interactions
from bilinear.errors import DataError, ParameterValueError
from bilinear.estimators.ease import EASE
from bilinear.estimators.graph_filter import GraphFilter
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.item_knn import ItemKNN
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.inspection.charts import dots, intervals, lines
from bilinear.lab.reporting.matching import match_ratings

FIXED: dict[str, Any] = {"n_factors": 3, "l2": 0.5, "l2_biases": 0.5, "validation_fraction": 0, "rng": 0}
UNUSUAL = ("Hessian", "eigenvalue", "singular", "spectral", "dual", "stationary", "Lanczos")

MODELS: dict[str, Callable[[], Any]] = {
    "squared": lambda: bilinear.MatrixFactorization(**FIXED),
    "sigmoid": lambda: bilinear.MatrixFactorization(link=bilinear.Sigmoid(), **FIXED),
    "cross-entropy": lambda: bilinear.MatrixFactorization(
        link=bilinear.Sigmoid(), loss=bilinear.CrossEntropy(), **FIXED
    ),
    "mini-batches of Adam": lambda: bilinear.MatrixFactorization(
        solver=bilinear.MiniBatch(n_epochs=2), **FIXED
    ),
    "decoupled decay": lambda: bilinear.MatrixFactorization(
        solver=bilinear.MiniBatch(optimizer=bilinear.AdamW(weight_decay=0.1), n_epochs=2), **FIXED
    ),
    "plain penalty": lambda: bilinear.MatrixFactorization(l2_exponent=0.0, **FIXED),
    "penalty by count": lambda: bilinear.MatrixFactorization(l2_exponent=1.0, **FIXED),
    "no penalty": lambda: bilinear.MatrixFactorization(**FIXED | {"l2": 0.0}),
    "no factors": lambda: bilinear.MatrixFactorization(**FIXED | {"n_factors": 0}),
    "biases": lambda: bilinear.BiasModel(l2_biases=0.5),
    "ImplicitALS": lambda: ImplicitALS(n_factors=3, rng=0),
    "EASE": EASE,
    "Popularity": Popularity,
    "ItemKNN": ItemKNN,
    "RandomWalk": RandomWalk,
    "GraphFilter": GraphFilter,
}


@pytest.fixture(scope="module")
def table() -> Interactions:
    return planted_table(30, 20, seed=5)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_reported_on_and_keeps_every_byte(
    name: str, table: Interactions, tmp_path: Path
) -> None:
    model = MODELS[name]().fit(table)
    model.save(tmp_path / "before")
    attributes = set(vars(model))
    columns = [column.tobytes() for column in (table.users, table.items, table.ratings)]
    found = lab.report(model, table, max_products=60)
    found.to_html(tmp_path / "lab.html")
    assert set(vars(model)) == attributes
    model.save(tmp_path / "after")
    assert files_of(tmp_path / "before") == files_of(tmp_path / "after")
    assert columns == [column.tobytes() for column in (table.users, table.items, table.ratings)]

    assert [section.name for section in found.sections] == list(lab.instruments())
    assert [section.question[-1] for section in found.sections] == ["?"] * 7
    for section in found.sections:
        assert section.answer.endswith(".")
        assert not section.next_step.endswith(".")
        assert "gradient" not in section.answer + section.next_step
        for word in UNUSUAL:
            assert word not in section.answer + section.next_step + "".join(what for what, _ in section.facts)
    json.dumps(found.to_dict(), allow_nan=False)
    page = (tmp_path / "lab.html").read_text()
    assert page.count("What to do next:") == 7
    assert "nan" not in page.replace("nance", "").lower()
    assert "://" not in page


def test_ranking_models_say_what_cannot_be_said(table: Interactions) -> None:
    als = lab.report(ImplicitALS(n_factors=3, rng=0).fit(table), table)
    assert als.verdict is None
    assert als["optimality"].measured is None
    assert "cannot say" in als["endpoint"].answer
    assert als["linearity"].measured is not None
    assert "bilinear" in als["linearity"].answer
    ease = lab.report(EASE().fit(table), table)
    assert "by construction" in ease["optimality"].answer
    assert ease["linearity"].measured is None
    with pytest.raises(ParameterValueError, match="leave them out"):
        lab.report(EASE().fit(table), table, n_seeds=2)


def test_held_out_ratings_in_the_same_table_are_found(table: Interactions) -> None:
    rows = np.random.default_rng(0).permutation(table.n_ratings)
    train, rest = table.take(rows[20:]), table.take(rows[:20])
    model = bilinear.MatrixFactorization(**FIXED).fit(train)
    matched = match_ratings(model, table)
    assert matched.exact
    assert matched.held_out is not None
    assert matched.held_out.n_ratings == 20
    found = lab.report(model, table, max_products=5)["generalisation"]
    assert found.evidence["test_rmse"] == pytest.approx(model.evaluate(rest).rmse.value)
    given = lab.report(model, train, test=rest, max_products=5)["generalisation"]
    assert given.evidence["test_rmse"] == found.evidence["test_rmse"]


def test_a_part_of_the_training_ratings_is_noted(table: Interactions) -> None:
    model = bilinear.MatrixFactorization(**FIXED).fit(table)
    part = table.take(np.arange(table.n_ratings - 7))
    matched = match_ratings(model, part)
    assert (matched.n_missing, matched.n_extra, matched.n_changed) == (7, 0, 0)
    assert "7 training ratings are missing" in lab.report(model, part, max_products=5)["endpoint"].answer


def test_ratings_of_other_pairs_are_refused(table: Interactions) -> None:
    rows = np.random.default_rng(1).permutation(table.n_ratings)
    half = table.n_ratings // 2
    model = bilinear.MatrixFactorization(**FIXED).fit(table.take(rows[:half]))
    with pytest.raises(DataError, match="only 0 are of pairs"):
        match_ratings(model, table.take(rows[half:]))


def test_clicks_have_no_rating_to_measure(table: Interactions) -> None:
    model = bilinear.MatrixFactorization(**FIXED).fit(table)
    clicks = Interactions.from_rows(
        table.users,
        table.items,
        np.ones(table.n_ratings),
        None,
        table.user_vocabulary,
        table.item_vocabulary,
        has_ratings=False,
    )
    with pytest.raises(ParameterValueError, match="expected a column of ratings"):
        lab.report(model, clicks)


def test_a_certified_model_is_reported_as_such(table: Interactions, tmp_path: Path) -> None:
    found = lab.certify(table, penalty=lab.L2(0.8, 0.5, 0.5))
    model = found.to_model()
    model.save(tmp_path / "best")
    loaded = bilinear.load(tmp_path / "best")
    report = lab.report(loaded, table)
    assert report.verdict == "certified global"
    certificate = report["optimality"].measured
    assert certificate.relative_gap <= 1e-6
    assert certificate.loss == pytest.approx(found.certificate.loss, rel=1e-6)
    np.testing.assert_allclose(
        loaded.predict_rows(table.users, table.items),
        found.objective.link.prediction(
            lab.Problem.of(found.objective, found.parameters.global_mean).scores(
                lab.Problem.of(found.objective, found.parameters.global_mean).pack(found.parameters)
            )
        ),
        atol=1e-5,
    )
    assert len(loaded.history_.epochs) == len(found.rounds)
    again = loaded.retrain(table)
    assert again.evaluate(table).rmse.value < float(table.ratings.std())


def test_nothing_is_certified_of_what_training_did_not_minimise(table: Interactions) -> None:
    model = lab.certify(table, penalty=lab.L2(0.8, 0.5, 0.5)).to_model()
    model.solver_ = bilinear.MiniBatch(optimizer=bilinear.AdamW(weight_decay=0.1), n_epochs=2)
    found = lab.report(model, table)
    assert "Nothing is certified" in found.headline
    assert "Nothing is certified" in found["optimality"].answer
    assert "not what training minimised" in found["optimality"].answer


def test_an_interrupted_control_is_no_control(table: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bilinear.MatrixFactorization(**FIXED).fit(table)

    def interrupted(self: bilinear.MatrixFactorization, interactions: Interactions) -> Any:
        self.history_ = replace(self.history_, ended="interrupted")
        return self

    monkeypatch.setattr(bilinear.MatrixFactorization, "retrain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.permuted_control(model, table)
    assert model.history_.ended != "interrupted"


def test_study_holds_out_the_latest_ratings(table: Interactions) -> None:
    times = np.arange(table.n_ratings, dtype=np.float64)[::-1]
    timed = Interactions.from_rows(
        table.users, table.items, table.ratings, times, table.user_vocabulary, table.item_vocabulary
    )
    model = bilinear.MatrixFactorization(**FIXED).fit(timed)
    found = lab.held_out_study(model, timed)
    assert "later than all others" in found.how
    assert len(found.epochs) == len(model.history_.epochs)
    train = [point.train for point in found.epochs]
    assert train[-1] < train[0]
    assert all(point.train < point.held_out for point in found.epochs[-3:])
    assert found.best_epoch == 1 + int(np.argmin([point.held_out for point in found.epochs]))
    assert [point.at for point in found.sizes] == sorted({0, 1, 2, 4, 3, 6})
    assert found.penalties is not None
    assert all(point.later_rmse is not None for point in found.penalties.points)
    without = lab.held_out_study(model, table)
    assert without.epochs[0].later is None
    assert "later" not in without.how


def test_pictures_leave_out_what_cannot_be_drawn() -> None:
    assert lines({"a": [(1.0, float("nan"))]}, "", "", "") == ""
    assert dots({"a": [float("inf")]}, "", "") == ""
    assert intervals({}, "") == ""
    drawn = intervals({"<b>": (0.5, 0.25, 0.75), "point": (1.0, 1.0, 1.0)}, "what", "{:.2f}")
    assert "&lt;b&gt;: 0.50, 0.25, 0.75; point: 1.00, 1.00, 1.00" in drawn
    assert drawn.count('class="at"') == 2
    assert drawn.count('class="grid"') >= 3  # a scale
    assert '<circle class="mark"' in lines({"a": [(1.0, 3.0), (2.0, 2.0)]}, "", "", "epoch", marked=2)
    drawn = lines({"<b>": [(1.0, 2.0), (10.0, 3.0)], "c": [(1.0, 1.0)]}, "what", "label", "x", log_x=True)
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn
    assert dots({"a": [1.0, 2.0], "b": [3.0]}, "what", "label").count("<circle") == 3
