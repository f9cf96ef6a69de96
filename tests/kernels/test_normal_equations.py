"""Tiles of sums against NumPy, and solutions against float64."""

from __future__ import annotations

import numpy as np
import pytest

from bilinear.kernels.normal_equations import LINE, TILE, add_products, factor, solve

every_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_width = pytest.mark.parametrize("width", [LINE, 2 * LINE, 3 * LINE, 8 * LINE])


@every_type
@every_width
@pytest.mark.parametrize("n", [0, 1, 7, 64])
def test_products_are_added_to_what_is_there(dtype, width, n):
    rng = np.random.default_rng(0)
    rows, out = rng.normal(size=(64, width)).astype(dtype), rng.normal(size=(width, width)).astype(dtype)
    expected = out + rows[:n].astype(float).T @ rows[:n]
    add_products(rows, n, out)
    upper = np.triu_indices(width)
    np.testing.assert_allclose(out[upper], expected[upper], atol=200 * np.finfo(dtype).eps)


@every_type
@every_width
def test_a_system_plus_one_is_solved_from_its_upper_triangle(dtype, width):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(30, width))
    system, right = rows.T @ rows, rng.normal(size=width)
    expected = np.linalg.solve(system + np.eye(width), right)
    given = system.astype(dtype)
    given[np.tril_indices(width, -1)] = 7
    x, inverses = right.astype(dtype), np.empty((width, TILE), dtype)
    factor(given, inverses)
    solve(given, inverses, x)
    np.testing.assert_allclose(x, expected, atol=3e4 * np.finfo(dtype).eps * np.abs(expected).max())
    upper = np.triu(given).astype(float)
    np.testing.assert_allclose(upper.T @ upper, system + np.eye(width), atol=1e3 * np.finfo(dtype).eps)


def test_a_system_that_is_singular_in_float32_gives_finite_numbers():
    row = np.full((1, LINE), 1e5, np.float32)
    system, inverses = np.ascontiguousarray(row.T @ row), np.empty((LINE, TILE), np.float32)
    x = np.ones(LINE, np.float32)
    factor(system, inverses)
    solve(system, inverses, x)
    assert np.isfinite(x).all()
