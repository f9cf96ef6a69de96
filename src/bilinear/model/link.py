"""Links from score to prediction: the identity, or a sigmoid into the rating range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from bilinear.arguments import is_real
from bilinear.errors import ParameterValueError
from bilinear.formulas import elementwise
from bilinear.model.parameters import Array
from bilinear.registry import register

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Link:
    """A monotone map from scores to predictions in [low, high].

    `low` and `high` are None until training sets them: from `rating_range`, or from the ratings.
    """

    low: float | None = None
    high: float | None = None

    code: ClassVar[int]
    """How the kernels name this link; classes of your own have a `formula` instead."""

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if low is None and high is None:
            return
        if not (is_real(low) and is_real(high) and low < high):
            raise ParameterValueError(
                f"rating range ({low!r}, {high!r}); give two numbers, the smaller first"
            )

    def resolved(self, low: float, high: float) -> Self:
        """This link into the range of ratings that span low..high, unless it has one."""
        return self if self.low is not None else self.with_range(low, high)

    def with_range(self, low: float, high: float) -> Self:
        """This link into exactly [low, high]."""
        return replace(self, low=low, high=high)

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high) of a resolved link."""
        if self.low is None or self.high is None:
            raise ParameterValueError("the link has no rating range yet; call resolved(low, high)")
        return float(self.low), float(self.high)

    def formula(self) -> Callable[[float, float, float], tuple[float, float]]:
        """A function of numbers (score, low, high) -> (prediction, its derivative by the score).

        It is compiled by Numba. A link of your own gives this and `score`.
        """
        raise NotImplementedError

    def prediction(self, score: Array) -> Array:
        """Ratings for scores, elementwise."""
        return elementwise(self, 0, score, *self.bounds)

    def derivative(self, score: Array) -> Array:
        """d prediction / d score as the training loss sees it."""
        return elementwise(self, 1, score, *self.bounds)

    def score(self, prediction: float) -> float:
        """The score whose prediction this is."""
        raise NotImplementedError


@register
@dataclass(frozen=True)
class Identity(Link):
    """The score is the rating. Predictions are cut to [low, high]; training sees the bare score.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity
        >>> Identity(0.5, 5).prediction(np.array([-1.0, 3.2, 7.0]))
        array([0.5, 3.2, 5. ])
    """

    code: ClassVar[int] = 0

    def formula(self) -> Callable[[float, float, float], tuple[float, float]]:
        return lambda score, low, high: (score, 1.0)

    def prediction(self, score: Array) -> Array:
        low, high = self.bounds
        return np.minimum(np.maximum(score, low), high)  # a third of the time of np.clip for one list

    def derivative(self, score: Array) -> Array:
        return np.ones_like(score)

    def score(self, prediction: float) -> float:
        return prediction


@register
@dataclass(frozen=True)
class Sigmoid(Link):
    """low + (high - low) / (1 + exp(-score)).

    A sigmoid never reaches its ends, so a range found from the data is widened by `margin`
    times its length on either side (0.5..5 becomes 0.05..5.45); a given range is used as it is.

    Examples:
        >>> import numpy as np
        >>> from bilinear import CrossEntropy, MatrixFactorization, Sigmoid
        >>> Sigmoid(1, 5).prediction(np.array([-50.0, 0.0, 50.0]))
        array([1., 3., 5.])
        >>> model = MatrixFactorization(loss=CrossEntropy(), link=Sigmoid())
        >>> model.link
        Sigmoid(low=None, high=None, margin=0.1)
    """

    margin: float = 0.1
    code: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_real(self.margin) and self.margin >= 0):
            raise ParameterValueError(f"Sigmoid(margin={self.margin!r}); zero or more")

    def formula(self) -> Callable[[float, float, float], tuple[float, float]]:
        def sigmoid(score: float, low: float, high: float) -> tuple[float, float]:
            decay = np.exp(-abs(score))
            share = (1.0 if score >= 0 else decay) / (1.0 + decay)
            return low + (high - low) * share, (high - low) * share * (1.0 - share)

        return sigmoid

    def resolved(self, low: float, high: float) -> Self:
        extra = self.margin * (high - low)
        return super().resolved(max(low - extra, -_LARGEST), min(high + extra, _LARGEST))

    def prediction(self, score: Array) -> Array:
        low, high = self.bounds
        share = logistic(score)
        wide = high - low > _LARGEST
        between = (1 - share) * low + share * high if wide else low + (high - low) * share
        # rounding can carry a saturated sigmoid past its end
        predictions: Array = np.clip(between, low, high)
        return predictions

    def derivative(self, score: Array) -> Array:
        low, high = self.bounds
        share = logistic(score)
        return (high - low) * share * (1 - share)

    def score(self, prediction: float) -> float:
        low, high = self.bounds
        share = (prediction - low) / (high - low)
        if not 0 < share < 1:
            raise ParameterValueError(f"a sigmoid into ({low}, {high}) never predicts {prediction}")
        return float(np.log(share / (1 - share)))


def logistic(score: Array) -> Array:
    """1 / (1 + exp(-score)) without overflow."""
    decay = np.exp(-np.abs(score))
    return np.where(score >= 0, 1 / (1 + decay), decay / (1 + decay))
