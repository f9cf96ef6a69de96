"""Nearest items against all cosines, written out."""

from __future__ import annotations

import numpy as np
import pytest
from inspection_cases import build_model, counts_of

from bilinear.inspection.neighbours import nearest_of_each, neighbours


def cosines_of(factors):
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True).clip(1e-300)
    return unit @ unit.T


def test_neighbours_are_those_of_the_table_of_all_cosines():
    model = build_model()
    counts, ids = counts_of(model), model.item_vocabulary_
    cosines = cosines_of(model.parameters_.item_factors.astype(float))
    found = neighbours(model, 6, n_neighbours=4, min_ratings=9)
    most_rated = sorted(range(len(counts)), key=lambda row: (-counts[row], row))[:6]
    assert [each.id for each in found] == [ids[row] for row in most_rated]
    for each, row in zip(found, most_rated, strict=True):
        others = [other for other in range(len(counts)) if other != row and counts[other] >= 9]
        best = sorted(others, key=lambda other: -cosines[row, other])[:4]
        assert [near.id for near in each.neighbours] == [ids[other] for other in best]
        np.testing.assert_allclose([near.cosine for near in each.neighbours], cosines[row, best], rtol=1e-5)
        assert [near.n_ratings for near in each.neighbours] == counts[best].tolist()


def test_neighbours_agree_with_similar():
    model = build_model()
    (found,) = neighbours(model, 1, n_neighbours=5, min_ratings=1)
    rated = [id_ for id_, count in zip(model.item_vocabulary_, counts_of(model), strict=True) if count]
    ranked = model.similar(found.id, 5, candidates=rated)
    assert [near.id for near in found.neighbours] == list(ranked)
    np.testing.assert_array_equal(
        np.array([near.cosine for near in found.neighbours], np.float32), ranked.scores
    )


def test_an_item_never_rated_is_nobodys_neighbour():
    model = build_model(n_items=4)
    found = neighbours(model, 10, n_neighbours=10, min_ratings=1)
    assert len(found) == 4
    never = model.item_vocabulary_[4]
    assert all(near.id != never for each in found for near in each.neighbours)
    assert all(len(each.neighbours) == 3 for each in found)


def test_without_factors_there_are_no_neighbours():
    assert neighbours(build_model(n_factors=0)) == ()


@pytest.mark.parametrize("k", [1, 3, 50])
def test_nearest_of_each_equals_sorting_all_cosines(k):
    rng = np.random.default_rng(1)
    unit = rng.normal(size=(20, 4)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    asked = np.array([0, 7, 19], np.int32)
    rows, cosines, counts = nearest_of_each(unit, asked, k)
    table = cosines_of(unit.astype(float))
    for n, row in enumerate(asked):
        twin = [other for other in np.argsort(-table[row]) if other != row][:k]
        assert counts[n] == len(twin)
        assert rows[n, : counts[n]].tolist() == twin
        np.testing.assert_allclose(cosines[n, : counts[n]], table[row, twin], atol=1e-6)
