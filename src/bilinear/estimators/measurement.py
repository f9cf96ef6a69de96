"""Measurement of several models: trained on one part, scored on a part that none of them has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, Literal

from bilinear.compiling import clock
from bilinear.data.interactions import Interactions
from bilinear.data.items import Items
from bilinear.data.side_table import Users
from bilinear.data.splits import HeldOut, Split
from bilinear.errors import ParameterValueError
from bilinear.estimators.cold_start import ColdScores, ColdSplit, cold_scores, hold_out_cold
from bilinear.estimators.recommender import Recommender
from bilinear.evaluation.compare import Comparison, compare
from bilinear.evaluation.compare_ratings import RatingComparison, compare_ratings
from bilinear.evaluation.ranking_task import RankingProtocol
from bilinear.evaluation.refits import Refits, SplitDifference, interval_over_refits
from bilinear.tabular import Tabular
from bilinear.training.progress import NullProgress, Progress

Task = Literal["ratings", "ranking"]


@dataclass(frozen=True)
class Measurement(Tabular):
    """Scores of several models on the same held-out part, with the split that made them.

    Attributes:
        split: how it was held out.
        n_train: rows that were trained on.
        comparison: scores and paired differences, of errors or of rankings.
        seconds: by model, what `fit` took.
    """

    split: str
    n_train: int
    comparison: Comparison | RatingComparison
    seconds: Mapping[str, float]
    refits: Refits | None = None
    """Differences over repeated splits, where they were asked for."""
    cold: tuple[ColdScores, ...] = ()
    """Scores on items and users that were held out whole, where features were given."""

    @property
    def task(self) -> Task:
        """ "ratings" (errors of predictions) or "ranking"."""
        return "ratings" if isinstance(self.comparison, RatingComparison) else "ranking"

    @property
    def scores(self) -> Mapping[str, Any]:
        """By model, `RatingScores` or `RankingScores`."""
        return self.comparison.scores

    @property
    def baseline(self) -> str | None:
        """The model that the others are compared with."""
        return self.comparison.baseline

    @property
    def differences(self) -> Mapping[str, Any]:
        """By model, less the baseline and paired: of the RMSE, or of each ranking metric by name."""
        return self.comparison.differences

    def to_columns(self) -> dict[str, Any]:
        """Those of the comparison, and the seconds that each model's `fit` took."""
        columns = self.comparison.to_columns()
        return columns | {"seconds": [self.seconds.get(name) for name in columns["model"]]}

    def _caption(self) -> str:
        return f"{self.split}; {self.n_train:,} to train"

    def to_dict(self) -> dict[str, Any]:
        stored = self.comparison.to_dict()
        return {
            "task": self.task,
            "split": self.split,
            "n_train": self.n_train,
            "scores": stored["scores"],
            "seconds": dict(self.seconds),
            "differences": stored["differences"],
            "baseline": stored["baseline"],
        } | (
            ({} if self.refits is None else {"refits": self.refits.to_dict()})
            | ({"cold": [scores.to_dict() for scores in self.cold]} if self.cold else {})
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Measurement:
        kind = Comparison if stored.get("task") == "ranking" else RatingComparison
        comparison = kind.from_dict(stored)
        refits = Refits.from_dict(stored["refits"]) if "refits" in stored else None
        cold = tuple(ColdScores.from_dict(one) for one in stored.get("cold", ()))
        return cls(stored["split"], stored["n_train"], comparison, stored["seconds"], refits, cold)

    def __str__(self) -> str:
        if isinstance(self.comparison, Comparison):
            return f"{self.split}\n{self.comparison}"
        lines = [f"{name}: {scores}" for name, scores in self.comparison.scores.items()]
        lines += [
            f"RMSE of {name} less that of {self.baseline}: {by.value:+.4f} [{by.low:+.4f}, {by.high:+.4f}]"
            for name, by in self.comparison.differences.items()
        ]
        if self.refits is not None:
            lines += [
                f"over {self.refits.n_splits} splits: RMSE of {name} less that of {self.baseline}: "
                f"{by['rmse'].value:+.4f} [{by['rmse'].low:+.4f}, {by['rmse'].high:+.4f}]"
                for name, by in self.refits.differences.items()
            ]
        return "\n".join([self.split, *lines])


def measure(
    models: Mapping[str, Recommender],
    split: Split,
    *,
    task: Task | None = None,
    protocol: RankingProtocol | None = None,
    baseline: str | None = None,
    rng: int = 0,
    progress: Progress | None = None,
    n_threads: int | None = None,
    refits: Iterable[Split] = (),
    items: Items | None = None,
    users: Users | None = None,
) -> Measurement:
    """Fits each model on `split.train` and scores it on `split.test`.

    The test part is used once a model, at the end. The intervals use the same resamples of users, and hold
    the fitted models fixed: they are about other users of this test part. `refits` are for the question
    which recipe is better.

    Args:
        models: by name, not fitted.
        task: "ratings" measures errors of predictions, "ranking" the lists of any model. None is ratings
            where the table has them and all models predict them, else ranking.
        protocol: of a ranking: cut-offs, what is relevant; its seed is `rng` unless it is given.
        baseline: the name of the model that the others are compared with, user by user. None: none
            for ratings, the first for rankings.
        n_threads: for scoring rankings; None takes all cores.
        refits: more splits of the same table: `(split_random(table, rng=n) for n in range(1, 10))`. Copies
            of all models are fitted on each, and `Measurement.refits` has the mean differences to the
            baseline with intervals about other samples of users, splits and fits.
        items, users: tables of features for the models that have `item_features` or `user_features`. A tenth
            of these items and users is then held out whole, and `Measurement.cold` has the scores on them.
            `Diversified` takes the categories of items from there.
    Raises:
        ParameterValueError: `baseline` is none of the models, or a model cannot do the task.
            Or refits without a baseline, or of another table.
        DataError, EmptyDataError: nothing fair can be measured.

    Examples:
        >>> from bilinear import BiasModel, GlobalMean, measure, split_random, synthetic_ratings
        >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
        >>> models = {"mean": GlobalMean(), "biases": BiasModel(l2_biases=1.0)}
        >>> found = measure(models, split, baseline="mean")
        >>> found.scores["biases"].rmse.value < found.scores["mean"].rmse.value
        True
        >>> found.task, list(found.differences)
        ('ratings', ['biases'])
    """
    if baseline is not None and baseline not in models:
        raise ParameterValueError(f"baseline={baseline!r} is none of the models {', '.join(models)}")
    if task not in (None, "ratings", "ranking"):
        raise ParameterValueError(f"task={task!r}; choose 'ratings' or 'ranking'")
    rated = [name for name, model in models.items() if model.predicts_ratings]
    if task is None:
        task = "ratings" if split.train.has_ratings and len(rated) == len(models) else "ranking"
    if task == "ratings":
        _check_ratings(models, split, protocol)
    if protocol is None and task == "ranking":
        protocol = RankingProtocol(rng=rng)
    tables = {"items": items, "users": users}
    cold = _held_out_whole(models, split, rng)
    split = split if cold is None else cold.split
    seconds = {}
    for name, model in models.items():
        began = clock()
        fit(model, split.train, progress or NullProgress(), **tables, measured=split.held_out)  # type: ignore[arg-type]
        seconds[name] = clock() - began
    if task == "ranking":
        baseline = next(iter(models)) if baseline is None else baseline
    compared = partial(
        _compared, task=task, protocol=protocol, baseline=baseline, rng=rng, n_threads=n_threads
    )
    comparison = compared(models, split)
    again = None
    for n, other in enumerate(refits, start=1):
        if baseline is None or len(models) < 2:
            raise ParameterValueError("refits compare models: give two or more, and baseline=, one of them")
        if other.train.user_vocabulary is not split.train.user_vocabulary:
            raise ParameterValueError("refits are further splits of the same table; one is of another")
        if again is None:
            again = _Repeated(split, _differences(models, split, comparison, baseline))
        (progress or NullProgress()).note(f"refit {n} ({other.how})")
        copies = {name: type(model)(**model.get_params(deep=False)) for name, model in models.items()}
        for model in copies.values():
            fit(model, other.train, progress or NullProgress(), **tables, measured=other.held_out)  # type: ignore[arg-type]
        of_lists = compared(copies, other) if task == "ranking" else None
        again.add(_differences(copies, other, of_lists, baseline))
    found = None if again is None else again.result()
    new = _cold(models, cold, task, protocol, rng)
    return Measurement(split.how, split.train.n_ratings, comparison, seconds, found, new)


def _held_out_whole(models: Mapping[str, Any], split: Split, rng: int) -> ColdSplit | None:
    """Some items or users held out whole, of the sides that a model has features of."""
    items, users = (
        any(len(getattr(model, f"{side}_features", ())) > 0 for model in models.values())
        for side in ("item", "user")
    )
    if not (items or users) or split.history is not None:
        return None
    return hold_out_cold(split, items=items, users=users, rng=rng)


def _cold(
    models: Mapping[str, Any], cold: ColdSplit | None, task: Task, protocol: RankingProtocol | None, rng: int
) -> tuple[ColdScores, ...]:
    if cold is None:
        return ()
    by_rating = None if protocol is None else protocol.relevant_from
    asked: list[tuple[Literal["items", "users"], Interactions | None]]
    asked = [("items", cold.new_items), ("users", cold.new_users)]
    return tuple(
        cold_scores(models, side, table, ratings=task == "ratings", relevant_from=by_rating, rng=rng)
        for side, table in asked
        if table is not None
    )


def _compared(
    models: Mapping[str, Any],
    split: Split,
    *,
    task: Task,
    protocol: RankingProtocol | None,
    baseline: str | None,
    rng: int,
    n_threads: int | None,
) -> Comparison | RatingComparison:
    if task == "ratings":
        return compare_ratings(models, split.test, baseline=baseline, rng=rng)
    return compare(models, split, protocol, baseline=baseline, n_threads=n_threads)


_Differences = Mapping[str, Mapping[str, SplitDifference]]
"""By model, then by metric."""


def _differences(models: Mapping[str, Any], split: Split, comparison: object, baseline: str) -> _Differences:
    """Of each model to the baseline on one split; of ratings without a `Comparison` of rankings."""
    others = [name for name in models if name != baseline]
    if not isinstance(comparison, Comparison):
        test, at = split.test, models[baseline]
        rows = test.aligned_to(at.user_vocabulary_, at.item_vocabulary_)
        predicted = {name: model.predict_rows(*rows) for name, model in models.items()}
        return {
            name: {
                "rmse": SplitDifference.of_rmse(
                    predicted[name], predicted[baseline], test.ratings, test.users
                )
            }
            for name in others
        }
    base = comparison.scores[baseline]
    return {
        name: {
            metric: SplitDifference.of_means(values - base.per_user[metric], base.users)
            for metric, values in comparison.scores[name].per_user.items()
            if metric in base.per_user
        }
        for name in others
    }


class _Repeated:
    """Differences of all splits so far."""

    def __init__(self, split: Split, first: _Differences) -> None:
        self.test_to_train = split.test.n_ratings / split.train.n_ratings
        self.splits = [first]

    def add(self, differences: _Differences) -> None:
        self.splits.append(differences)

    def result(self) -> Refits:
        first = self.splits[0]
        return Refits(
            len(self.splits),
            {
                name: {
                    metric: interval_over_refits(
                        [split[name][metric] for split in self.splits], self.test_to_train
                    )
                    for metric in metrics
                }
                for name, metrics in first.items()
            },
        )


def fit(
    model: Recommender,
    table: Interactions,
    progress: Progress,
    items: Items | None = None,
    users: Users | None = None,
    measured: HeldOut | None = None,
) -> None:
    """Fits a model: with `progress` if it reports any, and with the tables of its features or categories.

    Args:
        measured: how the test part was held out, for models whose choice depends on it.
    """
    given: dict[str, Any] = {
        side: one
        for side, one in (("items", items), ("users", users))
        if len(getattr(model, f"{side[:-1]}_features", ())) > 0
        or (side == "items" and getattr(model, "counts_categories", False))
    }
    taken = signature(model.fit).parameters
    given |= {name: one for name, one in (("progress", progress), ("measured", measured)) if name in taken}
    model.fit(table, **given)


def _check_ratings(models: Mapping[str, Recommender], split: Split, protocol: RankingProtocol | None) -> None:
    others = [name for name, model in models.items() if not model.predicts_ratings]
    if others:
        raise ParameterValueError(
            f"{', '.join(others)}: ranks and predicts no ratings; task='ranking' (--task ranking) measures "
            "all models by their lists"
        )
    if protocol is not None:
        raise ParameterValueError("a protocol says how rankings are measured; task='ranking' takes one")
    if split.history is not None:
        raise ParameterValueError(
            "users that are held out whole are met by fold-in, which is measured for rankings; "
            "task='ranking' (--task ranking), or another split"
        )
