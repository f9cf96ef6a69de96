"""One row of explicit ALS at a time: bias and factors of a user with the items fixed, or the reverse.

A row with ratings t = 1..n, whose partners have factors y_t and biases c_t, minimises

    1/2 sum_t (mean + c_t + b + <x, y_t> - r_t)^2 + 1/2 l2 |x|^2 + 1/2 l2_bias b^2

over x and b together: the bias is a factor whose partner is one. It is eliminated first, so l2_bias may
be zero. What is left is a system of n_factors unknowns, or, where there are fewer ratings, of n: the
dual, x = Y^T a / l2, with -a the residuals. Divided by l2 either has a unit ridge.

Sums over ratings are in the type of the factors within 64 (the system: 1,024) of them and in float64
beyond; systems of more than 1,024 ratings are solved in float64. The system of factors is solved for the
change since the last time, so that rounding shrinks with it.
"""

from typing import Any, NamedTuple

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.dense import cholesky_of_one_plus, row_products, solve_factored
from bilinear.kernels.normal_equations import TILE, add_products, factor, solve

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning. A loop that sums does not
# store: see `bilinear.kernels`.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_CHUNK = 64  # ratings gathered at a time
_ROUNDING = 1e-28  # of a squared gradient is nothing, in either type
_NARROW = 1024  # ratings whose products are summed in the type of the factors


class _Row(NamedTuple):
    """What a row is fitted to: its partners (n,), ratings (n,), and what is fixed."""

    indices: Any
    ratings: Any
    mean: Any
    biases: Any
    fixed: Any
    l2: Any
    l2_bias: Any


class _Scratch(NamedTuple):
    """Room for one row: in the type of the factors, and from `large` on in float64."""

    rows: Any
    errors: Any
    ones: Any
    system: Any
    inverses: Any
    pivots: Any
    part: Any
    part_sums: Any
    vector: Any
    large: Any
    large_inverses: Any
    gradient: Any
    sums: Any
    change: Any
    diagonal: Any
    product: Any


@njit(nogil=True, forceinline=True)
def _scratch(k, number):  # type: ignore[no-untyped-def]
    room = max(k, _CHUNK)
    return _Scratch(
        np.zeros((room, k), number),
        np.empty(room, number),
        np.empty(room, number),
        np.empty((k, k), number),
        np.empty((k, TILE), number),
        np.empty(room, number),
        np.empty(k, number),
        np.empty(k, number),
        np.empty(k, number),
        np.empty((k, k)),
        np.empty((k, TILE)),
        np.empty(k),
        np.empty(k),
        np.empty(k),
        np.empty(k),
        np.empty(k),
    )


@njit(nogil=True, forceinline=True)
def _clear(scratch):  # type: ignore[no-untyped-def]
    """What is summed over chunks is zero."""
    for f in range(len(scratch.gradient)):
        scratch.gradient[f] = scratch.sums[f] = scratch.diagonal[f] = 0
        scratch.part[f] = scratch.part_sums[f] = 0


