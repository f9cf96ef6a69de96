"""Rows of implicit ALS against the same minimum by plain NumPy, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from bilinear.kernels import dense
from bilinear.kernels.dense import add_column_products, multiply
from bilinear.kernels.implicit_als import (
    descend_rows,
    descend_rows_by_blocks,
    observed_loss,
    solve_rows,
)


def called_from_python(kernel):
    @njit
    def call(*args):
        kernel(*args)

    return call


row_products = called_from_python(dense.row_products)
cholesky_of_one_plus = called_from_python(dense.cholesky_of_one_plus)
solve_factored = called_from_python(dense.solve_factored)
LENGTHS = [0, 1, 3, 4, 5, 8, 11, 12, 30, 70, 131]  # below, at and above the 8 or 12 factors


class Rows:
    """Rows of given lengths over random items, in float64 unless said otherwise."""

    def __init__(self, k: int, lengths=LENGTHS, seed: int = 0, dtype=np.float64) -> None:
        rng = np.random.default_rng(seed)
        n_items = 150
        self.indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.indices = np.concatenate([np.sort(rng.permutation(n_items)[:n]) for n in lengths]).astype(
            np.int32
        )
        self.confidences = rng.uniform(0.2, 3, len(self.indices)).astype(dtype)
        self.confidences[2::5] *= -1  # whose target is zero
        self.fixed = rng.normal(size=(n_items, k)).astype(dtype)
        self.spectrum = np.sort(rng.uniform(0, 5, k))[::-1].astype(dtype)
        self.l2 = rng.uniform(0.1, 2, len(lengths)).astype(dtype)
        self.before = rng.normal(size=(len(lengths), k)).astype(dtype)
        self.rotation = np.linalg.qr(rng.normal(size=(k, k)))[0].astype(dtype)
        self.out = np.full((len(lengths), k), np.nan, dtype)

    @property
    def data(self):
        return self.indptr, self.indices, self.confidences, self.fixed, self.spectrum, self.l2

    def system(self, row: int):
        """The curvature and the linear term of one row, written down as defined."""
        span = slice(self.indptr[row], self.indptr[row + 1])
        y, c = self.fixed[self.indices[span]].astype(np.float64), self.confidences[span].astype(np.float64)
        return np.diag(self.spectrum + self.l2[row]) + (y.T * np.abs(c)) @ y, y.T @ np.maximum(c, 0)

    def value(self, row: int, x) -> float:
        """The function of one row, less what does not depend on x."""
        system, linear = self.system(row)
        return 0.5 * x @ system @ x - linear @ x


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(0, 9), st.integers(1, 20), st.integers(0, 99))
def test_products_are_those_of_numpy(quarter, m, n, seed):
    rng, k = np.random.default_rng(seed), 4 * quarter
    left, right, out = rng.normal(size=(m, k)), rng.normal(size=(k, n)), np.full((m, n), np.nan)
    multiply(left, right, out)
    np.testing.assert_allclose(out, left @ right, atol=1e-12)
    rows, sums = rng.normal(size=(m + 2, k)), rng.normal(size=(k, k))
    before = sums.copy()
    add_column_products(rows, m, sums)
    np.testing.assert_allclose(np.tril(sums), np.tril(before + rows[:m].T @ rows[:m]), atol=1e-12)
    wide, products = rng.normal(size=(k, n)), np.full((k, k), np.nan)
    row_products(wide, k, products)
    np.testing.assert_allclose(np.tril(products), np.tril(wide @ wide.T), atol=1e-12)


@pytest.mark.parametrize("n", [4, 8, 36, 64])
def test_cholesky_solves_one_plus_the_system(n):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, n + 3))
    system, right = rows @ rows.T, rng.normal(size=n)
    lower, inverses, x = np.tril(system), np.empty(n), right.copy()
    cholesky_of_one_plus(lower, n, inverses)
    solve_factored(lower, inverses, n, x)
    np.testing.assert_allclose(x, np.linalg.solve(np.eye(n) + system, right), rtol=1e-9)


def test_a_system_too_large_for_float32_still_gives_finite_numbers():
    rows = Rows(8, [4, 8], dtype=np.float32)
    rows.fixed[:], rows.confidences[:], rows.spectrum[:], rows.l2[:] = 1e6, 1, 1, 0
    solve_rows(0, 2, *rows.data, rows.out)
    assert np.isfinite(rows.out).all()


@pytest.mark.parametrize("k", [8, 12])
def test_solved_rows_are_the_minimum_of_each_row(k):
    rows = Rows(k)
    solve_rows(0, len(LENGTHS), *rows.data, rows.out)
    for row, n in enumerate(LENGTHS):
        expected = np.linalg.solve(*rows.system(row)) if n else np.zeros(k)
        np.testing.assert_allclose(rows.out[row], expected, rtol=1e-9, atol=1e-12)


def test_float32_rows_are_the_minimum_to_float32():
    rows = Rows(12, dtype=np.float32)
    solve_rows(0, len(LENGTHS), *rows.data, rows.out)
    for row in range(1, len(LENGTHS)):
        np.testing.assert_allclose(rows.out[row], np.linalg.solve(*rows.system(row)), rtol=2e-4, atol=2e-5)


def test_only_the_rows_asked_for_are_filled():
    rows = Rows(8)
    solve_rows(2, 5, *rows.data, rows.out)
    assert np.isfinite(rows.out[2:5]).all()
    assert np.isnan(rows.out[:2]).all()
    assert np.isnan(rows.out[5:]).all()


def plain_conjugate_gradients(system, linear, x, diagonal, n_steps):
    """Preconditioned conjugate gradients as in the textbook."""
    residual = linear - system @ x
    z = residual / diagonal
    direction = z.copy()
    for _ in range(n_steps):
        bent = system @ direction
        step = (residual @ z) / (direction @ bent)
        x = x + step * direction
        new_residual = residual - step * bent
        new_z = new_residual / diagonal
        direction = new_z + (new_residual @ new_z) / (residual @ z) * direction
        residual, z = new_residual, new_z
    return x


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_descent_is_textbook_conjugate_gradients_from_the_turned_row(n_steps):
    rows = Rows(8)
    descend_rows(0, len(LENGTHS), *rows.data, rows.rotation, rows.before, n_steps, 0, rows.out)
    for row, n in enumerate(LENGTHS):
        if not n:
            assert not rows.out[row].any()
            continue
        system, linear = rows.system(row)
        start = rows.before[row] @ rows.rotation
        expected = plain_conjugate_gradients(system, linear, start, rows.spectrum + rows.l2[row], n_steps)
        np.testing.assert_allclose(rows.out[row], expected, rtol=1e-8, atol=1e-10)


def test_as_many_conjugate_gradient_steps_as_factors_reach_the_minimum():
    rows = Rows(8)
    descend_rows(0, len(LENGTHS), *rows.data, rows.rotation, rows.before, 8, 0, rows.out)
    for row in range(1, len(LENGTHS)):
        np.testing.assert_allclose(rows.out[row], np.linalg.solve(*rows.system(row)), rtol=1e-6, atol=1e-8)


def test_short_rows_are_solved_exactly_by_either_descent():
    exact, steps, blocks = Rows(8), Rows(8), Rows(8)
    solve_rows(0, len(LENGTHS), *exact.data, exact.out)
    descend_rows(0, len(LENGTHS), *steps.data, steps.rotation, steps.before, 1, 5, steps.out)
    descend_rows_by_blocks(0, len(LENGTHS), *blocks.data, blocks.rotation, blocks.before, 4, 5, blocks.out)
    short = np.array(LENGTHS) <= 5
    assert (steps.out[short] == exact.out[short]).all()
    assert (blocks.out[short] == exact.out[short]).all()
    assert not (steps.out[~short] == exact.out[~short]).all(axis=1).any()


@pytest.mark.parametrize("size", [4, 8])
def test_blocks_minimise_over_one_block_after_the_other(size):
    k = 12
    rows = Rows(k)
    descend_rows_by_blocks(0, len(LENGTHS), *rows.data, rows.rotation, rows.before, size, 0, rows.out)
    for row in range(1, len(LENGTHS)):
        system, linear = rows.system(row)
        x = rows.before[row] @ rows.rotation
        for first in range(0, k, size):
            block = slice(first, first + size)
            slope = system[block] @ x - linear[block]
            x[block] -= np.linalg.solve(system[block, block], slope)
        np.testing.assert_allclose(rows.out[row], x, rtol=1e-8, atol=1e-10)


def test_one_block_of_all_factors_is_the_minimum():
    rows = Rows(12)
    descend_rows_by_blocks(0, len(LENGTHS), *rows.data, rows.rotation, rows.before, 64, 0, rows.out)
    for row in range(1, len(LENGTHS)):
        np.testing.assert_allclose(rows.out[row], np.linalg.solve(*rows.system(row)), rtol=1e-8)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]))
def test_no_step_raises_the_value_of_a_row(seed, n_steps):
    rows = Rows(8, lengths=[1, 7, 40], seed=seed)
    blocks = Rows(8, lengths=[1, 7, 40], seed=seed)
    descend_rows(0, 3, *rows.data, rows.rotation, rows.before, n_steps, 0, rows.out)
    descend_rows_by_blocks(0, 3, *blocks.data, blocks.rotation, blocks.before, 4, 0, blocks.out)
    for row in range(3):
        before = rows.value(row, rows.before[row] @ rows.rotation)
        assert rows.value(row, rows.out[row]) < before
        assert rows.value(row, blocks.out[row]) < before


def test_the_observed_loss_is_the_sum_over_pairs():
    rows = Rows(8)
    found = observed_loss(1, 6, rows.indptr, rows.indices, rows.confidences, rows.before, rows.fixed)
    expected = 0.0
    for row in range(1, 6):
        for t in range(rows.indptr[row], rows.indptr[row + 1]):
            score = rows.before[row] @ rows.fixed[rows.indices[t]]
            confidence = rows.confidences[t]
            expected += 0.5 * abs(confidence) * (score - (confidence > 0)) ** 2
    assert found == pytest.approx(expected, rel=1e-12)
