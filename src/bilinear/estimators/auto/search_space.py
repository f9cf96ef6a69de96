"""Search space: which ranking models and arguments a search tries, and what a trial costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.ease import (
    EASE,
    SparseEASE,
    default_l2,
    default_sparse_l2,
    products_pay,
    users_are_few,
)
from bilinear.estimators.graph_filter import GraphFilter, default_listeners
from bilinear.estimators.history_model import Confidence
from bilinear.estimators.implicit_als import ImplicitALS, default_unobserved_weight
from bilinear.estimators.implicit_als import default_l2 as default_implicit_l2
from bilinear.estimators.item_knn import ItemKNN, default_similarity
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.ranking_model import RankingModel
from bilinear.estimators.recent_history import HALF_LIVES, RecentHistoryModel
from bilinear.estimators.transitions import Transitions
from bilinear.memory import available, shown
from bilinear.model.blocks import checked_threads
from bilinear.objective.ranking_losses import CosineContrastive, SampledSoftmax
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam
from bilinear.training.schedules import Cosine
from bilinear.training.similarities import BM25, TFIDF, CosineSimilarity

GridPoint = Mapping[str, int]
"""A place in each argument's grid."""

_MOST_MEMORY = 0.6  # of what is free
_LONGEST = 600.0  # core-seconds a trial of searches that count trials
_LISTED = 7e-9  # core-seconds an item: a user's list is made and evaluated
_FACTORS_RATE, _PRODUCTS_RATE = 2e10, 2e9  # multiply-adds a core-second of scores


@dataclass(frozen=True)
class Sizes:
    """Sizes of a table, on which the cost of a trial depends.

    Attributes:
        pairs: interactions.
        user_squares, item_squares: the sums of squares of users' and items'
        counts: steps of a walk there and back.
    """

    n_users: int
    n_items: int
    pairs: int
    user_squares: float
    item_squares: float

    @classmethod
    def of(cls, table: Interactions) -> Sizes:
        users = table.by_user.counts.astype(np.float64)
        items = np.bincount(table.items, minlength=table.n_items).astype(np.float64)
        squares = float(users @ users), float(items @ items)
        return cls(max(int((users > 0).sum()), 1), table.n_items, table.n_ratings, *squares)


Arguments = dict[str, Any]


@dataclass(frozen=True)
class ModelFamily:
    """A kind of model, the grid of its arguments, and its cost.

    Attributes:
        grid: values of each argument, in an order in which neighbours are alike; of one that has a default
            by the table, multiples of it.
        default: the place in the grid that is tried first.
        fit_work, score_work: multiply-adds, about: to fit, and to score one user.
        rate, score_rate: multiply-adds a second of one core of them; measured on one machine, and fixed, so
            that a budget of work means the same on all.
        fixed: arguments that are not searched.
        resolved: arguments from the values of the grid: multiples times the table's default. The table is
            that of the positives, with confidences as ratings.
        starts: further places that are tried first.
    """

    model: type[RankingModel]
    grid: Mapping[str, tuple[Any, ...]]
    default: GridPoint
    fit_work: Callable[[Sizes, Any], float]
    score_work: Callable[[Sizes, Any], float]
    rate: float
    score_rate: float = 2.5e8
    fixed: Mapping[str, Any] = field(default_factory=dict)
    resolved: Callable[[Arguments, Interactions], Arguments] = lambda values, _: values
    starts: tuple[GridPoint, ...] = ()

    @property
    def name(self) -> str:
        return self.model.__name__

    def make(self, choice: GridPoint, shared: Mapping[str, Any], positives: Interactions) -> Any:
        """The unfitted model at a place of the grid; of `shared` it takes the arguments that it has."""
        known = self.model.__dataclass_fields__  # type: ignore[attr-defined]
        mine = {name: value for name, value in shared.items() if name in known}
        return self.model(**self.fixed, **self._arguments(choice, positives), **mine)

    def describe(self, choice: GridPoint, positives: Interactions) -> str:
        """A place of the grid in words, without what all trials have in common."""
        return repr(self.model(**self._arguments(choice, positives)))

    def _arguments(self, choice: GridPoint, positives: Interactions) -> Arguments:
        chosen = {name: values[choice[name]] for name, values in self.grid.items()}
        return self.resolved(chosen, positives)

    def fit_seconds(self, sizes: Sizes, model: Any) -> float:
        """Estimate of a fit, in seconds of one core."""
        return self.fit_work(sizes, model) / self.rate

    def score_seconds(self, sizes: Sizes, model: Any, n_users: int) -> float:
        """Estimate of scoring and evaluating so many users, in seconds of one core."""
        return n_users * (self.score_work(sizes, model) / self.score_rate + _LISTED * sizes.n_items)

    def memory_refusal(self, sizes: Sizes, model: Any) -> str:
        """Why memory does not allow it; empty where it does."""
        free, needed = available(), model.bytes_to_fit(sizes.pairs, sizes.n_users, sizes.n_items)
        if free is None or needed <= _MOST_MEMORY * free:
            return ""
        return f"needs {shown(needed)} of memory, more than {_MOST_MEMORY:.0%} of the {shown(free)} free"

    def bearable(self, sizes: Sizes, model: Any) -> bool:
        """Whether a trial would take about ten minutes of one core at most."""
        return self.fit_seconds(sizes, model) <= _LONGEST

    def neighbour(self, choice: GridPoint, rng: np.random.Generator) -> GridPoint:
        """A place near by: one or two arguments moved by one or two steps."""
        if not self.grid:
            return dict(choice)
        moved = dict(choice)
        movable = [name for name, values in self.grid.items() if len(values) > 1]
        for name in rng.permutation(movable)[: int(rng.integers(1, 3))].tolist():
            step = int(rng.choice([-2, -1, -1, 1, 1, 2]))
            last = len(self.grid[name]) - 1
            at = min(max(moved[name] + step, 0), last)
            moved[name] = at if at != moved[name] else min(max(moved[name] - step, 0), last)
        return moved