@njit(nogil=True, forceinline=True)
def _zero(matrix):  # type: ignore[no-untyped-def]
    for i in range(len(matrix)):
        row = matrix[i]
        for j in range(len(row)):
            row[j] = 0


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _gather(row, start, size, x, bias, rows, errors):  # type: ignore[no-untyped-def]
    """rows[:size] = the partners from `start`; errors[:size] = ratings less scores; returns their squares."""
    squares = 0.0
    for t in range(size):
        other = row.indices[start + t]
        y, copy = row.fixed[other], rows[t]
        score = y.dtype.type(0)
        for f in range(len(x)):
            copy[f] = y[f]
        for f in range(len(x)):
            score += y[f] * x[f]
        error = row.ratings[start + t] - row.mean - row.biases[other] - bias - score
        errors[t] = error
        squares += error * error
    return squares


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _add_gradient(scratch, n):  # type: ignore[no-untyped-def]
    """gradient += rows[:n].T @ errors[:n], sums += rows[:n].sum(0); returns the sum of the errors."""
    rows, errors, gradient, sums = scratch.rows, scratch.errors, scratch.part, scratch.part_sums
    k = len(gradient)
    whole = n // 4 * 4
    for t in range(0, whole, 4):
        y0, y1, y2, y3 = rows[t], rows[t + 1], rows[t + 2], rows[t + 3]
        e0, e1, e2, e3 = errors[t], errors[t + 1], errors[t + 2], errors[t + 3]
        for f in range(k):
            gradient[f] += e0 * y0[f] + e1 * y1[f] + e2 * y2[f] + e3 * y3[f]
            sums[f] += y0[f] + y1[f] + y2[f] + y3[f]
    for t in range(whole, n):
        y, error = rows[t], errors[t]
        for f in range(k):
            gradient[f] += error * y[f]
            sums[f] += y[f]
    total = 0.0
    for t in range(n):
        total += errors[t]
    _move(gradient, scratch.gradient)
    _move(sums, scratch.sums)
    return total


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _move(part, total):  # type: ignore[no-untyped-def]
    """total += part; part = 0."""
    for f in range(len(part)):
        total[f] += part[f]
        part[f] = 0


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _move_upper(part, total):  # type: ignore[no-untyped-def]
    """The same for upper triangles."""
    for i in range(len(part)):
        a, b = part[i], total[i]
        for j in range(i, len(part)):
            b[j] += a[j]
            a[j] = 0


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _with_penalty(row, scratch, total, squares, x, bias):  # type: ignore[no-untyped-def]
    """Takes the penalty into `gradient`; returns (gradient by the bias, twice the value of the row)."""
    gradient, length = scratch.gradient, 0.0
    for f in range(len(x)):
        length += np.float64(x[f]) * x[f]
    for f in range(len(x)):
        gradient[f] -= row.l2 * x[f]
    return total - row.l2_bias * bias, squares + row.l2 * length + row.l2_bias * bias * bias


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _loss(row, value, x, bias):  # type: ignore[no-untyped-def]
    """Half the sum of squared errors, from twice the value of the row."""
    length = 0.0
    for f in range(len(x)):
        length += np.float64(x[f]) * x[f]
    return 0.5 * max(value - row.l2 * length - row.l2_bias * bias * bias, 0.0)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _solve_centred(system, inverses, sums, count, l2, right):  # type: ignore[no-untyped-def]
    """right = (1 + (system - sums sums^T / count) / l2)^-1 right, by the upper triangle of `system`."""
    number = system.dtype.type
    inverse = number(1 / l2)
    for i in range(len(system)):
        row, a = system[i], number(sums[i] / count)
        for j in range(i, len(system)):
            row[j] = (row[j] - a * number(sums[j])) * inverse
    factor(system, inverses)
    solve(system, inverses, right)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _solve_row(row, scratch, x, bias):  # type: ignore[no-untyped-def]
    """The minimum of one row through the system of its factors, x in place; returns (bias, loss)."""
    system, large, gradient, sums, change = (
        scratch.system, scratch.large, scratch.gradient, scratch.sums, scratch.change,
    )  # fmt: skip
    n, k = len(row.indices), len(x)
    wide = n > _NARROW
    _clear(scratch)
    _zero(system)
    if wide:
        _zero(large)
    total = squares = 0.0
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        squares += _gather(row, start, size, x, bias, scratch.rows, scratch.errors)
        total += _add_gradient(scratch, size)
        add_products(scratch.rows, size, system)
        if wide and (start + size == n or (start + size) % _NARROW == 0):
            _move_upper(system, large)
    bias_gradient, value = _with_penalty(row, scratch, total, squares, x, bias)
    count = n + row.l2_bias
    for f in range(k):
        change[f] = (gradient[f] - sums[f] * (bias_gradient / count)) / row.l2
    if wide:
        _solve_centred(large, scratch.large_inverses, sums, count, row.l2, change)
    else:
        vector = scratch.vector
        for f in range(k):
            vector[f] = change[f]
        _solve_centred(system, scratch.inverses, sums, count, row.l2, vector)
        for f in range(k):
            change[f] = vector[f]
    bias_change = bias_gradient
    for f in range(k):
        bias_change -= sums[f] * change[f]
    bias_change /= count
    value -= bias_gradient * bias_change
    for f in range(k):
        value -= gradient[f] * change[f]
    for f in range(k):
        x[f] += change[f]
    return bias + bias_change, _loss(row, value, x, bias + bias_change)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _solve_dual(row, scratch, x):  # type: ignore[no-untyped-def]
    """The same through the system of its ratings, n <= k; x is overwritten."""
    rows, system, errors, ones = scratch.rows, scratch.system, scratch.errors, scratch.ones
    n, k = len(row.indices), len(x)
    padded = (n + 3) // 4 * 4
    scale = x.dtype.type(1 / np.sqrt(row.l2))
    for t in range(n):
        y, z = row.fixed[row.indices[t]], rows[t]
        for f in range(k):
            z[f] = y[f] * scale
        errors[t] = row.ratings[t] - row.mean - row.biases[row.indices[t]]
        ones[t] = 1
    for t in range(n, padded):
        z, errors[t], ones[t] = rows[t], 0, 0
        for f in range(k):
            z[f] = 0
    row_products(rows, padded, system)
    cholesky_of_one_plus(system, padded, scratch.pivots)
    solve_factored(system, scratch.pivots, padded, errors)
    solve_factored(system, scratch.pivots, padded, ones)
    total = count = squares = 0.0
    for t in range(n):
        total += errors[t]
        count += ones[t]
    bias = total / (row.l2_bias + count)
    for t in range(n):
        errors[t] -= bias * ones[t]
    for t in range(n):
        squares += np.float64(errors[t]) * errors[t]
    for f in range(k):
        x[f] = 0
    for t in range(0, padded, 4):
        a0, a1, a2, a3 = errors[t], errors[t + 1], errors[t + 2], errors[t + 3]
        z0, z1, z2, z3 = rows[t], rows[t + 1], rows[t + 2], rows[t + 3]
        for f in range(k):
            x[f] += a0 * z0[f] + a1 * z1[f] + a2 * z2[f] + a3 * z3[f]
    for f in range(k):
        x[f] *= scale
    return bias, 0.5 * squares


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _add_start(row, first, last, x, bias, gradient, sums, squares):  # type: ignore[no-untyped-def]
    """Adds what gradients begin with, four ratings at a time; returns (errors summed, squared).

    gradient += errors y, sums += y, squares += y^2, over the ratings first..last - 1.
    """
    indices, fixed = row.indices, row.fixed
    k, number = len(x), fixed.dtype.type
    zero = number(0)
    total = squared = 0.0
    whole = first + (last - first) // 4 * 4
    for t in range(first, whole, 4):
        i0, i1, i2, i3 = indices[t], indices[t + 1], indices[t + 2], indices[t + 3]
        y0, y1, y2, y3 = fixed[i0], fixed[i1], fixed[i2], fixed[i3]
        s0 = s1 = s2 = s3 = zero
        for f in range(k):
            v = x[f]
            s0 += y0[f] * v
            s1 += y1[f] * v
            s2 += y2[f] * v
            s3 += y3[f] * v
        e0 = number(row.ratings[t] - row.mean - row.biases[i0] - bias - s0)
        e1 = number(row.ratings[t + 1] - row.mean - row.biases[i1] - bias - s1)
        e2 = number(row.ratings[t + 2] - row.mean - row.biases[i2] - bias - s2)
        e3 = number(row.ratings[t + 3] - row.mean - row.biases[i3] - bias - s3)
        total += e0 + e1 + e2 + e3
        squared += e0 * e0 + e1 * e1 + e2 * e2 + e3 * e3
        for f in range(k):
            v0, v1, v2, v3 = y0[f], y1[f], y2[f], y3[f]
            gradient[f] += e0 * v0 + e1 * v1 + e2 * v2 + e3 * v3
            sums[f] += v0 + v1 + v2 + v3
            squares[f] += v0 * v0 + v1 * v1 + v2 * v2 + v3 * v3
    for t in range(whole, last):
        y = fixed[indices[t]]
        score = zero
        for f in range(k):
            score += y[f] * x[f]
        error = number(row.ratings[t] - row.mean - row.biases[indices[t]] - bias - score)
        total += error
        squared += error * error
        for f in range(k):
            gradient[f] += error * y[f]
            sums[f] += y[f]
            squares[f] += y[f] * y[f]
    return total, squared


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _add_hessian_product(indices, fixed, vector, out):  # type: ignore[no-untyped-def]
    """out += sum_t <y_t, vector> y_t, four ratings at a time."""
    n, k = len(indices), len(vector)
    zero = fixed.dtype.type(0)
    whole = n // 4 * 4
    for t in range(0, whole, 4):
        y0, y1, y2, y3 = (
            fixed[indices[t]],
            fixed[indices[t + 1]],
            fixed[indices[t + 2]],
            fixed[indices[t + 3]],
        )
        s0 = s1 = s2 = s3 = zero
        for f in range(k):
            v = vector[f]
            s0 += y0[f] * v
            s1 += y1[f] * v
            s2 += y2[f] * v
            s3 += y3[f] * v
        for f in range(k):
            out[f] += s0 * y0[f] + s1 * y1[f] + s2 * y2[f] + s3 * y3[f]
    for t in range(whole, n):
        y = fixed[indices[t]]
        s0 = zero
        for f in range(k):
            s0 += y[f] * vector[f]
        for f in range(k):
            out[f] += s0 * y[f]


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _descend_row(row, scratch, n_steps, x, bias):  # type: ignore[no-untyped-def]
    """Conjugate gradient steps from x, in place, and the best bias at the end; returns (bias, loss).

    The diagonal of the system, the bias eliminated, is the preconditioner.
    """
    part, vector, diagonal = scratch.part, scratch.vector, scratch.diagonal
    gradient, sums, direction, product = scratch.gradient, scratch.sums, scratch.change, scratch.product
    n, k = len(row.indices), len(x)
    _clear(scratch)
    total = squares = 0.0
    for f in range(k):
        vector[f] = 0
    for start in range(0, n, _CHUNK):
        last = min(start + _CHUNK, n)
        added, squared = _add_start(row, start, last, x, bias, part, scratch.part_sums, vector)
        total += added
        squares += squared
        _move(part, gradient)
        _move(scratch.part_sums, sums)
        _move(vector, diagonal)
    bias_gradient, value = _with_penalty(row, scratch, total, squares, x, bias)
    count, size_now = n + row.l2_bias, 0.0
    value -= bias_gradient * bias_gradient / count  # by the best bias for x as it is
    for f in range(k):
        gradient[f] -= sums[f] * (bias_gradient / count)
        diagonal[f] = 1 / (max(diagonal[f] - sums[f] * sums[f] / count, 0.0) + row.l2)
        direction[f] = diagonal[f] * gradient[f]
    for f in range(k):
        size_now += gradient[f] * direction[f]
    moved, enough = 0.0, _ROUNDING * size_now  # <sums, change of x>
    for _ in range(n_steps):
        if not size_now > enough:
            break
        along = curvature = size_next = 0.0
        for f in range(k):
            vector[f] = direction[f]
        for f in range(k):
            along += sums[f] * direction[f]
        for f in range(k):
            product[f] = row.l2 * direction[f] - sums[f] * (along / count)
        for start in range(0, n, _CHUNK):
            _add_hessian_product(row.indices[start : min(start + _CHUNK, n)], row.fixed, vector, part)
            _move(part, product)
        for f in range(k):
            curvature += direction[f] * product[f]
        step = size_now / curvature
        value -= step * size_now
        moved += step * along
        for f in range(k):
            x[f] += step * direction[f]
            gradient[f] -= step * product[f]
        for f in range(k):
            size_next += gradient[f] * gradient[f] * diagonal[f]
        for f in range(k):
            direction[f] = diagonal[f] * gradient[f] + size_next / size_now * direction[f]
        size_now = size_next
    bias += (bias_gradient - moved) / count
    return bias, _loss(row, value, x, bias)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _best_bias(row):  # type: ignore[no-untyped-def]
    """The minimum of a row without factors; returns (bias, loss)."""
    total = squares = 0.0
    for t in range(len(row.indices)):
        total += row.ratings[t] - row.mean - row.biases[row.indices[t]]
    bias = total / (len(row.indices) + row.l2_bias)
    for t in range(len(row.indices)):
        squares += (row.ratings[t] - row.mean - row.biases[row.indices[t]] - bias) ** 2
    return bias, 0.5 * squares


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def improve_rows(  # type: ignore[no-untyped-def]
    first, last, indptr, indices, ratings, mean, fixed, fixed_biases, l2, l2_biases, n_steps, dual_to,
    exact_from, factors, biases, losses,
):  # fmt: skip
    """Each row of first..last - 1 to its minimum, or towards it, in place.

    indptr (n_rows + 1,), indices, ratings (n_ratings,): the rows' ratings; fixed (n_others, k) with k a
    multiple of `LINE` or zero, fixed_biases (n_others,); l2, l2_biases (n_rows,) float64; factors
    (n_rows, k), biases (n_rows,); losses (n_rows,) float64 takes half the sum of squared errors.
    Rows of at most `dual_to` ratings, itself at most k, are solved through those; rows of `exact_from` and
    more, and all where `n_steps` is zero, through their factors; the rest by `n_steps` conjugate gradient
    steps. Rows without ratings become zero.

    Cost:
        O(n * k * min(n, k)) an exact row, O(n_steps * n * k) others.
    """
    k = fixed.shape[1]
    scratch = _scratch(k, fixed.dtype)
    for r in range(first, last):
        a, b = indptr[r], indptr[r + 1]
        x, n = factors[r], b - a
        row = _Row(indices[a:b], ratings[a:b], mean, fixed_biases, fixed, l2[r], l2_biases[r])
        if n == 0:
            for f in range(k):
                x[f] = 0
            biases[r], losses[r] = 0, 0
        elif k == 0:
            biases[r], losses[r] = _best_bias(row)
        elif n <= dual_to:
            biases[r], losses[r] = _solve_dual(row, scratch, x)
        elif n_steps == 0 or n >= exact_from:
            biases[r], losses[r] = _solve_row(row, scratch, x, biases[r])
        else:
            biases[r], losses[r] = _descend_row(row, scratch, n_steps, x, biases[r])
