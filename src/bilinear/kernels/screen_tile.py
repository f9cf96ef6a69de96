"""One tile of small whole numbers: which items of a panel may reach a user's floor.

Scores in eight bits instead of 32: a quarter of the memory, and four times the products an instruction.
Sums are exact whole numbers of 16 bits, so what they miss of the true score is known (`screened_top_k`).
Spelled in LLVM's own terms like `kernels.tile`: LLVM makes one instruction of the product of a pair
(`vpmaddubsw` on x86), and the same numbers without it on any other processor.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS

SCREEN_USERS = TILE_USERS
SCREEN_ITEMS = 2 * TILE_ITEMS
"""Twice the sums in the same registers."""
MOST_USER = 64
"""255 * 64 * 2 is the largest sum of a pair of products that 16 bits hold."""
MOST_ITEM = 127
ITEM_ZERO = 128
"""Items are stored as unsigned bytes, zero as this."""
MOST_SUM = 32767

_VECTORS = 2
_LANES = SCREEN_ITEMS // _VECTORS
_BIT, _BYTE, _SHORT, _INT32, _INT = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_BYTES, _SHORTS, _INTS = (
    ir.VectorType(_BYTE, 2 * _LANES),
    ir.VectorType(_SHORT, _LANES),
    ir.VectorType(_INT32, _LANES),
)
_EIGHT = 8


@intrinsic
def screen_tile(  # type: ignore[no-untyped-def]
    typing, user_pairs, item_pairs, n_pairs, starts, floors, tile, panel, sums, lanes
):  # fmt: skip
    """Sums of user tile `tile` against item panel `panel`; returns which users have a hit, as bits.

    sum(u, i) = starts[u] + sum over f of user[u, f] * item[i, f], with items of 1 to 255 and users of
    -`MOST_USER` to `MOST_USER`, modulo 2^16: `starts` takes back what `ITEM_ZERO` adds.

    user_pairs (n_tiles, n_pairs, SCREEN_USERS) int32, two factors a, b as the bytes a, b, a, b;
    item_pairs (n_panels, n_pairs, SCREEN_ITEMS, 2) uint8; starts (n_tiles, SCREEN_USERS) int16,
    floors (SCREEN_USERS,) int16; all contiguous. A hit is a sum above the user's floor. If there is one,
    `sums` (SCREEN_USERS, SCREEN_ITEMS) int16 is filled and `lanes` (SCREEN_USERS,) int64 says which items
    of the panel are a user's hits, as bits; else both are left alone.
    """
    signature = types.int64(
        user_pairs, item_pairs, types.int64, starts, floors, types.int64, types.int64, sums, lanes
    )
    return signature, _screen_tile


def _screen_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def start_of(n: int) -> Any:
        return context.make_array(signature.args[n])(context, builder, arguments[n]).data

    n_pairs, tile, panel = arguments[2], arguments[5], arguments[6]
    first_user = builder.mul(tile, _INT(SCREEN_USERS))
    users = builder.gep(start_of(0), [builder.mul(first_user, n_pairs)])
    first_byte = builder.mul(builder.mul(panel, _INT(2 * SCREEN_ITEMS)), n_pairs)
    items = builder.gep(start_of(1), [first_byte])
    starts, floors = builder.gep(start_of(3), [first_user]), start_of(4)

    before = builder.block
    loop, compare, store, end = (
        builder.append_basic_block(name) for name in ("pairs", "compare", "store", "end")
    )
    first_sums = [
        _repeated(builder, builder.load(builder.gep(starts, [_INT(u)])), _LANES)
        for u in range(SCREEN_USERS)
        for _ in range(_VECTORS)
    ]
    builder.cbranch(builder.icmp_signed(">", n_pairs, _INT(0)), loop, compare)

    builder.position_at_end(loop)
    pair = builder.phi(_INT)
    partial = [builder.phi(_SHORTS) for _ in first_sums]
    p = builder.gep(users, [builder.mul(pair, _INT(SCREEN_USERS))])
    q = builder.gep(items, [builder.mul(pair, _INT(2 * SCREEN_ITEMS))])
    q_vectors = [_loaded(builder, q, v * 2 * _LANES, _BYTES) for v in range(_VECTORS)]
    grown = []
    for u in range(SCREEN_USERS):
        both = _repeated(builder, builder.load(builder.gep(p, [_INT(u)])), _LANES // 2)
        p_u = builder.bitcast(both, _BYTES)
        grown += [
            builder.add(partial[u * _VECTORS + v], _pair_products(builder, q_vectors[v], p_u))
            for v in range(_VECTORS)
        ]
    following = builder.add(pair, _INT(1))
    _joined(pair, (_INT(0), before), (following, loop))
    for total, first, more in zip(partial, first_sums, grown, strict=True):
        _joined(total, (first, before), (more, loop))
    builder.cbranch(builder.icmp_signed("<", following, n_pairs), loop, compare)

    builder.position_at_end(compare)
    finals = [builder.phi(_SHORTS) for _ in first_sums]
    for final, first, more in zip(finals, first_sums, grown, strict=True):
        _joined(final, (first, before), (more, loop))
    above = [
        builder.icmp_signed(">", finals[u * _VECTORS + v], floor)
        for u, floor in enumerate(
            _repeated(builder, builder.load(builder.gep(floors, [_INT(u)])), _LANES)
            for u in range(SCREEN_USERS)
        )
        for v in range(_VECTORS)
    ]
    some = above[0]
    for others in above[1:]:
        some = builder.or_(some, others)
    some_bits = builder.bitcast(some, ir.IntType(_LANES))
    builder.cbranch(builder.icmp_unsigned("!=", some_bits, ir.IntType(_LANES)(0)), store, end)

    builder.position_at_end(store)
    out, out_lanes = start_of(7), start_of(8)
    hits = _INT(0)
    for u in range(SCREEN_USERS):
        found = _INT(0)
        for v in range(_VECTORS):
            n = u * _VECTORS + v
            place = builder.bitcast(builder.gep(out, [_INT(n * _LANES)]), _SHORTS.as_pointer())
            builder.store(finals[n], place, align=2)
            bits = builder.zext(builder.bitcast(above[n], ir.IntType(_LANES)), _INT)
            found = builder.or_(found, builder.shl(bits, _INT(v * _LANES)))
        builder.store(found, builder.gep(out_lanes, [_INT(u)]))
        hit = builder.zext(builder.icmp_unsigned("!=", found, _INT(0)), _INT)
        hits = builder.or_(hits, builder.shl(hit, _INT(u)))
    builder.branch(end)

    builder.position_at_end(end)
    result = builder.phi(_INT)
    _joined(result, (_INT(0), compare), (hits, store))
    return result


@intrinsic
def exact_scores(typing, vector, start, factors, biases, rows, first, scores):  # type: ignore[no-untyped-def]
    """Scores of the eight items rows[first : first + 8], with the bits of `tile.score_tile`; returns 0.

    score(i) = (start + biases[i]) + sum over f of vector[f] * factors[i, f], in ascending order with
    multiply-add. vector (n_factors,), factors (n_items, n_factors), biases (n_items,), scores (8,), start:
    float32; rows int32; all contiguous. Eight sums at once, as each waits for the one before it.
    """
    signature = types.int64(vector, types.float32, factors, biases, rows, types.int64, scores)
    return signature, _exact_scores


def _exact_scores(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def array(n: int) -> Any:
        return context.make_array(signature.args[n])(context, builder, arguments[n])

    n_factors = cgutils.unpack_tuple(builder, array(0).shape, 1)[0]
    vector, factors, biases, rows, out = (array(n).data for n in (0, 2, 3, 4, 6))
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3), "llvm.fmuladd.f32"
    )
    places, starts = [], []
    for n in range(_EIGHT):
        row = builder.zext(builder.load(builder.gep(rows, [builder.add(arguments[5], _INT(n))])), _INT)
        places.append(builder.gep(factors, [builder.mul(row, n_factors)]))
        starts.append(builder.fadd(arguments[1], builder.load(builder.gep(biases, [row]))))

    before = builder.block
    loop, end = builder.append_basic_block("factors"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", n_factors, _INT(0)), loop, end)

    builder.position_at_end(loop)
    factor = builder.phi(_INT)
    sums = [builder.phi(ir.FloatType()) for _ in starts]
    p = builder.load(builder.gep(vector, [factor]))
    grown = [
        builder.call(multiply_add, [p, builder.load(builder.gep(place, [factor])), total])
        for place, total in zip(places, sums, strict=True)
    ]
    following = builder.add(factor, _INT(1))
    _joined(factor, (_INT(0), before), (following, loop))
    for total, first, more in zip(sums, starts, grown, strict=True):
        _joined(total, (first, before), (more, loop))
    builder.cbranch(builder.icmp_signed("<", following, n_factors), loop, end)

    builder.position_at_end(end)
    for n, (first, more) in enumerate(zip(starts, grown, strict=True)):
        final = builder.phi(ir.FloatType())
        _joined(final, (first, before), (more, loop))
        grown[n] = final
    for n, final in enumerate(grown):
        builder.store(final, builder.gep(out, [_INT(n)]))
    return _INT(0)


def _pair_products(builder: Any, items: Any, users: Any) -> Any:
    """items[2 n] * users[2 n] + items[2 n + 1] * users[2 n + 1] in 16 bits, items being unsigned.

    The sum never leaves 16 bits; that it is held to them is what LLVM knows the instruction by.
    """
    products = []
    for odd in (0, 1):
        chosen = ir.Constant(_INTS, [_INT32(2 * n + odd) for n in range(_LANES)])
        undefined = ir.Constant(_BYTES, ir.Undefined)
        q = builder.zext(builder.shuffle_vector(items, undefined, chosen), _INTS)
        p = builder.sext(builder.shuffle_vector(users, undefined, chosen), _INTS)
        products.append(builder.mul(q, p, flags=["nsw"]))
    total = builder.add(*products, flags=["nsw"])
    for name, most in (("smax", -MOST_SUM - 1), ("smin", MOST_SUM)):
        call = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_INTS, [_INTS] * 2), f"llvm.{name}.v{_LANES}i32"
        )
        total = builder.call(call, [total, ir.Constant(_INTS, [_INT32(most)] * _LANES)])
    return builder.trunc(total, _SHORTS)


def _loaded(builder: Any, pointer: Any, at: int, kind: Any) -> Any:
    return builder.load(builder.bitcast(builder.gep(pointer, [_INT(at)]), kind.as_pointer()), align=1)


def _repeated(builder: Any, value: Any, count: int) -> Any:
    """`value` in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    one = builder.insert_element(undefined, value, _INT32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_INT32, count), [0] * count))


def _joined(phi: Any, *incoming: tuple[Any, Any]) -> None:
    for value, block in incoming:
        phi.add_incoming(value, block)
