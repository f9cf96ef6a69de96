"""Ranking losses: positives against sampled negatives, as functions of the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import OWN, is_real, kernel_code
from bilinear.errors import ParameterValueError
from bilinear.formulas import Functions, compiled_formula, tried, with_functions
from bilinear.kernels import ranking_losses as kernels
from bilinear.kernels.cache import njit
from bilinear.model.parameters import Array
from bilinear.registry import register


@dataclass(frozen=True)
class RankingLoss:
    """A loss of the scores of positives (items of a user) and of negatives (other items)."""

    code: ClassVar[int]
    """How the kernels name this loss; classes of your own have a `formula` instead."""
    convex: ClassVar[bool] = True
    """Whether it is a convex function of the scores."""

    def formula(self) -> Callable[..., float]:
        """A function (positive, weights, negative, n, log_weights, up, down) -> value, compiled by Numba.

        It is all that a loss of your own needs: positive (P,) and negative (K,) are scores, weights and
        log_weights as in `value_and_gradients`, n is how many negatives count, at least one. It fills up (P,)
        and down (K,) with the derivatives by the scores; all arrays are float32. The value is the sum over
        the positives, each times its weight.
        """
        raise NotImplementedError

    @property
    def functions(self) -> Functions:
        """What stands for `ranking_loss` in the kernels; nothing for bilinear's own losses."""
        return () if kernel_code(self) != OWN else _functions(self)

    @property
    def numbers(self) -> tuple[float, float]:
        """Parameters for the kernel."""
        return 0.0, 0.0

    def value_and_gradients(
        self,
        positive: NDArray[np.float32],
        negative: NDArray[np.float32],
        *,
        weights: NDArray[np.float32] | None = None,
        log_weights: NDArray[np.float32] | None = None,
    ) -> tuple[float, Array, Array]:
        """(value, its derivatives by `positive` and by `negative`).

        Args:
            positive: (P,) scores.
            negative: (K,) scores, minus infinity for one that does not count.
            weights: (P,) how much each positive counts, else one.
            log_weights: (K,) logarithm of how many items each negative stands for, else zero.
        Cost:
            O(P * K), or O(P + K) for `SampledSoftmax` and `CosineContrastive`.

        Examples:
            >>> import numpy as np
            >>> from bilinear import BPR
            >>> positive, negative = np.array([0.0], np.float32), np.array([0.0, 0.0], np.float32)
            >>> value, by_positive, by_negative = BPR().value_and_gradients(positive, negative)
            >>> round(value, 2), by_positive, by_negative
            (0.69, array([-0.5], dtype=float32), array([0.25, 0.25], dtype=float32))
        """
        ones = np.ones(len(positive), np.float32) if weights is None else weights
        zeros = np.zeros(len(negative), np.float32) if log_weights is None else log_weights
        up, down = np.empty(len(positive), np.float32), np.empty(len(negative), np.float32)
        n, code = int((negative > -np.inf).sum()), kernel_code(self)
        kernel = with_functions(kernels.ranking_loss, self.functions)
        value = kernel(code, positive, ones, negative, n, zeros, *self.numbers, up, down)
        return float(value), up, down

    def _check(self, name: str, low: float, high: float = np.inf) -> None:
        value = getattr(self, name)
        if not (is_real(value) and low <= value <= high):
            wanted = f"a number from {low:g}" + (f" to {high:g}" if high < np.inf else "")
            raise ParameterValueError(f"{type(self).__name__}({name}={value!r}); {wanted}")


@lru_cache(64)
def _functions(loss: RankingLoss) -> Functions:
    ones, up, down = np.ones(1, np.float32), np.full(1, np.nan, np.float32), np.full(2, np.nan, np.float32)
    found = tried(loss, ones, ones, np.zeros(2, np.float32), 2, np.zeros(2, np.float32), up, down)
    if not (is_real(found) and np.isfinite(up).all() and np.isfinite(down).all()):
        raise ParameterValueError(
            f"{type(loss).__name__}.formula(): expected a function that gives the value and fills up and "
            f"down, got {found!r} with up={up}, down={down}"
        )
    own = compiled_formula(loss)

    @njit(nogil=True, error_model="numpy", forceinline=True)
    def ranking_loss(loss, positive, weights, negative, n, log_weights, a, b, up, down):  # type: ignore[no-untyped-def]
        return float(own(positive, weights, negative, max(n, 1), log_weights, up, down))

    return (("ranking_loss", ranking_loss),)


