"""Search space: which ranking models and arguments a search tries, and what a trial costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.ease import EASE, SparseEASE
from bilinear.estimators.graph_filter import GraphFilter
from bilinear.estimators.history_model import Confidence
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.item_knn import ItemKNN
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.random_walk import RandomWalk
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.ranking_model import RankingModel
from bilinear.memory import available
from bilinear.model.blocks import checked_threads
from bilinear.objective.ranking_losses import CosineContrastive, SampledSoftmax
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam
from bilinear.training.schedules import Cosine
from bilinear.training.similarities import BM25, TFIDF, CosineSimilarity

GridPoint = Mapping[str, int]
"""A place in each argument's grid."""

_MOST_MEMORY = 0.6  # of what is free
_LONGEST = 600.0  # seconds of one core a trial without a budget
_SCORE_RATE = 2.5e8  # multiply-adds a second and thread, before one was measured


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


@dataclass(frozen=True)
class ModelFamily:
    """A kind of model, the grid of its arguments, and its cost.

    Attributes:
        grid: values of each argument, in an order in which neighbours are alike.
        default: the place in the grid that is tried first.
        fixed: arguments that are not searched.
        fit_work, score_work: multiply-adds, about: to fit, and to score one user.
        rate: multiply-adds a second and thread of a fit, before one was measured.
    """

    model: type[RankingModel]
    grid: Mapping[str, tuple[Any, ...]]
    default: GridPoint
    fit_work: Callable[[Sizes, Any], float]
    score_work: Callable[[Sizes, Any], float]
    rate: float = 2.5e8
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.model.__name__

    def make(self, choice: GridPoint, shared: Mapping[str, Any]) -> Any:
        """The unfitted model at a place of the grid; of `shared` it takes the arguments that it has."""
        chosen = {name: values[choice[name]] for name, values in self.grid.items()}
        known = self.model.__dataclass_fields__  # type: ignore[attr-defined]
        return self.model(
            **self.fixed, **chosen, **{name: value for name, value in shared.items() if name in known}
        )

    def describe(self, choice: GridPoint) -> str:
        """A place of the grid in words, without what all trials have in common."""
        return repr(self.model(**{name: values[choice[name]] for name, values in self.grid.items()}))

    def fits(self, sizes: Sizes) -> bool:
        """Whether memory allows it."""
        free, model = available(), self.make(self.default, {})
        needed = model.bytes_to_fit(sizes.pairs, sizes.n_users, sizes.n_items)
        return free is None or needed <= _MOST_MEMORY * free

    def bearable(self, sizes: Sizes) -> bool:
        """Whether memory allows it, and a trial would take about ten minutes of one core at most.

        By the guess alone, never by the clock: for searches that count trials.
        """
        work = self.fit_work(sizes, self.make(self.default, {}))
        return self.fits(sizes) and work <= _LONGEST * self.rate

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


def _sparse_ease_work(sizes: Sizes, model: Any) -> float:
    k = min(int(model.n_neighbours), sizes.n_items)
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


