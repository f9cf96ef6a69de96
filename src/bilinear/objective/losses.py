"""Losses of one rating as functions of the score: value, gradient, curvature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import OWN, has_formula, is_real, kernel_code
from bilinear.errors import ParameterValueError
from bilinear.formulas import Functions, compiled_formula, elementwise, tried
from bilinear.kernels.cache import njit
from bilinear.model.link import Identity, Link, Sigmoid, logistic
from bilinear.model.parameters import Array
from bilinear.registry import register

_STEP = float(np.cbrt(np.finfo(np.float64).eps))
"""Of scores around one, for central differences."""


@dataclass(frozen=True)
class Loss:
    """A loss of one rating; all methods work elementwise on scores before the link."""

    code: ClassVar[int]
    """How the kernels name this loss; classes of your own have a `formula` instead."""

    def formula(self) -> Callable[[float, float], tuple[float, float, float]]:
        """A function of numbers (prediction, rating) -> (value, derivative, curvature), by the prediction.

        It is compiled by Numba, and all that a loss of your own needs. The curvature is the second derivative
        where that is positive, else a positive number in its place; steps and penalties are scaled by that of
        a rating predicted exactly.
        """
        raise ParameterValueError(f"{type(self).__name__} has no formula of predictions for other links")

    def check(self, link: Link) -> None:
        """Raises ParameterValueError when the loss cannot go with `link`."""

    def convex_in_score(self, link: Link) -> bool:
        """Whether the loss is known to be a convex function of the score for every rating."""
        return False

    def value(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        return elementwise(self, 0, _unclipped(score, link), rating)

    def gradient(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        """d value / d score."""
        found: Array = elementwise(self, 1, _unclipped(score, link), rating) * link.derivative(score)
        return found

    def curvature(self, score: Array, rating: NDArray[Any], link: Link) -> Array:
        """A non-negative second derivative: exact where the loss is convex, Gauss-Newton elsewhere."""
        found: Array = elementwise(self, 2, _unclipped(score, link), rating) * link.derivative(score) ** 2
        return found


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

    def formula(self) -> Callable[[float, float], tuple[float, float, float]]:
        return lambda prediction, rating: (0.5 * (prediction - rating) ** 2, prediction - rating, 1.0)

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
    derivative = h share (1 - share). Source: docs/theory/convexity.md. For formulas of your own it is a
    central difference of the gradient.
    """
    curvatures: NDArray[np.float64] = np.asarray(loss.curvature(scores, ratings, link), np.float64)
    if loss.convex_in_score(link):
        return curvatures
    if has_formula(loss) or has_formula(link):
        step = _STEP * np.maximum(1.0, np.abs(scores))
        slopes = [loss.gradient(at, ratings, link) for at in (scores + step, scores - step)]
        return np.asarray((slopes[0] - slopes[1]) / (2 * step), np.float64)
    if not (type(loss) is SquaredError and type(link) is Sigmoid):
        raise ParameterValueError(
            f"the second derivative of {type(loss).__name__} after {type(link).__name__} is not known here"
        )
    residual = link.prediction(scores) - ratings
    return np.asarray(
        curvatures + residual * link.derivative(scores) * (1 - 2 * logistic(scores)), np.float64
    )


@lru_cache(64)
def rating_functions(loss: Loss, link: Link) -> Functions:
    """What stands for `loss_and_gradient` in the kernels; nothing for bilinear's own loss and link.

    Raises:
        ParameterValueError: a formula is missing, does not compile, or gives something else than it should.
    """
    if OWN not in (kernel_code(loss), kernel_code(link)):
        return ()
    found = tried(link, 0.5, 0.0, 1.0)
    if not (isinstance(found, tuple) and len(found) == 2 and all(map(is_real, found))):
        raise ParameterValueError(f"{_formula_of(link)} (prediction, derivative), got {found!r}")
    found = tried(loss, 1.0, 1.0)
    if not (isinstance(found, tuple) and len(found) == 3 and all(map(is_real, found)) and found[2] > 0):
        raise ParameterValueError(
            f"{_formula_of(loss)} (value, derivative, curvature), the curvature positive where the "
            f"prediction is the rating, got {found!r}"
        )
    of_loss, of_link = compiled_formula(loss), compiled_formula(link)

    @njit(nogil=True, error_model="numpy", forceinline=True)
    def loss_and_gradient(score, rating, link, loss, low, span):  # type: ignore[no-untyped-def]
        prediction, derivative = of_link(score, low, low + span)
        value, by_prediction, _ = of_loss(prediction, rating)
        return float(value), by_prediction * derivative

    return (("loss_and_gradient", loss_and_gradient),)


def _formula_of(part: Loss | Link) -> str:
    return f"{type(part).__name__}.formula(): expected a function that gives"


def _unclipped(score: Array, link: Link) -> Array:
    return score if isinstance(link, Identity) else link.prediction(score)


def _fraction(rating: NDArray[Any], link: Link, score: Array) -> Array:
    """In the type of the score: ratings are stored in float32."""
    low, high = link.bounds
    fraction: Array = (np.asarray(rating, score.dtype) - low) / (high - low)
    return fraction
