"""Scores of all items for blocks of users, and blocks worked on by several threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.errors import ParameterValueError
from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS
from bilinear.kernels.top_k_blocks import block_scores, packed_rows
from bilinear.model.parameters import Array, Parameters

Block = NDArray[Any]
Task = TypeVar("Task")
Made = TypeVar("Made")


def score_block(parameters: Parameters, user_rows: NDArray[Any]) -> Array:
    """Scores of all items for each user row; -1 is a user without bias and factors.

    Returns:
        (n, n_items) float32. Each score is summed in one order, so that it depends neither on the
        block nor on the processor's threads, and items with equal weights have equal scores.
    Cost:
        O(n * n_items * n_factors) time.
    """
    scores = np.empty((len(user_rows), parameters.n_items), np.float32)
    items = np.arange(parameters.n_items)
    block_scores(
        packed_rows(parameters.user_factors, user_rows, TILE_USERS),
        in_tiles(user_offsets(parameters, user_rows), TILE_USERS),
        packed_rows(parameters.item_factors, items, TILE_ITEMS),
        in_tiles(parameters.item_biases.astype(np.float32), TILE_ITEMS),
        scores,
    )
    return scores


def user_offsets(parameters: Parameters, user_rows: NDArray[Any]) -> NDArray[np.float32]:
    """(n,) what all scores of a user have in common: the global mean and the user's bias."""
    biases = parameters.user_biases[user_rows] if parameters.n_users else np.zeros(len(user_rows))
    return (parameters.global_mean + np.where(user_rows >= 0, biases, 0)).astype(np.float32)


def in_tiles(values: NDArray[Any], width: int, fill: float = 0) -> NDArray[Any]:
    """(n,) values as (tiles, width), the last tile filled up."""
    tiles = np.full((-(-len(values) // width), width), fill, values.dtype)
    tiles.reshape(-1)[: len(values)] = values
    return tiles


def map_blocks(
    work: Callable[[Block], Made], rows: NDArray[Any], block_size: int, n_threads: int
) -> Iterator[Made]:
    """Applies `work` to consecutive blocks of `rows` on several threads; yields the results in order.

    At most two blocks per thread are in work or waiting for the reader. An error in one block ends all.
    """
    blocks = (rows[start : start + block_size] for start in range(0, len(rows), block_size))
    return in_order(work, blocks, 1 if len(rows) <= block_size else n_threads)


def in_order(work: Callable[[Task], Made], tasks: Iterable[Task], n_threads: int) -> Iterator[Made]:
    """`map` on several threads; at most two results a thread are in work or waiting for the reader."""
    if n_threads == 1:
        yield from map(work, tasks)
        return
    pool = ThreadPoolExecutor(n_threads, "bilinear")
    waiting: deque[Future[Made]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) == 2 * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def checked_threads(n_threads: int | None) -> int:
    """The number given, or that of the cores this process may use."""
    if n_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (is_whole(n_threads) and n_threads >= 1):
        raise ParameterValueError(f"n_threads={n_threads!r}; a whole number, one or more, or None")
    return int(n_threads)


def checked_block_size(block_size: int | None, default: int) -> int:
    """The number of users at once that was given, or the default."""
    if block_size is None:
        return default
    if not (is_whole(block_size) and block_size >= 1):
        raise ParameterValueError(f"block_size={block_size!r}; a whole number, one or more, or None")
    return int(block_size)
