"""One tile of a matrix product, kept in registers: some users times some items.

NumPy's product would write every score to memory, only for nearly all of them to be dropped, and
its last bits depend on the shape of the block. Numba does not keep a tile of sums in registers. So
this one function is spelled in LLVM's own terms (any processor's vectors; AVX-512 or AVX2 or NEON is
LLVM's choice). A score is summed over the factors in ascending order with multiply-add, whatever
tile it falls into: equal vectors get equal scores, and no blocking changes a bit.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bilinear.kernels.target import WIDE

_LANES = 16 if WIDE else 8
_VECTORS = 2
TILE_USERS = 12 if WIDE else 6
"""24 sums of 32 registers, or 12 of 16."""
TILE_ITEMS = _LANES * _VECTORS

_INT, _INT32, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)


@intrinsic
def score_tile(  # type: ignore[no-untyped-def]
    typing, user_tiles, item_tiles, n_factors, offsets, biases, floors, tile, panel, scores, lanes
):  # fmt: skip
    """Scores of user tile `tile` against item panel `panel`; returns which users have a hit, as bits.

    user_tiles (n_tiles, n_factors, TILE_USERS), offsets and floors (n_tiles, TILE_USERS);
    item_tiles (n_panels, n_factors, TILE_ITEMS), biases (n_panels, TILE_ITEMS); all float32,
    contiguous. A hit is a score that is not below the user's floor; a floor of NaN is below
    everything. If there is a hit, `scores` (TILE_USERS, TILE_ITEMS) is filled and `lanes` (TILE_USERS,)
    int64 says which items of the panel are a user's hits, as bits; else both are left alone.
    """
    signature = types.int64(
        user_tiles, item_tiles, types.int64, offsets, biases, floors, types.int64, types.int64, scores, lanes
    )
    return signature, _score_tile


def _score_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def start_of(n: int) -> Any:
        return context.make_array(signature.args[n])(context, builder, arguments[n]).data

    n_factors, tile, panel = arguments[2], arguments[6], arguments[7]
    first_user, first_item = (
        builder.mul(tile, _INT(TILE_USERS)),
        builder.mul(panel, _INT(TILE_ITEMS)),
    )
    users = builder.gep(start_of(0), [builder.mul(first_user, n_factors)])
    items = builder.gep(start_of(1), [builder.mul(first_item, n_factors)])
    offsets = builder.gep(start_of(3), [first_user])
    biases = builder.gep(start_of(4), [first_item])
    floors = builder.gep(start_of(5), [first_user])
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{_LANES}f32"
    )

    before = builder.block
    loop, compare, store, end = (
        builder.append_basic_block(name) for name in ("factors", "compare", "store", "end")
    )
    bias = [_vector(builder, biases, v * _LANES) for v in range(_VECTORS)]
    starts = [
        builder.fadd(_repeated(builder, offsets, u), bias[v])
        for u in range(TILE_USERS)
        for v in range(_VECTORS)
    ]
    builder.cbranch(builder.icmp_signed(">", n_factors, _INT(0)), loop, compare)

    builder.position_at_end(loop)
    factor = builder.phi(_INT)
    sums = [builder.phi(_VECTOR) for _ in starts]
    p = builder.gep(users, [builder.mul(factor, _INT(TILE_USERS))])
    q = builder.gep(items, [builder.mul(factor, _INT(TILE_ITEMS))])
    q_vectors = [_vector(builder, q, v * _LANES) for v in range(_VECTORS)]
    grown = []
    for u in range(TILE_USERS):
        p_u = _repeated(builder, p, u)
        grown += [
            builder.call(multiply_add, [p_u, q_vectors[v], sums[u * _VECTORS + v]]) for v in range(_VECTORS)
        ]
    following = builder.add(factor, _INT(1))
    _joined(factor, (_INT(0), before), (following, loop))
    for total, start, more in zip(sums, starts, grown, strict=True):
        _joined(total, (start, before), (more, loop))
    builder.cbranch(builder.icmp_signed("<", following, n_factors), loop, compare)

    builder.position_at_end(compare)
    finals = [builder.phi(_VECTOR) for _ in starts]
    for final, start, more in zip(finals, starts, grown, strict=True):
        _joined(final, (start, before), (more, loop))
    hits, found = _INT(0), []
    for u in range(TILE_USERS):
        floor = _repeated(builder, floors, u)
        found.append(_INT(0))
        for v in range(_VECTORS):
            not_below = builder.fcmp_unordered(">=", finals[u * _VECTORS + v], floor)
            bits = builder.zext(builder.bitcast(not_below, ir.IntType(_LANES)), _INT)
            found[u] = builder.or_(found[u], builder.shl(bits, _INT(v * _LANES)))
        hit = builder.zext(builder.icmp_unsigned("!=", found[u], _INT(0)), _INT)
        hits = builder.or_(hits, builder.shl(hit, _INT(u)))
    builder.cbranch(builder.icmp_unsigned("!=", hits, _INT(0)), store, end)

    builder.position_at_end(store)
    out = start_of(8)
    for n, final in enumerate(finals):
        builder.store(final, _as_vectors(builder, out, n * _LANES), align=4)
    for u in range(TILE_USERS):
        builder.store(found[u], builder.gep(start_of(9), [_INT(u)]))
    builder.branch(end)

    builder.position_at_end(end)
    return hits


@intrinsic
def lowest_bit(typing, bits):  # type: ignore[no-untyped-def]
    """The place of the lowest bit that is set; `bits` is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


def _as_vectors(builder: Any, pointer: Any, at: int) -> Any:
    return builder.bitcast(builder.gep(pointer, [_INT(at)]), _VECTOR.as_pointer())


def _vector(builder: Any, pointer: Any, at: int) -> Any:
    """The floats at pointer[at : at + _LANES]; they need not be aligned."""
    return builder.load(_as_vectors(builder, pointer, at), align=4)


def _repeated(builder: Any, pointer: Any, at: int) -> Any:
    """pointer[at] in every lane."""
    one = builder.insert_element(_UNDEFINED, builder.load(builder.gep(pointer, [_INT(at)])), _INT32(0))
    lanes = ir.Constant(ir.VectorType(_INT32, _LANES), [0] * _LANES)
    return builder.shuffle_vector(one, _UNDEFINED, lanes)


def _joined(phi: Any, *incoming: tuple[Any, Any]) -> None:
    for value, block in incoming:
        phi.add_incoming(value, block)
