"""Linear regression of every item on all others, in closed form; and on a few, for many items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike
from bilinear.errors import ParameterValueError
from bilinear.estimators.capabilities import HowTrained
from bilinear.estimators.history_model import value_used
from bilinear.estimators.neighbour_model import NeighbourModel, checked_exponent, checked_neighbours
from bilinear.estimators.ranking_model import rows_of
from bilinear.estimators.recent_history import RecentHistoryModel
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.update import Change
from bilinear.kernels.sparse_ease import add_dense_rows, item_products, regress_items
from bilinear.memory import require
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.neighbours import grouped_the_other_way, sums_by_row, walks
from bilinear.training.progress import Progress, reporter_of
from bilinear.training.thread_pool import Workers, workers

Precision = Literal["float32", "float64"]

_ROWS = 512
_RIDGE = 5.0  # times the mean of the diagonal
_DEAR = 8  # times as much work a row of an update is as an item in solving for all weights
_FEW = 8  # times as many items as users are where the products of the users are inverted
_LEAST_RIDGE = 0.01  # of the largest diagonal: with less, digits of float32 would be lost there
_MOST_PRODUCTS = 10_000  # items whose products SparseEASE may hold: 400 MB
_SOLVED = 3e5  # multiply-adds that an item's system costs, whatever its size
_LONG = 80.0  # interactions of a user from which on the ridge does not depend on their number


class _Learned(RecentHistoryModel):
    weights_: Array
    inverse_diagonal_: Array | None
    l2_: float


@register
@dataclass(repr=False, eq=False)
class EASE(_Learned):
    """score(user, j) = sum over the user's items i of confidence(i) * weights[i, j], weights[j, j] = 0.

    The weights minimise `|X - X W|^2 + l2 |W|^2` under the zero diagonal: convex, in closed form
    W = 1 - P diag(P)^-1 with P = (X^T X + l2)^-1. Source: Steck, "Embarrassingly shallow autoencoders for
    sparse data", WWW 2019.

    Args:
        l2: ridge, in interactions of an item; "auto" is five times the mean of what it is added to, and more
            where users have few interactions: see `default_l2`.
        precision: "float32" halves memory and time; "float64" for item counts in the millions.
        max_memory: gigabytes it may take; None takes what is free (see `bilinear.memory`).
        threshold, confidence, half_life: see `HistoryModel` and `RecentHistoryModel`.

    It has the learned attributes of `RecentHistoryModel` and these.

    Learned attributes:
        weights_: (n_items, n_items).
        inverse_diagonal_: (n_items,) the diagonal of P, which `update` needs; None in models stored without.
        l2_: the ridge that was used.
    Cost:
        n_items^2 numbers of memory, stated and checked before work begins; n_items^3 multiply-adds by
        LAPACK, in place: a minute or so for 20,000 items. Where items are eight times as many as users,
        n_items^2 * n_users.

    Examples:
        >>> from bilinear import EASE, Interactions
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> model = EASE(l2=1.0).fit(Interactions.from_columns(users, items))
        >>> model.recommend("bob", n=2)
        RankedItems(2 items: 'scone', 'beer')
        >>> model.weights_.shape
        (6, 6)
        >>> round(EASE().fit(Interactions.from_columns(users, items)).l2_, 3)  # 5 (10 / 6) sqrt(80 / 2.5)
        47.14
    """

    _updates = "exact"

    l2: float | Literal["auto"] = "auto"
    precision: Precision = "float32"
    max_memory: float | None = None

    bytes_a_pair: ClassVar[int] = 25
    remedy: ClassVar[str] = (
        "EASE keeps a weight for every pair of items, SparseEASE() a few an item; or leave out rare items"
    )

    @property
    def how_trained(self) -> HowTrained:
        return "closed form"

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Solves for all weights; returns self.

        Raises:
            MemoryLimitError: the weights do not fit into memory, or ParameterValueError: into max_memory;
                the message has the numbers.
        """
        _check_l2(self.l2)
        if self.precision not in get_args(Precision):
            raise ParameterValueError(f"precision={self.precision!r}; 'float32' or 'float64'")
        if self.max_memory is not None and not (is_real(self.max_memory) and self.max_memory > 0):
            raise ParameterValueError(f"max_memory={self.max_memory!r}; gigabytes, or None")
        table = self._positives(interactions)
        needed = self.memory_needed(table.n_items)
        if self.max_memory is not None and needed > self.max_memory * 1e9:
            raise ParameterValueError(
                f"EASE keeps a weight for every pair of items: {table.n_items:,} items need "
                f"{needed / 1e9:.1f} GB, and max_memory={self.max_memory:g}; {self.remedy}"
            )
        reporter_of(progress).note(f"EASE: {table.n_items:,} items take {needed / 1e9:.2f} GB")
        self._solve(table, self.l2)
        self._learn_positives(interactions, table.by_user)
        return self

    def _solve(self, table: Interactions, l2: float | Literal["auto"]) -> None:
        squares = np.bincount(table.items, table.ratings.astype(np.float64) ** 2, table.n_items)
        self.l2_ = default_l2(squares, table.by_user.counts) if l2 == "auto" else float(l2)
        self.seed_, dtype = None, np.dtype(self.precision)
        few = users_are_few(int(np.count_nonzero(table.by_user.counts)), table.n_items)
        if few and self.l2_ >= _LEAST_RIDGE * squares.max():
            self.weights_, self.inverse_diagonal_ = _weights_of_inverse(
                _inverse_by_users(table, self.l2_, dtype)
            )
            return
        with workers(None) as pool:
            products = _products(table.by_item, table.by_user, dtype, pool)
        np.fill_diagonal(products, products.diagonal() + self.l2_)
        self.weights_, self.inverse_diagonal_ = _weights_in_place(products)

    def _update(self, change: Change) -> None:
        """By the rows of the users that occur: P - P U' (C + U P U')^-1 U P.

        U has the rows of these users after and before, C is +1 and -1.

        Cost:
            O(n_items^2 * users), at most that of all weights anew; one more array of n_items^2.
        """
        table = self._positives(change.table)
        place = np.flatnonzero(change.item_rows >= 0)
        before = rows_of(self.positives_, change.user_rows[change.users])
        before = before._replace(indices=place[before.indices].astype(np.int32))
        now = rows_of(table.by_user, change.users)
        n_rows = np.count_nonzero(now.counts) + np.count_nonzero(before.counts)
        if self.inverse_diagonal_ is None or n_rows * _DEAR > table.n_items:
            self._solve(table, self.l2_)
        else:
            require(2 * self.memory_needed(table.n_items), f"an update of EASE for {table.n_items:,} items")
            inverse = _inverse_of(self.weights_, self.inverse_diagonal_, place, table.n_items, self.l2_)
            _update_inverse(inverse, now, before)
            self.weights_, self.inverse_diagonal_ = _weights_of_inverse(inverse)
        self._learn_positives(change.table, table.by_user)

    def memory_needed(self, n_items: int) -> int:
        """Bytes of the weights of so many items.

        Examples:
            >>> from bilinear import EASE
            >>> EASE().memory_needed(20_000) / 1e9
            1.6
        """
        return n_items * n_items * np.dtype(self.precision).itemsize

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        block = self.memory_needed(1) * _ROWS * n_items
        if users_are_few(n_users, n_items):
            block = (8 + self.memory_needed(1)) * n_users * n_items
        return super().bytes_to_fit(n_pairs, n_users, n_items) + self.memory_needed(n_items) + block

    def _scores_of(self, weighted: Grouped) -> Array:
        weights = self.weights_
        scores = np.zeros((len(weighted.counts), len(weights)), weights.dtype)
        confidences = weighted.ratings.astype(weights.dtype)
        add_dense_rows(weighted.indptr, weighted.indices, confidences, weights, scores)
        return scores.astype(np.float32, copy=False)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        tensors = {"weights": self.weights_}
        manifest = super()._state()[0] | {"l2": self.l2_}
        if self.inverse_diagonal_ is None:
            return manifest, tensors
        return manifest | {"updatable": True}, tensors | {"inverse_diagonal": self.inverse_diagonal_}

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        self.l2_ = value_used(self.l2, manifest, "l2")
        n_items = len(self.item_vocabulary_)
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision is {self.precision!r}")
        self.weights_ = tensor("weights", np.dtype(self.precision).type, n_items, n_items)
        for start in range(0, n_items, _ROWS):
            if not np.isfinite(self.weights_[start : start + _ROWS]).all():
                raise ValueError("weights has values that are not finite")
        self.inverse_diagonal_ = None  # of models stored before they could be updated
        if manifest.get("updatable"):
            found = tensor("inverse_diagonal", np.dtype(self.precision).type, n_items)
            if not (np.isfinite(found) & (found > 0)).all():
                raise ValueError("inverse_diagonal has values that are not positive numbers")
            self.inverse_diagonal_ = found


