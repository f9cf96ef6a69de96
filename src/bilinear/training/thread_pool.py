"""Work on many rows by several threads, with the same bits for any number of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.model.blocks import checked_threads

_ALIGNMENT = 64  # a cache line, and the widest vector register
_TASKS_PER_THREAD = 24


class Workers:
    """A pool of threads for kernels that let go of the interpreter's lock.

    A task never depends on how many threads there are, so neither do the results.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        self.n_threads = checked_threads(n_threads)
        # who asks works as well: to wake a thread and to wait for it takes longer than a small task
        self._pool = ThreadPoolExecutor(self.n_threads - 1) if self.n_threads > 1 else None

    def each(self, task: Callable[[int, int], Any], cuts: NDArray[np.int64]) -> Iterator[Any]:
        """task(cuts[n], cuts[n + 1]) for all n, results in order, once all are done.

        An error or Ctrl-C leaves after the tasks that have begun are done.
        """
        spans = [(int(a), int(b)) for a, b in pairwise(cuts)]
        if self._pool is None:
            yield from (task(a, b) for a, b in spans)
            return
        results: list[Any] = [None] * len(spans)
        errors: list[tuple[int, Exception]] = []
        turns = iter(range(len(spans)))

        def work() -> None:
            try:
                for n in turns:  # shared: each takes the next that is left
                    try:
                        results[n] = task(*spans[n])
                    except Exception as error:
                        errors.append((n, error))
                        break
            finally:
                for _ in turns:  # after an error or Ctrl-C no thread takes another
                    pass

        others = [self._pool.submit(work) for _ in range(min(self.n_threads, len(spans)) - 1)]
        try:
            work()
        finally:
            wait(others)  # what has begun still writes to the caller's arrays
        if errors:
            raise min(errors, key=lambda found: found[0])[1]
        yield from results

    def run(self, task: Callable[[int, int], Any], cuts: NDArray[np.int64]) -> None:
        """As `each`, for tasks that return nothing."""
        for _ in self.each(task, cuts):
            pass

    def shares(self, costs: NDArray[Any]) -> NDArray[np.int64]:
        """Cuts through rows 0..len(costs) into shares of about equal cost, several a thread."""
        n_shares = min(len(costs), _TASKS_PER_THREAD * self.n_threads)
        total = np.concatenate([[0.0], np.cumsum(costs, dtype=np.float64)])
        inner = np.searchsorted(total, np.linspace(0, total[-1], n_shares + 1)[1:-1])
        return np.unique(np.concatenate([[0], inner, [len(costs)]])).astype(np.int64)

    def evenly(self, n: int) -> NDArray[np.int64]:
        """Cuts through 0..n, one share a thread."""
        return np.linspace(0, n, self.n_threads + 1).astype(np.int64)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def workers(n_threads: int | None) -> Iterator[Workers]:
    """A pool for the block, with BLAS kept from starting threads of its own beside it."""
    pool = Workers(n_threads)
    try:
        with _quiet_blas():
            yield pool
    finally:
        pool.close()


def fixed_cuts(n: int, size: int) -> NDArray[np.int64]:
    """Cuts through 0..n at multiples of `size`: the same sums in the same order for any number of threads."""
    return np.append(np.arange(0, n, size), n).astype(np.int64)


def aligned(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    """An uninitialised array that starts at a cache line: vector loads then never straddle two.

    NumPy starts large arrays 16 bytes after one, which slows dense kernels by up to a half.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    room = np.empty(n_bytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    array: NDArray[Any] = room[start : start + n_bytes].view(dtype).reshape(shape)
    return array


def _quiet_blas() -> AbstractContextManager[Any]:
    """BLAS held to one thread while ours work, where threadpoolctl is installed to do that.

    Two pools on the same cores make a decomposition of 1 ms take 100 ms.
    """
    try:
        limits = import_module("threadpoolctl").threadpool_limits
    except ImportError:
        return nullcontext()
    held: AbstractContextManager[Any] = limits(1, "blas")
    return held
