"""The certificate against closed forms, an independent convex solver, and every normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from lab_cases import HIDDEN, SETTINGS, plain, random_objective, random_parameters, table_of
from numpy.typing import NDArray

from bilinear.lab import Problem, add_factor, certificate_at, certificate_of, lower_bound
from bilinear.lab.numerics import spectral
from bilinear.lab.numerics.spectral import spectral_norm_by_gram, top_singular
from bilinear.lab.proofs.certificate import floor
from bilinear.model.link import Identity
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2

Matrix = NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def convex_twin(problem: Problem, n_steps: int = 20_000) -> tuple[float, NDArray[np.float64]]:
    """The convex problem by accelerated proximal gradient on a dense X and biases; its value and slopes.

    Knows nothing of factors or duals. Natural coordinates; the mean may be free.
    """
    m, n = problem.n_users, problem.n_items
    s, t = problem.user_scales, problem.item_scales
    curvature = problem.loss_curvature(problem.scores(problem.zeros(0))).max()
    curvature = max(curvature, problem.weights.max() if isinstance(problem.link, Identity) else 0)
    length = curvature * ((1 / s.min() / t.min()) ** 2 + n / s.min() ** 2 + m / t.min() ** 2 + m * n)
    length += problem.l2_biases
    step = 1 / length

    def scores(x: Matrix, b: Matrix, c: Matrix, mean: float) -> Matrix:
        return (
            mean
            + (b / s)[problem.users]
            + (c / t)[problem.items]
            + (x / np.outer(s, t))[problem.users, problem.items]
        )

    def value(x: Matrix, b: Matrix, c: Matrix, mean: float) -> float:
        losses = problem.loss.value(scores(x, b, c, mean), problem.ratings, problem.link)
        nuclear = np.linalg.svd(x, compute_uv=False).sum()
        squares = 0.5 * problem.l2_biases * (b @ b + c @ c)
        return float(problem.weights @ losses + problem.l2 * nuclear + squares)

    here = old = (np.zeros((m, n)), np.zeros(m), np.zeros(n), problem.mean)
    t_old, best, before_250 = 1.0, np.inf, np.inf
    for number in range(n_steps):
        t_new = (1 + np.sqrt(1 + 4 * t_old**2)) / 2
        x, b, c, mean = (
            new + (t_old - 1) / t_new * (new - before) for new, before in zip(here, old, strict=True)
        )
        slopes = problem.loss_gradient(scores(x, b, c, mean))
        g = problem.matrix(slopes).toarray()
        row, column = problem.row_sums(slopes)
        p, sizes, q = np.linalg.svd(x - step * g, full_matrices=False)
        x = (p * np.maximum(sizes - step * problem.l2, 0)) @ q
        if problem.has_biases:
            b, c = b - step * (row + problem.l2_biases * b), c - step * (column + problem.l2_biases * c)
        if problem.free_mean:
            mean = mean - step * slopes.sum()
        old, here, t_old = here, (x, b, c, mean), t_new
        now = value(*here)
        if now > best:  # restart the momentum
            t_old, old = 1.0, here
        best = min(best, now)
        if number % 250 == 249:
            if before_250 - best < 1e-10 * best:
                break
            before_250 = best
    return best, problem.loss_gradient(scores(*here))


@pytest.mark.parametrize("lanczos", [False, True])
def test_spectral_norm_agrees_with_dense(
    lanczos: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lanczos:
        monkeypatch.setattr(spectral, "_SMALL_SIDE", 0)
        monkeypatch.setattr(spectral, "_GRAM_SIDE", 0)
    from scipy.sparse import random_array

    for shape in ((90, 130), (200, 80), (25, 40)):
        matrix = random_array(shape, density=0.2, rng=rng, format="csr")
        u, sizes, vt = np.linalg.svd(matrix.toarray())
        top = top_singular(matrix, 3)
        found, left, right = top.values, top.left, top.right
        np.testing.assert_allclose(found, sizes[: len(found)], rtol=1e-8)
        assert top.bound >= sizes[0]
        assert abs(left[:, 0] @ u[:, 0]) == pytest.approx(1, abs=1e-6)
        assert (left[:, 0] @ u[:, 0]) * (right[:, 0] @ vt[0]) > 0
        assert spectral_norm_by_gram(matrix, at_most=999) == pytest.approx(sizes[0], rel=1e-9)
    assert top_singular(matrix * 0).norm == 0
    assert spectral_norm_by_gram(matrix, at_most=2) is None


def test_many_equal_singular_values_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at an optimum, where as many values equal l2 as there are factors."""
    from scipy.sparse import csr_array

    monkeypatch.setattr(spectral, "_SMALL_SIDE", 0)
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((120, 120)))
    right, _ = np.linalg.qr(rng.standard_normal((150, 120)))
    values = np.concatenate([1 + 1e-9 * rng.standard_normal(80), np.linspace(0.9, 0, 40)])
    top = top_singular(csr_array((left * values) @ right.T))
    assert top.norm == pytest.approx(values.max(), rel=1e-7)
    assert top.bound >= values.max()


