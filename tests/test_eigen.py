"""Eigenvalues are all there, whatever coincides, is tiny or huge, and the same call gives the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bilinear import eigen
from bilinear.data.interactions import Interactions
from bilinear.eigen import largest_eigen, largest_eigen_by_products, symmetric_eigen
from bilinear.errors import DivergenceError
from bilinear.estimators.graph_filter import GraphFilter, slow_directions
from bilinear.lab.numerics import spectral
from bilinear.lab.numerics.spectral import spectral_norm_by_gram, top_singular

SPECTRA: dict[str, NDArray[np.float64]] = {
    "largest nine times": np.concatenate([np.linspace(0, 0.9, 6), np.ones(9)]),
    "all equal": np.ones(15),
    "half zero": np.concatenate([np.zeros(8), np.linspace(1, 2, 7)]),
    "two clusters": np.repeat([1.0, 2.0], [7, 8]) + 1e-13 * np.arange(15),
    "tiny": 1e-200 * np.concatenate([np.zeros(6), np.ones(9)]),
    "huge": 1e150 * np.concatenate([np.linspace(0, 0.9, 6), np.ones(9)]),
}


def rotated(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    axes, _ = np.linalg.qr(rng.standard_normal((len(values), len(values))))
    matrix: NDArray[np.float64] = (axes * values) @ axes.T
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("small_side", [0, 500])
@pytest.mark.parametrize("name", SPECTRA)
def test_as_many_eigenvalues_as_asked_for_come_back(
    name: str, small_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About one random matrix in a hundred with coinciding largest values defeats a subset driver."""
    monkeypatch.setattr(eigen, "_SMALL_SIDE", small_side)
    values = np.sort(SPECTRA[name])[::-1]
    rng = np.random.default_rng(0)
    for _ in range(200):
        matrix = rotated(values, rng)
        for n in (1, 3):
            found = largest_eigen(matrix, n)
            np.testing.assert_allclose(found.values, values[:n], rtol=1e-9, atol=1e-12 * values[0])
            images = matrix @ found.vectors - found.vectors * found.values
            assert np.abs(images).max() <= 1e-10 * values[0]


def test_a_driver_that_finds_too_few_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigen, "_SMALL_SIDE", 0)
    matrix = np.diag(np.arange(15.0))

    def short(matrix: Any, subset_by_index: Any) -> Any:
        return np.empty(0), np.empty((len(matrix), 0))

    monkeypatch.setattr(scipy.linalg, "eigh", short)
    np.testing.assert_allclose(largest_eigen(matrix, 2).values, [14, 13])


def test_values_that_are_not_finite_are_refused() -> None:
    matrix = np.eye(4)
    matrix[1, 2] = matrix[2, 1] = np.nan
    with pytest.raises(DivergenceError, match="4 x 4"):
        symmetric_eigen(matrix)
    with pytest.raises(DivergenceError, match="4 x 4"):
        largest_eigen(matrix, 1)


@pytest.mark.parametrize("by_lanczos", [False, True])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_spectral_norm_of_coinciding_tiny_and_huge_values(
    scale: float, by_lanczos: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_lanczos:
        monkeypatch.setattr(spectral, "_SMALL_SIDE", 0)
        monkeypatch.setattr(spectral, "_GRAM_SIDE", 0)
    rng = np.random.default_rng(1)
    left, _ = np.linalg.qr(rng.standard_normal((90, 80)))
    right, _ = np.linalg.qr(rng.standard_normal((80, 80)))
    sizes = np.concatenate([np.ones(30), np.linspace(0.8, 0, 50)])
    matrix = csr_array(scale * ((left * sizes) @ right.T))
    top = top_singular(matrix, 2)
    np.testing.assert_allclose(top.values, scale, rtol=1e-6)
    assert top.bound >= scale * (1 - 1e-12)
    monkeypatch.undo()
    assert spectral_norm_by_gram(matrix) == pytest.approx(scale, rel=1e-9)
    assert spectral_norm_by_gram(matrix * 0) == 0


def test_an_operator_of_zeros_has_zeros_for_eigenvalues() -> None:
    found = largest_eigen_by_products(lambda x: 0 * x, np.ones(30), 3, tolerance=1e-6)
    np.testing.assert_array_equal(found.values, np.zeros(3))
    np.testing.assert_array_equal(found.vectors.T @ found.vectors, np.eye(3))


def test_an_invariant_subspace_gives_the_same_bits_each_time() -> None:
    """Four values, ten asked for: Lanczos goes on from vectors that must not be of chance."""
    groups = np.repeat(np.eye(4), 25, axis=0) / 5
    start = np.random.default_rng(0).standard_normal(100)
    one, two = (
        largest_eigen_by_products(lambda x: groups @ (groups.T @ x), start, 10, tolerance=1e-8)
        for _ in range(2)
    )
    np.testing.assert_allclose(one.values, [1] * 4 + [0] * 6, atol=1e-12)
    np.testing.assert_array_equal(one.vectors, two.vectors)


def grouped_tastes(n_groups: int) -> Interactions:
    """Users of a group take the same items and no others: as many directions as groups."""
    users, items = zip(
        *[(u, i) for u in range(60) for i in range(40) if u % n_groups == i % n_groups], strict=True
    )
    return Interactions.from_columns(users, items)


def test_directions_beyond_the_rank_of_the_table_are_zero_and_fits_repeat() -> None:
    table = grouped_tastes(4)
    directions = slow_directions(table.by_user, table.n_items, 10)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), [1] * 4 + [0] * 6, atol=1e-5)
    one, two = (
        GraphFilter(10, low_pass=0.3).fit(table).recommend(0, n=10, exclude_seen=False) for _ in range(2)
    )
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.items, two.items)
