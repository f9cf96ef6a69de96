"""Vectors for indexes of nearest neighbours: their inner products make the lists that `recommend` makes."""

from __future__ import annotations

import numpy as np
import pytest

import bilinear
from bilinear.errors import ParameterValueError

TABLE = bilinear.synthetic_ratings(40, 30, 500, rng=0)
MODELS = {
    "ratings": bilinear.MatrixFactorization(
        n_factors=4, l2=0.1, l2_biases=0.1, solver=bilinear.SGD(n_epochs=3), validation_fraction=0, rng=0
    ),
    "sigmoid": bilinear.MatrixFactorization(
        n_factors=4, l2=0.1, l2_biases=0.1, link=bilinear.Sigmoid(), rating_range=(0, 6),
        solver=bilinear.SGD(n_epochs=3), validation_fraction=0, rng=0,
    ),
    "biases": bilinear.BiasModel(l2_biases=1.0),
    "all pairs": bilinear.ImplicitALS(n_factors=4, rng=0),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_lists_by_inner_product_are_those_of_recommend(name: str) -> None:
    model = MODELS[name].fit(TABLE)
    vectors = bilinear.search_vectors(model)
    assert vectors.users.dtype == vectors.items.dtype == np.float32
    assert vectors.users.flags.c_contiguous
    assert vectors.items.flags.c_contiguous
    for row, user in enumerate(vectors.user_ids.tolist()):
        best = np.argsort(-vectors.items @ vectors.users[row], kind="stable")[:10]
        expected = model.recommend(user, n=10, exclude_seen=False)
        scores = vectors.items[best] @ vectors.users[row]
        assert np.allclose(np.diff(scores), np.diff(expected.scores), atol=1e-5)
        if (np.diff(expected.scores) < -1e-5).all():  # equal scores may stand in either order
            assert vectors.item_ids[best].tolist() == expected.items.tolist()


@pytest.mark.parametrize("model", [bilinear.EASE(l2=20.0), bilinear.Popularity()])
def test_models_without_vectors_say_what_to_do(model: bilinear.EASE | bilinear.Popularity) -> None:
    with pytest.raises(ParameterValueError, match=r"write_everyone.*ImplicitALS"):
        bilinear.search_vectors(model.fit(TABLE))