KINDS: tuple[ModelFamily, ...] = (
    ModelFamily(
        Popularity,
        {},
        {},
        lambda sizes, model: sizes.pairs,
        lambda sizes, model: sizes.n_items,
    ),
    ModelFamily(
        GraphFilter,
        {
            "item_exponent": (0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0),
            "user_exponent": (0.3, 0.5, 0.7, 0.85, 1.0),
            "popularity_exponent": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
            "n_neighbours": (50, 100, 200, 300, 1000, None),
        },
        {"item_exponent": 4, "user_exponent": 2, "popularity_exponent": 0, "n_neighbours": 3},
        lambda sizes, model: 10.0 * sizes.pairs,
        _per_user_walk,
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
            "item_exponent": 3,
            "user_exponent": 2,
            "popularity_exponent": 2,
            "normalization": 4,
        },
        _squares,
        _per_user_neighbours,
    ),
    ModelFamily(
        ImplicitALS,
        {
            "n_factors": (32, 64, 128, 256, 512),
            "l2": (0.0003, 0.001, 0.003, 0.01, 0.03),
            "unobserved_weight": (0.001, 0.003, 0.01, 0.03, 0.1),
        },
        {"n_factors": 2, "l2": 2, "unobserved_weight": 2},
        _als_work,
        lambda sizes, model: float(sizes.n_items * model.n_factors),
        rate=1.5e9,
        fixed={"l2_exponent": 1.0, "n_epochs": 8},
    ),
    ModelFamily(
        ItemKNN,
        {
            "n_neighbours": (20, 50, 100, 200, 400),
            "similarity": (
                CosineSimilarity(),
                CosineSimilarity(10.0),
                CosineSimilarity(30.0),
                CosineSimilarity(100.0),
                CosineSimilarity(300.0),
                TFIDF(300.0),
                TFIDF(30.0),
                BM25(1.2, 0.3),
                BM25(1.2, 0.75),
            ),
        },
        {"n_neighbours": 2, "similarity": 3},
        _squares,
        _per_user_neighbours,
    ),
    ModelFamily(
        SparseEASE,
        {
            "n_neighbours": (30, 60, 100, 150),
            "l2": (6.0, 12.0, 25.0, 50.0, 100.0, 200.0, 400.0),
            "user_exponent": (0.0, 0.25, 0.5),
        },
        {"n_neighbours": 1, "l2": 3, "user_exponent": 0},
        _sparse_ease_work,
        _per_user_neighbours,
    ),
    ModelFamily(
        EASE,
        {"l2": (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)},
        {"l2": 3},
        lambda sizes, model: float(sizes.n_items) ** 3 + sizes.user_squares,
        lambda sizes, model: sizes.pairs / sizes.n_users * float(sizes.n_items),
        rate=1.5e10,
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
        lambda sizes, model: float(sizes.n_items * model.n_factors),
        rate=1e9,
        fixed={
            "solver": MiniBatch(Adam(), batch_size=8192, n_epochs=30, learning_rate=0.01, schedule=Cosine()),
            "order": "users",
            "validation_fraction": 0.0,
        },
    ),
)
"""What is tried, cheap and strong first."""


class CostModel:
    """Seconds of fitting and scoring: estimated at first, then as measured.

    A guess is on the slow side, so that a budget holds from the first trial on.
    """

    def __init__(self, n_threads: int | None) -> None:
        threads = checked_threads(n_threads)
        self._threads = threads
        self._known: dict[tuple[str, str], float] = {}

    def fit_seconds(self, kind: ModelFamily, sizes: Sizes, model: Any) -> float:
        return self._seconds("fit", kind, kind.fit_work(sizes, model))

    def score_seconds(self, kind: ModelFamily, sizes: Sizes, model: Any, n_users: int) -> float:
        # Lists are made and evaluated as well: some passes over the items.
        return self._seconds("score", kind, n_users * (kind.score_work(sizes, model) + 30.0 * sizes.n_items))

    def measured(
        self, kind: ModelFamily, sizes: Sizes, model: Any, n_users: int, fitted: float, scored: float
    ) -> None:
        """Learns from a trial; the first of a process also compiles, so the fastest counts most."""
        for what, work, seconds in (
            ("fit", kind.fit_work(sizes, model), fitted),
            ("score", n_users * (kind.score_work(sizes, model) + 30.0 * sizes.n_items), scored),
        ):
            rate = work / max(seconds, 1e-3)
            before = self._known.get((what, kind.name), rate)
            self._known[what, kind.name] = max(rate, before) if rate > before else 0.5 * (rate + before)

    def _seconds(self, what: str, kind: ModelFamily, work: float) -> float:
        guess = self._threads * (kind.rate if what == "fit" else _SCORE_RATE)
        return work / self._known.get((what, kind.name), guess)


def families(kinds: tuple[str, ...] | None) -> tuple[ModelFamily, ...]:
    """Those of these names, or all."""
    known = {kind.name: kind for kind in KINDS}
    wanted = tuple(known) if kinds is None else kinds
    if not isinstance(wanted, tuple) or not wanted or not all(name in known for name in wanted):
        raise ParameterValueError(f"kinds={kinds!r}; a tuple of names among {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def check_learnable(interactions: Interactions, threshold: float | None, confidence: Confidence) -> None:
    """Refuses a table, a threshold or a rating that no model could use, as every `fit` would."""
    Popularity(threshold=threshold, confidence=confidence)._positives(interactions)
