"""Filters on the graph of users and items, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.eigen import largest_eigen_by_products
from bilinear.errors import ParameterValueError
from bilinear.estimators.neighbour_model import checked_exponent, checked_neighbours
from bilinear.estimators.recent_history import RecentHistoryModel
from bilinear.estimators.recommender import TensorReader
from bilinear.kernels.neighbours import add_two_steps
from bilinear.kernels.sparse_ease import add_dense_rows
from bilinear.model.blocks import score_block
from bilinear.model.parameters import Array, Parameters
from bilinear.persistence.codec import checked_size
from bilinear.registry import register
from bilinear.training.neighbours import grouped_the_other_way, sums_by_row
from bilinear.training.progress import Progress

_LEAST = 1e-30
_HEARD = 8_000  # interactions of the users that are listened to
_FEWEST_USERS = 20
_ZERO = 1e-6  # of the largest eigenvalue: the rounding of float32


class _Learned(RecentHistoryModel):
    directions_: Array
    n_neighbours_: int | None
    _prepared: _Prepared | None = None


class _Prepared(NamedTuple):
    """What scores are made from, beside a user's history."""

    by_item: Grouped
    scales: Array
    by_user: Grouped
    inwards: Array
    outwards: Parameters


@register
@dataclass(repr=False, eq=False)
class GraphFilter(_Learned):
    """A user's interactions, smoothed over the graph twice: locally, and along its slowest directions.

    With R the interactions of users with items, D_u and D_i the diagonals of their sums::

        linear    = r D_i^-item_exponent R^T D_u^-user_exponent R D_i^-popularity_exponent
        low-pass  = r D_i^-1/2 V V^T D_i^1/2
        score     = linear + low_pass * low-pass

    where V are the `n_directions` leading right singular vectors of D_u^-1/2 R D_i^-1/2. Exponents of
    1/2, 1 and 1/2 with low_pass=0.3 and all users are GF-CF (Shen et al., "How powerful is graph convolution
    for recommendation?", CIKM 2021). Of the users that r D_i^-item_exponent R^T D_u^-user_exponent reaches,
    the linear part listens to the `n_neighbours` it reaches most: users most like this one. What is left out
    is mostly noise of popular items, so the popularity exponent can then be zero.

    Args:
        n_neighbours: users that are listened to; None: all; "auto": as many as have 8,000 interactions
            together (of mean users), at least 20.
        n_directions: singular vectors of the low-pass part.
        low_pass: its weight; zero leaves it out,
            and with it nearly all of the time `fit` takes, at little loss where the exponents fit.
        item_exponent, user_exponent, popularity_exponent: as above.
        threshold, confidence, half_life: see `HistoryModel` and `RecentHistoryModel`.

    It has the learned attributes of `RecentHistoryModel` and these.

    Learned attributes:
        directions_: (n_items, n_directions), V.
        n_neighbours_: users that are listened to; None: all.
    Cost:
        some ten passes over the interactions a direction to fit (Lanczos); n_items * n_directions
        numbers; a user's score takes two steps over the graph and O(n_items * n_directions).

    Examples:
        >>> from bilinear import GraphFilter, Interactions
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> model = GraphFilter(low_pass=0.3, n_directions=2).fit(Interactions.from_columns(users, items))
        >>> model.recommend("bob", n=1).items
        array(['scone'], dtype=object)
        >>> model.fold_in(["beer"]).recommend(2).items
        array(['crisps', 'nuts'], dtype=object)
    """

    n_directions: int = 512
    low_pass: float = 0.0
    item_exponent: float = 0.7
    user_exponent: float = 0.7
    popularity_exponent: float = 0.0
    n_neighbours: int | Literal["auto"] | None = "auto"

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        needed = super().bytes_to_fit(n_pairs, n_users, n_items)
        if self.low_pass:  # two sparse matrices; Lanczos keeps two vectors a direction
            k = min(self.n_directions, n_users, n_items)
            needed += 32 * n_pairs + 8 * k * min(n_users, n_items) + 8 * k * n_items
        return needed

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Finds the slow directions; returns self."""
        self._check()
        table = self._positives(interactions)
        self.directions_ = (
            slow_directions(table.by_user, table.n_items, self.n_directions)
            if self.low_pass
            else np.zeros((table.n_items, 0), np.float32)
        )
        self.n_neighbours_ = self._users_to_hear(table.by_user)
        self.seed_, self._prepared = None, None
        self._learn_positives(interactions, table.by_user)
        return self

    def _scores_of(self, weighted: Grouped) -> Array:
        prepared = self._prepared or self._prepare()
        n_users = len(weighted.counts)
        slow = np.zeros((n_users, self.directions_.shape[1]), np.float32)
        add_dense_rows(*weighted, prepared.inwards, slow)
        users = replace(prepared.outwards, user_biases=np.zeros(n_users, np.float32), user_factors=slow)
        scores = score_block(users, np.arange(n_users))
        most = len(prepared.scales)
        k = most if self.n_neighbours_ is None else min(self.n_neighbours_, most)
        add_two_steps(*weighted, *prepared.by_item, prepared.scales, *prepared.by_user, k, scores)
        return scores

    def _prepare(self) -> _Prepared:
        n_items = len(self.item_vocabulary_)
        by_user = self.positives_
        by_item = grouped_the_other_way(by_user, n_items)
        items, users = np.maximum(sums_by_row(by_item), _LEAST), np.maximum(sums_by_row(by_user), _LEAST)
        first = by_item.ratings * np.repeat(items**-self.item_exponent, by_item.counts)
        second = by_user.ratings * items[by_user.indices] ** -self.popularity_exponent
        root = np.sqrt(items).astype(np.float32)[:, None]
        no_users = np.zeros(0, np.float32), np.zeros((0, self.directions_.shape[1]), np.float32)
        self._prepared = _Prepared(
            by_item._replace(ratings=first.astype(np.float32)),
            (users**-self.user_exponent).astype(np.float32),
            by_user._replace(ratings=second.astype(np.float32)),
            np.ascontiguousarray(self.low_pass * self.directions_ / root),
            Parameters(0.0, no_users[0], np.zeros(n_items, np.float32), no_users[1], self.directions_ * root),
        )
        return self._prepared

    def _users_to_hear(self, by_user: Grouped) -> int | None:
        return default_listeners(by_user) if self.n_neighbours == "auto" else self.n_neighbours

    def _check(self) -> None:
        for name in ("item_exponent", "user_exponent", "popularity_exponent"):
            checked_exponent(name, getattr(self, name))
        if self.n_neighbours is not None and self.n_neighbours != "auto":
            checked_neighbours(self.n_neighbours)
        if not (is_real(self.low_pass) and self.low_pass >= 0):
            raise ParameterValueError(f"low_pass={self.low_pass!r}; a number, zero or more")
        if not (is_whole(self.n_directions) and self.n_directions >= 1):
            raise ParameterValueError(f"n_directions={self.n_directions!r}; a whole number, one or more")

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest = {"n_directions": self.directions_.shape[1], "n_neighbours": self.n_neighbours_}
        return super()._state()[0] | manifest, {"directions": self.directions_}

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        self._check()
        if self.n_neighbours == "auto":
            self.n_neighbours_ = checked_neighbours(manifest["n_neighbours"])
        else:
            self.n_neighbours_ = self.n_neighbours
        n_directions = checked_size(manifest, "n_directions")
        self.directions_ = tensor("directions", np.float32, len(self.item_vocabulary_), n_directions)
        if not np.isfinite(self.directions_).all():
            raise ValueError("directions has values that are not finite")
        self._prepared = None


def default_listeners(by_user: Grouped) -> int:
    """The users that are listened to where it is "auto": 8,000 / n, at least 20.

    n is the mean number of interactions of users that have any.

    Source:
        docs/decisions/0018-defaults-of-the-table.md.

    Examples:
        >>> from bilinear import synthetic_catalogue
        >>> from bilinear.estimators.graph_filter import default_listeners
        >>> default_listeners(synthetic_catalogue(1000, 40, 60, rng=0).interactions.by_user)  # n = 25
        320
    """
    return max(_FEWEST_USERS, round(_HEARD / float(by_user.counts[by_user.counts > 0].mean())))


def slow_directions(by_user: Grouped, n_items: int, k: int) -> NDArray[np.float32]:
    """(n_items, k) leading right singular vectors of D_u^-1/2 R D_i^-1/2, largest first.

    At most as many as users or items less one. Signs: the largest entry of each is positive.
    """
    from scipy.sparse import csr_array

    users = np.maximum(sums_by_row(by_user), _LEAST)
    items = np.maximum(np.bincount(by_user.indices, by_user.ratings.astype(np.float64), n_items), _LEAST)
    values = by_user.ratings / np.sqrt(np.repeat(users, by_user.counts) * items[by_user.indices])
    shape = len(users), n_items
    matrix = csr_array((values.astype(np.float32), by_user.indices, by_user.indptr), shape=shape)
    other = matrix.T.tocsr()
    wide = n_items <= len(users)  # the smaller side has the cheaper vectors
    left, right = (other, matrix) if wide else (matrix, other)
    size = min(shape)
    k = min(k, size - 1)
    start = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    values, vectors = largest_eigen_by_products(lambda x: left @ (right @ x), start, k, tolerance=1e-4)
    vectors[:, values <= _ZERO * values[0]] = 0  # beyond the rank of the table any vector would do
    if not wide:
        vectors = other @ vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=0), _LEAST)
    vectors *= np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(k)])
    directions: NDArray[np.float32] = np.ascontiguousarray(vectors, np.float32)
    return directions
