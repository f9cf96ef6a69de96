"""The spectrum against the singular values of the dense users x items matrix."""

from __future__ import annotations

import numpy as np
import pytest
from inspection_cases import build_model

from bilinear.inspection.spectrum import Spectrum, balanced_item_factors, spectrum


def taste_of(model):
    users, items = model.parameters_.user_factors, model.parameters_.item_factors
    return users.astype(float) @ items.astype(float).T


def test_singular_values_are_those_of_the_dense_matrix():
    model = build_model()
    found = spectrum(model)
    dense = np.linalg.svd(taste_of(model), compute_uv=False)[:5]
    np.testing.assert_allclose(found.singular_values, dense, rtol=1e-6)
    np.testing.assert_allclose(found.shares, dense**2 / (dense**2).sum(), rtol=1e-6)


def test_taste_is_the_root_mean_square_over_users_and_items_with_ratings():
    model = build_model(n_users=40, n_items=60)
    assert spectrum(model).taste == pytest.approx(np.sqrt((taste_of(model)[:40, :60] ** 2).mean()), rel=1e-6)


def test_balanced_rows_have_the_inner_products_of_the_score_columns():
    model = build_model(n_users=40)
    balanced, taste = balanced_item_factors(model), taste_of(model)
    np.testing.assert_allclose(balanced @ balanced.T, taste.T @ taste / 40, atol=1e-12)


def test_blocks_of_users_add_up(monkeypatch):
    model = build_model()
    whole = spectrum(model).singular_values
    monkeypatch.setattr("bilinear.inspection.spectrum._BLOCK", 7)
    np.testing.assert_allclose(spectrum(model).singular_values, whole, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 4, 32])
def test_effective_rank_of_n_equal_singular_values_is_n(n):
    values = np.concatenate([np.full(n, 2.5), np.zeros(3)])
    assert Spectrum(values, values**2 / (values**2).sum(), 1.0).effective_rank == pytest.approx(n)


def test_effective_rank_of_two_values_is_the_exponential_of_their_entropy():
    values = np.array([3.0, 1.0])
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert Spectrum(values, values**2 / 10, 1.0).effective_rank == pytest.approx(expected)


@pytest.mark.parametrize(("share", "n"), [(0.5, 1), (0.6, 1), (0.61, 2), (0.9, 2), (1.0, 3)])
def test_directions_for_a_share(share, n):
    shares = np.array([0.6, 0.3, 0.1])
    assert Spectrum(np.sqrt(shares), shares, 1.0).directions_for(share) == n


def test_no_factors_no_spectrum():
    assert spectrum(build_model(n_factors=0)) is None
    model = build_model()
    model.parameters_.item_factors[:] = 0
    assert spectrum(model) is None
