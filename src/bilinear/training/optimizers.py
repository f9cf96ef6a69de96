"""Update rules: small objects that name a step of one row, for the solver `MiniBatch`.

Formulas, names of numbers and defaults are those of PyTorch, so that settings can be carried over;
tests compare the weights. The steps themselves are in kernels.rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from bilinear.arguments import OWN, is_real, is_whole, kernel_code
from bilinear.errors import ParameterValueError
from bilinear.formulas import Functions, compiled_formula, tried
from bilinear.kernels import rules
from bilinear.kernels.cache import njit
from bilinear.registry import register


@dataclass(frozen=True)
class Optimizer:
    """A rule for stepping one row along its gradient, and the state that it keeps of the row."""

    code: ClassVar[int]
    """How the kernels name this rule; classes of your own have a `formula` instead."""
    n_states: ClassVar[int] = 0
    """Numbers kept for each number of a row."""

    def formula(self) -> Callable[..., None]:
        """A function (row, gradient, state, rate, momentum, t) that steps the row in place.

        It is compiled by Numba, and all that an optimiser of your own needs, beside `n_states`: row and
        gradient are (width,), width being one for a bias, state (n_states, width) starts as zeros, rate and
        momentum follow their schedules, and t counts the steps from 1.
        """
        raise NotImplementedError

    @property
    def functions(self) -> Functions:
        """What stands for `step_rows` in the kernels; nothing for bilinear's own rules."""
        return () if kernel_code(self) != OWN else _functions(self)

    def __post_init__(self) -> None:
        for name in ("momentum", "decay", "beta1", "beta2"):
            value = getattr(self, name, 0)
            if not (is_real(value) and 0 <= value < 1):
                raise _refused(self, name, "zero or more, below one")
        value = getattr(self, "epsilon", 1.0)
        if not (is_real(value) and value > 0):
            raise _refused(self, "epsilon", "a positive number")

    @property
    def momentum_or_beta1(self) -> float | None:
        """The argument that `momentum_schedule` multiplies; None for a rule without momentum."""
        found: float | None = getattr(self, "momentum", getattr(self, "beta1", None))
        return found

    @property
    def decay_or_beta2(self) -> float:
        """The decay rate of the mean of squared gradients; zero for a rule without one."""
        return float(getattr(self, "decay", getattr(self, "beta2", 0)))


@register
@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """row -= rate * gradient.

    Examples:
        >>> from bilinear import GradientDescent, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(GradientDescent(), n_epochs=5, learning_rate=0.1)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    code: ClassVar[int] = rules.PLAIN


@register
@dataclass(frozen=True)
class Momentum(Optimizer):
    """Heavy ball: velocity = momentum * velocity + gradient; row -= rate * velocity (Polyak 1964).

    Examples:
        >>> from bilinear import MatrixFactorization, MiniBatch, Momentum, synthetic_ratings
        >>> solver = MiniBatch(Momentum(0.9), n_epochs=5, learning_rate=0.02)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    momentum: float = 0.9
    code: ClassVar[int] = rules.MOMENTUM
    n_states: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class Nesterov(Optimizer):
    """As `Momentum`, but row -= rate * (gradient + momentum * velocity) (Sutskever et al. 2013).

    Examples:
        >>> from bilinear import MatrixFactorization, MiniBatch, Nesterov, synthetic_ratings
        >>> solver = MiniBatch(Nesterov(0.9), n_epochs=5, learning_rate=0.02)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    momentum: float = 0.9
    code: ClassVar[int] = rules.NESTEROV
    n_states: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """Each number's gradient over the root of the sum of its squares so far (Duchi et al. 2011).

    Examples:
        >>> from bilinear import AdaGrad, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(AdaGrad(), n_epochs=5, learning_rate=0.1)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    epsilon: float = 1e-10
    code: ClassVar[int] = rules.ADAGRAD
    n_states: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class RowAdaGrad(Optimizer):
    """AdaGrad with one sum for a row: of the mean of its squared gradients.

    Examples:
        >>> from bilinear import MatrixFactorization, MiniBatch, RowAdaGrad, synthetic_ratings
        >>> solver = MiniBatch(RowAdaGrad(), n_epochs=5, learning_rate=0.1)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    epsilon: float = 1e-10
    code: ClassVar[int] = rules.ROW_ADAGRAD
    n_states: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class RMSProp(Optimizer):
    """Each number's gradient over the root of the running mean of its squares (Tieleman, Hinton 2012).

    Examples:
        >>> from bilinear import MatrixFactorization, MiniBatch, RMSProp, synthetic_ratings
        >>> solver = MiniBatch(RMSProp(), n_epochs=5, learning_rate=0.02)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    decay: float = 0.99
    epsilon: float = 1e-8
    code: ClassVar[int] = rules.RMSPROP
    n_states: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class Adam(Optimizer):
    """Running mean of the gradient over the root of that of its squares, unbiased (Kingma, Ba 2015).

    Args:
        beta1, beta2: decay rates of the two running means, as `betas` of PyTorch.
        epsilon: added to the root. Our squared error is half of PyTorch's and fastai's `MSELoss`;
            halving epsilon as well makes the steps the same.

    Examples:
        >>> from bilinear import Adam, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(Adam(epsilon=1e-6), n_epochs=5, learning_rate=0.02)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    code: ClassVar[int] = rules.ADAM
    n_states: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019): `Adam` and a `WeightDecay` in one.

    Examples:
        >>> from bilinear import AdamW, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(AdamW(weight_decay=0.1), n_epochs=5, learning_rate=0.02)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_real(self.weight_decay) and self.weight_decay >= 0):
            raise _refused(self, "weight_decay", "zero or more")


@register
@dataclass(frozen=True)
class RAdam(Adam):
    """Adam whose first steps leave out the squares, until enough are known (Liu et al. 2020).

    Examples:
        >>> from bilinear import MatrixFactorization, MiniBatch, RAdam, synthetic_ratings
        >>> solver = MiniBatch(RAdam(), n_epochs=5, learning_rate=0.05)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    code: ClassVar[int] = rules.RADAM


