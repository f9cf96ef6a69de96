"""One row of implicit ALS at a time: the best factors of a user with the items fixed, or the reverse.

A row with interactions t = 1..n minimises

    1/2 sum_t |c_t| (<x, y_t> - [c_t > 0])^2 + 1/2 sum_f (spectrum_f + l2) x_f^2:

a positive confidence has the target one, a negative one the target zero.

The weight on all pairs is a diagonal here because the fixed side has been turned to where its Gramian
is one (`bilinear.training.implicit_als`). With z_t = sqrt(|c_t|) y_t / sqrt(spectrum + l2) and
x = v / sqrt(spectrum + l2), it is ridge regression with unit ridge,

    (1 + Z^T Z) v = Z^T w,  w_t = sqrt(max(c_t, 0)),  or  v = Z^T a  with  (1 + Z Z^T) a = w,

so that a row with n < n_factors costs n^2, not n_factors^2: most rows have few interactions.
"""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.dense import (
    add_column_products,
    cholesky_of_one_plus,
    row_products,
    solve_factored,
)

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_CHUNK = 64  # interactions gathered at a time when there are more than factors


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _scaled(fixed, item, root, scale, first, out):  # type: ignore[no-untyped-def]
    """out = root * fixed[item, first : first + len(out)] * scale[first : ...]."""
    y = fixed[item]
    for f in range(len(out)):
        out[f] = root * y[first + f] * scale[first + f]


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _solve_row(indices, confidences, fixed, scale, rows, system, inverses, weights, out):  # type: ignore[no-untyped-def]
    """The minimum of one row, exactly. rows, system (>= k, k); inverses, weights (>= k,): scratch."""
    n, k = len(indices), fixed.shape[1]
    zero = fixed.dtype.type(0)
    out[:] = 0
    if n == 0:
        return
    if n < k:
        padded = (n + 3) // 4 * 4
        for t in range(n):
            weights[t] = np.sqrt(max(confidences[t], zero))
            _scaled(fixed, indices[t], np.sqrt(abs(confidences[t])), scale, 0, rows[t])
        rows[n:padded] = 0
        weights[n:padded] = 0
        row_products(rows, padded, system)
        cholesky_of_one_plus(system, padded, inverses)
        solve_factored(system, inverses, padded, weights)
        for t in range(0, padded, 4):
            a0, a1, a2, a3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
            z0, z1, z2, z3 = rows[t], rows[t + 1], rows[t + 2], rows[t + 3]
            for f in range(k):
                out[f] += a0 * z0[f] + a1 * z1[f] + a2 * z2[f] + a3 * z3[f]
    else:
        system[:k] = 0
        for start in range(0, n, _CHUNK):
            size = min(_CHUNK, n - start)
            for t in range(size):
                c = confidences[start + t]
                z, root = rows[t], np.sqrt(max(c, zero))
                _scaled(fixed, indices[start + t], np.sqrt(abs(c)), scale, 0, z)
                for f in range(k):
                    out[f] += root * z[f]
            add_column_products(rows, size, system)
        cholesky_of_one_plus(system, k, inverses)
        solve_factored(system, inverses, k, out)
    for f in range(k):
        out[f] *= scale[f]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def solve_rows(first, last, indptr, indices, confidences, fixed, spectrum, l2, out):  # type: ignore[no-untyped-def]
    """Fills out[first:last] with the minimum of each row.

    indptr (n_rows + 1,), indices, confidences (n_interactions,): the rows' interactions; fixed
    (n_others, k) with k a multiple of 4; spectrum (k,); l2 (n_rows,); out (n_rows, k).
    Rows without interactions become zero. Cost: O(n * k * min(n, k)) a row.
    """
    k = fixed.shape[1]
    room = max(k, _CHUNK)
    rows = np.empty((room, k), fixed.dtype)
    system = np.empty((k, k), fixed.dtype)
    inverses, weights, scale = np.empty(k, fixed.dtype), np.empty(k, fixed.dtype), np.empty(k, fixed.dtype)
    one = fixed.dtype.type(1)
    for r in range(first, last):
        a, b = indptr[r], indptr[r + 1]
        for f in range(k):
            scale[f] = one / np.sqrt(spectrum[f] + l2[r])
        _solve_row(indices[a:b], confidences[a:b], fixed, scale, rows, system, inverses, weights, out[r])


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _pull(confidence, target, zero, score):  # type: ignore[no-untyped-def]
    """|c| (target - score), the target zero where c is negative."""
    return abs(confidence) * ((target if confidence > 0 else zero) - score)


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _add_products(indices, confidences, fixed, vector, target, out):  # type: ignore[no-untyped-def]
    """out += sum_t (max(c_t, 0) target - |c_t| <y_t, vector>) y_t, four interactions at a time."""
    n, k = len(indices), fixed.shape[1]
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
        s0, s1 = _pull(confidences[t], target, zero, s0), _pull(confidences[t + 1], target, zero, s1)
        s2, s3 = _pull(confidences[t + 2], target, zero, s2), _pull(confidences[t + 3], target, zero, s3)
        for f in range(k):
            out[f] += s0 * y0[f] + s1 * y1[f] + s2 * y2[f] + s3 * y3[f]
    for t in range(whole, n):
        y = fixed[indices[t]]
        s0 = zero
        for f in range(k):
            s0 += y[f] * vector[f]
        s0 = _pull(confidences[t], target, zero, s0)
        for f in range(k):
            out[f] += s0 * y[f]


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _descend_row(indices, confidences, fixed, ridge, inverse, n_steps, residual, direction, product, x):  # type: ignore[no-untyped-def]
    """Conjugate gradient steps from x, in place, with the diagonal as preconditioner."""
    k = fixed.shape[1]
    one, zero = fixed.dtype.type(1), fixed.dtype.type(0)
    for f in range(k):
        residual[f] = -ridge[f] * x[f]
    _add_products(indices, confidences, fixed, x, one, residual)
    size = zero
    for f in range(k):
        direction[f] = inverse[f] * residual[f]
    for f in range(k):
        size += residual[f] * direction[f]
    for _ in range(n_steps):
        if not size > 0:
            return
        for f in range(k):  # minus the curvature along the direction
            product[f] = -ridge[f] * direction[f]
        _add_products(indices, confidences, fixed, direction, zero, product)
        curvature = zero
        for f in range(k):
            curvature -= direction[f] * product[f]
        step = size / curvature
        new_size = zero
        for f in range(k):
            x[f] += step * direction[f]
            residual[f] += step * product[f]
        for f in range(k):
            new_size += residual[f] * residual[f] * inverse[f]
        keep = new_size / size
        size = new_size
        for f in range(k):
            direction[f] = inverse[f] * residual[f] + keep * direction[f]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def descend_rows(  # type: ignore[no-untyped-def]
    first, last, indptr, indices, confidences, fixed, spectrum, l2, rotation, before, n_steps, exact_to, out
):  # fmt: skip
    """As `solve_rows`, by `n_steps` conjugate gradient steps from before[first:last] @ rotation.

    Rows of at most `exact_to` interactions are solved exactly.

    Cost:
        O(n_steps * n * k + k^2) for each of the others.
    """
    k = fixed.shape[1]
    room = max(k, _CHUNK)
    rows = np.empty((room, k), fixed.dtype)
    system = np.empty((k, k), fixed.dtype)
    inverses, weights, scale = np.empty(k, fixed.dtype), np.empty(k, fixed.dtype), np.empty(k, fixed.dtype)
    ridge, residual = np.empty(k, fixed.dtype), np.empty(k, fixed.dtype)
    one = fixed.dtype.type(1)
    for r in range(first, last):
        a, b = indptr[r], indptr[r + 1]
        if b - a <= exact_to:
            for f in range(k):
                scale[f] = one / np.sqrt(spectrum[f] + l2[r])
            _solve_row(indices[a:b], confidences[a:b], fixed, scale, rows, system, inverses, weights, out[r])
            continue
        for f in range(k):
            ridge[f] = spectrum[f] + l2[r]
            inverses[f] = one / ridge[f]
        _turn(before[r], rotation, out[r])
        _descend_row(
            indices[a:b], confidences[a:b], fixed, ridge, inverses, n_steps, residual, weights, scale, out[r]
        )


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _turn(row, rotation, out):  # type: ignore[no-untyped-def]
    """out = row @ rotation."""
    k = len(row)
    out[:] = 0
    for f in range(0, k, 4):
        x0, x1, x2, x3 = row[f], row[f + 1], row[f + 2], row[f + 3]
        v0, v1, v2, v3 = rotation[f], rotation[f + 1], rotation[f + 2], rotation[f + 3]
        for j in range(k):
            out[j] += x0 * v0[j] + x1 * v1[j] + x2 * v2[j] + x3 * v3[j]


