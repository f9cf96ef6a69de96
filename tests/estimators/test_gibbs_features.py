"""Features as prior means of a posterior, and the rows of new ids after it."""

from __future__ import annotations

import numpy as np
import pytest
from problems import planted_table

from bilinear import Gibbs, Items, MatrixFactorization, Vocabulary


def test_a_chain_with_features_differs_and_new_items_follow_them() -> None:
    table = planted_table()
    means = np.bincount(table.items, table.ratings, table.n_items) / np.maximum(table.item_counts, 1)
    levels = [f"level {level}" for level in np.digitize(means, np.quantile(means, [0.3, 0.6]))]
    films = Items(Vocabulary.from_ids(list(table.item_vocabulary)), {"liked": levels}, source="films")
    settings = {"n_factors": 2, "rng": 0, "solver": Gibbs(n_epochs=30)}
    plain = MatrixFactorization(**settings).fit(table)
    model = MatrixFactorization(**settings, item_features=["liked"]).fit(table, items=films)
    assert not np.array_equal(plain.parameters_.item_biases, model.parameters_.item_biases)
    ids = [10_001, 10_002] if table.item_vocabulary.kind == "integer" else ["new a", "new b"]
    new = Items(Vocabulary.from_ids(ids), {"liked": ["level 0", "level 2"]})
    wider = model.new_items(new)
    low, high = (wider.parameters_.item_biases[wider.item_vocabulary_.row(one)] for one in ids)
    assert low < high
    assert wider.fold_in([], []).scores == pytest.approx(
        wider.parameters_.global_mean + wider.parameters_.item_biases, abs=1e-5
    )