def _per_user_walk(sizes: Sizes, model: Any) -> float:
    reached = sizes.item_squares / sizes.n_users  # users met over a user's items, each with its items
    return min(reached * sizes.user_squares / max(sizes.pairs, 1), 2.0 * sizes.pairs) + sizes.n_items


def _per_user_neighbours(sizes: Sizes, model: Any) -> float:
    return sizes.pairs / sizes.n_users * int(model.n_neighbours) + sizes.n_items


def _ease_work(sizes: Sizes, model: Any) -> float:
    inner = sizes.n_users if users_are_few(sizes.n_users, sizes.n_items) else sizes.n_items
    return float(sizes.n_items) ** 2 * inner + 50.0 * sizes.user_squares


def _sparse_ease_work(sizes: Sizes, model: Any) -> float:
    k = min(int(model.n_neighbours), sizes.n_items)
    if products_pay(sizes.n_items, k, sizes.user_squares):
        return 0.5 * (sizes.user_squares + sizes.n_items * (3e5 + 5.0 * k**2))
    return sizes.n_items * k**3 / 6.0 + 2.0 * k * sizes.user_squares


def _als_work(sizes: Sizes, model: Any) -> float:
    k, rows = model.n_factors, sizes.n_users + sizes.n_items
    mean = 2.0 * sizes.pairs / rows
    return float((model.n_epochs + 0.5) * (sizes.pairs * k * min(mean, k) + rows * k * k))


def _sampled_work(sizes: Sizes, model: Any) -> float:
    epoch = sizes.n_users * min(model.n_negatives, sizes.n_items) + 3.0 * sizes.pairs
    return float(model.solver.n_epochs * epoch * model.n_factors)


def _squares(sizes: Sizes, model: Any) -> float:
    return 2.0 * sizes.user_squares + 20.0 * sizes.pairs


def _of_factors(sizes: Sizes, model: Any) -> float:
    return float(sizes.n_items * model.n_factors)


def _times(multiple: float, default: float) -> float | str:
    """So many times the default of the table; once is "auto", so that another table has its own."""
    return "auto" if multiple == 1 else float(f"{multiple * default:.3g}")


def _ridge(values: Arguments, table: Interactions) -> Arguments:
    squares = np.bincount(table.items, table.ratings.astype(np.float64) ** 2)
    return values | {"l2": _times(values["l2"], default_l2(squares, table.by_user.counts))}


def _sparse_ridge(values: Arguments, table: Interactions) -> Arguments:
    return values | {"l2": _times(values["l2"], default_sparse_l2(table, values["user_exponent"]))}


def _weights(values: Arguments, table: Interactions) -> Arguments:
    default = default_unobserved_weight(table)
    weight = _times(values["unobserved_weight"], default)
    l2 = default_implicit_l2(table, default if weight == "auto" else float(weight))
    return values | {"unobserved_weight": weight, "l2": _times(values["l2"], l2)}


def _shrinkage(values: Arguments, table: Interactions) -> Arguments:
    if isinstance(values["similarity"], BM25):
        return values
    kind, multiple = values["similarity"]
    shrinkage = _times(multiple, default_similarity(table).shrinkage)
    similarity = "auto" if kind is CosineSimilarity and shrinkage == "auto" else None
    if similarity is None:
        similarity = kind(default_similarity(table).shrinkage if shrinkage == "auto" else shrinkage)
    return values | {"similarity": similarity}


