"""Runs from several seeds: rotations of one another, or different models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lab_cases import plain, random_objective

from bilinear.errors import ParameterValueError
from bilinear.lab import Problem, aligned, barrier, compare_seeds, run_seeds
from bilinear.lab.numerics.trust_region import trust_region_newton
from bilinear.objective.penalties import L2


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)


def test_a_rotated_model_is_the_same_model(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("squared", rng, n_users=12, n_items=30), 2.7)
    start = rng.standard_normal(problem.size(4))
    first = trust_region_newton(problem, start, tolerance=1e-6, max_products=999).at
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    parts = problem.parts(first)
    second = problem.join(*parts[:3], parts.user_factors @ turn, parts.item_factors @ turn)
    found = compare_seeds(problem, [first, second])
    (pair,) = found.pairs
    assert pair.barrier > 1
    assert pair.barrier_aligned < 1e-9
    assert pair.distance > 0.1
    assert pair.distance_aligned < 1e-12
    assert pair.scores_differ < 1e-12
    assert pair.same_top_10 == 1
    assert found.spread < 1e-12
    json.dumps(found.to_dict(), allow_nan=False)
    np.testing.assert_allclose(aligned(problem, second, to=first), first, atol=1e-12)


def test_convex_enough_problems_end_at_one_model_up_to_rotation(rng: np.random.Generator) -> None:
    objective = random_objective("squared", rng, L2(0.8, 0.5, 0.5), n_users=25, n_items=18)
    problem = Problem.of(objective, 2.7)
    runs = run_seeds(problem, 8, n_starts=3, size=1.0, tolerance=1e-9)
    found = compare_seeds(problem, runs)
    assert max(found.losses) - min(found.losses) < 1e-6
    assert found.spread < 1e-5
    assert found.same_top_10 > 0.95
    assert found.barrier_aligned < 1e-6 < found.barrier
    assert "3 starts" in str(found)


def test_different_minima_are_told_apart() -> None:
    problem = plain(np.array([[1, np.nan, 2], [np.nan, 2, np.nan], [2, -2, np.nan]]), 0.1)
    runs = run_seeds(problem, 1, n_starts=12, size=1.5, tolerance=1e-9)
    found = compare_seeds(problem, runs)
    assert max(found.losses) - min(found.losses) > 1
    assert found.spread > 0.1
    assert len(found.pairs) == 66


def test_barrier_is_the_highest_point_of_the_line(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("sigmoid squared", rng), 0.3)
    first, second = rng.standard_normal((2, problem.size(3)))
    heights = [problem.value((1 - t) * first + t * second) for t in np.linspace(0, 1, 21)]
    expected = max(max(heights) - max(heights[0], heights[-1]), 0)
    assert barrier(problem, first, second) == pytest.approx(expected, abs=1e-10)
    assert barrier(problem, first, -first) >= 0


def test_same_starts_give_the_same_bits(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("squared", rng), 2.7)
    runs = [run_seeds(problem, 2, n_starts=2, rng=5) for _ in range(2)]
    for one, two in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_cannot_be_compared_is_refused(rng: np.random.Generator) -> None:
    problem = Problem.of(random_objective("squared", rng), 2.7)
    with pytest.raises(ParameterValueError, match="at least two"):
        compare_seeds(problem, [problem.zeros(2)])
    with pytest.raises(ParameterValueError, match="equal numbers of factors"):
        aligned(problem, problem.zeros(2), to=problem.zeros(3))
