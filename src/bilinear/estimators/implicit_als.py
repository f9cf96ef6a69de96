"""Implicit alternating least squares: the dot-product model for implicit feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import draw_seed, is_real, is_whole
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike
from bilinear.data.items import Items
from bilinear.data.side_table import Users
from bilinear.errors import ParameterValueError
from bilinear.estimators.capabilities import Contributions, HowTrained, ItemWeights, Rows, Values
from bilinear.estimators.factor_ranking import MOST_FACTORS, FactorRanking
from bilinear.estimators.fold_in import one_history
from bilinear.estimators.history_model import value_used
from bilinear.estimators.ranking_model import rows_of
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.update import ROUNDS, Change, rows_from
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.callbacks import OnEpoch
from bilinear.training.checkpoint import Checkpoint, mark_interrupted, record_once
from bilinear.training.fitting import fitting
from bilinear.training.history import History
from bilinear.training.implicit_als import (
    ALSSolver,
    AlternatingLeastSquares,
    BlockCoordinateDescent,
    Cholesky,
    ConjugateGradient,
    ImplicitObjective,
    minimise,
)
from bilinear.training.progress import Progress
from bilinear.training.thread_pool import workers

_WEIGHT = 0.4  # of all pairs, in roots of the density
_L2_SHARE = 0.3  # of the weight of all pairs
_MOST_L2 = 0.8  # of that at which the factors of a table without structure are zero
_RARE, _MOST_RARE = 12.0, 4.0  # interactions of an item below which the weight grows; by how much at most
_LONG = 80.0  # interactions of a user or an item from which on l2 does not depend on their number


class _Learned(FactorRanking):
    history_: History
    l2_: float
    unobserved_weight_: float
    _system: NDArray[np.float64] | None = None
    uses_weights = "confidence and zeros"


@register
@dataclass(repr=False, eq=False)
class ImplicitALS(_Learned):
    """score = <user factors, item factors>, near one for the items of a user, near zero for all others.

    Every pair counts: observed ones with their confidence and target one, all of them with
    `unobserved_weight` and target zero; a dislike counts with its weight and the target zero. Alternating
    least squares never raises that objective (see `bilinear.training.implicit_als` for it in full), and
    nothing is sampled.

    Args:
        n_factors: length of the factors; more are better until memory or time ends.
        l2: penalty of the factors; "auto" is 0.3 times the weight of all pairs, and more where users or
            items have fewer than 80 interactions in the mean: see `default_l2`.
        l2_exponent: how it grows with a row's weight; 0 is plain ridge, 1 makes
            the penalty a share of all that is said about a row.
        unobserved_weight: weight of the error on all pairs, against one for an observed pair of
            confidence one; "auto" is 0.4 times the root of the share of the pairs that is observed, of users
            and items that have interactions, and more where items have fewer than 12 interactions in the
            mean: see `default_unobserved_weight`.
        n_epochs: passes over both sides.
        tolerance: end earlier, after an epoch that lowered the
            objective by less than this share of it.
        solver: `Cholesky()`, `ConjugateGradient()` or `BlockCoordinateDescent()`.
        start_size: standard deviation of the starting factors times sqrt(n_factors).
        n_threads: None takes all cores; the result is the same for any number.
        rng: seed of the start; None draws one, kept in `seed_`.
        threshold, confidence: see `HistoryModel`.
        item_features, user_features: see `WithFeatures`.

    It has the learned attributes of `FactorRanking` and these; columns of `item_factors_` are
    orthogonal, the longest first.

    Learned attributes:
        history_: History; `loss` is the objective after an epoch, per interaction.
        l2_, unobserved_weight_: those that were used.

    Cost:
        see the solvers; (n_users + n_items) * n_factors^2 more an epoch.

    Examples:
        >>> from bilinear import ImplicitALS, Interactions
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> model = ImplicitALS(n_factors=2, rng=0).fit(Interactions.from_columns(users, items))
        >>> model.recommend("bob", n=1).items
        array(['scone'], dtype=object)
        >>> model.item_factors_.shape, len(model.history_.epochs)
        ((6, 2), 8)
        >>> round(model.unobserved_weight_, 4)  # 10 of 4 * 6 pairs: 4 * 0.4 sqrt(10 / 24), as items are rare
        1.0328
    """

    can_checkpoint = True
    _updates = "approximate"

    n_factors: int = 128
    l2: float | Literal["auto"] = "auto"
    l2_exponent: float = 1.0
    unobserved_weight: float | Literal["auto"] = "auto"
    n_epochs: int = 8
    tolerance: float = 0.0
    solver: ALSSolver = field(default_factory=Cholesky)
    start_size: float = 0.1
    n_threads: int | None = None
    rng: int | None = None

    bytes_a_pair: ClassVar[int] = 21

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        weights = 4 * (n_users + n_items) * self.n_factors
        return super().bytes_to_fit(n_pairs, n_users, n_items) + 3 * weights  # both sides, before and after

    def fit(
        self,
        interactions: InteractionsLike,
        *,
        items: Items | None = None,
        users: Users | None = None,
        progress: Progress | bool = False,
        checkpoint: Checkpoint | str | Path | None = None,
        on_epoch: OnEpoch | Sequence[OnEpoch] | None = None,
    ) -> Self:
        """Learns the factors of both sides; returns self.

        Args:
            items, users: Tables with the columns of `item_features` and `user_features`.
            progress: True shows a bar on standard error.
            checkpoint: a folder, or `Checkpoint(folder, minutes=5)`, from which the same call goes on after a
                kill, to the same bits; see `MatrixFactorization.fit`.
            on_epoch: a function, or several, called with a `TrainingState` after every epoch.

        Ctrl-C ends training after the first epoch and keeps the factors (`history_.ended` says so).

        Raises:
            EmptyDataError, RatingValueError, ParameterValueError: before any work.
            CheckpointError: the checkpoint is damaged, or of another table, arguments or version.
            DivergenceError: the objective is not finite any more.
        """
        self._check()
        table = self._positives(interactions)
        features = self._prepared_features(interactions, items, users)
        weight: float = (
            default_unobserved_weight(table) if self.unobserved_weight == "auto" else self.unobserved_weight
        )
        l2: float = default_l2(table, weight) if self.l2 == "auto" else self.l2
        objective = ImplicitObjective(table.by_user, table.by_item, weight, l2, self.l2_exponent)
        with (
            workers(self.n_threads) as pool,
            fitting(self, interactions, progress, checkpoint, on_epoch) as reporter,
        ):
            seed = record_once(lambda: draw_seed(self.rng))
            rng = np.random.default_rng([seed, 3])
            als = AlternatingLeastSquares.start(objective, self.n_factors, self.start_size, rng, pool)
            found, history = minimise(als, self.solver, self.n_epochs, self.tolerance, reporter)
            if history.ended == "interrupted":
                mark_interrupted()
        user_factors, item_factors = map(np.ascontiguousarray, (found.user_factors, found.item_factors))
        no_biases = np.zeros(len(item_factors), np.float32)
        self._keep_factors(user_factors, item_factors, no_biases, table.by_user.counts > 0)
        self.history_, self.seed_, self._system = history, seed, None
        self.l2_, self.unobserved_weight_ = float(l2), float(weight)
        self._learn_positives(interactions, table.by_user)
        self._learn_features(features, items)
        return self

    def _forget(self) -> None:
        self._system = None

    @property
    def how_trained(self) -> HowTrained:
        return "all pairs"

    def contributions(self, items: Rows, ratings: Values, item: int | ItemWeights) -> Contributions:
        """By the linear system of one half-step; ratings below the threshold add nothing."""
        weighted = self._weighted(one_history(items, ratings), None, self.item_vocabulary_, "ratings")
        asked = ItemWeights.of(self.parameters_, item).vector.astype(np.float64)
        added = np.zeros(len(items))
        if len(weighted.indices):
            factors = self.parameters_.item_factors.astype(np.float64)
            taken, weights = factors[weighted.indices], weighted.ratings.astype(np.float64)
            sizes = np.abs(weights)
            penalty = self._objective(weighted, weighted).penalties(np.array([sizes.sum()]), len(factors))
            system = self._shared() + taken.T @ (sizes[:, None] * taken) + penalty[0] * np.eye(taken.shape[1])
            added[np.searchsorted(items, weighted.indices)] = np.maximum(weights, 0) * (
                taken @ np.linalg.solve(system, asked)
            )
        return Contributions(added, 0.0)

    def _shared(self) -> NDArray[np.float64]:
        """What the linear systems of all users share."""
        if self._system is None:
            wide = self._trained_item_factors().astype(np.float64)
            self._system = self.unobserved_weight_ * (wide.T @ wide)
        return self._system

    def _folded(self, weighted: Grouped) -> NDArray[np.float64]:
        """The minimum of the objective over the factors of new users, the items held fixed.

        A training user's interactions give that user's factors.

        Cost:
            O(n_interactions * n_factors^2 + n_factors^3) a user.
        """
        factors, n = self.parameters_.item_factors, len(weighted.counts)
        start = np.tile(self.mean_user_.astype(np.float64), (n, 1))
        return self._solved(weighted, factors, self._shared(), start)

    def _solved(
        self,
        weighted: Grouped,
        fixed: Array,
        shared: NDArray[np.float64],
        start: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """(n, n_factors) minimum of the objective over some rows of a side; `start` where one is empty.

        Args:
            weighted: the rows' interactions with the other side, whose factors are `fixed`.
            shared: (n_factors, n_factors) their products, weighed.
        """
        sizes = np.abs(weighted.ratings)
        sums = np.array([sizes[a:b].sum(dtype=np.float64) for a, b in pairwise(weighted.indptr)])
        penalties = self._objective(weighted, weighted).penalties(sums, len(fixed))
        for row, (a, b) in enumerate(pairwise(weighted.indptr.tolist())):
            if a == b:
                continue
            taken = fixed[weighted.indices[a:b]].astype(np.float64)
            weights = weighted.ratings[a:b].astype(np.float64)
            system = shared + taken.T @ (np.abs(weights)[:, None] * taken)
            np.fill_diagonal(system, system.diagonal() + penalties[row])
            start[row] = np.linalg.solve(system, np.maximum(weights, 0) @ taken)
        return start

    def _update(self, change: Change) -> None:
        """Half-steps of the users and items that occur, the factors of all others held.

        Cost:
            O(n_interactions * n_factors^2 + n_factors^3) a row and half-step, and the products of all rows.
        """
        table = self._positives(change.table)
        trained = (self.positives_.counts > 0)[:, None]
        users = rows_from(np.where(trained, self.user_factors_, np.float32(0)), change.user_rows)
        items = rows_from(self.item_factors_, change.item_rows)
        turns = [(users, table.by_user, change.users, items), (items, table.by_item, change.items, users)]
        for side, rows, chosen, fixed in turns * ROUNDS + turns[:1]:
            wide = fixed.astype(np.float64)
            shared = self.unobserved_weight_ * (wide.T @ wide)
            nothing = np.zeros((len(chosen), side.shape[1]))
            side[chosen] = self._solved(rows_of(rows, chosen), fixed, shared, nothing)
        self._keep_factors(users, items, np.zeros(len(items), np.float32), table.by_user.counts > 0)
        self._forget()
        self._learn_positives(change.table, table.by_user)

    def _objective(self, by_user: Grouped, by_item: Grouped) -> ImplicitObjective:
        return ImplicitObjective(by_user, by_item, self.unobserved_weight_, self.l2_, self.l2_exponent)

    def _check(self) -> None:
        if not (is_whole(self.n_factors) and 1 <= self.n_factors <= MOST_FACTORS):
            raise ParameterValueError(f"n_factors={self.n_factors!r}; a whole number, 1 to {MOST_FACTORS}")
        if not (is_whole(self.n_epochs) and self.n_epochs >= 1):
            raise ParameterValueError(f"n_epochs={self.n_epochs!r}; a whole number of epochs, at least one")
        if not (is_real(self.tolerance) and self.tolerance >= 0):
            raise ParameterValueError(f"tolerance={self.tolerance!r}; a number, zero or more")
        if not (is_real(self.start_size) and self.start_size > 0):
            raise ParameterValueError(f"start_size={self.start_size!r}; a positive number")
        if self.l2 == "auto" and self.unobserved_weight != "auto" and not self.unobserved_weight:
            raise ParameterValueError("unobserved_weight=0 and l2='auto', a share of it; give l2 a number")
        if not isinstance(self.solver, (Cholesky, ConjugateGradient, BlockCoordinateDescent)):
            raise ParameterValueError(
                f"solver={self.solver!r}; Cholesky(), ConjugateGradient() or BlockCoordinateDescent()"
            )

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest, tensors = super()._state()
        used = {"l2": self.l2_, "unobserved_weight": self.unobserved_weight_}
        return manifest | used | {"history": self.history_.to_dict()}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        self._check()
        self.l2_ = value_used(self.l2, manifest, "l2")
        self.unobserved_weight_ = value_used(self.unobserved_weight, manifest, "unobserved_weight")
        if tensor.scans:
            self._objective(self.positives_, self.positives_)
        self.history_ = History.from_dict(manifest["history"])
        self._system = None


def default_unobserved_weight(table: Interactions) -> float:
    """The weight of all pairs where it is "auto": 0.4 f times the root of the density.

    f is (12 / m)^4, at least 1 and at most 4, with m the mean number of interactions of items that have
    any: of rare items little is known beside how rare they are, and with a small weight that is lost.
    Users and items without interactions do not count, so that they do not change the model.

    Source:
        docs/decisions/0018-defaults-of-the-table.md.

    Examples:
        >>> from bilinear import Interactions
        >>> from bilinear.estimators.implicit_als import default_unobserved_weight
        >>> table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3])
        >>> round(default_unobserved_weight(table) / 1.6, 4)  # the root of 4 / (2 * 3)
        0.8165
    """
    return _WEIGHT * _rarity(table) * float(np.sqrt(_density(table)))


def default_l2(table: Interactions, unobserved_weight: float) -> float:
    """The penalty where it is "auto": 0.3 / f times that weight, times max(1, 80 / n, sqrt(80 / m) / f).

    n is the mean number of interactions of users that have any; m, of items, and f are those of
    `default_unobserved_weight`. What few interactions say is mostly noise, and with a small penalty the lists
    are worse than those of `Popularity`. It is at most 0.8 p / (p + weight) with p the density: at 1.0 times
    that, with l2_exponent=1, zero factors would be the minimum for a table without structure, and not even
    popularity would be learned.

    Source:
        docs/decisions/0018-defaults-of-the-table.md.

    Examples:
        >>> from bilinear import Interactions
        >>> from bilinear.estimators.implicit_als import default_l2
        >>> table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3])
        >>> round(default_l2(table, 0.01), 6)  # 0.3 / 4 * 0.01 * 80 / 2, as n = 2 and m = 4 / 3
        0.03
        >>> round(default_l2(table, 0.1), 6)  # 0.8 * 4/6 / (4/6 + 0.1)
        0.695652
    """
    density, rarity = _density(table), _rarity(table)
    n, m = _mean(table.by_user.counts), _mean(table.item_counts)
    wanted = _L2_SHARE / rarity * unobserved_weight * max(1.0, _LONG / n, float(np.sqrt(_LONG / m)) / rarity)
    return min(wanted, _MOST_L2 * density / (density + unobserved_weight))


def _rarity(table: Interactions) -> float:
    """By how much the weight of all pairs is larger where items have few interactions."""
    return min(max(1.0, (_RARE / _mean(table.item_counts)) ** 4), _MOST_RARE)


def _mean(counts: NDArray[np.int64]) -> float:
    """Of the rows that have any."""
    return float(counts[counts > 0].mean())


def _density(table: Interactions) -> float:
    """Interactions a pair of a user and an item that have any."""
    n_users = np.count_nonzero(table.by_user.counts)
    n_items = np.count_nonzero(np.bincount(table.items))
    return table.n_ratings / (float(n_users) * float(n_items))