def _listeners(values: Arguments, table: Interactions) -> Arguments:
    multiple = values["n_neighbours"]
    if multiple is None or multiple == 1:
        return values | {"n_neighbours": None if multiple is None else "auto"}
    return values | {"n_neighbours": max(1, round(multiple * default_listeners(table.by_user)))}


_MULTIPLES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0)
_ONCE, _QUARTER, _FOURFOLD = 4, 2, 6  # places in it

KINDS: tuple[ModelFamily, ...] = (
    ModelFamily(
        Popularity,
        {},
        {},
        lambda sizes, model: sizes.pairs,
        lambda sizes, model: sizes.n_items,
        rate=1e8,
    ),
    ModelFamily(
        GraphFilter,
        {
            "item_exponent": (0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0),
            "user_exponent": (0.3, 0.5, 0.7, 0.85, 1.0),
            "popularity_exponent": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
            "n_neighbours": (1 / 4, 1 / 2, 1.0, 2.0, 4.0, None),
        },
        {"item_exponent": 4, "user_exponent": 2, "popularity_exponent": 0, "n_neighbours": 2},
        lambda sizes, model: 10.0 * sizes.pairs,
        _per_user_walk,
        rate=7e8,
        score_rate=1.3e8,
        resolved=_listeners,
        starts=tuple(
            {"item_exponent": 4, "user_exponent": 2, "popularity_exponent": 0, "n_neighbours": n}
            for n in (0, 4)
        ),
    ),
    ModelFamily(
        RandomWalk,
        {
            "n_neighbours": (50, 100, 200, 400, 800),
            "item_exponent": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
            "user_exponent": (0.0, 0.2, 0.4, 0.5, 0.7, 1.0),
            "popularity_exponent": (-0.2, -0.1, 0.0, 0.1, 0.2, 0.35, 0.5),
            "normalization": (0.0, 0.25, 0.5, 0.75, 1.0, 1.2),
        },
        {
            "n_neighbours": 2,
            "item_exponent": 5,
            "user_exponent": 2,
            "popularity_exponent": 2,
            "normalization": 2,
        },
        _squares,
        _per_user_neighbours,
        rate=2e7,
        starts=(
            {
                "n_neighbours": 2,
                "item_exponent": 3,
                "user_exponent": 2,
                "popularity_exponent": 2,
                "normalization": 4,
            },
        ),
    ),
    ModelFamily(
        ImplicitALS,
        {
            "n_factors": (32, 64, 128, 256, 512),
            "l2": _MULTIPLES,
            "unobserved_weight": _MULTIPLES,
        },
        {"n_factors": 2, "l2": _ONCE, "unobserved_weight": _ONCE},
        _als_work,
        _of_factors,
        rate=3e9,
        score_rate=_FACTORS_RATE,
        fixed={"n_epochs": 5},
        resolved=_weights,
        starts=tuple(
            {"n_factors": 2, "l2": _ONCE, "unobserved_weight": place} for place in (_QUARTER, _FOURFOLD)
        ),
    ),
    ModelFamily(
        ItemKNN,
        {
            "n_neighbours": (20, 50, 100, 200, 400),
            "similarity": (
                (CosineSimilarity, 1 / 16),
                (CosineSimilarity, 1 / 4),
                (CosineSimilarity, 1.0),
                (CosineSimilarity, 4.0),
                (TFIDF, 4.0),
                (TFIDF, 1.0),
                (TFIDF, 1 / 4),
                BM25(1.2, 0.3),
                BM25(1.2, 0.75),
            ),
        },
        {"n_neighbours": 2, "similarity": 2},
        _squares,
        _per_user_neighbours,
        rate=3e7,
        resolved=_shrinkage,
        starts=({"n_neighbours": 2, "similarity": 1}, {"n_neighbours": 2, "similarity": 3}),
    ),
    ModelFamily(
        SparseEASE,
        {
            "n_neighbours": (30, 60, 100, 150),
            "l2": _MULTIPLES,
            "user_exponent": (0.0, 0.25, 0.5),
        },
        {"n_neighbours": 1, "l2": _ONCE, "user_exponent": 0},
        _sparse_ease_work,
        _per_user_neighbours,
        rate=4.5e8,
        resolved=_sparse_ridge,
        starts=tuple({"n_neighbours": 1, "l2": place, "user_exponent": 0} for place in (_QUARTER, _FOURFOLD)),
    ),
    ModelFamily(
        EASE,
        {"l2": _MULTIPLES},
        {"l2": _ONCE},
        _ease_work,
        lambda sizes, model: sizes.pairs / sizes.n_users * float(sizes.n_items),
        rate=1.5e10,
        score_rate=_PRODUCTS_RATE,
        resolved=_ridge,
        starts=({"l2": _QUARTER}, {"l2": _FOURFOLD}),
    ),
    ModelFamily(
        RankingFactorization,
        {
            "n_factors": (32, 64, 128, 256),
            "loss": (
                *(SampledSoftmax(temperature) for temperature in (0.07, 0.1, 0.15, 0.25)),
                CosineContrastive(0.4, 10.0),
            ),
        },
        {"n_factors": 1, "loss": 2},
        _sampled_work,
        _of_factors,
        rate=4e8,
        score_rate=_FACTORS_RATE,
        fixed={
            "solver": MiniBatch(Adam(), batch_size=8192, n_epochs=30, learning_rate=0.01, schedule=Cosine()),
            "order": "users",
            "validation_fraction": 0.0,
        },
    ),
)
"""What is tried, cheap and strong first."""


