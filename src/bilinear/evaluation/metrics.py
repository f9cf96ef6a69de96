"""Metrics: a name and a function of predicted ratings or of top lists, bilinear's own or the user's.

The only place with formulas of Recall and NDCG outside `bilinear.kernels.ranking`, which takes ties by
expectation; here lists are as they are, ties by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError
from bilinear.model.parameters import Array
from bilinear.registry import Registry

DEFAULT_K = 20
_PART = 1 << 18  # ratings whose errors are held at once

METRICS: Registry[Any] = Registry("metric", "bilinear.evaluation")
"""Functions by name: `recall`, `ndcg`, ..., `rmse`, `mae` and what `register_metric` adds."""


@dataclass(frozen=True)
class Metric:
    """A metric of top lists, such as "ndcg@20", or of predicted ratings, such as "rmse".

    Args:
        name: What reports call it; "name@k" for lists.
        function: Of lists: `function(items, hits, n_relevant)` with arrays of some users: items (n, k) rows
            of the listed items, best first, -1 past the end of a list; hits (n, k), whether each is relevant;
            n_relevant (n,), at least one each. Returns one value a user, (n,). Of ratings:
            `function(predictions, ratings)`, both (n,); returns a number.
        k: Length of the lists; None for a metric of ratings.
        larger_is_better: Which direction is better.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Metric
        >>> first = Metric("first@5", lambda items, hits, n_relevant: hits[:, 0], k=5)
        >>> hits = np.array([[True, False], [False, True]])
        >>> first.of_lists(np.array([[7, 3], [3, 9]]), hits, np.array([1, 2]))
        array([1., 0.])
        >>> Metric.named("recall@2").of_lists(np.array([[7, 3], [3, 9]]), hits, np.array([1, 2]))
        array([1. , 0.5])
        >>> Metric.named("mae").of_predictions(np.array([3.0, 4.0]), np.array([2.0, 4.0]))
        0.5
    """

    name: str
    function: Callable[..., Any] = field(repr=False)
    k: int | None = None
    larger_is_better: bool = True

    @classmethod
    def named(cls, name: str) -> Metric:
        """The metric of a registered function: "ndcg@20", "rmse".

        Raises:
            ParameterValueError: no such function, or no length where one is needed.
        """
        base, at, k = name.partition("@") if isinstance(name, str) else ("", "", "")
        found = cls.of(METRICS.get(base)) if base in METRICS else None
        counted = k.isascii() and k.isdigit() and int(k) >= 1
        if found is None or (found.k is None if at else found.k is not None) or (at and not counted):
            raise ParameterValueError(
                f"metric={name!r}; expected a name such as 'ndcg@20', 'recall@10' or another length, 'rmse' "
                f"or 'mae', a bilinear.Metric or a function; known: {', '.join(METRICS)}"
            )
        return replace(found, name=f"{base}@{int(k)}", k=int(k)) if at else found

    @classmethod
    def of(cls, metric: MetricLike) -> Metric:
        """The metric that an argument means: a name, a `Metric`, or a function.

        A function of three arguments is of lists of 20 items and larger is better; one of two is an error of
        predicted ratings and smaller is better, unless it was registered otherwise.
        """
        if isinstance(metric, Metric):
            return metric
        if not callable(metric):
            return cls.named(metric)
        name = str(getattr(metric, "__name__", type(metric).__name__))
        of_ratings = len(signature(metric).parameters) == 2
        larger = getattr(metric, "larger_is_better", not of_ratings)
        return cls(name, metric, None, larger) if of_ratings else cls(f"{name}@20", metric, DEFAULT_K, larger)

    @classmethod
    def of_rankings(cls, metric: MetricLike, *, maximised: bool = False) -> Metric:
        """As `of`, for what ranks.

        Args:
            maximised: Refuse a metric whose smaller values are better, as searches compare shares of values.

        Examples:
            >>> from bilinear import Metric
            >>> Metric.of_rankings("ndcg@20").k
            20
            >>> Metric.of_rankings("rmse")
            Traceback (most recent call last):
                ...
            bilinear.errors.ParameterValueError: metric='rmse'; expected a metric of lists, such as ...
        """
        found = cls.of(metric)
        if found.k is None or (maximised and not found.larger_is_better):
            wanted = "of lists, larger is better" if maximised else "of lists"
            raise ParameterValueError(
                f"metric={found.name!r}; expected a metric {wanted}, such as 'ndcg@20' or 'recall@10'"
            )
        return found

    @property
    def registered(self) -> bool:
        """Whether `named` finds this metric by its name."""
        base = self.name.partition("@")[0]
        return base in METRICS and METRICS.get(base) is self.function

    def of_lists(
        self, items: NDArray[Any], hits: NDArray[np.bool_], n_relevant: NDArray[Any]
    ) -> NDArray[np.float64]:
        """(n,) its value for each user; see `function`."""
        values = np.asarray(self.function(items, hits, n_relevant), np.float64)
        if values.shape != n_relevant.shape or not np.isfinite(values).all():
            raise ParameterValueError(
                f"metric {self.name!r}: expected one finite number a user, shape {n_relevant.shape}, got "
                f"shape {values.shape}, {np.count_nonzero(~np.isfinite(values))} of them not finite"
            )
        return values

    def of_predictions(self, predictions: NDArray[Any], ratings: NDArray[Any]) -> float:
        """Its value for predicted ratings."""
        return float(self.function(predictions, ratings))

    @property
    def worst(self) -> float:
        """The worst possible value."""
        return -np.inf if self.larger_is_better else np.inf

    def better(self, value: float, than: float) -> bool:
        """Whether a value is better than another."""
        return value > than if self.larger_is_better else value < than

    def saved_as(self) -> str:
        """The name by which a saved model finds it again."""
        if not self.registered:
            raise ParameterValueError(
                f"metric {self.name!r} cannot be saved, because load() finds metrics by name; decorate its "
                "function with @bilinear.register_metric"
            )
        return self.name

    def __call__(self, *arrays: Any) -> Any:
        """What the function returns, unchecked."""
        return self.function(*arrays)

    def __str__(self) -> str:
        return self.name


MetricLike = str | Metric | Callable[..., Any]
"""What `metric=` takes: "ndcg@20", a `Metric`, or a function (see `Metric.of`)."""


def register_metric(
    function: Callable[..., Any] | None = None, *, larger_is_better: bool | None = None
) -> Any:
    """Makes a function known by its name wherever a metric is named, and saved with models.

    Args:
        function: Of lists or of ratings, see `Metric`.
        larger_is_better: None: yes for lists, no for ratings.

    Returns:
        The function.

    Raises:
        ParameterValueError: Another function has this name.

    Examples:
        >>> from bilinear import Metric, register_metric
        >>> from bilinear.evaluation.metrics import METRICS
        >>> @register_metric
        ... def first_place(items, hits, n_relevant):
        ...     return hits[:, 0]
        >>> Metric.named("first_place@10")
        Metric(name='first_place@10', k=10, larger_is_better=True)
        >>> METRICS.discard("first_place")
    """
    if function is None:
        return lambda later: register_metric(later, larger_is_better=larger_is_better)
    if larger_is_better is not None:
        function.larger_is_better = larger_is_better  # type: ignore[attr-defined]
    function.saved_as = lambda: Metric.of(function).name  # type: ignore[attr-defined]
    return METRICS.add(cast("type[Any]", function))


def hits_in(
    items: NDArray[np.int32], starts: NDArray[np.int64], relevant: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Mask of the listed items that are relevant.

    Args:
        items: (n, k) rows of items, -1 past the end of a list.
        starts: (n + 1,) where each user's part of `relevant` begins.
        relevant: Rows of items; -1 is an item that has no row.

    Returns:
        (n, k).
    """
    users = np.arange(len(starts) - 1)
    stride = 1 + max(int(items.max(initial=0)), int(relevant.max(initial=0)))
    keys = np.repeat(users, np.diff(starts)) * stride + relevant
    places = np.where(items >= 0, users[:, None] * stride + items, -1)
    return np.isin(places, keys[relevant >= 0])


