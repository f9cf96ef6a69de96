"""One honest measurement: models trained on one part, all scored on the part none has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from bilinear.data.splits import Split
from bilinear.estimators.base import RatingModel
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.evaluation.ratings import RatingScores
from bilinear.training.progress import Progress, Quiet


@dataclass(frozen=True)
class Measurement:
    """Scores of several models on the same held-out ratings, with the split that made them."""

    split: str
    n_train: int
    scores: Mapping[str, RatingScores]
    seconds: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "n_train": self.n_train,
            "scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "seconds": dict(self.seconds),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Measurement:
        scores = {name: RatingScores.from_dict(value) for name, value in stored["scores"].items()}
        return cls(stored["split"], stored["n_train"], scores, stored["seconds"])


def measure(
    models: Mapping[str, RatingModel], split: Split, *, rng: int = 0, progress: Progress | None = None
) -> Measurement:
    """Fits each model on `split.train` and scores it on `split.test`.

    The test part is used once a model, at the end. The intervals use the same resamples of users.
    """
    progress = progress or Quiet()
    scores, seconds = {}, {}
    for name, model in models.items():
        began = perf_counter()
        if isinstance(model, MatrixFactorization):
            model.fit(split.train, progress=progress)
        else:
            model.fit(split.train)
        seconds[name] = perf_counter() - began
        scores[name] = model.evaluate(split.test, rng=rng)
    return Measurement(split.how, split.train.n_ratings, scores, seconds)
