"""The fast path of gradient descent: a grid of cells whose rows fit into cache.

Users and items are cut at random into blocks with nearly equal numbers of ratings, and ratings
are copied cell by cell (user block, item block), in a cell user by user, with some users taking
turns. While a cell is worked on, the factor rows of its items stay in the second-level cache, and
those of its users pass through the first-level cache, each once. A stratum is a set of cells that
share no row, so its cells may run at once, in any order, on any number of threads, with the same
bits (Gemulla, Nijkamp, Haas and Sismanis 2011; Zhuang, Chin, Juan and Lin 2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.kernels.grid import cut_into_blocks, distinct_values, fill_cells, interleave_cells
from bilinear.kernels.lanes import Shape, columns_of, shape_of
from bilinear.kernels.sgd import BIAS, SHARE
from bilinear.kernels.views import read_only
from bilinear.model.parameters import Array, Parameters
from bilinear.training.thread_pool import Workers, aligned

_CACHE = 700 * 1024  # bytes of a cell's item rows; fixed, so that bits do not depend on the machine
_FEWEST_BLOCKS = 16
_MOST_PLACES = 1 << 16  # rows of a block that two bytes tell apart
_MOST_USERS = 7 * _MOST_PLACES // 8  # of a block on average: those with few ratings are in larger ones
_MOST_VALUES = 256
_EVEN = 8  # numbers of blocks are multiples of it, so that threads share a stratum evenly


@dataclass(frozen=True, eq=False)
class Side:
    """The users or the items, renumbered block by block.

    Attributes:
        order: (n,) the row at each new place.
        labels: (n,) the new place of each row.
        starts: (n_blocks + 1,) the first new place of each block.
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
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of a place in a block."""
        return np.uint16 if np.diff(self.starts).max(initial=0) <= _MOST_PLACES else np.uint32

    @property
    def blocks(self) -> NDArray[np.int32]:
        """(n,) the block of each new place."""
        return np.repeat(np.arange(self.n_blocks, dtype=np.int32), np.diff(self.starts))


@dataclass(frozen=True, eq=False)
class Grid:
    """The ratings of a table, cell by cell, with renumbered rows.

    Attributes:
        users, items: (n_ratings,) rows, counted from the first of their block.
        ratings: (n_ratings,) places in `values`, or the ratings themselves where that is empty.
        values: the different ratings of the table, ascending, if there are at most 256.
        starts: (n_cells + 1,) the first rating of each cell.

    Memory:
        5 bytes a rating, beside the table's own, of a packed table in a file; 8 with more than 256 different
        ratings. Cost to build: O(n_ratings).
    """

    users: NDArray[Any]
    items: NDArray[Any]
    ratings: NDArray[Any]
    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    user_side: Side
    item_side: Side

    @classmethod
    def of(cls, table: Interactions, row_bytes: int, rng: np.random.Generator, workers: Workers) -> Grid:
        """Cuts `table` so that the rows of a cell's items, of `row_bytes` each, fit the cache."""
        whole, kept = table.stored
        by_user = whole.by_user
        n_user_blocks, n_item_blocks = _blocks_of(table, row_bytes)
        user_side = Side.cut(table.user_counts, n_user_blocks, rng)
        item_side = Side.cut(table.item_counts, n_item_blocks, rng)
        n_cells = user_side.n_blocks * item_side.n_blocks
        n = table.n_ratings
        values, empty = _values(table), table.storage.empty
        columns = (
            empty(n, user_side.dtype),
            empty(n, item_side.dtype),
            empty(n, np.uint8 if len(values) else np.float32),
        )
        starts = np.zeros(n_cells + 1, np.int64)
        ratings_before = np.append(0, np.cumsum(table.user_counts[user_side.order]))
        starts[:: item_side.n_blocks] = ratings_before[user_side.starts]
        item_block, seed = item_side.blocks, int(rng.integers(2**63))

        def fill(first: int, end: int) -> None:
            fill_cells(
                np.arange(first, end),
                user_side.starts,
                user_side.order,
                by_user.indptr,
                by_user.indices,
                by_user.ratings,
                kept,
                item_side.labels,
                item_block,
                item_side.starts,
                values,
                *columns,
                starts,
            )

        def interleave(first: int, end: int) -> None:
            interleave_cells(*columns, starts, np.arange(first, end), seed)

        workers.run(fill, workers.evenly(user_side.n_blocks))
        workers.run(interleave, workers.evenly(n_cells))
        return cls(*columns, values, starts, user_side, item_side)

    def strata(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(n_strata, n): all cells once, a row being cells that share no row of users or items.

        Which cells meet in a stratum, `rng` draws.
        """
        wide, narrow = self.user_side.n_blocks, self.item_side.n_blocks
        users, items = rng.permutation(wide), rng.permutation(narrow)
        fewer = np.arange(min(wide, narrow))
        shifted = np.arange(max(wide, narrow))[:, None] + fewer
        cells: NDArray[np.int64]
        if wide >= narrow:
            cells = users[shifted % wide] * narrow + items
        else:
            cells = users * narrow + items[shifted % narrow]
        return cells

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(n_cells,) ratings of each cell."""
        return np.diff(self.starts)

    def restored(self, parameters: Parameters) -> Parameters:
        """Copies of parameters that are in the order of the grid, in that of the table."""
        users, items = self.user_side.labels, self.item_side.labels
        return Parameters(
            parameters.global_mean,
            parameters.user_biases[users],
            parameters.item_biases[items],
            parameters.user_factors[users],
            parameters.item_factors[items],
        )

    def relabelled(self, table: Interactions) -> Interactions:
        """Another table of the same rows, in the numbers of the grid. Memory: 8 bytes a rating."""
        users, items = self.user_side.labels[table.users], self.item_side.labels[table.items]
        return replace(table, users=users, items=items)


@dataclass
class _Kept:
    """The last grid that was asked for."""

    seed: int
    last: tuple[Interactions, tuple[int, int], Grid] | None = None

    def of(self, table: Interactions, row_bytes: int, workers: Workers) -> Grid:
        blocks = _blocks_of(table, row_bytes)
        if self.last is not None and self.last[0] is table and self.last[1] == blocks:
            return self.last[2]
        self.last = None  # two do not fit where one does
        grid = Grid.of(table, row_bytes, np.random.default_rng([self.seed, *blocks]), workers)
        self.last = table, blocks, grid
        return grid


_kept: ContextVar[_Kept | None] = ContextVar("kept_grid", default=None)


@contextmanager
def keeping_grids(seed: int) -> Iterator[None]:
    """Descents of the block that follow one another on one table share its grid, which `seed` draws."""
    token = _kept.set(_Kept(seed))
    try:
        yield
    finally:
        _kept.reset(token)


def grid_for(table: Interactions, row_bytes: int, rng: np.random.Generator, workers: Workers) -> Grid:
    """`Grid.of`, or the grid that is kept, for which `rng` draws nothing."""
    kept = _kept.get()
    return Grid.of(table, row_bytes, rng, workers) if kept is None else kept.of(table, row_bytes, workers)


@dataclass(frozen=True, eq=False)
class Rows:
    """Parameters and velocities of one side, users or items, in the order of the grid.

    Attributes:
        bias_columns: (n, 2), with momentum (n, 4): see `kernels.sgd`.
        factors: (n, columns): n_factors, then zeros up to a whole number of cache lines.
        velocities: of the factors, in their shape; without momentum (0, columns).
    """

    bias_columns: Array
    factors: Array
    velocities: Array
    n_factors: int

    @classmethod
    def of(cls, biases: Array, shares: Array, factors: Array, order: NDArray[np.int64], moving: bool) -> Rows:
        n, n_factors = factors.shape
        dtype, columns = factors.dtype, columns_of(n_factors, factors.itemsize)
        bias_columns, rows = (aligned(n, width, dtype=dtype) for width in (4 if moving else 2, columns))
        velocities = aligned(n if moving else 0, columns, dtype=dtype)
        bias_columns[:, BIAS], bias_columns[:, SHARE] = biases[order], shares[order]
        np.take(factors, order, axis=0, out=rows[:, :n_factors], mode="clip")  # "raise" would make a copy
        bias_columns[:, SHARE + 1 :], rows[:, n_factors:], velocities[:] = 0, 0, 0
        return cls(bias_columns, rows, velocities, n_factors)

    @property
    def shape(self) -> Shape:
        return shape_of(self.factors)

    @property
    def biases(self) -> Array:
        """(n,) a view."""
        return self.bias_columns[:, BIAS]

    @property
    def weights(self) -> Array:
        """(n, n_factors) a view."""
        return self.factors[:, : self.n_factors]

    def arrays(self) -> dict[str, Array]:
        return {"bias_columns": self.bias_columns, "factors": self.factors, "velocities": self.velocities}


def _blocks_of(table: Interactions, row_bytes: int) -> tuple[int, int]:
    """Blocks of users and of items: all that a grid takes from `row_bytes`."""
    n_item_blocks = _n_blocks(table.n_items, _CACHE // row_bytes)
    # an item block stays in cache; users pass through, and need only be enough for all threads
    most_users = min(table.n_users // n_item_blocks, _MOST_USERS)
    return _n_blocks(table.n_users, max(1, most_users)), n_item_blocks


def _values(table: Interactions) -> NDArray[np.float32]:
    """The different ratings of a table, ascending; none where there are more than 256."""
    values = np.empty(_MOST_VALUES, np.float32)
    n = distinct_values(read_only(table.stored[0].ratings), values)
    return values[: max(n, 0)].copy()


def _n_blocks(n_rows: int, rows_a_block: int) -> int:
    n_blocks = max(_FEWEST_BLOCKS, -(-n_rows // max(1, rows_a_block)))
    return min(n_rows, -(-n_blocks // _EVEN) * _EVEN)
