"""Models with chosen weights: what is seen inside them is known in advance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.packed_text import PackedText
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.rating_model import RatingModel
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import SquaredError
from bilinear.objective.penalties import L2
from bilinear.training.history import Epoch, History


def build_model(
    n_users: int = 40,
    n_items: int = 60,
    n_factors: int = 5,
    *,
    titles: Sequence[str] | None = None,
    genres: Sequence[str] | None = None,
    report: dict[str, Any] | None = None,
    seed: int = 0,
    dtype: type[np.floating[Any]] = np.float32,
) -> RatingModel:
    """A fitted model with random weights; item i has between 1 and n_users ratings.

    The last user and the last item of the vocabularies have no ratings and zero weights.
    """
    rng = np.random.default_rng(seed)
    n_rated = 1 + rng.permutation(np.arange(n_items) * (n_users - 1) // max(1, n_items - 1))
    items = np.repeat(np.arange(n_items), n_rated)
    users = np.concatenate([rng.permutation(n_users)[:n] for n in n_rated])
    table = Interactions.from_columns(
        [*users.tolist(), n_users],
        [*items.tolist(), n_items],
        [*rng.integers(1, 6, len(users)).astype(float), 3.0],
        source="chosen weights",
    )
    table = table.take((table.users < n_users) & (table.items < n_items))
    weights = {
        "user_biases": rng.normal(0, 0.4, n_users + 1),
        "item_biases": rng.normal(0, 0.3, n_items + 1),
        "user_factors": rng.normal(0, 0.5, (n_users + 1, n_factors)),
        "item_factors": rng.normal(0, 0.5, (n_items + 1, n_factors)) * np.geomspace(1, 0.2, n_factors),
    }
    for array in weights.values():
        array[-1] = 0
    model = MatrixFactorization(n_factors=n_factors)
    model.parameters_ = Parameters(3.2, **weights).astype(dtype)
    model.user_vocabulary_, model.item_vocabulary_ = table.user_vocabulary, table.item_vocabulary
    model.seen_, model.source_ = table.by_user, table.source
    model.link_, model.loss_, model.penalty_ = Identity(0.5, 5.0), SquaredError(), L2(0.1, 0.2)
    model.history_ = History(
        (Epoch(1, 1.0, 0.95, 0.1, 0.0, 0.5, 1e6), Epoch(2, 0.8, 0.91, 0.1, 0.0, 0.5, 1e6)), 2, "stopped early"
    )
    model.search_, model.seed_ = None, 0
    model.item_texts_, model.report_ = {}, report or {}
    if titles is not None:
        model.item_texts_["title"] = PackedText.of([*titles, "never rated"])
    if genres is not None:
        model.item_texts_["genres"] = PackedText.of([*genres, ""])
    return model


def counts_of(model: RatingModel) -> np.ndarray[Any, Any]:
    return np.bincount(model.seen_.indices, minlength=len(model.item_vocabulary_))