@njit(nogil=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _descend_row_by_blocks(  # type: ignore[no-untyped-def]
    indices, confidences, fixed, scale, size, rows, system, inverses, step, residual, x
):  # fmt: skip
    """Minimises over `size` factors at a time, once through all of them, from x, in place."""
    n, k = len(indices), fixed.shape[1]
    one, zero = fixed.dtype.type(1), fixed.dtype.type(0)
    for t in range(n):
        y = fixed[indices[t]]
        score = zero
        for f in range(k):
            score += y[f] * x[f]
        residual[t] = np.sqrt(abs(confidences[t])) * ((one if confidences[t] > 0 else zero) - score)
    for first in range(0, k, size):
        width = min(size, k - first)
        block = rows[:, :width]
        for f in range(width):
            step[f] = -x[first + f] / scale[first + f]
            system[f, :width] = 0
        for start in range(0, n, _CHUNK):
            chunk = min(_CHUNK, n - start)
            for t in range(chunk):
                z, error = block[t], residual[start + t]
                _scaled(fixed, indices[start + t], np.sqrt(abs(confidences[start + t])), scale, first, z)
                for f in range(width):
                    step[f] += error * z[f]
            add_column_products(block, chunk, system)
        cholesky_of_one_plus(system, width, inverses)
        solve_factored(system, inverses, width, step)
        for f in range(width):
            step[f] *= scale[first + f]
            x[first + f] += step[f]
        for t in range(n):
            y = fixed[indices[t]]
            change = zero
            for f in range(width):
                change += y[first + f] * step[f]
            residual[t] -= np.sqrt(abs(confidences[t])) * change


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def descend_rows_by_blocks(  # type: ignore[no-untyped-def]
    first, last, indptr, indices, confidences, fixed, spectrum, l2, rotation, before, size, exact_to, out
):  # fmt: skip
    """As `solve_rows`, by one pass over blocks of `size` factors from before[first:last] @ rotation.

    `size` is a multiple of 4. Rows of at most `exact_to` interactions are solved exactly.

    Cost:
        O(n * k * size + k^2) for each of the others.
    """
    k = fixed.shape[1]
    size = min(size, k)
    room = max(k, _CHUNK)
    rows = np.empty((room, k), fixed.dtype)
    system = np.empty((k, k), fixed.dtype)
    inverses, weights, scale = np.empty(k, fixed.dtype), np.empty(k, fixed.dtype), np.empty(k, fixed.dtype)
    longest = 0
    for r in range(first, last):
        longest = max(longest, indptr[r + 1] - indptr[r])
    residual = np.empty(longest, fixed.dtype)
    one = fixed.dtype.type(1)
    for r in range(first, last):
        a, b = indptr[r], indptr[r + 1]
        for f in range(k):
            scale[f] = one / np.sqrt(spectrum[f] + l2[r])
        if b - a <= exact_to:
            _solve_row(indices[a:b], confidences[a:b], fixed, scale, rows, system, inverses, weights, out[r])
            continue
        _turn(before[r], rotation, out[r])
        _descend_row_by_blocks(
            indices[a:b], confidences[a:b], fixed, scale, size,
            rows, system, inverses, weights, residual, out[r],
        )  # fmt: skip


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def observed_loss(first, last, indptr, indices, confidences, left, right):  # type: ignore[no-untyped-def]
    """1/2 sum of |c| (<x, y> - [c > 0])^2 over the interactions of rows first..last - 1, in float64."""
    k = left.shape[1]
    total = 0.0
    for r in range(first, last):
        x = left[r]
        for t in range(indptr[r], indptr[r + 1]):
            y = right[indices[t]]
            score = left.dtype.type(0)
            for f in range(k):
                score += x[f] * y[f]
            total += abs(confidences[t]) * (score - (confidences[t] > 0)) ** 2
    return 0.5 * total
