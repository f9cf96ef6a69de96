"""Generalisation measured on planted truth, and the report: complete, plain, and without side effects."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from lab_cases import HIDDEN, table_of

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.rating_model import RatingModel
from bilinear.lab import (
    effective_rank,
    factor_curve,
    instruments,
    l2_curve,
    objective_mismatch,
    permuted_control,
    report,
)
from bilinear.lab.numerics.summaries import rmse
from bilinear.model.link import Identity, Link, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.gibbs import Gibbs
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam, AdamW, WeightDecay
from bilinear.training.sgd import SGD


def planted(
    n: int = 60, rank: int = 3, share: float = 0.4, noise: float = 0.5
) -> tuple[Interactions, Interactions]:
    """(train, test) of a planted low-rank matrix with noise, on one vocabulary."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    observed = truth + noise * rng.standard_normal((n, n))
    seen = rng.random((n, n)) < share
    full = table_of(observed)
    return full.take(seen.ravel()), full.take(~seen.ravel())


@pytest.fixture(scope="module")
def ratings() -> Interactions:
    rng = np.random.default_rng(1)
    scores = 3 + rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30)) * 0.6
    mask = rng.random(scores.shape) < 0.5
    return table_of(np.where(mask, np.clip(np.round(2 * scores) / 2, 0.5, 5), HIDDEN))


def fitted(ratings: Interactions, **arguments: object) -> MatrixFactorization:
    settings = {"n_factors": 3, "l2": 0.5, "l2_biases": 0.5, "validation_fraction": 0, "rng": 0}
    return MatrixFactorization(**{**settings, **arguments}).fit(ratings)


@pytest.fixture(scope="module")
def model(ratings: Interactions) -> MatrixFactorization:
    return fitted(ratings)


def test_effective_rank_of_known_spectra() -> None:
    u = np.eye(6)[:, :4]
    zeros = np.zeros(6)
    assert effective_rank(Parameters(0.0, zeros, zeros, u, u)) == pytest.approx(4)
    assert effective_rank(Parameters(0.0, zeros, zeros, u * [1, 0, 0, 0], u)) == pytest.approx(1)
    assert effective_rank(Parameters.zeros((6, 6), 3)) == 0


def test_the_global_optimum_is_not_the_best_model() -> None:
    """Planted 60 x 60, rank 3, noise .5: little L2 is far from certified and predicts badly, much L2 is
    certified and predicts badly, and the best lies at the scale of the noise."""
    train, test = planted()
    objective = Objective(SquaredError(), Identity(-99.0, 99.0), L2(1.0, 1e9, 0.0), train)
    curve = l2_curve(objective, test, (0.1, 1, 2, 3, 4, 6, 14), 10)
    by_l2 = {point.l2: point for point in curve.points}
    noise = (np.sqrt(60) + np.sqrt(60)) * np.sqrt(0.4) * 0.5
    assert 0.4 * noise <= curve.best.l2 <= 1.2 * noise
    assert curve.best.test_rmse < 0.75
    assert by_l2[0.1].test_rmse > 1.3 * curve.best.test_rmse
    assert by_l2[0.1].ratio > 2
    assert by_l2[6].relative_gap < 1e-3
    assert by_l2[14] in curve.certified_worse
    train_errors = [point.train_rmse for point in curve.points]
    assert train_errors == sorted(train_errors, reverse=True)
    assert "<- best" in str(curve)
    json.dumps(curve.to_dict(), allow_nan=False)
    with pytest.raises(ParameterValueError, match=r"l2s: .* got none"):
        l2_curve(objective, test, (), 3)


def test_columns_of_rounding_size_count_in_no_rank() -> None:
    train, test = planted()
    objective = Objective(SquaredError(), Identity(-99.0, 99.0), L2(1.0, 1e9, 0.0), train)
    much, planted_size = l2_curve(objective, test, (300, 6), 10).points
    assert much.ratio < 1
    assert much.rank == 0
    assert planted_size.rank == 3


