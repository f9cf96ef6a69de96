"""Several models on the same users: one table, and differences that are paired user by user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split
from bilinear.errors import DataError, ParameterValueError
from bilinear.evaluation.bootstrap import Interval, mean_intervals
from bilinear.evaluation.ranking import RankingScores, aligned, evaluate_ranking
from bilinear.evaluation.ranking_task import Model, RankingProtocol
from bilinear.evaluation.ratings import comparison_columns
from bilinear.model.parameters import Array
from bilinear.tabular import Tabular


@dataclass(frozen=True, eq=False)
class Comparison(Tabular):
    """Scores of several models for the same users.

    Attributes:
        scores: by model, in the order given.
        baseline: the model that differences are taken to.
        differences: by model, then by metric: model less baseline, with the 95 % interval of a paired
            bootstrap over users. Much narrower than the two models' own intervals, because users
            are easy or hard for both. Many differences looked at together exclude zero by chance more
            often than one in twenty.
    """

    scores: Mapping[str, RankingScores]
    baseline: str
    differences: Mapping[str, Mapping[str, Interval]]

    def to_columns(self) -> dict[str, Any]:
        """model, metric, value, low, high, and the paired difference to the baseline with its ends."""
        return comparison_columns(self.scores, self.differences)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "baseline": self.baseline,
            "scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "differences": {
                name: {metric: [by.value, by.low, by.high] for metric, by in differences.items()}
                for name, differences in self.differences.items()
            },
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Comparison:
        return cls(
            {name: RankingScores.from_dict(scores) for name, scores in stored["scores"].items()},
            stored["baseline"],
            {
                name: {metric: Interval(*by) for metric, by in differences.items()}
                for name, differences in stored["differences"].items()
            },
        )

    def table(self, metrics: list[str] | None = None) -> str:
        """The models' scores, then the differences; None shows Recall, NDCG and coverage at about 20."""
        any_scores = self.scores[self.baseline]
        names = self.usual_metrics() if metrics is None else metrics
        for scores in self.scores.values():
            for name in names:
                scores[name]  # refuses a metric that is not there, with those that are
        header = ["", *names]
        rows = [header] + [
            [model, *(_shown(scores, name) for name in names)] for model, scores in self.scores.items()
        ]
        paired = [name for name in names if name in any_scores.means]
        text = aligned(rows)
        if self.differences and paired:
            below = [[f"less {self.baseline}", *paired]] + [
                [model, *(_difference(by[name]) for name in paired)] for model, by in self.differences.items()
            ]
            text += "\n\n" + aligned(below) + "\n* the interval of the paired difference excludes zero"
        return text

    def __str__(self) -> str:
        lines: list[str] = []
        for name, scores in self.scores.items():
            head = str(scores).split("\n\n", 1)[0]
            if head not in lines:  # alike for models that know the same items
                lines.append(head if not lines else f"{name}: {head}")
        return "\n".join(lines) + "\n\n" + self.table()

    def usual_metrics(self) -> list[str]:
        """Recall, NDCG and coverage at the cut-off nearest to 20, as far as they were measured."""
        scores = self.scores[self.baseline]
        k = min(scores.cutoffs, key=lambda cutoff: (abs(cutoff - 20), cutoff))
        return [
            name
            for name in (f"recall@{k}", f"ndcg@{k}", f"coverage@{k}")
            if name in scores.means or name in scores.catalogue
        ]


def compare(
    models: Mapping[str, Model],
    test: Interactions | Split,
    protocol: RankingProtocol | None = None,
    *,
    baseline: str | None = None,
    item_vectors: Mapping[str, Array] | None = None,
    n_threads: int | None = None,
) -> Comparison:
    """Evaluates fitted models on the same test part and takes paired differences.

    Args:
        models: by name; fitted on the same training part.
        baseline: name of the model that the others are compared with; None is the first.
        item_vectors: by name of the model, for diversity, in that model's item rows.
    Raises:
        DataError: test pairs were trained on by one of them, or the users that can be evaluated differ
            between models: such a table would not be fair.
        EmptyDataError: no user has a relevant test item.
    Cost:
        `evaluate_ranking` for each model.

    Examples:
        >>> from bilinear import EASE, Popularity, compare, split_random, synthetic_catalogue
        >>> split = split_random(synthetic_catalogue(1000, 40, 60, rng=0).interactions, rng=0)
        >>> models = {"popular": Popularity().fit(split.train), "ease": EASE(l2=20.0).fit(split.train)}
        >>> found = compare(models, split, baseline="popular")
        >>> difference = found.differences["ease"]["ndcg@10"]
        >>> difference.low <= difference.value <= difference.high
        True
    """
    if not isinstance(models, Mapping) or not models:
        raise ParameterValueError("compare takes models by name, such as {'ease': ease, 'popular': popular}")
    first = next(iter(models))
    baseline = first if baseline is None else baseline
    if baseline not in models:
        raise ParameterValueError(f"baseline={baseline!r} is none of the models {', '.join(models)}")
    vectors = item_vectors or {}
    protocol = protocol or RankingProtocol()
    scores = {
        name: evaluate_ranking(model, test, protocol, item_vectors=vectors.get(name), n_threads=n_threads)
        for name, model in models.items()
    }
    _check_fair(scores)
    at = scores[baseline]
    differences = {
        name: paired_differences(other.per_user, at.per_user, protocol.rng)
        for name, other in scores.items()
        if name != baseline
    }
    return Comparison(scores, baseline, differences)


def paired_differences(
    model: Mapping[str, NDArray[np.float64]], baseline: Mapping[str, NDArray[np.float64]], rng: int = 0
) -> dict[str, Interval]:
    """Model less baseline for each metric that both have, from values of the same users in one order."""
    shared = [name for name in model if name in baseline]
    if not shared:
        return {}
    return dict(
        zip(
            shared,
            mean_intervals(np.stack([model[name] - baseline[name] for name in shared], axis=1), rng),
            strict=True,
        )
    )


def _check_fair(scores: Mapping[str, RankingScores]) -> None:
    first_name, first = next(iter(scores.items()))
    for name, other in scores.items():
        if other.n_trained_pairs:
            raise DataError(
                f"model {name!r} was trained on {other.n_trained_pairs:,} of the test pairs, so a comparison "
                "would not be fair; train it on the training part alone"
            )
        if not np.array_equal(other.users, first.users) or other.n_relevant != first.n_relevant:
            raise DataError(
                f"models {first_name!r} and {name!r} cannot be evaluated on the same users "
                f"({first.n_users:,} and {other.n_users:,}); train them on the same part"
            )


def _shown(scores: RankingScores, name: str) -> str:
    return str(scores.means[name]) if name in scores.means else f"{scores[name]:.4f}"


def _difference(by: Interval) -> str:
    mark = "*" if by.low > 0 or by.high < 0 else " "
    return f"{by.value:+.4f} [{by.low:+.4f}, {by.high:+.4f}]{mark}"
