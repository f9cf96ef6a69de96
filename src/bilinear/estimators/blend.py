"""Several ranking models as one: a weighted mixture of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import draw_seed, is_real
from bilinear.data.interactions import Grouped, InteractionsLike
from bilinear.data.splits import HeldOut
from bilinear.errors import ParameterValueError
from bilinear.estimators.blend_weights import (
    BlendCandidates,
    bytes_to_validate,
    choose_weights,
    voiced,
)
from bilinear.estimators.nested_models import (
    checked_alike,
    copied,
    fitted_whole,
    nested_state,
    restore_nested,
    take_table,
)
from bilinear.estimators.ranking_model import RankingModel
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.update import Change, Updates
from bilinear.estimators.validation_split import ValidationSplit, check_order, inner_validation
from bilinear.evaluation.metrics import Metric, MetricLike
from bilinear.kernels.mixture import add_standardised
from bilinear.memory import require
from bilinear.model.parameters import Array
from bilinear.registry import register
from bilinear.training.progress import Progress, reporter_of


class _Learned(RankingModel):
    uses_weights = "confidence"
    models_: tuple[RankingModel, ...]
    weights_: tuple[float, ...]
    validation_: float | None


@register
@dataclass(repr=False, eq=False)
class Blend(_Learned):
    """score(user, j) = sum over the models of weight * (score(user, j) - mean) / deviation.

    Mean and deviation are those of the model's scores of all items for that user: so models that
    score in different units speak equally loud, and a model says most where it is sure of few items.
    Users without interactions are answered by the models that are not personal alone, where there are any.

    Args:
        models: ranking models; their arguments count, not what they may have learned.
        weights: one a model, zero or more; None chooses them on an inner validation part.
        metric: what the weights are chosen by: "ndcg@20", "recall@10", or one of your own, see `Metric`.
        validation, split: what the choice holds out and how, see `AutoRanker`.
        relevant_from: the least rating of a hit in the validation part; None: all are.
        rng: seed of the inner split; None draws one, kept in `seed_`.

    It has the learned attributes of `Recommender` and these.

    Learned attributes:
        models_: those with a weight above zero, fitted.
        weights_: theirs, of sum one.
        validation_: the metric of the mixture on the inner validation part, or None where weights were
            given. It is the best of some dozens looked at, so a little too high.
    Cost:
        of fitting all models, twice where weights are chosen; of all their scores.

    Examples:
        >>> from bilinear import EASE, Blend, Interactions, Popularity
        >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
        >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
        >>> clicks = Interactions.from_columns(users, items)
        >>> model = Blend((EASE(l2=1.0), Popularity()), weights=(3, 1)).fit(clicks)
        >>> model.weights_
        (0.75, 0.25)
        >>> model.recommend("bob", n=1).items
        array(['scone'], dtype=object)
    """

    models: tuple[RankingModel, ...] = ()
    weights: tuple[float, ...] | None = None
    metric: MetricLike = "ndcg@20"
    validation: float | None = None
    relevant_from: float | None = None
    rng: int | None = None
    split: ValidationSplit = field(default="auto", kw_only=True)

    @classmethod
    def of(cls, fitted: Sequence[RankingModel], weights: Sequence[float]) -> Self:
        """A blend of models that are fitted on one table, as they are.

        Raises:
            ParameterValueError: not fitted on the same table, or weights that are none.

        Examples:
            >>> from bilinear import EASE, Blend, Interactions, Popularity
            >>> users = "ann ann ann bob bob cat cat cat dan dan".split()
            >>> items = "tea jam scone tea jam beer crisps nuts beer crisps".split()
            >>> clicks = Interactions.from_columns(users, items)
            >>> fitted = [EASE(l2=1.0).fit(clicks), Popularity().fit(clicks)]
            >>> Blend.of(fitted, weights=[3, 1]).recommend("bob", n=1).items
            array(['scone'], dtype=object)
        """
        blend = cls(tuple(fitted), tuple(weights))
        shares = blend._check()
        checked_alike(blend.models, "Blend.of")
        blend._mix(blend.models, shares or ())
        return blend

    def fit(
        self,
        interactions: InteractionsLike,
        *,
        progress: Progress | bool = False,
        measured: HeldOut | None = None,
    ) -> Self:
        """Chooses the weights, if none are given, and fits the models on everything; returns self.

        Args:
            measured: how the part was held out on which it will be measured, see `AutoRanker.fit`.

        Ctrl-C leaves the blend as it was.

        Raises:
            EmptyDataError: nothing is left to validate on. Others: as the models' own.
        """
        reporter = reporter_of(progress)
        weights, seed, found = self._check(), draw_seed(self.rng), None
        interactions.check_trainable()
        needed = self.bytes_to_fit(interactions.n_ratings, *interactions.shape)
        require(needed, f"Blend of {interactions.n_ratings:,} interactions")
        if weights is None:
            metric = Metric.of_rankings(self.metric, maximised=True)
            validation = inner_validation(interactions, self.validation, seed, self.split, measured)
            validation_users = validation.users(self.relevant_from, seed)
            inner = []
            for model in self.models:
                reporter.note(f"Blend: {model!r} on the inner training part")
                inner.append(fitted_whole(copied(model), validation.split.train))
            candidates = BlendCandidates.of(inner, validation_users)
            del inner
            weights, found = choose_weights(len(self.models), lambda w: candidates.value(w, metric))
            reporter.note(f"Blend: {metric} {found:.4f} ({validation})")
        fitted = []
        for model, weight in zip(self.models, weights, strict=True):
            if weight:
                reporter.note(f"Blend: {weight:.3f} of {model!r}")
                fitted.append(fitted_whole(copied(model), interactions))
        self._mix(tuple(fitted), tuple(weight for weight in weights if weight))
        self.seed_, self.validation_ = seed, found
        return self

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """(n, n_items) mixed scores, see `Recommender.score_block`."""
        counts = np.where(user_rows >= 0, self.seen_.counts[user_rows], 0)
        return self._mixed([model.score_block(user_rows) for model in self.models_], counts)

    def score_histories(self, histories: Grouped) -> Array:
        """(n, n_items) mixed scores, see `Recommender.score_histories`."""
        return self._mixed([model.score_histories(histories) for model in self.models_], histories.counts)

    def score_timed_histories(self, histories: Grouped, times: NDArray[np.float64]) -> Array:
        tables = [model.score_timed_histories(histories, times) for model in self.models_]
        return self._mixed(tables, histories.counts)

    @property
    def uses_times(self) -> bool:
        return any(model.uses_times for model in vars(self).get("models_", self.models))

    def bytes_to_fit(self, n_pairs: int, n_users: int, n_items: int) -> int:
        """At the least: of the largest model, and of the inner split where weights are chosen."""
        sizes = n_pairs, n_users, n_items
        fitting = max((model.bytes_to_fit(*sizes) for model in self.models), default=0)
        return bytes_to_validate(len(self.models), fitting, *sizes) if self.weights is None else fitting

    @property
    def is_personal(self) -> bool:
        return self._speaker().is_personal

    @property
    def weighs_interactions(self) -> bool:
        return any(model.weighs_interactions for model in self.models)

    def needs_ratings(self) -> bool:
        return any(model.needs_ratings() for model in self.models)

    @property
    def updates(self) -> Updates:
        """As the least of its models: the weights stay."""
        kinds = {model.updates for model in vars(self).get("models_", self.models)}
        return "no" if "no" in kinds else "approximate" if "approximate" in kinds else "exact"

    def _cannot_update(self) -> str:
        stuck = next(model for model in vars(self).get("models_", self.models) if model.updates == "no")
        return f"this Blend holds one that cannot: {stuck._cannot_update()}"

    def _update(self, change: Change) -> None:
        models = tuple(copy(model) for model in self.models_)
        for model in models:
            model._update(change)
        kept = self.seed_, self.validation_
        self._mix(models, self.weights_)
        self.seed_, self.validation_ = kept

    def item_vectors(self) -> Array | None:
        return self._speaker().item_vectors()

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        """As the model of the largest weight that can say says: likeness of items is not mixed."""
        return self._speaker()._alike(item_row, n, allowed)

    def _speaker(self) -> RankingModel:
        order = sorted(range(len(self.models_)), key=lambda m: -self.weights_[m])
        models = [self.models_[m] for m in order]
        return next((model for model in models if model.is_personal), models[0])

    def _mixed(self, tables: list[Array], counts: NDArray[Any]) -> Array:
        scores = np.zeros(tables[0].shape, np.float32)
        for model, weight, table in zip(self.models_, self.weights_, tables, strict=True):
            add_standardised(voiced(model, self.models_, table, counts), weight, scores)
        return scores

    def _mix(self, fitted: tuple[RankingModel, ...], weights: tuple[float, ...]) -> None:
        self.models_, self.weights_ = fitted, weights
        take_table(self, fitted[0])
        clocks = [model.seen_times_ for model in fitted if model.seen_times_ is not None]
        self.seen_times_ = clocks[0] if clocks else None
        self.seed_, self.validation_ = None, None

    def _check(self) -> tuple[float, ...] | None:
        """The weights as shares, or None where they are to be chosen."""
        if not isinstance(self.models, tuple) or not self.models:
            raise ParameterValueError(f"models={self.models!r}; a tuple of ranking models")
        for model in self.models:
            if not isinstance(model, RankingModel):
                raise ParameterValueError(f"models holds {model!r}, which is not a ranking model")
        Metric.of_rankings(self.metric, maximised=True)
        check_order(self.split)
        if self.weights is None:
            return None
        if len(self.weights) != len(self.models):
            raise ParameterValueError(
                f"{len(self.weights)} weights and {len(self.models)} models; one of each"
            )
        if not all(is_real(weight) and weight >= 0 for weight in self.weights) or not sum(self.weights) > 0:
            raise ParameterValueError(f"weights={self.weights!r}; zero or more each, and not all zero")
        total = float(sum(self.weights))
        return tuple(float(weight) / total for weight in self.weights)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        stored: list[dict[str, Any]] = []
        tensors: dict[str, NDArray[Any]] = {}
        for n, model in enumerate(self.models_):
            described, arrays = nested_state(model, f"models.{n}")
            stored.append(described)
            tensors |= arrays
        return {"models": stored, "weights": list(self.weights_), "validation": self.validation_}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        self._check()
        stored, weights = manifest["models"], manifest["weights"]
        if not stored or len(stored) != len(weights):
            raise ValueError(f"{len(stored)} models and {len(weights)} weights")
        if not all(is_real(weight) and weight >= 0 for weight in weights):
            raise ValueError(f"weights are {weights!r}")
        models = [restore_nested(one, f"models.{n}", self, tensor) for n, one in enumerate(stored)]
        if not all(isinstance(model, RankingModel) for model in models):
            raise ValueError("models holds one that does not rank")
        self.models_, self.weights_ = tuple(models), tuple(weights)  # type: ignore[arg-type]
        self.validation_ = manifest["validation"]
