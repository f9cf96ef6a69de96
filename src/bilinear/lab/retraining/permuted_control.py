"""The permutation control: the same training on ratings shuffled among the rated pairs."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.estimators.rating_model import RatingModel
from bilinear.lab.numerics.summaries import rmse


@dataclass(frozen=True)
class PermutedControl:
    """Errors of a model and of the same training on shuffled ratings, where all that can be learned is noise.

    Attributes:
        train_rmse: Of the model on its training ratings, in rating units.
        test_rmse: Of the model on held-out ratings; None without any.
        permuted_train_rmse: Of the model of shuffled ratings on these shuffled ratings.
        permuted_test_rmse: Of the model of shuffled ratings on held-out ratings; None without any.
        mean_train_rmse: Of predicting the mean training rating, on the training ratings.
        mean_test_rmse: Of the same prediction, on held-out ratings; None without any.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> found = lab.permuted_control(model, ratings)
        >>> found.train_rmse < found.permuted_train_rmse
        True
    """

    train_rmse: float
    test_rmse: float | None
    permuted_train_rmse: float
    permuted_test_rmse: float | None
    mean_train_rmse: float
    mean_test_rmse: float | None

    @property
    def memorised(self) -> float:
        """The share of the training ratings' variance that is explained although the ratings are noise."""
        return 1 - (self.permuted_train_rmse / self.mean_train_rmse) ** 2

    @property
    def learned(self) -> float | None:
        """The share of the held-out ratings' squared error that training removes; None without any."""
        if self.test_rmse is None or self.mean_test_rmse is None:
            return None
        return 1 - (self.test_rmse / self.mean_test_rmse) ** 2

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"memorised": self.memorised, "learned": self.learned}


def permuted_control(
    model: RatingModel, train: Interactions, test: Interactions | None = None, *, rng: int = 0
) -> PermutedControl:
    """Trains a copy of the model, with its settings, on shuffled ratings; the model is not changed.

    Cost:
        one training run.

    Args:
        model: The fitted model.
        train: Its training ratings, in the rows of its vocabularies.
        test: Held-out ratings; ids that the model does not know count as unknown.
        rng: Seed of the shuffle.

    Returns:
        Errors of both models.

    Raises:
        KeyboardInterrupt: Training on the shuffled ratings was interrupted.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.permuted_control(BiasModel(l2_biases=1.0).fit(ratings), ratings)
        >>> found.train_rmse < found.permuted_train_rmse < found.mean_train_rmse
        True
    """
    ratings = np.random.default_rng(rng).permutation(train.ratings)
    shuffled = replace(train, ratings=ratings)
    other = copy(model).retrain(shuffled)
    if other.history_.ended == "interrupted" and model.history_.ended != "interrupted":
        raise KeyboardInterrupt  # the copy is then unchanged and says nothing about shuffled ratings
    mean = float(train.ratings.mean(dtype=np.float64))
    mean_train, mean_test = (
        None if table is None else float(np.sqrt(np.mean((table.ratings.astype(np.float64) - mean) ** 2)))
        for table in (train, test)
    )
    assert mean_train is not None
    return PermutedControl(
        rmse(model.parameters_, model.link_, train),
        None if test is None else model.evaluate(test).rmse.value,
        rmse(other.parameters_, other.link_, shuffled),
        None if test is None else other.evaluate(test).rmse.value,
        mean_train,
        mean_test,
    )
