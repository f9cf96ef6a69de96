"""Diversified lists: the first items of a model in an order that avoids what is alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.errors import ParameterValueError
from bilinear.estimators.capabilities import Contributions, HowTrained, ItemWeights, Rows, Values
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.nested_models import copied, fitted_whole, nested_state, restore_nested, take_table
from bilinear.estimators.ranking_model import RankingModel, rows_of
from bilinear.estimators.recommender import TensorReader
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.progress import Progress


class _Learned(RankingModel):
    model_: RankingModel
    _unit: Array | None = None


@register
@dataclass(repr=False, eq=False)
class Diversified(_Learned):
    """The first `pool` items of a model that the user has not seen, reordered by maximal marginal relevance.

    Item after item, the next is that with the largest

        (1 - trade) * relevance(i) - trade * max over those before of cosine(i, j),

    where relevance is the model's score, from 0 for the last of the pool to 1 for the first, and the cosine
    is of the model's own item vectors (`item_vectors`). Scores of the pool become places above all other
    scores. What it costs in NDCG and brings in diversity is measured as for any model: `compare` it with the
    model alone.

    Args:
        model: a ranking model with item vectors: `ImplicitALS`, `RankingFactorization`, or a `Blend` or
            `AutoRanker` that speaks through one.
        trade: from 0, which changes nothing, to 1, which asks for difference alone.
        pool: items that are reordered; the others follow as they were.

    It has the learned attributes of `Recommender` and these.

    Learned attributes:
        model_: fitted.

    Source:
        Carbonell, Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998.
    Cost:
        the model's, and O(pool^2 * n_factors) a user.

    Examples:
        >>> from bilinear import Diversified, ImplicitALS, synthetic_catalogue
        >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
        >>> model = Diversified(ImplicitALS(n_factors=8, l2=0.01, rng=0), trade=0.5, pool=20).fit(clicks)
        >>> alone, spread = model.model_.recommend(7, 20).items, model.recommend(7, 20).items
        >>> (alone[:2] == spread[:2]).tolist(), sorted(alone) == sorted(spread)
        ([True, False], True)
    """

    model: RankingModel = field(default_factory=ImplicitALS)
    trade: float = 0.3
    pool: int = 100

    uses_weights = "confidence"

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Fits the model; returns self."""
        self._check()
        self._take(fitted_whole(copied(self.model), interactions))
        return self

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """(n, n_items) scores, the pool reordered, see `Recommender.score_block`."""
        return self._reordered(self.model_.score_block(user_rows), rows_of(self.seen_, user_rows))

    def score_histories(self, histories: Grouped) -> Array:
        """(n, n_items) scores, the pool reordered, see `Recommender.score_histories`."""
        return self._reordered(self.model_.score_histories(histories), histories)

    def score_timed_histories(self, histories: Grouped, times: NDArray[np.float64]) -> Array:
        return self._reordered(self.model_.score_timed_histories(histories, times), histories)

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        return self.model.bytes_to_fit(n_pairs, n_users, n_items)

    @property
    def uses_times(self) -> bool:
        return self._inside.uses_times

    @property
    def weighs_interactions(self) -> bool:
        return self._inside.weighs_interactions

    @property
    def how_trained(self) -> HowTrained:
        return self._inside.how_trained

    def needs_ratings(self) -> bool:
        return self.model.needs_ratings()

    def item_vectors(self) -> Array | None:
        return self.model_.item_vectors()

    def contributions(self, items: Rows, ratings: Values, item: int | ItemWeights) -> Contributions:
        """Those of the model's score, before the reordering."""
        return self.model_.contributions(items, ratings, item)

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        return self.model_._alike(item_row, n, allowed)

    @property
    def _inside(self) -> RankingModel:
        found: RankingModel = vars(self).get("model_", self.model)
        return found

    def _reordered(self, scores: Array, seen: Grouped) -> Array:
        vectors = self._unit_vectors()
        found: Array = scores.astype(np.float64)
        size = min(self.pool, scores.shape[1])
        for row in range(len(scores)):
            hidden = seen.indices[seen.indptr[row] : seen.indptr[row + 1]]
            left = found[row].copy()
            left[hidden] = -np.inf
            first = np.argsort(-left, kind="stable")[: min(size, len(left) - len(hidden))]
            order = first[marginal_relevance(left[first], vectors[first], self.trade)]
            top, span = found[row].max(), float(np.ptp(found[row])) or 1.0
            found[row, order] = top + span * np.arange(len(order), 0, -1) / self.pool
        return found

    def _unit_vectors(self) -> Array:
        if self._unit is None:
            vectors = self.model_.item_vectors()
            assert vectors is not None
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            self._unit = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return self._unit

    def _take(self, model: RankingModel) -> None:
        if model.item_vectors() is None:
            raise ParameterValueError(
                f"model={model!r} has no item vectors to tell what is alike; give ImplicitALS, "
                "RankingFactorization, or a Blend whose largest part is one of them"
            )
        self.model_, self._unit, self.seed_ = model, None, model.seed_
        take_table(self, model)

    def _check(self) -> None:
        if not isinstance(self.model, RankingModel):
            raise ParameterValueError(f"model={self.model!r}; a ranking model")
        if not (is_real(self.trade) and 0 <= self.trade <= 1):
            raise ParameterValueError(f"trade={self.trade!r}; a number from 0 to 1")
        if not (is_whole(self.pool) and self.pool >= 1):
            raise ParameterValueError(f"pool={self.pool!r}; a whole number of items, one or more")

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        described, tensors = nested_state(self.model_, "inside")
        return {"inside": described}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        self._check()
        inside = restore_nested(manifest["inside"], "inside", self, tensor)
        if not isinstance(inside, RankingModel) or inside.item_vectors() is None:
            raise ValueError("the model inside has no item vectors")
        self.model_, self._unit = inside, None


def marginal_relevance(scores: NDArray[Any], vectors: Array, trade: float) -> NDArray[np.int64]:
    """The order of items by maximal marginal relevance, see `Diversified`.

    Args:
        scores: (n,) descending.
        vectors: (n, any) of length one, or zero.

    Examples:
        >>> import numpy as np
        >>> from bilinear.estimators.diversified import marginal_relevance
        >>> marginal_relevance(np.array([3.0, 2.9, 1.0]), np.array([[1.0, 0], [1, 0], [0, 1]]), 0.6)
        array([0, 2, 1])
    """
    n = len(scores)
    span = float(scores[0] - scores[-1]) if n else 0.0
    relevance = (1 - trade) * (scores - scores[-1]) / span if span > 0 else np.zeros(n)
    order, nearest = np.empty(n, np.int64), np.full(n, -1.0)
    open_ = np.ones(n, bool)
    for place in range(n):
        value = relevance if place == 0 else relevance - trade * nearest
        order[place] = chosen = int(np.argmax(np.where(open_, value, -np.inf)))
        open_[chosen] = False
        nearest = np.maximum(nearest, vectors @ vectors[chosen])
    return order
