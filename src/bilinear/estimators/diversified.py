"""Diversified lists: the first items of a model in an order that avoids what is alike, or of one category."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.features.encoder import FeatureEncoder
from bilinear.data.features.kinds import Categories
from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.data.items import Items
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
    categories_: Grouped | None
    _unit: Array | None = None


@register
@dataclass(repr=False, eq=False)
class Diversified(_Learned):
    """The first `pool` items of a model that the user has not seen, reordered by maximal marginal relevance.

    Item after item, the next is that with the largest

        (1 - trade) * relevance(i) - trade * max over those before of cosine(i, j),

    where relevance is the model's score, from 0 for the last of the pool to 1 for the first, and the cosine
    is of the model's own item vectors (`item_vectors`). With `most`, those of a category of which so many are
    before are passed over among the first `within` places, unless all that is left of the pool is such.
    Scores of the pool become places above all other scores. What it costs in NDCG and brings in diversity is
    measured as for any model: `compare` it with the model alone.

    Args:
        model: a ranking model with item vectors: `ImplicitALS`, `RankingFactorization`, or a `Blend` or
            `AutoRanker` that speaks through one; any with trade=0.
        trade: from 0, which reorders by `most` alone, to 1, which asks for difference alone.
        pool: items that are reordered; the others follow as they were.
        most: items of one category among the first `within`; None does not count them. `fit` then takes the
            table of items (`train --items`). An item of several categories counts in each.
        category: the column of that table; cells may list several, as "Drama|War".
        within: places; at least `most`, and at most `pool`.

    It has the learned attributes of `Recommender` and these.

    Learned attributes:
        model_: fitted.
        categories_: the categories of each item, by row, with `most`; else None.

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

        At most one film of a genre in front:

        >>> from bilinear import Interactions, Items, Popularity, Vocabulary
        >>> clicks = Interactions.from_columns([1, 2, 3, 1, 2, 1, 4], [7, 7, 7, 8, 8, 9, 6])
        >>> genres = {"genres": ["War", "War|Drama", "War", "Comedy"]}
        >>> films = Items(Vocabulary.from_ids([6, 7, 8, 9]), genres)
        >>> model = Diversified(Popularity(), trade=0, most=1, within=2).fit(clicks, items=films)
        >>> model.recommend(4, unknown="non-personal").items
        array([7, 9, 8])
    """

    model: RankingModel = field(default_factory=ImplicitALS)
    trade: float = 0.3
    pool: int = 100
    most: int | None = None
    category: str = "genres"
    within: int = 10

    uses_weights = "confidence"

    def fit(
        self,
        interactions: InteractionsLike,
        *,
        items: Items | None = None,
        progress: Progress | bool = False,
    ) -> Self:
        """Fits the model; returns self.

        Args:
            items: their titles, and with `most` their categories.
        """
        self._check()
        if self.most is not None and items is None:
            raise ParameterValueError(
                f"most={self.most!r} counts items of a category: give their table with "
                "fit(..., items=read_items(FILE)) (train --items FILE)"
            )
        encoder = None
        if self.most is not None and items is not None:
            encoder = FeatureEncoder.learn(items, [Categories(self.category)])
        self._take(fitted_whole(copied(self.model), interactions))
        self.categories_ = None
        if encoder is not None and items is not None:
            entries = encoder.encode(items, self.item_vocabulary_).blocks[0].entries
            self.categories_ = Grouped(entries.indptr, entries.indices, entries.values)
        return self

    def retrain(self, interactions: InteractionsLike, *, progress: Progress | None = None) -> Self:
        """As `Recommender.retrain`; the items keep their categories, and items that are new have none."""
        self._check()
        before, categories = self.item_vocabulary_, self.categories_
        self._take(copy(self.model_).retrain(interactions, progress=progress))
        if categories is not None:
            now = self.item_vocabulary_
            self.categories_ = rows_of(categories, before.encode(now.decode(np.arange(len(now)))))
        return self

    @property
    def counts_categories(self) -> bool:
        """Whether `fit` takes the table of items."""
        return self.most is not None

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
        vectors = self._unit_vectors() if self.trade else None
        found: Array = scores.astype(np.float64)
        size = min(self.pool, scores.shape[1])
        for row in range(len(scores)):
            hidden = seen.indices[seen.indptr[row] : seen.indptr[row + 1]]
            left = found[row].copy()
            left[hidden] = -np.inf
            first = np.argsort(-left, kind="stable")[: min(size, len(left) - len(hidden))]
            alike = None if vectors is None else vectors[first]
            caps = None if self.categories_ is None else self._caps(rows_of(self.categories_, first))
            order = first[marginal_relevance(left[first], alike, self.trade, caps)]
            top, span = found[row].max(), float(np.ptp(found[row])) or 1.0
            found[row, order] = top + span * np.arange(len(order), 0, -1) / self.pool
        return found

    def _caps(self, of_items: Grouped) -> Caps:
        assert self.most is not None
        _, columns = np.unique(of_items.indices, return_inverse=True)
        members = np.zeros((len(of_items.counts), columns.max(initial=-1) + 1), bool)
        members[np.repeat(np.arange(len(members)), of_items.counts), columns] = True
        return Caps(members, self.most, self.within)

    def _unit_vectors(self) -> Array:
        if self._unit is None:
            vectors = self.model_.item_vectors()
            assert vectors is not None
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            self._unit = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return self._unit

    def _take(self, model: RankingModel) -> None:
        if self.trade and model.item_vectors() is None:
            raise ParameterValueError(
                f"model={model!r} has no item vectors to tell what is alike; give ImplicitALS, "
                "RankingFactorization, or a Blend whose largest part is one of them, or trade=0"
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
        if self.most is not None and not (is_whole(self.most) and self.most >= 1):
            raise ParameterValueError(f"most={self.most!r}; a whole number of items, one or more, or None")
        if not (is_whole(self.within) and self.within >= 1):
            raise ParameterValueError(f"within={self.within!r}; a whole number of places, one or more")
        if self.most is not None and not self.most <= self.within <= self.pool:
            raise ParameterValueError(
                f"most={self.most} of a category within={self.within} places, of a pool={self.pool} that is "
                "reordered: most <= within <= pool, or nothing is held to it"
            )

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        described, tensors = nested_state(self.model_, "inside")
        if self.categories_ is None:
            return {"inside": described}, tensors
        tensors |= {f"categories.{name}": array for name, array in self.categories_._asdict().items()}
        return {"inside": described, "n_categories": len(self.categories_.indices)}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        self._check()
        inside = restore_nested(manifest["inside"], "inside", self, tensor)
        if not isinstance(inside, RankingModel) or (self.trade and inside.item_vectors() is None):
            raise ValueError("the model inside has no item vectors")
        self.model_, self._unit, self.categories_ = inside, None, None
        if self.most is not None:
            n, n_items = manifest["n_categories"], len(self.item_vocabulary_)
            indptr = tensor("categories.indptr", np.int64, n_items + 1)
            if indptr[0] != 0 or indptr[-1] != n or (np.diff(indptr) < 0).any():
                raise ValueError("categories.indptr does not divide the categories")
            indices = tensor("categories.indices", np.int32, n)
            self.categories_ = Grouped(indptr, indices, tensor("categories.ratings", np.float32, n))


class Caps(NamedTuple):
    """Caps on the categories of a list.

    Attributes:
        members: (n, n_categories) bool, which items are of which.
        most, within: items of each among so many places.
    """

    members: NDArray[np.bool_]
    most: int
    within: int


def marginal_relevance(
    scores: NDArray[Any], vectors: Array | None, trade: float, caps: Caps | None = None
) -> NDArray[np.int64]:
    """The order of items by maximal marginal relevance, see `Diversified`.

    Args:
        scores: (n,) descending.
        vectors: (n, any) of length one, or zero; None: nothing is alike.

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
        value, free = relevance if place == 0 else relevance - trade * nearest, open_
        if caps is not None and place < caps.within:
            full = caps.members[order[:place]].sum(axis=0) >= caps.most
            below = open_ & ~caps.members[:, full].any(axis=1)
            free = below if below.any() else open_
        order[place] = chosen = int(np.argmax(np.where(free, value, -np.inf)))
        open_[chosen] = False
        if vectors is not None:
            nearest = np.maximum(nearest, vectors @ vectors[chosen])
    return order
