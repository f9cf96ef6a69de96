"""Initial parameters, and the scales that make one setting fit any rating scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.losses import Loss
from bilinear.registry import register

_PART = 1 << 20  # ratings in float64 at once


@dataclass(frozen=True)
class Scale:
    """Scale of the problem at the mean rating, in score units: derivative, spread and curvature.

    With ratings multiplied by c (identity, squared error), scores grow by c and factors by
    sqrt(c): steps and penalties given for ratings of standard deviation one are converted
    with these two numbers, so that the fitted predictions are exactly c times as large.

    Attributes:
        centre: the score of the mean rating.
        spread: standard deviation of the ratings, as scores; the range if they are all the same.
        curvature: second derivative of the loss by the score, there.
    """

    centre: float
    spread: float
    curvature: float

    @classmethod
    def of(cls, interactions: Interactions, link: Link, loss: Loss) -> Scale:
        ratings = interactions.ratings
        mean = mean_of(ratings)
        centre = link.score(mean)
        at = np.array([centre])
        derivative = float(link.derivative(at)[0])
        curvature = float(loss.curvature(at, np.array([mean]), link)[0])
        low, high = link.bounds
        constant = ratings.min() == ratings.max()  # possible in the inner training part
        return cls(centre, (high - low if constant else deviation_of(ratings, mean)) / derivative, curvature)

    @property
    def l2_factors(self) -> float:
        """The L2 of factors that `l2=1` stands for."""
        return self.curvature * self.spread

    @property
    def l2_biases(self) -> float:
        """The L2 of biases that `l2_biases=1` stands for."""
        return self.curvature

    @property
    def factor_rate(self) -> float:
        """The learning rate of factors that a rate of one stands for."""
        return 1 / (self.curvature * self.spread)

    @property
    def bias_rate(self) -> float:
        """The learning rate of biases that a rate of one stands for."""
        return 1 / self.curvature


def mean_of(ratings: NDArray[np.float32]) -> float:
    """The mean in float64. Memory: that of a part of the ratings."""
    return float(sum(part.sum() for part in _parts(ratings)) / len(ratings))


def deviation_of(ratings: NDArray[np.float32], mean: float) -> float:
    """The standard deviation in float64, likewise."""
    return float(np.sqrt(sum(((part - mean) ** 2).sum() for part in _parts(ratings)) / len(ratings)))


def _parts(ratings: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    for begin in range(0, len(ratings), _PART):
        yield ratings[begin : begin + _PART].astype(np.float64)


@register
@dataclass(frozen=True)
class NormalStart:
    """Biases and factors normal with one standard deviation, in their own units; any global mean.

    Rows without a rating are zero. `random_start`, the default, instead fits the scale of the ratings.

    Args:
        global_mean: the score that every pair starts from, and keeps; None takes that of the mean
            rating.

    Examples:
        >>> from bilinear import MatrixFactorization, NormalStart, synthetic_ratings
        >>> start = NormalStart(0.01, global_mean=3.0)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, start=start, rng=0)
        >>> model.fit(synthetic_ratings(50, 30, 600, rng=0)).parameters_.global_mean
        3.0
    """

    deviation: float = 0.01
    global_mean: float | None = None

    def __post_init__(self) -> None:
        if not (is_real(self.deviation) and self.deviation > 0):
            raise ParameterValueError(f"NormalStart(deviation={self.deviation!r}); a positive number")
        if not (self.global_mean is None or is_real(self.global_mean)):
            raise ParameterValueError(f"NormalStart(global_mean={self.global_mean!r}); None or a number")

    def draw(
        self, interactions: Interactions, n_factors: int, scale: Scale, rng: np.random.Generator
    ) -> Parameters:
        """Parameters, float32."""
        mean = scale.centre if self.global_mean is None else float(self.global_mean)
        start = Parameters.zeros(interactions.shape, n_factors, mean)
        for name, array in start.arrays().items():
            of_users = name.startswith("user")
            array[:] = rng.standard_normal(array.shape, dtype=np.float32) * np.float32(self.deviation)
            array[(interactions.user_counts if of_users else interactions.item_counts) == 0] = 0
        return start


def random_start(
    interactions: Interactions, n_factors: int, scale: Scale, size: float, rng: np.random.Generator
) -> Parameters:
    """Zero biases and normal factors of standard deviation size * sqrt(spread / n_factors).

    Rows without a rating are zero.
    """
    zeros = Parameters.zeros(interactions.shape, n_factors, scale.centre)
    return Parameters(
        scale.centre,
        zeros.user_biases,
        zeros.item_biases,
        _normal(interactions.user_counts, n_factors, scale, size, rng),
        _normal(interactions.item_counts, n_factors, scale, size, rng),
    )


def _normal(
    counts: NDArray[np.int64], n_factors: int, scale: Scale, size: float, rng: np.random.Generator
) -> Array:
    factors: Array = rng.standard_normal((len(counts), n_factors), dtype=np.float32)
    factors *= np.float32(size * np.sqrt(scale.spread / max(n_factors, 1)))
    factors[counts == 0] = 0
    return factors