@register_metric
def recall(items: Array, hits: Array, n_relevant: Array) -> Array:
    """The share of the relevant items that is listed."""
    values: Array = hits.sum(axis=1) / n_relevant
    return values


@register_metric
def ndcg(items: Array, hits: Array, n_relevant: Array) -> Array:
    """Hits discounted by 1 / log2(1 + place), over the most that there could be."""
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    gains: Array = (hits @ discounts) / np.cumsum(discounts)[np.minimum(n_relevant, hits.shape[1]) - 1]
    return gains


@register_metric
def precision(items: Array, hits: Array, n_relevant: Array) -> Array:
    """The share of the places that are hits."""
    values: Array = np.asarray(hits.mean(axis=1))
    return values


@register_metric
def hit_rate(items: Array, hits: Array, n_relevant: Array) -> Array:
    """Whether there is a hit."""
    values: Array = np.asarray(hits.any(axis=1), np.float64)
    return values


@register_metric
def mrr(items: Array, hits: Array, n_relevant: Array) -> Array:
    """One over the place of the first hit, zero without any."""
    values: Array = hits.any(axis=1) / (1 + hits.argmax(axis=1))
    return values


@register_metric
def rmse(predictions: Array, ratings: Array) -> float:
    """The root of the mean squared error."""
    return float(_mean_of_errors(predictions, ratings, np.square) ** 0.5)


@register_metric
def mae(predictions: Array, ratings: Array) -> float:
    """The mean absolute error."""
    return _mean_of_errors(predictions, ratings, np.abs)


def _mean_of_errors(predictions: Array, ratings: Array, of: Callable[[Array], Array]) -> float:
    """In float64; memory: that of a part of the errors."""
    total = 0.0
    for first in range(0, len(ratings), _PART):
        errors = predictions[first : first + _PART] - ratings[first : first + _PART]
        total += float(of(errors.astype(np.float64)).sum())
    return float(total / len(ratings))


RMSE = Metric.of(rmse)
