"""AutoRanker: a ranking model chosen by trials."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import draw_seed, is_real, is_whole
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike
from bilinear.data.splits import HeldOut
from bilinear.errors import ParameterValueError
from bilinear.estimators.auto.search import Limits, Search
from bilinear.estimators.auto.search_space import families, learnable
from bilinear.estimators.auto.trials import AutoTable
from bilinear.estimators.blend import Blend
from bilinear.estimators.blend_weights import bytes_to_validate
from bilinear.estimators.capabilities import (
    Contributions,
    HowTrained,
    ItemWeights,
    Rows,
    UserWeights,
    Values,
)
from bilinear.estimators.history_model import Confidence, resolved
from bilinear.estimators.nested_models import copied, fitted_whole, nested_state, restore_nested, take_table
from bilinear.estimators.ranking_model import RankingModel
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.update import Change, Updates
from bilinear.estimators.validation_split import ValidationSplit, inner_validation
from bilinear.evaluation.metrics import Metric, MetricLike
from bilinear.memory import require
from bilinear.model.parameters import Array, Parameters
from bilinear.registry import register
from bilinear.training.progress import NullProgress, Progress, reporter_of

_WORK_BUDGET = 60.0


class _Learned(RankingModel):
    model_: RankingModel
    search_: AutoTable


@register
@dataclass(repr=False, eq=False)
class AutoRanker(_Learned):
    """Tries ranking models within a budget and keeps the best, or a blend of the best of each kind.

    A part of the interactions is held out, in time as the part that the model is measured on (`split`).
    Models of every kind, from several starts, are tried on a part of the users, the best of each kind and
    the best third of all on six times as many, and so on to all (successive halving); then the best are
    varied until that brings nothing or a limit is reached. What is chosen is trained on everything: what is
    best on the part held out, and of what is as good beyond doubt (the difference within 1 %, its 95 %
    interval with zero in it) what lists the most items.

    The default budget counts estimated work and not seconds, so that one seed gives one model on
    every machine that has the memory; of several limits the first that is reached ends the search.

    Args:
        work_budget: for the search, in seconds of one core as estimated from the sizes of the table; what is
            chosen takes at most as much again to be trained. None: 60, or no such limit where one of the next
            two is given.
        time_budget: seconds of the clock for search and last training together. What that allows
            depends on the machine and on what else it does, so two runs may choose differently.
        n_trials: so many trials, whatever they take. Kinds of which a trial takes ten minutes of a core by
            estimate are left out.
        kinds: names of models to try, such as ("RandomWalk", "EASE"); None tries all.
        metric: what decides: "ndcg@20", "recall@10", or one of your own, see `Metric`.
        validation: share of the interactions that is held out for it. None: a fifth, or where the model is
            measured on the latest of all, the share of that, from 5 % to 30 %.
        split: how. "temporal": the latest of all; "leave-last-out": the latest of each user; "random": of
            each user at random. "auto": as `fit` is told that the model will be measured, else temporal where
            the table has times and 50 users are on both sides of the cut, else as "leave-last-out", and of
            tables without times at random. Unless it is random, half-lives and `Transitions` are tried too.
        blend: whether a mixture may be chosen.
        n_threads: None takes all cores.
        rng: seed of the split, the trials and the models; None draws one, kept in `seed_`.
        threshold, confidence: of all models, see `HistoryModel`.

    It has the learned attributes of `Recommender` and these.

    Learned attributes:
        model_: what was chosen, trained on everything; a `Blend` where several are mixed.
        search_: AutoTable, all trials and why the search ended; `print(model.search_)` shows it.

    Examples:
        >>> from bilinear import AutoRanker, synthetic_catalogue
        >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
        >>> model = AutoRanker(n_trials=2, kinds=("Popularity", "EASE"), rng=0).fit(clicks)
        >>> [trial.kind for trial in model.search_.trials]
        ['Popularity', 'EASE']
        >>> type(model.model_).__name__, len(model.recommend(7, n=3))
        ('Blend', 3)
    """

    work_budget: float | None = None
    time_budget: float | None = None
    n_trials: int | None = None
    kinds: tuple[str, ...] | None = None
    metric: MetricLike = "ndcg@20"
    validation: float | None = None
    blend: bool = True
    n_threads: int | None = None
    rng: int | None = None
    split: ValidationSplit = field(default="auto", kw_only=True)
    threshold: float | None = field(default=None, kw_only=True)
    confidence: Confidence = field(default="auto", kw_only=True)
    uses_weights = "confidence"

    def fit(
        self,
        interactions: InteractionsLike,
        *,
        progress: Progress | bool = False,
        measured: HeldOut | None = None,
    ) -> Self:
        """Searches, then trains what was chosen on everything; returns self.

        Args:
            progress: True shows every trial on standard error.
            measured: how the part was held out on which the model will be measured, `Split.held_out`; None
                where that is not known. `bilinear.measure` and the command line give it.

        Ctrl-C ends the search; the best model so far is trained on everything and kept. A second one
        ends that too, and leaves the estimator as it was.

        Raises:
            EmptyDataError: nothing is left to train or to validate on.
            ParameterValueError, RatingValueError: before any work.
        """
        self._check(interactions)
        reporter, seed = reporter_of(progress), draw_seed(self.rng)
        validation = inner_validation(interactions, self.validation, seed, self.split, measured)
        shared = {"threshold": self.threshold, "confidence": self.confidence, "rng": seed}
        search = Search(
            interactions,
            families(self.kinds, timed=validation.timed),
            shared | {"n_threads": self.n_threads},
            Metric.of_rankings(self.metric, maximised=True),
            validation,
            self.blend,
            seed,
            self._limits(),
            self.n_threads,
            reporter,
        )
        table, parts = search.run()
        fitted, weights = [], []
        for model, weight in parts:
            reporter.note(f"trained on everything: {model!r}")
            fitted.append(fitted_whole(model, interactions))
            weights.append(weight)
        chosen = fitted[0] if len(fitted) == 1 else Blend.of(fitted, weights)
        self.search_ = AutoTable.from_dict(table.to_dict() | {"seconds": search.elapsed()})
        self._take(chosen, seed)
        return self

    def retrain(self, interactions: Interactions, *, progress: Progress | None = None) -> Self:
        """Trains what `fit` chose on another table, and searches nothing; returns self.

        Use it to train on everything once the choice has been measured on a part that it did not see.
        """
        chosen = copied(self.model_)
        (progress or NullProgress()).note(f"trained again: {chosen!r}")
        self._take(chosen.fit(interactions), self.seed_)
        return self

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        return self.model_.score_block(user_rows)

    def score_histories(self, histories: Grouped) -> Array:
        return self.model_.score_histories(histories)

    def score_timed_histories(self, histories: Grouped, times: NDArray[np.float64]) -> Array:
        return self.model_.score_timed_histories(histories, times)

    @property
    def uses_times(self) -> bool:
        return "model_" in vars(self) and self.model_.uses_times

    def dot_product(self) -> Parameters | None:
        return self.model_.dot_product()

    def item_vectors(self) -> Array | None:
        return self.model_.item_vectors()

    @property
    def updates(self) -> Updates:
        """As the model that was chosen; any before `fit`."""
        return self.model_.updates if "model_" in vars(self) else "approximate"

    def _cannot_update(self) -> str:
        return f"this AutoRanker chose one that cannot: {self.model_._cannot_update()}"

    def _update(self, change: Change) -> None:
        model = copy(self.model_)
        model._update(change)
        self._take(model, self.seed_)

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        """At the least: of the inner split. What a trial needs is asked before it is made."""
        return bytes_to_validate(1, 0, n_pairs, n_users, n_items)

    @property
    def is_personal(self) -> bool:
        return self.model_.is_personal

    @property
    def weighs_interactions(self) -> bool:
        return resolved(self.confidence, self.weighted_) != "equal"

    @property
    def how_trained(self) -> HowTrained:
        return self.model_.how_trained

    def needs_ratings(self) -> bool:
        return self.threshold is not None or self.confidence in ("ratings", "log")

    def fold_in_weights(
        self, items: Rows, ratings: Values, centre: NDArray[np.float64] | None = None
    ) -> UserWeights | None:
        return self.model_.fold_in_weights(items, ratings, centre)

    def contributions(self, items: Rows, ratings: Values, item: int | ItemWeights) -> Contributions:
        return self.model_.contributions(items, ratings, item)

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        return self.model_._alike(item_row, n, allowed)

    def _take(self, model: RankingModel, seed: int | None) -> None:
        self.model_, self.seed_ = model, seed
        take_table(self, model)

    def _check(self, interactions: Interactions) -> None:
        for kind in families(self.kinds):
            if getattr(kind.model, "needs_times", False):
                kind.model()._positives(interactions)
        for name in ("work_budget", "time_budget"):
            given = getattr(self, name)
            if given is not None and not (is_real(given) and given > 0):
                raise ParameterValueError(f"{name}={given!r}; seconds, more than zero, or None")
        if self.n_trials is not None and not (is_whole(self.n_trials) and self.n_trials >= 1):
            raise ParameterValueError(f"n_trials={self.n_trials!r}; a whole number, one or more, or None")
        Metric.of_rankings(self.metric, maximised=True)
        interactions.check_trainable()
        needed = self.bytes_to_fit(interactions.n_ratings, *interactions.shape)
        require(needed, f"AutoRanker of {interactions.n_ratings:,} interactions")
        learnable(interactions, self.threshold, self.confidence)

    def _limits(self) -> Limits:
        work = self.work_budget
        if work is None and self.n_trials is None and self.time_budget is None:
            work = _WORK_BUDGET
        return Limits(work, self.n_trials, self.time_budget)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        described, tensors = nested_state(self.model_, "chosen")
        return {"chosen": described, "search": self.search_.to_dict()}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        chosen = restore_nested(manifest["chosen"], "chosen", self, tensor)
        if not isinstance(chosen, RankingModel):
            raise ValueError("the chosen model does not rank")  # noqa: TRY004
        self.model_ = chosen
        self.search_ = AutoTable.from_dict(manifest["search"])
