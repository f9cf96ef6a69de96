"""Bilinear, not linear; not convex, but halves are: on models where the answer is known."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from lab_cases import SETTINGS, random_objective, random_parameters, random_table

from bilinear.errors import ParameterValueError
from bilinear.lab import (
    Problem,
    convex_band,
    factor_slice,
    interaction_share,
    measure_convexity,
    measure_linearity,
    one_hot_differences,
    plane_slice,
    table_share,
)
from bilinear.lab.convexity import convex_share_of_scores
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import second_derivative
from bilinear.objective.penalties import L2


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


def dense_scores(parameters: Parameters) -> np.ndarray:
    return (
        parameters.global_mean
        + parameters.user_biases[:, None]
        + parameters.item_biases
        + parameters.user_factors @ parameters.item_factors.T
    )


def test_a_model_with_factors_is_bilinear_and_not_linear(rng: np.random.Generator) -> None:
    table = random_table(rng, 30, 20)
    parameters = random_parameters(table.shape, 4, rng).astype(np.float32)
    found = measure_linearity(parameters, Identity(0.5, 5.0), table)
    assert found.same_as_one_hot
    assert found.n_rows == table.n_ratings
    assert found.bilinear
    assert not found.linear
    assert max(found.user_affine, found.item_affine, found.mixed_difference) < 1e-12
    assert found.jointly_linear > 0.1
    assert 0.05 < found.share_before_link < 1
    assert found.bias_share_before_link < 1e-28
    assert found.to_dict()["bilinear"] is True
    assert "bilinear" in str(found)


def test_a_bias_model_is_linear_until_the_sigmoid(rng: np.random.Generator) -> None:
    table = random_table(rng, 30, 20)
    parameters = random_parameters(table.shape, 0, rng, size=1.0)
    found = measure_linearity(parameters, Sigmoid(0.0, 5.5), table)
    assert found.linear
    assert found.share_before_link == 0
    assert found.jointly_linear < 1e-12
    assert 0.003 < found.share_after_link < 0.2
    assert found.share_after_link == found.bias_share_after_link


def test_one_hot_comparison_can_fail(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("bilinear.lab.linearity")
    parameters = random_parameters((5, 4), 3, rng)
    users, items = np.array([0, 1, 4]), np.array([3, 0, 2])
    assert one_hot_differences(parameters, users, items) == 0
    monkeypatch.setattr(
        module, "score_one_hot", lambda p, x, y: module.score_rows(p, users, items) * (1 + 1e-15)
    )
    assert one_hot_differences(parameters, users, items) > 0


def test_interaction_share_is_that_of_the_dense_table(rng: np.random.Generator) -> None:
    parameters = random_parameters((13, 9), 3, rng)
    assert interaction_share(parameters) == pytest.approx(table_share(dense_scores(parameters)))
    assert interaction_share(Parameters.zeros((3, 3), 2)) == 0
    centred = random_parameters((13, 9), 3, rng, size=1.0)
    u = centred.user_factors - centred.user_factors.mean(0)
    v = centred.item_factors - centred.item_factors.mean(0)
    pure = Parameters(1.0, np.zeros(13), np.zeros(9), u, v)
    assert interaction_share(pure) == pytest.approx(1)


def test_no_ratings_to_look_at_is_an_error(rng: np.random.Generator) -> None:
    table = random_table(rng)
    with pytest.raises(ParameterValueError, match="expected at least one interaction"):
        measure_linearity(Parameters.zeros(table.shape, 1), Identity(0, 1), table.take(np.arange(0)))


@pytest.mark.parametrize(
    ("fraction", "low", "high"), [(0.0, 0.0, 2 / 3), (0.5, 0.2113249, 0.7886751), (1.0, 1 / 3, 1.0)]
)
def test_convex_band_of_squared_error_after_a_sigmoid(fraction: float, low: float, high: float) -> None:
    band = convex_band(fraction)
    assert (band.low, band.high) == pytest.approx((low, high), abs=1e-7)
    loss, link = SETTINGS["sigmoid squared"]
    scores = np.linspace(-6, 6, 4001)
    ratings = np.full(4001, 5.5 * fraction)
    shares = 1 / (1 + np.exp(-scores))
    convex = second_derivative(loss, scores, ratings, link) >= 0
    assert ((shares >= low) & (shares <= high) == convex).mean() > 0.999
    assert convex_share_of_scores(loss, link, scores, ratings) == pytest.approx(convex.mean(), abs=1e-3)


def test_a_single_bias_under_two_losses() -> None:
    """y = .05 at offset +2 and y = .95 at -2, l2 .05: two minima for MSE, one for cross-entropy."""
    from scipy.optimize import minimize_scalar

    link = Sigmoid(0.0, 1.0)
    offsets, ratings = np.array([2.0, -2.0]), np.array([0.05, 0.95])
    grid = np.linspace(-6, 6, 2001)

    def minima(name: str) -> list[float]:
        loss = SETTINGS[name][0]

        def value(z: float) -> float:
            return float(loss.value(offsets + z, ratings, link).sum() + 0.05 / 2 * z * z)

        values = np.array([value(z) for z in grid])
        at = np.flatnonzero((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])) + 1
        return [
            float(minimize_scalar(value, bounds=(grid[n - 1], grid[n + 1]), method="bounded").x) for n in at
        ]

    assert minima("sigmoid squared") == pytest.approx([-1.96, 1.96], abs=5e-3)
    assert minima("cross-entropy") == pytest.approx([0], abs=1e-5)


@pytest.mark.parametrize("name", ["squared", "cross-entropy"])
def test_a_useful_model_is_its_own_witness_and_its_halves_are_convex(
    name: str, rng: np.random.Generator
) -> None:
    from bilinear.lab.numerics.polish import polish

    objective = random_objective(name, rng, L2(0.1, 0.1, 0.5), n_users=15, n_items=12)
    problem = Problem.of(objective, 0.3)
    at = polish(problem, rng.standard_normal(problem.size(3))).at
    found = measure_convexity(problem, at)
    assert found.witnessed
    assert found.loss == pytest.approx(found.loss_flipped, rel=1e-12)
    assert found.loss_between > found.loss
    assert found.halves_convex
    assert found.share_in_band == 1
    assert found.convex_in_score
    assert found.n_half_chords == 2 * found.n_chords
    assert "not convex" in str(found)


def test_half_problems_after_a_sigmoid_with_squares_are_not_convex(rng: np.random.Generator) -> None:
    objective = random_objective("sigmoid squared", rng, L2(0.01, 0.01, 0.0), n_users=15, n_items=12)
    problem = Problem.of(objective, 0.0)
    found = measure_convexity(problem, 3 * rng.standard_normal(problem.size(2)), n_chords=100)
    assert found.share_in_band < 1
    assert found.n_half_above > 0
    assert not found.halves_convex


def test_a_bias_only_model_is_no_witness(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("squared", rng), 0.3)
    found = measure_convexity(problem, rng.standard_normal(problem.size(0)))
    assert not found.witnessed
    assert found.n_above == 0
    assert found.loss_between == found.loss


def test_slices_are_the_objective(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("sigmoid squared", rng), 0.3, free_mean=True)
    origin, first, second = rng.standard_normal((3, problem.size(2)))
    a, b = np.linspace(-1, 1, 4), np.linspace(-2, 2, 5)
    found = plane_slice(problem, origin, first, second, a, b)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            expected = problem.value(origin + x * first + y * second)
            assert found.values[i, j] == pytest.approx(expected, rel=1e-12)
    own = factor_slice(problem, origin, reach=1.0, n=3)
    assert own.values[2, 2] == pytest.approx(problem.value(origin))
    np.testing.assert_allclose(own.values, own.values[::-1, ::-1], rtol=1e-12)
