"""Compiling of kernels while it happens: announced once, and left out of the seconds that are reported."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

NOTICE = (
    "compiling kernels: takes some seconds, once per installation (bilinear compile does it ahead), or "
    "each time with a formula of your own"
)

announce: Callable[[str], object] | None = None
"""Called with NOTICE when this process compiles a kernel for the first time. The command line sets it."""

_spent, _count = 0.0, 0  # seconds, kernels
_since: float | None = None  # while one compiles
_announced = False


def clock() -> float:
    """As `time.perf_counter`, but it stands still while the process compiles kernels."""
    since = _since
    return (perf_counter() if since is None else since) - _spent


def seconds() -> float:
    """Seconds that this process has spent on compiling kernels, not counting one in progress."""
    return _spent


def count() -> int:
    """Kernels that this process has compiled: not those that it found on disk."""
    return _count


def begin() -> None:
    """Compiling begins. Only one thread compiles at a time: Numba holds a lock meanwhile."""
    global _since, _announced
    if announce is not None and not _announced:
        _announced = True
        announce(NOTICE)
    _since = perf_counter()


def end() -> None:
    """Compiling ended, with or without a result."""
    global _spent, _since, _count
    _count += 1
    if _since is not None:
        spent = perf_counter() - _since
        _since, _spent = None, _spent + spent