@register
@dataclass(frozen=True)
class LAMB(Adam):
    """Adam with each factor row's step made as long as `rate * |row|` (You et al. 2020); biases as Adam.

    Examples:
        >>> from bilinear import LAMB, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(LAMB(), batch_size=200, n_epochs=5, learning_rate=0.05)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    epsilon: float = 1e-6
    code: ClassVar[int] = rules.LAMB


@register
@dataclass(frozen=True)
class LARS(Optimizer):
    """Momentum on gradients made as long as the factor row that they move (You et al. 2017).

    `velocity = momentum * velocity + rate * |row| / |gradient| * gradient`; biases are not scaled.

    Examples:
        >>> from bilinear import LARS, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(LARS(), batch_size=200, n_epochs=5, learning_rate=0.05)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    momentum: float = 0.9
    code: ClassVar[int] = rules.LARS
    n_states: ClassVar[int] = 1


@register
@dataclass(frozen=True)
class Lookahead:
    """Every `every` steps of a row, back to a slow copy of it, which has moved `step` of the way.

    Counted row by row, so that it costs nothing for rows that stand still; with dense updates all
    rows count alike. Source: Zhang et al. 2019.

    Examples:
        >>> from bilinear import Adam, Lookahead, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(Lookahead(Adam(), every=6), n_epochs=5, learning_rate=0.05)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    optimizer: Optimizer = field(default_factory=Adam)
    every: int = 5
    step: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise _refused(self, "optimizer", "a rule such as Adam()")
        if not (is_whole(self.every) and self.every >= 1):
            raise _refused(self, "every", "a whole number of steps, at least one")
        if not (is_real(self.step) and 0 < self.step <= 1):
            raise _refused(self, "step", "a share in (0, 1]")


@register
@dataclass(frozen=True)
class WeightDecay:
    """Decoupled weight decay: before its step, a row is multiplied by 1 - rate * factors (or biases).

    Not to be confused with `L2`, the penalty of the objective, whose gradient passes through the
    optimiser. With row-sparse updates only the rows of the batch decay.

    Args:
        biases: None decays biases like factors.

    Examples:
        >>> from bilinear import MatrixFactorization, MiniBatch, WeightDecay, synthetic_ratings
        >>> solver = MiniBatch(n_epochs=5, learning_rate=0.02, weight_decay=WeightDecay(0.1, biases=0))
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    factors: float = 0.01
    biases: float | None = None

    def __post_init__(self) -> None:
        for name in ("factors", "biases"):
            value = getattr(self, name)
            if not (is_real(value) and value >= 0) and not (name == "biases" and value is None):
                raise _refused(self, name, "zero or more")

    @property
    def pair(self) -> tuple[float, float]:
        """(decay of factors, decay of biases)."""
        return self.factors, self.factors if self.biases is None else self.biases


@register
@dataclass(frozen=True)
class StochasticWeightAverage:
    """Stochastic weight averaging: the mean of the weights at the ends of the last epochs.

    Args:
        start: share of training after which epochs count.
    Source:
        Izmailov et al. 2018.

    Examples:
        >>> from bilinear import MatrixFactorization, MiniBatch, StochasticWeightAverage, synthetic_ratings
        >>> solver = MiniBatch(n_epochs=10, learning_rate=0.02, average=StochasticWeightAverage(start=0.5))
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    start: float = 0.75

    def __post_init__(self) -> None:
        if not (is_real(self.start) and 0 <= self.start < 1):
            raise _refused(self, "start", "a share of training in [0, 1)")


@register
@dataclass(frozen=True)
class ExponentialMovingAverage:
    """Exponential weight averaging: mean = memory * mean + (1 - memory) * row after every step.

    Exact also with row-sparse updates, at their cost: a row that stood still is caught up at its next
    step in closed form.

    Examples:
        >>> from bilinear import ExponentialMovingAverage, MatrixFactorization, MiniBatch, synthetic_ratings
        >>> solver = MiniBatch(n_epochs=5, learning_rate=0.02, average=ExponentialMovingAverage(0.99))
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    memory: float = 0.999

    def __post_init__(self) -> None:
        if not (is_real(self.memory) and 0 < self.memory < 1):
            raise _refused(self, "memory", "a number in (0, 1)")


@lru_cache(64)
def _functions(rule: Optimizer) -> Functions:
    row, state = np.ones(2, np.float32), np.zeros((rule.n_states, 2), np.float32)
    tried(rule, row, np.ones(2, np.float32), state, 0.1, rule.momentum_or_beta1 or 0.0, 1)
    if not np.isfinite(row).all():
        raise ParameterValueError(f"{type(rule).__name__}.formula(): expected finite steps, got {row}")
    own = compiled_formula(rule)

    @njit(nogil=True, error_model="numpy", forceinline=True)
    def step_rows(  # type: ignore[no-untyped-def]
        number, rows, gradients, states, touched, used, rate, momentum, t, left, right, decay, epsilon
    ):
        for slot in range(used):
            n = touched[slot]
            own(rows[n], gradients[slot], states[n], rate, momentum, t)

    return (("step_rows", step_rows),)


def _refused(owner: Any, name: str, wanted: str) -> ParameterValueError:
    return ParameterValueError(f"{type(owner).__name__}({name}={getattr(owner, name)!r}); {wanted}")