class _LearnedSparse(NeighbourModel):
    l2_: float


@register
@dataclass(repr=False, eq=False)
class SparseEASE(_LearnedSparse):
    """EASE for many items: item j is regressed on the `n_neighbours` items that say most about it.

    The sources of an item are those a random walk reaches it from most (`RandomWalk`, exponents one
    half); then its weights minimise sum over users of d_u^-user_exponent (x_uj - sum over sources i of
    w_i x_ui)^2 + l2 `|w|^2`, exactly. With all items as sources it is EASE; with a few it takes
    seconds where EASE takes minutes, and the choice of sources keeps noise out.

    Args:
        n_neighbours: sources of an item.
        l2: ridge, in interactions of an item; "auto" is five times the mean of what it is added to, and more
            where users have few interactions: see `default_l2`.
        user_exponent: how much less a user with many interactions (d_u, their weight) counts.
        zero: not.
        n_threads: None takes all cores; the result is the same for any number.
        threshold, confidence, half_life: see `HistoryModel` and `RecentHistoryModel`.

    It has the learned attributes of `NeighbourModel` and these. Nothing is random.

    Learned attributes:
        l2_: the ridge that was used.

    Source:
        the regression is SLIM's (Ning, Karypis, ICDM 2011) without its sign constraint, and with the
        sources chosen beforehand, as its fsSLIM does.
    Cost:
        O(n_neighbours^3 + n_neighbours * interactions of an item's users) an item; 8 bytes a weight. Up to
        10,000 items, where it is less work, the products of all items are made once, as for `EASE`:
        O(sum over users of their interactions squared), and n_items^2 numbers of memory.

    Examples:
        >>> from bilinear import Interactions, SparseEASE
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> model = SparseEASE(n_neighbours=2, l2=1.0).fit(Interactions.from_columns(users, items))
        >>> model.recommend("bob", n=1).items
        array(['scone'], dtype=object)
    """

    _updates = "exact"

    n_neighbours: int = 100
    l2: float | Literal["auto"] = "auto"
    user_exponent: float = 0.0
    n_threads: int | None = None

    @property
    def how_trained(self) -> HowTrained:
        return "closed form"

    def fit(self, interactions: InteractionsLike, *, progress: Progress | bool = False) -> Self:
        """Chooses the sources of every item and solves for its weights; returns self."""
        n_neighbours, exponent = (
            checked_neighbours(self.n_neighbours),
            checked_exponent("user_exponent", self.user_exponent),
        )
        _check_l2(self.l2)
        return self._regress(interactions, n_neighbours, exponent, self.l2, progress)

    def _update(self, change: Change) -> None:
        self._regress(change.table, self.n_neighbours, float(self.user_exponent), self.l2_)

    def _regress(
        self,
        interactions: Interactions,
        n_neighbours: int,
        exponent: float,
        l2: float | Literal["auto"],
        progress: Progress | bool = False,
    ) -> Self:
        table = self._positives(interactions)
        by_item, by_user, n_items = table.by_item, table.by_user, table.n_items
        dense = products_pay(n_items, n_neighbours, float(by_user.counts.astype(np.float64) @ by_user.counts))
        if dense:
            require(4 * n_items**2, f"SparseEASE of {n_items:,} items")
        valued = _valued(table, exponent)
        l2 = default_sparse_l2(table, exponent) if l2 == "auto" else float(l2)
        with workers(self.n_threads) as pool:
            sources = walks(by_item, by_user, 0.5, 0.5, 0.0, n_neighbours, pool)
            weights = np.empty(len(sources.indices), np.float32)
            reporter = reporter_of(progress)
            reporter.stage("sparse EASE", len(sources.indices))
            cuts = pool.shares(sources.counts)
            regress: _Regression | _RegressionOfProducts = _Regression(sources, valued, by_user, l2, weights)
            if dense:
                products = _products(valued, by_user, weights.dtype, pool)
                regress = _RegressionOfProducts(sources, products, l2, weights)
            for n, _ in enumerate(pool.each(regress, cuts)):
                reporter.advance(int(sources.indptr[cuts[n + 1]] - sources.indptr[cuts[n]]), 0.0)
        self.weights_, self.l2_ = grouped_the_other_way(sources._replace(ratings=weights), n_items), l2
        self.seed_ = None
        self._learn_positives(interactions, by_user)
        return self

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest, tensors = super()._state()
        return manifest | {"l2": self.l2_}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        self.l2_ = value_used(self.l2, manifest, "l2")


