"""Losses of one rating as functions of the score: value, gradient, curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError
from bilinear.model.link import Identity, Link, Sigmoid, logistic
from bilinear.model.parameters import Array
from bilinear.registry import register


@dataclass(frozen=True)
class Loss:
    """A loss of one rating; all methods work elementwise on scores before the link."""

    code: ClassVar[int]
    """How the kernels name this loss; training refuses classes of your own, which they do not know."""

    def check(self, link: Link) -> None:
        """Raises ParameterValueError when the loss cannot go with `link`."""

    def convex_in_score(self, link: Link) -> bool:
        """Whether the loss is a convex function of the score for every rating."""
        raise NotImplementedError

    def value(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        raise NotImplementedError

    def gradient(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        """d value / d score."""
        raise NotImplementedError

    def curvature(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        """A non-negative second derivative: exact where the loss is convex, Gauss-Newton elsewhere."""
        raise NotImplementedError


@register
@dataclass(frozen=True)
class SquaredError(Loss):
    """(prediction - rating)^2 / 2, in squared rating units.

    Convex in the score with `Identity`; after a `Sigmoid` it is not.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, SquaredError
        >>> score, rating, link = np.array([3.0, 4.0]), np.array([4.0, 4.0]), Identity(1, 5)
        >>> SquaredError().value(score, rating, link), SquaredError().gradient(score, rating, link)
        (array([0.5, 0. ]), array([-1.,  0.]))
    """

    code: ClassVar[int] = 0

    def convex_in_score(self, link: Link) -> bool:
        return isinstance(link, Identity)

    def value(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        residual: Array = _unclipped(score, link) - rating
        return 0.5 * residual**2

    def gradient(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        residual: Array = _unclipped(score, link) - rating
        return residual * link.derivative(score)

    def curvature(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        return link.derivative(score) ** 2


@register
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """log(1 + exp(score)) - y * score with the fraction y = (rating - low) / (high - low), in nats.

    The loss that matches the sigmoid: convex in the score, its gradient is the bare
    difference of fractions (Auer, Herbster and Warmuth 1995).

    Examples:
        >>> import numpy as np
        >>> from bilinear import CrossEntropy, Sigmoid
        >>> score, rating, link = np.array([0.0, 0.0]), np.array([3.0, 5.0]), Sigmoid(1, 5)
        >>> CrossEntropy().value(score, rating, link).round(2)
        array([0.69, 0.69])
        >>> CrossEntropy().gradient(score, rating, link)
        array([ 0. , -0.5])
    """

    code: ClassVar[int] = 1

    def check(self, link: Link) -> None:
        if not isinstance(link, Sigmoid):
            raise ParameterValueError("CrossEntropy needs link=Sigmoid(): it compares fractions of the range")

    def convex_in_score(self, link: Link) -> bool:
        return True

    def value(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        return np.logaddexp(0, score) - _fraction(rating, link, score) * score

    def gradient(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        difference: Array = logistic(score) - _fraction(rating, link, score)
        return difference

    def curvature(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        share = logistic(score)
        return share * (1 - share)


def second_derivative(loss: Loss, scores: Array, ratings: NDArray[Any], link: Link) -> NDArray[np.float64]:
    """d^2 loss / d score^2, exact, also where `Loss.curvature` is the Gauss-Newton part alone.

    For squared error after a sigmoid of span h: derivative^2 + residual * derivative * (1 - 2 share) with
    derivative = h share (1 - share). Source: docs/theory/convexity.md.
    """
    curvatures: NDArray[np.float64] = np.asarray(loss.curvature(scores, ratings, link), np.float64)
    if loss.convex_in_score(link):
        return curvatures
    if not (type(loss) is SquaredError and type(link) is Sigmoid):
        raise ParameterValueError(
            f"the second derivative of {type(loss).__name__} after {type(link).__name__} is not known here"
        )
    residual = link.prediction(scores) - ratings
    return np.asarray(
        curvatures + residual * link.derivative(scores) * (1 - 2 * logistic(scores)), np.float64
    )


def _unclipped(score: Array, link: Link) -> Array:
    return score if isinstance(link, Identity) else link.prediction(score)


def _fraction(rating: NDArray[Any], link: Link, score: Array) -> Array:
    """In the type of the score: ratings are stored in float32."""
    low, high = link.bounds
    fraction: Array = (np.asarray(rating, score.dtype) - low) / (high - low)
    return fraction
