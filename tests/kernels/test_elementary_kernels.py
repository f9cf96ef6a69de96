"""exp and log1p of the kernels against NumPy's in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from bilinear.kernels import elementary


@njit
def exp_of(x, out):
    for n in range(len(x)):
        out[n] = elementary.exp(x[n])


@njit
def log1p_of(x, out):
    for n in range(len(x)):
        out[n] = elementary.log1p(x[n])


@pytest.mark.parametrize(
    ("function", "numpys", "x"),
    [
        (exp_of, np.exp, np.concatenate([np.linspace(-86.9, 88, 50_001), -np.logspace(-30, 1, 1000)])),
        (log1p_of, np.log1p, np.concatenate([np.linspace(1e-3, 1, 50_001), np.logspace(-37, 0, 1000)])),
    ],
    ids=["exp", "log1p"],
)
def test_the_relative_error_is_two_units_in_the_last_place(function, numpys, x):
    x = x.astype(np.float32)
    out = np.empty_like(x)
    function(x, out)
    np.testing.assert_allclose(out, numpys(x.astype(float)), rtol=2.4e-7)


def test_ends_of_the_range_and_nan():
    x = np.array([-np.inf, -1e30, -87.5, 0, np.nan], np.float32)
    out = np.empty_like(x)
    exp_of(x, out)
    np.testing.assert_array_equal(out, [0, 0, 0, 1, np.nan])
    log1p_of(np.array([0, np.nan], np.float32), out[:2])
    np.testing.assert_array_equal(out[:2], [0, np.nan])
