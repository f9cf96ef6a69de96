"""One honest measurement: models trained on one part, all scored on the part none has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from bilinear.data.splits import Split
from bilinear.errors import ParameterValueError
from bilinear.estimators.base import RatingModel
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.evaluation.ratings import Interval, RatingScores, rmse_difference
from bilinear.training.progress import Progress, Quiet


@dataclass(frozen=True)
class Measurement:
    """Scores of several models on the same held-out ratings, with the split that made them."""

    split: str
    n_train: int
    scores: Mapping[str, RatingScores]
    seconds: Mapping[str, float]
    differences: Mapping[str, Interval]
    """RMSE of each model minus that of the reference, paired."""
    reference: str | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "n_train": self.n_train,
            "scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "seconds": dict(self.seconds),
            "differences": {name: asdict(interval) for name, interval in self.differences.items()},
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Measurement:
        scores = {name: RatingScores.from_dict(value) for name, value in stored["scores"].items()}
        differences = {name: Interval(**value) for name, value in stored["differences"].items()}
        return cls(
            stored["split"], stored["n_train"], scores, stored["seconds"], differences, stored["reference"]
        )


def measure(
    models: Mapping[str, RatingModel],
    split: Split,
    *,
    reference: str | None = None,
    rng: int = 0,
    progress: Progress | None = None,
) -> Measurement:
    """Fits each model on `split.train` and scores it on `split.test`.

    The test part is used once a model, at the end. The intervals use the same resamples of users.

    Args: reference: the name of the model that the others' errors are compared with, pair by pair.
    """
    progress = progress or Quiet()
    if reference is not None and reference not in models:
        raise ParameterValueError(f"reference={reference!r} is none of the models {', '.join(models)}")
    scores, seconds, predictions = {}, {}, {}
    test = split.test
    for name, model in models.items():
        began = perf_counter()
        if isinstance(model, MatrixFactorization):
            model.fit(split.train, progress=progress)
        else:
            model.fit(split.train)
        seconds[name] = perf_counter() - began
        scores[name] = model.evaluate(test, rng=rng)
        predictions[name] = model.predict_rows(test.users, test.items)
    differences = {
        name: rmse_difference(values, predictions[reference], test.ratings, test.users, rng=rng)
        for name, values in predictions.items()
        if reference is not None and name != reference
    }
    return Measurement(split.how, split.train.n_ratings, scores, seconds, differences, reference)
