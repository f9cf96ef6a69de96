"""Vectors for FAISS, hnswlib and pgvector: their inner products rank items as the model does."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.model.parameters import Parameters


class SearchVectors(NamedTuple):
    """Users and items as vectors, ids beside them.

    Attributes:
        user_ids, item_ids: (n_users,) and (n_items,).
        users, items: (n_users, n_factors + 1) and (n_items, n_factors + 1), float32. The last column is 1 for
            users and the bias for items, so that <users[u], items[i]> is the score less what is the same for
            all items of a user.
    """

    user_ids: NDArray[Any]
    users: NDArray[np.float32]
    item_ids: NDArray[Any]
    items: NDArray[np.float32]


def search_vectors(model: Recommender) -> SearchVectors:
    """User and item vectors whose inner products rank items as `model.recommend` does.

    Seen items are not left out by an index: ask it for as many more as the user has seen.

    Raises:
        ParameterValueError: scores of this model are not inner products of vectors.
        NotFittedError: the model is not fitted.
    Cost:
        a copy of the factors.

    Examples:
        >>> import numpy as np
        >>> from bilinear import ImplicitALS, search_vectors, synthetic_catalogue
        >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
        >>> model = ImplicitALS(n_factors=8, rng=0).fit(clicks)
        >>> vectors = search_vectors(model)
        >>> best = np.argsort(-vectors.items @ vectors.users[0])[:5]
        >>> found = model.recommend(vectors.user_ids[0], n=5, exclude_seen=False)
        >>> vectors.item_ids[best].tolist() == found.items.tolist()
        True
    """
    parameters: Parameters | None = model.dot_product()
    if parameters is None:
        raise ParameterValueError(
            f"scores of a {type(model).__name__} are not inner products of user and item vectors; hand over "
            "its lists instead (bilinear.write_everyone), or train MatrixFactorization, ImplicitALS or "
            "RankingFactorization"
        )
    ones = np.ones((parameters.n_users, 1), np.float32)
    return SearchVectors(
        model.user_vocabulary_.decode(np.arange(parameters.n_users)),
        np.hstack([parameters.user_factors, ones], dtype=np.float32),
        model.item_vocabulary_.decode(np.arange(parameters.n_items)),
        np.hstack([parameters.item_factors, parameters.item_biases[:, None]], dtype=np.float32),
    )
