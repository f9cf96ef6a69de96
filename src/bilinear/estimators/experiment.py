"""One honest measurement: models trained on one part, all scored on the part none has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from time import perf_counter
from typing import Any, Literal

from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split
from bilinear.errors import ParameterValueError
from bilinear.estimators.base import RatingModel
from bilinear.estimators.recommender import Recommender
from bilinear.evaluation.compare import Comparison, compare
from bilinear.evaluation.compare_ratings import RatingComparison, compare_ratings
from bilinear.evaluation.ranking_task import RankingProtocol
from bilinear.training.progress import Progress, Quiet

Task = Literal["ratings", "ranking"]


@dataclass(frozen=True)
class Measurement:
    """Scores of several models on the same held-out part, with the split that made them.

    Attributes:
        split: how it was held out. n_train: rows that were trained on.
        comparison: scores and paired differences, of errors or of rankings.
        seconds: by model, what `fit` took.
    """

    split: str
    n_train: int
    comparison: Comparison | RatingComparison
    seconds: Mapping[str, float]

    @property
    def task(self) -> Task:
        """What was measured: errors of predicted ratings, or rankings."""
        return "ratings" if isinstance(self.comparison, RatingComparison) else "ranking"

    @property
    def scores(self) -> Mapping[str, Any]:
        """By model, `RatingScores` or `RankingScores`."""
        return self.comparison.scores

    @property
    def reference(self) -> str | None:
        """The model that the others are compared with."""
        return self.comparison.baseline

    @property
    def differences(self) -> Mapping[str, Any]:
        """By model, less the reference and paired: of the RMSE, or of each ranking metric by name."""
        return self.comparison.differences

    def to_dict(self) -> dict[str, Any]:
        stored = self.comparison.to_dict()
        return {
            "task": self.task,
            "split": self.split,
            "n_train": self.n_train,
            "scores": stored["scores"],
            "seconds": dict(self.seconds),
            "differences": stored["differences"],
            "reference": stored["baseline"],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Measurement:
        kind = Comparison if stored.get("task") == "ranking" else RatingComparison
        comparison = kind.from_dict({**stored, "baseline": stored["reference"]})
        return cls(stored["split"], stored["n_train"], comparison, stored["seconds"])

    def __str__(self) -> str:
        if isinstance(self.comparison, Comparison):
            return f"{self.split}\n{self.comparison}"
        lines = [f"{name}: {scores}" for name, scores in self.comparison.scores.items()]
        lines += [
            f"RMSE of {name} less that of {self.reference}: {by.value:+.4f} [{by.low:+.4f}, {by.high:+.4f}]"
            for name, by in self.comparison.differences.items()
        ]
        return "\n".join([self.split, *lines])


def measure(
    models: Mapping[str, Recommender],
    split: Split,
    *,
    task: Task | None = None,
    protocol: RankingProtocol | None = None,
    reference: str | None = None,
    rng: int = 0,
    progress: Progress | None = None,
    n_threads: int | None = None,
) -> Measurement:
    """Fits each model on `split.train` and scores it on `split.test`.

    The test part is used once a model, at the end. The intervals use the same resamples of users.

    Args:
        models: by name, not fitted.
        task: "ratings" measures errors of predictions, "ranking" the lists of any model. None is ratings
            where the table has them and all models predict them, else ranking.
        protocol: of a ranking: cut-offs, what is relevant; its seed is `rng` unless it is given.
        reference: the name of the model that the others are compared with, user by user. None: nobody
            for ratings, the first for rankings.
        n_threads: for scoring rankings; None takes all cores.
    Raises:
        ParameterValueError: `reference` is none of the models, or a model cannot do the task.
        DataError, EmptyDataError: nothing fair can be measured.
    """
    if reference is not None and reference not in models:
        raise ParameterValueError(f"reference={reference!r} is none of the models {', '.join(models)}")
    if task not in (None, "ratings", "ranking"):
        raise ParameterValueError(f"task={task!r}; choose 'ratings' or 'ranking'")
    rated = [name for name, model in models.items() if isinstance(model, RatingModel)]
    if task is None:
        task = "ratings" if split.train.has_ratings and len(rated) == len(models) else "ranking"
    if task == "ratings":
        _check_ratings(models, split, protocol)
    seconds = {}
    for name, model in models.items():
        began = perf_counter()
        fit(model, split.train, progress or Quiet())
        seconds[name] = perf_counter() - began
    comparison: Comparison | RatingComparison
    if task == "ratings":
        of_ratings: dict[str, Any] = dict(models)
        comparison = compare_ratings(of_ratings, split.test, baseline=reference, rng=rng)
    else:
        protocol = protocol or RankingProtocol(rng=rng)
        comparison = compare(models, split, protocol, baseline=reference, n_threads=n_threads)
    return Measurement(split.how, split.train.n_ratings, comparison, seconds)


def fit(model: Recommender, table: Interactions, progress: Progress) -> None:
    """Fits a model, which hears of `progress` if it takes any."""
    if "progress" in signature(model.fit).parameters:
        model.fit(table, progress=progress)  # type: ignore[call-arg]
    else:
        model.fit(table)


def _check_ratings(models: Mapping[str, Recommender], split: Split, protocol: RankingProtocol | None) -> None:
    others = [name for name, model in models.items() if not isinstance(model, RatingModel)]
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