class CostModel:
    """Seconds by the clock: as estimated for one core at first, then as measured."""

    def __init__(self, n_threads: int | None) -> None:
        self._usual = 1.0 / checked_threads(n_threads)
        self._known: dict[tuple[str, str], float] = {}

    def fit_seconds(self, kind: ModelFamily, sizes: Sizes, model: Any) -> float:
        return kind.fit_seconds(sizes, model) * self._known.get(("fit", kind.name), self._usual)

    def score_seconds(self, kind: ModelFamily, sizes: Sizes, model: Any, n_users: int) -> float:
        estimate = kind.score_seconds(sizes, model, n_users)
        return estimate * self._known.get(("score", kind.name), self._usual)

    def measured(
        self, kind: ModelFamily, sizes: Sizes, model: Any, n_users: int, fitted: float, scored: float
    ) -> None:
        """Learns from a trial; the first of a process also compiles, so the fastest counts most."""
        for what, estimate, seconds in (
            ("fit", kind.fit_seconds(sizes, model), fitted),
            ("score", kind.score_seconds(sizes, model, n_users), scored),
        ):
            ratio = max(seconds, 1e-3) / estimate
            before = self._known.get((what, kind.name), ratio)
            self._known[what, kind.name] = ratio if ratio < before else 0.5 * (ratio + before)


_TRANSITIONS = ModelFamily(
    Transitions,
    {
        "window": (1, 3, 10, 30),
        "history_decay": (0.0, 0.3, 0.5, 0.8, 0.95),
        "item_exponent": (0.2, 0.35, 0.5, 0.7),
        "popularity_exponent": (-0.2, 0.0, 0.2),
        "n_neighbours": (50, 200, 800),
    },
    {"window": 2, "history_decay": 3, "item_exponent": 2, "popularity_exponent": 1, "n_neighbours": 1},
    lambda sizes, model: float(sizes.pairs * model.window),
    _per_user_neighbours,
    rate=2e6,
    starts=(
        {"window": 3, "history_decay": 2, "item_exponent": 2, "popularity_exponent": 1, "n_neighbours": 1},
    ),
)
_DAYS = (*(days for days in HALF_LIVES if days is not None), None)  # neighbours alike: None is the longest
_MONTH = _DAYS.index(30.0)


def _of_times(kind: ModelFamily) -> ModelFamily:
    """A kind with its half-lives, if it has any: none at first, then a month, of `Popularity` all."""
    if not issubclass(kind.model, RecentHistoryModel):
        return kind
    default = {**kind.default, "half_life": len(_DAYS) - 1}
    tried = range(len(_DAYS) - 1) if kind.model is Popularity else (_MONTH,)
    starts = (
        *({**kind.default, "half_life": place} for place in tried),
        *({**start, "half_life": len(_DAYS) - 1} for start in kind.starts),
    )
    return replace(kind, grid={**kind.grid, "half_life": _DAYS}, default=default, starts=starts)


TIMED_KINDS: tuple[ModelFamily, ...] = (*map(_of_times, KINDS), _TRANSITIONS)
"""What is tried where the later is predicted from the earlier."""


def families(kinds: tuple[str, ...] | None, *, timed: bool = False) -> tuple[ModelFamily, ...]:
    """Those of these names, or all.

    Args:
        timed: whether with half-lives, and with `Transitions` where no names are given.
    """
    usual = TIMED_KINDS if timed else KINDS
    known = {kind.name: kind for kind in (*usual, _TRANSITIONS)}
    wanted = tuple(kind.name for kind in usual) if kinds is None else kinds
    if not isinstance(wanted, tuple) or not wanted or not all(name in known for name in wanted):
        raise ParameterValueError(f"kinds={kinds!r}; a tuple of names among {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def learnable(interactions: Interactions, threshold: float | None, confidence: Confidence) -> Interactions:
    """What models learn from: the positives, with confidences as ratings.

    Refuses a table, a threshold or a rating that no model could use, as every `fit` would.
    """
    return Popularity(threshold=threshold, confidence=confidence)._positives(interactions)
