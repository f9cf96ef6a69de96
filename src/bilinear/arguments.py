"""What counts as a number among arguments: of Python or NumPy, no bool, no NaN."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeGuard


def is_real(value: Any) -> TypeGuard[float]:
    """Whether it is a finite real number."""
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number."""
    return not isinstance(value, bool) and isinstance(value, Integral)
