"""Normal equations of a few dozen to a few hundred unknowns: built and solved in tiles held in registers.

Numba keeps no tile of sums in registers: a loop nest over a matrix loads and stores it once every few
rows. The tile here is spelled in LLVM's own terms (any processor's vectors), eight rows by two vectors
of sums over all rows of a chunk; everything else is Numba. Only the upper triangle is computed, in
whole tiles, so some entries below the diagonal are written too; no result depends on them.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bilinear.kernels.cache import njit

_WIDE = binding.get_host_cpu_features().get("avx512f", False)
_VECTOR_BYTES = 64 if _WIDE else 32
TILE = 8 if _WIDE else 4
"""Rows of a tile: 16 sums of 32 registers, or 8 of 16."""
LINE = _VECTOR_BYTES // 4
"""Widths of all arrays here are multiples of this: the numbers of float32 in a vector."""

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_INT, _INT32 = ir.IntType(64), ir.IntType(32)


def _tile_of(vectors: int) -> Any:
    """The intrinsic that fills a tile of so many vectors."""

    @intrinsic
    def add_tile(typing, left, a, b, right, c, j, n, keep, sign, out, i):  # type: ignore[no-untyped-def]
        """out[i:, j:] = keep * out[i:, j:] + sign * left[a : a + n, b:].T @ right[c : c + n, j:], a tile."""
        size, number = types.int64, right.dtype
        arguments = left, size, size, right, size, size, size, number, number, out, size
        return types.void(*arguments), _generator(vectors)

    return add_tile


def _generator(vectors: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        dtype = signature.args[3].dtype
        number = context.get_value_type(dtype)
        lanes = _VECTOR_BYTES * 8 // dtype.bitwidth
        wide = ir.VectorType(number, lanes)

        def start_and_stride(place: int, row: Any, column: Any) -> tuple[Any, Any]:
            array = context.make_array(signature.args[place])(context, builder, arguments[place])
            stride = cgutils.unpack_tuple(builder, array.shape)[1]
            return builder.gep(array.data, [builder.add(builder.mul(row, stride), column)]), stride

        _, a, b, _, c, j, n, keep, sign, _, i = arguments
        left, left_stride = start_and_stride(0, a, b)
        right, right_stride = start_and_stride(3, c, j)
        out, out_stride = start_and_stride(9, i, j)
        suffix = "f32" if lanes * 4 == _VECTOR_BYTES else "f64"
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(wide, [wide] * 3), f"llvm.fmuladd.v{lanes}{suffix}"
        )
        align = dtype.bitwidth // 8

        def vector_at(pointer: Any) -> Any:
            return builder.load(builder.bitcast(pointer, wide.as_pointer()), align=align)

        def repeated(value: Any) -> Any:
            undefined = ir.Constant(wide, ir.Undefined)
            one = builder.insert_element(undefined, value, _INT32(0))
            return builder.shuffle_vector(
                one, undefined, ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes)
            )

        before = builder.block
        loop, end = builder.append_basic_block("rows"), builder.append_basic_block("end")
        zero = ir.Constant(wide, [0.0] * lanes)
        builder.cbranch(builder.icmp_signed(">", n, _INT(0)), loop, end)

        builder.position_at_end(loop)
        t = builder.phi(_INT)
        sums = [builder.phi(wide) for _ in range(TILE * vectors)]
        y = builder.gep(left, [builder.mul(t, left_stride)])
        x = builder.gep(right, [builder.mul(t, right_stride)])
        x_vectors = [vector_at(builder.gep(x, [_INT(v * lanes)])) for v in range(vectors)]
        grown = []
        for r in range(TILE):
            y_r = repeated(builder.load(builder.gep(y, [_INT(r)])))
            grown += [
                builder.call(multiply_add, [y_r, x_vectors[v], sums[r * vectors + v]]) for v in range(vectors)
            ]
        following = builder.add(t, _INT(1))
        t.add_incoming(_INT(0), before)
        t.add_incoming(following, loop)
        for total, more in zip(sums, grown, strict=True):
            total.add_incoming(zero, before)
            total.add_incoming(more, loop)
        done = builder.append_basic_block("store")
        builder.cbranch(builder.icmp_signed("<", following, n), loop, done)

        builder.position_at_end(done)
        kept, factor = repeated(keep), repeated(sign)
        for r in range(TILE):
            row = builder.gep(out, [builder.mul(_INT(r), out_stride)])
            for v in range(vectors):
                place = builder.bitcast(builder.gep(row, [_INT(v * lanes)]), wide.as_pointer())
                old = builder.fmul(kept, builder.load(place, align=align))
                new = builder.call(multiply_add, [factor, grown[r * vectors + v], old])
                builder.store(new, place, align=align)
        builder.branch(end)

        builder.position_at_end(end)
        return context.get_dummy_value()

    return generate


_add_tile_1, _add_tile_2 = _tile_of(1), _tile_of(2)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _add_strip(left, a, b, right, c, n, keep, sign, out, i, first):  # type: ignore[no-untyped-def]
    """As a tile, for all columns of `out` from `first`, a multiple of `LINE`."""
    lanes, last = _VECTOR_BYTES // right.itemsize, out.shape[1]
    j = first
    while j + 2 * lanes <= last:
        _add_tile_2(left, a, b, right, c, j, n, keep, sign, out, i)
        j += 2 * lanes
    while j < last:
        _add_tile_1(left, a, b, right, c, j, n, keep, sign, out, i)
        j += lanes


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def add_products(rows, n, out):  # type: ignore[no-untyped-def]
    """The upper triangle of out += rows[:n].T @ rows[:n].

    rows (>= n, width), out (width, width), C-contiguous; width a multiple of `LINE`.

    Cost:
        O(n * width^2 / 2).
    """
    one = rows.dtype.type(1)
    for i in range(0, len(out), TILE):
        _add_strip(rows, 0, i, rows, 0, n, one, one, out, i, i // LINE * LINE)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _factor_block(system, i, inverses):  # type: ignore[no-untyped-def]
    """inverses[i : i + TILE] = the inverse of U, where the block of `system` at (i, i) is U^T U."""
    zero, one = system.dtype.type(0), system.dtype.type(1)
    block, inverse = system[i : i + TILE, i : i + TILE], inverses[i : i + TILE]
    for r in range(TILE):
        for c in range(TILE):
            inverse[r, c] = zero
    # column c of U by forward substitution with the columns before it; so does column c of 1 / U
    for c in range(TILE):
        pivot = block[c, c]
        for r in range(c):
            u = zero
            for t in range(r + 1):
                u += inverse[t, r] * block[t, c]
            pivot -= u * u
            for t in range(r + 1):
                inverse[t, c] -= inverse[t, r] * u
        scale = one / np.sqrt(max(pivot, one))
        for t in range(c):
            inverse[t, c] *= scale
        inverse[c, c] = scale


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def factor(system, inverses):  # type: ignore[no-untyped-def]
    """Factors 1 + system = U^T U in place by the upper triangle of `system`.

    system (width, width), positive semidefinite, C-contiguous, width a multiple of `LINE`; below the
    diagonal any finite numbers;
    inverses (width, TILE) takes the inverses of the blocks on the diagonal of U. Each pivot is one or
    more, but for rounding, which is cut off: a system that is singular in this precision still gives
    finite numbers. Cost: O(width^3 / 6).
    """
    zero, one = system.dtype.type(0), system.dtype.type(1)
    for i in range(0, len(system), TILE):
        first = i // LINE * LINE
        for r in range(i, i + TILE):
            system[r, r] += one
        _add_strip(system, 0, i, system, 0, i, one, -one, system, i, first)
        _factor_block(system, i, inverses)
        _add_strip(inverses, i, 0, system, i, TILE, zero, one, system, i, first)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def solve(upper, inverses, x):  # type: ignore[no-untyped-def]
    """x = (U^T U)^-1 x with what `factor` left. Cost: O(width^2)."""
    solve_lower(upper, inverses, x)
    solve_upper(upper, inverses, x)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def solve_lower(upper, inverses, x):  # type: ignore[no-untyped-def]
    """x = U^-T x with what `factor` left. Cost: O(width^2 / 2)."""
    width = len(upper)
    zero = x.dtype.type(0)
    for i in range(0, width, TILE):
        for r in range(TILE - 1, -1, -1):
            total = zero
            for t in range(r + 1):
                total += inverses[i + t, r] * x[i + t]
            x[i + r] = total
        for r in range(i, i + TILE, 4):
            x0, x1, x2, x3 = x[r], x[r + 1], x[r + 2], x[r + 3]
            u0, u1, u2, u3 = upper[r], upper[r + 1], upper[r + 2], upper[r + 3]
            for c in range(i + TILE, width):
                x[c] -= x0 * u0[c] + x1 * u1[c] + x2 * u2[c] + x3 * u3[c]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def solve_upper(upper, inverses, x):  # type: ignore[no-untyped-def]
    """x = U^-1 x with what `factor` left. Cost: O(width^2 / 2)."""
    width = len(upper)
    zero = x.dtype.type(0)
    for i in range(width - TILE, -1, -TILE):
        for r in range(i, i + TILE, 4):
            u0, u1, u2, u3 = upper[r], upper[r + 1], upper[r + 2], upper[r + 3]
            s0 = s1 = s2 = s3 = zero
            for c in range(i + TILE, width):
                s0 += u0[c] * x[c]
                s1 += u1[c] * x[c]
                s2 += u2[c] * x[c]
                s3 += u3[c] * x[c]
            x[r] -= s0
            x[r + 1] -= s1
            x[r + 2] -= s2
            x[r + 3] -= s3
        for r in range(TILE):
            total = zero
            for t in range(r, TILE):
                total += inverses[i + r, t] * x[i + t]
            x[i + r] = total
