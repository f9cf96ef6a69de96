"""Hyper-parameters as functions of progress: multipliers for progress in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, inf, pi, prod
from typing import Any

from bilinear.arguments import is_real, is_whole
from bilinear.errors import ParameterValueError
from bilinear.registry import register

Schedule = Callable[[float], float]
"""Progress through training in [0, 1] to a multiplier of the base value."""


@register
@dataclass(frozen=True)
class Constant:
    """Always one.

    Examples:
        >>> from bilinear import Constant
        >>> schedule = Constant()
        >>> schedule(0.0), schedule(1.0)
        (1.0, 1.0)
    """

    def __call__(self, progress: float) -> float:
        return 1.0


@register
@dataclass(frozen=True)
class OneCycle:
    """Cosine from `start` up to 1 during `warm_up`, then cosine down to `end` (Smith & Topin 2018).

    Examples:
        >>> from bilinear import OneCycle
        >>> [round(OneCycle()(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.04, 1.0, 0.75, 0.25, 0.0]
    """

    warm_up: float = 0.25
    start: float = 0.04
    end: float = 1e-4

    def __post_init__(self) -> None:
        if not (is_real(self.warm_up) and 0 < self.warm_up < 1):
            raise ParameterValueError(f"OneCycle(warm_up={self.warm_up!r}): a share of training in (0, 1)")
        for name in ("start", "end"):
            value = getattr(self, name)
            if not (is_real(value) and 0 <= value <= 1):
                raise ParameterValueError(f"OneCycle({name}={value!r}): a share of the rate in [0, 1]")

    def __call__(self, progress: float) -> float:
        if progress < self.warm_up:
            return _cosine(self.start, 1.0, progress / self.warm_up)
        return _cosine(1.0, self.end, (progress - self.warm_up) / (1 - self.warm_up))


@register
@dataclass(frozen=True)
class Falling:
    """Geometrically from `start` to 1 during the first `until` of training, then 1.

    For penalties: with a large one only the strongest directions leave zero, and the weaker ones
    follow as it falls (a homotopy; docs/decisions/0008). Descending at once with the small one
    lets noise grow beside them.

    Examples:
        >>> from bilinear import SGD, Falling
        >>> [round(Falling(4.0, until=0.5)(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [4.0, 2.0, 1.0, 1.0, 1.0]
        >>> SGD(l2_schedule=Falling(2.0)).l2_schedule
        Falling(start=2.0, until=0.5)
    """

    start: float = 4.0
    until: float = 0.5

    def __post_init__(self) -> None:
        if not (is_real(self.start) and self.start > 0 and is_real(self.until) and 0 < self.until <= 1):
            raise ParameterValueError(f"{self!r}; start is positive, until a share of training in (0, 1]")

    def __call__(self, progress: float) -> float:
        return float(self.start ** max(0.0, 1 - progress / self.until))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * share)) / 2


@register
@dataclass(frozen=True)
class WarmUp:
    """Linear from `start` up to 1 during the first `until` of training, then 1.

    Examples:
        >>> from bilinear import WarmUp
        >>> [round(WarmUp(until=0.5)(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 0.5, 1.0, 1.0, 1.0]
    """

    until: float = 0.1
    start: float = 0.0

    def __post_init__(self) -> None:
        _check_share(self, "until")
        _check_multiplier(self, "start")

    def __call__(self, progress: float) -> float:
        return self.start + (1 - self.start) * min(progress / self.until, 1.0)


@register
@dataclass(frozen=True)
class Linear:
    """Linear from `start` to `end`.

    Examples:
        >>> from bilinear import Linear
        >>> [round(Linear(1.0, 0.2)(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 0.8, 0.6, 0.4, 0.2]
    """

    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        _check_multiplier(self, "start", "end")

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


@register
@dataclass(frozen=True)
class Step:
    """Times `factor` at each of the shares of training listed in `at`.

    Examples:
        >>> from bilinear import Step
        >>> [round(Step(at=(0.5, 0.75))(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 1.0, 0.1, 0.01, 0.01]
    """

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not (isinstance(self.at, tuple) and all(is_real(share) and 0 <= share <= 1 for share in self.at)):
            raise ParameterValueError(f"Step(at={self.at!r}): a tuple of shares of training in [0, 1]")
        _check_multiplier(self, "factor")

    def __call__(self, progress: float) -> float:
        return float(self.factor ** sum(progress >= share for share in self.at))


@register
@dataclass(frozen=True)
class Exponential:
    """Geometrically from 1 down to `end`.

    Examples:
        >>> from bilinear import Exponential
        >>> [round(Exponential(0.01)(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 0.32, 0.1, 0.03, 0.01]
    """

    end: float = 0.01

    def __post_init__(self) -> None:
        if not (is_real(self.end) and self.end > 0):
            raise ParameterValueError(f"Exponential(end={self.end!r}): a positive number")

    def __call__(self, progress: float) -> float:
        return float(self.end**progress)


@register
@dataclass(frozen=True)
class Polynomial:
    """From 1 to `end` as (1 - progress)^power.

    Examples:
        >>> from bilinear import Polynomial
        >>> [round(Polynomial(2.0)(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 0.56, 0.25, 0.06, 0.0]
    """

    power: float = 2.0
    end: float = 0.0

    def __post_init__(self) -> None:
        if not (is_real(self.power) and self.power > 0):
            raise ParameterValueError(f"Polynomial(power={self.power!r}): a positive number")
        _check_multiplier(self, "end")

    def __call__(self, progress: float) -> float:
        return float(self.end + (1 - self.end) * (1 - progress) ** self.power)


@register
@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `start` to `end`, either of which may be the larger.

    Examples:
        >>> from bilinear import Cosine
        >>> [round(Cosine(1.0, 0.1)(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 0.87, 0.55, 0.23, 0.1]
    """

    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        _check_multiplier(self, "start", "end")

    def __call__(self, progress: float) -> float:
        return _cosine(self.start, self.end, progress)


@register
@dataclass(frozen=True)
class FlatCosine:
    """1 for the first `flat` of training, then half a cosine down to `end`.

    Examples:
        >>> from bilinear import FlatCosine
        >>> [round(FlatCosine(0.5)(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 1.0, 1.0, 0.5, 0.0]
    """

    flat: float = 0.75
    end: float = 0.0

    def __post_init__(self) -> None:
        if not (is_real(self.flat) and 0 <= self.flat < 1):
            raise ParameterValueError(f"FlatCosine(flat={self.flat!r}): a share of training in [0, 1)")
        _check_multiplier(self, "end")

    def __call__(self, progress: float) -> float:
        return _cosine(1.0, self.end, max(progress - self.flat, 0.0) / (1 - self.flat))


@register
@dataclass(frozen=True)
class WarmRestarts:
    """`n_cycles` half cosines from 1 to `end`, each `longer` times as long as the one before (SGDR).

    Source:
        Loshchilov and Hutter 2017.

    Examples:
        >>> from bilinear import WarmRestarts
        >>> schedule = WarmRestarts(n_cycles=2, longer=1.0)
        >>> [round(schedule(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [1.0, 0.5, 1.0, 0.5, 0.0]
    """

    n_cycles: int = 3
    longer: float = 2.0
    end: float = 0.0

    def __post_init__(self) -> None:
        if not (is_whole(self.n_cycles) and self.n_cycles >= 1):
            raise ParameterValueError(
                f"WarmRestarts(n_cycles={self.n_cycles!r}): a whole number, at least one"
            )
        if not (is_real(self.longer) and self.longer > 0):
            raise ParameterValueError(f"WarmRestarts(longer={self.longer!r}): a positive number")
        _check_multiplier(self, "end")

    def __call__(self, progress: float) -> float:
        lengths = [self.longer**cycle for cycle in range(self.n_cycles)]
        left = progress * sum(lengths)
        for length in lengths[:-1]:
            if left < length:
                return _cosine(1.0, self.end, left / length)
            left -= length
        return _cosine(1.0, self.end, min(left / lengths[-1], 1.0))


@register
@dataclass(frozen=True)
class Sequential:
    """Schedules one after another: `Sequential(((0.25, Cosine(0.04, 1.0)), (0.75, Cosine())))`.

    Args:
        parts: (share of training, schedule) in order, shares adding up to one; each schedule sees its
            own progress from 0 to 1.

    Examples:
        >>> from bilinear import Cosine, Linear, Sequential
        >>> schedule = Sequential(((0.25, Linear(0.0, 1.0)), (0.75, Cosine())))
        >>> [round(schedule(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 1.0, 0.75, 0.25, 0.0]
    """

    parts: tuple[tuple[float, Schedule], ...]

    def __post_init__(self) -> None:
        for part in self.parts if isinstance(self.parts, tuple) else ():
            if not (
                isinstance(part, tuple)
                and len(part) == 2
                and is_real(part[0])
                and part[0] > 0
                and callable(part[1])
            ):
                raise ParameterValueError(f"Phases: {part!r}; a pair (share of training, schedule)")
            _refuse_feedback(part[1], "Sequential")
        total = sum(share for share, _ in self.parts) if isinstance(self.parts, tuple) else None
        if total is None or abs(total - 1) > 1e-9:
            raise ParameterValueError(
                f"Sequential(parts={self.parts!r}): a tuple of pairs, their shares adding to one"
            )

    def __call__(self, progress: float) -> float:
        begun = 0.0
        for share, schedule in self.parts[:-1]:
            if progress < begun + share:
                return schedule((progress - begun) / share)
            begun += share
        share, schedule = self.parts[-1]
        return schedule(min((progress - begun) / share, 1.0))


@register
@dataclass(frozen=True)
class Product:
    """The product of schedules: `Product((WarmUp(), Step()))`.

    Examples:
        >>> from bilinear import Product, Step, WarmUp
        >>> schedule = Product((WarmUp(0.5), Step(at=(0.75,))))
        >>> [round(schedule(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 0.5, 1.0, 0.1, 0.1]
    """

    parts: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        if not (isinstance(self.parts, tuple) and self.parts and all(map(callable, self.parts))):
            raise ParameterValueError(f"Product(parts={self.parts!r}): a tuple of schedules")
        for part in self.parts:
            _refuse_feedback(part, "Product")

    def __call__(self, progress: float) -> float:
        return prod(part(progress) for part in self.parts)


@register
@dataclass(frozen=True)
class ReduceOnPlateau:
    """`base`, times `factor` whenever more than `patience` epochs in a row were no better.

    The one schedule that looks at training: at each epoch's validation RMSE, or at its training loss
    without a validation part. Better is: below the best so far by the share `threshold` of it.

    Examples:
        >>> from bilinear import Adam, MiniBatch, ReduceOnPlateau
        >>> MiniBatch(Adam(), schedule=ReduceOnPlateau(factor=0.5, patience=2)).schedule.patience
        2
        >>> ReduceOnPlateau(factor=0.5, patience=1).after([1.0, 0.9, 0.95, 0.95, 0.95])
        0.5
    """

    factor: float = 0.1
    patience: int = 3
    threshold: float = 1e-4
    base: Schedule = Constant()

    def __post_init__(self) -> None:
        if not (is_real(self.factor) and 0 < self.factor < 1):
            raise ParameterValueError(f"ReduceOnPlateau(factor={self.factor!r}): a number in (0, 1)")
        if not (is_whole(self.patience) and self.patience >= 0):
            raise ParameterValueError(f"ReduceOnPlateau(patience={self.patience!r}): epochs, zero or more")
        if not (is_real(self.threshold) and 0 <= self.threshold < 1):
            raise ParameterValueError(f"ReduceOnPlateau(threshold={self.threshold!r}): a share in [0, 1)")
        if not callable(self.base):
            raise ParameterValueError(f"ReduceOnPlateau(base={self.base!r}): a schedule")
        _refuse_feedback(self.base, "ReduceOnPlateau")

    def __call__(self, progress: float) -> float:
        return self.base(progress)

    def after(self, measured: Sequence[float]) -> float:
        """The factor on the rate after these validation values, in their order."""
        best, bad, left = inf, 0, 1.0
        for value in measured:
            if value < best * (1 - self.threshold):
                best, bad = value, 0
            else:
                bad += 1
            if bad > self.patience:
                left, bad = left * self.factor, 0
        return left


def after(schedule: Schedule, measured: Sequence[float]) -> float:
    """The further multiplier of a schedule that looks at training; one for all others."""
    return schedule.after(measured) if isinstance(schedule, ReduceOnPlateau) else 1.0


def _refuse_feedback(schedule: Schedule, inside: str) -> None:
    if isinstance(schedule, ReduceOnPlateau):
        raise ParameterValueError(
            f"{inside} cannot hold ReduceOnPlateau; put the others inside it: ReduceOnPlateau(base=...)"
        )


def _check_share(schedule: Any, name: str) -> None:
    value = getattr(schedule, name)
    if not (is_real(value) and 0 < value <= 1):
        raise ParameterValueError(
            f"{type(schedule).__name__}({name}={value!r}): a share of training in (0, 1]"
        )


def _check_multiplier(schedule: Any, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if not (is_real(value) and value >= 0):
            raise ParameterValueError(f"{type(schedule).__name__}({name}={value!r}): a number, zero or more")
