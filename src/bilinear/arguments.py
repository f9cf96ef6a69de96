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


OWN = -1
"""The number that kernels get for a part whose formula is compiled into them."""


def has_formula(part: Any) -> bool:
    """Whether the part is of a class outside bilinear that gives a `formula()`, not one that inherits it."""
    kind = next((kind for kind in type(part).__mro__ if "formula" in vars(kind)), object)
    return kind is not object and not _is_bilinear(kind)


def check_known(*parts: Any) -> None:
    """Refuses objects of classes outside bilinear, also of subclasses of its own.

    Kernels get the numbers of such an object alone, so that methods of another class would have no effect.

    Raises:
        ParameterValueError: with the name of the class.
    """
    for part in parts:
        kind = type(part)
        if not _is_bilinear(kind):
            bases = [base.__name__ for base in kind.__mro__ if _is_bilinear(base)]
            such = f"{bases[0]} or a sibling of it" if bases else "one of bilinear's own"
            raise ParameterValueError(
                f"{kind.__name__} is not supported: what uses it here knows bilinear's own classes, and the "
                f"methods of another would have no effect; use {such}; a loss, a link or an optimiser can "
                "give a formula() to be compiled, see docs/develop/add-a-model.md"
            )


def kernel_code(part: Any) -> int:
    """The number by which the kernels know a loss, a link or an update rule; `OWN` where it has a formula.

    Raises:
        ParameterValueError: the part is of another class, which kernels would take for one they know.
    """
    if has_formula(part):
        return OWN
    check_known(part)
    code = getattr(part, "code", None)
    if not is_whole(code):
        raise ParameterValueError(f"{type(part).__name__} is a base class; take one of those made from it")
    return int(code)


def _is_bilinear(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def draw_seed(rng: int | None) -> int:
    """The seed given, or a fresh one."""
    if rng is None:
        from numpy.random import SeedSequence

        return int(SeedSequence().generate_state(1)[0])
    if not (is_whole(rng) and rng >= 0):
        raise ParameterValueError(f"rng={rng!r}; a whole number, zero or more, or None")
    return int(rng)
