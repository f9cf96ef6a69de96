"""Two threads for the lab's loops, split at the same place on every machine, so that bits do not differ."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORTH_IT = 2_000_000  # multiplications below which one thread is quicker


def middle(starts: NDArray[Any], work: int) -> int:
    """The row at which to split rows that own starts[r]:starts[r + 1]; 0 when it is not worth it."""
    if work < _WORTH_IT or len(starts) < 3:
        return 0
    return int(np.searchsorted(starts, starts[-1] // 2))


def both(function: Callable[..., None], first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    """`function` with the first arguments and, at the same time, with the second."""
    other = _pool().submit(function, *second)
    function(*first)
    other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="bilinear-lab")