def test_full_matrix_gap_closes_at_the_shrunken_singular_values(rng: np.random.Generator) -> None:
    matrix = rng.standard_normal((8, 6))
    p, sizes, qt = np.linalg.svd(matrix, full_matrices=False)
    problem = plain(matrix, 0.7)
    kept = np.sqrt(np.maximum(sizes - 0.7, 0))
    at = problem.join(None, None, None, p * kept, qt.T * kept)
    found = certificate_at(problem, at)
    assert found.ratio == pytest.approx(1, abs=1e-6)
    assert found.certified
    assert found.loss == pytest.approx(sum(0.7 * s - 0.245 if s > 0.7 else s**2 / 2 for s in sizes), rel=1e-6)


SMALL = {
    "plain": {"l2": L2(0.5, 0.3, 0.0)},
    "square root of counts": {"l2": L2(0.3, 0.2, 0.5)},
    "per rating": {"l2": L2(0.1, 0.2, 1.0)},
}
VARIANTS = {
    "regularised biases": {},
    "no biases": {"has_biases": False},
    "free mean": {"free_mean": True},
    "free mean, no biases": {"free_mean": True, "has_biases": False},
    "mean of squares": {"weights": 2 / 40},
    "two sides": {"l2_sides": (0.2, 0.9)},
}