def test_shuffled_ratings_show_memorising(model: MatrixFactorization, ratings: Interactions) -> None:
    found = permuted_control(model, ratings, ratings)
    assert found.train_rmse < found.permuted_train_rmse < found.mean_train_rmse
    assert 0 < found.memorised < 1
    assert found.learned is not None
    assert found.learned > found.memorised
    assert found.permuted_test_rmse is not None
    assert found.permuted_test_rmse > found.permuted_train_rmse
    assert permuted_control(model, ratings).learned is None


def test_factor_curve_calls_fit_for_each_size(ratings: Interactions) -> None:
    def fit(size: int) -> tuple[Parameters, Link]:
        made = fitted(ratings, n_factors=size)
        return made.parameters_, made.link_

    rows = factor_curve(fit, ratings, ratings, (0, 2))
    assert [row[0] for row in rows] == [0, 2]
    assert rows[1][1] < rows[0][1]
    assert rows[0][3] == 0


def assert_same_model(one: RatingModel, two: RatingModel) -> None:
    assert vars(one).keys() == vars(two).keys()
    for name, array in one.parameters_.arrays().items():
        np.testing.assert_array_equal(array, two.parameters_.arrays()[name])
    for name in ("link_", "loss_", "penalty_", "history_", "seed_", "source_"):
        assert getattr(one, name) == getattr(two, name)


def test_report_is_complete_plain_and_changes_nothing(
    model: MatrixFactorization, ratings: Interactions
) -> None:
    before = copy(model)
    before.parameters_ = model.parameters_.copy()
    found = report(model, ratings, test=ratings, n_seeds=2, control=True)
    assert_same_model(model, before)
    questions = [section.question for section in found.sections]
    assert questions[0] == "Where did training end?"
    assert questions[1] == "How far from the global optimum?"
    assert questions[-1] == "Is it a linear model?"
    assert [section.name for section in found.sections] == list(instruments())
    for section in found.sections:
        assert section.answer.endswith(".")
        assert section.next_step
        for word in ("Hessian", "eigenvalue", "singular", "gradient", "spectral"):
            assert word not in section.answer + section.next_step
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["verdict"] == found.verdict
    assert str(found).startswith(found.headline)
    assert found["optimality"].measured.gap > 0
    assert len(found["seeds"].measured.losses) == 2
    assert found["generalisation"].measured["permuted"] is not None
    with pytest.raises(KeyError, match="'nothing'; this report has endpoint, optimality"):
        found["nothing"]


def test_report_reads_ratings_in_any_order(model: MatrixFactorization, ratings: Interactions) -> None:
    order = np.random.default_rng(0).permutation(ratings.n_ratings)
    other = Interactions.from_columns(
        ratings.user_vocabulary.decode(ratings.users[order]),
        ratings.item_vocabulary.decode(ratings.items[order]),
        ratings.ratings[order],
    )
    assert report(model, other).to_dict() == report(model, ratings).to_dict()
    assert "not the ratings" not in str(report(model, other))


def test_report_of_a_bias_model(ratings: Interactions) -> None:
    found = report(BiasModel(l2_biases=0.8).fit(ratings), ratings)
    assert found.verdict == "certified global"
    assert found["linearity"].measured.linear
    assert not found["convexity"].measured.witnessed
    assert "Not measured" in found["seeds"].answer


def test_report_after_a_sigmoid_says_that_nothing_is_certified(ratings: Interactions) -> None:
    found = report(fitted(ratings, link=Sigmoid()), ratings)
    assert "No bound is known" in found["optimality"].answer
    linearity = found["linearity"].measured
    assert linearity.share_after_link != linearity.share_before_link


def test_a_model_without_l2_is_not_certified(ratings: Interactions) -> None:
    found = report(fitted(ratings, l2=0.0), ratings, max_products=200)
    assert found["optimality"].measured.refusal is not None
    assert "No bound is known" in found["optimality"].answer


