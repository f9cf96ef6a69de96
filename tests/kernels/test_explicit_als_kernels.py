"""Every way to solve a row against `numpy.linalg.solve` in float64, the bias as one more factor."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bilinear.kernels.explicit_als import improve_rows
from bilinear.kernels.normal_equations import LINE
from bilinear.kernels.views import read_only

COUNTS = np.array([0, 1, 2, 3, 4, 13, 40, 64, 65, 1024, 1025, 2100])
STARTS = np.concatenate([[0], np.cumsum(COUNTS)])
MEAN = 3.1
WAYS = {"dual": (0, LINE, 0), "factors": (0, 0, 0), "gradients": (200, 0, 10**9), "mixed": (200, 3, 1024)}
"""n_steps, dual_to, exact_from"""
every_way = pytest.mark.parametrize("way", WAYS)
every_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Problem:
    """Random rows, partners with a direction in common, and a start away from the minimum."""

    def __init__(self, dtype, l2_bias=0.3, k=LINE):
        rng = np.random.default_rng(0)
        self.fixed = rng.normal(size=(2200, k)).astype(dtype)
        self.fixed[:, :1] += 1
        self.fixed_biases = rng.normal(size=2200).astype(dtype)
        self.indices = read_only(np.concatenate([rng.permutation(2200)[:n] for n in COUNTS]).astype(np.int32))
        self.ratings = read_only(rng.normal(3, 1, size=len(self.indices)).astype(np.float32))
        self.l2 = 0.5 * np.sqrt(np.maximum(COUNTS, 1))
        self.l2_biases = np.full(len(COUNTS), l2_bias)
        self.factors = rng.normal(size=(len(COUNTS), k)).astype(dtype)
        self.biases = rng.normal(size=len(COUNTS)).astype(dtype)
        self.losses = np.full(len(COUNTS), np.nan)

    def improve(self, way, first=0, last=12):
        improve_rows(
            first, last, STARTS, self.indices, self.ratings, MEAN, self.fixed, self.fixed_biases, self.l2,
            self.l2_biases, *WAYS[way], self.factors, self.biases, self.losses,
        )  # fmt: skip

    def rows(self):
        """(row, design with a last column of one, targets, ridge) in float64, for rows with ratings."""
        for r, (a, b) in enumerate(pairwise(STARTS)):
            if a < b:
                near = self.fixed[self.indices[a:b]].astype(float)
                target = self.ratings[a:b].astype(float) - MEAN - self.fixed_biases[self.indices[a:b]]
                ridge = np.append(np.full(near.shape[1], self.l2[r]), self.l2_biases[r])
                yield r, np.hstack([near, np.ones((b - a, 1))]), target, ridge

    def found(self, r):
        return np.append(self.factors[r], self.biases[r]).astype(float)


@every_way
@every_type
@pytest.mark.parametrize("l2_bias", [0.3, 0.0])
def test_each_row_is_at_the_minimum_and_tells_its_loss(way, dtype, l2_bias):
    problem = Problem(dtype, l2_bias)
    problem.improve(way)
    digits = 1e-11 if dtype is np.float64 else 3e-4
    for r, design, target, ridge in problem.rows():
        exact = np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ target)
        np.testing.assert_allclose(problem.found(r), exact, atol=digits * np.abs(exact).max())
        loss = 0.5 * np.sum((design @ exact - target) ** 2)
        assert problem.losses[r] == pytest.approx(loss, rel=digits, abs=10 * digits)
    assert not problem.factors[0].any()
    assert problem.biases[0] == problem.losses[0] == 0


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_conjugate_gradients_are_those_of_the_whole_system_with_the_bias_eliminated(n_steps):
    """The twin works on dense matrices, and only on those."""
    problem = Problem(np.float64)
    before = [problem.found(r) for r in range(len(COUNTS))]
    improve_rows(
        0, len(COUNTS), STARTS, problem.indices, problem.ratings, MEAN, problem.fixed, problem.fixed_biases,
        problem.l2, problem.l2_biases, n_steps, 0, 10**9, problem.factors, problem.biases, problem.losses,
    )  # fmt: skip
    for r, design, target, ridge in problem.rows():
        system, right = design.T @ design + np.diag(ridge), design.T @ target
        count, sums = system[-1, -1], system[:-1, -1]
        small, goal = system[:-1, :-1] - np.outer(sums, sums) / count, right[:-1] - sums * right[-1] / count
        x, inverse = before[r][:-1].copy(), 1 / np.diag(small)
        residual = goal - small @ x
        direction = inverse * residual
        for _ in range(n_steps):
            size = residual @ (inverse * residual)
            step = size / (direction @ small @ direction)
            x += step * direction
            residual = residual - step * small @ direction
            direction = inverse * residual + residual @ (inverse * residual) / size * direction
        expected = np.append(x, (right[-1] - sums @ x) / count)
        np.testing.assert_allclose(problem.found(r), expected, atol=1e-9)
        errors = design @ expected - target
        assert problem.losses[r] == pytest.approx(0.5 * errors @ errors, rel=1e-9, abs=1e-9)


@every_way
def test_a_second_time_nothing_moves_by_more_than_rounding(way):
    problem = Problem(np.float32)
    problem.improve(way)
    once = problem.factors.copy()
    problem.improve(way)
    np.testing.assert_allclose(problem.factors, once, atol=2e-5 * np.abs(once).max())


def test_without_factors_a_bias_is_the_shrunken_mean_of_what_is_left():
    problem = Problem(np.float64, k=0)
    problem.improve("factors")
    for r, _, target, ridge in problem.rows():
        assert problem.biases[r] == pytest.approx(target.sum() / (len(target) + ridge[-1]), rel=1e-12)


def test_only_the_rows_asked_for_are_touched():
    problem = Problem(np.float32)
    before = problem.factors.copy()
    problem.improve("factors", 3, 6)
    untouched = [0, 1, 2, *range(6, len(COUNTS))]
    assert (problem.factors[untouched] == before[untouched]).all()
    assert np.isnan(problem.losses[untouched]).all()
    assert not np.isnan(problem.losses[3:6]).any()