@pytest.mark.parametrize("name", ["squared", "cross-entropy"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("normalisation", SMALL)
def test_lower_bound_is_below_and_reaches_the_convex_optimum(
    name: str, variant: str, normalisation: str, rng: np.random.Generator
) -> None:
    objective = random_objective(name, rng, n_users=5, n_items=4, **SMALL[normalisation])
    mean = 2.5 if name == "squared" else 0.2
    problem = Problem.of(objective, mean, **VARIANTS[variant])
    optimum, slopes = convex_twin(problem, 1200)
    for k in (1, 4):
        at = 0.5 * rng.standard_normal(problem.size(k))
        found = certificate_at(problem, at)
        assert found.lower_bound <= optimum * (1 + 1e-9)
        assert found.loss >= optimum - 1e-9
        assert found.gap >= found.loss - optimum - 1e-9
    norm = top_singular(problem.matrix(slopes)).norm
    assert norm <= problem.l2 * (1 + 1e-4)
    bound = lower_bound(problem, slopes, spectral_norm=norm)
    assert bound == pytest.approx(optimum, rel=1e-4)
    assert bound <= optimum * (1 + 1e-9)


@pytest.mark.parametrize("name", ["squared", "cross-entropy"])
def test_unpenalised_biases_need_zero_sums_and_get_them(name: str, rng: np.random.Generator) -> None:
    objective = random_objective(name, rng, L2(0.5, 0.0, 0.0), n_users=5, n_items=4, share=0.9)
    problem = Problem.of(objective, 0.3)
    optimum, slopes = convex_twin(problem, 4000)
    at = 0.5 * rng.standard_normal(problem.size(2))
    found = certificate_at(problem, at)
    assert floor(problem) < found.lower_bound <= optimum * (1 + 1e-9)
    norm = top_singular(problem.matrix(slopes)).norm
    assert lower_bound(problem, slopes, spectral_norm=norm) == pytest.approx(optimum, rel=1e-3)


def test_gap_formula_of_the_plain_problem(rng: np.random.Generator) -> None:
    """gap = L + s^2 |G|_F^2 / 2 + s <G, R>, s = min(1, l2 / |G|_2): never better than ours."""
    matrix = np.where(rng.random((9, 7)) < 0.6, rng.standard_normal((9, 7)), HIDDEN)
    problem = plain(matrix, 0.9)
    at = 0.4 * rng.standard_normal(problem.size(3))
    found = certificate_at(problem, at)
    slopes = problem.loss_gradient(problem.scores(at))
    s = min(1.0, 0.9 / found.spectral_norm)
    stated = found.loss + s**2 * (slopes @ slopes) / 2 + s * (slopes @ problem.ratings)
    assert found.gap <= stated * (1 + 1e-6)
    # The best s on the ray may be larger than 1, never beyond l2 / |G|_2.
    assert found.gap == pytest.approx(
        min(
            found.loss + s**2 * (slopes @ slopes) / 2 + s * (slopes @ problem.ratings)
            for s in np.linspace(0, 0.9 / found.spectral_norm, 20_001)
        ),
        rel=1e-6,
    )


def test_ratio_under_each_normalisation(rng: np.random.Generator) -> None:
    """The table of normalisations, by dense linear algebra from the ratings."""
    matrix = np.where(rng.random((8, 7)) < 0.7, rng.standard_normal((8, 7)), HIDDEN).astype(np.float32)
    seen = ~np.isnan(matrix)
    u, v = rng.standard_normal((8, 2)), rng.standard_normal((7, 2))
    residual = np.where(seen, u @ v.T - np.nan_to_num(matrix), 0)
    n_u, n_i = seen.sum(1), seen.sum(0)
    table = table_of(matrix)

    def ratio(l2: L2, **options: object) -> float:
        problem = Problem.of(
            Objective(SquaredError(), Identity(-9, 9), l2, table), 0.0, has_biases=False, **options
        )
        s, t = problem.user_scales, problem.item_scales
        return certificate_at(problem, problem.join(None, None, None, u * s[:, None], v * t[:, None])).ratio

    norm = np.linalg.norm(residual, 2)
    assert ratio(L2(0.8, 0, 0)) == pytest.approx(norm / 0.8)
    wd, n = 0.03, seen.sum()
    assert ratio(L2(wd, 0, 0), weights=2 / n) == pytest.approx(np.linalg.norm(2 / n * residual, 2) / wd)
    assert ratio(L2(1.0, 0, 0), l2_sides=(0.5, 2.5)) == pytest.approx(norm / np.sqrt(0.5 * 2.5))
    for e in (0.5, 1.0):
        scaled = residual / np.outer(n_u, n_i) ** (e / 2)
        assert ratio(L2(0.2, 0, e)) == pytest.approx(np.linalg.norm(scaled, 2) / 0.2)


@pytest.mark.parametrize("name", SETTINGS)
def test_one_more_factor_gains_what_is_announced(name: str, rng: np.random.Generator) -> None:
    objective = random_objective(name, rng, L2(0.2, 0.2, 0.5))
    problem = Problem.of(objective, 0.3)
    at = 0.3 * rng.standard_normal(problem.size(2))
    found = certificate_at(problem, at)
    assert found.gain > 0
    more = add_factor(problem, at, found)
    assert problem.n_factors(more) == 3
    assert problem.value(at) - problem.value(more) == pytest.approx(found.gain, rel=1e-6)
    if name == "squared":
        moves = problem.pair_products(found.user_direction[:, None], found.item_direction[:, None])
        stated = (found.spectral_norm - problem.l2) ** 2 / (2 * moves @ moves)
        assert found.gain == pytest.approx(stated)
    for other in (0.5 * found.step, 2 * found.step):
        assert problem.value(add_factor(problem, at, found, step=other)) >= problem.value(more)


def test_above_the_largest_useful_l2_the_origin_is_certified(rng: np.random.Generator) -> None:
    matrix = np.where(rng.random((9, 7)) < 0.6, rng.standard_normal((9, 7)), HIDDEN)
    most = np.linalg.norm(np.nan_to_num(matrix), 2)
    above, below = plain(matrix, 1.001 * most), plain(matrix, 0.9 * most)
    assert certificate_at(above, above.zeros(3)).certified
    assert certificate_at(above, above.zeros(3)).gain == 0
    assert not certificate_at(below, below.zeros(3)).certified


def test_refusals_say_why_and_bound_trivially(rng: np.random.Generator) -> None:
    objective = random_objective("sigmoid squared", rng)
    at = random_parameters(objective.interactions.shape, 2, rng)
    found = certificate_of(objective, at)
    assert "not convex in the score" in (found.refusal or "")
    assert found.lower_bound == 0
    assert not found.certified
    assert str(found).startswith("no certificate")
    objective = random_objective("squared", rng, L2(0.0, 0.3, 0.0))
    at = random_parameters(objective.interactions.shape, 2, rng)
    found = certificate_of(objective, at)
    assert "without an L2" in (found.refusal or "")
    assert found.lower_bound == 0
    assert found.to_dict()["ratio"] is None


def test_an_exact_fit_without_l2_needs_no_certificate() -> None:
    problem = plain([[1.0, 2.0], [2.0, 4.0]], 0.0)
    found = certificate_at(
        problem, problem.join(None, None, None, np.array([[1.0], [2]]), np.array([[1.0], [2]]))
    )
    assert found.refusal
    assert found.certified


def test_a_bias_model_is_certified_by_its_own_convexity(rng: np.random.Generator) -> None:
    from bilinear.training.bias_solver import solve_biases

    objective = random_objective("squared", rng, L2(0.0, 0.8, 0.5), n_users=30, n_items=20)
    found = certificate_of(objective, solve_biases(objective.interactions, objective.penalty))
    assert found.certified
    assert found.refusal is None
