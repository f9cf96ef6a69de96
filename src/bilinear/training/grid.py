"""The fast path of gradient descent: a grid of cells whose rows fit into cache.

Users and items are cut at random into blocks with nearly equal numbers of ratings, and ratings
are copied cell by cell (user block, item block), in a cell user by user, with some users taking
turns. While a cell is worked on, the factor rows of its items stay in the second-level cache, and
those of its users pass through the first-level cache, each once. A stratum is a set of cells that
share no row, so its cells may run at once, in any order, on any number of threads, with the same
bits (Gemulla, Nijkamp, Haas and Sismanis 2011; Zhuang, Chin, Juan and Lin 2013).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.part import Part
from bilinear.kernels.grid import cut_into_blocks, fill_cells, interleave_cells
from bilinear.model.parameters import Array, Parameters

_CACHE = 700 * 1024  # bytes of a cell's item rows; fixed, so that bits do not depend on the machine
_FEWEST_BLOCKS = 16
_EVEN = 8  # numbers of blocks are multiples of it, so that threads share a stratum evenly


@dataclass(frozen=True, eq=False)
class Side:
    """The users or the items, renumbered block by block.

    Attributes: order (n,) the row at each new place; labels (n,) the new place of each row;
        starts (n_blocks + 1,) the first place of each block.
    """

    order: NDArray[np.int64]
    labels: NDArray[np.int32]
    starts: NDArray[np.int64]

    @classmethod
    def cut(cls, counts: NDArray[np.int64], n_blocks: int, rng: np.random.Generator) -> Side:
        order = rng.permutation(len(counts))
        labels, starts = np.empty(len(counts), np.int32), np.empty(n_blocks + 1, np.int64)
        cut_into_blocks(order, counts, n_blocks, labels, starts)
        return cls(order, labels, starts)

    @property
    def n_blocks(self) -> int:
        return len(self.starts) - 1

    @property
    def blocks(self) -> NDArray[np.int32]:
        """(n,) the block of each new place."""
        return np.repeat(np.arange(self.n_blocks, dtype=np.int32), np.diff(self.starts))


@dataclass(frozen=True, eq=False)
class Grid:
    """The ratings of a table, cell by cell, with renumbered rows.

    Memory: 12 bytes a rating, beside the table's own. Cost to build: O(n_ratings).
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    starts: NDArray[np.int64]
    user_side: Side
    item_side: Side

    @classmethod
    def of(cls, table: Interactions, row_bytes: int, rng: np.random.Generator, pool: Pool) -> Grid:
        """Cuts `table` so that the rows of a cell's items, of `row_bytes` each, fit the cache."""
        whole, kept = (table.table, table.kept) if isinstance(table, Part) else (table, np.empty(0, bool))
        by_user = whole.by_user
        user_counts = np.bincount(table.users, minlength=table.n_users)
        n_item_blocks = _n_blocks(table.n_items, _CACHE // row_bytes)
        # an item block stays in cache; users pass through, and need only be enough for all threads
        n_user_blocks = _n_blocks(table.n_users, max(1, table.n_users // n_item_blocks))
        user_side = Side.cut(user_counts, n_user_blocks, rng)
        item_counts = np.bincount(table.items, minlength=table.n_items)
        item_side = Side.cut(item_counts, n_item_blocks, rng)
        n_cells = user_side.n_blocks * item_side.n_blocks
        n = table.n_ratings
        columns = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.float32)
        starts = np.zeros(n_cells + 1, np.int64)
        ratings_before = np.append(0, np.cumsum(user_counts[user_side.order]))
        starts[:: item_side.n_blocks] = ratings_before[user_side.starts]
        item_block, seed = item_side.blocks, int(rng.integers(2**63))

        def fill(blocks: NDArray[np.int64]) -> None:
            fill_cells(
                blocks,
                user_side.starts,
                user_side.order,
                by_user.starts,
                by_user.others,
                by_user.ratings,
                kept,
                item_side.labels,
                item_block,
                *columns,
                starts,
            )

        pool.run(fill, np.arange(user_side.n_blocks))
        pool.run(lambda cells: interleave_cells(*columns, starts, cells, seed), np.arange(n_cells))
        return cls(*columns, starts, user_side, item_side)

    def strata(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """All cells once, as sets that share no row; which cells meet in a stratum, `rng` draws."""
        wide, narrow = self.user_side.n_blocks, self.item_side.n_blocks
        users, items = rng.permutation(wide), rng.permutation(narrow)
        if wide >= narrow:
            for shift in range(wide):
                yield users[(np.arange(narrow) + shift) % wide] * narrow + items
        else:
            for shift in range(narrow):
                yield users * narrow + items[(np.arange(wide) + shift) % narrow]

    def renumbered(self, parameters: Parameters) -> Parameters:
        """Copies of the parameters in the order of the grid."""
        return _reordered(parameters, self.user_side.order, self.item_side.order)

    def restored(self, parameters: Parameters) -> Parameters:
        """The inverse of `renumbered`."""
        return _reordered(parameters, self.user_side.labels, self.item_side.labels)

    def relabelled(self, table: Interactions) -> Interactions:
        """Another table of the same rows, in the numbers of the grid. Memory: 8 bytes a rating."""
        users, items = self.user_side.labels[table.users], self.item_side.labels[table.items]
        return replace(table, users=users, items=items)


class Pool:
    """Threads that share out cells; results do not depend on how many there are."""

    def __init__(self, executor: ThreadPoolExecutor | None, n_threads: int) -> None:
        self._executor, self._n_threads = executor, n_threads

    def run(self, work: Any, cells: NDArray[np.int64]) -> list[Any]:
        """work(part) for parts that make up `cells`, at once; the results in order."""
        if self._executor is None:
            return [work(cells)]
        return list(self._executor.map(work, np.array_split(cells, self._n_threads)))


@contextmanager
def pool(n_threads: int | None) -> Iterator[Pool]:
    """A pool of `n_threads`, None being one a core."""
    n_threads = n_threads or len(
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    if n_threads == 1:
        yield Pool(None, 1)
        return
    with ThreadPoolExecutor(n_threads) as executor:
        yield Pool(executor, n_threads)


def _n_blocks(n_rows: int, rows_a_block: int) -> int:
    n_blocks = max(_FEWEST_BLOCKS, -(-n_rows // max(1, rows_a_block)))
    return min(n_rows, -(-n_blocks // _EVEN) * _EVEN)


def _reordered(parameters: Parameters, users: NDArray[Any], items: NDArray[Any]) -> Parameters:
    def take(array: Array, rows: NDArray[Any]) -> Array:
        taken: Array = array[rows]
        return taken

    return Parameters(
        parameters.global_mean,
        take(parameters.user_biases, users),
        take(parameters.item_biases, items),
        take(parameters.user_factors, users),
        take(parameters.item_factors, items),
    )
