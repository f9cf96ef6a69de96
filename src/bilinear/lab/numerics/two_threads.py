"""Two threads for the lab's loops, split at the same row on every machine: results are the same bits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORTH_IT = 2_000_000  # multiplications below which one thread is faster


def split_row(starts: NDArray[Any], work: int) -> int:
    """The row at which to split rows that own starts[r]:starts[r + 1]; 0 where one thread is faster."""
    if work < _WORTH_IT or len(starts) < 3:
        return 0
    return int(np.searchsorted(starts, starts[-1] // 2))


def run_both(function: Callable[..., None], first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    """Calls `function` with the first arguments and, in another thread, with the second."""
    other = _pool().submit(function, *second)
    function(*first)
    other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="bilinear-lab")
