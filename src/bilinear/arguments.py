"""Checks of arguments: numbers of Python or NumPy (no bool, no NaN), and parts that kernels know."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeGuard

from bilinear.errors import ParameterValueError


def is_real(value: Any) -> TypeGuard[float]:
    """Whether it is a finite real number."""
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number."""
    return not isinstance(value, bool) and isinstance(value, Integral)


def check_known(*parts: Any) -> None:
    """Refuses losses, links and optimisers of classes outside bilinear, also subclasses of its own.

    Kernels get the numbers of such an object alone, so that methods of another class would have no effect.

    Raises:
        ParameterValueError: with the name of the class.
    """
    for part in parts:
        kind = type(part)
        if kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
            bases = [base.__name__ for base in kind.__mro__ if base.__module__.startswith("bilinear.")]
            such = f"{bases[0]} or a sibling of it" if bases else "one of bilinear's own"
            raise ParameterValueError(
                f"{kind.__name__} is not supported: kernels know bilinear's own classes by number, and the "
                f"methods of another would have no effect; use {such}, or write a Solver whose check() "
                "accepts it and whose minimise() calls its methods"
            )


def kernel_code(part: Any) -> int:
    """The number by which the kernels know a loss, a link or an update rule of bilinear's own.

    Raises:
        ParameterValueError: the part is of another class, which kernels would take for one they know.
    """
    check_known(part)
    code = getattr(part, "code", None)
    if not is_whole(code):
        raise ParameterValueError(f"{type(part).__name__} is a base class; take one of those made from it")
    return int(code)
