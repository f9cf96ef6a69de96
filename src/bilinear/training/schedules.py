"""Hyper-parameters as functions of progress: multipliers for progress in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

from bilinear.arguments import is_real
from bilinear.errors import ParameterValueError

Schedule = Callable[[float], float]
"""Progress through training in [0, 1] to a multiplier of the base value."""


@dataclass(frozen=True)
class Constant:
    """Always one."""

    def __call__(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class OneCycle:
    """Cosine from `start` up to 1 during `warm_up`, then cosine down to `end` (Smith & Topin 2018)."""

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


@dataclass(frozen=True)
class Falling:
    """Geometrically from `start` to 1 during the first `until` of training, then 1.

    For penalties: with a large one only the strongest directions leave zero, and the weaker ones
    follow as it falls (a homotopy; docs/decisions/0008). Descending at once with the small one
    lets noise grow beside them.
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