@register
@dataclass(frozen=True)
class BPR(RankingLoss):
    """Mean over the negatives of log(1 + exp(negative - positive)), in nats.

    Source:
        Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian personalized ranking from
        implicit feedback", UAI 2009.

    Examples:
        >>> import numpy as np
        >>> from bilinear import BPR
        >>> negative = np.array([0.0, -1.0], np.float32)
        >>> [round(BPR().value_and_gradients(np.array([x], np.float32), negative)[0], 2) for x in (0, 1, 5)]
        [0.5, 0.22, 0.0]
    """

    code: ClassVar[int] = kernels.BPR


@register
@dataclass(frozen=True)
class WARP(RankingLoss):
    """log(1 + rank) times the mean over violators of negative - positive + margin.

    A violator scores above the positive less the margin. All negatives are scored, so the rank is the
    number of items that the violators stand for; the original counts the trials to the first. The rank
    is held fixed in the derivative, so it is not that of a convex function.

    Source:
        Weston, Bengio, Usunier, "WSABIE: scaling up to large vocabulary image annotation", IJCAI
        2011.

    Examples:
        >>> import numpy as np
        >>> from bilinear import WARP
        >>> negative, loss = np.array([0.0, -1.0], np.float32), WARP(margin=2.0)
        >>> [round(loss.value_and_gradients(np.array([x], np.float32), negative)[0], 2) for x in (0, 1, 5)]
        [1.65, 0.69, 0.0]
    """

    margin: float = 1.0
    code: ClassVar[int] = kernels.WARP
    convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._check("margin", 0)

    @property
    def numbers(self) -> tuple[float, float]:
        return float(self.margin), 0.0


@register
@dataclass(frozen=True)
class SampledSoftmax(RankingLoss):
    """-log of the positive's share of exp(score / temperature), among itself and the negatives, in nats.

    Args:
        corrected: a negative counts once for every item that it stands for, 1 / (n_negatives * its
            chance to be drawn), so that the sum is that over all items in expectation, also where
            popular items are drawn more often. False counts each once.
    Source:
        Bengio, Senecal, "Adaptive importance sampling to accelerate training of a neural
        probabilistic language model", 2008; Yi et al., "Sampling-bias-corrected neural modeling for
        large corpus item recommendations", RecSys 2019.

    Examples:
        >>> import numpy as np
        >>> from bilinear import SampledSoftmax
        >>> negative, loss = np.array([0.0, -1.0], np.float32), SampledSoftmax(temperature=0.5)
        >>> [round(loss.value_and_gradients(np.array([x], np.float32), negative)[0], 2) for x in (0, 1, 5)]
        [0.76, 0.14, 0.0]
    """

    temperature: float = 1.0
    corrected: bool = True
    code: ClassVar[int] = kernels.SOFTMAX

    def __post_init__(self) -> None:
        self._check("temperature", 1e-6)
        if not isinstance(self.corrected, bool):
            raise ParameterValueError(f"SampledSoftmax(corrected={self.corrected!r}); True or False")

    @property
    def numbers(self) -> tuple[float, float]:
        return float(self.temperature), float(self.corrected)


@register
@dataclass(frozen=True)
class CosineContrastive(RankingLoss):
    """1 - positive + weight * mean over the negatives of max(negative - margin, 0), for cosines.

    Source:
        Mao et al., "SimpleX: a simple and strong baseline for collaborative filtering", CIKM 2021.

    Examples:
        >>> import numpy as np
        >>> from bilinear import CosineContrastive
        >>> negative, loss = np.array([0.5, -0.2], np.float32), CosineContrastive(margin=0.4, weight=10)
        >>> [round(loss.value_and_gradients(np.array([x], np.float32), negative)[0], 2) for x in (0, 0.5, 1)]
        [1.5, 1.0, 0.5]
    """

    margin: float = 0.4
    weight: float = 100.0
    code: ClassVar[int] = kernels.COSINE_CONTRASTIVE

    def __post_init__(self) -> None:
        self._check("margin", -1, 1)
        self._check("weight", 0)

    @property
    def numbers(self) -> tuple[float, float]:
        return float(self.margin), float(self.weight)