@pytest.mark.parametrize(
    "solver",
    [
        MiniBatch(optimizer=AdamW(weight_decay=0.1), n_epochs=2),
        MiniBatch(optimizer=Adam(), weight_decay=WeightDecay(0.1), n_epochs=2),
    ],
)
def test_decoupled_decay_is_never_certified(solver: MiniBatch, ratings: Interactions) -> None:
    made = fitted(ratings, solver=solver)
    assert "decoupled" in (objective_mismatch(made) or "")
    found = report(made, ratings, max_products=200)
    assert "decoupled" in found["endpoint"].answer
    assert "not what training minimised" in found["optimality"].answer


def test_other_solvers_minimise_the_objective(model: MatrixFactorization, ratings: Interactions) -> None:
    assert objective_mismatch(model) is None
    assert objective_mismatch(fitted(ratings, solver=MiniBatch(n_epochs=1))) is None
    assert objective_mismatch(fitted(ratings, solver=SGD(n_epochs=1))) is None
    changing = MiniBatch(n_epochs=1, l2_schedule=lambda progress: 1 - progress)
    assert "scheduled to change" in (objective_mismatch(fitted(ratings, solver=changing)) or "")


def test_the_mean_of_a_posterior_is_not_judged_as_a_minimum(ratings: Interactions) -> None:
    solver = Gibbs(n_epochs=10, burn_in=5, n_draws=5)
    model = MatrixFactorization(n_factors=3, solver=solver, rng=0).fit(ratings)
    result = report(model, ratings)
    for name in ("endpoint", "optimality", "convexity"):
        assert "posterior" in result[name].answer, name
        assert "loss" not in result[name].evidence, name
    assert not any("global" in section.answer for section in result.sections)


def test_the_first_verdict_of_a_posterior_is_the_error_of_its_own_report(ratings: Interactions) -> None:
    model = MatrixFactorization(n_factors=3, solver=Gibbs(n_epochs=10, burn_in=5, n_draws=5), rng=0).fit(
        ratings
    )
    name = type(model).__name__
    model.report_ = {"scores": {name: {"rmse": {"value": 0.87654, "low": 0.8, "high": 0.95}}}}
    for largest, words, tone in (
        (1.1, "its chain has converged.", "good"),
        (1.3, "its chain has not converged yet.", "open"),
    ):
        model.history_ = replace(model.history_, diagnostics={"noise": 1.0, "predictions": largest})
        found = report(model, ratings, only=["endpoint"])
        assert found.headline == f"Held-out RMSE 0.8765 in the model's own report; {words}"
        assert found.sections[0].tone == tone
        assert ("held-out RMSE in the model's own report", "0.8765 [0.8000, 0.9500]") in found[
            "endpoint"
        ].facts


def test_what_cannot_be_reported_on_is_refused(model: MatrixFactorization, ratings: Interactions) -> None:
    with pytest.raises(ParameterValueError, match="got GlobalMean"):
        report(GlobalMean().fit(ratings), ratings)
    with pytest.raises(ParameterValueError, match="got object"):
        report(object(), ratings)  # type: ignore[arg-type]
    with pytest.raises(ParameterValueError, match=r"n_seeds: .* got 1"):
        report(model, ratings, n_seeds=1)
    strangers = Interactions.from_columns([900, 901], [0, 1], [1.0, 2.0])
    with pytest.raises(ParameterValueError, match="does not know"):
        report(model, strangers)
    with pytest.raises(ParameterValueError, match="no ratings"):
        report(model, ratings.take(np.arange(0)))
    other = replace(ratings, ratings=ratings.ratings[::-1].copy())
    assert "not the ratings" in report(model, other)["endpoint"].answer


def test_training_error_agrees_with_the_models_own(model: MatrixFactorization, ratings: Interactions) -> None:
    found = model.evaluate(ratings).rmse.value
    assert rmse(model.parameters_, model.link_, ratings) == pytest.approx(found, rel=1e-6)
