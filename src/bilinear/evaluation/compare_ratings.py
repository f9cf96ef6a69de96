"""Several models of ratings on the same held-out ratings, with differences paired user by user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import DataError, ParameterValueError
from bilinear.evaluation.bootstrap import Interval
from bilinear.evaluation.ratings import RatingScores, comparison_columns, rmse_difference
from bilinear.model.parameters import Array
from bilinear.tabular import Tabular


class Model(Protocol):
    """Protocol of the models that can be compared; every `RatingModel` follows it."""

    @property
    def user_vocabulary_(self) -> Vocabulary: ...
    @property
    def item_vocabulary_(self) -> Vocabulary: ...
    def evaluate(self, interactions: Interactions, *, rng: int = 0) -> RatingScores: ...
    def predict_rows(self, users: NDArray[Any], items: NDArray[Any]) -> Array: ...
    def count_trained_pairs(self, interactions: Interactions) -> int: ...


@dataclass(frozen=True)
class RatingComparison(Tabular):
    """Errors of several models on the same ratings.

    Attributes:
        scores: by model, in the order given.
        baseline: the model that differences are taken to, or None for no differences.
        differences: by model, RMSE less the baseline's, with the 95 % interval of a paired bootstrap over
            users: much narrower than the two models' own, because users are easy or hard for both.
    """

    scores: Mapping[str, RatingScores]
    baseline: str | None
    differences: Mapping[str, Interval]

    def to_columns(self) -> dict[str, Any]:
        """model, metric, value, low, high, and the paired difference of the RMSE with its ends."""
        return comparison_columns(self.scores, {name: {"rmse": by} for name, by in self.differences.items()})

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "baseline": self.baseline,
            "scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "differences": {name: asdict(by) for name, by in self.differences.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RatingComparison:
        return cls(
            {name: RatingScores.from_dict(scores) for name, scores in stored["scores"].items()},
            stored["baseline"],
            {name: Interval(**by) for name, by in stored["differences"].items()},
        )


def compare_ratings(
    models: Mapping[str, Model], test: Interactions, *, baseline: str | None = None, rng: int = 0
) -> RatingComparison:
    """Evaluates fitted models of ratings on the same test part and takes paired differences.

    Args:
        models: by name; fitted on the same training part.
        baseline: name of the model that the others are compared with; None takes no differences.
    Raises:
        DataError: test pairs were trained on by one of them: such a table would not be fair.
        ParameterValueError: a model that predicts no ratings, or `baseline` is none of the models.
    Cost:
        `evaluate` for each model.

    Examples:
        >>> from bilinear import BiasModel, GlobalMean, compare_ratings, split_random, synthetic_ratings
        >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
        >>> models = {"mean": GlobalMean().fit(split.train)}
        >>> models["biases"] = BiasModel(l2_biases=1.0).fit(split.train)
        >>> found = compare_ratings(models, split.test, baseline="mean")
        >>> found.differences["biases"].value < 0
        True
    """
    if baseline is not None and baseline not in models:
        raise ParameterValueError(f"baseline={baseline!r} is none of the models {', '.join(models)}")
    scores, predictions = {}, {}
    for name, model in models.items():
        if not hasattr(model, "predict_rows"):
            raise ParameterValueError(
                f"model {name!r} is a {type(model).__name__}, which ranks and predicts no ratings; compare "
                "rankings instead (task='ranking', --task ranking)"
            )
        trained = model.count_trained_pairs(test)
        if trained:
            raise DataError(
                f"model {name!r} was trained on {trained:,} of the test pairs, so a comparison would not be "
                "fair; train it on the training part alone"
            )
        scores[name] = model.evaluate(test, rng=rng)
        rows = test.aligned_to(model.user_vocabulary_, model.item_vocabulary_)
        predictions[name] = model.predict_rows(*rows)
    differences = {
        name: rmse_difference(values, predictions[baseline], test.ratings, test.users, rng=rng)
        for name, values in predictions.items()
        if baseline is not None and name != baseline
    }
    return RatingComparison(scores, baseline, differences)
