"""Formulas of losses, links and update rules of one's own, compiled into copies of the kernels.

Kernels know bilinear's own classes by number, compiled ahead. A class from elsewhere gives its `formula()`
instead, a plain Python function of numbers or rows. Numba compiles it once a process, in a copy of the kernel
that differs in the one function which the formula replaces: the loops, the threads and the bits of everything
else stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError
from numba.extending import is_jitted
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError
from bilinear.kernels.cache import KernelCache, njit

Functions = tuple[tuple[str, Any], ...]
"""What stands for functions of a kernel: (name, compiled function) pairs."""

_KEPT = 64  # copies of kernels, and formulas, of one process


@lru_cache(_KEPT)
def compiled_formula(part: Any) -> Any:
    """`part.formula()`, which Numba compiles when it is called."""
    formula = part.formula()
    if not callable(formula):
        raise ParameterValueError(f"{type(part).__name__}.formula(): expected a function, got {formula!r}")
    return njit(nogil=True, error_model="numpy", forceinline=True)(getattr(formula, "py_func", formula))


def tried(part: Any, *arguments: Any) -> Any:
    """What the formula of a part gives for arguments of the types that kernels pass.

    Raises:
        ParameterValueError: Numba does not compile it, or it fails; with the reason.
    """
    try:
        return compiled_formula(part)(*arguments)
    except (NumbaError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        why = next((line for line in reversed(str(error).splitlines()) if line.strip()), repr(error))
        raise ParameterValueError(
            f"{type(part).__name__}.formula(): expected a function that Numba compiles, got: {why.strip()}; "
            "it may use numbers, arrays and functions of NumPy, and the numbers of `self` through variables"
        ) from error


def elementwise(part: Any, place: int, first: NDArray[Any], *others: Any) -> NDArray[Any]:
    """One number of what a formula of two or three numbers gives, for arrays, in the type of the first."""
    found: NDArray[Any] = _ufunc(part, place, 1 + len(others))(
        *(np.asarray(argument, np.float64) for argument in (first, *others))
    )
    return found.astype(first.dtype)


@lru_cache(_KEPT)
def _ufunc(part: Any, place: int, n_arguments: int) -> Any:
    formula = compiled_formula(part)
    if n_arguments == 2:
        return numba.vectorize(lambda a, b: float(formula(a, b)[place]))
    return numba.vectorize(lambda a, b, c: float(formula(a, b, c)[place]))


@lru_cache(_KEPT)
def with_functions(kernel: Any, functions: Functions) -> Any:
    """The kernel with functions in the place of those of their names, also where its helpers call them.

    Args:
        kernel: compiled.
        functions: see `Functions`; without any it is the kernel itself.
    """
    function: Callable[..., Any] = kernel.py_func
    replaced = dict(functions)
    if function.__name__ in replaced:
        return replaced[function.__name__]
    called = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    copies = {name: with_functions(helper, functions) for name, helper in called.items() if is_jitted(helper)}
    if all(copies[name] is called[name] for name in copies):
        return kernel
    names = function.__globals__ | copies
    copy = FunctionType(function.__code__, names, function.__name__, None, function.__closure__)
    found = numba.jit(**kernel.targetoptions)(copy)
    found._cache = KernelCache(copy)  # counted as compiling; nothing on disk says which formula is in it
    found._cache.disable()
    return found