def default_l2(diagonal: NDArray[Any], user_counts: NDArray[Any]) -> float:
    """The ridge where it is "auto": five times the mean of the diagonal of X^T X, times max(1, sqrt(80 / n)).

    With equal confidences the mean is that of the number of interactions of an item; n is the mean
    number of interactions of a user. Users and items without interactions do not count, so that they do
    not change the model.

    Args:
        diagonal: (n_items,) squared confidences of an item, summed over its users.
        user_counts: (n_users,) interactions.
    Source:
        docs/decisions/0018-defaults-of-the-table.md.

    Examples:
        >>> import numpy as np
        >>> from bilinear.estimators.ease import default_l2
        >>> default_l2(np.array([2.0, 0.0, 4.0]), np.array([100, 60, 0]))
        15.0
        >>> default_l2(np.array([2.0, 0.0, 4.0]), np.array([20, 20, 20]))
        30.0
    """
    known = diagonal[diagonal > 0].astype(np.float64)
    n = float(user_counts[user_counts > 0].mean())
    return _RIDGE * float(known.mean()) * max(1.0, float(np.sqrt(_LONG / n)))


def default_sparse_l2(table: Interactions, user_exponent: float) -> float:
    """`default_l2` of the weighted squares that `SparseEASE` adds it to.

    Examples:
        >>> from bilinear import Interactions
        >>> from bilinear.estimators.ease import default_sparse_l2
        >>> table = Interactions.from_columns([1, 1, 2], [1, 2, 1])
        >>> round(default_sparse_l2(table, 0.0), 2)  # 7.5 sqrt(80 / 1.5)
        54.77
    """
    squares = _valued(table, user_exponent)
    squares = squares._replace(ratings=squares.ratings * table.by_item.ratings)
    return default_l2(sums_by_row(squares), table.by_user.counts)


