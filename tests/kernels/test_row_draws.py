"""Draws of rows and maps against NumPy twins, their distribution, and their independence of the cuts."""

from itertools import pairwise

import numpy as np
import pytest

from bilinear.kernels.normal_equations import LINE
from bilinear.kernels.row_draws import draw_map_rows, draw_rows, mix, normal_pair

_MASK = 2**64 - 1


def mixed(key, counter):
    """SplitMix64 in Python's own integers."""
    z = (key + (counter + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def normals(key, first, n):
    """n standard normal numbers of a key from pair `first` on, by Box and Muller."""
    found = []
    for pair in range(first, first + (n + 1) // 2):
        one = ((mixed(key, 2 * pair) >> 11) + 1) / 2**53
        two = (mixed(key, 2 * pair + 1) >> 11) / 2**53
        radius = np.sqrt(-2 * np.log(one))
        found += [radius * np.cos(2 * np.pi * two), radius * np.sin(2 * np.pi * two)]
    return np.array(found[:n])


def rows_twin(case, key, draw):
    """The joint system of factors and bias, a dense Cholesky factor, and the same random numbers."""
    k = case["n_factors"]
    factors, biases, squares = case["means"].astype(float), case["mean_biases"].astype(float), []
    for r in range(len(factors)):
        a, b = case["starts"][r], case["starts"][r + 1]
        others = case["others"][a:b]
        one = case["ones"][others].astype(float)
        design = np.column_stack([case["fixed"][others, :k].astype(float), one])
        prior = np.append(case["means"][r, :k], case["mean_biases"][r]).astype(float)
        offsets = case["mean"] + case["fixed_biases"][others].astype(float)
        targets = one * (case["ratings"][a:b].astype(float) - offsets)
        if a < b:
            weight = float(case["weights"][r])
            system = np.diag(np.append(np.ones(k), case["bias_precision"])) + weight * design.T @ design
            own = mixed(key, r)
            lower = np.linalg.cholesky(system[:k, :k] - np.outer(system[:k, k], system[k, :k]) / system[k, k])
            mean = prior + np.linalg.solve(system, weight * design.T @ (targets - design @ prior))
            change = np.linalg.solve(lower.T, normals(own, 1, k)) if draw else np.zeros(k)
            bias_noise = normals(own, 0, 1)[0] / np.sqrt(system[k, k]) if draw else 0.0
            factors[r, :k] = mean[:k] + change
            biases[r] = mean[k] - system[k, :k] @ change / system[k, k] + bias_noise
        squares.append(((targets - design @ np.append(factors[r, :k], biases[r])) ** 2).sum())
    return factors, biases, np.array(squares)


def case_of(counts, k, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    n_others, padded = 3000, -(-k // LINE) * LINE
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ones = rng.uniform(0.5, 2, n_others).astype(dtype)
    fixed, means = np.zeros((n_others, padded), dtype), np.zeros((len(counts), padded), dtype)
    fixed[:, :k] = rng.standard_normal((n_others, k)) * ones[:, None] / np.sqrt(max(k, 1))
    means[:, :k] = rng.standard_normal((len(counts), k)) * 0.3
    return {
        "starts": starts,
        "others": rng.integers(n_others, size=starts[-1]).astype(np.int32),
        "ratings": rng.standard_normal(starts[-1]).astype(np.float32),
        "mean": 0.25,
        "fixed": fixed,
        "ones": ones,
        "fixed_biases": rng.standard_normal(n_others).astype(dtype) * dtype(0.3),
        "weights": rng.uniform(0.5, 2, len(counts)).astype(dtype),
        "means": means,
        "mean_biases": rng.standard_normal(len(counts)).astype(dtype),
        "bias_precision": 3.0,
        "n_factors": k,
    }


def drawn(case, key, draw=True, cuts=None):
    n = len(case["means"])
    factors = np.full_like(case["means"], np.nan)
    biases, squares = np.full(n, np.nan, factors.dtype), np.full(n, np.nan)
    names = (
        "starts", "others", "ratings", "mean", "fixed", "ones", "fixed_biases", "weights", "means",
        "mean_biases", "bias_precision",
    )  # fmt: skip
    inputs = [case[name] for name in names]
    cuts = [0, n] if cuts is None else cuts
    for a, b in pairwise(cuts):
        draw_rows(a, b, *inputs, np.uint64(key), draw, case["n_factors"], factors, biases, squares)
    return factors, biases, squares


COUNTS = [0, 1, 2, 5, 17, 63, 64, 65, 300, 1024, 1025, 2500]


@pytest.mark.parametrize("k", [0, 1, 7, 16, 33])
@pytest.mark.parametrize("draw", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 3e-4)])
def test_rows_equal_their_twin(k, draw, dtype, tolerance):
    case = case_of(COUNTS, k, dtype)
    for found, wanted in zip(drawn(case, 77, draw), rows_twin(case, 77, draw), strict=True):
        assert np.allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_padding_stays_zero():
    case = case_of(COUNTS, 7, np.float32)
    assert not drawn(case, 3)[0][:, 7:].any()


def test_rows_do_not_depend_on_the_cuts():
    case = case_of(COUNTS, 16, np.float32)
    whole, parts = drawn(case, 5), drawn(case, 5, cuts=[0, 3, 4, 9, 12])
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_keys_give_other_draws_with_the_mean_and_covariance_of_the_posterior():
    """Of a row with 9 ratings and 3 factors, in 20,000 draws; z statistics of means and covariances."""
    case = case_of([9], 3)
    n = 20_000
    draws = np.array([np.append(f[0, :3], b[0]) for f, b, _ in (drawn(case, mixed(1, s)) for s in range(n))])
    factors, biases, _ = rows_twin(case, 0, False)
    design = np.column_stack([case["fixed"][case["others"], :3], case["ones"][case["others"]]])
    system = np.diag([1, 1, 1, 3.0]) + case["weights"][0] * design.T @ design
    covariance = np.linalg.inv(system)
    off = draws - np.append(factors[0, :3], biases[0])
    assert (np.abs(off.mean(0)) < 4 * np.sqrt(np.diag(covariance) / n)).all()
    spread = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / n)
    assert (np.abs(off.T @ off / n - covariance) < 4 * spread).all()


def test_random_numbers_are_those_of_the_twin_and_standard_normal():
    for key, counter in [(0, 0), (5, 3), (_MASK, 10**15)]:
        assert int(mix(np.uint64(key), np.uint64(counter))) == mixed(key, counter)
    # the first output for the key zero, as published with the generator
    assert int(mix(np.uint64(0), np.uint64(0))) == 0xE220A8397B1DCDAF
    found = np.array([normal_pair(np.uint64(9), pair) for pair in range(50_000)]).ravel()
    assert np.allclose(found[:40], normals(9, 0, 40), rtol=1e-13, atol=0)
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((found**power).mean() - moment) < 4 * np.sqrt(variance / len(found))


def map_twin(block, precisions, penalties, residuals, weights, key):
    for j in range(block.shape[1]):
        x = block[:, j]
        total = precisions * (x @ x) + penalties
        mean = precisions * (x @ residuals + (x @ x) * weights[j]) / total
        new = mean + normals(mixed(key, j), 0, len(precisions)) / np.sqrt(total)
        residuals -= np.outer(x, new - weights[j])
        weights[j] = new


def test_maps_equal_their_twin_for_any_cuts():
    rng = np.random.default_rng(0)
    block = rng.standard_normal((40, 12)) * (rng.random((40, 12)) < 0.3)
    block[:, 4] = 0  # a feature that no row has is drawn from its prior
    columns = [np.flatnonzero(block[:, j]) for j in range(12)]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in columns])]).astype(np.int64)
    rows = np.concatenate(columns).astype(np.int32)
    values = np.concatenate([block[c, j] for j, c in enumerate(columns)])
    d = 9
    precisions, penalties = rng.uniform(0.5, 4, d), rng.uniform(0.5, 4, d)
    weights, left = rng.standard_normal((12, d)), rng.standard_normal((40, d))
    wanted, residuals = weights.copy(), left.copy()
    map_twin(block, precisions, penalties, residuals, wanted, 31)
    for cuts in ([0, d], [0, 4, 6, d]):
        found, kept = weights.copy(), left.copy()
        for a, b in pairwise(cuts):
            draw_map_rows(a, b, starts, rows, values, precisions, penalties, np.uint64(31), True, kept, found)
        assert np.allclose(found, wanted, rtol=1e-12, atol=1e-12)
        assert np.allclose(kept, residuals, rtol=1e-12, atol=1e-12)
