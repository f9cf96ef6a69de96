"""Rows of tables by their number: fetched ahead, lengths, sums.

Functions take a table and the number of a row, not the row: an array that is made in a loop is counted
by atomic instructions. The number comes as a value: `rows[index[k], f]` within a loop over f loads
index[k] again for each f, as rows and index could overlap, and no vectors are made of it.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bilinear.kernels.cache import njit

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

_CACHE_LINE = 64
_BYTE, _INT, _INT32 = ir.IntType(8), ir.IntType(64), ir.IntType(32)


@intrinsic
def prefetch_row(typing, table, n):  # type: ignore[no-untyped-def]
    """Asks for table[n] of a contiguous array of any shape, to be in cache some loads later."""
    return types.void(table, types.int64), _prefetch_row


def _prefetch_row(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    table = context.make_array(signature.args[0])(context, builder, arguments[0])
    width = _INT(1)
    for length in cgutils.unpack_tuple(builder, table.shape)[1:]:
        width = builder.mul(width, length)
    start = builder.gep(table.data, [builder.mul(arguments[1], width)])
    end = builder.gep(start, [width])
    first, last = (builder.ptrtoint(pointer, _INT) for pointer in (start, end))
    with cgutils.for_range_slice(builder, first, last, _INT(_CACHE_LINE), _INT) as (at, _):
        prefetch_line(builder, builder.inttoptr(at, _BYTE.as_pointer()))
    return context.get_dummy_value()


def prefetch_line(builder: Any, pointer: Any) -> None:
    """Writes the instruction that asks for the cache line at a pointer to bytes."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), *[_INT32] * 3])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    read, keep, data = _INT32(0), _INT32(3), _INT32(1)
    builder.call(prefetch, [pointer, read, keep, data])


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def inverse_length(rows, n):  # type: ignore[no-untyped-def]
    """One over the length of rows[n]; zero for a row of zeros."""
    square = rows.dtype.type(0)
    for f in range(rows.shape[1]):
        square += rows[n, f] * rows[n, f]
    return rows.dtype.type(0) if square == 0 else rows.dtype.type(1) / np.sqrt(square)


@njit(nogil=True, forceinline=True)
def scale_row(out, at, factor, rows, n):  # type: ignore[no-untyped-def]
    """out[at] = factor * rows[n]."""
    for f in range(out.shape[1]):
        out[at, f] = factor * rows[n, f]


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def add_row(out, at, factor, rows, n):  # type: ignore[no-untyped-def]
    """out[at] += factor * rows[n]."""
    for f in range(out.shape[1]):
        out[at, f] += factor * rows[n, f]


@njit(nogil=True, fastmath={"contract"}, error_model="numpy", forceinline=True)
def add_four_rows(out, at, a, b, c, d, rows, n):  # type: ignore[no-untyped-def]
    """As `add_row` for the rows n to n + 3 one after another; out[at] is loaded and stored once."""
    for f in range(out.shape[1]):
        total = out[at, f] + a * rows[n, f]
        total += b * rows[n + 1, f]
        total += c * rows[n + 2, f]
        out[at, f] = total + d * rows[n + 3, f]


@njit(nogil=True, forceinline=True)
def pack_rows(rows, panels):  # type: ignore[no-untyped-def]
    """Fills panels (n_panels, width, lanes) with rows (n, width), side by side; leaves what is over."""
    n_panels, width, lanes = panels.shape
    for panel in range(n_panels):
        first = panel * lanes
        here = min(lanes, len(rows) - first)
        for f in range(width):
            for n in range(here):
                panels[panel, f, n] = rows[first + n, f]