def _valued(table: Interactions, user_exponent: float) -> Grouped:
    """The items' interactions, each times its user's weight to the power -user_exponent."""
    by_item = table.by_item
    users = np.maximum(sums_by_row(table.by_user), 1e-30) ** -user_exponent
    return by_item._replace(ratings=(by_item.ratings * users[by_item.indices]).astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Regression:
    """The weights of items a to b, into `out`."""

    sources: Grouped
    by_item: Grouped
    by_user: Grouped
    l2: float
    out: Array

    def __call__(self, a: int, b: int) -> None:
        regress_items(
            a, b, self.sources.indptr, self.sources.indices, *self.by_item, *self.by_user, self.l2, self.out
        )


@dataclass(frozen=True, eq=False)
class _RegressionOfProducts:
    """As `_Regression`, each item's system cut out of the `products` of all items (lower triangle)."""

    sources: Grouped
    products: Array
    l2: float
    out: Array

    def __call__(self, a: int, b: int) -> None:
        from scipy.linalg.lapack import get_lapack_funcs

        (solve,) = get_lapack_funcs(("posv",), (self.products,))
        scale = self.products.dtype.type(1 / self.l2)
        for item in range(a, b):
            at = slice(self.sources.indptr[item], self.sources.indptr[item + 1])
            rows = self.sources.indices[at]
            if not len(rows):
                continue
            system = self.products[np.ix_(rows, rows)] * scale  # rows ascend: its lower triangle is theirs
            np.fill_diagonal(system, system.diagonal() + 1)
            target = self.products[np.maximum(rows, item), np.minimum(rows, item)] * scale
            _, self.out[at], failed = solve(system, target, lower=1)
            assert not failed, "one plus products is positive definite"


def products_pay(n_items: int, n_neighbours: int, user_squares: float) -> bool:
    """Whether `SparseEASE` makes the products of all items first, as `EASE` does: by the table alone.

    Without them the interactions of an item's users are passed once for each of its sources.

    Args:
        user_squares: the sum of squares of the users' numbers of interactions.

    Examples:
        >>> from bilinear.estimators.ease import products_pay
        >>> products_pay(3_000, 100, 6e7), products_pay(10_000, 100, 3e6), products_pay(40_000, 100, 4e7)
        (True, False, False)
    """
    once = user_squares / 2 + n_items * (_SOLVED + 5.0 * n_neighbours**2)
    return n_items <= _MOST_PRODUCTS and once < n_neighbours * user_squares


def _check_l2(l2: Any) -> None:
    if l2 != "auto" and not (is_real(l2) and l2 > 0):
        raise ParameterValueError(f"l2={l2!r}; a positive number, or 'auto'")


def _products(by_item: Grouped, by_user: Grouped, dtype: np.dtype[Any], pool: Workers) -> Array:
    """(n_items, n_items) X^T X of the two sides of X, the lower triangle."""
    n_items = len(by_item.counts)
    out = np.empty((n_items, n_items), dtype)
    by_item, by_user = (rows._replace(ratings=rows.ratings.astype(dtype)) for rows in (by_item, by_user))
    pool.run(lambda a, b: item_products(a, b, *by_item, *by_user, out), pool.shares(by_item.counts + 1))
    return out


def users_are_few(n_users: int, n_items: int) -> bool:
    """Whether `EASE` inverts the products of the users instead of those of the items: n_items^2 * n_users.

    Examples:
        >>> from bilinear.estimators.ease import users_are_few
        >>> users_are_few(600, 9_000), users_are_few(6_000, 9_000)
        (True, False)
    """
    return n_users * _FEW <= n_items


def _inverse_by_users(table: Interactions, l2: float, dtype: np.dtype[Any]) -> Array:
    """(n_items, n_items) P = (X^T X + l2)^-1 = (1 - Z^T Z) / l2, with Z = L^-1 X and L L^T = X X^T + l2.

    Source:
        the identity of Woodbury.
    """
    from scipy.linalg import cholesky, solve_triangular

    kept = np.cumsum(table.by_user.counts > 0) - 1
    rows = np.zeros((int(kept[-1]) + 1, table.n_items))
    rows[kept[table.users], table.items] = table.ratings
    system = rows @ rows.T
    np.fill_diagonal(system, system.diagonal() + l2)
    factor = cholesky(system, lower=True, overwrite_a=True, check_finite=False)
    rows = solve_triangular(factor, rows, lower=True, overwrite_b=True, check_finite=False).astype(dtype)
    inverse: Array = rows.T @ rows
    inverse *= dtype.type(-1 / l2)
    np.fill_diagonal(inverse, inverse.diagonal() + dtype.type(1 / l2))
    return inverse


def _weights_in_place(products: Array) -> tuple[Array, Array]:
    """W of the lower triangle of X^T X + l2, in its memory, and the diagonal of the inverse."""
    from scipy.linalg.lapack import get_lapack_funcs

    # LAPACK counts columns first: its upper triangle is our lower one, and nothing is copied.
    factor, invert = get_lapack_funcs(("potrf", "potri"), (products,))
    transposed, failed = factor(products.T, lower=0, overwrite_a=1, clean=0)
    if not failed:
        transposed, failed = invert(transposed, lower=0, overwrite_c=1)
    if failed:
        raise ParameterValueError(
            f"X^T X + l2 is not positive definite in {products.dtype}: raise l2, or choose "
            "precision='float64'"
        )
    weights: Array = transposed.T
    n = len(weights)
    for start in range(0, n, _ROWS):
        stop = min(start + _ROWS, n)
        corner = np.tril(weights[start:stop, start:stop])
        weights[start:stop, start:stop] = corner + np.tril(corner, -1).T
        weights[start:stop, stop:] = weights[stop:, start:stop].T
    return _weights_of_inverse(weights)


def _weights_of_inverse(inverse: Array) -> tuple[Array, Array]:
    """W of P = (X^T X + l2)^-1, in its memory, and the diagonal of P."""
    diagonal: Array = inverse.diagonal().copy()
    for start in range(0, len(inverse), _ROWS):
        inverse[start : start + _ROWS] *= -1 / diagonal
    np.fill_diagonal(inverse, 0)
    return inverse, diagonal


def _inverse_of(weights: Array, diagonal: Array, place: NDArray[Any], n_items: int, l2: float) -> Array:
    """P of W and its diagonal, the items at `place` of `n_items`, the others without interactions."""
    inverse = np.zeros((n_items, n_items), weights.dtype)
    for start in range(0, len(weights), _ROWS):
        part = slice(start, start + _ROWS)
        inverse[np.ix_(place[part], place)] = -weights[part] * diagonal
    alone = np.full(n_items, 1 / l2, weights.dtype)
    alone[place] = diagonal
    np.fill_diagonal(inverse, alone)
    return inverse


def _update_inverse(inverse: Array, now: Grouped, before: Grouped) -> None:
    """(X^T X + l2)^-1, in place, where the users of `before` become those of `now`."""
    from scipy.sparse import csr_array, vstack

    n = len(inverse)
    sides = [
        csr_array((rows.ratings.astype(np.float64), rows.indices, rows.indptr), (len(rows.counts), n))
        for rows in (now, before)
    ]
    signs = np.repeat([1.0, -1.0], [side.shape[0] for side in sides])
    rows = vstack(sides, "csr")
    kept = np.flatnonzero(np.diff(rows.indptr))
    rows, signs = rows[kept], signs[kept]
    reach = np.empty((len(kept), n))  # U P
    for start in range(0, n, _ROWS):
        reach[:, start : start + _ROWS] = rows @ inverse[:, start : start + _ROWS].astype(np.float64)
    step = np.linalg.solve(np.diag(signs) + rows @ reach.T, reach)
    for start in range(0, n, _ROWS):
        inverse[start : start + _ROWS] -= reach[:, start : start + _ROWS].T @ step
