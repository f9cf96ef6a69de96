"""The dot-product model for ranking, trained on sampled negatives by any optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import draw_seed, is_real, is_whole
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike
from bilinear.data.items import Items
from bilinear.data.side_table import Users
from bilinear.errors import EmptyDataError, ParameterValueError
from bilinear.estimators.baselines import check_fraction
from bilinear.estimators.blend_weights import inner_split
from bilinear.estimators.factor_ranking import MOST_FACTORS, FactorRanking
from bilinear.estimators.ranking_fold_in import FoldIn
from bilinear.estimators.recommender import TensorReader
from bilinear.evaluation.metrics import Metric, MetricLike
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.penalties import L2, RowWeights
from bilinear.objective.ranking_losses import CosineContrastive, RankingLoss, SampledSoftmax
from bilinear.persistence.codec import checked_number
from bilinear.registry import register
from bilinear.training.callbacks import OnEpoch
from bilinear.training.checkpoint import Checkpoint, mark_interrupted, record_once
from bilinear.training.fitting import fitting
from bilinear.training.history import History
from bilinear.training.loop import train, train_again
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam
from bilinear.training.progress import Progress
from bilinear.training.sampled_descent import SampledObjective, SampledRun
from bilinear.training.schedules import Cosine
from bilinear.training.thread_pool import Workers, workers
from bilinear.training.validation import USERS_AT_ONCE, RankingValidation

_MOST_VALIDATION_USERS = 6000


def _default_solver() -> MiniBatch:
    return MiniBatch(Adam(), batch_size=2048, n_epochs=20, learning_rate=0.01, schedule=Cosine())


class _Learned(FactorRanking):
    longest_user_: float
    history_: History
    _fold_in: FoldIn | None = None


@register
@dataclass(repr=False, eq=False)
class RankingFactorization(_Learned):
    """score = <user factors, item factors>, or their cosine, high for the items of a user.

    Each step compares positives of some users with items that these users have not seen, drawn at
    random: the cost of an epoch does not grow with the catalogue, and any loss of scores will do.

    Args:
        n_factors: length of the factors.
        loss: `SampledSoftmax()`, `CosineContrastive()`, `BPR()` or `WARP()`.
        solver: optimiser, batch size (positives a step), epochs, rates and schedules, weight decay,
            clipping, averaging; see `MiniBatch`. `AdamW` or `weight_decay` decays factors and biases.
        cosine: scores are cosines of the factors, as `CosineContrastive` needs.
        item_biases: scores have a bias of the item as well; not with cosines.
        n_negatives: drawn for every twelve users of a batch, without the items of each of them; as many as
            there are items, or more, is all of them, and then nothing is random in the loss.
        popularity_exponent: a negative's chance goes with its number of interactions to this power.
        order: "pairs" shuffles interactions; "users" puts all interactions of a user into one step: an
            epoch then costs a fraction, but moves each user once, so that more epochs are needed.
        l2: penalty of factors and biases, l2_exponent: how it grows with a row's interactions: see
            `L2`. It is of the sum of the loss over interactions, and goes through the optimiser.
        user_exponent: a user's interactions count n^-user_exponent; 0: all the same, 1: all users the
            same.
        history_share: s of the user's vector, which becomes unit((1 - s) user + s unit(mean of the unit item
            factors of the user's history)) when training ends, in its validation, and for new users. For
            cosines only; `on_epoch` sees the users without it.
        start_size: standard deviation of the starting factors times sqrt(n_factors).
        validation_fraction: share of each user's interactions, the latest where there are times, set
            aside inside `fit` for early stopping and the best epoch, by `metric`, a name
            such as "recall@20" or one of your own (see `Metric`), every `validate_every` epochs. Zero: all
            epochs run.
        refit: afterwards train once more on all interactions, for as many epochs as were best.
        n_threads: None takes all cores; the result is the same for any number.
        rng: seed; the same seed and table give the same bits. None draws one, kept in `seed_`.
        threshold, confidence: see `HistoryModel`.
        item_features, user_features: see `WithFeatures`.

    It has the learned attributes of `HistoryModel` and these.

    Learned attributes:
        parameters_: Parameters whose scores rank as the model does. Factors are of length one where
            scores are cosines; an item's bias includes its score for the mean user, and a user's
            factors are kept less the mean user's: a user without interactions is the mean user.
        mean_user_: (n_factors,).
        user_factors_: (n_users, n_factors) with it.
        longest_user_: the length of the longest trained user.
        history_: History, loss and validation by epoch.

    Cost:
        an epoch is O(n_users * n_negatives * n_factors) for "users", n_ratings times that over
        n_users for "pairs" with small batches; for losses that are zero on most negatives a third of
        what it is for others.
    Memory:
        parameters, gradient and the optimiser's state, each as large as the factors, and 4 bytes for
        each negative of a batch.

    Examples:
        >>> from bilinear import BPR, Interactions, MiniBatch, RankingFactorization
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> clicks = Interactions.from_columns(users, items)
        >>> solver = MiniBatch(n_epochs=50, learning_rate=0.05)
        >>> model = RankingFactorization(n_factors=2, loss=BPR(), solver=solver, validation_fraction=0, rng=0)
        >>> model.fit(clicks).recommend("bob", n=1).items
        array(['scone'], dtype=object)
        >>> model.user_factors_.shape
        (4, 2)
    """

    can_checkpoint = True

    n_factors: int = 128
    loss: RankingLoss = field(default_factory=lambda: SampledSoftmax(0.15))
    solver: MiniBatch = field(default_factory=_default_solver)
    cosine: bool = True
    item_biases: bool = False
    n_negatives: int = 256
    popularity_exponent: float = 0.0
    order: Literal["users", "pairs"] = "pairs"
    l2: float = 0.0
    l2_exponent: RowWeights = 0.0
    user_exponent: float = 0.0
    history_share: float = 0.0
    start_size: float = 0.1
    validation_fraction: float = 0.1
    metric: MetricLike = "recall@20"
    validate_every: int = 5
    refit: bool = True
    n_threads: int | None = None
    rng: int | None = None

    bytes_a_pair: ClassVar[int] = 25

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        weights = 4 * (n_users + n_items) * self.n_factors
        needed = super().bytes_to_fit(n_pairs, n_users, n_items) + (3 + self.solver.n_states) * weights
        epoch, scores = 35 * n_pairs, 5 * min(USERS_AT_ONCE, n_users) * n_items // 2
        return needed + (25 * n_pairs + max(epoch, scores) if self.validation_fraction else epoch)

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
        """Trains with early stopping on a validation part, then again on everything; returns self.

        Args:
            items, users: Tables with the columns of `item_features` and `user_features`.
            progress: True shows a bar on standard error.
            checkpoint: a folder, or `Checkpoint(folder, minutes=5)`, from which the same call goes on after a
                kill, to the same bits; see `MatrixFactorization.fit`.
            on_epoch: a function, or several, called with a `TrainingState` after every epoch.

        Ctrl-C ends training after the first epoch and keeps the best factors so far
        (`history_.ended` says so).

        Raises:
            EmptyDataError, RatingValueError, ParameterValueError: before any work.
            CheckpointError: the checkpoint is damaged, or of another table, arguments or version.
            DivergenceError: the loss is not finite any more; the message says what to lower.
        """
        self._check()
        table = self._positives(interactions)
        features = self._prepared_features(interactions, items, users)
        if self.validation_fraction and table.n_ratings < 20:
            raise EmptyDataError(
                f"{table.source}: {table.n_ratings} interactions are too few for an inner validation part; "
                "use Popularity, or validation_fraction=0"
            )
        with (
            workers(self.n_threads) as pool,
            fitting(
                self, interactions, progress, checkpoint, on_epoch, parameters=self._without_history
            ) as reporter,
        ):
            seed = record_once(lambda: draw_seed(self.rng))
            descend = partial(self._descend, seed, pool, reporter)
            if not self.validation_fraction:
                parameters, history = descend(table)
            else:
                kept = self._are_positive(interactions.ratings, interactions.weighted)
                times = None if interactions.times is None else interactions.times[kept]
                split = inner_split(replace(table, times=times), self.validation_fraction, seed)
                rng = np.random.default_rng([seed, 0])
                metric = Metric.of_rankings(self.metric)
                ranking = partial(self._ranking, split.train.by_user)
                held_out = RankingValidation(
                    split, metric, _MOST_VALIDATION_USERS, rng, ranking, self.validate_every
                )
                parameters, history = descend(split.train, held_out)
                if self.refit and not history.cut_short:
                    descend = partial(descend, table, stage="on all interactions")
                    parameters, history = train_again(descend, parameters, history)
            if history.ended == "interrupted":
                mark_interrupted()
        self._keep(parameters, table)
        self.history_, self.seed_, self._fold_in = history, seed, None
        self._learn_positives(interactions, table.by_user)
        self._learn_features(features, items)
        return self

    def _forget(self) -> None:
        self._fold_in = None

    def _folded(self, weighted: Grouped) -> NDArray[np.float32]:
        """New users' factors: the least loss against all items, the items held fixed.

        Minimises the weighted mean of the loss over a user's positives, with all unseen items as
        negatives, plus `l2 n^(l2_exponent - 1) / 2 |user|^2`, over `|user| <= 1` for cosines and no longer
        than the longest trained user otherwise. That is convex in the user; `WARP`, which is not, is
        replaced by `SampledSoftmax` with its margin as temperature.

        Cost:
            some 60 times O(n_items * n_factors) a user.
        """
        if self._fold_in is None:
            self._fold_in = FoldIn(
                self.loss,
                L2(self.l2, 0.0, self.l2_exponent),
                self._trained_item_factors(),
                self._own_biases(),
                self.n_negatives,
                1.0 if self.cosine else self.longest_user_,
                self.mean_user_,
            )
        users = self._fold_in.solve(weighted)
        return self._with_history(users, self._trained_item_factors(), weighted)

    def _own_biases(self) -> Array:
        """(n_items,) item biases without the score for the mean user."""
        if not self.item_biases:
            return np.zeros(self.parameters_.n_items, np.float32)
        biases: Array = self.parameters_.item_biases - self.parameters_.item_factors @ self.mean_user_
        return biases

    def _descend(
        self,
        seed: int,
        pool: Workers,
        progress: Progress,
        table: Interactions,
        held_out: RankingValidation | None = None,
        n_epochs: int | None = None,
        stage: str = "training",
    ) -> tuple[Parameters, History]:
        weights = table.ratings.astype(np.float64)
        if self.user_exponent:
            weights *= (table.by_user.counts[table.users].astype(np.float64)) ** -self.user_exponent
            weights *= len(weights) / weights.sum()
        table = replace(table, ratings=weights.astype(np.float32))
        biased = self.item_biases
        objective = SampledObjective(
            self.loss,
            self.cosine,
            biased,
            L2(self.l2, self.l2, self.l2_exponent),
            table,
            self.n_negatives,
            self.popularity_exponent,
        )
        rng = np.random.default_rng([seed, 2])
        solver = self.solver.resolved(table.n_ratings)
        start = self._start(table, rng)
        assert solver.patience != "auto"
        return train(
            lambda: SampledRun(solver, objective, start, self.order, seed, pool),
            rng,
            n_ratings=table.n_ratings,
            n_epochs=solver.n_epochs if n_epochs is None else n_epochs,
            patience=solver.patience,
            validation=held_out,
            progress=progress,
            stage=f"{stage}, {self.n_factors} factors",
        )

    def _start(self, table: Interactions, rng: np.random.Generator) -> Parameters:
        """Normal factors; rows without interactions are zero."""
        sides = []
        for grouped in (table.by_user, table.by_item):
            counts = grouped.counts
            factors = rng.standard_normal((len(counts), self.n_factors), dtype=np.float32)
            factors *= np.float32(self.start_size / np.sqrt(self.n_factors))
            factors[counts == 0] = 0
            sides.append(factors)
        zeros = [np.zeros(len(factors), np.float32) for factors in sides]
        return Parameters(0.0, zeros[0], zeros[1], sides[0], sides[1])

    def _without_history(self, found: Parameters) -> Parameters:
        """Weights whose dot products are the scores, of the users as they are trained."""
        if not self.cosine:
            return found
        return replace(found, user_factors=_unit(found.user_factors), item_factors=_unit(found.item_factors))

    def _ranking(self, by_user: Grouped, found: Parameters) -> Parameters:
        """Weights whose dot products are the scores, of users with these histories."""
        unit = self._without_history(found)
        return replace(unit, user_factors=self._with_history(unit.user_factors, unit.item_factors, by_user))

    def _with_history(self, users: Array, items: Array, histories: Grouped) -> Array:
        """The users with their share of the unit `items` of their histories; those without any stay."""
        if not self.history_share:
            return users
        from scipy.sparse import csr_array

        share, known = np.float32(self.history_share), histories.counts > 0
        shape = len(histories.counts), len(items)
        taken = csr_array((histories.ratings, histories.indices, histories.indptr), shape=shape)
        mixed = _unit((1 - share) * _unit(users) + share * _unit(taken @ items))
        return np.where(known[:, None], mixed, users).astype(np.float32)

    def _keep(self, found: Parameters, table: Interactions) -> None:
        """Stores the weights, users less the mean user."""
        ranking = self._ranking(table.by_user, found)
        users, items = ranking.user_factors.copy(), ranking.item_factors.copy()
        self.longest_user_ = float(np.linalg.norm(users, axis=1).max())
        self._keep_factors(users, items, ranking.item_biases, table.by_user.counts > 0)

    def _check(self) -> None:
        if not (is_whole(self.n_factors) and 1 <= self.n_factors <= MOST_FACTORS):
            raise ParameterValueError(f"n_factors={self.n_factors!r}; a whole number, 1 to {MOST_FACTORS}")
        if not isinstance(self.loss, RankingLoss):
            raise ParameterValueError(f"loss={self.loss!r}; an object such as CosineContrastive() or BPR()")
        if not isinstance(self.solver, MiniBatch):
            raise ParameterValueError(f"solver={self.solver!r}; an object such as MiniBatch(Adam())")
        self.loss.functions, self.solver.rule.functions  # noqa: B018 (a formula is tried before any work)
        if self.solver.weight_decay.biases not in (None, self.solver.weight_decay.factors):
            raise ParameterValueError(
                f"weight_decay={self.solver.weight_decay!r}; ranking decays biases like factors: leave "
                "biases out"
            )
        for name in ("cosine", "item_biases", "refit"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterValueError(f"{name}={getattr(self, name)!r}; True or False")
        if isinstance(self.loss, CosineContrastive) and not self.cosine:
            raise ParameterValueError("CosineContrastive needs cosine=True: its margin is one of cosines")
        if self.cosine and self.item_biases:
            raise ParameterValueError("item_biases=True needs cosine=False: a cosine plus a bias is none")
        for name in ("n_negatives", "validate_every"):
            if not (is_whole(getattr(self, name)) and getattr(self, name) >= 1):
                raise ParameterValueError(f"{name}={getattr(self, name)!r}; a whole number, at least one")
        for name in ("popularity_exponent", "user_exponent"):
            if not (is_real(getattr(self, name)) and 0 <= getattr(self, name) <= 1):
                raise ParameterValueError(f"{name}={getattr(self, name)!r}; a number in [0, 1]")
        if not (is_real(self.history_share) and 0 <= self.history_share <= 1):
            raise ParameterValueError(f"history_share={self.history_share!r}; a number in [0, 1]")
        if self.history_share and not self.cosine:
            raise ParameterValueError("history_share needs cosine=True: it mixes vectors of length one")
        if self.order not in ("users", "pairs"):
            raise ParameterValueError(f"order={self.order!r}; 'users' or 'pairs'")
        L2(self.l2, self.l2, self.l2_exponent)
        if not (is_real(self.start_size) and self.start_size > 0):
            raise ParameterValueError(f"start_size={self.start_size!r}; a positive number")
        Metric.of_rankings(self.metric)
        if self.validation_fraction:
            check_fraction(self.validation_fraction)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest, tensors = super()._state()
        return manifest | {"longest_user": self.longest_user_, "history": self.history_.to_dict()}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        self._check()
        self.longest_user_ = checked_number(manifest["longest_user"])
        self.history_ = History.from_dict(manifest["history"])
        self._fold_in = None


def _unit(rows: Array) -> Array:
    """Rows of length one; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = rows / np.where(lengths > 0, lengths, 1)
    return unit
