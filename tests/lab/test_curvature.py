"""Second derivatives against finite differences, symmetries counted, spectra against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from lab_cases import (
    HIDDEN,
    SETTINGS,
    finite_difference_hessian,
    plain,
    random_objective,
    random_parameters,
    random_table,
)

from bilinear.errors import ParameterValueError
from bilinear.lab import (
    Hessian,
    Problem,
    Symmetries,
    balanced,
    hessian_vector_product,
    imbalance,
    relative_gradient,
    smallest_curvature,
)
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import second_derivative
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("name", SETTINGS)
def test_second_derivative_is_that_of_the_gradient(name: str) -> None:
    loss, link = SETTINGS[name]
    scores = np.linspace(-6, 6, 41)
    for rating in (0.5, 2.0, 5.0):
        ratings, step = np.full(41, rating), 1e-5
        expected = (
            loss.gradient(scores + step, ratings, link) - loss.gradient(scores - step, ratings, link)
        ) / (2 * step)
        found = second_derivative(loss, scores, ratings, link)
        np.testing.assert_allclose(found, expected, atol=1e-8)
        if name == "sigmoid squared":
            assert found.min() < 0


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_problem_agrees_with_objective(name: str, exponent: float, rng: np.random.Generator) -> None:
    objective = random_objective(name, rng, L2(0.7, 0.4, exponent))
    at = random_parameters(objective.interactions.shape, 3, rng)
    problem = Problem.of(objective, at.global_mean)
    vector = problem.pack(at)
    # The objective takes the fraction of a rating in float32, the lab in float64.
    close = 1e-6 if name == "cross-entropy" else 1e-12
    assert problem.value(vector) == pytest.approx(objective.value(at), rel=close)
    expected = objective.gradient(at)
    found = problem.parts(problem.gradient(vector))
    s, t = problem.user_scales, problem.item_scales
    np.testing.assert_allclose(found.user_biases * s, expected.user_biases, atol=close)
    np.testing.assert_allclose(found.item_factors * t[:, None], expected.item_factors, atol=close)
    back = problem.unpack(vector)
    for name_, array in at.arrays().items():
        np.testing.assert_allclose(back.arrays()[name_], array, rtol=1e-14)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("free_mean", [False, True])
def test_hessian_products_agree_with_finite_differences(
    name: str, free_mean: bool, rng: np.random.Generator
) -> None:
    objective = random_objective(name, rng)
    weights = rng.uniform(0.5, 2, objective.interactions.n_ratings)
    problem = Problem.of(objective, 0.3, free_mean=free_mean, weights=weights)
    at = problem.pack(random_parameters(problem.shape, 3, rng))
    hessian = Hessian(problem, at)
    found = np.array([hessian.times(axis) for axis in np.eye(len(at))])
    expected = finite_difference_hessian(problem, at)
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())
    np.testing.assert_allclose(found, found.T, atol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_product_on_parameters_agrees_with_finite_differences_of_the_objective(
    name: str, exponent: float, rng: np.random.Generator
) -> None:
    """In the coordinates of the model, rows without ratings included."""
    loss, link = SETTINGS[name]
    table = random_table(rng)
    part = table.take((table.users > 0) & (table.items > 1))
    objective = Objective(loss, link, L2(0.7, 0.4, exponent), part)
    at, direction = (random_parameters(table.shape, 2, rng) for _ in range(2))
    found = hessian_vector_product(objective, at, direction)
    step = 1e-5

    def moved(sign: float) -> Parameters:
        arrays = {name: array + sign * step * direction.arrays()[name] for name, array in at.arrays().items()}
        return objective.gradient(Parameters(at.global_mean, **arrays))

    up, down = moved(1).arrays(), moved(-1).arrays()
    for name_, array in found.arrays().items():
        np.testing.assert_allclose(array, (up[name_] - down[name_]) / (2 * step), atol=1e-6)
    with pytest.raises(ParameterValueError, match="shapes"):
        hessian_vector_product(objective, at, random_parameters(table.shape, 3, rng))


def test_diagonal_is_that_of_the_gauss_newton_matrix(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("cross-entropy", rng), 0.3, free_mean=True)
    at = problem.pack(random_parameters(problem.shape, 2, rng))
    hessian = Hessian(problem, at)
    dense = np.array([hessian.times(axis) for axis in np.eye(len(at))])
    np.testing.assert_allclose(hessian.diagonal(), np.diag(dense), rtol=1e-12)


@pytest.mark.parametrize("dense_below", [0, 10_000])
def test_smallest_curvature_at_origin_is_l2_minus_top_singular_value(dense_below: int) -> None:
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((9, 8)) < 0.7, rng.standard_normal((9, 8)), HIDDEN)
    problem = plain(matrix, 0.8)
    singular = np.linalg.svd(np.nan_to_num(matrix), compute_uv=False)
    found = smallest_curvature(problem, problem.zeros(3), dense_below=dense_below)
    assert found.converged
    assert found.n_symmetries == 0
    assert found.smallest == pytest.approx(0.8 - singular[0], abs=1e-6)
    assert found.largest == pytest.approx(0.8 + singular[0], rel=1e-2)
    assert found.negative
    if dense_below:
        assert found.n_negative == 3 * (singular > 0.8).sum()


def stationary_point(n_factors: int, l2: float = 0.4) -> tuple[Problem, np.ndarray]:
    """The closed-form solution for a full matrix: shrunken singular values."""
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((6, 5))
    p, sizes, qt = np.linalg.svd(matrix, full_matrices=False)
    kept = np.sqrt(np.maximum(sizes - l2, 0) * (np.arange(5) < 2))  # rank 2
    problem = plain(matrix, l2)
    turn, _ = np.linalg.qr(rng.standard_normal((n_factors, n_factors)))
    u, v = np.zeros((6, n_factors)), np.zeros((5, n_factors))
    u[:, :2], v[:, :2] = (p * kept)[:, :2], (qt.T * kept)[:, :2]
    return problem, problem.join(None, None, None, u @ turn, v @ turn)


@pytest.mark.parametrize("n_factors", [2, 3, 4])
def test_symmetry_modes_are_counted_and_removed(n_factors: int) -> None:
    problem, at = stationary_point(n_factors)
    assert relative_gradient(problem, at) < 1e-6  # ratings are float32
    hessian = Hessian(problem, at)
    dense = np.array([hessian.times(axis) for axis in np.eye(len(at))])
    values = np.linalg.eigvalsh(dense)
    r, k = 2, n_factors
    symmetries = Symmetries(problem, at)
    assert symmetries.rank == r
    assert symmetries.count == r * (2 * k - r - 1) // 2
    assert (np.abs(values) < 1e-6).sum() == symmetries.count
    assert (np.abs(values - 2 * problem.l2) < 1e-6).sum() == r * (2 * k - r + 1) // 2
    projector = np.array([symmetries.without(axis) for axis in np.eye(len(at))])
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-12)
    assert np.trace(projector) == pytest.approx(len(at) - symmetries.count)
    found = smallest_curvature(problem, at)
    rest = np.sort(values[np.abs(values) > 1e-6])
    assert found.smallest == pytest.approx(rest[0], abs=1e-6)


def test_without_l2_all_invertible_maps_are_symmetries() -> None:
    rng = np.random.default_rng(1)
    u, v = rng.standard_normal((6, 2)), rng.standard_normal((5, 2))
    for biases in (False, True):
        problem = plain(u @ v.T, 0.0, has_biases=biases)
        zero = np.zeros(6), np.zeros(5)
        at = problem.join(None, *zero, u, v)
        hessian = Hessian(problem, at)
        values = np.linalg.eigvalsh(np.array([hessian.times(axis) for axis in np.eye(len(at))]))
        symmetries = Symmetries(problem, at)
        assert symmetries.n_rotations == 4
        # With free biases: a constant may move between a column and the biases, and between biases.
        assert symmetries.n_shifts == (2 * 2 + 1 if biases else 0)
        assert (np.abs(values) < 1e-5).sum() == symmetries.count
        found = smallest_curvature(problem, at)
        assert found.n_negative == 0
        assert found.smallest == pytest.approx(values[symmetries.count], rel=1e-5)


def test_unpenalised_biases_shift_in_every_connected_part() -> None:
    matrix = np.full((5, 5), HIDDEN)
    matrix[:2, :2] = [[1, 2], [3, 5]]
    matrix[2:, 2:] = np.arange(9).reshape(3, 3) ** 0.5
    problem = plain(matrix, 0.3, has_biases=True)
    assert Symmetries(problem, problem.zeros(1)).n_shifts == 2
    free = plain(matrix, 0.3, has_biases=True, free_mean=True)
    at = free.zeros(1)
    assert Symmetries(free, at).n_shifts == 3
    hessian = Hessian(free, at)
    for row in np.vstack(
        [block.toarray() if hasattr(block, "toarray") else block for block in Symmetries(free, at)._shifts]
    ):
        assert np.linalg.norm(row) == pytest.approx(1)
        assert np.linalg.norm(hessian.times(row)) < 1e-12


@pytest.mark.parametrize("name", ["squared", "cross-entropy"])
def test_curvature_is_at_least_l2_minus_spectral_norm_for_convex_losses(
    name: str, rng: np.random.Generator
) -> None:
    """At any point, stationary or not; biases bound it by their own penalty."""
    problem = Problem.of(random_objective(name, rng), 0.3)
    at = problem.pack(random_parameters(problem.shape, 3, rng))
    hessian = Hessian(problem, at)
    dense = np.array([hessian.times(axis) for axis in np.eye(len(at))])
    norm = np.linalg.norm(problem.matrix(hessian.loss_gradient).toarray(), 2)
    assert np.linalg.eigvalsh(dense)[0] >= min(problem.l2 - norm, problem.l2_biases) - 1e-12


def test_iteration_and_dense_agree(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("sigmoid squared", rng, n_users=15, n_items=12), 0.3)
    at = problem.pack(random_parameters(problem.shape, 3, rng))
    dense = smallest_curvature(problem, at)
    iterated = smallest_curvature(problem, at, dense_below=0)
    assert iterated.smallest == pytest.approx(dense.smallest, abs=1e-6 * dense.largest)
    assert iterated.n_symmetries == dense.n_symmetries == 3
    assert abs(iterated.direction @ dense.direction) == pytest.approx(1, abs=1e-4)


def test_balancing_keeps_predictions_and_lowers_the_penalty(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("squared", rng), 0.3)
    at = problem.pack(random_parameters(problem.shape, 3, rng))
    parts = problem.parts(at)
    skewed = problem.join(None, parts[1], parts[2], 9 * parts[3], parts[4] / 9)
    level = balanced(problem, skewed)
    np.testing.assert_allclose(problem.scores(level), problem.scores(at), atol=1e-10)
    assert imbalance(problem, skewed) > 0.9
    assert imbalance(problem, level) < 1e-12
    assert problem.penalty(level) < problem.penalty(at)
    # Sharpness without balancing says nothing: same predictions, very different curvature.
    sharp = smallest_curvature(problem, skewed).largest
    assert sharp > 10 * smallest_curvature(problem, level).largest


def test_relative_gradient_does_not_depend_on_units(rng: np.random.Generator) -> None:
    table = random_table(rng)
    at = random_parameters(table.shape, 2, rng)
    found = []
    for unit in (1.0, 20.0):
        matrix = np.full(table.shape, HIDDEN)
        matrix[table.users, table.items] = unit * table.ratings
        problem = plain(matrix, 0.5 * unit)
        u, v = (np.sqrt(unit) * factors for factors in (at.user_factors, at.item_factors))
        found.append(relative_gradient(problem, problem.join(None, None, None, u, v)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert relative_gradient(problem, problem.zeros(2)) == 0
