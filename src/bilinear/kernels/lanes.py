"""Vector lanes: a whole row of factors as one value, in as many registers as its type says.

A loop over a row of unknown length costs as much in counting as a short row does in arithmetic, and
two rows that might overlap are read again after every write. `load` reads 64 bytes for each register
of a shape, and +, -, * and `reduce_add` become vector instructions; LLVM splits them where the processor's
registers are narrower. There a piece is 64 bytes: with more, they do not all fit and are written to memory
and read back within a step.
"""

import operator
from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
from numpy.typing import NDArray

from bilinear.kernels.rows import prefetch_line
from bilinear.kernels.target import WIDE

REGISTER = 64  # bytes; also a cache line
_AT_ONCE = 7  # registers of a row in one piece: with more, the largest processors run out of them
_PIECE = 4  # registers of each piece of a longer row

Shape = tuple[tuple[int, ...], tuple[int, ...]]
_INT = ir.IntType(32)


def columns_of(n_factors: int, itemsize: int) -> int:
    """Columns of rows that have a shape: n_factors, filled up with zeros. The same for every processor."""
    registers = max(1, -(-n_factors * itemsize // REGISTER))
    if registers > _AT_ONCE:
        registers = -(-registers // _PIECE) * _PIECE
    return registers * REGISTER // itemsize


def shape_of(rows: NDArray[Any]) -> Shape:
    """(registers of a piece, pieces after the first), as lengths of tuples: compilers know a tuple's length.

    Args:
        rows: (n, columns_of(...)).
    """
    registers = rows.shape[1] * rows.itemsize // REGISTER
    if not WIDE:
        return (0,), (0,) * (registers - 1)
    if registers <= _AT_ONCE:
        return (0,) * registers, ()
    return (0,) * _PIECE, (0,) * (registers // _PIECE - 1)


class Lanes(types.Type):
    """The type of `count` numbers in vector registers."""

    def __init__(self, element: Any, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(f"Lanes({element} x {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        element = manager.lookup(lanes.element).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(element, lanes.count))


@intrinsic
def load(context: Any, rows: Any, row: Any, piece: Any, shape: Any) -> Any:
    """A piece of rows[row]; rows (n, columns) of that shape, contiguous."""
    lanes = Lanes(rows.dtype, len(shape[0]) * _width(rows.dtype))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = context.get_value_type(lanes).as_pointer()
        loaded = builder.load(
            builder.bitcast(_place(context, builder, sig.args[:3], args[:3], shape), pointer)
        )
        loaded.align = rows.dtype.bitwidth // 8
        return loaded

    return lanes(rows, row, piece, shape), generate


@intrinsic
def store(context: Any, rows: Any, row: Any, piece: Any, shape: Any, value: Any) -> Any:
    """Writes a piece of rows[row]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[:3], args[:3], shape)
        stored = builder.store(args[4], builder.bitcast(place, args[4].type.as_pointer()))
        stored.align = rows.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(rows, row, piece, shape, value), generate


@intrinsic
def prefetch(context: Any, rows: Any, row: Any, shape: Any) -> Any:
    """Asks memory for rows[row], which a later step will read; `rows.prefetch_row` for any row."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[:2], args[:2], shape)
        place = builder.bitcast(place, ir.IntType(8).as_pointer())
        for register in range(len(shape[0]) * (1 + len(shape[1]))):
            prefetch_line(builder, builder.gep(place, [_INT(register * REGISTER)]))
        return context.get_dummy_value()

    return types.void(rows, row, shape), generate


@intrinsic
def entry(context: Any, array: Any, n: Any) -> Any:
    """The n-th number of a contiguous array of any shape; n is not negative.

    array[n] first compares n with zero, for Python's negative places, and multiplies by lengths that are
    known only when it runs: many times the work of this one load.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_number(context, builder, sig, args))

    return array.dtype(array, n), generate


@intrinsic
def decoded(context: Any, values: Any, codes: Any, n: Any) -> Any:
    """The entry of `values` at the n-th code, or the n-th of `codes` itself where it is floating-point."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        code = builder.load(_number(context, builder, sig.return_type(sig.args[1], sig.args[2]), args[1:]))
        if isinstance(codes.dtype, types.Float):
            return code
        place = context.cast(builder, code, codes.dtype, types.intp)
        data = context.make_array(values)(context, builder, args[0]).data
        return builder.load(builder.gep(data, [place]))

    return values.dtype(values, codes, n), generate


@intrinsic
def set_entry(context: Any, array: Any, n: Any, value: Any) -> Any:
    """Writes the n-th number of a contiguous array of any shape; n is not negative."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _number(context, builder, sig, args))
        return context.get_dummy_value()

    return types.void(array, n, array.dtype), generate


@intrinsic
def broadcast(context: Any, value: Any, registers: Any) -> Any:
    """`value` in every lane."""
    lanes = Lanes(value, len(registers) * _width(value))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        empty = ir.Constant(ir.VectorType(args[0].type, lanes.count), ir.Undefined)
        return _chosen(builder, builder.insert_element(empty, args[0], _INT(0)), [0] * lanes.count)

    return lanes(value, registers), generate


@intrinsic
def reduce_add(context: Any, lanes: Any) -> Any:
    """The sum over all lanes: register by register, then halves; always in this order."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        width = _width(lanes.element)
        summed = _chosen(builder, args[0], range(width))
        for start in range(width, lanes.count, width):
            summed = builder.fadd(summed, _chosen(builder, args[0], range(start, start + width)))
        while width > 1:
            width //= 2
            lower = _chosen(builder, summed, range(width))
            summed = builder.fadd(lower, _chosen(builder, summed, range(width, 2 * width)))
        return builder.extract_element(summed, _INT(0))

    return lanes.element(lanes), generate


def _arithmetic(operation: Any, instruction: str) -> None:
    @infer_global(operation)
    class _OfLanes(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            alike = len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]
            return signature(args[0], *args) if alike else None

    @lower_builtin(operation, Lanes, Lanes)
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")


def _width(element: Any) -> int:
    """Numbers of one register."""
    return int(REGISTER * 8 // element.bitwidth)


def _number(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Where the n-th number of an array is."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.gep(data, [context.cast(builder, args[1], sig.args[1], types.intp)])


def _place(context: Any, builder: Any, kinds: Any, args: Any, shape: Any) -> Any:
    """Where a row or, with a third argument, a piece of it begins; like all kernels, it checks no bounds."""
    data = context.make_array(kinds[0])(context, builder, args[0]).data
    places = [context.cast(builder, n, kind, types.intp) for n, kind in zip(args[1:], kinds[1:], strict=True)]
    width, pieces = len(shape[0]) * _width(kinds[0].dtype), 1 + len(shape[1])
    at = builder.mul(places[0], ir.Constant(places[0].type, pieces * width))
    if len(places) > 1:
        at = builder.add(at, builder.mul(places[1], ir.Constant(places[1].type, width)))
    return builder.gep(data, [at])


def _chosen(builder: Any, vector: Any, lanes: Sequence[int]) -> Any:
    """A vector of the listed lanes of another."""
    places = ir.Constant(ir.VectorType(_INT, len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)
