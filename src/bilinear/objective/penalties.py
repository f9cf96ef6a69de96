"""Penalties on the parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.errors import ParameterValueError
from bilinear.model.parameters import Parameters
from bilinear.registry import register

RowWeights = float | Callable[[NDArray[np.int64]], NDArray[Any]]
"""How a penalty grows with a row's number of ratings: an exponent, or the weights of rows from counts."""


@register
@dataclass(frozen=True)
class L2:
    """`factors / 2 * sum_r n_r^exponent |row_r|^2 + biases / 2 * sum_r n_r^exponent bias_r^2`.

    n_r is the number of training ratings of user or item r. Exponent 0 is plain ridge, 1
    counts the penalty once a rating (ALS-WR, Funk SGD); between them it holds frequent rows a
    little more than rare ones (frequency-scaled regularisation, Rendle et al. 2022). An object that is
    called with the counts (n,) and gives weights (n,) stands for a growth of your own.

    Examples:
        >>> import numpy as np
        >>> from bilinear.lab import L2
        >>> L2(factors=0.1, biases=0.5, exponent=0.5)
        L2(factors=0.1, biases=0.5, exponent=0.5)
        >>> L2(0.1, 0.5, exponent=0.0).row_weights(np.array([1, 4, 9]))
        array([1., 1., 1.])
        >>> L2(0.1, 0.5, exponent=1.0).row_weights(np.array([1, 4, 9]))
        array([1., 4., 9.])
    """

    factors: float = 0.0
    biases: float = 0.0
    exponent: RowWeights = 0.5

    def __post_init__(self) -> None:
        for name in ("factors", "biases"):
            value = getattr(self, name)
            if not (is_real(value) and value >= 0):
                raise ParameterValueError(f"the L2 of {name} is {value!r}; a number, zero or more")
        if not (callable(self.exponent) or (is_real(self.exponent) and 0 <= self.exponent <= 1)):
            raise ParameterValueError(f"the L2 exponent is {self.exponent!r}; a number in [0, 1]")

    def row_weights(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) n_r^exponent, the weight of each row's penalty."""
        if not callable(self.exponent):
            return np.asarray(counts, np.float64) ** self.exponent
        weights = np.asarray(self.exponent(counts), np.float64)
        if weights.shape != counts.shape or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ParameterValueError(
                f"the L2 exponent {self.exponent!r}: expected a number from zero for each of {len(counts):,} "
                f"counts of ratings, got an array of shape {weights.shape} with {weights[:3]}"
            )
        return weights

    def value(
        self, parameters: Parameters, user_counts: NDArray[np.int64], item_counts: NDArray[np.int64]
    ) -> float:
        total = 0.0
        for counts, biases, factors in (
            (user_counts, parameters.user_biases, parameters.user_factors),
            (item_counts, parameters.item_biases, parameters.item_factors),
        ):
            weights = self.row_weights(counts)
            total += 0.5 * self.biases * float(weights @ biases.astype(np.float64) ** 2)
            total += 0.5 * self.factors * float(weights @ (factors.astype(np.float64) ** 2).sum(axis=1))
        return total
